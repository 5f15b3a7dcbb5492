//! What the stack tells its controller: the home account's network, profile and images, and the door's address.
//!
//! What lives here: these values, their names in the environment, and how they fill in what the configuration leaves
//! out. What may not: reading the environment, which is the binary's business, and calls to AWS.
//!
//! Invariant: what a launch needs and nobody has said is an error that names the key and the variable.

use std::collections::BTreeMap;
use std::sync::Arc;

use muster_core::config::{Arch, Aws, Os, Place};

const SUBNETS: &str = "MUSTER_SUBNETS";
const SECURITY_GROUPS: &str = "MUSTER_SECURITY_GROUPS";
const INSTANCE_PROFILE: &str = "MUSTER_INSTANCE_PROFILE";
const KMS_KEY: &str = "MUSTER_KMS_KEY";
const DOOR_URL: &str = "MUSTER_DOOR_URL";
const AUDIENCE: &str = "MUSTER_AUDIENCE";
const IMAGES: [(Os, Arch, &str, &str); 6] = [
    (Os::Linux, Arch::X64, "linux-x64", "MUSTER_IMAGE_LINUX_X64"),
    (Os::Linux, Arch::Arm64, "linux-arm64", "MUSTER_IMAGE_LINUX_ARM64"),
    (Os::Windows, Arch::X64, "windows-x64", "MUSTER_IMAGE_WINDOWS_X64"),
    (Os::Windows, Arch::Arm64, "windows-arm64", "MUSTER_IMAGE_WINDOWS_ARM64"),
    (Os::Macos, Arch::X64, "macos-x64", "MUSTER_IMAGE_MACOS_X64"),
    (Os::Macos, Arch::Arm64, "macos-arm64", "MUSTER_IMAGE_MACOS_ARM64"),
];

/// What the stack says. All of it may be absent; the configuration comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// The fleet's subnets.
    pub subnets: Vec<String>,
    /// The machines' security groups.
    pub security_groups: Vec<String>,
    /// The ARN of the machines' instance profile.
    pub instance_profile: Option<String>,
    /// The key that root volumes are encrypted with.
    pub kms_key: Option<String>,
    /// Images of pools that name none.
    pub images: BTreeMap<(Os, Arch), Arc<str>>,
    /// Where agents find the door.
    pub door_url: String,
    /// What agents sign into their proof of identity. Empty: the door's address.
    pub audience: String,
}

impl Stack {
    /// Reads the stack's values by their names. A value that is empty is absent.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Stack {
        let text = |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let list = |name: &str| -> Vec<String> {
            let words = text(name).unwrap_or_default();
            words.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let images = IMAGES.iter().filter_map(|(os, arch, _, name)| Some(((*os, *arch), text(name)?.into())));
        Stack {
            subnets: list(SUBNETS),
            security_groups: list(SECURITY_GROUPS),
            instance_profile: text(INSTANCE_PROFILE),
            kms_key: text(KMS_KEY),
            images: images.collect(),
            door_url: text(DOOR_URL).unwrap_or_default(),
            audience: text(AUDIENCE).unwrap_or_default(),
        }
    }

    /// The home account's place: the configuration's, and the stack's where that says nothing.
    pub(super) fn home(&self, aws: &Aws) -> Place {
        let mut place = aws.home.clone();
        if place.subnets.is_empty() {
            place.subnets = self.subnets.clone();
        }
        if place.security_groups.is_empty() {
            place.security_groups = self.security_groups.clone();
        }
        place.instance_profile = place.instance_profile.or_else(|| self.instance_profile.clone());
        place.kms_key = place.kms_key.or_else(|| self.kms_key.clone());
        for (key, image) in &self.images {
            place.images.entry(*key).or_insert_with(|| image.clone());
        }
        place
    }

    /// What agents sign.
    pub(super) fn audience(&self) -> &str {
        if self.audience.is_empty() { &self.door_url } else { &self.audience }
    }

    /// Everything that no machine could be launched without, as far as it is missing: one line each, with the remedy.
    pub fn missing(&self, aws: &Aws) -> Vec<String> {
        let mut missing = lacking(&self.home(aws), None);
        if self.door_url.is_empty() {
            missing.push(format!("the door's address is unknown: set {DOOR_URL}"));
        }
        missing
    }
}

/// What a place lacks for any launch. `account`: none is the home account.
pub(super) fn lacking(place: &Place, account: Option<&str>) -> Vec<String> {
    let section = match account {
        None => "[aws]".to_owned(),
        Some(name) => format!("[[aws.account]] {name}"),
    };
    let tell = |key: &str, variable: &str| match account {
        None => format!("{section} has no {key}: set it there, or {variable}"),
        Some(_) => format!("{section} has no {key}: set it there"),
    };
    let mut lacking = Vec::new();
    if place.subnets.is_empty() {
        lacking.push(tell("subnets", SUBNETS));
    }
    if place.instance_profile.is_none() {
        lacking.push(tell("instance_profile", INSTANCE_PROFILE));
    }
    lacking
}

/// That a place has no image for a system and architecture.
pub(super) fn no_image(os: Os, arch: Arch, account: Option<&str>) -> String {
    let known = IMAGES.iter().find(|known| (known.0, known.1) == (os, arch));
    let (key, variable) = known.map_or(("", ""), |(_, _, key, variable)| (*key, *variable));
    match account {
        None => format!("there is no image for {os} {arch}: set {key} in [aws.images], or {variable}"),
        Some(name) => format!("there is no image for {os} {arch} in account {name}: set {key} in its images"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_comes_before_the_stack() {
        let stack = Stack::read(|name| {
            Some(match name {
                SUBNETS => "subnet-1, subnet-2,".to_owned(),
                INSTANCE_PROFILE => "arn:stack".to_owned(),
                "MUSTER_IMAGE_LINUX_X64" => "ami-1".to_owned(),
                "MUSTER_IMAGE_WINDOWS_X64" => " ".to_owned(),
                DOOR_URL => "https://door".to_owned(),
                _ => return None,
            })
        });
        let mut aws = Aws::default();
        let home = stack.home(&aws);
        assert_eq!(home.subnets, ["subnet-1", "subnet-2"]);
        assert_eq!(home.images.len(), 1, "an empty image is none");
        assert_eq!(stack.missing(&aws), Vec::<String>::new());
        assert_eq!(stack.audience(), "https://door");
        aws.home.subnets = vec!["subnet-9".to_owned()];
        aws.home.images.insert((Os::Linux, Arch::X64), "ami-9".into());
        let home = stack.home(&aws);
        assert_eq!((home.subnets, &*home.images[&(Os::Linux, Arch::X64)]), (vec!["subnet-9".to_owned()], "ami-9"));
    }

    #[test]
    fn what_is_missing_is_named_with_key_and_variable() {
        assert_eq!(
            Stack::default().missing(&Aws::default()),
            [
                "[aws] has no subnets: set it there, or MUSTER_SUBNETS",
                "[aws] has no instance_profile: set it there, or MUSTER_INSTANCE_PROFILE",
                "the door's address is unknown: set MUSTER_DOOR_URL",
            ]
        );
        assert_eq!(lacking(&Place::default(), Some("build")).len(), 2);
        let why = no_image(Os::Linux, Arch::Arm64, None);
        assert_eq!(
            why,
            "there is no image for linux arm64: set linux-arm64 in [aws.images], or MUSTER_IMAGE_LINUX_ARM64"
        );
        assert!(no_image(Os::Linux, Arch::Arm64, Some("build")).contains("account build"));
    }
}
