//! Muster's adapter for GitHub's REST interface. The only crate that names octocrab.
//!
//! What lives here: the ports [`muster_core::ports::Github`] and [`muster_core::ports::Records`] in terms of HTTP requests,
//! authentication as a GitHub App, and what GitHub allows per minute and hour. What may not: decisions, a repeated POST whose
//! first one may have taken effect, and a type of the HTTP client in an answer.
//!
//! Invariant: no token, key or runner configuration is in an error, a log line or a `Debug` text.

mod answer;
mod app;
mod budget;
mod checkup;
mod deliveries;
mod github;
mod groups;
mod jobs;
mod key;
mod owner;
mod past;
mod registrations;
mod releases;
mod reruns;
mod runners;
mod token;
mod transport;

pub use budget::{AT_ONCE_MAX, OPTIONAL_POINTS, POINTS_A_MINUTE, RateLeft};
pub use checkup::{
    AccountFacts, AppFacts, Checkup, Delivered, Fact, InstallationFacts, Rate, Redelivery, ReleaseFacts, Repositories,
    Wanted, Webhook, checkup,
};
pub use deliveries::LOG_PAGES_MAX;
pub use github::{Clock, Installed, Options, RestGithub};
pub use groups::{GROUPS_AGE_MAX, GROUPS_LOOK_AGAIN, RunnerGroup};
pub use jobs::{JOB_PAGES_MAX, TAG_AGE_MAX};
pub use key::SetupError;
pub use owner::{Permission, permissions};
pub use past::{PAST_PAGE, PAST_RUNS_MAX, PastJob, PastPage, PastRead, PastRepository, PastRun};
pub use transport::Patience;
