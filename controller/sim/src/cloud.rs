//! The cloud's machines: instances, their agents' state, the standby stock, and the client tokens it remembers.
//!
//! What lives here: state. What may not: what happens when time passes (that is the universe's).
//!
//! Invariant: an instance is here from its launch to its end, and nowhere else.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use muster_core::ids::{InstanceId, LaunchId, PoolName, RunnerId, ShapeId, Zone};
use muster_core::launch::LaunchReply;
use muster_core::machine::Market;
use muster_core::money::HourlyPrice;
use muster_core::time::Timestamp;

use crate::books::Spell;
use crate::classes::ClassNo;
use crate::work::JobRef;

/// The zones of the simulated region.
pub const ZONES: [&str; 3] = ["sim-a", "sim-b", "sim-c"];
/// How long the cloud remembers a client token.
pub(crate) const TOKEN_AGE_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How long the cloud still lists a terminated instance.
pub(crate) const GONE_LISTED: Duration = Duration::from_secs(600);

/// The number of an instance; its id is made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InstanceNo(pub(crate) u64);

/// Odd, so that multiplication by it is one-to-one on 64 bits: ids look as random as EC2's and lead back to the number.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;
const GATHER: u64 = inverse(SCATTER);

/// The multiplicative inverse of an odd number modulo 2^64, by Newton's iteration.
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut step = 0;
    while step < 6 {
        x = x.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(x)));
        step += 1;
    }
    x
}

impl InstanceNo {
    pub(crate) fn id(self) -> InstanceId {
        InstanceId::new(format!("i-0{:016x}", self.0.wrapping_mul(SCATTER)))
    }

    pub(crate) fn of(id: &InstanceId) -> Option<InstanceNo> {
        let digits = id.as_str().strip_prefix("i-0").filter(|digits| digits.len() == 16)?;
        Some(InstanceNo(u64::from_str_radix(digits, 16).ok()?.wrapping_mul(GATHER)))
    }
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
    /// The machine boots.
    Booting,
    /// It has claimed and waits for the answer.
    Claiming,
    /// The claim was accepted; it waits for a configuration.
    Ready,
    /// The listener is connected, and has not heard of a job.
    Listening,
    /// The listener has heard of its job.
    Received(JobRef),
    /// The job runs.
    Running(JobRef),
    /// The runner is over, or the agent gave up.
    Ended,
}

/// A listener that was frozen for a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Freeze {
    pub(crate) number: u32,
    pub(crate) at: Timestamp,
    /// The order to end it has come.
    pub(crate) condemned: bool,
}

pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) class: ClassNo,
    pub(crate) pool: PoolName,
    pub(crate) spell: Spell,
    pub(crate) agent: Agent,
    /// Which of its claims this is, from 1.
    pub(crate) session: u32,
    /// The registration that its runner uses.
    pub(crate) runner: Option<RunnerId>,
    pub(crate) freeze: Option<Freeze>,
    /// Configurations minted in this session and not taken back before use.
    pub(crate) mints: u32,
    /// Registrations at GitHub under its name.
    pub(crate) registrations: u32,
    /// Whether the watch counts it as spare: booting or idle.
    pub(crate) spare: bool,
    /// Whether it hangs: its agent neither says nor does anything any more.
    pub(crate) hung: bool,
}

/// A machine that stands by, or warms up to.
pub(crate) struct Stocked {
    pub(crate) no: InstanceNo,
    /// From when on it is stopped; `None` while it warms up.
    pub(crate) since: Option<Timestamp>,
    pub(crate) warming: Spell,
}

/// The warm pool of a shape.
pub(crate) struct Stock {
    pub(crate) size: u32,
    pub(crate) class: ClassNo,
    pub(crate) price: HourlyPrice,
    pub(crate) standby_price: HourlyPrice,
    pub(crate) machines: VecDeque<Stocked>,
    /// How many were ever warmed: the ordinal of their draws.
    pub(crate) warmed: u64,
}

impl Stock {
    pub(crate) fn ready(&self) -> usize {
        self.machines.iter().filter(|m| m.since.is_some()).count()
    }
}

/// What a client token stands for.
pub(crate) struct Token {
    /// Shape, zone, market and count: a repeat must ask for the same.
    pub(crate) asked: (ShapeId, Zone, Market, u32),
    /// The answer, word for word.
    pub(crate) reply: LaunchReply,
}

/// Without capacity since when, by offering.
pub(crate) type Outages = BTreeMap<(ShapeId, Zone), Timestamp>;

#[derive(Default)]
pub(crate) struct Fleet {
    pub(crate) instances: BTreeMap<InstanceNo, Instance>,
    pub(crate) stock: BTreeMap<ShapeId, Stock>,
    pub(crate) outages: Outages,
    pub(crate) requests: u64,
    tokens: HashMap<LaunchId, Token>,
    tokens_by_age: VecDeque<(Timestamp, LaunchId)>,
    gone: VecDeque<(Timestamp, InstanceId)>,
    next_no: u64,
    ordinals: BTreeMap<ClassNo, u64>,
}

impl Fleet {
    /// No machines, of which the first gets this number.
    pub(crate) fn numbering_from(first: u64) -> Fleet {
        Fleet { next_no: first, ..Fleet::default() }
    }

    pub(crate) fn new_no(&mut self) -> InstanceNo {
        let no = InstanceNo(self.next_no);
        self.next_no = self.next_no.wrapping_add(1);
        no
    }

    /// The ordinal of the next launch of a class, from 0.
    pub(crate) fn ordinal(&mut self, class: ClassNo) -> u64 {
        let next = self.ordinals.entry(class).or_default();
        *next += 1;
        *next - 1
    }

    pub(crate) fn get(&self, no: InstanceNo) -> Option<&Instance> {
        self.instances.get(&no)
    }

    pub(crate) fn get_mut(&mut self, no: InstanceNo) -> Option<&mut Instance> {
        self.instances.get_mut(&no)
    }

    pub(crate) fn token(&self, launch: &LaunchId) -> Option<&Token> {
        self.tokens.get(launch)
    }

    pub(crate) fn remember(&mut self, launch: &LaunchId, token: Token, now: Timestamp) {
        while let Some((_, old)) = self.tokens_by_age.pop_front_if(|(at, _)| now.since(*at) > TOKEN_AGE_MAX) {
            self.tokens.remove(&old);
        }
        self.tokens_by_age.push_back((now, launch.clone()));
        self.tokens.insert(launch.clone(), token);
    }

    pub(crate) fn bury(&mut self, id: InstanceId, now: Timestamp) {
        self.forget_gone(now);
        self.gone.push_back((now, id));
    }

    /// Terminated instances that are still listed.
    pub(crate) fn gone(&mut self, now: Timestamp) -> impl Iterator<Item = &InstanceId> {
        self.forget_gone(now);
        self.gone.iter().map(|(_, id)| id)
    }

    fn forget_gone(&mut self, now: Timestamp) {
        while self.gone.pop_front_if(|(at, _)| now.since(*at) > GONE_LISTED).is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_number() {
        for no in [1, 2, 3, 1_000_000, u64::MAX] {
            assert_eq!(InstanceNo::of(&InstanceNo(no).id()), Some(InstanceNo(no)));
        }
        assert_eq!(InstanceNo::of(&InstanceId::new("i-123")), None);
        assert_eq!(InstanceNo(1).id().as_str().len(), "i-0123456789abcdef0".len());
    }
}
