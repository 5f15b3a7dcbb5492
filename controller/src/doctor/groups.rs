//! What an installation and its runner groups are open to, against the repositories of the pools, judged.
//!
//! What lives here: judgement by facts and configuration. What may not: how a pool's patterns resolve a job (`muster-core`).
//!
//! Invariant: a repository is called missing only if the whole list of those that are there was read.

use std::collections::BTreeMap;

use muster_core::config::{Owner, Pool};
use muster_core::ports::GithubError;
use muster_github::{InstallationFacts, Repositories, RunnerGroup, permissions};

use super::github::{Judge, owner};
use super::{Check, Finding};

impl Judge<'_> {
    pub(super) fn repositories(&self) -> Vec<Finding> {
        let all = match &self.checkup.repositories {
            None => {
                let what = "the App is installed on all repositories";
                return vec![Finding::ok(Check::Repositories, &*self.about, what)];
            }
            Some(Err(error)) => return vec![self.unread(Check::Repositories, &self.about, error)],
            Some(Ok(all)) => all,
        };
        let one = |pool: &Pool| {
            let about = format!("{}, pool {}", self.about, pool.name);
            match uncovered(pool, all) {
                None => {
                    let what = format!("the App is installed on {} repositories, of this pool's too", all.read.len());
                    Finding::ok(Check::Repositories, about, what)
                }
                Some(missing) => Finding::not_ok(
                    Check::Repositories,
                    about,
                    format!("the App is installed on selected repositories only, and not on {missing}"),
                    "Muster does not hear of the jobs of the others: they wait for ever",
                    format!(
                        "{}, Settings, GitHub Apps, Configure, \"Repository access\": choose all, or add it",
                        owner(&self.config.github.owner)
                    ),
                ),
            }
        };
        self.config.pools().iter().map(one).collect()
    }

    pub(super) fn groups(&self, facts: &InstallationFacts) -> Vec<Finding> {
        let mut pools: BTreeMap<&str, Vec<&Pool>> = BTreeMap::new();
        for pool in self.config.pools() {
            pools.entry(&pool.runner_group).or_default().push(pool);
        }
        if let Owner::Repository(_) = self.config.github.owner {
            return pools.keys().map(|name| group_of_repository(name)).collect();
        }
        let groups = match &self.checkup.groups {
            Some(Ok(groups)) => groups,
            Some(Err(GithubError::Rejected(_))) if !self.may_see_runners(facts) => {
                let (what, remedy) = ("the permission to see it is missing", "mend the permission first");
                return vec![Finding::not_checked(Check::RunnerGroup, &*self.about, what, remedy)];
            }
            Some(Err(error)) => return vec![self.unread(Check::RunnerGroup, &self.about, error)],
            None => {
                let what = "it was not asked for";
                return vec![Finding::not_checked(Check::RunnerGroup, &*self.about, what, "run it again")];
            }
        };
        pools.into_iter().flat_map(|(name, pools)| self.group(name, &pools, groups)).collect()
    }

    /// Whether the installation may do with runners what Muster does; where that has a name.
    pub(super) fn may_see_runners(&self, facts: &InstallationFacts) -> bool {
        let section = &self.config.github;
        let needed = permissions(&section.owner, section.hook, false).into_iter().find(|one| one.level == "write");
        needed.is_none_or(|one| facts.permissions.get(one.name).is_some_and(|level| level == one.level))
    }

    /// All that is wrong with a group; or that nothing is.
    fn group(&self, name: &str, pools: &[&Pool], groups: &[RunnerGroup]) -> Vec<Finding> {
        let owner = owner(&self.config.github.owner);
        let place = format!("{owner}, Settings, Actions, Runner groups");
        let not_ok =
            |what: String, why: &str, remedy: String| Finding::not_ok(Check::RunnerGroup, name, what, why, remedy);
        let Some(group) = groups.iter().find(|group| group.is_meant_by(name)) else {
            return vec![not_ok(
                format!("there is no such runner group in the {owner}"),
                "runners of its pools cannot be registered: their machines never take a job",
                format!("make it ({place}), or set runner_group of {} to one that exists", listed(pools)),
            )];
        };
        let mut found = Vec::new();
        match self.checkup.selected.get(&group.id) {
            Some(Err(error)) => found.push(self.unread(Check::RunnerGroup, name, error)),
            Some(Ok(all)) => {
                for pool in pools {
                    if let Some(missing) = uncovered(pool, all) {
                        let which = if all.read.is_empty() { "no repository at all" } else { "some repositories only" };
                        found.push(not_ok(
                            format!("it is open to {which}, and not to {missing} of pool {}", pool.name),
                            "GitHub gives its runners no job of another repository: the job waits beside an idle machine",
                            format!("{place}, {}: give it access to that repository, or to all", group.name),
                        ));
                    }
                }
            }
            None => {}
        }
        for pool in pools {
            let hidden = !group.allows_public_repositories || group.visibility == "private";
            if pool.public_repositories && hidden {
                found.push(not_ok(
                    format!("it is closed to public repositories, to which pool {} is open", pool.name),
                    "a job of a public repository waits beside an idle machine, and machines are launched for it",
                    format!("{place}, {}: allow public repositories, or set public_repositories = false", group.name),
                ));
            } else if !pool.public_repositories && group.allows_public_repositories && group.visibility != "private" {
                found.push(not_ok(
                    format!("it is open to public repositories, to which pool {} is not", pool.name),
                    "GitHub chooses whose job an idle runner gets: a stranger's pull request could run on your machines",
                    format!("{place}, {}: do not allow public repositories, or use another group", group.name),
                ));
            }
        }
        if group.restricted_to_workflows && group.selected_workflows.is_empty() {
            found.push(not_ok(
                "it is restricted to selected workflows, and none is selected".to_owned(),
                "GitHub gives its runners no job",
                format!("{place}, {}: select workflows, or allow all", group.name),
            ));
        }
        if found.is_empty() {
            let only = match &*group.selected_workflows {
                some if group.restricted_to_workflows => format!(", for {} only", some.join(", ")),
                _ => String::new(),
            };
            found.push(Finding::ok(
                Check::RunnerGroup,
                name,
                format!("it is there and open to {}{only}", listed(pools)),
            ));
        }
        found
    }
}

fn group_of_repository(name: &str) -> Finding {
    if name.eq_ignore_ascii_case("default") {
        return Finding::ok(Check::RunnerGroup, name, "runners of a repository have no groups");
    }
    Finding::not_ok(
        Check::RunnerGroup,
        name,
        "runners of a repository have no groups",
        "runners of its pools cannot be registered: their machines never take a job",
        "set runner_group = \"default\", or register runners with the organization",
    )
}

/// What of a pool's repositories is not in a list; `None` if nothing is missing that can be named.
fn uncovered(pool: &Pool, all: &Repositories) -> Option<String> {
    let is_there = |text: &str| all.read.iter().any(|name| name.eq_ignore_ascii_case(text));
    let exact = pool.repositories.iter().filter(|pattern| !pattern.as_str().contains(['*', '?']));
    let missing: Vec<&str> = exact.map(|pattern| pattern.as_str()).filter(|name| !is_there(name)).collect();
    if !missing.is_empty() && all.whole {
        return Some(missing.join(", "));
    }
    let any = all.read.iter().any(|one| pool.repositories.iter().any(|pattern| pattern.matches(one)));
    let patterns = || pool.repositories.iter().map(|pattern| pattern.as_str()).collect::<Vec<_>>().join(", ");
    (!any && all.whole).then(|| format!("any repository of {}", patterns()))
}

fn listed(pools: &[&Pool]) -> String {
    let names: Vec<String> = pools.iter().map(|pool| pool.name.to_string()).collect();
    format!("{} {}", if names.len() == 1 { "pool" } else { "pools" }, names.join(", "))
}
