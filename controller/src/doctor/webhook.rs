//! Webhooks: whether GitHub tells the door of jobs, judged.
//!
//! What lives here: judgement by facts alone. What may not: an address as GitHub has it; of one that is shown, nothing is
//! left that could be a secret.
//!
//! Invariant: of several webhooks of an owner only those are judged that lead to the door: others are nobody's business.

use muster_core::config::{GitHub, Hook};
use muster_github::{Delivered, Redelivery, Webhook};
use reqwest::Url;

use super::github::owner;
use super::{Check, Finding};

/// Where the door takes deliveries.
const PATH: &str = "/webhook";

/// Judges the webhooks that tell of jobs: an App's own, or the owner's.
pub(super) fn judge(
    all: &[Webhook],
    redelivery: Option<&Redelivery>,
    section: &GitHub,
    about: &str,
    door: Option<&Url>,
) -> Vec<Finding> {
    let door = door.map(|door| {
        let mut url = door.clone();
        url.set_path(&format!("{}{PATH}", door.path().trim_end_matches('/')));
        url
    });
    let page = match section.hook {
        Hook::App => "the App's page, \"General\", Webhook".to_owned(),
        Hook::Owner => format!("{}, Settings, Webhooks", owner(&section.owner)),
    };
    let place = Place { page, door, hook: section.hook };
    match place.chosen(all) {
        Chosen::These(chosen) => {
            chosen.into_iter().flat_map(|webhook| place.of_one(webhook, about, redelivery)).collect()
        }
        Chosen::None(what) => vec![Finding::not_ok(
            Check::WebhookUrl,
            about,
            what,
            "without a webhook Muster hears of no job",
            format!(
                "{}: set the URL to {}, the content type to application/json, the secret to that of webhook_secrets, and \
                 switch it on{}",
                place.page,
                place.wanted(),
                match place.hook {
                    Hook::App => "",
                    Hook::Owner => ", with the event \"Workflow jobs\"",
                }
            ),
        )],
        Chosen::Unclear(what) => {
            let remedy = "give --door with the door's address, to tell which one is meant";
            vec![Finding::not_checked(Check::WebhookUrl, about, what, remedy)]
        }
    }
}

/// Which webhooks are meant.
enum Chosen<'a> {
    These(Vec<&'a Webhook>),
    /// And why.
    None(String),
    /// And why.
    Unclear(String),
}

struct Place {
    /// Where a webhook is set.
    page: String,
    door: Option<Url>,
    hook: Hook,
}

impl Place {
    fn wanted(&self) -> String {
        self.door.as_ref().map_or_else(|| format!("https://YOUR-DOOR{PATH}"), shown)
    }

    fn leads_to_door(&self, url: &Url) -> bool {
        let place = |url: &Url| (url.host_str().map(str::to_owned), url.port_or_known_default(), url.path().to_owned());
        self.door.as_ref().is_none_or(|door| place(door) == place(url))
    }

    fn chosen<'a>(&self, all: &'a [Webhook]) -> Chosen<'a> {
        let set: Vec<&Webhook> = all.iter().filter(|webhook| !webhook.url.is_empty()).collect();
        if self.hook == Hook::App {
            return if set.is_empty() { Chosen::None("the App has no webhook".to_owned()) } else { Chosen::These(set) };
        }
        let jobs = set.iter().copied().filter(|one| one.tells_of_jobs && one.active != Some(false));
        let jobs: Vec<&Webhook> = jobs.collect();
        let leads = |one: &&Webhook| Url::parse(&one.url).is_ok_and(|url| self.leads_to_door(&url));
        if self.door.is_some() {
            // One that leads to the door and is not subscribed is told as such.
            let here: Vec<&Webhook> =
                set.iter().copied().filter(|one| one.active != Some(false)).filter(leads).collect();
            return match here.is_empty() {
                false => Chosen::These(here),
                true => Chosen::None(format!("none of {} webhooks leads to {}", set.len(), self.wanted())),
            };
        }
        match jobs.len() {
            0 => Chosen::None(format!("none of {} webhooks is active and subscribed to workflow_job", set.len())),
            1 => Chosen::These(jobs),
            several => Chosen::Unclear(format!("{several} webhooks are subscribed to workflow_job")),
        }
    }

    fn of_one(&self, webhook: &Webhook, about: &str, redelivery: Option<&Redelivery>) -> Vec<Finding> {
        let about = webhook.id.map_or_else(|| about.to_owned(), |id| format!("webhook {id}"));
        let mut found = vec![self.event(webhook, &about), self.url(webhook, &about)];
        found.push(if webhook.content_type == "json" {
            Finding::ok(Check::WebhookContentType, &*about, "application/json")
        } else {
            Finding::not_ok(
                Check::WebhookContentType,
                &*about,
                format!("the content type is {:?}", webhook.content_type),
                "the door refuses forms (415): it hears of no job",
                format!("{}: set the content type to application/json", self.page),
            )
        });
        found.push(if webhook.insecure_ssl {
            Finding::not_ok(
                Check::WebhookTls,
                &*about,
                "GitHub does not check the door's certificate",
                "whoever sits in between can read and replay deliveries",
                format!("{}: enable SSL verification", self.page),
            )
        } else {
            Finding::ok(Check::WebhookTls, &*about, "GitHub checks the door's certificate")
        });
        found.extend(self.deliveries(webhook, &about, redelivery));
        found
    }

    fn event(&self, webhook: &Webhook, about: &str) -> Finding {
        if webhook.tells_of_jobs {
            return Finding::ok(Check::WebhookEvent, about, "it is subscribed to workflow_job");
        }
        let remedy = match self.hook {
            Hook::App => {
                "on the App's page, \"Permissions & events\", \"Subscribe to events\", tick \"Workflow job\" (it is offered \
                 with the permission \"Actions\")"
                    .to_owned()
            }
            Hook::Owner => format!("{}: under \"individual events\" tick \"Workflow jobs\"", self.page),
        };
        let why = "GitHub tells of jobs by this event only: none is heard of, and no machine is launched";
        Finding::not_ok(Check::WebhookEvent, about, "it is not subscribed to workflow_job", why, remedy)
    }

    fn url(&self, webhook: &Webhook, about: &str) -> Finding {
        let not_ok = |what: String, why: &str| {
            let remedy = format!("{}: set the URL to {}", self.page, self.wanted());
            Finding::not_ok(Check::WebhookUrl, about, what, why, remedy)
        };
        let Ok(url) = Url::parse(&webhook.url) else {
            return not_ok("its URL is none".to_owned(), "deliveries go nowhere: no job is heard of");
        };
        let address = shown(&url);
        if !self.leads_to_door(&url) {
            return not_ok(
                format!("deliveries go to {address}, and the door is at {}", self.wanted()),
                "deliveries go elsewhere: no job is heard of",
            );
        }
        if url.scheme() != "https" {
            return not_ok(
                format!("deliveries go to {address}, which is not HTTPS"),
                "payloads cross the network in clear, and whoever sees one can replay it",
            );
        }
        if !url.path().ends_with(PATH) {
            return not_ok(
                format!("deliveries go to {address}, and the door takes them at {PATH}"),
                "the door answers 404: no job is heard of",
            );
        }
        let unknown =
            if self.door.is_none() { " (give --door to have it compared with the door's address)" } else { "" };
        Finding::ok(Check::WebhookUrl, about, format!("deliveries go to {address}{unknown}"))
    }

    /// Whether deliveries arrive, and whether their signature is good.
    fn deliveries(&self, webhook: &Webhook, about: &str, redelivery: Option<&Redelivery>) -> Vec<Finding> {
        let unknown = |what: &str, remedy: &str| {
            let one = |check| Finding::not_checked(check, about, what, remedy);
            vec![one(Check::WebhookDelivery), one(Check::WebhookSecret)]
        };
        if let Some(redelivery) = redelivery {
            match redelivery {
                Redelivery::Answered(status) => {
                    return self.answered(*status, about, "the latest delivery, delivered again,");
                }
                Redelivery::Unanswered => {
                    return unknown(
                        "the latest delivery was delivered again, and its end was not seen",
                        "run it again",
                    );
                }
                Redelivery::Failed(error) => {
                    let what = format!("the latest delivery could not be delivered again: {error}");
                    return unknown(&what, "see what GitHub says; without --redeliver the last deliveries are judged");
                }
                // The log says what there is to say.
                Redelivery::Nothing | Redelivery::NotOurs => {}
            }
        }
        match &webhook.deliveries {
            Some(Ok(all)) => match all.first() {
                Some(Delivered { at, event, status }) => {
                    self.answered(*status, about, &format!("the latest delivery ({event}, {at})"))
                }
                None => unknown(
                    "nothing was delivered in the last days",
                    "start a workflow, or switch the webhook off and on; then run it again",
                ),
            },
            Some(Err(error)) => {
                unknown(&format!("the log of deliveries cannot be read: {error}"), "see what GitHub says")
            }
            None => unknown("it is not subscribed to jobs", "mend that first"),
        }
    }

    fn answered(&self, status: i64, about: &str, what: &str) -> Vec<Finding> {
        let arrived = || Finding::ok(Check::WebhookDelivery, about, format!("{what} arrived at the door ({status})"));
        match status {
            200..=299 => {
                let good = format!("{what} was taken ({status})");
                vec![arrived(), Finding::ok(Check::WebhookSecret, about, good)]
            }
            401 => vec![
                arrived(),
                Finding::not_ok(
                    Check::WebhookSecret,
                    about,
                    format!("{what} was refused for its signature (401)"),
                    "GitHub signs with another secret than those of webhook_secrets: every delivery is refused, and no job \
                     is heard of",
                    format!(
                        "{}: set the secret to the value that webhook_secrets refers to; then run muster doctor --redeliver",
                        self.page
                    ),
                ),
            ],
            _ => {
                let (why, remedy) = self.failed(status);
                let what = format!("{what} failed ({status})");
                let unknown = "no delivery came so far";
                vec![
                    Finding::not_ok(Check::WebhookDelivery, about, what, why, remedy),
                    Finding::not_checked(Check::WebhookSecret, about, unknown, "mend the delivery first"),
                ]
            }
        }
    }

    /// Why a status that is no success matters, and what to do.
    fn failed(&self, status: i64) -> (&'static str, String) {
        let set = |what: &str| format!("{}: set the {what}", self.page);
        match status {
            404 | 405 => {
                ("the door has no such address: no job is heard of", set(&format!("URL to {}", self.wanted())))
            }
            301 | 302 | 307 | 308 => {
                ("GitHub follows no redirect: no job is heard of", set(&format!("URL to {}", self.wanted())))
            }
            415 => ("the door refuses forms: no job is heard of", set("content type to application/json")),
            413 => (
                "the delivery is larger than the door takes: its job is found later, by a sweep",
                "nothing, if it is rare".to_owned(),
            ),
            400 => (
                "the door could not read it",
                "see the door's log: is something in between that changes bodies?".to_owned(),
            ),
            429 | 503 => (
                "the door has no room or cannot store: jobs are found minutes later, by a sweep",
                "see its /healthz, and the stack's limits of rate and concurrency".to_owned(),
            ),
            _ => (
                "the door was not reached, or did not answer within 10 s: jobs are found minutes later, or not at all",
                "see that the door runs (its /healthz) and that GitHub reaches it: DNS, firewall, certificate"
                    .to_owned(),
            ),
        }
    }
}

/// An address without what may be a secret in it: no user, password, query or fragment.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}
