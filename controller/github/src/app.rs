//! One App: who it is, its installation, its budget; and a request in its name. Its tokens live in `token.rs`.
//!
//! Invariant: a request is sent twice only if GitHub has said with a 401 that the first one counted for nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use metrics::gauge;
use muster_core::config::{self, Hook, Owner};
use muster_core::metric;
use muster_core::time::Timestamp;
use octocrab::auth::AppAuth;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::answer::Answer;
use crate::budget::{AT_ONCE_MAX, Budget, Purpose, RateLeft};
use crate::github::Clock;
use crate::key::{Secret, SetupError, read_key};
use crate::owner;
use crate::token::Access;
use crate::transport::{Ask, Lost, Transport};

/// For this long after GitHub has shown it something of the owner's, a 404 to an App is about what was asked for, and not
/// about the App.
const SIGHT_AGE_MAX: Duration = Duration::from_secs(300);

/// A request has no answer that its caller could read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing happened: over a limit until then.
    Limited(Timestamp),
    /// Nothing happened, and nothing will until somebody mends it: GitHub refuses this App.
    Refused(String),
    /// Nothing happened: GitHub could not be asked.
    Unsent(String),
    /// It may have taken effect.
    Unknown(String),
}

#[derive(Deserialize)]
pub(crate) struct InstallationAnswer {
    pub(crate) id: u64,
    account: Option<AccountAnswer>,
}

#[derive(Deserialize)]
struct AccountAnswer {
    id: u64,
}

pub(crate) struct App {
    pub(crate) id: u64,
    auth: AppAuth,
    pub(crate) configured: Option<u64>,
    pub(crate) owner: Arc<Owner>,
    transport: Arc<Transport>,
    pub(crate) clock: Clock,
    budget: Mutex<Budget>,
    slots: Semaphore,
    /// To register and remove runners.
    runners: Access,
    /// To read what GitHub remembers.
    reading: Access,
    /// To run again what was interrupted.
    rerunning: Access,
    /// When it last saw something of the owner's, asking for runners.
    seen_at: Mutex<Option<Timestamp>>,
    ahead_ms: Mutex<Option<i64>>,
}

impl App {
    pub(crate) fn new(
        app: &config::App,
        key: &[u8],
        (owner, hook): (Arc<Owner>, Hook),
        transport: Arc<Transport>,
        clock: Clock,
    ) -> Result<App, SetupError> {
        Ok(App {
            id: app.id,
            auth: read_key(app.id, &app.private_key, key)?,
            configured: app.installation_id,
            runners: Access::new(owner::token_request(&owner), owner::permission(&owner)),
            reading: Access::new(owner::reading_request(&owner, hook), owner::reading_permission(&owner, hook)),
            rerunning: Access::new(owner::rerun_request(&owner), owner::RERUN_PERMISSION),
            owner,
            transport,
            clock,
            budget: Mutex::default(),
            slots: Semaphore::new(AT_ONCE_MAX),
            seen_at: Mutex::default(),
            ahead_ms: Mutex::default(),
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn view(&self) -> RateLeft {
        self.budget().view(self.id, (self.clock)())
    }

    /// Whether no request may be sent any more, by this App or another.
    pub(crate) fn is_spent(&self) -> bool {
        self.transport.is_spent()
    }

    pub(crate) fn left(&self) -> u64 {
        self.budget().left((self.clock)())
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks GitHub in the name of the installation. Any answer is returned that is neither a limit, nor a refusal of the
    /// App, nor an error of GitHub's own.
    pub(crate) async fn call(&self, ask: &Ask<'_>, purpose: Purpose) -> Result<Answer, Trouble> {
        let (access, reads) = match purpose {
            Purpose::Work | Purpose::CleanUp | Purpose::Witness => (&self.runners, false),
            Purpose::Aside => (&self.runners, true),
            Purpose::Rerun => (&self.rerunning, true),
            Purpose::Optional => (&self.reading, true),
        };
        // Never closed: `close` is not called.
        let _slot = self.slots.acquire().await.map_err(|_| Trouble::Unsent("the adapter is ending".to_owned()))?;
        let token = self.token(access).await?;
        let mut answer = self.ask(ask, purpose, &token).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            // Revoked, or expired early. GitHub has done nothing.
            access.drop_token(&token).await;
            let token = self.token(access).await?;
            answer = self.ask(ask, purpose, &token).await?;
        }
        match answer.status {
            // This is about the one thing that was asked for.
            StatusCode::FORBIDDEN if reads => Ok(Answer { app: Some(self.id), ..answer }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let why = format!(
                    "GitHub refuses App {} ({}){}: see that it is installed on the {} with the {}",
                    self.id,
                    answer.told(),
                    answer.skew(),
                    owner::told(&self.owner),
                    access.permission
                );
                access.refused((self.clock)(), &why).await;
                Err(Trouble::Refused(why))
            }
            status if status.is_server_error() => Err(Trouble::Unknown(format!("GitHub answered {}", answer.told()))),
            status => {
                // Who may read a repository need not see the runners.
                if status.is_success() && !reads {
                    *self.seen_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.at);
                }
                Ok(Answer { app: Some(self.id), ..answer })
            }
        }
    }

    /// Takes in its installation's number.
    pub(crate) async fn know(&self, installation: u64) {
        self.runners.know(installation).await;
        self.reading.know(installation).await;
        self.rerunning.know(installation).await;
    }

    /// Whether GitHub has shown it something of the owner's of late.
    pub(crate) fn sees(&self) -> bool {
        let at = *self.seen_at.lock().unwrap_or_else(PoisonError::into_inner);
        at.is_some_and(|at| (self.clock)().since(at) < SIGHT_AGE_MAX)
    }

    /// The installation's and its account's numbers, as GitHub tells them now.
    pub(crate) async fn installation(&self) -> Result<(u64, Option<u64>), Trouble> {
        let found = self.look_up().await?;
        Ok((found.id, found.account.map(|account| account.id)))
    }

    /// One request within the budget; its headers are learned from.
    async fn ask(&self, ask: &Ask<'_>, purpose: Purpose, who: &Secret) -> Result<Answer, Trouble> {
        self.budget().take((self.clock)(), &ask.method, purpose).map_err(Trouble::Limited)?;
        let answer = self.send(ask, who).await?;
        let mut budget = self.budget();
        budget.heard(&answer);
        if let Some(remaining) = budget.view(self.id, answer.at).remaining {
            // Each App has a limit of its own: the property tells which this is, the minimum is the one to watch.
            gauge!(metric::GITHUB_RATE_REMAINING, "app" => self.id.to_string()).set(remaining as f64);
        }
        if answer.is_limit() { Err(Trouble::Limited(budget.paused_until())) } else { Ok(answer) }
    }

    async fn send(&self, ask: &Ask<'_>, who: &Secret) -> Result<Answer, Trouble> {
        if !self.transport.take() {
            return Err(Trouble::Unsent("as many requests were sent as there may be".to_owned()));
        }
        self.budget().count();
        let answer = self.transport.send(ask, who).await.map_err(|lost| match lost {
            Lost::Unsent(why) => Trouble::Unsent(format!("GitHub cannot be reached: {why}")),
            Lost::Unknown(why) => Trouble::Unknown(why),
        })?;
        let mut ahead = self.ahead_ms.lock().unwrap_or_else(PoisonError::into_inner);
        *ahead = answer.ahead_ms().or(*ahead);
        Ok(answer)
    }

    /// Reads something as the App itself, within the budget.
    pub(crate) async fn read_as_app(&self, path: &str) -> Result<Answer, Trouble> {
        self.optional_as_app(&Ask::get(path)).await
    }

    /// Asks as the App itself for what is not needed, within the budget.
    pub(crate) async fn optional_as_app(&self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        let now = (self.clock)();
        self.budget().take_as_app(now, &ask.method, Purpose::Optional).map_err(Trouble::Limited)?;
        self.ask_as_app(ask).await
    }

    /// How far our clock was ahead of GitHub's at the last answer, in milliseconds.
    pub(crate) fn ahead_ms(&self) -> Option<i64> {
        *self.ahead_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for something that a token needs. Nobody's request was sent yet: whatever becomes of this one, nothing has
    /// happened.
    pub(crate) async fn ask_for_token(&self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        self.ask_as_app(ask).await.map_err(|trouble| match trouble {
            Trouble::Unsent(why) | Trouble::Unknown(why) => self.no_token(&why),
            Trouble::Limited(_) | Trouble::Refused(_) => trouble,
        })
    }

    pub(crate) fn no_token(&self, why: &str) -> Trouble {
        Trouble::Unsent(format!("no installation token for App {}: {why}", self.id))
    }

    /// One request as the App itself. Its primary limit is another one than the installation's.
    async fn ask_as_app(&self, ask: &Ask<'_>) -> Result<Answer, Trouble> {
        let now = (self.clock)();
        let paused = self.budget().paused_until();
        if paused > now {
            return Err(Trouble::Limited(paused));
        }
        let no_jwt = |_| Trouble::Refused(format!("the private key of App {} does not sign", self.id));
        let jwt = Secret::new(self.auth.generate_bearer_token().map_err(no_jwt)?);
        let answer = self.send(ask, &jwt).await?;
        {
            let mut budget = self.budget();
            budget.heard_as_app(&answer);
            if answer.is_limit() {
                return Err(Trouble::Limited(budget.paused_until()));
            }
        }
        match answer.status {
            StatusCode::UNAUTHORIZED => Err(Trouble::Refused(format!(
                "GitHub does not take the key of App {} ({}){}: check id, private_key and api_url in [[github.app]]",
                self.id,
                answer.told(),
                answer.skew()
            ))),
            status if status.is_server_error() => Err(Trouble::Unknown(format!("GitHub answered {}", answer.told()))),
            _ => Ok(answer),
        }
    }

    /// The App's installation on the owner.
    pub(crate) async fn look_up(&self) -> Result<InstallationAnswer, Trouble> {
        let path = format!("{}/installation", owner::base(&self.owner));
        let answer = self.ask_for_token(&Ask::get(&path)).await?;
        if answer.status.is_success() {
            let unreadable = |why| Trouble::Unsent(format!("the installation of App {}: {why}", self.id));
            return answer.json().map_err(unreadable);
        }
        Err(Trouble::Refused(format!(
            "App {} is not installed on the {} ({}): install it there, or correct [github]",
            self.id,
            owner::told(&self.owner),
            answer.told()
        )))
    }
}
