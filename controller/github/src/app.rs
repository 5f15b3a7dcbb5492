//! One App: who it is, its installation, its token, its budget; and a request in its name.
//!
//! Invariant: a request is sent twice only if GitHub has said with a 401 that the first one counted for nothing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use muster_core::config::{self, Owner};
use muster_core::time::Timestamp;
use octocrab::auth::AppAuth;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::answer::Answer;
use crate::budget::{AT_ONCE_MAX, Budget, Purpose, RateLeft};
use crate::github::Clock;
use crate::key::{Secret, SetupError, read_key};
use crate::owner;
use crate::transport::{Lost, Transport};

/// A token is replaced when it has less than this to live. GitHub gives them an hour.
const TOKEN_RENEWED_BEFORE: Duration = Duration::from_secs(600);
/// A token is not used for its last seconds: it must outlive the request.
const TOKEN_UNUSED_BEFORE: Duration = Duration::from_secs(30);
/// An App that GitHub has refused is not asked again for this long: refused requests count, and may have it banned.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// For this long after GitHub has shown it something of the owner's, a 404 to an App is about what was asked for, and not
/// about the App.
const SIGHT_AGE_MAX: Duration = Duration::from_secs(300);

const _: () = assert!(TOKEN_UNUSED_BEFORE.as_secs() < TOKEN_RENEWED_BEFORE.as_secs());

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

struct Token {
    secret: Secret,
    expires_at: Timestamp,
}

#[derive(Default)]
struct Access {
    installation: Option<u64>,
    token: Option<Token>,
    refused: Option<(Timestamp, String)>,
}

#[derive(Deserialize)]
struct InstallationAnswer {
    id: u64,
    account: Option<AccountAnswer>,
}

#[derive(Deserialize)]
struct AccountAnswer {
    id: u64,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: String,
    expires_at: String,
}

pub(crate) struct App {
    id: u64,
    auth: AppAuth,
    configured: Option<u64>,
    owner: Arc<Owner>,
    transport: Arc<Transport>,
    clock: Clock,
    budget: Mutex<Budget>,
    slots: Semaphore,
    access: tokio::sync::Mutex<Access>,
    /// When it last saw something of the owner's.
    seen_at: Mutex<Option<Timestamp>>,
}

impl App {
    pub(crate) fn new(
        app: &config::App,
        key: &[u8],
        owner: Arc<Owner>,
        transport: Arc<Transport>,
        clock: Clock,
    ) -> Result<App, SetupError> {
        Ok(App {
            id: app.id,
            auth: read_key(app.id, &app.private_key, key)?,
            configured: app.installation_id,
            owner,
            transport,
            clock,
            budget: Mutex::default(),
            slots: Semaphore::new(AT_ONCE_MAX),
            access: tokio::sync::Mutex::default(),
            seen_at: Mutex::default(),
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn view(&self) -> RateLeft {
        self.budget().view(self.id, (self.clock)())
    }

    pub(crate) fn left(&self) -> u64 {
        self.budget().left((self.clock)())
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks GitHub in the name of the installation. Any answer is returned that is neither a limit, nor a refusal of the
    /// App, nor an error of GitHub's own.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        purpose: Purpose,
    ) -> Result<Answer, Trouble> {
        // Never closed: `close` is not called.
        let _slot = self.slots.acquire().await.map_err(|_| Trouble::Unsent("the adapter is ending".to_owned()))?;
        let token = self.token().await?;
        let mut answer = self.ask(method.clone(), path, body, purpose, &token).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            // Revoked, or expired early. GitHub has done nothing.
            self.drop_token(&token).await;
            let token = self.token().await?;
            answer = self.ask(method, path, body, purpose, &token).await?;
        }
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let why = format!(
                    "GitHub refuses App {} ({}){}: see that it is installed on the {} with the {}",
                    self.id,
                    answer.told(),
                    answer.skew(),
                    owner::told(&self.owner),
                    owner::permission(&self.owner)
                );
                self.refused(&why).await;
                Err(Trouble::Refused(why))
            }
            status if status.is_server_error() => Err(Trouble::Unknown(format!("GitHub answered {}", answer.told()))),
            status => {
                if status.is_success() {
                    *self.seen_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.at);
                }
                Ok(Answer { app: Some(self.id), ..answer })
            }
        }
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
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        purpose: Purpose,
        who: &Secret,
    ) -> Result<Answer, Trouble> {
        self.budget().take((self.clock)(), &method, purpose).map_err(Trouble::Limited)?;
        self.budget().count();
        let answer = self.transport.send(method, path, body, who).await.map_err(|lost| match lost {
            Lost::Unsent(why) => Trouble::Unsent(format!("GitHub cannot be reached: {why}")),
            Lost::Unknown(why) => Trouble::Unknown(why),
        })?;
        let mut budget = self.budget();
        budget.heard(&answer);
        if answer.is_limit() { Err(Trouble::Limited(budget.paused_until())) } else { Ok(answer) }
    }

    /// One request as the App itself. Its primary limit is another one, so only a pause is learned.
    async fn ask_as_app(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Trouble> {
        let now = (self.clock)();
        let paused = self.budget().paused_until();
        if paused > now {
            return Err(Trouble::Limited(paused));
        }
        let no_jwt = |_| Trouble::Refused(format!("the private key of App {} does not sign", self.id));
        let jwt = Secret::new(self.auth.generate_bearer_token().map_err(no_jwt)?);
        self.budget().count();
        // Nobody's request was sent yet: whatever becomes of this one, nothing has happened.
        let unsent = |why: String| Trouble::Unsent(format!("no installation token for App {}: {why}", self.id));
        let answer = self.transport.send(method, path, body, &jwt).await.map_err(|lost| match lost {
            Lost::Unsent(why) | Lost::Unknown(why) => unsent(why),
        })?;
        if answer.is_limit() {
            let mut budget = self.budget();
            budget.heard(&answer);
            return Err(Trouble::Limited(budget.paused_until()));
        }
        match answer.status {
            StatusCode::UNAUTHORIZED => Err(Trouble::Refused(format!(
                "GitHub does not take the key of App {} ({}){}: check id, private_key and api_url in [[github.app]]",
                self.id,
                answer.told(),
                answer.skew()
            ))),
            status if status.is_server_error() => Err(unsent(format!("GitHub answered {}", answer.told()))),
            _ => Ok(answer),
        }
    }

    /// A token that lives, a fresh one if need be. Whoever comes meanwhile waits for that one.
    async fn token(&self) -> Result<Secret, Trouble> {
        let mut access = self.access.lock().await;
        let now = (self.clock)();
        let alive = |token: &&Token, least: Duration| token.expires_at > now + least;
        if let Some(token) = access.token.as_ref().filter(|token| alive(token, TOKEN_RENEWED_BEFORE)) {
            return Ok(token.secret.clone());
        }
        if let Some((_, why)) = access.refused.as_ref().filter(|(until, _)| *until > now) {
            return Err(Trouble::Refused(why.clone()));
        }
        match self.fresh_token(&mut access).await {
            Ok(token) => {
                let secret = token.secret.clone();
                access.token = Some(token);
                access.refused = None;
                Ok(secret)
            }
            Err(trouble) => {
                if let Trouble::Refused(why) = &trouble {
                    access.refused = Some((now + REFUSED_PAUSE, why.clone()));
                }
                // The former one does until it ends.
                match access.token.as_ref().filter(|token| alive(token, TOKEN_UNUSED_BEFORE)) {
                    Some(token) => Ok(token.secret.clone()),
                    None => Err(trouble),
                }
            }
        }
    }

    async fn fresh_token(&self, access: &mut Access) -> Result<Token, Trouble> {
        let installation = match (self.configured, access.installation) {
            (Some(id), _) | (None, Some(id)) => id,
            (None, None) => self.look_up().await?.id,
        };
        let path = format!("/app/installations/{installation}/access_tokens");
        let answer = self.ask_as_app(Method::POST, &path, Some(&owner::token_request(&self.owner))).await?;
        match answer.status {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND => {
                access.installation = None;
                let remedy = match self.configured {
                    Some(_) => "take installation_id out of [[github.app]]: it is looked up then",
                    None => "install the App",
                };
                let why = format!("App {} has no installation {installation}: {remedy}", self.id);
                return Err(Trouble::Refused(why));
            }
            _ => {
                let why = format!(
                    "GitHub gives App {} no token for the {} ({}): see that the installation is not suspended and has the {}",
                    self.id,
                    owner::told(&self.owner),
                    answer.told(),
                    owner::permission(&self.owner)
                );
                return Err(Trouble::Refused(why));
            }
        }
        access.installation = Some(installation);
        let unreadable = |why: String| Trouble::Unsent(format!("no installation token for App {}: {why}", self.id));
        let token: TokenAnswer = answer.json().map_err(unreadable)?;
        let expires_at =
            Timestamp::parse(&token.expires_at).ok_or_else(|| unreadable("its expiry is no instant".to_owned()))?;
        Ok(Token { secret: Secret::new(token.token), expires_at: answer.on_our_clock(expires_at) })
    }

    /// The App's installation on the owner.
    async fn look_up(&self) -> Result<InstallationAnswer, Trouble> {
        let answer = self.ask_as_app(Method::GET, &format!("{}/installation", owner::base(&self.owner)), None).await?;
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

    /// Forgets a token, unless another one has taken its place.
    async fn drop_token(&self, dead: &Secret) {
        let mut access = self.access.lock().await;
        if access.token.as_ref().is_some_and(|token| token.secret == *dead) {
            access.token = None;
        }
    }

    /// Leaves the App alone for a while, and gets it a fresh token afterwards: a permission granted meanwhile is not in the
    /// present one.
    async fn refused(&self, why: &str) {
        let mut access = self.access.lock().await;
        access.token = None;
        access.refused = Some(((self.clock)() + REFUSED_PAUSE, why.to_owned()));
    }
}
