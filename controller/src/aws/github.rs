//! GitHub, set up when it is first needed.
//!
//! A key that cannot be read must not keep machines from being launched: they wait unregistered. So the adapter is made at
//! the first request, again after a failure, and anew when the configuration says something else of GitHub.
//!
//! Invariant: no key is in an error or a log line.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_core::config::GitHub;
use muster_core::ids::RunnerId;
use muster_core::machine::Removal;
use muster_core::ports::{Github, GithubError, MintRequest, Minted};
use muster_github::{Options, RestGithub};
use muster_webhook::live::LiveConfig;
use tokio::sync::Mutex;

use crate::secret::SecretReader;

/// After a failure to set it up, so long nothing is tried.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

enum State {
    New,
    Made(GitHub, Arc<RestGithub>),
    Failed(Instant, GitHub, String),
}

/// GitHub's REST interface as the configuration in force names it.
pub struct LateGithub {
    live: Arc<LiveConfig>,
    secrets: SecretReader,
    state: Mutex<State>,
}

impl LateGithub {
    /// Nothing is read yet.
    pub fn new(live: Arc<LiveConfig>, secrets: SecretReader) -> LateGithub {
        LateGithub { live, secrets, state: Mutex::new(State::New) }
    }

    async fn made(&self) -> Result<Arc<RestGithub>, GithubError> {
        let wanted = self.live.current().github.clone();
        let mut state = self.state.lock().await;
        match &*state {
            State::Made(of, made) if *of == wanted => return Ok(made.clone()),
            State::Failed(at, of, why) if *of == wanted && at.elapsed() < AGAIN_AFTER => {
                return Err(GithubError::Rejected(why.clone()));
            }
            State::New | State::Made(..) | State::Failed(..) => {}
        }
        match self.make(&wanted).await {
            Ok(made) => {
                let made = Arc::new(made);
                *state = State::Made(wanted, made.clone());
                Ok(made)
            }
            Err(why) => {
                *state = State::Failed(Instant::now(), wanted, why.clone());
                Err(GithubError::Rejected(why))
            }
        }
    }

    async fn make(&self, section: &GitHub) -> Result<RestGithub, String> {
        let mut keys = Vec::new();
        for app in &section.apps {
            // A file is beside the process: the configuration may be an object.
            let values = self.secrets.read(&app.private_key, Path::new(".")).await;
            let values = values.map_err(|error| format!("the key of App {}: {error}", app.id))?;
            keys.push(values.into_iter().next().unwrap_or_default());
        }
        RestGithub::new(section, &keys, Options::default()).map_err(|error| error.to_string())
    }
}

impl Github for LateGithub {
    async fn mint(&self, request: &MintRequest) -> Result<Minted, GithubError> {
        self.made().await?.mint(request).await
    }

    async fn remove(&self, runner: RunnerId) -> Result<Removal, GithubError> {
        self.made().await?.remove(runner).await
    }
}
