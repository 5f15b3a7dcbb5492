//! The `[github]` section: whose fleet it is, and the references to its secrets.
//!
//! What lives here: the values and the rules of the section. What may not: a secret's text; only references are kept.
//!
//! Invariant: a text that is not a reference never reaches a message.

use std::fmt;

/// Whose runners these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// An organization's login.
    Organization(String),
    /// An enterprise's slug.
    Enterprise(String),
    /// One repository, `owner/name`.
    Repository(String),
}

/// Where a secret is kept. Never the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// `env:NAME`: an environment variable.
    Env(String),
    /// `file:PATH`: a file; relative paths are relative to the configuration file.
    File(String),
    /// `ssm:NAME`: an SSM parameter.
    Ssm(String),
    /// `secretsmanager:NAME-OR-ARN`: a Secrets Manager secret.
    SecretsManager(String),
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretRef::Env(name) => write!(f, "env:{name}"),
            SecretRef::File(path) => write!(f, "file:{path}"),
            SecretRef::Ssm(name) => write!(f, "ssm:{name}"),
            SecretRef::SecretsManager(name) => write!(f, "secretsmanager:{name}"),
        }
    }
}

/// A GitHub App installed on the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// The App's id.
    pub id: u64,
    /// The installation's id. `None`: looked up at start.
    pub installation_id: Option<u64>,
    /// Where its private key (PEM) is kept.
    pub private_key: SecretRef,
}

/// The `[github]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitHub {
    /// Whose runners these are.
    pub owner: Owner,
    /// The organization's id. `None`: learned from the first App installation.
    pub organization_id: Option<u64>,
    /// Base of the REST API, without a slash at its end.
    pub api_url: String,
    /// One or two live webhook secrets.
    pub webhook_secrets: Vec<SecretRef>,
    /// The Apps. Empty only where nothing is minted, as in the simulator.
    pub apps: Vec<App>,
}
