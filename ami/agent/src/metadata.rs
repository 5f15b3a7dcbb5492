//! The instance metadata service, version 2: who this machine is, what it was told, and whether the cloud will take it.
//!
//! Invariant: nothing is asked without a session token.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use thiserror::Error;

use crate::clock::Clock;
use crate::identity::RoleCredentials;
use crate::life::Standing;

/// How long a token lives: the longest that there is.
const TOKEN_TTL_S: &str = "21600";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
/// The largest answer that is read.
const BYTES_MAX: usize = 64 << 10;

/// What the machine is told at its launch: JSON in its user data. Fields that are not known are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct UserData {
    /// Where the door is.
    pub door: String,
    /// For whom proofs of identity are made.
    pub audience: String,
    /// The fleet's name.
    pub fleet: String,
    /// The shape: in whose standby stock the machine is, if it is in one.
    pub shape: String,
}

/// The metadata service does not answer, or not as it should.
#[derive(Debug, Error)]
pub enum MetadataError {
    /// No answer.
    #[error("the metadata service does not answer: {0}")]
    Silent(String),
    /// An answer that is none.
    #[error("the metadata service answers {0} to {1}")]
    Status(StatusCode, &'static str),
    /// What it says cannot be read.
    #[error("{0} in the metadata cannot be read: {1}")]
    Unreadable(&'static str, String),
}

/// The service.
pub struct Metadata {
    client: Client,
    base: String,
    token: RefCell<Option<String>>,
    clock: Rc<Clock>,
    known: Cell<bool>,
}

impl Metadata {
    /// The service at this address.
    pub fn new(client: Client, base: &str, clock: Rc<Clock>) -> Metadata {
        let base = base.trim_end_matches('/').to_owned();
        Metadata { client, base, token: RefCell::new(None), clock, known: Cell::new(false) }
    }

    fn silent(error: reqwest::Error) -> MetadataError {
        MetadataError::Silent(error.without_url().to_string())
    }

    fn note_date(&self, response: &Response) {
        if let Some(date) = response.headers().get("date").and_then(|date| date.to_str().ok()) {
            self.clock.told_by_metadata(date);
        }
    }

    async fn token(&self) -> Result<String, MetadataError> {
        if let Some(token) = self.token.borrow().clone() {
            return Ok(token);
        }
        let url = format!("{}/latest/api/token", self.base);
        let response = self.client.put(url).header(TTL_HEADER, TOKEN_TTL_S).send().await.map_err(Self::silent)?;
        self.note_date(&response);
        if response.status() != StatusCode::OK {
            return Err(MetadataError::Status(response.status(), "a request for a token"));
        }
        let token = response.text().await.map_err(Self::silent)?;
        *self.token.borrow_mut() = Some(token.clone());
        Ok(token)
    }

    /// A path below `latest`; `None` if there is no such thing.
    async fn read(&self, path: &'static str) -> Result<Option<String>, MetadataError> {
        self.read_at(path, path).await
    }

    async fn read_at(&self, path: &str, what: &'static str) -> Result<Option<String>, MetadataError> {
        for last in [false, true] {
            let token = self.token().await?;
            let url = format!("{}/latest/{path}", self.base);
            let response = self.client.get(url).header(TOKEN_HEADER, token).send().await.map_err(Self::silent)?;
            self.note_date(&response);
            match response.status() {
                StatusCode::OK => {
                    let text = response.text().await.map_err(Self::silent)?;
                    if text.len() > BYTES_MAX {
                        return Err(MetadataError::Unreadable(what, format!("it has {} bytes", text.len())));
                    }
                    return Ok(Some(text));
                }
                StatusCode::NOT_FOUND => return Ok(None),
                // The token is over.
                StatusCode::UNAUTHORIZED if !last => *self.token.borrow_mut() = None,
                status => return Err(MetadataError::Status(status, what)),
            }
        }
        Err(MetadataError::Status(StatusCode::UNAUTHORIZED, what))
    }

    async fn must(&self, path: &'static str) -> Result<String, MetadataError> {
        let text = self.read(path).await?;
        text.ok_or_else(|| MetadataError::Unreadable(path, "there is none".to_owned()))
    }

    /// Whether there is a service at all.
    ///
    /// # Errors
    /// There is none, or it gives no token.
    pub async fn reach(&self) -> Result<String, MetadataError> {
        self.must("meta-data/instance-id").await
    }

    /// The region.
    ///
    /// # Errors
    /// See [`MetadataError`].
    pub async fn region(&self) -> Result<String, MetadataError> {
        self.must("meta-data/placement/region").await
    }

    /// What the machine was told.
    ///
    /// # Errors
    /// See [`MetadataError`].
    pub async fn user_data(&self) -> Result<UserData, MetadataError> {
        let text = self.must("user-data").await?;
        serde_json::from_str(&text).map_err(|e| MetadataError::Unreadable("user-data", e.to_string()))
    }

    /// Where the machine stands in its group.
    ///
    /// # Errors
    /// See [`MetadataError`].
    pub async fn standing(&self) -> Result<Standing, MetadataError> {
        let target = self.read("meta-data/autoscaling/target-lifecycle-state").await?;
        self.known.set(true);
        Ok(match target {
            Some(target) if target.starts_with("Warmed:") => Standing::Warmed,
            Some(_) | None => Standing::InService,
        })
    }

    /// The instance profile's credentials.
    ///
    /// # Errors
    /// See [`MetadataError`].
    pub async fn credentials(&self) -> Result<RoleCredentials, MetadataError> {
        const WHAT: &str = "meta-data/iam/security-credentials/";
        let roles = self.must(WHAT).await?;
        let role = roles.lines().next().unwrap_or_default();
        let found = self.read_at(&format!("{WHAT}{role}"), WHAT).await?;
        let found = found.ok_or_else(|| MetadataError::Unreadable(WHAT, "the role has none".to_owned()))?;
        // The parser's text may quote what it read.
        serde_json::from_str(&found).map_err(|_| MetadataError::Unreadable(WHAT, "they are not as expected".to_owned()))
    }

    /// Whether the cloud has said that it will take the machine, or recommends to leave it.
    ///
    /// # Errors
    /// See [`MetadataError`]: the service may have been switched off.
    pub async fn notice(&self) -> Result<bool, MetadataError> {
        Ok(self.read("meta-data/spot/instance-action").await?.is_some()
            || self.read("meta-data/events/recommendations/rebalance").await?.is_some())
    }
}

/// How often to look for a notice (EC2 User Guide, "Spot Instance interruption notices": every 5 seconds).
pub const NOTICE_EVERY: Duration = Duration::from_secs(5);
