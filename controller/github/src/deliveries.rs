//! The logs of webhook deliveries: which ones failed, and what they told.
//!
//! What lives here: reading the logs of the Apps' own webhooks, or of the owner's. What may not: asking GitHub to deliver
//! again, and what a payload means.
//!
//! Invariant: what is given is all that failed from `since` up to some instant. GitHub lists the newest first, so nothing of a
//! log is given before its reading has come down to `since`; a log that is too long for one call is read on by the next one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use muster_core::config::{Hook, Owner};
use muster_core::ports::{FailedDelivery, GithubError};
use muster_core::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use crate::answer::Answer;
use crate::app::{App, Trouble};
use crate::budget::OPTIONAL_POINTS;
use crate::github::{RestGithub, told};
use crate::owner;

/// The event that tells of jobs.
const EVENT: &str = "workflow_job";
/// What a webhook is subscribed to that gets every event.
const EVERY_EVENT: &str = "*";
/// GitHub's largest page.
const PAGE: usize = 100;
/// Pages of a log that one call reads.
pub const LOG_PAGES_MAX: usize = 30;
/// After so long the next call may read on: the points of a minute are there again.
const LOG_PAUSE: Duration = Duration::from_secs(60);
/// Deliveries that are kept of a log, some 200 bytes each. Of more than these the oldest are kept, and given first.
const FAILED_MAX: usize = 20_000;
/// Pages of webhooks. GitHub allows an organization 20 of an event, and Enterprise Server 250.
const HOOK_PAGES_MAX: usize = 3;

const _: () = assert!(2 * LOG_PAGES_MAX < OPTIONAL_POINTS as usize);
const _: () = assert!(FAILED_MAX >= LOG_PAGES_MAX * PAGE);

/// A delivery in a log. Words that GitHub may add to stay words.
#[derive(Deserialize)]
pub(crate) struct Item {
    pub(crate) id: i64,
    pub(crate) guid: String,
    pub(crate) delivered_at: String,
    pub(crate) status_code: i64,
    pub(crate) event: String,
    action: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct HookAnswer {
    pub(crate) id: i64,
    pub(crate) active: bool,
    pub(crate) events: Vec<String>,
    #[serde(default)]
    pub(crate) config: Value,
}

/// Whether these events tell of jobs.
pub(crate) fn tells_of_jobs(events: &[String]) -> bool {
    events.iter().any(|event| event == EVENT || event == EVERY_EVENT)
}

#[derive(Deserialize)]
struct DeliveryAnswer {
    request: RequestAnswer,
}

#[derive(Deserialize)]
struct RequestAnswer {
    /// As it was sent: numbers and all.
    payload: Option<Box<RawValue>>,
}

/// A log at GitHub.
enum Log<'a> {
    App(&'a App),
    /// One of the owner's webhooks.
    Hook(i64),
}

impl Log<'_> {
    /// Its name in a [`FailedDelivery::place`].
    fn name(&self) -> String {
        match self {
            Log::App(app) => format!("app/{}", app.id()),
            Log::Hook(hook) => format!("hook/{hook}"),
        }
    }
}

/// How far a log is read.
#[derive(Default)]
struct Reading {
    /// Where it goes on. `None`: at the top.
    cursor: Option<String>,
    /// Whether it has come down to where it should.
    done: bool,
    /// What is later than this is not in it, or not all of it.
    until: Option<Timestamp>,
    /// The newest first.
    failed: VecDeque<FailedDelivery>,
}

impl Reading {
    /// Adds what was delivered before all the others.
    fn add(&mut self, delivery: FailedDelivery) {
        self.failed.push_back(delivery);
        if self.failed.len() > FAILED_MAX {
            self.until = self.failed.pop_front().map(|newest| newest.delivered_at);
        }
    }
}

/// The logs as far as they are read, from one call to the next.
#[derive(Default)]
pub(crate) struct Logs(Mutex<Begun>);

#[derive(Default)]
struct Begun {
    since: Timestamp,
    readings: BTreeMap<String, Reading>,
}

impl RestGithub {
    pub(crate) async fn failed_deliveries(&self, since: Timestamp) -> Result<Vec<FailedDelivery>, GithubError> {
        let mut begun = self.logs.0.lock().await;
        let logs = self.delivery_logs().await?;
        if since < begun.since {
            // What has come down to the one need not have come down to the other.
            begun.readings.clear();
        }
        begun.since = since;
        let readings = &mut begun.readings;
        readings.retain(|name, _| logs.iter().any(|log| log.name() == *name));
        // Whatever an earlier call has begun knows nothing of what came after it.
        let mut until = readings.values().filter_map(|reading| reading.until).min();
        for log in &logs {
            let reading = readings.entry(log.name()).or_default();
            for _ in 0..LOG_PAGES_MAX {
                if reading.done {
                    break;
                }
                self.read_page(log, reading, since).await?;
            }
        }
        if readings.values().any(|reading| !reading.done) {
            return Err(GithubError::Limited { until: (self.clock)() + LOG_PAUSE });
        }
        let full = readings.values().filter(|reading| reading.failed.len() == FAILED_MAX);
        until = until.into_iter().chain(full.filter_map(|reading| reading.until)).min();
        let all = std::mem::take(readings).into_values().flat_map(|reading| reading.failed.into_iter().rev());
        let wanted = all.filter(|one| one.delivered_at >= since && until.is_none_or(|until| one.delivered_at <= until));
        let mut failed: Vec<FailedDelivery> = wanted.collect();
        // Stable: those of one second stay as their log has them.
        failed.sort_by_key(|one| one.delivered_at);
        Ok(failed)
    }

    async fn delivery_logs(&self) -> Result<Vec<Log<'_>>, GithubError> {
        match self.hook {
            Hook::App => Ok(self.apps.iter().map(Log::App).collect()),
            Hook::Owner => Ok(self.hooks().await?.into_iter().map(Log::Hook).collect()),
        }
    }

    /// The owner's webhooks that tell of jobs.
    async fn hooks(&self) -> Result<Vec<i64>, GithubError> {
        let all = self.all_hooks().await?;
        Ok(all.into_iter().filter(|hook| hook.active && tells_of_jobs(&hook.events)).map(|hook| hook.id).collect())
    }

    /// The owner's webhooks.
    pub(crate) async fn all_hooks(&self) -> Result<Vec<HookAnswer>, GithubError> {
        if let Owner::Enterprise(_) = &*self.owner {
            let why = "an enterprise's webhooks cannot be read; leave `hook` out of [github]";
            return Err(GithubError::Rejected(why.to_owned()));
        }
        let mut all = Vec::new();
        for page in 1..=HOOK_PAGES_MAX {
            let path = format!("{}/hooks?per_page={PAGE}&page={page}", owner::base(&self.owner));
            let answer = self.read(&path, None).await.map_err(told)?;
            if !answer.status.is_success() {
                return Err(self.unread("the webhooks", &answer));
            }
            let hooks: Vec<Value> =
                answer.json().map_err(|why| GithubError::Unknown(format!("the webhooks: {why}")))?;
            let last = hooks.len() < PAGE;
            all.extend(hooks.iter().filter_map(|hook| HookAnswer::deserialize(hook).ok()));
            if last {
                break;
            }
        }
        Ok(all)
    }

    /// Reads the next page of a log.
    async fn read_page(&self, log: &Log<'_>, reading: &mut Reading, since: Timestamp) -> Result<(), GithubError> {
        let cursor = reading.cursor.as_ref().map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let asked = match log {
            Log::App(app) => {
                app.read_as_app(&format!("/app/hook/deliveries?status=failure&per_page={PAGE}{cursor}")).await
            }
            Log::Hook(hook) => {
                let base = owner::base(&self.owner);
                self.read(&format!("{base}/hooks/{hook}/deliveries?per_page={PAGE}{cursor}"), None).await
            }
        };
        let answer = asked.map_err(told)?;
        if is_gone(&answer) {
            // An App need not have a webhook, and one of the owner's may be removed.
            reading.done = true;
            return Ok(());
        }
        if !answer.status.is_success() {
            // A cursor may grow old: it begins anew.
            *reading = Reading::default();
            return Err(self.unread(&format!("the log of webhook deliveries {}", log.name()), &answer));
        }
        let unreadable = |why| GithubError::Unknown(format!("the log of webhook deliveries {}: {why}", log.name()));
        let page: Vec<Value> = answer.json().map_err(unreadable)?;
        reading.until = reading.until.or(Some(answer.sent_at()));
        reading.cursor = answer.next_cursor();
        reading.done = reading.cursor.is_none() || page.is_empty();
        for item in page.iter().filter_map(|item| Item::deserialize(item).ok()) {
            let Some(delivered_at) = Timestamp::parse(&item.delivered_at) else { continue };
            if delivered_at < since {
                reading.done = true;
            } else if item.event == EVENT && !(200..300).contains(&item.status_code) {
                reading.add(FailedDelivery {
                    place: Arc::from(format!("{}/{}", log.name(), item.id)),
                    guid: Arc::from(item.guid),
                    delivered_at,
                    action: Arc::from(item.action.unwrap_or_default()),
                });
            }
        }
        Ok(())
    }

    pub(crate) async fn delivered_payload(&self, of: &FailedDelivery) -> Result<Option<Vec<u8>>, GithubError> {
        let asked = match place(&of.place) {
            Some(("app", app, delivery)) => match self.apps.iter().find(|known| known.id() == app) {
                Some(app) => app.read_as_app(&format!("/app/hook/deliveries/{delivery}")).await,
                // It was taken out of the configuration, and its log with it.
                None => return Ok(None),
            },
            Some(("hook", hook, delivery)) => {
                let base = owner::base(&self.owner);
                self.read(&format!("{base}/hooks/{hook}/deliveries/{delivery}"), None).await
            }
            Some(_) | None => {
                Err(Trouble::Refused(format!("\"{}\" is no place in a log of webhook deliveries", of.place)))
            }
        };
        let answer = asked.map_err(told)?;
        if is_gone(&answer) {
            return Ok(None);
        }
        if !answer.status.is_success() {
            return Err(self.unread(&format!("the webhook delivery {}", of.place), &answer));
        }
        let unreadable = |why| GithubError::Unknown(format!("the webhook delivery {}: {why}", of.place));
        let delivery: DeliveryAnswer = answer.json().map_err(unreadable)?;
        Ok(delivery.request.payload.map(|payload| payload.get().as_bytes().to_vec()))
    }

    /// An answer that says nothing of what was asked for.
    pub(crate) fn unread(&self, what: &str, answer: &Answer) -> GithubError {
        GithubError::Rejected(format!(
            "{what} cannot be read ({}): see that the App is installed on the {} with the {}",
            answer.told(),
            owner::told(&self.owner),
            owner::reading_permission(&self.owner, self.hook)
        ))
    }
}

/// Whether GitHub says that there is no such thing, or no more.
pub(crate) fn is_gone(answer: &Answer) -> bool {
    matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// Whose log, which one, and which delivery.
fn place(text: &str) -> Option<(&str, u64, u64)> {
    let (whose, rest) = text.split_once('/')?;
    let (log, delivery) = rest.split_once('/')?;
    Some((whose, log.parse().ok()?, delivery.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_the_oldest_are_kept() {
        let mut reading = Reading::default();
        let at = |n: usize| Timestamp::from_unix_ms(1_000 * i64::try_from(n).unwrap());
        for n in (0..FAILED_MAX + 5).rev() {
            let (place, action) = (Arc::from(format!("app/1/{n}")), Arc::from("queued"));
            reading.add(FailedDelivery { guid: Arc::clone(&place), place, delivered_at: at(n), action });
        }
        assert_eq!(reading.failed.len(), FAILED_MAX);
        assert_eq!(reading.failed.front().unwrap().delivered_at, at(FAILED_MAX - 1));
        assert_eq!(reading.failed.back().unwrap().delivered_at, at(0));
        assert_eq!(reading.until, Some(at(FAILED_MAX)));
    }

    #[test]
    fn a_place_is_three_words() {
        assert_eq!(place("app/12345/987"), Some(("app", 12345, 987)));
        assert_eq!(place("hook/45/9223372036854775807"), Some(("hook", 45, 9_223_372_036_854_775_807)));
        for bad in ["", "app", "app/1", "app/x/1", "app/1/2/3", "app/1/../2", "app/-1/2", "app/1/"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }
}
