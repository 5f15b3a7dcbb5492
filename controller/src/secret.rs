//! Secrets: from a reference in the configuration to the bytes.
//!
//! What lives here: reading `env:` and `file:`, and handing `ssm:` and `secretsmanager:` on to the adapter of AWS, in a
//! build that has it. What may not: showing what was read.
//!
//! Invariant: an error names the reference and never the secret.

use std::path::Path;

use muster_core::config::SecretRef;
use thiserror::Error;

/// A secret could not be read.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The environment variable is not set, or empty.
    #[error("environment variable {0} is not set: export it, or name another secret in the configuration")]
    Env(String),
    /// The file cannot be read.
    #[error("secret file {path}: {source}")]
    File {
        /// The path, as resolved.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is empty.
    #[error("secret file {0} is empty")]
    EmptyFile(String),
    /// The reference needs AWS.
    #[cfg(not(feature = "aws"))]
    #[error("{0} needs a build with the `aws` feature: use env: or file: here")]
    NeedsAws(String),
    /// AWS did not give it.
    #[cfg(feature = "aws")]
    #[error(transparent)]
    Aws(#[from] muster_aws::AwsSecretError),
}

/// Reads secrets. Clones share what they remember.
#[derive(Clone, Default)]
pub struct SecretReader {
    /// Made at the first reference that needs it: whoever has none needs no credentials.
    #[cfg(feature = "aws")]
    aws: std::sync::Arc<tokio::sync::OnceCell<muster_aws::AwsSecrets>>,
}

impl SecretReader {
    /// Over the clients of this configuration.
    #[cfg(feature = "aws")]
    pub fn over(sdk: &muster_aws::SdkConfig) -> SecretReader {
        let aws = tokio::sync::OnceCell::new_with(Some(muster_aws::AwsSecrets::of(sdk)));
        SecretReader { aws: std::sync::Arc::new(aws) }
    }

    /// The live values of a secret: the present one first, then the former one if it is being rotated. Relative files are
    /// beside the configuration. White space at the end is not part of a secret: editors and `echo` leave a newline there.
    ///
    /// # Errors
    /// [`SecretError`].
    pub async fn read(&self, reference: &SecretRef, beside: &Path) -> Result<Vec<Vec<u8>>, SecretError> {
        match reference {
            SecretRef::Env(name) => match std::env::var(name) {
                Ok(value) if !value.trim_end().is_empty() => Ok(vec![value.trim_end().as_bytes().to_vec()]),
                Ok(_) | Err(_) => Err(SecretError::Env(name.clone())),
            },
            SecretRef::File(path) => {
                let path = beside.join(path);
                let shown = path.display().to_string();
                let bytes = std::fs::read(&path).map_err(|source| SecretError::File { path: shown.clone(), source })?;
                let bytes = bytes.trim_ascii_end().to_vec();
                if bytes.is_empty() { Err(SecretError::EmptyFile(shown)) } else { Ok(vec![bytes]) }
            }
            SecretRef::Ssm(_) | SecretRef::SecretsManager(_) => self.read_from_aws(reference).await,
        }
    }

    #[cfg(feature = "aws")]
    async fn read_from_aws(&self, reference: &SecretRef) -> Result<Vec<Vec<u8>>, SecretError> {
        let connect = async || muster_aws::AwsSecrets::of(&muster_aws::aws_config(None).await);
        let values = self.aws.get_or_init(connect).await.read(reference, std::time::Instant::now()).await?;
        Ok(std::iter::once(values.current).chain(values.previous).collect())
    }

    #[cfg(not(feature = "aws"))]
    async fn read_from_aws(&self, reference: &SecretRef) -> Result<Vec<Vec<u8>>, SecretError> {
        Err(SecretError::NeedsAws(reference.to_string()))
    }
}

/// The webhook secrets that are live, of references with their values. With one reference it is all its values; with two
/// the admin rotates by hand, and it is the present value of each: more than two are never live.
pub fn live(values: &[(SecretRef, Vec<Vec<u8>>)]) -> Vec<Vec<u8>> {
    match values {
        [(_, only)] => only.clone(),
        several => several.iter().filter_map(|(_, values)| values.first().cloned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_two_are_live() {
        let of = |name: &str, values: &[&str]| {
            (SecretRef::SecretsManager(name.to_owned()), values.iter().map(|value| value.as_bytes().to_vec()).collect())
        };
        assert_eq!(live(&[of("a", &["new", "old"])]), [b"new".to_vec(), b"old".to_vec()]);
        assert_eq!(
            live(&[of("a", &["new", "old"]), of("b", &["other", "older"])]),
            [b"new".to_vec(), b"other".to_vec()]
        );
    }

    #[cfg(not(feature = "aws"))]
    #[tokio::test]
    async fn without_the_feature_a_reference_to_aws_says_what_it_needs() {
        let reference = SecretRef::Ssm("/acme/app".to_owned());
        let error = SecretReader::default().read(&reference, Path::new(".")).await.unwrap_err();
        assert_eq!(error.to_string(), "ssm:/acme/app needs a build with the `aws` feature: use env: or file: here");
    }
}
