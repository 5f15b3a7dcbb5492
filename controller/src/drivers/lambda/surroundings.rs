//! What a function finds around itself: the stack's environment.
//!
//! What lives here: the names of the variables and who needs which. What may not: reading the process's own environment
//! anywhere but in the binaries.
//!
//! Invariant: a variable that is missing is named with where it comes from.

use std::collections::BTreeMap;

use muster_webhook::Serves;
use thiserror::Error;

/// The fleet's name, as in the configuration.
pub const FLEET: &str = "MUSTER_FLEET";
/// The ledger's table.
pub const TABLE: &str = "MUSTER_TABLE";
/// The configuration: `s3://BUCKET/KEY`.
pub const CONFIG: &str = "MUSTER_CONFIG";
/// The queue of the scaler's bell.
pub const BELL_QUEUE_URL: &str = "MUSTER_BELL_QUEUE_URL";
/// The queue of the registrar's bell.
pub const CLAIMS_QUEUE_URL: &str = "MUSTER_CLAIMS_QUEUE_URL";
/// The queue that leads back to the door after a while.
pub const WAKE_QUEUE_URL: &str = "MUSTER_WAKE_QUEUE_URL";
/// What agents sign their proofs for: the door's own address.
pub const AUDIENCE: &str = "MUSTER_AUDIENCE";
/// The door's address, as machines find it.
pub const DOOR_URL: &str = "MUSTER_DOOR_URL";
/// The ARNs of the roles that machines run as, separated by commas.
pub const RUNNER_ROLES: &str = "MUSTER_RUNNER_ROLES";
/// Whom this door serves: `github` or `agents`; both if it is not set.
pub const SERVES: &str = "MUSTER_DOOR_SERVES";

/// What this registrar's program does: `claims`, as if it were not set, or `healing`.
pub const REGISTRAR_SERVES: &str = "MUSTER_REGISTRAR_SERVES";

/// What a registrar's program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Gives configurations to those that have claimed.
    Claims,
    /// Finds jobs whose webhook never came.
    Healing,
}

/// A variable says something that it cannot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("environment variable {REGISTRAR_SERVES} is {0:?}: it can be `claims` or `healing`; not set is `claims`")]
pub struct NothingDone(pub String);

/// A variable says something that it cannot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("environment variable {SERVES} is {0:?}: it can be `github` or `agents`, or not set for both")]
pub struct NobodyServed(pub String);

/// A variable is not there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "environment variable {0} is not set: the stack of infra/ sets it; deploy the stack of this version, or export it"
)]
pub struct Missing(pub &'static str);

/// The environment of a function.
#[derive(Clone, Debug, Default)]
pub struct Surroundings(BTreeMap<String, String>);

impl Surroundings {
    /// From pairs of names and values; empty values are as good as none.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Surroundings {
        let ours =
            variables.into_iter().filter(|(name, value)| name.starts_with("MUSTER_") && !value.trim().is_empty());
        Surroundings(ours.map(|(name, value)| (name, value.trim().to_owned())).collect())
    }

    /// A value that may be absent.
    pub fn maybe(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A value that must be there.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn get(&self, name: &'static str) -> Result<&str, Missing> {
        self.maybe(name).ok_or(Missing(name))
    }

    /// What the registrar's program does.
    ///
    /// # Errors
    /// [`NothingDone`].
    pub fn does(&self) -> Result<Does, NothingDone> {
        match self.maybe(REGISTRAR_SERVES) {
            None | Some("claims") => Ok(Does::Claims),
            Some("healing") => Ok(Does::Healing),
            Some(other) => Err(NothingDone(other.to_owned())),
        }
    }

    /// Whom the door serves.
    ///
    /// # Errors
    /// [`NobodyServed`].
    pub fn serves(&self) -> Result<Serves, NobodyServed> {
        match self.maybe(SERVES) {
            None => Ok(Serves::All),
            Some("github") => Ok(Serves::Github),
            Some("agents") => Ok(Serves::Agents),
            Some(other) => Err(NobodyServed(other.to_owned())),
        }
    }

    /// A list separated by commas; empty if it is not there.
    pub fn list(&self, name: &str) -> Vec<String> {
        let items = self.maybe(name).unwrap_or_default().split(',').map(str::trim);
        items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Surroundings {
        Surroundings::of(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn what_is_missing_is_named() {
        let around = of(&[(TABLE, " muster "), (FLEET, "")]);
        assert_eq!(around.get(TABLE), Ok("muster"));
        assert_eq!(around.get(FLEET), Err(Missing(FLEET)));
        assert!(Missing(FLEET).to_string().contains("MUSTER_FLEET"));
    }

    #[test]
    fn a_door_serves_all_whom_it_is_not_told_to_leave_out() {
        assert_eq!(of(&[]).serves(), Ok(Serves::All));
        assert_eq!(of(&[(SERVES, "github")]).serves(), Ok(Serves::Github));
        assert_eq!(of(&[(SERVES, "agents")]).serves(), Ok(Serves::Agents));
        assert_eq!(of(&[(SERVES, "Agents")]).serves(), Err(NobodyServed("Agents".to_owned())));
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let around = of(&[(RUNNER_ROLES, "arn:1, arn:2,")]);
        assert_eq!(around.list(RUNNER_ROLES), ["arn:1", "arn:2"]);
        assert!(around.list(AUDIENCE).is_empty());
    }
}
