//! Whether a delivery is about our organization or installation.
//!
//! A signature only says that somebody knows the secret. An App that others have installed too, or a secret used twice,
//! brings signed deliveries of strangers; their jobs are no demand.
//!
//! Invariant: only numbers are compared. Names can be given up and taken by somebody else.

use muster_core::config::GitHub;

/// Whose delivery it is, by GitHub's ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// `organization.id`.
    pub organization: Option<i64>,
    /// `installation.id`.
    pub installation: Option<i64>,
}

/// Why a delivery is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Of another organization.
    Organization,
    /// Of another installation.
    Installation,
    /// It carries none of the ids that the configuration names.
    Unproven,
}

impl Foreign {
    /// The word for the metric and the answer.
    pub fn kind(self) -> &'static str {
        match self {
            Foreign::Organization => "foreign_organization",
            Foreign::Installation => "foreign_installation",
            Foreign::Unproven => "no_known_id",
        }
    }
}

/// Why the delivery is not ours; `None` if it is.
///
/// An id that contradicts the configuration makes it foreign. If the configuration names ids, at least one must be
/// matched; if it names none, nothing is foreign.
pub fn foreign(github: &GitHub, sender: Sender) -> Option<Foreign> {
    let same = |ours: u64, theirs: i64| i64::try_from(ours) == Ok(theirs);
    let mut named = false;
    let mut matched = false;
    if let Some(ours) = github.organization_id {
        named = true;
        match sender.organization {
            Some(theirs) if same(ours, theirs) => matched = true,
            Some(_) => return Some(Foreign::Organization),
            None => {}
        }
    }
    let mut installations = github.apps.iter().filter_map(|app| app.installation_id).peekable();
    if installations.peek().is_some() {
        named = true;
        match sender.installation {
            Some(theirs) if installations.any(|ours| same(ours, theirs)) => matched = true,
            Some(_) => return Some(Foreign::Installation),
            None => {}
        }
    }
    (named && !matched).then_some(Foreign::Unproven)
}
