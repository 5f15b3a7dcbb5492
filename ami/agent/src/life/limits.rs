//! How long what may take.

use std::time::Duration;

use muster_core::plan::{DRAIN_ANSWER_MAX, REMOVE_WITHIN, THAWS_AFTER};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Every limit. All but [`Limits::job`] and [`Limits::idle`] are constants of the protocol.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// For the metadata service to say who we are.
    pub metadata: Duration,
    /// Between two looks at it.
    pub look_again: Duration,
    /// For warming: the launch hook waits 5 minutes and no longer.
    pub warm: Duration,
    /// For how long the ledger may not know this machine (`docs/protocol.md`, 425).
    pub early: Duration,
    /// An idle machine whose door was silent for this long ends.
    pub silence: Duration,
    /// How long a machine may be idle, ready or listening.
    pub idle: Duration,
    /// From the runner's start until it listens. The listener's own session retries end after 4 minutes.
    pub start: Duration,
    /// For one job, unless the pool's options say otherwise.
    pub job: Duration,
    /// How long a message that was received may be a job though no job shows.
    pub message: Duration,
    /// A listener is ended that has been frozen for this long.
    pub frozen: Duration,
    /// Frozen, told, and no order: it is thawed.
    pub thaw: Duration,
    /// Frozen, and no answer to that: nothing is said any more ...
    pub unheard: Duration,
    /// ... and after this it is thawed. Whatever was said has been heard by then, and the door's own limits are over.
    pub quiet: Duration,
    /// Between two reports of a busy machine.
    pub beat: Duration,
    /// The door's answer to a report of an idle machine may be held back so long, in seconds.
    pub wait_s: u32,
    /// Least time between two such reports, for a door that holds nothing back.
    pub pause: Duration,
    /// After a failed call: the first delay, doubled with each, up to the last.
    pub retry: (Duration, Duration),
    /// How long the machine waits for its end by others once it is over and has said so.
    pub end: Duration,
    /// The same if it could not say so.
    pub end_untold: Duration,
    /// Between two tries to end an idle runner on our own.
    pub end_again: Duration,
    /// Runners one after another that end before they listen.
    pub fruitless: u32,
    /// Times that one session's runner may update itself or ask for another try.
    pub restarts: u32,
}

const THAW: Duration = THAWS_AFTER;
const UNHEARD: Duration = s(40);
const QUIET: Duration = s(50);
const _: () = assert!(UNHEARD.as_secs() + QUIET.as_secs() > DRAIN_ANSWER_MAX.as_secs() + REMOVE_WITHIN.as_secs());

impl Limits {
    /// The limits of the protocol. `spread` (0 to 1) tells this machine's delays from those of others, so that they do not
    /// all come back at once.
    pub fn new(job: Duration, idle: Duration, spread: f64) -> Limits {
        Limits {
            metadata: s(300),
            look_again: Duration::from_millis(500),
            warm: s(240),
            early: s(600),
            silence: s(1_800),
            idle,
            start: s(360),
            job,
            message: s(300),
            frozen: s(5),
            thaw: THAW,
            unheard: UNHEARD,
            quiet: QUIET,
            beat: s(30),
            wait_s: 25,
            pause: s(1),
            retry: (s(1).mul_f64(0.75 + spread / 2.0), s(30).mul_f64(0.75 + spread / 4.0)),
            end: s(120),
            end_untold: s(300),
            end_again: s(60),
            fruitless: 3,
            restarts: 5,
        }
    }

    /// What is waited out in every life (pauses, delays, the frozen seconds, the wait for the end) so many times faster, for
    /// tests with real processes. Bounds on what others may take stay as they are: a loaded machine reaches none of them.
    #[must_use]
    pub fn faster(mut self, times: f64) -> Limits {
        let spans = [
            &mut self.look_again,
            &mut self.frozen,
            &mut self.beat,
            &mut self.pause,
            &mut self.retry.0,
            &mut self.retry.1,
            &mut self.end,
            &mut self.end_again,
        ];
        divide(spans, times);
        self
    }

    /// The patience with a door that is silent or sends no order so many times shorter, for tests in which it runs out.
    #[must_use]
    pub fn shorter(mut self, times: f64) -> Limits {
        let spans = [
            &mut self.early,
            &mut self.silence,
            &mut self.thaw,
            &mut self.unheard,
            &mut self.quiet,
            &mut self.end_untold,
        ];
        divide(spans, times);
        self
    }
}

fn divide<const N: usize>(spans: [&mut Duration; N], times: f64) {
    for span in spans {
        *span = span.div_f64(times);
    }
}
