//! The `[aws]` section: where in AWS the fleet's machines live.
//!
//! What lives here: the values, all of them optional. What may not: the stack's own network and images, which come from
//! its environment and fill in what is not said here; and calls to AWS.
//!
//! Invariant: an account that a pool names is in [`Aws::accounts`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::market::{Arch, Os};

/// The `[aws]` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aws {
    /// The region of all machines. `None`: the controller's own.
    pub region: Option<String>,
    /// What is said of the controller's own account.
    pub home: Place,
    /// Further accounts, by name.
    pub accounts: BTreeMap<Arc<str>, Account>,
}

/// An `[[aws.account]]`: another AWS account that machines are launched in, through a role there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The ARN of the role that the controller takes on.
    pub role: String,
    /// What the role's trust policy wants to hear.
    pub external_id: Option<String>,
    /// Where machines live there.
    pub place: Place,
}

/// Where machines live in one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Subnets, one or more for each zone.
    pub subnets: Vec<String>,
    /// Security groups of all machines.
    pub security_groups: Vec<String>,
    /// The ARN of the instance profile.
    pub instance_profile: Option<String>,
    /// The ARN of the role in that profile. `None`: it has the profile's name, in the profile's account.
    pub instance_role: Option<String>,
    /// The unique id of that role (`AROA...`). With it a role that was deleted and made again is another one.
    pub instance_role_id: Option<String>,
    /// Image ids or `ssm:PARAMETER`, for pools that name none.
    pub images: BTreeMap<(Os, Arch), Arc<str>>,
    /// The key that root volumes are encrypted with. `None`: the account's default.
    pub kms_key: Option<String>,
    /// Size of the root volume in GiB. `None`: the image's.
    pub root_gib: Option<u32>,
    /// How fast the root volume is read in from its snapshot, in MiB/s. `None`: as EBS does by itself.
    pub root_initialization_mibps: Option<u32>,
}
