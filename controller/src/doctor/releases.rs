//! The runner releases of connected runners, against what GitHub offers and takes, judged.
//!
//! What lives here: judgement by facts and the present. What may not: for how long a release was offered: only the ledger
//! knows, and the metric `RunnerVersionAge` tells.
//!
//! Invariant: what GitHub has not said the end of is not called wrong.

use std::time::Duration;

use muster_core::machine::{instance_of, runner_name};
use muster_core::ports::GithubError;
use muster_core::release::{Release, Retirement};
use muster_core::time::Timestamp;
use muster_github::{InstallationFacts, ReleaseFacts};
use muster_webhook::clock::{Clock as _, SystemClock};

use super::github::Judge;
use super::{Check, Finding};

/// A release that ends sooner than this is to be replaced now.
const SOON: Duration = Duration::from_secs(10 * 24 * 3_600);

impl Judge<'_> {
    pub(super) fn releases(&self, facts: &InstallationFacts) -> Finding {
        let not_checked = |what, remedy| Finding::not_checked(Check::RunnerVersion, &*self.about, what, remedy);
        match &self.checkup.releases {
            Some(Ok(releases)) => self.judge_releases(releases, SystemClock.now()),
            Some(Err(GithubError::Rejected(_))) if !self.may_see_runners(facts) => {
                not_checked("the permission to see it is missing", "mend the permission first")
            }
            Some(Err(error)) => self.unread(Check::RunnerVersion, &self.about, error),
            None => not_checked("it was not asked for", "run it again"),
        }
    }

    fn judge_releases(&self, facts: &ReleaseFacts, now: Timestamp) -> Finding {
        let ReleaseFacts { newest, running, retirements } = facts;
        let ours = |name| {
            let instance = instance_of(name)?;
            let mut pools = self.config.pools().iter();
            pools.find(|pool| name.as_str().starts_with(runner_name(&pool.name, &instance, "").as_str()))
        };
        let ours = running.iter().filter(|(name, _)| ours(name).is_some());
        let Some(oldest) = ours.map(|(_, release)| *release).min() else {
            let what = format!("GitHub offers {newest}; no runner of this fleet is connected that could be compared");
            return Finding::ok(Check::RunnerVersion, &*self.about, what);
        };
        let at_end = |release: &Release| retirements.get(release).and_then(Retirement::at);
        match at_end(&oldest) {
            Some(at) if at <= now + SOON => {
                let ends = if at <= now { "has taken no more since" } else { "takes no more from" };
                Finding::not_ok(
                    Check::RunnerVersion,
                    &*self.about,
                    format!("a runner has release {oldest}, which GitHub {ends} {at}; it offers {newest}"),
                    "runners of a release that GitHub takes no more cannot register, or get no jobs",
                    format!("build a new image with runner release {newest}, and let the fleet launch it"),
                )
            }
            _ if oldest >= *newest => Finding::ok(
                Check::RunnerVersion,
                &*self.about,
                format!("runners have {oldest}, the newest that is offered"),
            ),
            _ => {
                let what = format!(
                    "the oldest runner has {oldest}, and GitHub offers {newest}, which it wants taken within 30 days of its \
                     coming out; the metric RunnerVersionAge tells since when it is offered"
                );
                Finding::ok(Check::RunnerVersion, &*self.about, what)
            }
        }
    }
}
