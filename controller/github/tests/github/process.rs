//! The adapter in processes of its own: the fake as a program, and the proxy of the environment.

use std::process::Command;

use muster_core::config::Owner;
use muster_core::ports::Github;
use muster_github::{Options, RestGithub};
use muster_tests::github::FakeGithub;

use crate::bench::{PATIENCE, organization, request, section};

const KEY: &str = "MUSTER_TEST_PROXY_KEY";

/// Run by the test below, with a proxy in its environment.
#[tokio::test]
#[ignore = "it needs the environment that another test gives it"]
async fn behind_a_proxy() {
    let setup = organization();
    let fake = FakeGithub::start(setup.clone());
    let mut section = section(&fake, Owner::Organization("acme".to_owned()), &setup.apps);
    section.api_url = "http://github.invalid".to_owned();
    let key = std::fs::read(std::env::var(KEY).unwrap()).unwrap();
    let github = RestGithub::new(&section, &[key], Options { patience: PATIENCE, ..Options::default() }).unwrap();
    github.mint(&request("proxied", "default")).await.unwrap();
}

#[test]
fn the_proxy_of_the_environment_is_used() {
    // A proxy is sent whole addresses: the fake is one whose every address is itself.
    let proxy = FakeGithub::start(organization());
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("app.pem");
    std::fs::write(&key, proxy.key(12345)).unwrap();
    let test = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "process::behind_a_proxy"])
        .env(KEY, &key)
        .env("HTTP_PROXY", format!("http://{}", proxy.address()))
        .env("http_proxy", format!("http://{}", proxy.address()))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    assert!(test.status.success(), "{}", String::from_utf8_lossy(&test.stdout));
    assert_eq!(proxy.world().runners()[0].name, "proxied");
}
