//! Whose runners: the paths of its REST resources, and the least that a token needs for them.
//!
//! Invariant: what comes from outside is escaped before it is part of a path.

use muster_core::config::{Hook, Owner};
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

/// A repository's part of all paths. `None`: this is no `owner/name`.
pub(crate) fn repository(name: &str) -> Option<String> {
    let (login, name) = name.split_once('/')?;
    // Dots alone would lead out of the place, and are no names.
    let good = |part: &str| !part.is_empty() && !part.contains('/') && part != "." && part != "..";
    (good(login) && good(name)).then(|| format!("/repos/{}/{}", escaped(login), escaped(name)))
}

/// In words.
pub(crate) fn told(owner: &Owner) -> String {
    match owner {
        Owner::Organization(login) => format!("organization {login}"),
        Owner::Enterprise(slug) => format!("enterprise {slug}"),
        Owner::Repository(name) => format!("repository {name}"),
    }
}

/// A permission that an App needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Its name in GitHub's interface.
    pub name: &'static str,
    /// `read`, or `write`, which includes it.
    pub level: &'static str,
    /// In the words of the App's settings.
    pub label: &'static str,
    /// What comes of it when it is missing.
    pub why: &'static str,
}

/// All permissions that an App needs whose names are known, and one more if interrupted jobs are to be run again. GitHub's
/// description has none for enterprises.
pub fn permissions(owner: &Owner, hook: Hook, reruns: bool) -> Vec<Permission> {
    const RUNNERS_WHY: &str = "no runner can be registered or removed, so no machine ever takes a job";
    const HOOKS_WHY: &str = "the log of the webhook's deliveries cannot be read, so lost ones are not found there";
    let label = permission(owner);
    let runners = match owner {
        Owner::Organization(_) => Some("organization_self_hosted_runners"),
        Owner::Repository(_) => Some("administration"),
        Owner::Enterprise(_) => None,
    };
    let runners = runners.map(|name| Permission { name, level: "write", label, why: RUNNERS_WHY });
    let actions = Permission {
        name: "actions",
        level: "read",
        label: "repository permission \"Actions\": read-only",
        why: "GitHub offers the event workflow_job only to an App that has it, and jobs cannot be read",
    };
    let rerun = Permission {
        name: "actions",
        level: "write",
        label: RERUN_PERMISSION,
        why: "rerun_interrupted is set, and no run can be run again without it",
    };
    let actions = if reruns { rerun } else { actions };
    let hooks = match (owner, hook) {
        (Owner::Organization(_), Hook::Owner) => {
            Some(("organization_hooks", "organization permission \"Webhooks\": read-only"))
        }
        (Owner::Repository(_), Hook::Owner) => {
            Some(("repository_hooks", "repository permission \"Webhooks\": read-only"))
        }
        (_, Hook::App) | (Owner::Enterprise(_), Hook::Owner) => None,
    };
    let hooks = hooks.map(|(name, label)| Permission { name, level: "read", label, why: HOOKS_WHY });
    runners.into_iter().chain([actions]).chain(hooks).collect()
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

/// What a token for reading is asked for: another one than that for runners, so that neither can do what the other may.
pub(crate) fn reading_request(owner: &Owner, hook: Hook) -> Value {
    let mut request = json!({ "permissions": { "actions": "read", "metadata": "read" } });
    match (owner, hook) {
        (Owner::Organization(_), Hook::Owner) => request["permissions"]["organization_hooks"] = json!("read"),
        (Owner::Repository(_), Hook::Owner) => request["permissions"]["repository_hooks"] = json!("read"),
        (_, Hook::App) | (Owner::Enterprise(_), Hook::Owner) => {}
    }
    if let Owner::Repository(name) = owner {
        request["repositories"] = json!([name.split_once('/').map_or(name.as_str(), |(_, name)| name)]);
    }
    request
}

/// The permission that running something again needs, in the words of the App's settings.
pub(crate) const RERUN_PERMISSION: &str = "repository permission \"Actions\": read and write";

/// What a token for running something again is asked for: a third one, that only those fleets have whose pools want it.
pub(crate) fn rerun_request(owner: &Owner) -> Value {
    let mut request = json!({ "permissions": { "actions": "write", "metadata": "read" } });
    if let Owner::Repository(name) = owner {
        request["repositories"] = json!([name.split_once('/').map_or(name.as_str(), |(_, name)| name)]);
    }
    request
}

/// The permissions that reading needs, in the words of the App's settings.
pub(crate) fn reading_permission(owner: &Owner, hook: Hook) -> &'static str {
    match (owner, hook) {
        (Owner::Organization(_), Hook::Owner) => {
            "repository permission \"Actions\": read-only and organization permission \"Webhooks\": read-only"
        }
        (Owner::Repository(_), Hook::Owner) => "repository permissions \"Actions\" and \"Webhooks\": read-only",
        (_, Hook::App) | (Owner::Enterprise(_), Hook::Owner) => "repository permission \"Actions\": read-only",
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
    fn tokens_are_asked_for_the_permissions_that_are_told() {
        let name = || "acme/api".to_owned();
        for owner in [Owner::Organization(name()), Owner::Repository(name()), Owner::Enterprise(name())] {
            for hook in [Hook::App, Hook::Owner] {
                let requests = [token_request(&owner), reading_request(&owner, hook)];
                let asked = requests.iter().filter_map(|request| request["permissions"].as_object()).flatten();
                // Every App has that one.
                let asked = asked.filter(|(name, _)| *name != "metadata");
                let asked: Vec<_> = asked.map(|(name, level)| (name.as_str(), level.as_str().unwrap_or(""))).collect();
                let told: Vec<_> = permissions(&owner, hook, false).iter().map(|one| (one.name, one.level)).collect();
                assert_eq!(asked, told, "{owner:?} {hook:?}");
            }
        }
    }

    #[test]
    fn running_again_takes_one_more_permission_and_its_token_can_do_nothing_else() {
        let name = || "acme/api".to_owned();
        for owner in [Owner::Organization(name()), Owner::Repository(name()), Owner::Enterprise(name())] {
            let told = |reruns| permissions(&owner, Hook::App, reruns);
            let changed = told(true).into_iter().zip(told(false)).find(|(with, without)| with.level != without.level);
            let (with, without) = changed.unwrap();
            assert_eq!((with.name, with.level, without.name, without.level), ("actions", "write", "actions", "read"));
            assert_eq!((with.label, told(true).len()), (RERUN_PERMISSION, told(false).len()), "{owner:?}");
            assert_eq!(rerun_request(&owner)["permissions"], json!({ "actions": "write", "metadata": "read" }));
        }
        assert_eq!(rerun_request(&Owner::Repository(name()))["repositories"], json!(["api"]));
    }

    #[test]
    fn nothing_breaks_out_of_its_place() {
        assert_eq!(escaped("a b/../c?d=&é"), "a%20b%2F..%2Fc%3Fd%3D%26%C3%A9");
        assert_eq!(base(&Owner::Repository("acme/api.v2".to_owned())), "/repos/acme/api.v2");
        assert_eq!(repository("acme/api v2?").as_deref(), Some("/repos/acme/api%20v2%3F"));
        for bad in ["", "api", "acme/", "/api", "acme/api/..", "../api", "acme/..", "acme/."] {
            assert_eq!(repository(bad), None, "{bad}");
        }
    }
}
