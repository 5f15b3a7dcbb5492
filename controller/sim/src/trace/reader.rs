//! One run at a time, from text to [`Run`].
//!
//! Invariant: every run that comes out is sound: its needs name jobs of the run, form no circle, and its time is not
//! before that of the run before it.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Read};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::{JobSpec, Run, TraceError};
use muster_core::ids::RunId;

/// The longest line that is read. A run of a 256-job matrix takes about 60 kB.
pub const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most jobs that one run may have.
const JOBS_MAX: usize = 4_096;
/// Times and durations above this are mistakes (milliseconds for seconds): ten years.
const SECONDS_MAX: f64 = 10.0 * 366.0 * 86_400.0;

#[derive(Deserialize)]
struct RawRun {
    run_id: i64,
    t: f64,
    repo: String,
    #[serde(default)]
    public: bool,
    #[serde(default)]
    workflow: String,
    #[serde(default)]
    event: String,
    #[serde(default)]
    cancel_after_s: Option<f64>,
    jobs: Vec<RawJob>,
}

#[derive(Deserialize)]
struct RawJob {
    name: String,
    #[serde(default)]
    job: Option<String>,
    #[serde(default)]
    needs: Vec<String>,
    labels: Vec<String>,
    duration_s: f64,
}

/// Reads a trace, run by run.
pub struct TraceReader {
    file: String,
    input: Box<dyn BufRead + Send>,
    line: u64,
    text: Vec<u8>,
    last: Duration,
    words: HashSet<Arc<str>>,
    label_sets: HashMap<Vec<String>, Arc<[Arc<str>]>>,
    over: bool,
}

impl TraceReader {
    pub(crate) fn new(file: String, input: Box<dyn BufRead + Send>) -> TraceReader {
        TraceReader {
            file,
            input,
            line: 0,
            text: Vec::new(),
            last: Duration::ZERO,
            words: HashSet::new(),
            label_sets: HashMap::new(),
            over: false,
        }
    }

    fn read(&mut self) -> Result<Option<Run>, TraceError> {
        loop {
            self.text.clear();
            self.line += 1;
            let mut line = self.input.by_ref().take(LINE_BYTES_MAX as u64 + 1);
            let read = line.read_until(b'\n', &mut self.text);
            match read.map_err(|error| TraceError::garbled(&self.file, self.line, &error))? {
                0 => return Ok(None),
                n if n > LINE_BYTES_MAX => {
                    return Err(self.bad(format!("is longer than {LINE_BYTES_MAX} bytes"), "write one run a line"));
                }
                _ if self.text.iter().all(u8::is_ascii_whitespace) => {}
                _ => return self.run().map(Some),
            }
        }
    }

    fn run(&mut self) -> Result<Run, TraceError> {
        let raw: RawRun = serde_json::from_slice(&self.text)
            .map_err(|error| self.bad(format!("is not a run: {error}"), "see the trace format in the documentation"))?;
        if raw.repo.split('/').filter(|part| !part.is_empty()).count() != 2 || raw.repo.matches('/').count() != 1 {
            return Err(self.bad(format!("repo is {:?}", raw.repo), "write owner/name"));
        }
        if raw.jobs.len() > JOBS_MAX {
            return Err(self.bad(format!("has {} jobs", raw.jobs.len()), "split the run: 4,096 jobs are the limit"));
        }
        let at = self.seconds("t", raw.t)?;
        if at < self.last {
            return Err(self.bad(format!("t is {} s, before the line above", raw.t), "sort the lines by t"));
        }
        self.last = at;
        let cancel_after = raw.cancel_after_s.map(|s| self.seconds("cancel_after_s", s)).transpose()?;
        let mut groups: Vec<&str> = raw.jobs.iter().map(RawJob::group).collect();
        groups.sort_unstable();
        groups.dedup();
        let mut jobs = Vec::with_capacity(raw.jobs.len());
        for job in &raw.jobs {
            let group = place(&groups, job.group());
            let mut needs = Vec::with_capacity(job.needs.len());
            for need in &job.needs {
                match groups.binary_search(&need.as_str()) {
                    Ok(_) => needs.push(place(&groups, need)),
                    Err(_) => {
                        let what = format!("job {:?} needs {need:?}, which is not in the run", job.name);
                        return Err(self.bad(what, "add that job to the run or drop the need"));
                    }
                }
            }
            needs.sort_unstable();
            needs.dedup();
            let duration = self.seconds("duration_s", job.duration_s)?;
            let name = word(&mut self.words, &job.name);
            let labels = label_set(&mut self.label_sets, &mut self.words, &job.labels);
            jobs.push(JobSpec { name, group, needs: needs.into(), labels, duration });
        }
        let group_count = groups.len();
        if circular(&jobs, group_count) {
            return Err(self.bad("its needs form a circle".to_owned(), "break the circle"));
        }
        Ok(Run {
            id: RunId(raw.run_id),
            at,
            repository: word(&mut self.words, &raw.repo),
            public: raw.public,
            workflow: word(&mut self.words, &raw.workflow),
            event: word(&mut self.words, &raw.event),
            cancel_after,
            jobs,
            groups: u16::try_from(group_count).unwrap_or(u16::MAX),
        })
    }

    fn seconds(&self, field: &str, seconds: f64) -> Result<Duration, TraceError> {
        if !(0.0..=SECONDS_MAX).contains(&seconds) {
            return Err(self.bad(format!("{field} is {seconds}"), "write seconds, from 0"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, as just checked")]
        let ms = (seconds * 1_000.0).round() as u64;
        Ok(Duration::from_millis(ms))
    }

    /// What is wrong with the line that was read last.
    pub(super) fn bad(&self, what: String, remedy: &str) -> TraceError {
        TraceError::line(&self.file, self.line, what, remedy)
    }
}

impl RawJob {
    fn group(&self) -> &str {
        self.job.as_deref().unwrap_or(&self.name)
    }
}

impl Iterator for TraceReader {
    type Item = Result<Run, TraceError>;

    /// The next run; after an error nothing more comes.
    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let run = self.read().transpose();
        self.over = !matches!(run, Some(Ok(_)));
        run
    }
}

/// The place of a name that is known to be there. Fewer than [`JOBS_MAX`] names: it fits.
fn place(groups: &[&str], name: &str) -> u16 {
    groups.binary_search(&name).ok().and_then(|at| u16::try_from(at).ok()).unwrap_or_default()
}

fn word(words: &mut HashSet<Arc<str>>, text: &str) -> Arc<str> {
    if let Some(known) = words.get(text) {
        return known.clone();
    }
    let new: Arc<str> = text.into();
    words.insert(new.clone());
    new
}

fn label_set(
    sets: &mut HashMap<Vec<String>, Arc<[Arc<str>]>>,
    words: &mut HashSet<Arc<str>>,
    labels: &[String],
) -> Arc<[Arc<str>]> {
    if let Some(known) = sets.get(labels) {
        return known.clone();
    }
    let new: Arc<[Arc<str>]> = labels.iter().map(|label| word(words, label)).collect();
    sets.insert(labels.to_vec(), new.clone());
    new
}

/// Whether some job can never be queued because it waits, over others, for itself.
fn circular(jobs: &[JobSpec], groups: usize) -> bool {
    let mut open = vec![0_usize; groups];
    for job in jobs {
        open[usize::from(job.group)] += 1;
    }
    let mut todo: Vec<&JobSpec> = jobs.iter().collect();
    loop {
        let before = todo.len();
        let (ready, rest): (Vec<&JobSpec>, Vec<&JobSpec>) =
            todo.iter().partition(|job| job.needs.iter().all(|need| open[usize::from(*need)] == 0));
        for job in ready {
            open[usize::from(job.group)] -= 1;
        }
        todo = rest;
        if todo.is_empty() || todo.len() == before {
            return !todo.is_empty();
        }
    }
}
