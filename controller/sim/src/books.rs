//! The books: jobs, queue times, machine time and launches, by class.
//!
//! What lives here: sums. What may not: rounding and JSON, which are the report's.
//!
//! Invariant: money is kept as milliseconds times micro-dollars an hour, in integers: the order of entries does not show.

use std::time::Duration;

use muster_core::money::HourlyPrice;
use muster_core::time::Timestamp;

use crate::classes::ClassNo;
use crate::work::Outcome;

/// Every start of a machine is billed for at least so long (EC2: per second, 60 s minimum).
pub const BILLED_MIN: Duration = Duration::from_secs(60);

/// Milliseconds times micro-dollars an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Money(u128);

impl Money {
    fn of(span: Duration, price: HourlyPrice) -> Money {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a price in micro-dollars fits")]
        let micros = (price.usd() * 1e6).round() as u64;
        Money(span.as_millis() * u128::from(micros))
    }

    pub(crate) fn usd(self) -> f64 {
        self.0 as f64 / 3_600_000.0 / 1e6
    }

    fn add(&mut self, other: Money) {
        self.0 += other.0;
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Costs {
    pub(crate) busy: Money,
    pub(crate) boot: Money,
    pub(crate) idle: Money,
    pub(crate) standby: Money,
}

impl Costs {
    pub(crate) fn add(&mut self, other: Costs) {
        self.busy.add(other.busy);
        self.boot.add(other.boot);
        self.idle.add(other.idle);
        self.standby.add(other.standby);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JobCounts {
    pub(crate) queued: u64,
    pub(crate) completed: u64,
    pub(crate) cancelled: u64,
    pub(crate) killed: u64,
    pub(crate) interrupted: u64,
    pub(crate) lost: u64,
    pub(crate) expired: u64,
    pub(crate) skipped: u64,
}

impl JobCounts {
    pub(crate) fn end(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Completed => self.completed += 1,
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::Killed => self.killed += 1,
            Outcome::Interrupted => self.interrupted += 1,
            Outcome::Lost => self.lost += 1,
            Outcome::Expired => self.expired += 1,
            Outcome::Skipped => self.skipped += 1,
        }
    }

    pub(crate) fn add(&mut self, other: JobCounts) {
        self.queued += other.queued;
        self.completed += other.completed;
        self.cancelled += other.cancelled;
        self.killed += other.killed;
        self.interrupted += other.interrupted;
        self.lost += other.lost;
        self.expired += other.expired;
        self.skipped += other.skipped;
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaunchCounts {
    pub(crate) cold: u64,
    pub(crate) standby: u64,
    pub(crate) failed: u64,
}

impl LaunchCounts {
    pub(crate) fn add(&mut self, other: LaunchCounts) {
        self.cold += other.cold;
        self.standby += other.standby;
        self.failed += other.failed;
    }
}

/// One start of one machine, for the bill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spell {
    pub(crate) price: HourlyPrice,
    /// The launch call.
    pub(crate) started_at: Timestamp,
    /// When its agent claimed: it was ready from then on.
    pub(crate) ready_at: Option<Timestamp>,
    /// How long it ran a job.
    pub(crate) ran: Duration,
}

impl Spell {
    /// The bill if it ends at `at`.
    pub(crate) fn costs(&self, at: Timestamp) -> Costs {
        let boot = self.ready_at.unwrap_or(at).min(at).since(self.started_at);
        let billed = at.since(self.started_at).max(BILLED_MIN);
        let idle = billed.saturating_sub(boot).saturating_sub(self.ran);
        Costs {
            busy: Money::of(self.ran, self.price),
            boot: Money::of(boot, self.price),
            idle: Money::of(idle, self.price),
            standby: Money::default(),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    pub(crate) jobs: JobCounts,
    /// Queue times in milliseconds, in order of the starts.
    pub(crate) waits_ms: Vec<u32>,
    pub(crate) costs: Costs,
    pub(crate) launches: LaunchCounts,
}

impl Book {
    /// Whether anything was ever entered.
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs == JobCounts::default() && self.launches == LaunchCounts::default() && self.costs == Costs::default()
    }

    /// The same but for the queue times, which are many.
    pub(crate) fn without_waits(&self) -> Book {
        Book { jobs: self.jobs, waits_ms: Vec::new(), costs: self.costs, launches: self.launches }
    }

    pub(crate) fn waited(&mut self, span: Duration) {
        self.waits_ms.push(u32::try_from(span.as_millis()).unwrap_or(u32::MAX));
    }

    pub(crate) fn stood_by(&mut self, span: Duration, price: HourlyPrice) {
        self.costs.standby.add(Money::of(span, price));
    }
}

/// One book for each class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    books: Vec<Book>,
}

impl Books {
    pub(crate) fn of(&mut self, class: ClassNo) -> &mut Book {
        if self.books.len() <= class.0 {
            self.books.resize_with(class.0 + 1, Book::default);
        }
        &mut self.books[class.0]
    }

    /// All books, without their queue times.
    pub(crate) fn without_waits(&self) -> Books {
        Books { books: self.books.iter().map(Book::without_waits).collect() }
    }

    pub(crate) fn get(&self, class: ClassNo) -> Option<&Book> {
        self.books.get(class.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(money: Money) -> f64 {
        (money.usd() * 1e9).round() / 1e9
    }

    #[test]
    fn a_spell_is_billed_by_the_definitions() {
        let t = |s: u64| Timestamp::EPOCH + Duration::from_secs(s);
        let price = HourlyPrice::from_usd(3.6); // a tenth of a cent a second
        let spell = Spell { price, started_at: t(100), ready_at: Some(t(140)), ran: Duration::from_secs(300) };
        // 40 s boot, 300 s busy, and of 360 s in all the remaining 20 s idle.
        let costs = spell.costs(t(460));
        assert_eq!((usd(costs.boot), usd(costs.busy), usd(costs.idle)), (0.04, 0.3, 0.02));
        // Ended while booting after 10 s: 60 s are billed, 50 of them idle.
        let short = Spell { ready_at: None, ran: Duration::ZERO, ..spell };
        let costs = short.costs(t(110));
        assert_eq!((usd(costs.boot), usd(costs.busy), usd(costs.idle)), (0.01, 0.0, 0.05));
    }
}
