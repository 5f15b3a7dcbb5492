//! The configuration as an object in S3, in a bucket that keeps versions.
//!
//! What lives here: finding out whether there is a new version, and reading it. What may not: judging it. Whoever asks
//! keeps the last good text in the ledger.
//!
//! Invariant: a text comes with the version that it is of, whole and within the limit, or not at all.

use std::fmt;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use muster_core::config::limits::CONFIG_BYTES_MAX;
use thiserror::Error;

use crate::{calls, connect};

/// Where the configuration is: `s3://BUCKET/KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectAddress {
    bucket: String,
    key: String,
}

impl ObjectAddress {
    /// Reads `s3://BUCKET/KEY`. `None` if it is no such address.
    pub fn parse(text: &str) -> Option<ObjectAddress> {
        let (bucket, key) = text.strip_prefix("s3://")?.split_once('/')?;
        let good = bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-');
        let long_enough = (3..=63).contains(&bucket.len()) && (1..=1_024).contains(&key.len());
        (good && long_enough).then(|| ObjectAddress { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

impl fmt::Display for ObjectAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// The object could not be read.
#[derive(Debug, Error)]
pub enum ConfigObjectError {
    /// S3 did not give it.
    #[error("{address}: {why}")]
    Failed {
        /// Where.
        address: String,
        /// Why, and what to do.
        why: String,
    },
    /// It is longer than a configuration may be.
    #[error("{0} has more than {CONFIG_BYTES_MAX} bytes: is it a configuration?")]
    TooLong(String),
    /// It is no text.
    #[error("{0} is not UTF-8: save it as UTF-8")]
    NoText(String),
}

/// One version of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigVersion {
    /// The text.
    pub text: String,
    /// Its version id, or its ETag in a bucket without versions: for logs.
    pub version: String,
}

/// The configuration object, and which version of it was read last.
#[derive(Debug)]
pub struct ConfigObject {
    client: Client,
    address: ObjectAddress,
    etag: Option<String>,
}

impl ConfigObject {
    /// The object at this address; no version was read.
    pub fn new(client: Client, address: ObjectAddress) -> ConfigObject {
        ConfigObject { client, address, etag: None }
    }

    /// The object, over a client of this configuration.
    pub fn over(config: &aws_config::SdkConfig, address: ObjectAddress) -> ConfigObject {
        ConfigObject::new(connect::s3(config), address)
    }

    /// Where it is.
    pub fn address(&self) -> &ObjectAddress {
        &self.address
    }

    /// Looks once. `None`: it is the version that was read last, which costs one request without a body.
    ///
    /// # Errors
    /// [`ConfigObjectError`]. An object that is too long or no text is told once, and then counts as read.
    pub async fn look(&mut self) -> Result<Option<ConfigVersion>, ConfigObjectError> {
        let get = self.client.get_object().bucket(&self.address.bucket).key(&self.address.key);
        let answer = match get.set_if_none_match(self.etag.clone()).send().await {
            Ok(answer) => answer,
            Err(SdkError::ServiceError(answer)) if answer.raw().status().as_u16() == 304 => return Ok(None),
            Err(error) => return Err(self.failed(calls::why(&error))),
        };
        let etag = answer.e_tag.clone();
        let version = answer.version_id.clone().filter(|id| id != "null").or_else(|| etag.clone()).unwrap_or_default();
        if answer.content_length.is_some_and(|length| usize::try_from(length).is_ok_and(|n| n > CONFIG_BYTES_MAX)) {
            self.etag = etag;
            return Err(ConfigObjectError::TooLong(self.address.to_string()));
        }
        let mut body = answer.body;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
            bytes.extend(chunk.map_err(|error| self.failed(format!("the body broke off: {error}")))?);
            if bytes.len() > CONFIG_BYTES_MAX {
                self.etag = etag;
                return Err(ConfigObjectError::TooLong(self.address.to_string()));
            }
        }
        self.etag = etag;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(ConfigVersion { text, version })),
            Err(_) => Err(ConfigObjectError::NoText(self.address.to_string())),
        }
    }

    /// Takes back that the last version was read, so that the next look brings it again: it could not be kept.
    pub fn forget(&mut self) {
        self.etag = None;
    }

    fn failed(&self, why: String) -> ConfigObjectError {
        ConfigObjectError::Failed { address: self.address.to_string(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_bucket_and_a_key() {
        for good in ["s3://acme-muster/muster.toml", "s3://abc/a/b c"] {
            assert_eq!(ObjectAddress::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "",
            "acme/muster.toml",
            "s3://acme",
            "s3://acme/",
            "s3:///key",
            "s3://Acme/key",
            "s3://a/key",
            "https://acme/key",
        ] {
            assert_eq!(ObjectAddress::parse(bad), None, "{bad}");
        }
    }
}
