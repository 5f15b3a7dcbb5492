//! Listeners that wait for jobs that cannot come.
//!
//! Invariant: a listener's lot depends on the seed and its registration alone; without faults nothing is drawn.

use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::RunnerId;

use crate::chance::{Chance, Purpose};

/// The longest that a machine waits before the cloud takes it.
const WAITS_MAX: Duration = Duration::from_secs(1_800);

/// What goes wrong with listeners. Shares are of all that connect, from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerFaults {
    /// GitHub does not see them, though their agents say that they wait.
    pub ghosts: f64,
    /// The cloud takes their machine without a notice, if it still waits after a while of up to half an hour.
    pub taken: f64,
    /// Their machine hangs the moment they have connected: the agent is never heard again, and the cloud says it runs.
    pub hung: f64,
    /// A repository that no runner's group lets in: its jobs wait beside idle runners.
    pub hidden: Option<Arc<str>>,
}

impl ListenerFaults {
    /// Whether nothing goes wrong.
    pub fn is_none(&self) -> bool {
        *self == ListenerFaults::default()
    }
}

/// What becomes of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lot {
    Sound,
    Ghost,
    Hangs,
    /// After this time, if it still waits.
    Taken(Duration),
}

impl ListenerFaults {
    pub(crate) fn lot(&self, chance: Chance, runner: RunnerId) -> Lot {
        if self.is_none() {
            return Lot::Sound;
        }
        let share = |n: u64| chance.word(Purpose::Listener, runner.0.unsigned_abs(), n) as f64 / u64::MAX as f64;
        let draw = share(0);
        if draw < self.ghosts {
            Lot::Ghost
        } else if draw < self.ghosts + self.hung {
            Lot::Hangs
        } else if draw < self.ghosts + self.hung + self.taken {
            Lot::Taken(WAITS_MAX.mul_f64(share(1)))
        } else {
            Lot::Sound
        }
    }
}
