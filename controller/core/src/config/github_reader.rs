//! Reads `[github]`.
//!
//! What lives here: the rules of the section. What may not: a secret's text in a message; nor an address's, which may
//! hold a password.
//!
//! Invariant: a fleet belongs to exactly one organization, enterprise or repository.

use super::diagnostic::Findings;
use super::github::{API_URL_DEFAULT, App, GitHub, Hook, Owner, SecretRef, is_login};
use super::limits::WEBHOOK_SECRETS_MAX;
use super::section::Section;
use super::wording::quote;

const REFERENCE_REMEDY: &str = "write env:NAME, file:PATH, ssm:NAME or secretsmanager:NAME; \
    if it was a secret, take it out of the file and replace it with a new one";

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
    let hook = section.word("hook", &Hook::WORDS, Hook::parse, findings).unwrap_or_default();
    if let (Hook::Owner, Some(Owner::Enterprise(_))) = (hook, &owner) {
        let message = "the log of an enterprise's own webhook cannot be read by an App";
        let remedy = "leave `hook` out and switch the webhook of the App on, or name an organization as the owner";
        findings.error(section.key("hook"), message, remedy);
    }
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
    Some(GitHub { owner: owner?, organization_id, api_url, hook, webhook_secrets, apps })
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
        let Some(secret) = read_secret(text, &key, findings) else {
            continue;
        };
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
