//! The `[aws]` section: places, accounts, and what an account means for shapes.

use muster_core::config::{Arch, FleetConfig, Os};

const BASE: &str = r#"
[github]
organization = "acme"
webhook_secrets = ["env:S"]
[[github.app]]
id = 1
private_key = "env:K"
[aws]
region = "eu-central-1"
subnets = ["subnet-0123456789abcdef0", "subnet-01234567"]
images = { linux-x64 = "ami-0123456789abcdef0", linux-arm64 = "ssm:/muster/images/arm" }
root_gib = 40
root_initialization_mibps = 200
[[aws.account]]
name = "build"
role = "arn:aws:iam::123456789012:role/muster/fleet"
external_id = "acme-muster"
subnets = ["subnet-89abcdef"]
security_groups = ["sg-89abcdef"]
instance_profile = "arn:aws-cn:iam::123456789012:instance-profile/muster-runner"
[[pool]]
name = "here"
os = "linux"
arch = "x64"
[pool.sizes.cpu-2]
instance_types = ["c7i.large"]
[[pool]]
name = "there"
os = "linux"
arch = "x64"
labels = ["self-hosted", "there"]
account = "build"
[pool.sizes.cpu-2]
instance_types = ["c7i.large"]
"#;

fn parse(text: &str) -> FleetConfig {
    let parsed = FleetConfig::parse("muster.toml", text);
    assert_eq!(parsed.errors, []);
    parsed.config.unwrap_or_else(|| panic!("no configuration"))
}

#[test]
fn places_and_accounts_are_read() {
    let aws = parse(BASE).aws;
    assert_eq!(aws.region.as_deref(), Some("eu-central-1"));
    assert_eq!(aws.home.subnets, ["subnet-0123456789abcdef0", "subnet-01234567"]);
    assert_eq!((aws.home.root_gib, aws.home.root_initialization_mibps), (Some(40), Some(200)));
    assert_eq!(&*aws.home.images[&(Os::Linux, Arch::Arm64)], "ssm:/muster/images/arm");
    assert_eq!(aws.home.instance_profile, None);
    let account = &aws.accounts["build"];
    assert_eq!(account.role, "arn:aws:iam::123456789012:role/muster/fleet");
    assert_eq!(account.external_id.as_deref(), Some("acme-muster"));
    assert_eq!(account.place.security_groups, ["sg-89abcdef"]);
}

#[test]
fn equal_hardware_in_two_accounts_is_two_shapes() {
    let config = parse(BASE);
    let shapes: Vec<_> = config.shapes().map(|shape| (shape.id.clone(), shape.account.clone())).collect();
    assert_eq!(shapes.len(), 2);
    assert_ne!(shapes[0].0, shapes[1].0);
    let accounts: std::collections::BTreeSet<_> = shapes.iter().map(|(_, account)| account.as_deref()).collect();
    assert_eq!(accounts, [None, Some("build")].into());
}

/// Groups in AWS are named by it.
#[test]
fn a_pool_without_an_account_keeps_the_shape_that_it_had_before_there_were_accounts() {
    let without = BASE.replace("account = \"build\"", "");
    let shapes: Vec<_> = parse(&without).shapes().map(|shape| shape.id.clone()).collect();
    assert_eq!(shapes.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["linux-x64-on-demand-c7i.large-6d66f24b"]);
}
