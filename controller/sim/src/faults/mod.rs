//! Faults: what can go wrong in the simulated world, how often, and what did.
//!
//! What lives here: whether a fault strikes now, and the count. What may not: what it does (whoever asks knows that), and what
//! the product should make of it.
//!
//! Invariant: a draw depends on the seed, the fault's name, and whom it may strike, and on nothing else: another fault, another
//! rate or one more call reshuffles no fault but its own. Outside its span no fault strikes.

mod kinds;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_core::time::Timestamp;

pub use kinds::Fault;

use crate::chance::{Chance, number_of};

/// How long the stretches are in each of which an outage begins or does not. None lasts longer.
const STRETCH: Duration = Duration::from_secs(6 * 3_600);

/// A fault that has struck: what else is drawn for it.
#[derive(Clone, Copy, Debug)]
pub struct Stroke {
    chance: Chance,
    name: u64,
    owner: u64,
}

impl Stroke {
    /// The n-th further draw, from 0, at least 0 and below 1.
    pub fn share(self, n: u64) -> f64 {
        part(self.chance.named(self.name, self.owner, n + 1))
    }

    /// A span between these two, by the n-th further draw.
    pub fn span(self, n: u64, least: Duration, most: Duration) -> Duration {
        let more = most.saturating_sub(least).mul_f64(self.share(n));
        // In whole milliseconds, as every instant.
        least + Duration::from_millis(u64::try_from(more.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The faults of one simulation.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    on: BTreeSet<Fault>,
    seed: u64,
    /// From when on, and until when, they strike.
    span: Option<(Timestamp, Timestamp)>,
    /// How often each was asked for whose calls are counted.
    calls: BTreeMap<Fault, u64>,
    struck: BTreeMap<Fault, u64>,
    /// The outages that were counted, by whom they strike and their stretch.
    outages: BTreeSet<(Fault, u64, u64)>,
}

impl Faults {
    /// These, from one instant until another.
    pub fn new(seed: u64, on: impl IntoIterator<Item = Fault>, from: Timestamp, until: Timestamp) -> Faults {
        Faults { on: on.into_iter().collect(), seed, span: Some((from, until)), ..Faults::default() }
    }

    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        self.on.is_empty()
    }

    /// Whether this one can strike.
    pub fn includes(&self, fault: Fault) -> bool {
        self.on.contains(&fault)
    }

    /// Until when faults strike; `None` if none do.
    pub fn until(&self) -> Option<Timestamp> {
        self.span.filter(|_| !self.is_none()).map(|(_, until)| until)
    }

    /// How often each has struck.
    pub fn struck(&self) -> &BTreeMap<Fault, u64> {
        &self.struck
    }

    /// Whether a fault strikes whoever has this number.
    pub fn strikes(&mut self, fault: Fault, owner: u64, now: Timestamp) -> Option<Stroke> {
        if !self.on.contains(&fault) || !self.span.is_some_and(|(from, until)| now >= from && now < until) {
            return None;
        }
        let stroke = self.stroke(fault, owner);
        let struck = part(stroke.chance.named(stroke.name, owner, 0)) < fault.rate();
        if struck {
            *self.struck.entry(fault).or_default() += 1;
        }
        struck.then_some(stroke)
    }

    /// Whether a fault strikes the next of the calls that it can strike.
    pub fn strikes_next(&mut self, fault: Fault, now: Timestamp) -> Option<Stroke> {
        if !self.on.contains(&fault) {
            return None;
        }
        let calls = self.calls.entry(fault).or_default();
        *calls += 1;
        let call = *calls;
        self.strikes(fault, call, now)
    }

    /// Until when whoever has this number is out, if it is. An outage lasts from `least` to `most`, which is a stretch at most.
    pub fn out(
        &mut self,
        fault: Fault,
        owner: u64,
        (least, most): (Duration, Duration),
        now: Timestamp,
    ) -> Option<Timestamp> {
        let (from, until) = self.span.filter(|_| self.on.contains(&fault))?;
        if now < from || now >= until {
            return None;
        }
        let stretch = u64::try_from(now.since(from).as_millis() / STRETCH.as_millis()).unwrap_or(u64::MAX);
        // One that began in the stretch before may last.
        (stretch.saturating_sub(1)..=stretch).find_map(|stretch| {
            let stroke = self.stroke(fault, owner.wrapping_mul(31).wrapping_add(stretch));
            if part(stroke.chance.named(stroke.name, stroke.owner, 0)) >= fault.rate() {
                return None;
            }
            let lasts = stroke.span(0, least, most.min(STRETCH));
            let begins =
                from + STRETCH * u32::try_from(stretch).unwrap_or(u32::MAX) + stroke.span(1, Duration::ZERO, STRETCH);
            let ends = (begins + lasts).min(until);
            let out = now >= begins && now < ends;
            if out && self.outages.insert((fault, owner, stretch)) {
                *self.struck.entry(fault).or_default() += 1;
            }
            out.then_some(ends)
        })
    }

    fn stroke(&self, fault: Fault, owner: u64) -> Stroke {
        Stroke { chance: Chance::new(self.seed), name: number_of(fault.as_word()), owner }
    }
}

/// Which of so many days of a trace a seed runs, from 0.
pub fn day_of(seed: u64, days: u64) -> u64 {
    Chance::new(seed).named(number_of("day"), 0, 0) % days.max(1)
}

/// A word as a part of one.
fn part(word: u64) -> f64 {
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::EPOCH + Duration::from_secs(seconds)
    }

    fn faults(on: &[Fault]) -> Faults {
        Faults::new(7, on.iter().copied(), at(0), at(240 * 3_600))
    }

    #[test]
    fn another_fault_reshuffles_none() {
        let whom = |on: &[Fault]| -> Vec<u64> {
            let mut faults = faults(on);
            (0..2_000)
                .filter(|owner| {
                    faults.strikes(Fault::DiesIdle, *owner, at(1));
                    faults.strikes_next(Fault::CloudError, at(1));
                    faults.strikes(Fault::NeverBoots, *owner, at(1)).is_some()
                })
                .collect()
        };
        let alone = whom(&[Fault::NeverBoots]);
        assert!(!alone.is_empty());
        assert_eq!(whom(&Fault::ALL), alone);
        assert!(whom(&[Fault::CloudError]).is_empty());
    }

    #[test]
    fn a_fault_strikes_at_its_rate_within_its_span_and_is_counted() {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.rate() >= 0.01) {
            let mut faults = faults(&[fault]);
            let struck = (0..20_000).filter(|owner| faults.strikes(fault, *owner, at(1)).is_some()).count();
            let expected = fault.rate() * 20_000.0;
            assert!((struck as f64 - expected).abs() < 5.0 * expected.sqrt(), "{fault:?}: {struck} of {expected}");
            assert_eq!(faults.struck()[&fault], struck as u64);
            assert!((0..20_000).all(|owner| faults.strikes(fault, owner, at(240 * 3_600)).is_none()), "{fault:?}");
        }
    }

    #[test]
    fn an_outage_lasts_as_long_as_it_may_and_counts_once() {
        let mut faults = faults(&[Fault::GithubDown]);
        let mut out: Vec<(u64, Timestamp)> = Vec::new();
        for minute in 0..240 * 60 {
            if let Some(until) = faults.out(Fault::GithubDown, 0, (HOUR, HOUR), at(minute * 60)) {
                out.push((minute, until));
            }
        }
        let ends: BTreeSet<Timestamp> = out.iter().map(|(_, until)| *until).collect();
        assert!(ends.len() > 3, "{ends:?}");
        assert_eq!(faults.struck()[&Fault::GithubDown], ends.len() as u64);
        for end in ends.iter().filter(|end| **end < at(240 * 3_600)) {
            let minutes = out.iter().filter(|(_, until)| until == end).count();
            assert!((59..=60).contains(&minutes), "{minutes}");
        }
    }
}
