//! Chance: every random draw comes from a stream of its own, named by what is drawn and for whom.
//!
//! Invariant: a draw depends on the seed, the purpose and the two numbers of its owner, and on nothing that happened
//! before. A new fault, another policy or one more job reshuffles nothing that was there already.

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

/// A short sequence of draws. Not for secrets.
pub type Stream = Xoshiro256PlusPlus;

/// What is drawn. The numbers are part of the results: never reuse or change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// From launch to claim: by class and launch ordinal.
    Boot = 1,
    /// From the start of a standby machine to its claim: by class and launch ordinal.
    StandbyStart = 2,
    /// From launch to standing by: by shape and ordinal.
    Prewarm = 3,
    /// From event to delivery: by job and action.
    Webhook = 4,
    /// Which of the idle runners gets the job: by job and try.
    Hand = 5,
    /// The id of a delivery: by job and action.
    Guid = 6,
    /// What becomes of a delivery: by job and action.
    Fate = 7,
    /// What becomes of a listener: by registration.
    Listener = 8,
    /// How long an idle registration stays: by registration.
    Idle = 9,
}

/// The root of all streams of one seed.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    seed: u64,
}

impl Chance {
    /// For a seed.
    pub const fn new(seed: u64) -> Chance {
        Chance { seed }
    }

    /// The stream for a purpose and its owner.
    pub fn stream(self, purpose: Purpose, owner: u64, ordinal: u64) -> Stream {
        Stream::seed_from_u64(self.word(purpose, owner, ordinal))
    }

    /// A single word: the cheapest draw.
    pub const fn word(self, purpose: Purpose, owner: u64, ordinal: u64) -> u64 {
        mix(mix(mix(mix(self.seed) ^ purpose as u64) ^ owner) ^ ordinal)
    }
}

/// A number for a name, the same on every machine (FNV-1a).
pub(crate) fn number_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finaliser of SplitMix64, after one step of its counter.
const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    #[test]
    fn streams_are_apart_and_repeatable() {
        let chance = Chance::new(1);
        let draw = |c: Chance, p, a, b| c.stream(p, a, b).random::<u64>();
        let one = draw(chance, Purpose::Boot, 1, 2);
        assert_eq!(one, draw(chance, Purpose::Boot, 1, 2));
        assert_ne!(one, draw(chance, Purpose::Boot, 2, 1));
        assert_ne!(one, draw(chance, Purpose::Webhook, 1, 2));
        assert_ne!(one, draw(Chance::new(2), Purpose::Boot, 1, 2));
    }
}
