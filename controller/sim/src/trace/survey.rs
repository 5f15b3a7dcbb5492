//! What a trace holds, counted in one pass: its label sets, its hours, its length.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{Run, TraceError};

/// The labels of a job, as written.
pub type LabelSet = Arc<[Arc<str>]>;

const HOUR: Duration = Duration::from_secs(3_600);

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
    /// The busiest hour so far: its start and its jobs.
    busiest: Option<(Duration, u64)>,
}

/// The runs of the last hour, as the trace goes by.
#[derive(Default)]
struct Lately {
    runs: VecDeque<(Duration, u64)>,
    jobs: u64,
}

impl Lately {
    /// Takes in a run; the answer is the hour that begins with the oldest run still here, and its jobs.
    fn add(&mut self, at: Duration, jobs: u64) -> (Duration, u64) {
        self.runs.push_back((at, jobs));
        self.jobs += jobs;
        while let Some((_, old)) = self.runs.pop_front_if(|(from, _)| *from + HOUR <= at) {
            self.jobs -= old;
        }
        (self.runs.front().map_or(at, |(from, _)| *from), self.jobs)
    }
}

impl Survey {
    /// Counts runs.
    ///
    /// # Errors
    /// The first run that is none.
    pub fn of(runs: impl Iterator<Item = Result<Run, TraceError>>) -> Result<Survey, TraceError> {
        let mut survey = Survey::default();
        let mut lately = Lately::default();
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
            let jobs = run.jobs.len() as u64;
            *survey.hours.entry(run.at.as_secs() / HOUR.as_secs()).or_default() += jobs;
            let (from, jobs) = lately.add(run.at, jobs);
            if survey.busiest.is_none_or(|(_, most)| jobs > most) {
                survey.busiest = Some((from, jobs));
            }
        }
        Ok(survey)
    }

    /// The hour with the most jobs, as [from, to): it begins with a run; of several the first. `None` for an empty trace.
    pub fn busiest_hour(&self) -> Option<(Duration, Duration)> {
        self.busiest.map(|(from, _)| (from, from + HOUR))
    }
}
