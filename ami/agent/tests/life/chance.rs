//! Numbers that a seed repeats.

use std::time::Duration;

/// SplitMix64: a number for each seed and draw.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Up to so many milliseconds.
    pub(crate) fn ms(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.draw() % (most + 1))
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.draw().is_multiple_of(n)
    }
}
