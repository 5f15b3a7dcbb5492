//! The `[github]` section: whose fleet it is, and the references to its secrets.
//!
//! What lives here: the values and the rules of the section. What may not: a secret's text; only references are kept.
//!
//! Invariant: a text that is not a reference never reaches a message.

use std::fmt;

use super::diagnostic::Findings;
use super::limits::WEBHOOK_SECRETS_MAX;
use super::pattern::RepositoryPattern;
use super::section::Section;
use super::wording::quote;

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

/// The REST API of github.com, the default of `api_url`.
pub const API_URL_DEFAULT: &str = "https://api.github.com";

/// Beginnings of texts that are secrets themselves: GitHub's tokens and PEM.
const SECRET_MARKS: [&str; 7] = ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "-----BEGIN"];

const REFERENCE_REMEDY: &str = "write env:NAME, file:PATH, ssm:NAME or secretsmanager:NAME; \
    if it was a secret, take it out of the file and replace it with a new one";

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
        let made_of = |extra: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
        };
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

/// Reads `[github]`. `None` if it has no usable owner.
pub(super) fn read(section: Option<Section<'_>>, findings: &mut Findings) -> Option<GitHub> {
    let Some(mut section) = section else {
        findings.error("github", "the section [github] is missing", "add [github] with organization = \"...\"");
        return None;
    };
    let owner = read_owner(&mut section, findings);
    let id = |section: &mut Section<'_>, name, findings: &mut Findings| {
        section.whole(name, 1, i64::MAX, findings).and_then(|n| u64::try_from(n).ok())
    };
    let organization_id = id(&mut section, "organization_id", findings);
    let api_url = match section.text("api_url", findings) {
        Some(url) => read_api_url(url, &section.key("api_url"), findings),
        None => API_URL_DEFAULT.to_owned(),
    };
    let webhook_secrets = read_webhook_secrets(&mut section, findings);
    let mut apps: Vec<App> = Vec::new();
    let tables = section.tables("app", findings);
    let none = tables.is_empty();
    for mut app in tables {
        for required in ["id", "private_key"] {
            if !app.has(required) {
                let remedy = "an App needs its id and a reference to its private key";
                findings.error(app.key(required), format!("{} is missing", quote(required)), remedy);
            }
        }
        let app_id = id(&mut app, "id", findings);
        let installation_id = id(&mut app, "installation_id", findings);
        let key = app.key("private_key");
        let private_key = app.text("private_key", findings).and_then(|text| read_secret(text, &key, findings));
        if let (Some(id), Some(private_key)) = (app_id, private_key) {
            if apps.iter().any(|other| other.id == id && other.installation_id == installation_id) {
                findings.error(app.key("id"), "the same App twice", "a second App must be another one: remove this");
            }
            apps.push(App { id, installation_id, private_key });
        }
        app.finish(findings);
    }
    if none {
        let remedy = "add [[github.app]] with id and private_key; only the simulator does without";
        findings.warn(section.key("app"), "there is no GitHub App, so no runner can be registered", remedy);
    }
    section.finish(findings);
    Some(GitHub { owner: owner?, organization_id, api_url, webhook_secrets, apps })
}

fn read_owner(section: &mut Section<'_>, findings: &mut Findings) -> Option<Owner> {
    let organization = section.text("organization", findings);
    let enterprise = section.text("enterprise", findings);
    let repository = section.text("repository", findings);
    let present = ["organization", "enterprise", "repository"].map(|name| (name, section.has(name)));
    let names: Vec<&str> = present.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
    let remedy = "keep exactly one of organization, enterprise and repository";
    if names.is_empty() {
        findings.error(section.path.clone(), "no organization, enterprise or repository is named", remedy);
    }
    for extra in names.iter().skip(1) {
        let message = format!("{} is named besides {}", quote(extra), quote(names[0]));
        findings.error(section.key(extra), message, remedy);
    }
    let mut check = |name: &str, good: bool, remedy: &str| {
        if !good {
            findings.error(section.key(name), format!("this cannot be a name of a GitHub {name}"), remedy);
        }
        good
    };
    if let Some(name) = organization {
        let good = check("organization", is_login(name), "write its login, as in github.com/LOGIN");
        good.then(|| Owner::Organization(name.to_owned()))
    } else if let Some(name) = enterprise {
        let good = check("enterprise", is_login(name), "write its slug, as in github.com/enterprises/SLUG");
        good.then(|| Owner::Enterprise(name.to_owned()))
    } else if let Some(name) = repository {
        let good = name.split_once('/').is_some_and(|(owner, name)| is_login(owner) && is_login(name));
        check("repository", good, "write OWNER/NAME").then(|| Owner::Repository(name.to_owned()))
    } else {
        None
    }
}

fn read_webhook_secrets(section: &mut Section<'_>, findings: &mut Findings) -> Vec<SecretRef> {
    let key = section.key("webhook_secrets");
    let Some(texts) = section.texts("webhook_secrets", findings) else {
        if !section.has("webhook_secrets") {
            let remedy = "add webhook_secrets = [\"env:MUSTER_WEBHOOK_SECRET\"]";
            findings.error(key, "`webhook_secrets` is missing: no webhook could be believed", remedy);
        }
        return Vec::new();
    };
    if texts.is_empty() {
        findings.error(&key, "there is no webhook secret: no webhook could be believed", "name one, or two to rotate");
    }
    if texts.len() > WEBHOOK_SECRETS_MAX {
        let message = format!("{} webhook secrets; at most {WEBHOOK_SECRETS_MAX} are live at a time", texts.len());
        findings.error(&key, message, "keep the present one, and the former or next one during a rotation");
    }
    let mut secrets = Vec::new();
    for (key, text) in texts {
        let Some(secret) = read_secret(text, &key, findings) else { continue };
        if secrets.contains(&secret) {
            findings.error(key, "the same reference twice", "remove one of the two");
        }
        secrets.push(secret);
    }
    secrets
}

fn read_secret(text: &str, key: &str, findings: &mut Findings) -> Option<SecretRef> {
    match SecretRef::parse(text) {
        Ok(secret) => Some(secret),
        Err(problem) => {
            findings.error(key, format!("this {problem}"), REFERENCE_REMEDY);
            None
        }
    }
}

/// Checks the base of the REST API. The text is never shown: it might hold a password.
fn read_api_url(url: &str, key: &str, findings: &mut Findings) -> String {
    let remedy = "write https://api.github.com, https://HOST/api/v3 (Enterprise Server) or https://api.NAME.ghe.com";
    let trimmed = url.trim_end_matches('/');
    let (scheme, rest) = trimmed.split_once("://").unwrap_or(("", trimmed));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
    let loopback = matches!(host, "localhost" | "127.0.0.1");
    let host_good = host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
        && host.starts_with(|c: char| c.is_ascii_alphanumeric());
    let problem = if authority.contains('@') {
        "must not hold a user or password"
    } else if scheme != "https" && !(scheme == "http" && loopback) {
        "must begin with https://"
    } else if !host_good || port.parse::<u16>().is_err() {
        "has no usable host"
    } else if path.contains(|c: char| c.is_whitespace() || c.is_control() || "?#\\".contains(c)) {
        "must be a base address, without `?`, `#` or spaces"
    } else if host.eq_ignore_ascii_case("github.com") || host.eq_ignore_ascii_case("www.github.com") {
        "is the web site, not the API"
    } else {
        let hosted = host.eq_ignore_ascii_case("api.github.com") || host.to_ascii_lowercase().ends_with(".ghe.com");
        if !hosted && !loopback && path != "api/v3" {
            let message = "this looks like GitHub Enterprise Server, whose API is at /api/v3";
            findings.warn(key, message, "write https://HOST/api/v3 unless a proxy maps it");
        }
        return trimmed.to_owned();
    };
    findings.error(key, format!("the address {problem}"), remedy);
    trimmed.to_owned()
}
