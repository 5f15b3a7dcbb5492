//! Names and tags: how what belongs to a fleet is found, and told from what does not.
//!
//! Invariant: two shapes of one fleet never share a name, and every name is one that AWS takes.

use std::fmt::Write as _;

use muster_core::ids::{LaunchId, ShapeId};
use sha2::{Digest as _, Sha256};

/// The fleet that something belongs to. What lacks it is never touched.
pub const FLEET_TAG: &str = "muster:fleet";
/// The shape that a group, a template or an instance was made for.
pub const SHAPE_TAG: &str = "muster:shape";
/// The tag of a role's session with the account's name in the configuration. `infra/account.yaml` lets these two through.
pub(super) const ACCOUNT_TAG: &str = "muster:account";
/// On groups: a hash of all that the group was made from.
pub(super) const MADE_FROM_TAG: &str = "muster:made-from";

/// On standby groups: the latest raise of desired capacity.
pub(super) const RAISE_TAG: &str = "muster:raise";
/// On groups: since when it is unused, as milliseconds since 1970; absent or `-` while it is used.
pub(super) const UNUSED_TAG: &str = "muster:unused-since";

/// Longest name of a launch template (EC2 API, `CreateLaunchTemplate`); groups may have 255 characters.
const NAME_CHARS_MAX: usize = 128;
/// Longest client token (EC2 API; Auto Scaling gives no other limit for `LaunchInstances`).
const TOKEN_CHARS_MAX: usize = 64;
/// Characters of a hash in a name.
const HASH_CHARS: usize = 12;

/// The two kinds of group that a shape can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupKind {
    /// Machines are launched when they are needed.
    Cold,
    /// With a warm pool.
    Standby,
}

/// The name of a shape's group, and of its launch template.
pub(super) fn group_name(fleet: &str, shape: &ShapeId, kind: GroupKind) -> String {
    let ending = match kind {
        GroupKind::Cold => "",
        GroupKind::Standby => "-standby",
    };
    let whole = format!("muster-{fleet}-{shape}{ending}");
    // A shape's id has `+` for "and more types", which launch templates may not have.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./()".contains(c);
    let safe: String = whole.chars().map(|c| if c == '+' { '_' } else { c }).collect();
    if safe.len() <= NAME_CHARS_MAX && safe.chars().all(allowed) && !shape.as_str().contains('_') {
        return safe;
    }
    let safe: String = safe.chars().filter(|c| allowed(*c)).take(NAME_CHARS_MAX - HASH_CHARS - 1).collect();
    format!("{safe}-{}", &hash(&whole)[..HASH_CHARS])
}

/// The client token of a launch: its id, if that can be one.
pub(super) fn client_token(launch: &LaunchId) -> String {
    let id = launch.as_str();
    let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if !id.is_empty() && id.len() <= TOKEN_CHARS_MAX && id.chars().all(good) { id.to_owned() } else { hash(id) }
}

/// SHA-256 as 64 hexadecimal digits.
pub(super) fn hash(text: &str) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_readable_or_hashed() {
        let name = |shape: &str| group_name("acme", &ShapeId::new(shape), GroupKind::Cold);
        assert_eq!(name("linux-x64-spot-c7i.large+2-1a2b3c4d"), "muster-acme-linux-x64-spot-c7i.large_2-1a2b3c4d");
        let standby = group_name("acme", &ShapeId::new("linux-x64-on-demand-c7i.large-1a2b3c4d"), GroupKind::Standby);
        assert_eq!(standby, "muster-acme-linux-x64-on-demand-c7i.large-1a2b3c4d-standby");
        let (one, two) = (name(&"x".repeat(300)), name(&"x".repeat(301)));
        assert!(one.len() == NAME_CHARS_MAX && two.len() == NAME_CHARS_MAX && one != two, "{one} {two}");
        assert_ne!(name("a_b"), name("a+b"));
        assert_ne!(name("a:b"), name("ab"));
    }

    #[test]
    fn a_token_is_the_launch_or_its_hash() {
        assert_eq!(client_token(&LaunchId::new("0123abcd-17-0")), "0123abcd-17-0");
        for odd in ["", "with space", &"9".repeat(65)] {
            assert_eq!(client_token(&LaunchId::new(odd)), hash(odd));
        }
        assert_eq!(hash("").len(), TOKEN_CHARS_MAX);
    }
}
