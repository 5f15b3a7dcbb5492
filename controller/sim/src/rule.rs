//! The rules that the watch checks, by name.

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A launch without a committed intent.
    Uncommitted,
    /// More machines than the intent names.
    DoubleLaunch,
    /// Above `max_runners`.
    FleetMax,
    /// Above a pool's maximum.
    PoolMax,
    /// Above the budget.
    Budget,
    /// A runner was ended that had a job.
    Killed,
    /// A machine was ended under a runner that listened and was registered: a job could have reached it.
    EndedListening,
    /// Two live registrations of one instance.
    TwoRegistrations,
    /// Two configurations minted in one session.
    MintedTwice,
    /// More machines booting or idle than demand and target explain.
    Surplus,
    /// A job waits for long, there is room, and nothing is on its way.
    Starved,
    /// The books do not add up.
    Sums,
}

impl Rule {
    /// Its word.
    pub fn as_word(self) -> &'static str {
        match self {
            Rule::Uncommitted => "uncommitted_launch",
            Rule::DoubleLaunch => "double_launch",
            Rule::FleetMax => "above_max_runners",
            Rule::PoolMax => "above_pool_max",
            Rule::Budget => "above_budget",
            Rule::Killed => "killed",
            Rule::EndedListening => "ended_listening",
            Rule::TwoRegistrations => "two_registrations",
            Rule::MintedTwice => "minted_twice",
            Rule::Surplus => "surplus",
            Rule::Starved => "starved",
            Rule::Sums => "sums",
        }
    }
}
