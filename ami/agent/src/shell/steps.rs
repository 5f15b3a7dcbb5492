//! What [`Life`](crate::life::Life) asks for, done: calls beside the loop, and everything about the runner's process.
//!
//! Invariant: nothing here decides; what comes of a step is an observation.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use muster_core::protocol::AgentState;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::calls::Outside;
use super::{Event, Shell};
use crate::host;
use crate::life::{Ask, Look, Observation, Step};
use crate::metadata::NOTICE_EVERY;
use crate::options;
use crate::runner::{self, Running};
use crate::warm;
use crate::words;

/// How long the freezer may take.
const FREEZE_MAX: Duration = Duration::from_secs(3);
/// How often a metadata service is asked for notices that does not answer any more: it was switched off, as a rule.
const NOTICE_SELDOM: Duration = Duration::from_secs(60);

impl Shell {
    pub(super) async fn step(&mut self, step: Step) -> Vec<Observation> {
        match step {
            Step::ReadMetadata => self.beside(|outside| async move { Observation::Metadata(outside.learn().await) }),
            Step::Warm => {
                let settings = self.settings.clone();
                self.beside(|_| async move {
                    let _ = tokio::task::spawn_blocking(move || warm::warm(&settings)).await;
                    Observation::Warm
                });
            }
            Step::Call(call, ask) => self.call(call, ask),
            Step::Abandon(call) => {
                if let Some(task) = self.calls.remove(&call) {
                    task.abort();
                }
            }
            Step::NewKeys => {
                self.granted = None;
                if let Err(e) = self.kept.renew() {
                    words::log(&format!("no fresh keys: {e}"));
                }
                self.keep();
            }
            Step::StartRunner { again: false } => return vec![self.start().await],
            Step::StartRunner { again: true } => self.start_when_updated(),
            Step::Freeze => return self.freeze().await,
            Step::Thaw => {
                if let Some(running) = &self.running {
                    running.thaw();
                }
            }
            Step::Kill => return vec![self.kill().await],
            Step::Say(text) => words::say(&self.settings.console, &text),
            // Taken by `take`.
            Step::PowerOff(_) => {}
        }
        Vec::new()
    }

    fn call(&mut self, call: u64, ask: Ask) {
        if is_last_word(&ask) {
            self.last_word = Some(call);
        }
        let (outside, kept, events) = (self.outside.clone(), self.kept.clone(), self.events.clone());
        let task = spawn_local(async move {
            let told = outside.call(ask, kept).await;
            let _ = events.send(Event::Called(call, told));
        });
        self.calls.insert(call, task.abort_handle());
    }

    fn start_when_updated(&self) {
        let (events, folder) = (self.events.clone(), self.settings.runner_dir.clone());
        spawn_local(async move {
            runner::updated(&folder).await;
            let _ = events.send(Event::Updated);
        });
    }

    async fn freeze(&mut self) -> Vec<Observation> {
        // It is being updated.
        let nothing = Observation::Looked(Look { frozen: false, others: true, unread: false });
        let Some(running) = &mut self.running else { return vec![nothing] };
        let (signs, look) = running.freeze(FREEZE_MAX).await;
        signs.into_iter().map(Observation::Sign).chain([Observation::Looked(look)]).collect()
    }

    async fn kill(&mut self) -> Observation {
        if let Some(running) = self.running.take() {
            running.kill().await;
        }
        if let Some(orphan) = self.orphan.take() {
            let _ = orphan.kill();
        }
        Observation::Killed
    }

    /// Does something that takes its time, beside the loop.
    fn beside<F: Future<Output = Observation> + 'static>(&self, what: impl FnOnce(Rc<Outside>) -> F) {
        let (events, work) = (self.events.clone(), what(self.outside.clone()));
        spawn_local(async move {
            let _ = events.send(Event::Seen(work.await));
        });
    }

    pub(super) async fn start(&mut self) -> Observation {
        self.running = None;
        match self.start_runner().await {
            Ok(running) => {
                self.running = Some(running);
                self.watch();
                Observation::RunnerStarted
            }
            Err(e) => Observation::RunnerNotStarted(e.to_string()),
        }
    }

    async fn start_runner(&mut self) -> io::Result<Running> {
        // What a job can do, it can do from its first step on: so this comes before.
        if self.settings.firewall {
            host::secure(&self.settings.metadata)?;
        }
        let granted = self.granted.as_ref().ok_or_else(|| io::Error::other("there is no configuration"))?;
        let variables = options::apply(&granted.options, &self.settings).await?;
        self.kept.job_hours = granted.options.max_job_hours;
        self.kept.started = true;
        // Without it a restarted agent would not know; with it, nothing may be wrong.
        self.keeper.keep(&self.kept)?;
        Running::start(&self.settings, &variables, &granted.config)
    }

    /// Looks for the cloud's notices, once a runner is there.
    fn watch(&mut self) {
        if std::mem::replace(&mut self.watches, true) {
            return;
        }
        self.beside(|outside| async move {
            loop {
                match outside.metadata().notice().await {
                    Ok(true) => break Observation::Notice,
                    Ok(false) => sleep(NOTICE_EVERY).await,
                    Err(_) => sleep(NOTICE_SELDOM).await,
                }
            }
        });
    }
}

/// Whether a runner that had a job, or could not get that far, is over with it.
fn is_last_word(ask: &Ask) -> bool {
    match ask {
        Ask::Report { state, .. } => matches!(state, AgentState::Done { ran_job: true } | AgentState::Failed { .. }),
        Ask::Prewarmed | Ask::Claim { .. } => false,
    }
}
