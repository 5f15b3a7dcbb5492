//! The faults by name.
//!
//! What lives here: words and rates, in one table. What may not: chance.

use std::fmt;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A delivery is not taken; one in ten is not even in GitHub's log.
    WebhookLost,
    /// A delivery takes one to ten minutes.
    WebhookLate,
    /// A delivery arrives again within ten minutes.
    WebhookTwice,
    /// A delivery takes up to half a minute, so that others overtake it.
    WebhookReordered,
    /// A call of the cloud fails, and nothing has happened.
    CloudError,
    /// A call of the cloud takes effect, and its answer is lost.
    CloudReplyLost,
    /// The cloud is asked too often.
    CloudThrottled,
    /// A request to GitHub fails, and nothing has happened.
    GithubError,
    /// A request to GitHub takes effect, and its answer is lost.
    GithubReplyLost,
    /// GitHub wants to be left alone for a minute.
    GithubLimited,
    /// A machine is gone before its agent says anything.
    NeverBoots,
    /// A machine runs, and its agent never says anything.
    NeverClaims,
    /// A machine is gone while its runner waits, without a notice.
    DiesIdle,
    /// A machine is gone while its job runs, without a notice.
    DiesBusy,
    /// A machine hangs the moment its runner has connected: the cloud says that it runs.
    HangsIdle,
    /// GitHub does not see a listener whose agent says that it waits.
    GhostListener,
    /// A spot machine is taken two minutes after a notice.
    SpotNotice,
    /// A spot machine is taken without a notice.
    SpotTaken,
    /// A shape has no capacity in a zone, for minutes or hours.
    CapacityGone,
    /// The process dies between two steps of a tick.
    ScalerKilled,
    /// The ledger fails: half of the writes have happened.
    LedgerFails,
    /// GitHub's interface is down for an hour, and webhooks come afterwards.
    GithubDown,
    /// Door, scaler and all are down for an hour.
    DoorDown,
}

/// Each with its word, and how often it strikes: the share of the calls, deliveries, machines or jobs that it can strike. Of an
/// outage: the share of the stretches of six hours in which one begins.
const TABLE: [(Fault, &str, f64); 23] = [
    (Fault::WebhookLost, "webhook-lost", 0.05),
    (Fault::WebhookLate, "webhook-late", 0.05),
    (Fault::WebhookTwice, "webhook-twice", 0.05),
    (Fault::WebhookReordered, "webhook-reordered", 0.1),
    (Fault::CloudError, "cloud-error", 0.02),
    (Fault::CloudReplyLost, "cloud-reply-lost", 0.02),
    (Fault::CloudThrottled, "cloud-throttled", 0.02),
    (Fault::GithubError, "github-error", 0.02),
    (Fault::GithubReplyLost, "github-reply-lost", 0.02),
    (Fault::GithubLimited, "github-limited", 0.005),
    (Fault::NeverBoots, "never-boots", 0.02),
    (Fault::NeverClaims, "never-claims", 0.01),
    (Fault::DiesIdle, "dies-idle", 0.02),
    (Fault::DiesBusy, "dies-busy", 0.01),
    (Fault::HangsIdle, "hangs-idle", 0.01),
    (Fault::GhostListener, "ghost-listener", 0.01),
    (Fault::SpotNotice, "spot-notice", 0.02),
    (Fault::SpotTaken, "spot-taken", 0.02),
    (Fault::CapacityGone, "capacity-gone", 0.15),
    (Fault::ScalerKilled, "scaler-killed", 0.001),
    (Fault::LedgerFails, "ledger-fails", 0.002),
    (Fault::GithubDown, "github-down", 0.15),
    (Fault::DoorDown, "door-down", 0.15),
];

impl Fault {
    /// All of them.
    pub const ALL: [Fault; TABLE.len()] = {
        let mut all = [Fault::WebhookLost; TABLE.len()];
        let mut n = 0;
        while n < TABLE.len() {
            all[n] = TABLE[n].0;
            n += 1;
        }
        all
    };

    fn row(self) -> &'static (Fault, &'static str, f64) {
        &TABLE[self as usize]
    }

    /// Its word. Draws are named by it: a fault with another word strikes others.
    pub fn as_word(self) -> &'static str {
        self.row().1
    }

    /// How often it strikes, from 0 to 1.
    pub fn rate(self) -> f64 {
        self.row().2
    }

    /// The fault with this word.
    pub fn of(word: &str) -> Option<Fault> {
        Fault::ALL.into_iter().find(|fault| fault.as_word() == word)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_own_row_and_word() {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place);
            assert_eq!(Fault::of(fault.as_word()), Some(fault));
        }
        assert_eq!(Fault::of("everything"), None);
    }
}
