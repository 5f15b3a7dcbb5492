//! Whose runners: the paths of its REST resources, and the least that a token needs for them.
//!
//! Invariant: what comes from outside is escaped before it is part of a path.

use muster_core::config::Owner;
use serde_json::{Value, json};

/// The group that every organization and enterprise has; the one that GitHub marks as default.
pub(crate) const DEFAULT_GROUP: &str = "default";
/// The group of a repository's runners. Repositories have no groups, and GitHub's documentation sends 1.
pub(crate) const REPOSITORY_GROUP: i64 = 1;

/// The owner's part of all paths.
pub(crate) fn base(owner: &Owner) -> String {
    match owner {
        Owner::Organization(login) => format!("/orgs/{}", escaped(login)),
        Owner::Enterprise(slug) => format!("/enterprises/{}", escaped(slug)),
        Owner::Repository(name) => {
            let (login, name) = name.split_once('/').unwrap_or((name, ""));
            format!("/repos/{}/{}", escaped(login), escaped(name))
        }
    }
}

/// In words.
pub(crate) fn told(owner: &Owner) -> String {
    match owner {
        Owner::Organization(login) => format!("organization {login}"),
        Owner::Enterprise(slug) => format!("enterprise {slug}"),
        Owner::Repository(name) => format!("repository {name}"),
    }
}

/// The permission that registering and removing runners needs, in the words of the App's settings.
pub(crate) fn permission(owner: &Owner) -> &'static str {
    match owner {
        Owner::Organization(_) => "organization permission \"Self-hosted runners\": read and write",
        Owner::Enterprise(_) => "enterprise permission \"Enterprise self-hosted runners\": read and write",
        Owner::Repository(_) => "repository permission \"Administration\": read and write",
    }
}

/// What an installation token is asked for: no more than runners need. GitHub's description has no name for the permission
/// of an enterprise, so that token has all that the App was given.
pub(crate) fn token_request(owner: &Owner) -> Value {
    match owner {
        Owner::Organization(_) => json!({ "permissions": { "organization_self_hosted_runners": "write" } }),
        Owner::Enterprise(_) => json!({}),
        Owner::Repository(name) => {
            let name = name.split_once('/').map_or(name.as_str(), |(_, name)| name);
            json!({ "repositories": [name], "permissions": { "administration": "write" } })
        }
    }
}

/// A text as part of a path or a query.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_its_place() {
        assert_eq!(escaped("a b/../c?d=&é"), "a%20b%2F..%2Fc%3Fd%3D%26%C3%A9");
        assert_eq!(base(&Owner::Repository("acme/api.v2".to_owned())), "/repos/acme/api.v2");
    }
}
