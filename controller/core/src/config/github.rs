//! The `[github]` section: whose fleet it is, and the references to its secrets.
//!
//! What lives here: the values and the rules of the section. What may not: a secret's text; only references are kept.
//!
//! Invariant: a text that is not a reference never reaches a message.

use std::fmt;

use super::pattern::RepositoryPattern;

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

/// Whose webhook delivers the jobs. It has a log of its deliveries at GitHub, in which those that failed are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// The Apps' own.
    #[default]
    App,
    /// One that the organization or the repository has.
    Owner,
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
    /// Whose webhook delivers the jobs.
    pub hook: Hook,
    /// One or two live webhook secrets.
    pub webhook_secrets: Vec<SecretRef>,
    /// The Apps. Empty only where nothing is minted, as in the simulator.
    pub apps: Vec<App>,
}

impl Hook {
    /// The words of the file, in the order in which they are told.
    pub(super) const WORDS: [&'static str; 2] = ["app", "owner"];

    pub(super) fn parse(word: &str) -> Option<Hook> {
        match word {
            "app" => Some(Hook::App),
            "owner" => Some(Hook::Owner),
            _ => None,
        }
    }
}

/// The REST API of github.com, the default of `api_url`.
pub const API_URL_DEFAULT: &str = "https://api.github.com";

/// Beginnings of texts that are secrets themselves: GitHub's tokens and PEM.
const SECRET_MARKS: [&str; 7] = ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "-----BEGIN"];

impl SecretRef {
    /// Reads a reference. The error says what is wrong without the text.
    pub fn parse(text: &str) -> Result<SecretRef, &'static str> {
        const NO_REFERENCE: &str = "is not a reference to a secret (its text is not shown)";
        const CLEAR: &str = "looks like a secret in clear text (not shown)";
        const BAD_NAME: &str = "refers to a secret by a name that cannot be one (not shown)";
        let (scheme, name) = text.split_once(':').unwrap_or(("", text));
        if SECRET_MARKS.iter().any(|mark| text.starts_with(mark) || name.starts_with(mark)) {
            return Err(CLEAR);
        }
        let made_of =
            |extra: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c));
        let (good, reference): (bool, fn(String) -> SecretRef) = match scheme {
            "env" => (made_of("_") && !name.starts_with(|c: char| c.is_ascii_digit()), SecretRef::Env),
            "file" => (!name.trim().is_empty() && !name.contains(char::is_control), SecretRef::File),
            "ssm" => (made_of("_.-/:"), SecretRef::Ssm),
            "secretsmanager" => (made_of("_.-/:+=@!"), SecretRef::SecretsManager),
            _ => return Err(NO_REFERENCE),
        };
        if good { Ok(reference(name.to_owned())) } else { Err(BAD_NAME) }
    }
}

impl Owner {
    /// The pattern of all its repositories. `None` for an enterprise, whose organizations are not known.
    pub(super) fn repositories(&self) -> Option<RepositoryPattern> {
        match self {
            Owner::Organization(name) => Some(RepositoryPattern::new(&format!("{name}/*"))),
            Owner::Enterprise(_) => None,
            Owner::Repository(name) => Some(RepositoryPattern::new(name)),
        }
    }

    /// Its name as one word.
    pub(super) fn slug(&self) -> String {
        match self {
            Owner::Organization(name) | Owner::Enterprise(name) => name.clone(),
            Owner::Repository(name) => name.replace(['/', '.', '_'], "-"),
        }
    }
}

/// Whether `name` can be a login, a slug, or the name of a repository.
pub(super) fn is_login(name: &str) -> bool {
    !name.is_empty() && name.len() <= 100 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
