//! The closed vocabularies of the configuration: operating systems, architectures, markets, standby states.
//!
//! What lives here: small enums with the words an admin writes. What may not: anything with a number in it.
//!
//! Invariant: `X::parse(x.as_str()) == Some(x)` for every value of every enum here.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// Every word, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word for it in the configuration.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word),+
                }
            }

            /// Reads the word. `None` if it is none of [`Self::WORDS`].
            pub fn parse(word: &str) -> Option<$name> {
                match word {
                    $($word => Some($name::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// A pool's operating system.
    Os {
        /// Any Linux.
        Linux = "linux",
        /// Windows Server.
        Windows = "windows",
        /// macOS, on EC2 Mac dedicated hosts.
        Macos = "macos",
    }
}

words! {
    /// A pool's processor architecture, in GitHub's words.
    Arch {
        /// 64-bit x86.
        X64 = "x64",
        /// 64-bit Arm.
        Arm64 = "arm64",
    }
}

words! {
    /// What a machine is bought as.
    Market {
        /// EC2 Spot: cheap, may be interrupted.
        Spot = "spot",
        /// EC2 On-Demand.
        OnDemand = "on-demand",
    }
}

words! {
    /// A class's market label: which markets its machines may come from, and in which order.
    MarketPolicy {
        /// Spot only.
        Spot = "spot",
        /// On-Demand only.
        OnDemand = "on-demand",
        /// Spot first; On-Demand when Spot has no capacity.
        SpotThenOnDemand = "spot-then-on-demand",
    }
}

words! {
    /// The state of the members of a warm pool.
    StandbyState {
        /// Stopped: boots again, keeps its disk.
        Stopped = "stopped",
        /// Hibernated: memory is kept on disk.
        Hibernated = "hibernated",
    }
}

words! {
    /// A metric dimension that an admin may opt in to. Every distinct value is a metric of its own on the bill.
    Dimension {
        /// The job's conclusion.
        Status = "status",
        /// The event that started the run.
        Event = "event",
        /// The repository, `owner/name`.
        Repository = "repository",
        /// The workflow's name.
        Workflow = "workflow",
        /// The job's name.
        JobName = "job_name",
    }
}

impl MarketPolicy {
    /// The markets it allows, best first.
    pub const fn markets(self) -> &'static [Market] {
        match self {
            MarketPolicy::Spot => &[Market::Spot],
            MarketPolicy::OnDemand => &[Market::OnDemand],
            MarketPolicy::SpotThenOnDemand => &[Market::Spot, Market::OnDemand],
        }
    }

    /// Whether it allows `market` at all.
    pub fn allows(self, market: Market) -> bool {
        self.markets().contains(&market)
    }
}
