//! The fields that are read, as GitHub names them. All are optional here, so that a missing one can be named.

use std::borrow::Cow;
use std::ops::Deref;

use serde::Deserialize;

/// A text, borrowed from the body where it has no escapes. (An `Option<Cow<str>>` would always be copied.)
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[derive(Deserialize)]
pub(super) struct Payload<'a> {
    #[serde(borrow)]
    pub(super) action: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) workflow_job: Option<Job<'a>>,
    #[serde(borrow)]
    pub(super) repository: Option<Repository<'a>>,
    #[serde(borrow)]
    pub(super) deployment: Option<Deployment<'a>>,
    pub(super) organization: Option<Id>,
    pub(super) installation: Option<Id>,
}

#[derive(Deserialize)]
pub(super) struct Job<'a> {
    pub(super) id: Option<i64>,
    pub(super) run_id: Option<i64>,
    pub(super) run_attempt: Option<u32>,
    #[serde(borrow)]
    pub(super) status: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) conclusion: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) created_at: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) started_at: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) completed_at: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) workflow_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) labels: Option<Vec<Text<'a>>>,
    pub(super) runner_id: Option<i64>,
    #[serde(borrow)]
    pub(super) runner_name: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Repository<'a> {
    #[serde(borrow)]
    pub(super) full_name: Option<Text<'a>>,
    pub(super) private: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Deployment<'a> {
    #[serde(borrow)]
    pub(super) updated_at: Option<Text<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Id {
    pub(super) id: Option<i64>,
}
