//! Looks at what changes outside of a function (configuration, secrets): before an event, but not at its cost.
//!
//! A function rests between events, and nothing runs meanwhile. So whatever it knows may be old when an event comes, and a
//! look *beside* the event would be too late for it: a job under a label that is served since a minute ago would be answered
//! with 2xx and dropped. An event that finds a look due waits for it, for [`PATIENCE`] at most; a look that takes longer
//! goes on beside the event and those after it. One that is still under way when the next is due was frozen with the
//! function, or hangs: it is given up.
//!
//! Invariant: there is one look at a time, and however many events come, each look delays them by [`PATIENCE`] at most.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::AbortHandle;
use tracing::warn;

/// A look is due so long after the one before has begun.
pub const LOOK_EVERY: Duration = Duration::from_secs(30);
/// So long after a look has begun, events wait for its end. GitHub waits 10 s for the answer to a delivery.
pub const PATIENCE: Duration = Duration::from_secs(2);

const _: () = assert!(PATIENCE.as_secs() < LOOK_EVERY.as_secs());

/// What can be looked at. A look may be given up at any point.
pub trait Look: Send + 'static {
    /// Looks once, and puts into force what it finds. A failure is told by the look itself.
    fn look(&mut self) -> impl Future<Output = ()> + Send;
}

/// The latest look.
struct Latest {
    began: Timestamp,
    /// Ends with it, however it ends.
    over: watch::Receiver<()>,
    task: Option<AbortHandle>,
}

/// Looks again and again, when events come.
pub struct Looks<L, K> {
    what: Arc<AsyncMutex<L>>,
    clock: K,
    latest: Mutex<Latest>,
}

impl<L: Look, K: Clock> Looks<L, K> {
    /// Of what was looked at just now.
    pub fn after_first(what: L, clock: K) -> Looks<L, K> {
        let latest = Latest { began: clock.now(), over: watch::channel(()).1, task: None };
        Looks { what: Arc::new(AsyncMutex::new(what)), clock, latest: Mutex::new(latest) }
    }

    /// Begins a look if one is due, and waits for the one that is under way while there is patience.
    pub async fn before_event(&self) {
        let (began, mut over) = self.latest();
        let left = (began + PATIENCE).since(self.clock.now());
        if left.is_zero() {
            return;
        }
        tokio::select! {
            biased;
            // Nothing is ever sent: the sender is gone when the look is over.
            _ = over.changed() => {}
            () = self.clock.sleep(left) => {
                warn!(target: "muster::config", "a look takes long: the event goes by what is known");
            }
        }
    }

    /// The look that counts now: the latest, or a new one.
    fn latest(&self) -> (Timestamp, watch::Receiver<()>) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        // A clock that was set back must not put the next look off for as long.
        if now.since(latest.began) >= LOOK_EVERY || now < latest.began {
            if let Some(task) = latest.task.take() {
                task.abort();
            }
            let (end, over) = watch::channel(());
            let what = self.what.clone();
            let task = tokio::spawn(async move {
                let _end = end;
                what.lock().await.look().await;
            });
            *latest = Latest { began: now, over, task: Some(task.abort_handle()) };
        }
        (latest.began, latest.over.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;

    /// A clock that is moved by hand.
    #[derive(Clone)]
    struct HandClock(Arc<watch::Sender<Duration>>);

    impl Default for HandClock {
        fn default() -> HandClock {
            HandClock(Arc::new(watch::Sender::new(Duration::ZERO)))
        }
    }

    impl Clock for HandClock {
        fn now(&self) -> Timestamp {
            Timestamp::EPOCH + *self.0.borrow()
        }

        async fn sleep(&self, span: Duration) {
            let until = *self.0.borrow() + span;
            let mut hand = self.0.subscribe();
            hand.wait_for(|now| *now >= until).await.unwrap();
        }
    }

    impl HandClock {
        /// Time passes, and whoever waited for it goes on.
        async fn passes(&self, span: Duration) {
            settled().await;
            self.0.send_modify(|now| *now += span);
            settled().await;
        }
    }

    /// All tasks have gone as far as they can without time.
    async fn settled() {
        for _ in 0..32 {
            tokio::task::yield_now().await;
        }
    }

    /// Something that changes outside, and what is known of it.
    #[derive(Clone, Default)]
    struct Watched {
        clock: HandClock,
        outside: Arc<AtomicUsize>,
        known: Arc<AtomicUsize>,
        looks: Arc<AtomicUsize>,
        at_once: Arc<AtomicUsize>,
        takes: Arc<Mutex<Duration>>,
    }

    impl Look for Watched {
        async fn look(&mut self) {
            assert_eq!(self.at_once.fetch_add(1, Ordering::SeqCst), 0, "two looks at once");
            let _over = Over(self.at_once.clone());
            self.looks.fetch_add(1, Ordering::SeqCst);
            let takes = *self.takes.lock().unwrap();
            self.clock.sleep(takes).await;
            self.known.store(self.outside.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    struct Over(Arc<AtomicUsize>);

    impl Drop for Over {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Watched {
        fn taking(span: Duration) -> (Watched, Looks<Watched, HandClock>) {
            let watched = Watched::default();
            watched.takes(span);
            (watched.clone(), Looks::after_first(watched.clone(), watched.clock))
        }

        fn changes(&self) -> usize {
            self.outside.fetch_add(1, Ordering::SeqCst) + 1
        }

        fn known(&self) -> usize {
            self.known.load(Ordering::SeqCst)
        }

        fn takes(&self, span: Duration) {
            *self.takes.lock().unwrap() = span;
        }

        fn count(&self) -> usize {
            self.looks.load(Ordering::SeqCst)
        }
    }

    const A_MOMENT: Duration = Duration::from_millis(80);
    const FOREVER: Duration = Duration::from_secs(86_400);

    #[tokio::test]
    async fn the_first_event_after_a_rest_goes_by_what_holds_now() {
        let (watched, looks) = Watched::taking(A_MOMENT);
        let now = watched.changes();
        looks.before_event().now_or_never().expect("nothing is due");
        assert_eq!(watched.count(), 0);
        watched.clock.passes(Duration::from_secs(3_600)).await;
        let mut event = pin!(looks.before_event());
        assert!(event.as_mut().now_or_never().is_none(), "it waits");
        watched.clock.passes(A_MOMENT).await;
        event.now_or_never().expect("it waits no longer than the look takes");
        assert_eq!((watched.known(), watched.count()), (now, 1));
        // And those after it do not look again.
        watched.changes();
        watched.clock.passes(LOOK_EVERY - A_MOMENT * 2).await;
        looks.before_event().now_or_never().expect("nothing is due");
        settled().await;
        assert_eq!((watched.known(), watched.count()), (now, 1));
    }

    #[tokio::test]
    async fn of_many_events_one_looks_and_all_wait_for_it() {
        let (watched, looks) = Watched::taking(A_MOMENT);
        let now = watched.changes();
        watched.clock.passes(LOOK_EVERY).await;
        let events = (0..20).map(|_| async {
            looks.before_event().await;
            watched.known()
        });
        let (known, ()) = tokio::join!(futures_util::future::join_all(events), watched.clock.passes(A_MOMENT));
        assert_eq!(known, [now; 20]);
        assert_eq!(watched.count(), 1);
    }

    #[tokio::test]
    async fn a_look_that_is_late_costs_little_and_goes_on_beside_the_event() {
        let (watched, looks) = Watched::taking(PATIENCE * 2);
        let now = watched.changes();
        watched.clock.passes(LOOK_EVERY).await;
        let mut event = pin!(looks.before_event());
        assert!(event.as_mut().now_or_never().is_none());
        watched.clock.passes(PATIENCE - A_MOMENT).await;
        assert!(event.as_mut().now_or_never().is_none(), "there is patience left");
        watched.clock.passes(A_MOMENT).await;
        event.now_or_never().expect("patience is over");
        assert_eq!(watched.known(), 0);
        looks.before_event().now_or_never().expect("patience is for a look, not for each event");
        watched.clock.passes(PATIENCE).await;
        assert_eq!((watched.known(), watched.count()), (now, 1));
    }

    #[tokio::test]
    async fn one_that_hangs_is_given_up_when_the_next_is_due() {
        let (watched, looks) = Watched::taking(FOREVER);
        watched.clock.passes(LOOK_EVERY).await;
        tokio::join!(looks.before_event(), watched.clock.passes(PATIENCE));
        let now = watched.changes();
        watched.takes(A_MOMENT);
        watched.clock.passes(LOOK_EVERY - PATIENCE).await;
        tokio::join!(looks.before_event(), watched.clock.passes(PATIENCE));
        assert_eq!((watched.known(), watched.count()), (now, 2));
    }

    #[tokio::test]
    async fn an_event_that_is_given_up_gives_up_no_look() {
        let (watched, looks) = Watched::taking(A_MOMENT);
        let now = watched.changes();
        watched.clock.passes(LOOK_EVERY).await;
        assert!(looks.before_event().now_or_never().is_none());
        watched.clock.passes(A_MOMENT).await;
        assert_eq!((watched.known(), watched.count()), (now, 1));
    }
}
