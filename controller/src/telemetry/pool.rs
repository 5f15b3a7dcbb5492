//! The gauges of one pool, and their line.
//!
//! Invariant: the line holds, class by class, all that its gauges are computed from.

use muster_core::ids::{ClassId, PoolName};
use muster_core::metric::{self, dimension};
use muster_core::money::HourlyPrice;
use muster_core::time::Timestamp;
use muster_core::world::ClassWorld;
use muster_emf::{Document, DocumentError, Unit};
use serde_json::json;

use super::document;

/// What a pool's gauges are computed from.
#[derive(Default)]
pub(super) struct PoolGauges {
    idle: usize,
    busy: usize,
    booting: usize,
    ready: usize,
    /// Stopped machines of its shapes.
    pub(super) standby: u32,
    oldest: Option<Timestamp>,
    /// Whether jobs of a class wait and nothing is there or on its way for them.
    pub(super) exhausted: bool,
    /// What its machines cost.
    pub(super) price: HourlyPrice,
    classes: serde_json::Map<String, serde_json::Value>,
}

impl PoolGauges {
    /// Counts a class of the pool in.
    pub(super) fn add(&mut self, id: &ClassId, state: &ClassWorld) {
        let booting = state.booting.len() + state.registering.len() + state.launching as usize;
        // A machine whose agent may claim again is a mint away too.
        let (idle, ready, need) = (state.idle.len(), state.ready.len() + state.between.len(), state.need());
        self.idle += idle;
        self.busy += state.busy.len();
        self.booting += booting;
        self.ready += ready;
        let exhausted = need > 0 && idle + booting + ready == 0;
        self.exhausted |= exhausted;
        let oldest = state.queued.first_key_value().map(|((at, _), _)| *at);
        self.oldest = [self.oldest, oldest].into_iter().flatten().min();
        if !state.is_empty() {
            let told = json!({
                "queued": state.queued.len(), "taken": state.unmatched.len(), "idle": idle, "booting": booting,
                "ready": ready, "busy": state.busy.len(), "oldest_at": oldest.map(Timestamp::unix_ms),
            });
            self.classes.insert(id.to_string(), told);
        }
    }

    /// The line of the pool at `now`.
    pub(super) fn line(self, pool: &PoolName, now: Timestamp) -> Result<Document, DocumentError> {
        let mut line = document(now)?;
        line.dimension(dimension::POOL, pool.as_str())?.dimension_set([dimension::POOL])?;
        let standby = f64::from(self.standby);
        let oldest = self.oldest.map_or(0.0, |at| now.since(at).as_secs_f64());
        let gauges = [
            (metric::RUNNERS_IDLE, Unit::Count, self.idle as f64),
            (metric::RUNNERS_BUSY, Unit::Count, self.busy as f64),
            (metric::RUNNERS_BOOTING, Unit::Count, self.booting as f64),
            (metric::RUNNERS_READY, Unit::Count, self.ready as f64),
            (metric::RUNNERS_STANDBY, Unit::Count, standby),
            (metric::POOL_DEPTH, Unit::Count, (self.idle + self.ready) as f64 + standby),
            (metric::POOL_EXHAUSTED, Unit::Count, f64::from(u8::from(self.exhausted))),
            (metric::OLDEST_QUEUED_JOB, Unit::Seconds, oldest),
            (metric::ESTIMATED_COST, Unit::None, self.price.usd()),
        ];
        for (name, unit, value) in gauges {
            line.metric(name, unit, [value])?;
        }
        line.property("classes", serde_json::Value::Object(self.classes))?;
        Ok(line)
    }
}
