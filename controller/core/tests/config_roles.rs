//! Which role the instances of an account have, as `[aws]` says it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use muster_core::config::{FleetConfig, Parsed};

const FLEET: &str = r#"
[github]
organization = "acme"
webhook_secrets = ["env:S"]
[[github.app]]
id = 1
private_key = "env:K"
[fleet]
max_runners = 10
[[pool]]
name = "linux"
os = "linux"
arch = "x64"
labels = ["self-hosted", "linux"]
markets = ["on-demand"]
[pool.sizes.cpu-2]
instance_types = ["c7i.large"]
"#;

fn parse(aws: &str) -> Parsed {
    FleetConfig::parse("test.toml", &format!("{FLEET}\n[aws]\n{aws}"))
}

#[test]
fn a_role_is_named_by_its_arn_and_its_id() {
    let role = "arn:aws:iam::111122223333:role/fleets/runner";
    let parsed = parse(&format!("instance_role = \"{role}\"\ninstance_role_id = \"AROAEXAMPLE0RUNNER00\""));
    let home = parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.errors)).aws.home;
    assert_eq!(home.instance_role.as_deref(), Some(role));
    assert_eq!(home.instance_role_id.as_deref(), Some("AROAEXAMPLE0RUNNER00"));
}

#[test]
fn what_is_no_role_or_id_is_told_where_it_stands() {
    for (key, value) in [
        ("instance_role", "runner"),
        ("instance_role", "arn:aws:iam::111122223333:user/runner"),
        ("instance_role", "arn:aws:iam::111122223333:instance-profile/runner"),
        ("instance_role_id", "runner"),
        ("instance_role_id", "AIDAEXAMPLE0RUNNER00"),
        ("instance_role_id", "AROAexample0runner00"),
    ] {
        let errors = parse(&format!("{key} = \"{value}\"")).errors;
        let keys: Vec<&str> = errors.iter().map(|error| &*error.key).collect();
        assert_eq!(keys, [format!("aws.{key}")], "{value}");
        assert!(errors[0].remedy.contains("write it as"), "{:?}", errors[0]);
    }
}
