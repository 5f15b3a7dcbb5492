//! What one App may still ask: GitHub's primary limit as the headers tell it, its secondary limits by our own count, and
//! the pauses that it has asked for.
//!
//! What may not live here: a wait. Whoever has no budget is told when to come back.
//!
//! Invariant: within any [`WINDOW`] at most [`POINTS_A_MINUTE`] points are given out, and a tenth of them to optional work.

use std::collections::VecDeque;
use std::time::Duration;

use http::{Method, StatusCode};
use muster_core::time::Timestamp;

use crate::answer::Answer;

/// GitHub's secondary limit on its REST interface: points a minute, of which a GET costs one and anything else five. From
/// GitHub's documentation, "Rate limits for the REST API".
pub const POINTS_A_MINUTE: u32 = 900;
/// Requests under way at once: GitHub allows 100, shared with whatever else the App does.
pub const AT_ONCE_MAX: usize = 90;
/// Points that only cleaning up may use: whoever has lost an answer must still be able to look and to remove.
const CLEAN_UP_POINTS: u32 = 30;
/// Points that optional work may use, so that registrations hardly notice it.
pub const OPTIONAL_POINTS: u32 = POINTS_A_MINUTE / 10;
/// Optional work stops when less than one part in so many is left of the primary limit.
const OPTIONAL_STOPS: u64 = 10;
/// A minute, and a little: requests arrive later than they are sent, and not all equally late.
const WINDOW: Duration = Duration::from_secs(62);
const READ_POINTS: u32 = 1;
const WRITE_POINTS: u32 = 5;
/// The primary limit of an App whose headers were not seen yet: the lowest that GitHub gives an installation, an hour.
const LIMIT_UNSEEN: u64 = 5_000;
/// GitHub's rule for a secondary limit without a time: at least a minute, then longer and longer ...
const PAUSE_FIRST: Duration = Duration::from_secs(60);
/// ... and no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(960);
/// A pause that GitHub asks for is not believed beyond this: the primary limit starts anew every hour.
const PAUSE_BELIEVED: Duration = Duration::from_secs(2 * 3600);

const _: () = assert!(CLEAN_UP_POINTS >= 2 * (READ_POINTS + WRITE_POINTS) && CLEAN_UP_POINTS < POINTS_A_MINUTE / 10);
const _: () = assert!(OPTIONAL_POINTS < POINTS_A_MINUTE - CLEAN_UP_POINTS);
const _: () = assert!(AT_ONCE_MAX <= 100);

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What somebody asked for.
    Work,
    /// Finding and removing what a lost answer may have left.
    CleanUp,
    /// Reading what GitHub remembers: it comes last, and has a token of its own.
    Optional,
    /// Reading the list of runners: it comes last too, with the token for runners.
    Witness,
    /// Something beside, with the token for runners: it comes last too, and that it is refused says nothing of the rest.
    Aside,
    /// Running something again: it comes last too, and has a token of its own.
    Rerun,
}

impl Purpose {
    fn is_optional(self) -> bool {
        matches!(self, Purpose::Optional | Purpose::Witness | Purpose::Aside | Purpose::Rerun)
    }
}

/// What is left to an App: the metric `GitHubRateRemaining`, and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLeft {
    /// The App.
    pub app: u64,
    /// Requests an hour. `None`: no answer has told yet.
    pub limit: Option<u64>,
    /// How many of them are left. `None`: no answer has told yet, or those that told are from the hour before.
    pub remaining: Option<u64>,
    /// When there are as many as the limit again, by our clock.
    pub reset: Option<Timestamp>,
    /// Until when GitHub wants to be left alone, if it does.
    pub paused_until: Option<Timestamp>,
    /// Requests sent since the start, those for tokens included.
    pub requests: u64,
}

/// A primary limit, as last told.
#[derive(Clone, Copy)]
struct Rate {
    limit: u64,
    remaining: u64,
    reset: Timestamp,
}

impl Rate {
    /// Until when there is nothing for this purpose, if there is nothing.
    fn short_until(&self, now: Timestamp, purpose: Purpose) -> Option<Timestamp> {
        let least = match purpose {
            Purpose::Work | Purpose::CleanUp => 1,
            Purpose::Optional | Purpose::Witness | Purpose::Aside | Purpose::Rerun => {
                self.limit.div_ceil(OPTIONAL_STOPS).max(1)
            }
        };
        (self.remaining < least && self.reset > now).then_some(self.reset)
    }

    /// Learns from an answer's headers what `known` is now.
    fn learn(known: &mut Option<Rate>, answer: &Answer) {
        let number = |name| answer.number(name);
        let told = (number("x-ratelimit-limit"), number("x-ratelimit-remaining"), number("x-ratelimit-reset"));
        if let (Some(limit), Some(remaining), Some(reset)) = told
            && answer.is_core()
        {
            let reset = i64::try_from(reset).ok().and_then(|seconds| seconds.checked_mul(1_000)).unwrap_or(i64::MAX);
            let reset = answer.on_our_clock(Timestamp::from_unix_ms(reset)).min(answer.at + PAUSE_BELIEVED);
            // Answers overtake each other: within an hour the lowest one is the latest. Our clock's idea of the reset
            // differs by the way that an answer took.
            const SAME: Duration = Duration::from_secs(30);
            let same = |rate: &Rate| rate.reset.since(reset) < SAME && reset.since(rate.reset) < SAME;
            let remaining = known.filter(same).map_or(remaining, |rate| rate.remaining.min(remaining));
            *known = Some(Rate { limit, remaining, reset });
        }
    }
}

/// Points that were given out.
struct Spent {
    at: Timestamp,
    points: u32,
    purpose: Purpose,
}

/// The budget of one App.
#[derive(Default)]
pub(crate) struct Budget {
    /// The installation's.
    rate: Option<Rate>,
    /// The App's own, for what it asks as itself.
    as_app: Option<Rate>,
    paused_until: Timestamp,
    secondary_in_row: u32,
    window: VecDeque<Spent>,
    requests: u64,
}

impl Budget {
    /// Takes what a request of the installation costs, or says when it can be had.
    pub(crate) fn take(&mut self, now: Timestamp, method: &Method, purpose: Purpose) -> Result<(), Timestamp> {
        self.take_of(self.rate, now, method, purpose)?;
        if let Some(rate) = &mut self.rate {
            // Until the answer tells: others choose meanwhile.
            rate.remaining = rate.remaining.saturating_sub(1);
        }
        Ok(())
    }

    /// Takes what a request of the App itself costs, or says when it can be had.
    pub(crate) fn take_as_app(&mut self, now: Timestamp, method: &Method, purpose: Purpose) -> Result<(), Timestamp> {
        self.take_of(self.as_app, now, method, purpose)
    }

    fn take_of(
        &mut self,
        rate: Option<Rate>,
        now: Timestamp,
        method: &Method,
        purpose: Purpose,
    ) -> Result<(), Timestamp> {
        if self.paused_until > now {
            return Err(self.paused_until);
        }
        if let Some(reset) = rate.and_then(|rate| rate.short_until(now, purpose)) {
            return Err(reset);
        }
        while self.window.front().is_some_and(|spent| now.since(spent.at) >= WINDOW) {
            self.window.pop_front();
        }
        let points = if *method == Method::GET { READ_POINTS } else { WRITE_POINTS };
        match purpose {
            Purpose::Work => self.room(points, POINTS_A_MINUTE - CLEAN_UP_POINTS, |_| true)?,
            Purpose::CleanUp => self.room(points, POINTS_A_MINUTE, |_| true)?,
            Purpose::Optional | Purpose::Witness | Purpose::Aside | Purpose::Rerun => {
                self.room(points, OPTIONAL_POINTS, |spent| spent.purpose.is_optional())?;
                self.room(points, POINTS_A_MINUTE - CLEAN_UP_POINTS, |_| true)?;
            }
        }
        self.window.push_back(Spent { at: now, points, purpose });
        Ok(())
    }

    /// Whether so many points fit into `most`, besides those that count; if they do not, when they will.
    fn room(&self, points: u32, most: u32, counts: fn(&Spent) -> bool) -> Result<(), Timestamp> {
        let counted = || self.window.iter().filter(|spent| counts(spent));
        let mut missing = (counted().map(|spent| spent.points).sum::<u32>() + points).saturating_sub(most);
        if missing > 0 {
            // When as much as is missing has left the window.
            for spent in counted() {
                missing = missing.saturating_sub(spent.points);
                if missing == 0 {
                    return Err(spent.at + WINDOW);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn count(&mut self) {
        self.requests += 1;
    }

    /// Learns from the headers of an answer to an installation's request.
    pub(crate) fn heard(&mut self, answer: &Answer) {
        if answer.status == StatusCode::NOT_MODIFIED
            && let Some(rate) = &mut self.rate
        {
            // It costs nothing. From GitHub's documentation, "Best practices for using the REST API".
            rate.remaining = (rate.remaining + 1).min(rate.limit);
        }
        Rate::learn(&mut self.rate, answer);
        self.heed(answer, self.rate);
    }

    /// Learns from the headers of an answer to the App itself.
    pub(crate) fn heard_as_app(&mut self, answer: &Answer) {
        Rate::learn(&mut self.as_app, answer);
        if answer.is_limit() {
            self.heed(answer, self.as_app);
        }
    }

    /// Pauses if the answer asks for it.
    fn heed(&mut self, answer: &Answer, rate: Option<Rate>) {
        if !answer.is_limit() {
            if answer.status.is_success() {
                self.secondary_in_row = 0;
            }
            return;
        }
        let used_up = answer.number("x-ratelimit-remaining") == Some(0);
        let until = match (answer.retry_after(), rate) {
            (Some(after), _) => answer.at + after.min(PAUSE_BELIEVED),
            (None, Some(rate)) if used_up && rate.reset > answer.at => rate.reset,
            (None, _) => {
                let pause = PAUSE_FIRST.saturating_mul(1 << self.secondary_in_row.min(8)).min(PAUSE_MAX);
                self.secondary_in_row += 1;
                answer.at + pause
            }
        };
        self.paused_until = self.paused_until.max(until);
    }

    pub(crate) fn paused_until(&self) -> Timestamp {
        self.paused_until
    }

    /// How much is left, to choose among Apps.
    pub(crate) fn left(&self, now: Timestamp) -> u64 {
        match &self.rate {
            Some(rate) if rate.reset > now => rate.remaining,
            Some(rate) => rate.limit,
            None => LIMIT_UNSEEN.saturating_sub(self.requests),
        }
    }

    pub(crate) fn view(&self, app: u64, now: Timestamp) -> RateLeft {
        let current = self.rate.filter(|rate| rate.reset > now);
        RateLeft {
            app,
            limit: self.rate.map(|rate| rate.limit),
            remaining: current.map(|rate| rate.remaining),
            reset: current.map(|rate| rate.reset),
            paused_until: Some(self.paused_until).filter(|until| *until > now),
            requests: self.requests,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_ms(1_795_428_000_000);

    fn limited(at: Timestamp, headers: &[(&'static str, String)]) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Answer {
            status: StatusCode::FORBIDDEN,
            headers,
            body: br#"{"message":"secondary rate limit"}"#.to_vec(),
            at,
            app: None,
        }
    }

    #[test]
    fn no_minute_sees_more_than_its_points() {
        let (mut budget, mut now) = (Budget::default(), START);
        let mut taken: Vec<(Timestamp, u32)> = Vec::new();
        while now < START + Duration::from_secs(600) {
            match budget.take(now, &Method::POST, Purpose::Work) {
                Ok(()) => taken.push((now, WRITE_POINTS)),
                Err(until) => {
                    assert!(until > now);
                    now = until;
                }
            }
            now = now + Duration::from_millis(taken.len() as u64 % 7);
        }
        for (from, _) in &taken {
            let minute = taken.iter().filter(|(at, _)| at >= from && at.since(*from) < Duration::from_secs(60));
            assert!(minute.map(|(_, points)| points).sum::<u32>() <= POINTS_A_MINUTE);
        }
        assert!(taken.len() > 1_500, "{}", taken.len());
    }

    #[test]
    fn cleaning_up_has_points_of_its_own() {
        let mut budget = Budget::default();
        while budget.take(START, &Method::POST, Purpose::Work).is_ok() {}
        assert_eq!(budget.take(START, &Method::GET, Purpose::CleanUp), Ok(()));
        assert_eq!(budget.take(START, &Method::DELETE, Purpose::CleanUp), Ok(()));
        assert!(budget.take(START + Duration::from_secs(1), &Method::GET, Purpose::Work).is_err());
        assert_eq!(budget.take(START + WINDOW, &Method::GET, Purpose::Work), Ok(()));
    }

    #[test]
    fn optional_work_has_a_tenth_of_the_points() {
        let mut budget = Budget::default();
        let mut taken = 0;
        while budget.take(START, &Method::GET, Purpose::Optional).is_ok() {
            taken += READ_POINTS;
        }
        assert_eq!(taken, POINTS_A_MINUTE / 10);
        let later = START + Duration::from_secs(10);
        assert_eq!(budget.take(later, &Method::GET, Purpose::Optional), Err(START + WINDOW));
        assert_eq!(
            budget.take_as_app(later, &Method::GET, Purpose::Optional),
            Err(START + WINDOW),
            "the points are the same"
        );
        let mut mints = 0;
        while budget.take(later, &Method::POST, Purpose::Work).is_ok() {
            mints += 1;
        }
        assert_eq!(mints, (POINTS_A_MINUTE - CLEAN_UP_POINTS - OPTIONAL_POINTS) / WRITE_POINTS);
        assert_eq!(budget.take(START + WINDOW, &Method::GET, Purpose::Optional), Ok(()));
        // Where work has used all up, none of it is kept for what is optional.
        let mut budget = Budget::default();
        while budget.take(START, &Method::POST, Purpose::Work).is_ok() {}
        assert_eq!(budget.take(START, &Method::GET, Purpose::Optional), Err(START + WINDOW));
    }

    #[test]
    fn optional_work_leaves_a_tenth_of_the_primary_limit() {
        let reset = START + Duration::from_secs(600);
        for (remaining, optional) in [(11, Ok(())), (10, Ok(())), (9, Err(reset))] {
            let mut budget = Budget { rate: Some(Rate { limit: 100, remaining, reset }), ..Budget::default() };
            assert_eq!(budget.take(START, &Method::GET, Purpose::Optional), optional, "{remaining}");
            assert_eq!(budget.take(START, &Method::POST, Purpose::Work), Ok(()), "{remaining}");
            assert_eq!(budget.take(reset, &Method::GET, Purpose::Optional), Ok(()), "{remaining}");
            // The App's own limit is another one.
            assert_eq!(budget.take_as_app(START, &Method::GET, Purpose::Optional), Ok(()));
            budget.as_app = budget.rate;
            assert_eq!(budget.take_as_app(START, &Method::GET, Purpose::Optional), Err(reset));
        }
    }

    #[test]
    fn a_pause_without_a_time_grows() {
        let (mut budget, mut now) = (Budget::default(), START);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            budget.heard(&limited(now, &[]));
            let until = budget.take(now, &Method::GET, Purpose::CleanUp).unwrap_err();
            pauses.push(until.since(now).as_secs());
            now = until;
        }
        assert_eq!(pauses, [60, 120, 240, 480, 960, 960]);
        budget.heard(&limited(now, &[("retry-after", "7".to_owned())]));
        assert_eq!(budget.paused_until(), now + Duration::from_secs(7));
        budget.heard(&limited(now, &[("retry-after", "999999".to_owned())]));
        assert_eq!(budget.paused_until(), now + PAUSE_BELIEVED);
    }

    #[test]
    fn answers_that_overtake_each_other_raise_nothing() {
        let mut budget = Budget::default();
        let told = |remaining: u64, reset: Timestamp| Answer {
            status: StatusCode::OK,
            headers: [("limit", 5_000), ("remaining", remaining), ("reset", (reset.unix_ms() / 1_000) as u64)]
                .map(|(name, n)| (format!("x-ratelimit-{name}").parse().unwrap(), n.to_string().parse().unwrap()))
                .into_iter()
                .collect(),
            body: Vec::new(),
            at: START,
            app: None,
        };
        let reset = START + Duration::from_secs(600);
        // What is taken counts at once, and is given back by an answer that was known.
        budget.heard(&told(20, reset));
        assert_eq!(budget.take(START, &Method::GET, Purpose::Work), Ok(()));
        assert_eq!(budget.left(START), 19);
        budget.heard(&Answer { status: StatusCode::NOT_MODIFIED, ..told(20, reset) });
        assert_eq!(budget.left(START), 20);
        for (remaining, left) in [(10, 10), (8, 8), (9, 8), (0, 0)] {
            budget.heard(&told(remaining, reset));
            assert_eq!(budget.left(START), left);
        }
        assert_eq!(budget.take(START, &Method::GET, Purpose::Work), Err(reset));
        assert_eq!(budget.left(reset), 5_000);
        budget.heard(&told(4_999, reset + Duration::from_secs(3_600)));
        assert_eq!(budget.left(START), 4_999);
    }
}
