//! Apps, installations, permissions, limits: what GitHub tells of one App, judged.
//!
//! What lives here: judgement by facts and configuration, and the way to the facts. What may not: webhooks
//! (`webhook.rs`), and what the App and its runner groups are open to (`groups.rs`).
//!
//! Invariant: what only follows from something that was told already is not checked, rather than not ok once more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use muster_core::config::{App, FleetConfig, GitHub, Owner};
use muster_core::ports::GithubError;
use muster_github::{Checkup, InstallationFacts, Options, Permission, Rate, SetupError, Wanted, checkup, permissions};
use reqwest::Url;

use super::{Asked, Check, Finding, State, webhook};
use crate::secret::SecretReader;

/// A clock that is off by more than this keeps Apps out: a JWT says that it was made a minute ago, and GitHub refuses one from
/// the future.
const CLOCK_OFF_MAX_MS: i64 = 60_000;
/// When less than one part in so many is left of an hour, Muster does no optional work (`muster-github`'s budget).
const RATE_PARTS: u64 = 10;

/// Reads and judges what GitHub tells of each App.
pub(super) async fn examine(
    config: &FleetConfig,
    beside: &Path,
    secrets: &SecretReader,
    asked: &Asked,
) -> Vec<Finding> {
    let section = &config.github;
    if section.apps.is_empty() {
        return vec![Finding::not_ok(
            Check::AppKey,
            "",
            "there is no [[github.app]]",
            "without an App nobody may register runners, so no job runs",
            "make a GitHub App, install it, and add [[github.app]] with id and private_key",
        )];
    }
    let groups: BTreeSet<String> = config.pools().iter().map(|pool| pool.runner_group.to_string()).collect();
    let wanted = Wanted { groups, redeliver: asked.redeliver };
    let mut found = Vec::new();
    for app in &section.apps {
        let judged = match look_at(section, app, beside, secrets, &wanted).await {
            Ok(checkup) => judge(&checkup, app, config, asked.door.as_ref()),
            Err(finding) => vec![finding],
        };
        for finding in judged {
            // What is the same for each App is told once.
            if !found.contains(&finding) {
                found.push(finding);
            }
        }
    }
    found
}

async fn look_at(
    section: &GitHub,
    app: &App,
    beside: &Path,
    secrets: &SecretReader,
    wanted: &Wanted,
) -> Result<Checkup, Finding> {
    let read = secrets.read(&app.private_key, beside).await;
    let values = read.map_err(|error| key_not_ok(app, error.to_string()))?;
    let key = values.into_iter().next().unwrap_or_default();
    checkup(section, app, &key, Options::default(), wanted).await.map_err(|error| match error {
        SetupError::NoApp | SetupError::Keys { .. } | SetupError::Key { .. } => key_not_ok(app, error.to_string()),
        SetupError::Certificates | SetupError::Client(_) => {
            no_answer(&title(app), &error.to_string(), &section.api_url)
        }
    })
}

fn key_not_ok(app: &App, what: String) -> Finding {
    Finding::not_ok(
        Check::AppKey,
        title(app),
        what,
        "without its key nobody is this App: no runner is registered",
        format!(
            "open the App's page (Settings, Developer settings, GitHub Apps): its App ID goes into id; \"Generate a private \
             key\" there, and store the whole file as {}",
            app.private_key
        ),
    )
}

fn title(app: &App) -> String {
    format!("App {}", app.id)
}

/// What is known of an App, judged.
pub(super) fn judge(checkup: &Checkup, app: &App, config: &FleetConfig, door: Option<&Url>) -> Vec<Finding> {
    let judge = Judge { checkup, app, config, about: title(app) };
    let clock = judge.clock();
    let identity = judge.identity(&clock);
    let taken = identity.state == State::Ok;
    let mut found = vec![clock];
    found.push(identity);
    if !taken {
        // All the rest would be refused, or not answered, in the same way.
        return found;
    }
    let installation = judge.installation();
    let inside = match &checkup.installation {
        // With tokens of this installation, its limit was asked for.
        Some(Ok(Some(facts))) if checkup.rate.is_some() => Some(facts),
        _ => None,
    };
    found.push(installation);
    found.extend(judge.webhooks(door));
    let Some(facts) = inside else {
        for check in [Check::Permission, Check::RunnerGroup, Check::RateLimit, Check::RunnerVersion] {
            found.push(Finding::not_checked(check, &*judge.about, "only an installation sees it", "mend that first"));
        }
        return found;
    };
    found.extend(judge.permissions(facts));
    found.push(judge.rate());
    found.extend(judge.repositories());
    found.extend(judge.groups(facts));
    found.push(judge.releases(facts));
    found
}

/// One App's facts, and what they are held against.
pub(super) struct Judge<'a> {
    pub(super) checkup: &'a Checkup,
    app: &'a App,
    pub(super) config: &'a FleetConfig,
    /// What it is called in findings.
    pub(super) about: String,
}

impl Judge<'_> {
    fn clock(&self) -> Finding {
        let Some(ahead) = self.checkup.clock_ahead_ms else {
            let what = "GitHub has not told the time";
            return Finding::not_checked(Check::Clock, "this host", what, "see that GitHub can be reached");
        };
        let seconds = ahead.unsigned_abs().div_ceil(1_000);
        if ahead.abs() <= CLOCK_OFF_MAX_MS {
            return Finding::ok(Check::Clock, "this host", "within a minute of GitHub's");
        }
        let way = if ahead > 0 { "ahead of" } else { "behind" };
        Finding::not_ok(
            Check::Clock,
            "this host",
            format!("it is {seconds} s {way} GitHub's"),
            "GitHub refuses an App whose clock is off by more than a minute, and AWS refuses signatures",
            "set the clock, and let NTP keep it (chrony, systemd-timesyncd, w32time)",
        )
    }

    fn identity(&self, clock: &Finding) -> Finding {
        match &self.checkup.identity {
            Ok(facts) => Finding::ok(
                Check::AppKey,
                &*self.about,
                format!("GitHub knows it as \"{}\" and takes its key", facts.name),
            ),
            Err(GithubError::Rejected(_)) if clock.state == State::NotOk => {
                let what = "GitHub refuses the App, as it does when the clock is wrong";
                Finding::not_checked(Check::AppKey, &*self.about, what, "set the clock first")
            }
            Err(GithubError::Rejected(why)) => key_not_ok(self.app, why.clone()),
            Err(GithubError::Limited { until }) => {
                rate_not_ok(&self.about, &format!("GitHub takes none before {until}"))
            }
            Err(GithubError::Unknown(why)) => no_answer(&self.about, why, &self.config.github.api_url),
        }
    }

    fn installation(&self) -> Finding {
        let owner = owner(&self.config.github.owner);
        let not_ok = |what: String, remedy: String| {
            let why = "only an App that is installed there and not suspended may register runners, and hears of jobs";
            Finding::not_ok(Check::Installation, &*self.about, what, why, remedy)
        };
        let facts = match &self.checkup.installation {
            Some(Ok(Some(facts))) => facts,
            Some(Ok(None)) => {
                let elsewhere = match &*self.checkup.elsewhere {
                    [] => String::new(),
                    some => format!("; it is installed on {}", some.join(", ")),
                };
                return not_ok(
                    format!("it is not installed on the {owner}{elsewhere}"),
                    "on the App's page, \"Install App\", install it there; or correct the owner in [github], or id in \
                     [[github.app]]"
                        .to_owned(),
                );
            }
            Some(Err(error)) => return self.unread(Check::Installation, &self.about, error),
            None => {
                return Finding::not_checked(Check::Installation, &*self.about, "it was not asked for", "run it again");
            }
        };
        if let Some(since) = &facts.suspended_at {
            return not_ok(
                format!("its installation on the {owner} is suspended since {since}"),
                format!("unsuspend it: {owner}, Settings, GitHub Apps, Configure, at the end of the page"),
            );
        }
        let of_account = facts.account.as_ref().map(|account| account.id);
        if let (Owner::Organization(_), Some(configured), Some(id)) =
            (&self.config.github.owner, self.config.github.organization_id, of_account)
            && configured != id
        {
            return Finding::not_ok(
                Check::Installation,
                &*self.about,
                format!("organization_id is {configured}, but the {owner} has the id {id}"),
                "the door takes the organization's deliveries for a stranger's, and ignores them: no job is heard of",
                format!("set organization_id = {id} in [github], or leave it out"),
            );
        }
        match self.app.installation_id {
            Some(configured) if configured != facts.id => not_ok(
                format!("installation_id is {configured}, but its installation on the {owner} is {}", facts.id),
                "take installation_id out of [[github.app]]: it is looked up then".to_owned(),
            ),
            Some(_) | None => {
                Finding::ok(Check::Installation, &*self.about, format!("installed on the {owner} as {}", facts.id))
            }
        }
    }

    fn webhooks(&self, door: Option<&Url>) -> Vec<Finding> {
        let (section, redelivery) = (&self.config.github, self.checkup.redelivery.as_ref());
        match &self.checkup.webhooks {
            Some(Ok(all)) => webhook::judge(all, redelivery, section, &self.about, door),
            Some(Err(error)) => vec![self.unread(Check::WebhookUrl, &self.about, error)],
            None => {
                let what = "only an installation sees it";
                vec![Finding::not_checked(Check::WebhookUrl, &*self.about, what, "mend that first")]
            }
        }
    }

    fn permissions(&self, facts: &InstallationFacts) -> Vec<Finding> {
        let section = &self.config.github;
        let wants = |asked: &BTreeMap<String, String>, permission: &Permission| {
            let level = asked.get(permission.name).map(String::as_str);
            level == Some(permission.level) || matches!(level, Some("write" | "admin"))
        };
        let asked = self.checkup.identity.as_ref().map(|facts| &facts.permissions);
        let one = |permission: Permission| {
            let about = format!("{}, {}", self.about, permission.name);
            let owner = owner(&section.owner);
            if wants(&facts.permissions, &permission) {
                return Finding::ok(Check::Permission, about, format!("it has the {}", permission.label));
            }
            let accept = format!("{owner}, Settings, GitHub Apps, \"Review request\"");
            let (what, remedy) = if asked.is_ok_and(|asked| wants(asked, &permission)) {
                let what = format!("the App asks for the {}, and the {owner} has not accepted that", permission.label);
                (what, format!("accept it: {accept}"))
            } else {
                let remedy = format!(
                    "on the App's page, \"Permissions & events\", set the {}; then accept it: {accept}",
                    permission.label
                );
                (format!("it lacks the {}", permission.label), remedy)
            };
            Finding::not_ok(Check::Permission, about, what, permission.why, remedy)
        };
        let reruns = self.config.pools().iter().any(|pool| pool.rerun_interrupted > 0);
        permissions(&section.owner, section.hook, reruns).into_iter().map(one).collect()
    }

    fn rate(&self) -> Finding {
        match &self.checkup.rate {
            Some(Ok(rate)) if is_short(rate) => {
                let what = format!(
                    "{} of {} requests are left of the hour that ends at {}",
                    rate.remaining, rate.limit, rate.reset
                );
                rate_not_ok(&self.about, &what)
            }
            Some(Ok(rate)) => {
                let what = format!("{} of {} requests are left of this hour", rate.remaining, rate.limit);
                Finding::ok(Check::RateLimit, &*self.about, what)
            }
            Some(Err(error)) => self.unread(Check::RateLimit, &self.about, error),
            None => Finding::not_checked(Check::RateLimit, &*self.about, "it was not asked for", "run it again"),
        }
    }

    /// Whether the rate is the reason that something was not read.
    fn is_limited(&self) -> bool {
        matches!(&self.checkup.rate, Some(Ok(rate)) if is_short(rate))
    }

    /// Something could not be read.
    pub(super) fn unread(&self, check: Check, about: &str, error: &GithubError) -> Finding {
        match error {
            GithubError::Limited { .. } if self.is_limited() => Finding::not_checked(
                check,
                about,
                "too little is left of the App's hour",
                "run it again after the hour",
            ),
            GithubError::Limited { until } => Finding::not_ok(
                check,
                about,
                format!("GitHub takes nothing before {until}"),
                "Muster waits until then, too",
                "run it again after that; find out what else uses this App",
            ),
            GithubError::Rejected(why) => Finding::not_ok(
                check,
                about,
                format!("GitHub refuses to tell: {why}"),
                "Muster would be refused in the same way",
                "see what GitHub says, and that the App is installed with all of its permissions",
            ),
            GithubError::Unknown(why) => Finding { check, ..no_answer(about, why, &self.config.github.api_url) },
        }
    }
}

fn is_short(rate: &Rate) -> bool {
    rate.remaining.saturating_mul(RATE_PARTS) < rate.limit
}

fn rate_not_ok(about: &str, what: &str) -> Finding {
    Finding::not_ok(
        Check::RateLimit,
        about,
        what,
        "each registration takes a request of the App's hour; below a tenth Muster no longer looks for lost webhooks, and at \
         zero no runner is registered",
        "find out what else uses this App, and give that one of its own; or add a further [[github.app]]",
    )
}

fn no_answer(about: &str, why: &str, api_url: &str) -> Finding {
    Finding::not_ok(
        Check::Github,
        about,
        format!("{api_url}: {why}"),
        "without GitHub no runner is registered",
        "see that this host may reach api_url over HTTPS (HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE), and that api_url is right",
    )
}

pub(super) fn owner(owner: &Owner) -> String {
    match owner {
        Owner::Organization(login) => format!("organization {login}"),
        Owner::Enterprise(slug) => format!("enterprise {slug}"),
        Owner::Repository(name) => format!("repository {name}"),
    }
}
