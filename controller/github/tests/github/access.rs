//! Who the adapter is to GitHub: keys, installations, tokens.

use std::time::Duration;

use muster_core::config::Owner;
use muster_core::ports::Github;
use muster_github::{Installed, Options, RestGithub, SetupError};
use muster_tests::github::{AppKey, FakeGithub, Fault, What};
use serde_json::json;

use crate::bench::{Bench, PATIENCE, organization, rejected, request, section, unknown};

fn tokens(bench: &Bench) -> usize {
    bench.count("POST", "access_tokens")
}

#[tokio::test]
async fn a_token_is_renewed_well_before_it_ends() {
    let bench = Bench::new(organization());
    bench.mint("a").await.unwrap();
    bench.advance(Duration::from_secs(49 * 60));
    bench.mint("b").await.unwrap();
    assert_eq!(tokens(&bench), 1);
    bench.advance(Duration::from_secs(2 * 60));
    bench.mint("c").await.unwrap();
    assert_eq!(tokens(&bench), 2);
    let world = bench.fake.world();
    assert!(world.seen().iter().all(|seen| seen.status.is_some_and(|status| status < 400)), "{:?}", world.seen());
}

#[tokio::test]
async fn the_former_token_does_while_there_is_no_new_one() {
    let bench = Bench::new(organization());
    bench.mint("a").await.unwrap();
    bench.advance(Duration::from_secs(52 * 60));
    bench.fake.fail(Fault::status("POST", "access_tokens", 503, "Unavailable").times(3));
    // Two of them: the groups are listed anew, too.
    bench.mint("b").await.unwrap();
    bench.advance(Duration::from_secs(9 * 60));
    let why = unknown(bench.mint("c").await);
    assert!(why.contains("no installation token for App 12345") && why.contains("nothing was sent"), "{why}");
    bench.mint("c").await.unwrap();
}

#[tokio::test]
async fn a_token_that_ends_early_is_replaced_once() {
    let bench = Bench::new(organization());
    bench.mint("a").await.unwrap();
    bench.fake.world().revoke_tokens();
    bench.mint("b").await.unwrap();
    assert_eq!(tokens(&bench), 2);
    bench.fake.fail(Fault::status("POST", "generate-jitconfig", 401, "Bad credentials").times(2));
    let why = rejected(bench.mint("c").await);
    assert!(why.contains("Bad credentials") && why.contains("App 12345"), "{why}");
    assert_eq!(tokens(&bench), 3, "and not again and again");
    let before = bench.fake.seen().len();
    rejected(bench.mint("c").await);
    assert_eq!(bench.fake.seen().len(), before, "GitHub is left alone for a while");
    bench.advance(Duration::from_secs(61));
    bench.mint("c").await.unwrap();
    assert_eq!(bench.names(), ["a", "b", "c"]);
}

#[tokio::test]
async fn tokens_may_be_long() {
    let mut setup = organization();
    setup.token_letters = 4_000;
    let bench = Bench::new(setup);
    bench.mint("a").await.unwrap();
    assert!(bench.fake.world().secrets().iter().any(|secret| secret.len() > 4_000));
}

#[tokio::test]
async fn many_at_once_need_one_token() {
    let bench = Bench::new(organization());
    let mints = futures_util::future::join_all((0..20).map(|n| {
        let bench = &bench;
        async move { bench.mint(&format!("r-{n}")).await }
    }));
    assert!(mints.await.iter().all(Result::is_ok));
    assert_eq!((tokens(&bench), bench.count("GET", "runner-groups")), (1, 1));
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let bench = Bench::new(organization());
    bench.fake.world().refuse(12345, true);
    let why = rejected(bench.mint("a").await);
    assert!(
        why.contains("Resource not accessible") && why.contains("\"Self-hosted runners\": read and write"),
        "{why}"
    );
    bench.fake.world().refuse(12345, false);
    bench.advance(Duration::from_secs(61));
    bench.mint("a").await.unwrap();
    assert_eq!(tokens(&bench), 2, "the former token did not have the permission");
}

#[tokio::test]
async fn tokens_are_asked_for_no_more_than_runners_need() {
    let bench = Bench::new(organization());
    bench.fake.fail(Fault::status("POST", "access_tokens", 422, "The permissions requested are not granted"));
    let why = rejected(bench.mint("a").await);
    assert!(why.contains("not granted") && why.contains("Self-hosted runners"), "{why}");
}

#[tokio::test]
async fn another_apps_key_is_refused_and_the_remedy_said() {
    let setup = organization();
    let fake = FakeGithub::start(setup.clone());
    let section = section(&fake, Owner::Organization("acme".to_owned()), &setup.apps);
    let key = AppKey::fresh();
    let options = Options { patience: PATIENCE, ..Options::default() };
    let github = RestGithub::new(&section, &[key.pem().to_vec()], options).unwrap();
    let why = rejected(github.mint(&request("a", "default")).await);
    assert!(why.contains("the signature is another key's") && why.contains("private_key"), "{why}");
    assert!(!why.contains("eyJ"), "{why}");
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_said() {
    let bench = Bench::new(organization());
    bench.fake.world().advance(Duration::from_secs(300));
    bench.fake.fail(Fault::status("GET", "/installation", 401, "'Expiration time' claim ('exp') is past"));
    let why = rejected(bench.mint("a").await);
    assert!(why.contains("s behind GitHub's: set it"), "{why}");
}

#[tokio::test]
async fn an_app_that_is_not_installed_is_said() {
    let setup = organization();
    let fake = FakeGithub::start(setup.clone());
    let keys = [fake.key(12345)];
    let options = Options { patience: PATIENCE, ..Options::default() };
    let elsewhere = section(&fake, Owner::Organization("other".to_owned()), &setup.apps);
    let github = RestGithub::new(&elsewhere, &keys, options.clone()).unwrap();
    let why = rejected(github.mint(&request("a", "default")).await);
    assert!(why.contains("App 12345 is not installed on the organization other"), "{why}");
    let mut wrong = section(&fake, Owner::Organization("acme".to_owned()), &setup.apps);
    wrong.apps[0].installation_id = Some(9);
    let github = RestGithub::new(&wrong, &keys, options).unwrap();
    let why = rejected(github.mint(&request("a", "default")).await);
    assert!(why.contains("no installation 9") && why.contains("installation_id"), "{why}");
}

#[tokio::test]
async fn a_configured_installation_is_not_looked_up() {
    let setup = organization();
    let fake = FakeGithub::start(setup.clone());
    let mut section = section(&fake, Owner::Organization("acme".to_owned()), &setup.apps);
    section.apps[0].installation_id = Some(701);
    let options = Options { patience: PATIENCE, ..Options::default() };
    let github = RestGithub::new(&section, &[fake.key(12345)], options).unwrap();
    github.mint(&request("a", "default")).await.unwrap();
    assert!(!fake.seen().iter().any(|seen| seen.ends_with("/installation")));
    let installed = github.installations().await.unwrap();
    assert_eq!(installed, [Installed { app: 12345, installation: 701, account: Some(99) }]);
}

#[tokio::test]
async fn an_answer_about_tokens_that_does_not_read_shows_nothing() {
    let bench = Bench::new(organization());
    bench.fake.fail(Fault::on("POST", "access_tokens", What::Truncated));
    let why = unknown(bench.mint("a").await);
    assert!(why.contains("does not read"), "{why}");
    let value = json!("soon");
    let what = What::Changed { pointer: "/expires_at".to_owned(), value, described: true };
    bench.fake.fail(Fault::on("POST", "access_tokens", what));
    let why = unknown(bench.mint("a").await);
    assert!(why.contains("its expiry is no instant"), "{why}");
}

#[tokio::test]
async fn what_only_a_person_can_mend_is_said_at_the_start() {
    let setup = organization();
    let fake = FakeGithub::start(setup.clone());
    let mut section = section(&fake, Owner::Organization("acme".to_owned()), &setup.apps);
    let key = fake.key(12345);
    let make = |section: &_, keys: &[Vec<u8>], options: Options| RestGithub::new(section, keys, options).err().unwrap();
    let bad = make(&section, &[b"planted".to_vec()], Options::default());
    assert!(matches!(&bad, SetupError::Key { app: 12345, .. }) && bad.to_string().contains("file:12345.pem"), "{bad}");
    assert!(matches!(make(&section, &[], Options::default()), SetupError::Keys { keys: 0, apps: 1 }));
    let options = Options { further_ca: Some(b"planted".to_vec()), ..Options::default() };
    assert!(matches!(make(&section, std::slice::from_ref(&key), options), SetupError::Certificates));
    section.apps.clear();
    assert!(matches!(make(&section, &[], Options::default()), SetupError::NoApp));
}
