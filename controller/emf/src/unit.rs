//! Units: the ones that CloudWatch knows, and how the facade's units become them.
//!
//! What lives here: the closed list and the conversions. What may not: a way to write any other unit.
//!
//! Invariant: a converted value means what the original meant; only its unit and scale change.

use std::fmt;

use serde::{Serialize, Serializer};

const KIBI: f64 = 1024.0;

macro_rules! units {
    ($($(#[$doc:meta])* $unit:ident = $name:literal,)*) => {
        /// A unit of CloudWatch's `StandardUnit` list. A metric with any other unit is rejected as a whole line.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Unit {
            $($(#[$doc])* $unit,)*
        }

        impl Unit {
            /// Every unit there is.
            pub const ALL: &'static [Self] = &[$(Self::$unit,)*];

            /// The name that CloudWatch knows the unit by.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$unit => $name,)*
                }
            }
        }
    };
}

units! {
    /// Seconds.
    Seconds = "Seconds",
    /// Microseconds.
    Microseconds = "Microseconds",
    /// Milliseconds.
    Milliseconds = "Milliseconds",
    /// Bytes.
    Bytes = "Bytes",
    /// Thousands of bytes.
    Kilobytes = "Kilobytes",
    /// Millions of bytes.
    Megabytes = "Megabytes",
    /// Thousand millions of bytes.
    Gigabytes = "Gigabytes",
    /// Million millions of bytes.
    Terabytes = "Terabytes",
    /// Bits.
    Bits = "Bits",
    /// Thousands of bits.
    Kilobits = "Kilobits",
    /// Millions of bits.
    Megabits = "Megabits",
    /// Thousand millions of bits.
    Gigabits = "Gigabits",
    /// Million millions of bits.
    Terabits = "Terabits",
    /// Hundredths.
    Percent = "Percent",
    /// A number of things.
    Count = "Count",
    /// Bytes a second.
    BytesPerSecond = "Bytes/Second",
    /// Kilobytes a second.
    KilobytesPerSecond = "Kilobytes/Second",
    /// Megabytes a second.
    MegabytesPerSecond = "Megabytes/Second",
    /// Gigabytes a second.
    GigabytesPerSecond = "Gigabytes/Second",
    /// Terabytes a second.
    TerabytesPerSecond = "Terabytes/Second",
    /// Bits a second.
    BitsPerSecond = "Bits/Second",
    /// Kilobits a second.
    KilobitsPerSecond = "Kilobits/Second",
    /// Megabits a second.
    MegabitsPerSecond = "Megabits/Second",
    /// Gigabits a second.
    GigabitsPerSecond = "Gigabits/Second",
    /// Terabits a second.
    TerabitsPerSecond = "Terabits/Second",
    /// Things a second.
    CountPerSecond = "Count/Second",
    /// No unit; what CloudWatch assumes of a metric without one.
    #[default]
    None = "None",
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How a value recorded in one of the facade's units is written: the unit for CloudWatch and the scale to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// The unit to write.
    pub unit: Unit,
    times: f64,
    over: f64,
}

impl Conversion {
    /// The conversion that changes nothing but the unit's name.
    #[must_use]
    pub fn same(unit: Unit) -> Self {
        Self { unit, times: 1.0, over: 1.0 }
    }

    /// The value in [`Conversion::unit`].
    #[must_use]
    pub fn apply(self, value: f64) -> f64 {
        value * self.times / self.over
    }
}

impl From<metrics::Unit> for Conversion {
    /// CloudWatch has no nanoseconds: they become microseconds. It has no binary multiples either: they become plain
    /// bytes, because a power of two scales an `f64` without rounding and a kilobyte's 1,000 would not.
    fn from(unit: metrics::Unit) -> Self {
        let bytes = |times: f64| Self { unit: Unit::Bytes, times, over: 1.0 };
        match unit {
            metrics::Unit::Count => Self::same(Unit::Count),
            metrics::Unit::Percent => Self::same(Unit::Percent),
            metrics::Unit::Seconds => Self::same(Unit::Seconds),
            metrics::Unit::Milliseconds => Self::same(Unit::Milliseconds),
            metrics::Unit::Microseconds => Self::same(Unit::Microseconds),
            metrics::Unit::Nanoseconds => Self { unit: Unit::Microseconds, times: 1.0, over: 1_000.0 },
            metrics::Unit::Tebibytes => bytes(KIBI * KIBI * KIBI * KIBI),
            metrics::Unit::Gibibytes => bytes(KIBI * KIBI * KIBI),
            metrics::Unit::Mebibytes => bytes(KIBI * KIBI),
            metrics::Unit::Kibibytes => bytes(KIBI),
            metrics::Unit::Bytes => Self::same(Unit::Bytes),
            metrics::Unit::TerabitsPerSecond => Self::same(Unit::TerabitsPerSecond),
            metrics::Unit::GigabitsPerSecond => Self::same(Unit::GigabitsPerSecond),
            metrics::Unit::MegabitsPerSecond => Self::same(Unit::MegabitsPerSecond),
            metrics::Unit::KilobitsPerSecond => Self::same(Unit::KilobitsPerSecond),
            metrics::Unit::BitsPerSecond => Self::same(Unit::BitsPerSecond),
            metrics::Unit::CountPerSecond => Self::same(Unit::CountPerSecond),
        }
    }
}
