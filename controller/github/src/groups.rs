//! Runner groups: from the name in the configuration to the number that GitHub wants.
//!
//! Invariant: a group that is not there is an error, and never another group.

use std::time::Duration;

use http::Method;
use muster_core::config::Owner;
use muster_core::ports::GithubError;
use muster_core::time::Timestamp;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::budget::Purpose;
use crate::github::{RestGithub, told};
use crate::owner::{self, DEFAULT_GROUP, REPOSITORY_GROUP};

/// The list of groups is used for this long. A group that was made meanwhile is found sooner ([`GROUPS_LOOK_AGAIN`]); one
/// that was removed is noticed by the first mint that names it.
pub const GROUPS_AGE_MAX: Duration = Duration::from_secs(600);
/// A list without the group that is looked for is used for this long.
pub const GROUPS_LOOK_AGAIN: Duration = Duration::from_secs(30);
/// GitHub's largest page.
const PAGE: usize = 100;
/// More groups than any organization has: a list that does not end is not followed further.
const PAGES_MAX: usize = 100;

const _: () = assert!(GROUPS_LOOK_AGAIN.as_secs() < GROUPS_AGE_MAX.as_secs());

/// A runner group, as GitHub tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RunnerGroup {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Whether it is the one that every organization and enterprise has.
    pub default: bool,
    /// Whom it is open to, in GitHub's word: `all`, `private`, `selected`.
    #[serde(default)]
    pub visibility: String,
    /// Whether it is open to public repositories.
    #[serde(default)]
    pub allows_public_repositories: bool,
    /// Whether only some workflows may use it: [`RunnerGroup::selected_workflows`].
    #[serde(default)]
    pub restricted_to_workflows: bool,
    /// These workflows, as `owner/name/.github/workflows/file.yml@ref`.
    #[serde(default)]
    pub selected_workflows: Vec<String>,
}

impl RunnerGroup {
    /// Whether a configuration that says `name` means this group.
    pub fn is_meant_by(&self, name: &str) -> bool {
        if name.eq_ignore_ascii_case(DEFAULT_GROUP) {
            self.default
        } else {
            self.name.to_lowercase() == name.to_lowercase()
        }
    }
}

#[derive(Deserialize)]
struct GroupPage {
    runner_groups: Vec<RunnerGroup>,
}

struct Listed {
    at: Timestamp,
    groups: Vec<RunnerGroup>,
}

impl Listed {
    fn find(&self, name: &str) -> Option<i64> {
        self.groups.iter().find(|group| group.is_meant_by(name)).map(|group| group.id)
    }
}

/// The groups as last listed.
#[derive(Default)]
pub(crate) struct Groups(Mutex<Option<Listed>>);

impl Groups {
    /// A group may have gone: the next question lists anew.
    pub(crate) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

impl RestGithub {
    /// The number of a runner group.
    pub(crate) async fn group(&self, name: &str) -> Result<i64, GithubError> {
        if let Owner::Repository(repository) = &*self.owner {
            if name.eq_ignore_ascii_case(DEFAULT_GROUP) {
                return Ok(REPOSITORY_GROUP);
            }
            return Err(GithubError::Rejected(format!(
                "runner group \"{name}\": runners of a repository ({repository}) have no groups; \
                 set runner_group = \"{DEFAULT_GROUP}\", or register them with the organization"
            )));
        }
        // Whoever comes meanwhile waits for the same list.
        let mut kept = self.groups.0.lock().await;
        let now = (self.clock)();
        if let Some(listed) = &*kept {
            let age = now.since(listed.at);
            match listed.find(name) {
                Some(id) if age < GROUPS_AGE_MAX => return Ok(id),
                None if age < GROUPS_LOOK_AGAIN => return Err(self.no_group(name)),
                Some(_) | None => {}
            }
        }
        let listed = kept.insert(Listed { at: now, groups: self.list_groups().await? });
        listed.find(name).ok_or_else(|| self.no_group(name))
    }

    fn no_group(&self, name: &str) -> GithubError {
        GithubError::Rejected(format!(
            "there is no runner group \"{name}\" in the {}: create it there (Settings, Actions, Runner groups), \
             or set runner_group of the pool to one that exists",
            owner::told(&self.owner)
        ))
    }

    pub(crate) async fn list_groups(&self) -> Result<Vec<RunnerGroup>, GithubError> {
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            let path = format!("{}/actions/runner-groups?per_page={PAGE}&page={page}", owner::base(&self.owner));
            let answer = self.ask(Method::GET, &path, None, Purpose::Work).await.map_err(told)?;
            if !answer.status.is_success() {
                return Err(GithubError::Rejected(format!(
                    "the runner groups of the {} cannot be listed ({}): check its name and the App's {}",
                    owner::told(&self.owner),
                    answer.told(),
                    owner::permission(&self.owner)
                )));
            }
            let unreadable = |why| GithubError::Unknown(format!("the runner groups: {why}; nothing was changed"));
            let groups = answer.json::<GroupPage>().map_err(unreadable)?.runner_groups;
            let last = groups.len() < PAGE;
            all.extend(groups);
            if last {
                return Ok(all);
            }
        }
        Err(GithubError::Rejected(format!("the list of runner groups does not end after {PAGES_MAX} pages")))
    }
}
