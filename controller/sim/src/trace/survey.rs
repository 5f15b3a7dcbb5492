//! What a trace holds, counted in one pass: its label sets, its hours, its length.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Run, TraceError};

/// The labels of a job, as written.
pub type LabelSet = Arc<[Arc<str>]>;

const HOUR_S: u64 = 3_600;

/// The count of a trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// How many runs.
    pub runs: u64,
    /// How many jobs.
    pub jobs: u64,
    /// Jobs by label set.
    pub label_sets: BTreeMap<LabelSet, u64>,
    /// Jobs of the runs triggered in each hour, from the start; hours without any are left out.
    pub hours: BTreeMap<u64, u64>,
    /// When the last run is triggered.
    pub last: Duration,
}

impl Survey {
    /// Counts runs.
    ///
    /// # Errors
    /// The first run that is none.
    pub fn of(runs: impl Iterator<Item = Result<Run, TraceError>>) -> Result<Survey, TraceError> {
        let mut survey = Survey::default();
        for run in runs {
            let run = run?;
            survey.runs += 1;
            survey.last = run.at;
            for job in &run.jobs {
                survey.jobs += 1;
                match survey.label_sets.get_mut(&job.labels) {
                    Some(count) => *count += 1,
                    None => {
                        survey.label_sets.insert(job.labels.clone(), 1);
                    }
                }
            }
            *survey.hours.entry(run.at.as_secs() / HOUR_S).or_default() += run.jobs.len() as u64;
        }
        Ok(survey)
    }

    /// The hour with the most jobs, as [from, to); of several the first. `None` for an empty trace.
    pub fn busiest_hour(&self) -> Option<(Duration, Duration)> {
        let (hour, _) = self.hours.iter().max_by_key(|(hour, jobs)| (**jobs, std::cmp::Reverse(**hour)))?;
        Some((Duration::from_secs(hour * HOUR_S), Duration::from_secs((hour + 1) * HOUR_S)))
    }
}
