//! The tokens of an App's installation: one for each kind of work, so that neither can do what the other may.
//!
//! What lives here: when a token is asked for, kept, replaced and dropped. What may not: what is asked with it.
//!
//! Invariant: an App that was refused a token for one kind of work is left alone for it, and goes on with the other.

use std::time::Duration;

use http::{Method, StatusCode};
use muster_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::app::{App, Trouble};
use crate::key::Secret;
use crate::owner;
use crate::transport::Ask;

/// A token is replaced when it has less than this to live. GitHub gives them an hour.
const TOKEN_RENEWED_BEFORE: Duration = Duration::from_secs(600);
/// A token is not used for its last seconds: it must outlive the request.
const TOKEN_UNUSED_BEFORE: Duration = Duration::from_secs(30);
/// An App that GitHub has refused is not asked again for this long: refused requests count, and may have it banned.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

const _: () = assert!(TOKEN_UNUSED_BEFORE.as_secs() < TOKEN_RENEWED_BEFORE.as_secs());

/// The installation's access for one kind of work.
pub(crate) struct Access {
    /// What GitHub is asked for.
    request: Value,
    /// The permission that it needs, in the words of the App's settings.
    pub(crate) permission: &'static str,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    installation: Option<u64>,
    token: Option<Token>,
    refused: Option<(Timestamp, String)>,
}

struct Token {
    secret: Secret,
    expires_at: Timestamp,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: String,
    expires_at: String,
}

impl Access {
    pub(crate) fn new(request: Value, permission: &'static str) -> Access {
        Access { request, permission, held: Mutex::default() }
    }

    /// Takes in the installation's number: it need not be looked up.
    pub(crate) async fn know(&self, installation: u64) {
        self.held.lock().await.installation = Some(installation);
    }

    /// Forgets a token, unless another one has taken its place.
    pub(crate) async fn drop_token(&self, dead: &Secret) {
        let mut held = self.held.lock().await;
        if held.token.as_ref().is_some_and(|token| token.secret == *dead) {
            held.token = None;
        }
    }

    /// Leaves the App alone for a while, and gets it a fresh token afterwards: a permission granted meanwhile is not in the
    /// present one.
    pub(crate) async fn refused(&self, now: Timestamp, why: &str) {
        let mut held = self.held.lock().await;
        held.token = None;
        held.refused = Some((now + REFUSED_PAUSE, why.to_owned()));
    }
}

impl App {
    /// A token that lives, a fresh one if need be. Whoever comes meanwhile waits for that one.
    pub(crate) async fn token(&self, access: &Access) -> Result<Secret, Trouble> {
        let mut held = access.held.lock().await;
        let now = (self.clock)();
        let alive = |token: &&Token, least: Duration| token.expires_at > now + least;
        if let Some(token) = held.token.as_ref().filter(|token| alive(token, TOKEN_RENEWED_BEFORE)) {
            return Ok(token.secret.clone());
        }
        if let Some((_, why)) = held.refused.as_ref().filter(|(until, _)| *until > now) {
            return Err(Trouble::Refused(why.clone()));
        }
        match self.fresh_token(access, &mut held).await {
            Ok(token) => {
                let secret = token.secret.clone();
                held.token = Some(token);
                held.refused = None;
                Ok(secret)
            }
            Err(trouble) => {
                if let Trouble::Refused(why) = &trouble {
                    held.refused = Some((now + REFUSED_PAUSE, why.clone()));
                }
                // The former one does until it ends.
                match held.token.as_ref().filter(|token| alive(token, TOKEN_UNUSED_BEFORE)) {
                    Some(token) => Ok(token.secret.clone()),
                    None => Err(trouble),
                }
            }
        }
    }

    async fn fresh_token(&self, access: &Access, held: &mut Held) -> Result<Token, Trouble> {
        let installation = match (self.configured, held.installation) {
            (Some(id), _) | (None, Some(id)) => id,
            (None, None) => self.look_up().await?.id,
        };
        let path = format!("/app/installations/{installation}/access_tokens");
        let ask = Ask { method: Method::POST, path: &path, body: Some(&access.request), known: None };
        let answer = self.ask_for_token(&ask).await?;
        match answer.status {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND => {
                held.installation = None;
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
                    access.permission
                );
                return Err(Trouble::Refused(why));
            }
        }
        held.installation = Some(installation);
        let token: TokenAnswer = answer.json().map_err(|why| self.no_token(&why))?;
        let expires_at =
            Timestamp::parse(&token.expires_at).ok_or_else(|| self.no_token("its expiry is no instant"))?;
        Ok(Token { secret: Secret::new(token.token), expires_at: answer.on_our_clock(expires_at) })
    }
}
