//! Schedules: when other bounds hold.
//!
//! What lives here: windows of the week, and where they lie in real time. What may not: the clock.
//!
//! Invariant: each window of each day is one span of real time, also on days with a clock change: an hour that does not
//! exist is skipped over, an hour that comes twice counts from its first coming.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan};

use crate::time::Timestamp;

/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// Minutes of a week.
pub(super) const WEEK: usize = DAY as usize * 7;
/// Local days ahead in which a weekly window is looked for: a week, and the rest of today.
const NEAR_DAYS: i64 = 8;
const DAYS: [(&str, &str); 7] = [
    ("mon", "monday"),
    ("tue", "tuesday"),
    ("wed", "wednesday"),
    ("thu", "thursday"),
    ("fri", "friday"),
    ("sat", "saturday"),
    ("sun", "sunday"),
];

/// A `[[pool.schedule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// When it applies.
    pub when: Window,
    /// What it changes of the idle bounds of the pool's default class.
    pub idle: BoundsChange,
    /// What it changes of the standby bounds.
    pub standby: BoundsChange,
}

/// New values for one or both bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundsChange {
    /// The new lower bound, if any.
    pub min: Option<u32>,
    /// The new upper bound, if any.
    pub max: Option<u32>,
}

/// A span of time on some days of the week. It belongs to the day on which it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    text: String,
    /// From Monday.
    days: [bool; 7],
    /// Minutes from midnight.
    start: u16,
    /// Minutes from the midnight at which its day begins; over 1,440 if it ends on the next day.
    end: u16,
}

impl Window {
    /// Reads `mon-fri 07:00-19:00`: days (`*`, `daily`, `mon`, `mon,wed`, `fri-mon`), then a span of time that may pass
    /// midnight (`22:00-06:00`); without one, the whole day. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Window, String> {
        let mut words = text.split_whitespace();
        let days = words.next().ok_or("it is empty")?;
        let span = words.next().unwrap_or("00:00-24:00");
        if let Some(extra) = words.next() {
            return Err(format!("{} is one word too many", super::wording::quote(extra)));
        }
        let (start, end) = parse_span(span)?;
        let end = if end < start { end + DAY } else { end };
        Ok(Window { text: text.to_owned(), days: parse_days(days)?, start, end })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is no minute in it.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether it never begins or ends: it holds no minute, or all.
    pub(super) fn is_constant(&self) -> bool {
        self.is_empty() || (self.days == [true; 7] && self.end - self.start == DAY)
    }

    /// The minutes of the week in it, from Monday 00:00, by the wall clock.
    pub(super) fn minutes(&self) -> Vec<bool> {
        let mut minutes = vec![false; WEEK];
        for (day, _) in self.days.iter().enumerate().filter(|(_, on)| **on) {
            for minute in self.start..self.end {
                minutes[(day * usize::from(DAY) + usize::from(minute)) % WEEK] = true;
            }
        }
        minutes
    }

    /// Its spans of real time that begin on the local days around `now`, one before to [`NEAR_DAYS`] after, and the
    /// midnight at which the last of these days begins: before it nothing is left out. An instant beyond all calendars
    /// has no spans.
    pub(super) fn spans_near(&self, now: Timestamp, zone: &TimeZone) -> (Vec<(Timestamp, Timestamp)>, Timestamp) {
        let instant = jiff::Timestamp::from_millisecond(now.unix_ms()).ok();
        let Some(today) = instant.map(|instant| zone.to_datetime(instant).date()) else {
            return (Vec::new(), Timestamp::MAX);
        };
        let day_after = |n: i64| today.checked_add(n.days()).ok();
        let on_days = (-1..=NEAR_DAYS).filter_map(day_after).filter(|day| self.days[weekday(day.weekday())]);
        let spans = on_days.filter_map(|day| Some((moment(day, self.start, zone)?, moment(day, self.end, zone)?)));
        let horizon = day_after(NEAR_DAYS).and_then(|day| moment(day, 0, zone));
        (spans.collect(), horizon.unwrap_or(Timestamp::MAX))
    }
}

fn weekday(day: Weekday) -> usize {
    usize::try_from(day.to_monday_zero_offset()).unwrap_or(0)
}

/// The instant of a wall clock's reading. One that does not exist moves forward by the jump, one that comes twice is
/// the first.
fn moment(day: Date, minutes: u16, zone: &TimeZone) -> Option<Timestamp> {
    let day = if minutes >= DAY { day.tomorrow().ok()? } else { day };
    let midnight = day.at(0, 0, 0, 0);
    let wall = midnight.checked_add(SignedDuration::from_mins(i64::from(minutes % DAY))).ok()?;
    let zoned = zone.to_ambiguous_zoned(wall).compatible().ok()?;
    Some(Timestamp::from_unix_ms(zoned.timestamp().as_millisecond()))
}

fn parse_days(text: &str) -> Result<[bool; 7], String> {
    let text = text.to_ascii_lowercase();
    if matches!(text.as_str(), "*" | "daily") {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (parse_day(first)?, parse_day(last)?);
        let length = (last + 7 - first) % 7;
        (0..=length).for_each(|n| days[(first + n) % 7] = true);
    }
    Ok(days)
}

fn parse_day(text: &str) -> Result<usize, String> {
    let found = DAYS.iter().position(|(short, long)| text == *short || text == *long);
    found.ok_or_else(|| format!("{} is no day", super::wording::quote(text)))
}

fn parse_span(text: &str) -> Result<(u16, u16), String> {
    let bad = || format!("{} is no span of time", super::wording::quote(text));
    let (start, end) = text.split_once('-').ok_or_else(bad)?;
    let (start, end) = (parse_time(start).ok_or_else(bad)?, parse_time(end).ok_or_else(bad)?);
    if start == DAY { Err("a day ends at 24:00, nothing begins then".to_owned()) } else { Ok((start, end)) }
}

/// `HH:MM`, to 24:00.
fn parse_time(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |s: &str, length: std::ops::RangeInclusive<usize>| {
        length.contains(&s.len()) && s.chars().all(|c| c.is_ascii_digit())
    };
    if !digits(hours, 1..=2) || !digits(minutes, 2..=2) {
        return None;
    }
    let (hours, minutes) = (hours.parse::<u16>().ok()?, minutes.parse::<u16>().ok()?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= DAY).then_some(total)
}

impl BoundsChange {
    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        self.min.is_none() && self.max.is_none()
    }
}
