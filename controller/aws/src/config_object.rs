//! The configuration as an object in S3.
//!
//! What lives here: getting it when it has changed. What may not: judging it, or keeping the last good one (the ledger
//! does).
//!
//! Invariant: an object is seen whole or not at all; S3 replaces objects atomically.

use aws_config::SdkConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata};
use muster_core::config::limits::CONFIG_BYTES_MAX;
use thiserror::Error;

/// The status of an answer to a conditional request that says: as before (RFC 9110).
const NOT_MODIFIED: u16 = 304;

/// The object cannot be had.
#[derive(Debug, Error)]
pub enum ConfigObjectError {
    /// It is no `s3://BUCKET/KEY`.
    #[error("{0:?} is not the address of an object: write s3://BUCKET/KEY")]
    Address(String),
    /// The call failed.
    #[error("{object}: {why}; check that it is there, and that this function's role may read it")]
    Call {
        /// Its address.
        object: String,
        /// AWS's words.
        why: String,
    },
    /// It is too large.
    #[error("{object} has more than {CONFIG_BYTES_MAX} bytes: is it the right object?")]
    TooLarge {
        /// Its address.
        object: String,
    },
    /// It is no text.
    #[error("{object} is not UTF-8 text")]
    NotText {
        /// Its address.
        object: String,
    },
}

/// An object that is looked at again and again.
pub struct ConfigObject {
    client: Client,
    bucket: String,
    key: String,
    /// The tag of the text that was given last.
    seen: Option<String>,
}

/// What a look has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The text.
    pub text: String,
    /// Which version of the object it is, where the bucket keeps versions.
    pub version: Option<String>,
}

impl ConfigObject {
    /// The object at `s3://BUCKET/KEY`.
    ///
    /// # Errors
    /// [`ConfigObjectError::Address`].
    pub fn new(sdk: &SdkConfig, address: &str) -> Result<ConfigObject, ConfigObjectError> {
        let parts = address.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
        let parts = parts.filter(|(bucket, key)| !bucket.is_empty() && !key.is_empty());
        let (bucket, key) = parts.ok_or_else(|| ConfigObjectError::Address(address.to_owned()))?;
        // An emulator has one host for all buckets.
        let config = aws_sdk_s3::config::Builder::from(sdk).force_path_style(sdk.endpoint_url().is_some()).build();
        Ok(ConfigObject {
            client: Client::from_conf(config),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            seen: None,
        })
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }

    /// The text, if it is another one than last time.
    ///
    /// # Errors
    /// [`ConfigObjectError`]; the next look tries again.
    pub async fn look(&mut self) -> Result<Option<Found>, ConfigObjectError> {
        let object = self.address();
        let get = self.client.get_object().bucket(&self.bucket).key(&self.key).set_if_none_match(self.seen.clone());
        let answer = match get.send().await {
            Ok(answer) => answer,
            Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == NOT_MODIFIED) => {
                return Ok(None);
            }
            Err(error) => {
                let why = error.code().map_or_else(|| DisplayErrorContext(&error).to_string(), str::to_owned);
                return Err(ConfigObjectError::Call { object, why });
            }
        };
        let too_large = |bytes: usize| bytes > CONFIG_BYTES_MAX;
        if answer.content_length.is_some_and(|bytes| usize::try_from(bytes).is_ok_and(too_large)) {
            return Err(ConfigObjectError::TooLarge { object });
        }
        let broken = |why: String| ConfigObjectError::Call { object: object.clone(), why };
        let mut body = answer.body;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.try_next().await.map_err(|error| broken(error.to_string()))? {
            bytes.extend_from_slice(&chunk);
            if too_large(bytes.len()) {
                return Err(ConfigObjectError::TooLarge { object });
            }
        }
        let text = String::from_utf8(bytes).map_err(|_| ConfigObjectError::NotText { object })?;
        self.seen = answer.e_tag;
        Ok(Some(Found { text, version: answer.version_id }))
    }

    /// What was given last is not in force: the next look gives it again.
    pub fn forget(&mut self) {
        self.seen = None;
    }
}
