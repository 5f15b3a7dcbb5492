//! The doctor in front of a fake GitHub: a healthy set-up, and one misconfiguration after the other.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use muster_core::config::FleetConfig;
use muster_tests::github::{AppKey, FakeGithub, FakeHook, FakeLog, FakeOwner, FakeSetup, Fault, What};
use serde_json::json;
use tempfile::TempDir;

use super::*;

const APP: u64 = 12345;
const DOOR: &str = "https://muster.example";
const SECRET: &str = "planted-webhook-secret";

/// A fake GitHub, and a folder with a configuration for it.
struct Ward {
    fake: FakeGithub,
    folder: TempDir,
    text: String,
    asked: Asked,
}

const CONFIG: &str = r#"
[github]
organization = "acme"
api_url = "URL"
webhook_secrets = ["file:webhook.secret"]
[[github.app]]
id = 12345
private_key = "file:app.pem"
[fleet]
name = "test"
max_runners = 8
[[pool]]
name = "linux"
os = "linux"
arch = "x64"
labels = ["linux"]
runner_group = "Linux builders"
repositories = ["acme/*"]
[pool.sizes.small]
instance_types = ["c7i.large"]
"#;

impl Ward {
    /// All is well.
    fn healthy(setup: FakeSetup) -> Ward {
        let fake = FakeGithub::start(setup);
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("app.pem"), fake.key(APP)).unwrap();
        std::fs::write(folder.path().join("webhook.secret"), SECRET).unwrap();
        let text = CONFIG.replace("URL", fake.url());
        fake.world().deliver(FakeLog::App(APP), "workflow_job", json!({ "action": "queued" }), 202);
        Ward { fake, folder, text, asked: Asked { door: Some(DOOR.parse().unwrap()), redeliver: false } }
    }

    fn of_organization() -> Ward {
        Ward::healthy(FakeSetup::new(FakeOwner::Organization("acme".to_owned())))
    }

    fn of_repository() -> Ward {
        let mut ward = Ward::healthy(FakeSetup::new(FakeOwner::Repository("acme/api".to_owned())));
        ward.edit("organization = \"acme\"", "repository = \"acme/api\"");
        ward.edit("runner_group = \"Linux builders\"\n", "");
        ward.edit("\"acme/*\"", "\"acme/api\"");
        ward
    }

    fn edit(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "{from}");
        self.text = self.text.replace(from, to);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the doctor finds; nothing that is secret is in it.
    async fn found(&self) -> Vec<Finding> {
        let parsed = FleetConfig::parse("muster.toml", &self.text);
        let found = match &parsed.config {
            Some(config) => {
                examine("muster.toml", config, self.folder.path(), &SecretReader::default(), &self.asked).await
            }
            None => invalid(&parsed.errors),
        };
        let mut said = serde_json::to_string(&found).unwrap();
        said += &found.iter().map(ToString::to_string).collect::<String>();
        said += &format!("{found:?}");
        let keys = [self.fake.key(APP), std::fs::read(self.file("app.pem")).unwrap_or_default()];
        let keys =
            keys.iter().flat_map(|key| String::from_utf8_lossy(key).lines().map(str::to_owned).collect::<Vec<_>>());
        let long = keys.filter(|line| line.len() > 20);
        for secret in long.chain(self.fake.world().secrets().iter().cloned()).chain([SECRET.to_owned()]) {
            assert!(!said.contains(&secret), "{secret} in {said}");
        }
        for mark in ["planted", "eyJ", "ghs_", "PRIVATE KEY-----"] {
            assert!(!said.contains(mark), "{mark} in {said}");
        }
        for finding in &found {
            let (why, remedy) = (finding.why.is_some(), finding.remedy.is_some());
            let wanted = match finding.state {
                State::Ok => (false, false),
                State::NotOk => (true, true),
                State::NotChecked => (false, true),
            };
            assert_eq!((why, remedy), wanted, "{finding:?}");
        }
        found
    }

    /// What is not ok.
    async fn troubles(&self) -> Vec<Finding> {
        self.found().await.into_iter().filter(|finding| finding.state == State::NotOk).collect()
    }
}

/// Plants one misconfiguration, and says how it must be told: the check, words of what is wrong, words of the remedy.
type Plant = fn(&mut Ward) -> (Check, &'static [&'static str], &'static [&'static str]);

/// Each with its name. Every one of them is the only thing that is not ok.
const PLANTS: &[(&str, Plant)] = &[
    ("an error in the configuration", |ward| {
        ward.edit("max_runners = 8", "max_runnerz = 8");
        (Check::Config, &["fleet.max_runnerz"], &["max_runners"])
    }),
    ("a webhook secret that is not there", |ward| {
        std::fs::remove_file(ward.file("webhook.secret")).unwrap();
        (Check::Secret, &["webhook.secret", "cannot be read"], &["webhook_secrets"])
    }),
    ("a key file that is not there", |ward| {
        std::fs::remove_file(ward.file("app.pem")).unwrap();
        (Check::AppKey, &["app.pem"], &["Generate a private key", "file:app.pem"])
    }),
    ("a key file that is no key", |ward| {
        std::fs::write(ward.file("app.pem"), "planted").unwrap();
        (Check::AppKey, &["file:app.pem", "not an RSA key"], &["Generate a private key"])
    }),
    ("another App's key", |ward| {
        std::fs::write(ward.file("app.pem"), AppKey::fresh().pem()).unwrap();
        (Check::AppKey, &["does not take the key", "another key's"], &["App ID", "Generate a private key"])
    }),
    ("the id of another App", |ward| {
        ward.edit("id = 12345", "id = 54321");
        (Check::AppKey, &["54321", "Integration not found"], &["App ID goes into id"])
    }),
    ("an App that is installed elsewhere", |ward| {
        ward.edit("organization = \"acme\"", "organization = \"other\"");
        ward.edit("acme/*", "other/*");
        (Check::Installation, &["not installed on the organization other", "installed on acme"], &["Install App"])
    }),
    ("the id of another installation", |ward| {
        ward.edit("id = 12345", "id = 12345\ninstallation_id = 9");
        (Check::Installation, &["installation_id is 9", "701"], &["take installation_id out"])
    }),
    ("the id of another organization", |ward| {
        ward.edit("organization = \"acme\"", "organization = \"acme\"\norganization_id = 7");
        (Check::Installation, &["organization_id is 7", "has the id 99"], &["organization_id = 99"])
    }),
    ("an installation that is suspended", |ward| {
        ward.fake.world().suspend(APP, true);
        (Check::Installation, &["suspended since 2026"], &["unsuspend"])
    }),
    ("an App that does not ask for the permission for runners", |ward| {
        ward.fake.world().unrequest(APP, "organization_self_hosted_runners");
        ward.fake.world().refuse(APP, true);
        (Check::Permission, &["\"Self-hosted runners\": read and write"], &["Permissions & events", "Review request"])
    }),
    ("a permission for runners that was not accepted", |ward| {
        ward.fake.world().withhold(APP, "organization_self_hosted_runners", true);
        ward.fake.world().refuse(APP, true);
        (Check::Permission, &["has not accepted", "Self-hosted runners"], &["accept it", "Review request"])
    }),
    ("no permission to administer the repository", |ward| {
        *ward = Ward::of_repository();
        ward.fake.world().unrequest(APP, "administration");
        (Check::Permission, &["\"Administration\": read and write"], &["Permissions & events"])
    }),
    ("no permission to read actions", |ward| {
        ward.fake.world().unrequest(APP, "actions");
        (Check::Permission, &["\"Actions\": read-only"], &["Permissions & events"])
    }),
    ("no permission to run jobs again", |ward| {
        ward.edit("labels = [\"linux\"]", "labels = [\"linux\"]\nrerun_interrupted = 1");
        (Check::Permission, &["\"Actions\": read and write"], &["Permissions & events", "Review request"])
    }),
    ("workflow_job not subscribed", |ward| {
        ward.fake.world().set_events(APP, &["push"]);
        (Check::WebhookEvent, &["not subscribed to workflow_job"], &["Subscribe to events", "Workflow job"])
    }),
    ("no webhook", |ward| {
        ward.fake.world().remove_app_hook(APP);
        (Check::WebhookUrl, &["no webhook"], &["https://muster.example/webhook", "application/json"])
    }),
    ("a webhook that goes to another host", |ward| {
        ward.fake.world().app_hook(APP).url = "https://planted:planted@old.example/webhook?token=planted".to_owned();
        (Check::WebhookUrl, &["go to https://old.example/webhook,"], &["set the URL to https://muster.example/webhook"])
    }),
    ("a webhook that goes to another path", |ward| {
        ward.asked.door = None;
        ward.fake.world().app_hook(APP).url = "https://muster.example/hooks".to_owned();
        (
            Check::WebhookUrl,
            &["https://muster.example/hooks", "/webhook"],
            &["set the URL to https://YOUR-DOOR/webhook"],
        )
    }),
    ("a webhook in clear", |ward| {
        ward.asked.door = Some("http://muster.example:443".parse().unwrap());
        ward.fake.world().app_hook(APP).url = "http://muster.example:443/webhook".to_owned();
        (Check::WebhookUrl, &["not HTTPS"], &["set the URL"])
    }),
    ("a webhook that sends forms", |ward| {
        ward.fake.world().app_hook(APP).content_type = "form".to_owned();
        (Check::WebhookContentType, &["\"form\""], &["application/json"])
    }),
    ("a webhook without a check of certificates", |ward| {
        ward.fake.world().app_hook(APP).insecure_ssl = "1".to_owned();
        (Check::WebhookTls, &["does not check"], &["enable SSL verification"])
    }),
    ("another webhook secret, by the log", |ward| {
        ward.fake.world().deliver(FakeLog::App(APP), "workflow_job", json!({ "action": "queued" }), 401);
        (Check::WebhookSecret, &["latest delivery (workflow_job", "401"], &["set the secret", "webhook_secrets"])
    }),
    ("another webhook secret, by delivering again", |ward| {
        ward.asked.redeliver = true;
        ward.fake.world().set_receiver(Some(401));
        (Check::WebhookSecret, &["delivered again", "401"], &["set the secret", "webhook_secrets"])
    }),
    ("a door that is not reached", |ward| {
        ward.fake.world().fail_delivery(APP, json!({ "action": "queued" }));
        (Check::WebhookDelivery, &["failed (502)"], &["/healthz", "firewall"])
    }),
    ("repositories that were not chosen", |ward| {
        ward.fake.world().add_repository("acme/web", true);
        ward.fake.world().choose_repositories(APP, &["acme/web"]);
        ward.edit("acme/*", "acme/api");
        (Check::Repositories, &["not on acme/api"], &["Repository access"])
    }),
    ("a runner group that is not there", |ward| {
        ward.fake.world().remove_group("Linux builders");
        (Check::RunnerGroup, &["no such runner group"], &["make it", "runner_group of pool linux"])
    }),
    ("a runner group without repositories", |ward| {
        ward.fake.world().group("Linux builders").unwrap().visibility = "selected".to_owned();
        (Check::RunnerGroup, &["no repository at all", "acme/*"], &["Runner groups", "give it access"])
    }),
    ("a runner group without one of the repositories", |ward| {
        ward.edit("\"acme/*\"", "\"acme/api\", \"acme/web\"");
        let mut world = ward.fake.world();
        world.add_repository("acme/api", true);
        let group = world.group("Linux builders").unwrap();
        (group.visibility, group.repositories) = ("selected".to_owned(), vec!["acme/api".to_owned()]);
        (Check::RunnerGroup, &["not to acme/web of pool linux"], &["give it access"])
    }),
    ("a runner group that hides public repositories", |ward| {
        ward.edit("repositories = [\"acme/*\"]", "repositories = [\"acme/*\"]\npublic_repositories = true");
        (Check::RunnerGroup, &["closed to public repositories"], &["allow public repositories"])
    }),
    ("a runner group that lets public repositories in", |ward| {
        ward.fake.world().group("Linux builders").unwrap().public = true;
        (Check::RunnerGroup, &["open to public repositories"], &["do not allow public repositories"])
    }),
    ("a runner group for no workflow", |ward| {
        ward.fake.world().group("Linux builders").unwrap().workflows = Some(Vec::new());
        (Check::RunnerGroup, &["restricted to selected workflows"], &["select workflows"])
    }),
    ("a runner group of a repository", |ward| {
        *ward = Ward::of_repository();
        ward.edit("labels = [\"linux\"]", "labels = [\"linux\"]\nrunner_group = \"builders\"");
        (Check::RunnerGroup, &["have no groups"], &["runner_group = \"default\""])
    }),
    ("an hour that is nearly used up", |ward| {
        ward.fake.world().spend(APP, 4_600);
        (Check::RateLimit, &["400 of 5000", "left of the hour"], &["what else uses this App"])
    }),
    ("a runner release that GitHub takes no more", |ward| {
        let mut world = ward.fake.world();
        for (n, release) in [(1, "2.336.0"), (2, "2.300.0")] {
            let name = format!("linux-i-0000000{n}-abcdef");
            world.register(&name, vec!["linux".to_owned()], 1, "_work").unwrap();
            world.runner(&name).unwrap().version = Some(release.to_owned());
        }
        world.register("build-box", vec!["linux".to_owned()], 1, "_work").unwrap();
        world.runner("build-box").unwrap().version = Some("2.200.0".to_owned());
        world.end_release("2.200.0", None, Some("2025-01-01T00:00:00Z"));
        world.end_release("2.300.0", Some("2025-06-01T00:00:00Z"), None);
        (Check::RunnerVersion, &["2.300.0", "no more since 2025-06-01", "2.336.0"], &["new image", "2.336.0"])
    }),
    ("a clock that is wrong", |ward| {
        ward.fake.world().advance(Duration::from_secs(90));
        (Check::Clock, &["s behind GitHub's"], &["NTP"])
    }),
];

#[tokio::test]
async fn each_planted_misconfiguration_is_named_alone_and_with_its_remedy() {
    let mut missed = Vec::new();
    for (name, plant) in PLANTS {
        let mut ward = Ward::of_organization();
        let (check, what, remedy) = plant(&mut ward);
        let troubles = ward.troubles().await;
        let named = |found: &Finding| {
            let told = found.remedy.as_deref().unwrap_or_default();
            found.check == check
                && what.iter().all(|word| found.what.contains(word))
                && remedy.iter().all(|word| told.contains(word))
        };
        if troubles.len() != 1 || !troubles.iter().all(named) {
            missed.push(format!("{name}: {troubles:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    let names: BTreeSet<_> = PLANTS.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), PLANTS.len());
}

/// What is looked at, in this order.
const ALL: [Check; 17] = [
    Check::Config,
    Check::Secret,
    Check::Clock,
    Check::AppKey,
    Check::Installation,
    Check::WebhookEvent,
    Check::WebhookUrl,
    Check::WebhookContentType,
    Check::WebhookTls,
    Check::WebhookDelivery,
    Check::WebhookSecret,
    Check::Permission,
    Check::Permission,
    Check::RateLimit,
    Check::Repositories,
    Check::RunnerGroup,
    Check::RunnerVersion,
];

#[tokio::test]
async fn a_healthy_set_up_is_ok_in_every_line() {
    for mut ward in [Ward::of_organization(), Ward::of_repository()] {
        for redeliver in [false, true] {
            ward.asked.redeliver = redeliver;
            let found = ward.found().await;
            for finding in &found {
                assert_eq!(finding.state, State::Ok, "{finding}");
            }
            let checks: Vec<Check> = found.iter().map(|finding| finding.check).collect();
            assert_eq!(checks, ALL);
            let posts =
                ward.fake.seen().into_iter().filter(|seen| seen.starts_with("POST") && seen.contains("attempts"));
            assert_eq!(posts.count(), usize::from(redeliver), "it writes only what it was asked for");
        }
        assert_eq!(ward.fake.world().limits_hit(), 0);
    }
}

/// Whether this is told of that check, in that state.
fn told(found: &[Finding], check: Check, state: State, what: &str) -> bool {
    found.iter().any(|finding| finding.check == check && finding.state == state && finding.what.contains(what))
}

#[tokio::test]
async fn a_github_that_does_not_answer_is_told_once_and_not_asked_again() {
    let ward = Ward::of_organization();
    ward.fake.fail(Fault::on("GET", "/app", What::LostBefore));
    let troubles = ward.troubles().await;
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert!(told(&troubles, Check::Github, State::NotOk, "the connection was lost"), "{troubles:?}");
    assert_eq!(ward.fake.seen(), ["GET /app"]);
    let mut ward = Ward::of_organization();
    let url = ward.fake.url().to_owned();
    ward.edit(&url, "http://127.0.0.1:9");
    let troubles = ward.troubles().await;
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert!(told(&troubles, Check::Github, State::NotOk, "http://127.0.0.1:9: "), "{troubles:?}");
}

#[tokio::test]
async fn an_answer_that_is_lost_later_is_not_ok_and_hides_nothing_else() {
    for (path, check) in [
        ("/installation", Check::Installation),
        ("/app/hook/config", Check::WebhookUrl),
        ("/rate_limit", Check::RateLimit),
        ("/actions/runner-groups", Check::RunnerGroup),
    ] {
        let ward = Ward::of_organization();
        ward.fake.fail(Fault::on("GET", path, What::LostAfter));
        let troubles = ward.troubles().await;
        assert_eq!(troubles.len(), 1, "{path}: {troubles:?}");
        assert!(told(&troubles, check, State::NotOk, "lost"), "{path}: {troubles:?}");
        let asked = ward.fake.seen().into_iter().filter(|seen| seen.contains(path)).count();
        assert_eq!(asked, 1, "{path}");
    }
}

#[tokio::test]
async fn a_clock_that_keeps_the_app_out_is_what_is_told() {
    let ward = Ward::of_organization();
    ward.fake.world().advance(Duration::from_secs(300));
    ward.fake.fail(Fault::status("GET", "/app", 401, "'Issued at' claim ('iat') must be an Integer in the past"));
    let found = ward.found().await;
    assert!(told(&found, Check::Clock, State::NotOk, "behind GitHub's"), "{found:?}");
    assert!(told(&found, Check::AppKey, State::NotChecked, "clock"), "{found:?}");
    assert_eq!(found.iter().filter(|finding| finding.state == State::NotOk).count(), 1);
}

#[tokio::test]
async fn what_is_the_same_for_two_apps_is_told_once() {
    let mut setup = FakeSetup::new(FakeOwner::Organization("acme".to_owned()));
    setup.apps = vec![APP, 2];
    let mut ward = Ward::healthy(setup);
    std::fs::write(ward.file("two.pem"), ward.fake.key(2)).unwrap();
    ward.edit("[fleet]", "[[github.app]]\nid = 2\nprivate_key = \"file:two.pem\"\n[fleet]");
    ward.fake.world().suspend(2, true);
    let found = ward.found().await;
    let count = |check| found.iter().filter(|finding| finding.check == check).count();
    assert_eq!((count(Check::Clock), count(Check::AppKey), count(Check::Installation)), (1, 2, 2), "{found:?}");
    let bad: Vec<_> = found.iter().filter(|finding| finding.state == State::NotOk).collect();
    assert!(bad.len() == 1 && bad[0].about == "App 2", "{bad:?}");
    assert!(told(&found, Check::WebhookSecret, State::NotChecked, "nothing was delivered"), "of the second App");
}

#[tokio::test]
async fn of_an_owners_webhooks_those_that_lead_to_the_door_are_judged() {
    let mut ward = Ward::of_organization();
    ward.edit("api_url", "hook = \"owner\"\napi_url");
    let troubles = ward.troubles().await;
    assert!(told(&troubles, Check::WebhookUrl, State::NotOk, "none of 0 webhooks"), "{troubles:?}");
    // Somebody else's, which sends forms.
    let other = ward.fake.world().add_hook(&["workflow_job"], true);
    *ward.fake.world().hook(other).unwrap() =
        FakeHook { url: "https://ci.example/hook".to_owned(), content_type: "form".to_owned(), ..FakeHook::default() };
    let troubles = ward.troubles().await;
    assert!(told(&troubles, Check::WebhookUrl, State::NotOk, "none of 1 webhooks leads to"), "{troubles:?}");
    let ours = ward.fake.world().add_hook(&["workflow_job"], true);
    ward.fake.world().deliver(FakeLog::Hook(ours), "workflow_job", json!({ "action": "queued" }), 202);
    assert_eq!(ward.troubles().await, []);
    ward.asked.redeliver = true;
    assert_eq!(ward.troubles().await, [], "its log is judged: Muster may not write there");
    assert!(ward.fake.seen().iter().all(|seen| !seen.contains("attempts")));
    // Without the door's address nobody knows which one is meant.
    ward.asked.door = None;
    let found = ward.found().await;
    assert!(told(&found, Check::WebhookUrl, State::NotChecked, "2 webhooks are subscribed"), "{found:?}");
    // One that leads to the door and tells of nothing.
    ward.asked.door = Some(DOOR.parse().unwrap());
    let mut again = Ward::of_organization();
    again.edit("api_url", "hook = \"owner\"\napi_url");
    again.fake.world().add_hook(&["push"], true);
    let troubles = again.troubles().await;
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert!(told(&troubles, Check::WebhookEvent, State::NotOk, "not subscribed"), "{troubles:?}");
    // And the permission to read its log.
    ward.fake.world().unrequest(APP, "organization_hooks");
    assert!(told(&ward.troubles().await, Check::Permission, State::NotOk, "\"Webhooks\": read-only"));
}

#[tokio::test]
async fn with_nothing_left_of_the_hour_the_rest_is_not_checked() {
    let mut ward = Ward::of_organization();
    ward.fake.world().spend(APP, 5_000);
    ward.edit("api_url", "hook = \"owner\"\napi_url");
    let found = ward.found().await;
    assert!(told(&found, Check::RateLimit, State::NotOk, "0 of 5000"), "{found:?}");
    for check in [Check::RunnerGroup, Check::WebhookUrl] {
        assert!(told(&found, check, State::NotChecked, "too little is left"), "{found:?}");
    }
    assert_eq!(found.iter().filter(|finding| finding.state == State::NotOk).count(), 1);
}

#[tokio::test]
async fn an_enterprise_is_looked_at_as_far_as_github_tells() {
    let mut ward = Ward::healthy(FakeSetup::new(FakeOwner::Enterprise("acme".to_owned())));
    ward.edit("organization = \"acme\"", "enterprise = \"acme\"");
    let found = ward.found().await;
    for finding in &found {
        assert_eq!(finding.state, State::Ok, "{finding}");
    }
    ward.fake.world().remove_group("Linux builders");
    assert!(told(
        &ward.troubles().await,
        Check::RunnerGroup,
        State::NotOk,
        "no such runner group in the enterprise acme"
    ));
}
