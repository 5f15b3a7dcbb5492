//! The parts of a delivery that say whose it is: account, organization, repository.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{id_of, node_id};
use crate::webhook::Installation;

pub(super) fn account(login: &str, kind: &str) -> Value {
    let api = format!("https://api.github.com/users/{login}");
    let id = id_of(login);
    json!({
        "login": login,
        "id": id,
        "node_id": node_id(kind, id),
        "avatar_url": format!("https://avatars.githubusercontent.com/u/{id}?v=4"),
        "gravatar_id": "",
        "url": api,
        "html_url": format!("https://github.com/{login}"),
        "followers_url": format!("{api}/followers"),
        "following_url": format!("{api}/following{{/other_user}}"),
        "gists_url": format!("{api}/gists{{/gist_id}}"),
        "starred_url": format!("{api}/starred{{/owner}}{{/repo}}"),
        "subscriptions_url": format!("{api}/subscriptions"),
        "organizations_url": format!("{api}/orgs"),
        "repos_url": format!("{api}/repos"),
        "events_url": format!("{api}/events{{/privacy}}"),
        "received_events_url": format!("{api}/received_events"),
        "type": kind,
        "site_admin": false,
    })
}

pub(super) fn organization(installation: &Installation) -> Value {
    let login: &Arc<str> = &installation.organization;
    let api = format!("https://api.github.com/orgs/{login}");
    json!({
        "login": login,
        "id": installation.organization_id,
        "node_id": node_id("Organization", installation.organization_id),
        "url": api,
        "repos_url": format!("{api}/repos"),
        "events_url": format!("{api}/events"),
        "hooks_url": format!("{api}/hooks"),
        "issues_url": format!("{api}/issues"),
        "members_url": format!("{api}/members{{/member}}"),
        "public_members_url": format!("{api}/public_members{{/member}}"),
        "avatar_url": format!("https://avatars.githubusercontent.com/u/{}?v=4", installation.organization_id),
        "description": null,
    })
}

/// The addresses of a repository that only add a word to its own: field and word.
const ADDRESSES: [(&str, &str); 37] = [
    ("archive_url", "/{archive_format}{/ref}"),
    ("assignees_url", "/assignees{/user}"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("branches_url", "/branches{/branch}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("comments_url", "/comments{/number}"),
    ("commits_url", "/commits{/sha}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("contents_url", "/contents/{+path}"),
    ("contributors_url", "/contributors"),
    ("deployments_url", "/deployments"),
    ("downloads_url", "/downloads"),
    ("events_url", "/events"),
    ("forks_url", "/forks"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("hooks_url", "/hooks"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("issue_events_url", "/issues/events{/number}"),
    ("issues_url", "/issues{/number}"),
    ("keys_url", "/keys{/key_id}"),
    ("labels_url", "/labels{/name}"),
    ("languages_url", "/languages"),
    ("merges_url", "/merges"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("pulls_url", "/pulls{/number}"),
    ("releases_url", "/releases{/id}"),
    ("stargazers_url", "/stargazers"),
    ("statuses_url", "/statuses/{sha}"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("tags_url", "/tags"),
    ("teams_url", "/teams"),
    ("trees_url", "/git/trees{/sha}"),
    ("url", ""),
];

pub(super) fn repository(owner: &str, name: &str, public: bool, installation: &Installation) -> Value {
    let full = format!("{owner}/{name}");
    let api = format!("https://api.github.com/repos/{full}");
    let id = id_of(&full);
    let mut owner_account = account(owner, "Organization");
    if owner == &*installation.organization {
        owner_account["id"] = installation.organization_id.into();
    }
    let mut repository = json!({
        "id": id,
        "node_id": node_id("Repository", id),
        "name": name,
        "full_name": full,
        "private": !public,
        "visibility": if public { "public" } else { "private" },
        "owner": owner_account,
        "html_url": format!("https://github.com/{full}"),
        "description": null,
        "fork": false,
        "clone_url": format!("https://github.com/{full}.git"),
        "git_url": format!("git://github.com/{full}.git"),
        "ssh_url": format!("git@github.com:{full}.git"),
        "svn_url": format!("https://github.com/{full}"),
        "homepage": null,
        "language": null,
        "license": null,
        "mirror_url": null,
        "default_branch": "main",
        "created_at": "2020-01-01T00:00:00Z",
        "updated_at": "2020-01-01T00:00:00Z",
        "pushed_at": "2020-01-01T00:00:00Z",
        "size": 0,
        "forks": 0,
        "forks_count": 0,
        "watchers": 0,
        "watchers_count": 0,
        "stargazers_count": 0,
        "open_issues": 0,
        "open_issues_count": 0,
        "has_issues": true,
        "has_projects": true,
        "has_downloads": true,
        "has_wiki": true,
        "has_pages": false,
        "archived": false,
        "disabled": false,
        "topics": [],
    });
    for (field, word) in ADDRESSES {
        repository[field] = format!("{api}{word}").into();
    }
    repository
}
