//! What a function finds around itself: the stack's environment.
//!
//! What lives here: the names of the variables and who needs which. What may not: reading the process's own environment
//! anywhere but in the binaries.
//!
//! Invariant: a variable that is missing is named with where it comes from.

use std::collections::BTreeMap;

use muster_core::config::{Arch, Os, Place};
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
/// The ARNs of the roles that machines run as, separated by commas.
pub const RUNNER_ROLES: &str = "MUSTER_RUNNER_ROLES";
/// The door's address, for the agents.
pub const DOOR_URL: &str = "MUSTER_DOOR_URL";
/// Subnets of machines, separated by commas.
pub const SUBNETS: &str = "MUSTER_SUBNETS";
/// Security groups of machines, separated by commas.
pub const SECURITY_GROUPS: &str = "MUSTER_SECURITY_GROUPS";
/// The ARN of the machines' instance profile.
pub const INSTANCE_PROFILE: &str = "MUSTER_INSTANCE_PROFILE";
/// The key that root volumes are encrypted with.
pub const KMS_KEY: &str = "MUSTER_KMS_KEY";
/// Images for pools that name none.
pub const IMAGES: [(&str, Os, Arch); 3] = [
    ("MUSTER_IMAGE_LINUX_X64", Os::Linux, Arch::X64),
    ("MUSTER_IMAGE_LINUX_ARM64", Os::Linux, Arch::Arm64),
    ("MUSTER_IMAGE_WINDOWS_X64", Os::Windows, Arch::X64),
];

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

    /// A list separated by commas; empty if it is not there.
    pub fn list(&self, name: &str) -> Vec<String> {
        let items = self.maybe(name).unwrap_or_default().split(',').map(str::trim);
        items.filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }

    /// Where machines live in the stack's own account, as far as the stack says.
    pub fn place(&self) -> Place {
        let images = IMAGES.iter().filter_map(|(name, os, arch)| Some(((*os, *arch), self.maybe(name)?.into())));
        Place {
            subnets: self.list(SUBNETS),
            security_groups: self.list(SECURITY_GROUPS),
            instance_profile: self.maybe(INSTANCE_PROFILE).map(str::to_owned),
            images: images.collect(),
            kms_key: self.maybe(KMS_KEY).map(str::to_owned),
            root_gib: None,
            root_initialization_mibps: None,
        }
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
    fn a_place_is_what_the_stack_says() {
        let place = of(&[(SUBNETS, "subnet-1, subnet-2,"), ("MUSTER_IMAGE_LINUX_ARM64", "ssm:/image")]).place();
        assert_eq!(place.subnets, ["subnet-1", "subnet-2"]);
        assert_eq!(&*place.images[&(Os::Linux, Arch::Arm64)], "ssm:/image");
        assert_eq!((place.images.len(), place.instance_profile), (1, None));
    }
}
