//! The shell around [`Life`]: it sees, it does, and it decides nothing.
//!
//! One thread and one loop, in which systemd's watchdog is answered too: if it hangs, the agent is restarted, and a worker
//! that lives then is left to end (`Observation::Orphan`).

mod calls;
mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use self::calls::{Granted, Outside, Told};
use crate::clock::Clock;
use crate::host::{self, Pen};
use crate::http;
use crate::kept::{Keeper, Kept};
use crate::life::{Answer, Life, Moment, Observation, Phase, Step};
use crate::metadata::Metadata;
use crate::runner::{Happening, Running};
use crate::settings::Settings;
use crate::ship;
use crate::words;

/// Between two looks at a runner that writes nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What comes from the tasks beside the loop.
enum Event {
    Seen(Observation),
    Called(u64, Told),
    /// A runner that has updated itself can be started again.
    Updated,
}

struct Shell {
    settings: Settings,
    clock: Rc<Clock>,
    outside: Rc<Outside>,
    keeper: Keeper,
    kept: Kept,
    life: Life,
    events: UnboundedSender<Event>,
    calls: BTreeMap<u64, AbortHandle>,
    running: Option<Running>,
    orphan: Option<Box<dyn Pen>>,
    granted: Option<Box<Granted>>,
    watches: bool,
    /// The call that says how it ended, after which the runner's logs are put away.
    last_word: Option<u64>,
}

/// Lives one machine's life. Comes back when the machine's end was ordered.
///
/// # Errors
/// Something is missing without which there is nothing to be done; the service manager should try again.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let keeper = Keeper::new(&settings.state_dir).context("the folder of `state_dir` cannot be made")?;
    let kept = keeper.load();
    if kept.as_ref().is_some_and(|kept| kept.over) {
        words::log("the machine is over: it is switched off");
        return switch_off(settings).await;
    }
    let kept = match kept {
        Some(kept) => kept,
        None => Kept::fresh()?,
    };
    keeper.keep(&kept).context("`state_dir` cannot be written to")?;
    let started = kept.started;
    let (mut shell, steps, inbox) = Shell::new(settings, keeper, kept)?;
    words::log(concat!("version ", env!("CARGO_PKG_VERSION")));
    host::notify("READY=1");
    let begun = match started || shell.orphan.is_some() {
        false => shell.take(steps, VecDeque::new()).await,
        true => shell.resume().await,
    };
    match begun {
        Some(()) => Ok(()),
        None => shell.live(inbox).await,
    }
}

async fn switch_off(settings: Settings) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(move || host::power_off(&settings)).await.context("the machine cannot be switched off")
}

impl Shell {
    fn new(
        settings: Settings,
        keeper: Keeper,
        kept: Kept,
    ) -> anyhow::Result<(Shell, Vec<Step>, UnboundedReceiver<Event>)> {
        let spread = f64::from(SysRng.try_next_u32().unwrap_or(0)) / f64::from(u32::MAX);
        let clock = Rc::new(Clock::default());
        let metadata = Metadata::new(http::metadata()?, &settings.metadata, clock.clone());
        let outside = Rc::new(Outside::new(metadata, http::door(&settings)?, clock.clone()));
        let (life, steps) = Life::begin(settings.limits(spread));
        let (events, inbox) = unbounded_channel();
        let orphan = host::left_behind(&settings.runner_user, &settings.cgroup);
        let shell = Shell {
            settings,
            clock,
            outside,
            keeper,
            kept,
            life,
            events,
            calls: BTreeMap::new(),
            running: None,
            orphan,
            granted: None,
            watches: false,
            last_word: None,
        };
        Ok((shell, steps, inbox))
    }

    /// A former agent has died on this machine. Its runner is left alone; when that is over, so is the machine.
    async fn resume(&mut self) -> Option<()> {
        words::say(&self.settings.console, "an agent before this one has died; its runner is left to end");
        // The door's address is needed for reports.
        let outside = self.outside.clone();
        spawn_local(async move {
            while outside.learn().await.is_err() {
                sleep(LOOK_EVERY).await;
            }
        });
        let session = self.kept.session.is_some();
        let may_take = Observation::JobMayTake(self.settings.job_may_take(self.kept.job_hours));
        self.take(Vec::new(), VecDeque::from([may_take, Observation::Orphan { session }])).await
    }

    async fn live(mut self, mut inbox: UnboundedReceiver<Event>) -> anyhow::Result<()> {
        let mut terminate = Terminate::new()?;
        let mut watchdog = tokio::time::interval(host::watchdog().unwrap_or(Duration::from_secs(3_600)));
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wake = self.wake();
            let over = tokio::select! {
                Some(event) = inbox.recv() => self.event(event).await,
                happening = happens(&mut self.running) => self.happening(happening).await,
                () = sleep_until(wake) => self.observe(Observation::Time).await,
                _ = look.tick() => self.look().await,
                () = terminate.wait() => {
                    words::log("asked to end: a runner that lives is left alone");
                    self.observe(Observation::Notice).await
                }
                _ = watchdog.tick() => {
                    host::notify("WATCHDOG=1");
                    None
                }
            };
            if over.is_some() {
                return switch_off(self.settings).await;
            }
        }
    }

    fn now(&self) -> Moment {
        self.clock.elapsed()
    }

    fn wake(&self) -> Instant {
        let span = self.life.wake_at().saturating_sub(self.now());
        Instant::now() + span.clamp(Duration::from_millis(1), Duration::from_secs(3_600))
    }

    async fn observe(&mut self, seen: Observation) -> Option<()> {
        self.take(Vec::new(), VecDeque::from([seen])).await
    }

    async fn event(&mut self, event: Event) -> Option<()> {
        match event {
            Event::Seen(seen) => self.observe(seen).await,
            Event::Updated => {
                // It may have been given up meanwhile.
                if self.running.is_some() || *self.life.phase() != Phase::Starting {
                    return None;
                }
                let started = self.start().await;
                self.observe(started).await
            }
            Event::Called(call, told) => {
                self.calls.remove(&call);
                if matches!(told.answer, Answer::Heard { .. }) && self.last_word.take_if(|last| *last == call).is_some()
                {
                    self.ship();
                }
                if let Some(session) = told.session {
                    self.kept.session = Some(session);
                    self.keep();
                }
                let mut seen = VecDeque::new();
                if let Some(granted) = told.granted {
                    let may_take = self.settings.job_may_take(granted.options.max_job_hours);
                    seen.push_back(Observation::JobMayTake(may_take));
                    self.granted = Some(granted);
                }
                seen.push_back(Observation::Answered(call, told.answer));
                self.take(Vec::new(), seen).await
            }
        }
    }

    async fn happening(&mut self, happening: Happening) -> Option<()> {
        let (signs, exited) = match happening {
            Happening::Signs(signs) => (signs, None),
            Happening::Exited(signs, code) => {
                self.running = None;
                (signs, Some(Observation::RunnerExited(code)))
            }
        };
        self.take(Vec::new(), signs.into_iter().map(Observation::Sign).chain(exited).collect()).await
    }

    async fn look(&mut self) -> Option<()> {
        if let Some(orphan) = &self.orphan {
            if orphan.processes().is_ok_and(|all| all.is_empty()) {
                self.orphan = None;
                return self.observe(Observation::RunnerExited(None)).await;
            }
            return None;
        }
        if self.running.is_none() && self.kept.started && self.calls.is_empty() {
            // Nothing of the former agent's runner was left when this one began.
            self.kept.started = false;
            return self.observe(Observation::RunnerExited(None)).await;
        }
        let signs = self.running.as_mut()?.look();
        self.take(Vec::new(), signs.into_iter().map(Observation::Sign).collect()).await
    }

    /// Takes steps and feeds what comes of them back, until nothing is left. `Some`: the machine is over.
    async fn take(&mut self, steps: Vec<Step>, mut seen: VecDeque<Observation>) -> Option<()> {
        let mut steps = VecDeque::from(steps);
        loop {
            while let Some(step) = steps.pop_front() {
                if let Step::PowerOff(why) = step {
                    self.power_off(&why);
                    return Some(());
                }
                seen.extend(self.step(step).await);
            }
            let next = seen.pop_front()?;
            let now = self.now();
            let before = self.life.phase().clone();
            steps.extend(self.life.observe(next, now));
            if std::mem::discriminant(&before) != std::mem::discriminant(self.life.phase()) {
                words::log(&format!("{before:?} -> {:?}", self.life.phase()));
            }
        }
    }

    fn keep(&self) {
        if let Err(e) = self.keeper.keep(&self.kept) {
            words::log(&format!("`state_dir` cannot be written to: {e}"));
        }
    }

    /// Puts the runner's logs away, beside all that is still to be done. Nothing waits for it.
    fn ship(&self) {
        let (door, session) = (self.outside.door(), self.kept.session.clone());
        if let (Some(door), Some(from)) = (door, session) {
            let (settings, clock) = (self.settings.clone(), self.clock.clone());
            spawn_local(async move { ship::ship(door, from, settings, &clock).await });
        }
    }

    fn power_off(&mut self, why: &str) {
        words::say(&self.settings.console, &format!("the machine ends: {why}"));
        self.kept.over = true;
        self.keep();
        for (_, call) in std::mem::take(&mut self.calls) {
            call.abort();
        }
    }
}

async fn happens(running: &mut Option<Running>) -> Happening {
    match running {
        Some(running) => running.happens().await,
        None => std::future::pending().await,
    }
}

/// The service manager's wish that the agent ends.
struct Terminate {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Terminate {
    fn new() -> io::Result<Terminate> {
        Ok(Terminate {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        #[cfg(unix)]
        if self.signal.recv().await.is_some() {
            return;
        }
        std::future::pending().await
    }
}
