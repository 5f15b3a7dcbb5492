//! GitHub, set up when it is first needed.
//!
//! A key that cannot be read must not keep machines from being launched: they wait unregistered. So the adapter is made at
//! the first request, again after a failure, and anew when the configuration says something else of GitHub. A key that was
//! rotated stands under the same reference: when GitHub refuses us, the keys are read again, and if one is another, the request
//! is repeated with it. A refusal means that nothing has happened.
//!
//! Invariant: no key is in an error or a log line.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_core::config::GitHub;
use muster_core::ids::{JobId, RunId, RunnerId};
use muster_core::job::{JobAbout, JobEvent};
use muster_core::machine::Removal;
use muster_core::ports::{FailedDelivery, Github, GithubError, Listed, MintRequest, Minted, Records, Reruns};
use muster_core::release::{Release, Retirement};
use muster_core::rerun::{JobNow, RunNow};
use muster_core::time::Timestamp;
use muster_github::{Options, RestGithub};
use muster_webhook::live::LiveConfig;
use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;

use crate::secret::SecretReader;

/// After a failure to set it up, so long nothing is tried; nor are the keys read again for a refusal.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The hash of all keys: the keys themselves are not kept.
type Fingerprint = [u8; 32];

/// Set up.
struct Made {
    of: GitHub,
    keys: Fingerprint,
    read_at: Instant,
    github: Arc<RestGithub>,
}

enum State {
    New,
    Made(Made),
    Failed(Instant, GitHub, String),
}

/// GitHub's REST interface as the configuration in force names it.
pub struct LateGithub {
    live: Arc<LiveConfig>,
    secrets: SecretReader,
    state: Mutex<State>,
    again_after: Duration,
}

impl LateGithub {
    /// Nothing is read yet.
    pub fn new(live: Arc<LiveConfig>, secrets: SecretReader) -> LateGithub {
        LateGithub { live, secrets, state: Mutex::new(State::New), again_after: AGAIN_AFTER }
    }

    async fn made(&self) -> Result<Arc<RestGithub>, GithubError> {
        let wanted = self.live.current().github.clone();
        let mut state = self.state.lock().await;
        match &*state {
            State::Made(made) if made.of == wanted => return Ok(made.github.clone()),
            State::Failed(at, of, why) if *of == wanted && at.elapsed() < AGAIN_AFTER => {
                return Err(GithubError::Rejected(why.clone()));
            }
            State::New | State::Made(_) | State::Failed(..) => {}
        }
        match self.make(&wanted).await {
            Ok(made) => {
                let github = made.github.clone();
                *state = State::Made(made);
                Ok(github)
            }
            Err(why) => {
                *state = State::Failed(Instant::now(), wanted, why.clone());
                Err(GithubError::Rejected(why))
            }
        }
    }

    /// GitHub with other keys than those that it has refused `refused` with; `None` if there are none, or it is too early to
    /// look.
    async fn rekeyed(&self, refused: &Arc<RestGithub>) -> Option<Arc<RestGithub>> {
        let mut state = self.state.lock().await;
        let State::Made(made) = &mut *state else { return None };
        if !Arc::ptr_eq(&made.github, refused) {
            // Somebody was faster.
            return Some(made.github.clone());
        }
        if made.read_at.elapsed() < self.again_after {
            return None;
        }
        made.read_at = Instant::now();
        match self.make(&made.of.clone()).await {
            Ok(other) if other.keys == made.keys => None,
            Ok(other) => {
                tracing::info!("GitHub refuses the App's former key; there is another one, which is used from now on");
                *made = other;
                Some(made.github.clone())
            }
            Err(why) => {
                tracing::warn!(why, "GitHub refuses us, and the App's key cannot be read again");
                None
            }
        }
    }

    async fn make(&self, section: &GitHub) -> Result<Made, String> {
        let mut keys = Vec::new();
        for app in &section.apps {
            // A file is beside the process: the configuration may be an object.
            let values = self.secrets.read(&app.private_key, Path::new(".")).await;
            let values = values.map_err(|error| format!("the key of App {}: {error}", app.id))?;
            keys.push(values.into_iter().next().unwrap_or_default());
        }
        let mut hash = Sha256::new();
        for key in &keys {
            hash.update((key.len() as u64).to_be_bytes());
            hash.update(key);
        }
        let github = RestGithub::new(section, &keys, Options::default()).map_err(|error| error.to_string())?;
        let (of, keys, read_at) = (section.clone(), hash.finalize().into(), Instant::now());
        Ok(Made { of, keys, read_at, github: Arc::new(github) })
    }
}

impl Github for LateGithub {
    async fn mint(&self, request: &MintRequest) -> Result<Minted, GithubError> {
        let github = self.made().await?;
        match github.mint(request).await {
            Err(GithubError::Rejected(why)) => match self.rekeyed(&github).await {
                Some(github) => github.mint(request).await,
                None => Err(GithubError::Rejected(why)),
            },
            answer => answer,
        }
    }

    async fn remove(&self, runner: RunnerId) -> Result<Removal, GithubError> {
        let github = self.made().await?;
        match github.remove(runner).await {
            Err(GithubError::Rejected(why)) => match self.rekeyed(&github).await {
                Some(github) => github.remove(runner).await,
                None => Err(GithubError::Rejected(why)),
            },
            answer => answer,
        }
    }
}

impl Reruns for LateGithub {
    async fn run(&self, repository: &str, run: RunId) -> Result<Option<RunNow>, GithubError> {
        self.made().await?.run(repository, run).await
    }

    async fn run_jobs(&self, repository: &str, run: RunId, attempt: u32) -> Result<Vec<JobNow>, GithubError> {
        self.made().await?.run_jobs(repository, run, attempt).await
    }

    async fn is_superseded(&self, repository: &str, run: RunId) -> Result<bool, GithubError> {
        self.made().await?.is_superseded(repository, run).await
    }

    async fn rerun_failed(&self, repository: &str, run: RunId) -> Result<(), GithubError> {
        self.made().await?.rerun_failed(repository, run).await
    }

    async fn cancel(&self, repository: &str, run: RunId, force: bool) -> Result<(), GithubError> {
        self.made().await?.cancel(repository, run, force).await
    }
}

/// A refusal here is no reason to read the keys again: mints notice a key that was rotated.
impl Records for LateGithub {
    async fn failed_since(&self, since: Timestamp) -> Result<Vec<FailedDelivery>, GithubError> {
        self.made().await?.failed_since(since).await
    }

    async fn payload(&self, of: &FailedDelivery) -> Result<Option<Vec<u8>>, GithubError> {
        self.made().await?.payload(of).await
    }

    async fn job(&self, about: &JobAbout, job: JobId) -> Result<Option<JobEvent>, GithubError> {
        self.made().await?.job(about, job).await
    }

    async fn pushed_since(&self, since: Timestamp) -> Result<Vec<Arc<str>>, GithubError> {
        self.made().await?.pushed_since(since).await
    }

    async fn waiting(&self, repository: &str, let_be: &BTreeSet<RunId>) -> Result<Option<Vec<JobEvent>>, GithubError> {
        self.made().await?.waiting(repository, let_be).await
    }

    async fn registrations(&self) -> Result<Vec<Listed>, GithubError> {
        self.made().await?.registrations().await
    }

    async fn offered(&self) -> Result<Vec<Release>, GithubError> {
        self.made().await?.offered().await
    }

    async fn retirement(&self, of: Release) -> Result<Option<Retirement>, GithubError> {
        self.made().await?.retirement(of).await
    }
}

#[cfg(test)]
mod tests {
    use muster_core::config::FleetConfig;
    use muster_core::ids::RunnerName;
    use muster_tests::github::{FakeGithub, FakeOwner, FakeSetup};

    use super::*;

    fn live(url: &str, key: &Path) -> Arc<LiveConfig> {
        let text = format!(
            "[github]\norganization = \"acme\"\napi_url = \"{url}\"\nwebhook_secrets = [\"env:SECRET\"]\n\
             [[github.app]]\nid = 12345\nprivate_key = \"file:{}\"\n[fleet]\nname = \"test\"\n\
             [[pool]]\nname = \"linux\"\nos = \"linux\"\narch = \"x64\"\nlabels = [\"linux\"]\n\
             [pool.sizes.small]\ninstance_types = [\"c7i.large\"]\n",
            key.display()
        );
        let parsed = FleetConfig::parse("test.toml", &text);
        Arc::new(LiveConfig::new(parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.errors))))
    }

    fn request(name: &str) -> MintRequest {
        MintRequest { name: RunnerName::new(name), labels: Arc::new(["linux".into()]), runner_group: "Default".into() }
    }

    #[tokio::test]
    async fn a_key_that_was_rotated_is_read_again_when_github_refuses_the_former_one() {
        let fake = FakeGithub::start(FakeSetup::new(FakeOwner::Organization("acme".to_owned())));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.pem");
        std::fs::write(&file, fake.key(12345)).unwrap();
        let mut github = LateGithub::new(live(fake.url(), &file), SecretReader::default());
        github.mint(&request("one")).await.unwrap();
        fake.world().rotate_key(12345);
        let refused = github.mint(&request("two")).await;
        assert!(matches!(refused, Err(GithubError::Rejected(_))), "it is too early to read the key again");
        github.again_after = Duration::ZERO;
        assert!(github.mint(&request("two")).await.is_err(), "the file has the former key");
        std::fs::write(&file, fake.key(12345)).unwrap();
        assert!(github.mint(&request("two")).await.is_ok());
        assert_eq!(fake.world().runners().len(), 2);
    }
}
