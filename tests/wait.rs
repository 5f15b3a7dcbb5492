//! Waiting for a condition, never for a span.

use std::thread;
use std::time::{Duration, Instant};

/// How long between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until there is something to see.
///
/// # Panics
/// When `within` has passed without it; `what` says what was waited for.
pub fn until<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < within, "waited {within:?} in vain: {what}");
        thread::sleep(LOOK_EVERY);
    }
}
