//! What a look at GitHub has found, and telling of it.
//!
//! What lives here: the words for the log. What may not: finding anything.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_core::ids::{InstanceId, JobKey, RunId, RunnerName};

use super::releases::{Ages, Old};
use super::reruns::Rerun;
use super::stranded::StrandedJob;
use crate::telemetry::Telemetry;

/// The tracing target.
const TARGET: &str = "muster::healer";

/// What a step has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healed {
    /// Jobs whose `queued` was taken out of the log of deliveries, and how late it is.
    pub deliveries: Vec<(JobKey, Duration)>,
    /// Jobs that a sweep has found, and how long ago they were created.
    pub swept: Vec<(JobKey, Duration)>,
    /// Jobs that GitHub has started or finished without our having heard.
    pub silent: Vec<JobKey>,
    /// Machines whose agent says that it waits for a job, and whose listener GitHub does not see.
    pub unseen: Vec<InstanceId>,
    /// Registrations that no machine had, and that are removed.
    pub leftovers: Vec<RunnerName>,
    /// Runners that GitHub says have a job, and whose machine is gone. Their jobs hang until GitHub gives them up.
    pub stranded: BTreeSet<RunnerName>,
    /// Jobs that have been open for long on a machine that is gone. They are looked for with each sweep.
    pub stranded_jobs: Vec<StrandedJob>,
    /// Runs that such jobs hold up and that GitHub was asked to cancel; whether by force.
    pub cancelled: Vec<(RunId, bool)>,
    /// How old the runner releases on the images are, by pool.
    pub ages: Ages,
    /// Images whose runner release is to be renewed.
    pub old: Vec<Old>,
    /// What came of runs whose jobs failed because the cloud took their machines.
    pub reruns: Vec<Rerun>,
    /// What went wrong. All of it is tried again.
    pub troubles: Vec<String>,
}

impl Healed {
    /// Logs and counts it.
    pub fn tell(&self) {
        for (key, late) in &self.deliveries {
            let (job, late_s) = (key.job.0, late.as_secs());
            tracing::warn!(target: TARGET, job, late_s, "a webhook that failed was healed");
        }
        for (key, late) in &self.swept {
            let (job, late_s) = (key.job.0, late.as_secs());
            tracing::warn!(target: TARGET, job, late_s, "a job was found whose webhook never came");
        }
        for key in &self.silent {
            tracing::warn!(target: TARGET, job = key.job.0, "a job has gone on without a webhook");
        }
        for instance in &self.unseen {
            tracing::warn!(target: TARGET, %instance, "GitHub does not see the listener of a runner that says it waits");
        }
        for runner in &self.leftovers {
            tracing::info!(target: TARGET, %runner, "a registration without a machine was removed");
        }
        for runner in &self.stranded {
            tracing::warn!(
                target: TARGET, %runner,
                "GitHub says that a runner has a job whose machine is gone: cancel the run and start it again, or wait until \
                 GitHub gives the job up"
            );
        }
        for StrandedJob { job, runner, since, .. } in &self.stranded_jobs {
            let (job, run, repository) = (job.key.job.0, job.run.0, &job.repository);
            tracing::warn!(target: TARGET, job, run, %repository, %runner, %since, "GitHub keeps a job open whose machine is gone");
        }
        for (run, force) in &self.cancelled {
            tracing::warn!(target: TARGET, run = run.0, force, "a run was cancelled that only such jobs hold up");
        }
        for Rerun { run, repository, jobs, outcome } in &self.reruns {
            let (run, jobs, outcome) = (run.0, jobs.len(), outcome.as_word());
            let what = "what came of a run whose jobs failed because the cloud took their machines";
            tracing::info!(target: TARGET, run, %repository, jobs, outcome, "{what}");
        }
        for Old { shape, standing, retired } in &self.old {
            let (release, newest, age_days) = (standing.release, standing.newest, standing.age.as_secs() / 86_400);
            let retires_at = standing.retires_at.map(|at| at.to_string());
            let what = match retired {
                true => "GitHub no longer takes the runner release on an image: nothing but a probe is launched of it",
                false => {
                    "the runner release on an image is old: GitHub gives its runners no jobs some 30 days after a newer one"
                }
            };
            tracing::warn!(
                target: TARGET, %shape, %release, %newest, age_days, retires_at,
                "{what}; build a new image with the newest release"
            );
        }
        for trouble in &self.troubles {
            tracing::warn!(target: TARGET, "{trouble}");
        }
        Telemetry::healed(self);
    }
}
