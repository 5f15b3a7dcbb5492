//! Shapes whose image has a runner release that GitHub no longer takes.
//!
//! Such a shape is held wherever it is. Whether it has a newer image by now is only seen by a machine of it: so one is
//! launched every [`PROBE_EVERY`], if somebody wants one, and the hold ends once GitHub lists its runner with a release that
//! it takes.
//!
//! Invariant: what was found last counts, in whatever order it is merged.

use std::time::Duration;

use super::World;
use crate::ids::ShapeId;
use crate::launch::{Hold, Launch, LaunchErrorKind, Offering};
use crate::machine::Market;
use crate::ports::Batch;
use crate::time::Timestamp;

/// How often a shape whose image is too old is tried with one machine.
pub const PROBE_EVERY: Duration = Duration::from_secs(1_800);

impl World {
    /// The hold on a shape wherever it is. While `until` is to come nothing of the shape is launched; after it, one machine.
    pub fn shape_hold(&self, shape: &ShapeId, market: Market) -> Option<&Hold> {
        // One that was lifted is remembered: it is newer than what is merged late.
        self.last_hold(&Offering::everywhere(shape.clone(), market)).filter(|hold| hold.strikes > 0)
    }

    /// Takes in whether GitHub takes the release of a shape's image; the hold as it now is, if that changes it.
    pub(super) fn release_judged(
        &mut self,
        shape: &ShapeId,
        market: Market,
        taken: bool,
        at: Timestamp,
    ) -> Option<Hold> {
        let offering = Offering::everywhere(shape.clone(), market);
        let known = self.last_hold(&offering);
        let found_at = known.map(|hold| if hold.strikes > 0 { hold.until - PROBE_EVERY } else { hold.until });
        let is_held = known.is_some_and(|hold| hold.strikes > 0);
        if found_at.is_some_and(|found| found >= at) || (taken && !is_held) {
            return None;
        }
        let (until, strikes) = if taken { (at, 0) } else { (at + PROBE_EVERY, 1) };
        let hold = Hold { offering, kind: LaunchErrorKind::Outdated, until, strikes };
        self.put_hold(hold.clone());
        Some(hold)
    }

    /// A machine of a shape is to be launched: if its image was found too old, the next one is for later.
    pub(super) fn probed(&mut self, shape: &ShapeId, market: Market, now: Timestamp, batch: &mut Batch) {
        if let Some(hold) = self.shape_hold(shape, market) {
            let hold = Hold { until: now + PROBE_EVERY, ..hold.clone() };
            batch.holds.push(hold.clone());
            self.put_hold(hold);
        }
    }
    /// No machine came of a probe: the next one may be tried at once, as far as the image goes.
    pub(super) fn not_probed(&mut self, launch: &Launch, now: Timestamp, batch: &mut Batch) {
        let (shape, market) = (&launch.purpose.shape, launch.purpose.market);
        let until = launch.intended_at + PROBE_EVERY;
        if let Some(hold) = self.shape_hold(shape, market).filter(|hold| hold.until == until) {
            let hold = Hold { until: now, ..hold.clone() };
            batch.holds.push(hold.clone());
            self.put_hold(hold);
        }
    }
}
