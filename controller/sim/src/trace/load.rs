//! The load that a trace is turned into: a window of it, rebased, and several copies laid over each other.
//!
//! Invariant: runs come out by time, and the ids and repositories of two copies are distinct.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use muster_core::ids::RunId;

use super::{Run, Trace, TraceError, TraceReader};

/// The most copies that are laid over each other: each keeps its own reader open.
pub const SCALE_MAX: u32 = 1_000;
/// The run ids of copy `k` are those of the trace plus `k` times this.
pub const RUN_ID_STRIDE: i64 = 1_000_000_000_000;
/// The copies start within this span of each other, evenly, so that day and night stay where they are.
const OVERLAY_SPAN: Duration = Duration::from_secs(3_600);

/// Which part of a trace, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How many copies, at least 1.
    pub scale: u32,
    /// Runs before this are left out; it becomes the new start.
    pub from: Duration,
    /// Runs from here on are left out.
    pub to: Option<Duration>,
}

impl Cut {
    /// All of it, once.
    pub const WHOLE: Cut = Cut { scale: 1, from: Duration::ZERO, to: None };

    /// The runs of `[from, to)`, once, with `from` as the new start.
    pub const fn window(from: Duration, to: Duration) -> Cut {
        Cut { scale: 1, from, to: Some(to) }
    }
}

struct Copy {
    reader: TraceReader,
    head: Option<Run>,
    shift: Duration,
    number: u32,
    repositories: HashMap<Arc<str>, Arc<str>>,
}

/// The runs of a trace, cut and overlaid.
pub struct Load {
    copies: Vec<Copy>,
    order: BinaryHeap<Reverse<(Duration, usize)>>,
    cut: Cut,
    failed: Option<TraceError>,
}

impl Load {
    pub(crate) fn new(trace: &Trace, cut: Cut) -> Result<Load, TraceError> {
        if cut.scale == 0 || cut.scale > SCALE_MAX {
            return Err(TraceError::File {
                file: trace.name().to_owned(),
                what: format!("cannot be overlaid {} times", cut.scale),
                remedy: format!("choose a scale from 1 to {SCALE_MAX}"),
            });
        }
        let mut load = Load { copies: Vec::new(), order: BinaryHeap::new(), cut, failed: None };
        for number in 0..cut.scale {
            let shift = OVERLAY_SPAN * number / cut.scale;
            let copy = Copy { reader: trace.runs()?, head: None, shift, number, repositories: HashMap::new() };
            load.copies.push(copy);
            load.refill(number as usize);
        }
        Ok(load)
    }

    fn refill(&mut self, index: usize) {
        let Some(copy) = self.copies.get_mut(index) else { return };
        loop {
            match copy.reader.next() {
                None => return,
                Some(Err(error)) => {
                    self.failed = Some(error);
                    return;
                }
                Some(Ok(run)) if run.at < self.cut.from => {}
                Some(Ok(run)) if self.cut.to.is_some_and(|to| run.at >= to) => return,
                Some(Ok(mut run)) => {
                    run.at = run.at - self.cut.from + copy.shift;
                    if let Err(error) = copy.rename(&mut run) {
                        self.failed = Some(error);
                        return;
                    }
                    self.order.push(Reverse((run.at, index)));
                    copy.head = Some(run);
                    return;
                }
            }
        }
    }
}

impl Copy {
    fn rename(&mut self, run: &mut Run) -> Result<(), TraceError> {
        if self.number == 0 {
            return Ok(());
        }
        let Some(id) = run.id.0.checked_add(i64::from(self.number) * RUN_ID_STRIDE) else {
            let what =
                format!("run_id is {}, which leaves no room for the ids of {} copies", run.id.0, self.number + 1);
            return Err(self.reader.bad(what, "write smaller run ids, or overlay fewer copies"));
        };
        run.id = RunId(id);
        let number = self.number + 1;
        let renamed = self
            .repositories
            .entry(run.repository.clone())
            .or_insert_with_key(|repository| format!("{repository}-{number}").into());
        run.repository = renamed.clone();
        Ok(())
    }
}

impl Iterator for Load {
    type Item = Result<Run, TraceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            self.order.clear();
            return Some(Err(error));
        }
        let Reverse((_, index)) = self.order.pop()?;
        let run = self.copies.get_mut(index)?.head.take()?;
        self.refill(index);
        Some(Ok(run))
    }
}
