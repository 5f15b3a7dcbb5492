//! What a process begins with, and what it goes on with, by its duty.

use std::fs;

use futures_util::FutureExt;
use muster_store::MemoryStore;
use muster_tests::sign;
use muster_webhook::signature::SignatureHeader;
use tempfile::TempDir;

use super::*;

const CONFIG: &str = r#"
[github]
organization = "octo-org"
webhook_secrets = ["file:one", "file:two"]
[[github.app]]
id = 1
private_key = "file:app.pem"
[fleet]
name = "acme"
[[pool]]
name = "linux"
os = "linux"
arch = "x64"
labels = ["linux"]
repositories = ["*"]
[pool.sizes.cpu-2]
instance_types = ["c7i.large"]
"#;

/// A configuration and its secrets in a folder.
struct Place {
    folder: TempDir,
    store: MemoryStore,
}

impl Place {
    fn with(config: &str, secrets: &[&str]) -> Place {
        let place = Place { folder: tempfile::tempdir().unwrap(), store: MemoryStore::default() };
        place.write("muster.toml", config);
        for name in secrets {
            place.write(name, name);
        }
        place
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    async fn start(&self, duty: Duty) -> Result<ConfigWatch, ConfigFileError> {
        let source = Source::File(self.folder.path().join("muster.toml"));
        ConfigWatch::start(source, SecretReader::default(), &self.store, duty).await
    }

    fn kept(&self) -> Option<String> {
        self.store.config().now_or_never().unwrap().unwrap()
    }

    fn keep(&self, text: &str) {
        self.store.put_config(text).now_or_never().unwrap().unwrap();
    }
}

impl ConfigWatch {
    fn believes(&self, secret: &str) -> bool {
        let signature = sign(secret.as_bytes(), b"body");
        self.secrets.check(SignatureHeader::Sha256(signature.as_bytes()), b"body").is_ok()
    }

    fn problem(&self) -> String {
        self.live.problem().map(|why| why.to_string()).unwrap_or_default()
    }

    /// A file counts once two looks have seen it.
    async fn look_twice(&mut self, place: &Place) {
        self.look(&place.store).await;
        self.look(&place.store).await;
    }
}

#[tokio::test]
async fn a_door_begins_with_one_secret_of_two_and_tries_the_other_again() {
    for there in ["one", "two"] {
        let missing = if there == "one" { "two" } else { "one" };
        let place = Place::with(CONFIG, &[there]);
        let mut watch = place.start(Duty::Door).await.expect("one secret is enough for a door");
        assert!(watch.believes(there) && !watch.believes(missing));
        assert!(watch.problem().contains(&format!("{missing}:")), "{}", watch.problem());
        watch.look(&place.store).await;
        assert!(watch.believes(there) && watch.problem().contains(missing), "{}", watch.problem());

        place.write(missing, missing);
        watch.look(&place.store).await;
        assert!(watch.believes(there) && watch.believes(missing));
        assert_eq!(watch.problem(), "", "all is well again");
        assert_eq!(place.kept(), None, "a door may not write the configuration, and does not try");
    }
}

#[tokio::test]
async fn without_any_secret_there_is_no_door() {
    let place = Place::with(CONFIG, &[]);
    for duty in [Duty::Door, Duty::Service] {
        let error = place.start(duty).await.map(|_| ()).expect_err("no delivery could be checked");
        assert!(error.to_string().contains("one:"), "{error}");
    }
}

#[tokio::test]
async fn whoever_checks_no_signatures_needs_no_secret() {
    for (duty, keeps) in [(Duty::Scaler, true), (Duty::Reader, false)] {
        let place = Place::with(CONFIG, &[]);
        let mut watch = place.start(duty).await.expect("it needs no webhook secret");
        watch.look(&place.store).await;
        assert_eq!(watch.problem(), "");
        assert_eq!(place.kept(), keeps.then(|| CONFIG.to_owned()), "{duty:?}");
        assert!(!watch.believes("one") && !watch.believes(""), "nothing is believed");
        // Nor for a new configuration.
        let more = CONFIG.replace("file:two", "file:three");
        place.write("muster.toml", &more);
        watch.look_twice(&place).await;
        assert_eq!(watch.live.snapshot().github.webhook_secrets.len(), 2);
        assert_eq!((watch.problem().as_str(), watch.seen == more), ("", true));
        assert_eq!(place.kept(), keeps.then_some(more), "{duty:?}");
    }
}

#[tokio::test]
async fn the_service_begins_with_half_of_the_secrets_only_when_it_begins_again() {
    let place = Place::with(CONFIG, &["one"]);
    let error = place.start(Duty::Service).await.map(|_| ()).expect_err("somebody has just written this");
    assert!(error.to_string().contains("two:"), "{error}");
    assert_eq!(place.kept(), None);
    place.keep(CONFIG);
    let watch = place.start(Duty::Service).await.expect("it was in force before");
    assert!(watch.believes("one") && watch.problem().contains("two:"), "{}", watch.problem());
}

#[tokio::test]
async fn a_function_begins_with_the_last_good_configuration_and_hears_of_the_end_of_the_trouble() {
    for duty in [Duty::Door, Duty::Scaler, Duty::Reader] {
        let place = Place::with("nonsense", &["one", "two"]);
        assert!(place.start(duty).await.is_err(), "there is nothing to begin with");
        place.keep(CONFIG);
        let mut watch = place.start(duty).await.expect("the last good one");
        assert!(watch.problem().contains("not valid"), "{}", watch.problem());
        if duty != Duty::Reader {
            watch.look_twice(&place).await;
            assert!(watch.problem().contains("not valid"), "it still is: {}", watch.problem());
        }
        // The very text that is in force: no change of configuration, and an end of the trouble.
        place.write("muster.toml", CONFIG);
        watch.look_twice(&place).await;
        assert_eq!(watch.problem(), "", "{duty:?}");
    }
}

#[tokio::test]
async fn a_service_with_a_bad_file_does_not_begin_with_what_it_remembers() {
    let place = Place::with("nonsense", &["one", "two"]);
    place.keep(CONFIG);
    assert!(matches!(place.start(Duty::Service).await.map(|_| ()), Err(ConfigFileError::Invalid(..))));
}

#[tokio::test]
async fn a_new_configuration_comes_into_force_at_a_door_with_one_of_its_secrets() {
    let place = Place::with(CONFIG, &["one", "two"]);
    let (mut door, mut service) = (place.start(Duty::Door).await.unwrap(), place.start(Duty::Service).await.unwrap());
    let more = CONFIG.replace("file:two", "file:three");
    place.write("muster.toml", &more);
    door.look_twice(&place).await;
    service.look_twice(&place).await;
    assert_eq!((door.seen == more, service.seen == more), (true, false));
    for watch in [&door, &service] {
        assert!(watch.believes("one") && watch.problem().contains("three:"), "{}", watch.problem());
    }
    assert!(service.believes("two") && !door.believes("two"));
    // None of them: what was good last stays.
    place.write("muster.toml", &CONFIG.replace("file:one", "file:four").replace("file:two", "file:five"));
    door.look_twice(&place).await;
    assert!(door.seen == more && door.believes("one"));
    assert!(door.problem().contains("four:"), "{}", door.problem());
}

/// What is told stays told, also when something else gets better.
#[tokio::test]
async fn a_new_configuration_does_not_hide_a_secret_that_cannot_be_read() {
    let place = Place::with(CONFIG, &["one"]);
    let mut watch = place.start(Duty::Door).await.unwrap();
    place.write("muster.toml", &CONFIG.replace("c7i.large", "c7a.large"));
    watch.look_twice(&place).await;
    assert!(watch.seen.contains("c7a.large"));
    assert!(watch.problem().contains("two:"), "{}", watch.problem());
}
