//! How an App is set up, as far as the adapter tells it: what is asked, and what is not.

use std::collections::BTreeSet;
use std::time::Duration;

use muster_core::config::{GitHub, Owner};
use muster_core::ports::GithubError;
use muster_github::{Checkup, OPTIONAL_POINTS, Options, Patience, Redelivery, Wanted, checkup};
use muster_tests::github::{FakeGithub, FakeLog, Fault, What};
use serde_json::json;

use crate::bench::{PATIENCE, organization, section};

const APP: u64 = 12345;

struct Ward {
    fake: FakeGithub,
    section: GitHub,
    wanted: Wanted,
    patience: Patience,
}

impl Ward {
    fn new() -> Ward {
        let setup = organization();
        let fake = FakeGithub::start(setup.clone());
        let section = section(&fake, Owner::Organization("acme".to_owned()), &setup.apps);
        Ward { fake, section, wanted: Wanted::default(), patience: PATIENCE }
    }

    /// With what it was that was asked. Nothing that is secret is in it.
    async fn checkup(&self) -> (Checkup, Vec<String>) {
        let before = self.fake.seen().len();
        let options = Options { patience: self.patience, ..Options::default() };
        let (app, key) = (&self.section.apps[0], self.fake.key(APP));
        let found = checkup(&self.section, app, &key, options, &self.wanted).await.unwrap();
        let said = format!("{found:?}");
        for secret in self.fake.world().secrets() {
            assert!(!said.contains(secret), "{said}");
        }
        assert!(!said.contains("planted") && !said.contains("eyJ"), "{said}");
        (found, self.fake.seen()[before..].to_vec())
    }
}

#[tokio::test]
async fn each_thing_is_asked_once_and_little_of_the_budget_is_used() {
    let mut ward = Ward::new();
    ward.wanted.groups = BTreeSet::from(["linux builders".to_owned()]);
    ward.fake.world().add_repository("acme/api", false);
    ward.fake.world().choose_repositories(APP, &["acme/api"]);
    let group = "Linux builders";
    ward.fake.world().group(group).unwrap().visibility = "selected".to_owned();
    ward.fake.world().group(group).unwrap().repositories = vec!["acme/api".to_owned()];
    let (found, asked) = ward.checkup().await;
    let distinct: BTreeSet<&String> = asked.iter().collect();
    // Two tokens are asked for: one for runners, one for reading.
    assert_eq!((distinct.len(), asked.len()), (11, 12), "{asked:#?}");
    let tokens = asked.iter().filter(|one| one.ends_with("/access_tokens")).count();
    assert_eq!(tokens, 2);
    assert!(asked.iter().all(|one| one.starts_with("GET") || one.ends_with("/access_tokens")), "{asked:#?}");
    assert!(asked.len() < OPTIONAL_POINTS as usize / 5);
    assert_eq!(found.identity.unwrap().name, "Muster");
    let chosen = found.repositories.unwrap().unwrap();
    assert!(chosen.whole && chosen.read == ["acme/api"], "{chosen:?}");
    let selected: Vec<_> = found.selected.into_values().map(Result::unwrap).collect();
    assert_eq!(selected, [chosen]);
    assert!(found.clock_ahead_ms.unwrap().abs() < 30_000);
    assert_eq!(found.rate.unwrap().unwrap().limit, 5_000);
}

#[tokio::test]
async fn an_app_that_is_refused_is_asked_nothing_more() {
    let mut ward = Ward::new();
    ward.section.apps[0].id = 7;
    let (found, asked) = ward.checkup().await;
    assert!(matches!(found.identity, Err(GithubError::Rejected(_))), "{found:?}");
    assert_eq!(asked, ["GET /app"]);
    assert!(found.installation.is_none() && found.webhooks.is_none() && found.groups.is_none());
    // One that is suspended is not asked for tokens.
    let ward = Ward::new();
    ward.fake.world().suspend(APP, true);
    let (_, asked) = ward.checkup().await;
    assert!(asked.iter().all(|one| !one.contains("access_tokens")), "{asked:?}");
}

#[tokio::test]
async fn repositories_are_read_on_every_page() {
    let ward = Ward::new();
    let names: Vec<String> = (0..230).map(|n| format!("acme/r{n}")).collect();
    for name in &names {
        ward.fake.world().add_repository(name, true);
    }
    let chosen: Vec<&str> = names.iter().map(String::as_str).collect();
    ward.fake.world().choose_repositories(APP, &chosen);
    let (found, asked) = ward.checkup().await;
    let read = found.repositories.unwrap().unwrap();
    assert!(read.whole);
    assert_eq!(read.read, names);
    assert_eq!(asked.iter().filter(|one| one.contains("/installation/repositories")).count(), 3);
}

#[tokio::test]
async fn the_latest_delivery_is_delivered_again_once_and_its_end_looked_for() {
    let mut ward = Ward::new();
    ward.wanted.redeliver = true;
    assert!(matches!(ward.checkup().await.0.redelivery, Some(Redelivery::Nothing)));
    let first = ward.fake.world().deliver(FakeLog::App(APP), "ping", json!({}), 200);
    // It was delivered again before, and that attempt is none of ours.
    let latest = ward.fake.world().redeliver(first, 500).unwrap();
    ward.fake.world().set_receiver(Some(401));
    let (found, asked) = ward.checkup().await;
    assert!(matches!(found.redelivery, Some(Redelivery::Answered(401))), "{found:?}");
    let attempts: Vec<_> = asked.iter().filter(|one| one.contains("attempts")).collect();
    assert_eq!(attempts, [&format!("POST /app/hook/deliveries/{latest}/attempts")]);
    // An attempt whose request is lost is not asked for again.
    for what in [What::LostBefore, What::LostAfter] {
        ward.fake.fail(Fault::on("POST", "/attempts", what));
        let (found, asked) = ward.checkup().await;
        assert!(matches!(found.redelivery, Some(Redelivery::Failed(GithubError::Unknown(_)))), "{found:?}");
        assert_eq!(asked.iter().filter(|one| one.contains("attempts")).count(), 1);
    }
    // The receiver hangs.
    ward.fake.world().set_receiver(None);
    ward.patience.clean_up = Duration::from_millis(20);
    let (found, asked) = ward.checkup().await;
    assert!(matches!(found.redelivery, Some(Redelivery::Unanswered)), "{found:?}");
    assert_eq!(asked.iter().filter(|one| one.contains("attempts")).count(), 1);
}

#[tokio::test]
async fn nothing_is_written_that_nobody_wanted() {
    let ward = Ward::new();
    ward.fake.world().deliver(FakeLog::App(APP), "ping", json!({}), 200);
    let (found, asked) = ward.checkup().await;
    assert!(found.redelivery.is_none());
    assert!(asked.iter().all(|one| one.starts_with("GET") || one.ends_with("/access_tokens")), "{asked:?}");
}
