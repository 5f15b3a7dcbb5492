//! Where the configuration is: a file, or an object in S3.
//!
//! What lives here: reading it. What may not: judging what was read (`loaded.rs`).
//!
//! Invariant: what cannot be read is told with its place and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::loaded::ConfigFileError;

/// Where the configuration is.
pub enum Source {
    /// A file.
    File(PathBuf),
    /// An object in S3.
    #[cfg(feature = "aws")]
    Object(Box<muster_aws::ConfigObject>),
}

/// What a look has found.
pub(crate) enum Found {
    /// What the look before has found.
    #[cfg_attr(not(feature = "aws"), expect(dead_code, reason = "a file is read each time"))]
    Same,
    /// A text; `whole` if nobody can be half way through writing it.
    Text {
        /// The text.
        text: String,
        /// Whether it is all of one version.
        whole: bool,
    },
}

/// What cannot be read.
pub(crate) struct Unusable {
    /// Why.
    pub(crate) why: String,
    /// Whether it stays so until there is another version.
    pub(crate) stays: bool,
}

/// What an address of an object begins with.
const OBJECT: &str = "s3://";

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => path.display().fmt(f),
            #[cfg(feature = "aws")]
            Source::Object(object) => object.address().fmt(f),
        }
    }
}

impl Source {
    /// The source at a path, or at `s3://BUCKET/KEY`.
    ///
    /// # Errors
    /// [`ConfigFileError::Object`].
    pub async fn at(place: &Path) -> Result<Source, ConfigFileError> {
        match place.to_str().filter(|text| text.starts_with(OBJECT)) {
            Some(address) => object(address).await,
            None => Ok(Source::File(place.to_owned())),
        }
    }

    /// The object at this address, over a client of this configuration.
    ///
    /// # Errors
    /// [`ConfigFileError::Object`].
    #[cfg(feature = "aws")]
    pub fn over(sdk: &muster_aws::SdkConfig, address: &str) -> Result<Source, ConfigFileError> {
        let Some(parsed) = muster_aws::ObjectAddress::parse(address) else {
            return Err(ConfigFileError::Object(format!("{address} is no object: write it as s3://BUCKET/KEY")));
        };
        Ok(Source::Object(Box::new(muster_aws::ConfigObject::over(sdk, parsed))))
    }

    /// Whether it is an object.
    pub(crate) fn is_object(&self) -> bool {
        match self {
            Source::File(_) => false,
            #[cfg(feature = "aws")]
            Source::Object(_) => true,
        }
    }

    /// Where relative paths in the configuration begin.
    pub(crate) fn beside(&self) -> &Path {
        match self {
            Source::File(path) => path.parent().unwrap_or(Path::new(".")),
            #[cfg(feature = "aws")]
            Source::Object(_) => Path::new("."),
        }
    }

    /// The text, whether or not it was read before.
    pub(crate) async fn read(&mut self) -> Result<String, ConfigFileError> {
        self.forget();
        match self {
            Source::File(path) => std::fs::read_to_string(&path)
                .map_err(|source| ConfigFileError::Read { path: path.display().to_string(), source }),
            #[cfg(feature = "aws")]
            Source::Object(object) => match object.look().await {
                Ok(Some(version)) => Ok(version.text),
                Ok(None) => Err(ConfigFileError::Object(format!("{} has no text", object.address()))),
                Err(error) => Err(ConfigFileError::Object(error.to_string())),
            },
        }
    }

    /// Looks whether there is something new.
    pub(crate) async fn look(&mut self) -> Result<Found, Unusable> {
        match self {
            Source::File(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Ok(Found::Text { text, whole: false }),
                Err(source) => {
                    let error = ConfigFileError::Read { path: path.display().to_string(), source };
                    Err(Unusable { why: error.to_string(), stays: false })
                }
            },
            #[cfg(feature = "aws")]
            Source::Object(object) => match object.look().await {
                Ok(None) => Ok(Found::Same),
                Ok(Some(version)) => {
                    tracing::info!(target: "muster::config", object = %object.address(), version = version.version, "read");
                    Ok(Found::Text { text: version.text, whole: true })
                }
                Err(error) => {
                    let stays = !matches!(error, muster_aws::ConfigObjectError::Failed { .. });
                    Err(Unusable { why: error.to_string(), stays })
                }
            },
        }
    }

    /// The next look finds a text, also if it was read before.
    pub(crate) fn forget(&mut self) {
        match self {
            Source::File(_) => {}
            #[cfg(feature = "aws")]
            Source::Object(object) => object.forget(),
        }
    }
}

#[cfg(feature = "aws")]
async fn object(address: &str) -> Result<Source, ConfigFileError> {
    Source::over(&muster_aws::aws_config(None).await, address)
}

#[cfg(not(feature = "aws"))]
async fn object(address: &str) -> Result<Source, ConfigFileError> {
    Err(ConfigFileError::Object(format!("{address} needs a build with the `aws` feature: name a file here")))
}
