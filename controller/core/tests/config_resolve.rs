//! From labels to a class: who wins, who is refused and why.

use muster_core::config::{FleetConfig, RefusalKind, Resolution};
use muster_core::ids::{ClassId, PoolName};
use proptest::prelude::*;

/// Pools with all that makes resolution interesting, in an order that is not that of their priority.
const FLEET: &str = r#"
[github]
organization = "acme"
webhook_secrets = ["env:S"]
[[github.app]]
id = 1
private_key = "env:K"
[[pool]]
name = "linux"
os = "linux"
arch = "x64"
labels = ["self-hosted", "Linux", "x64"]
markets = ["on-demand", "spot", "spot-then-on-demand"]
default_market = "spot"
default_size = "cpu-2"
instance_type_labels = ["c7i.*", "c7g.*"]
repositories = ["acme/*", "friends/tool"]
[pool.sizes.cpu-8]
vcpus = 8
image = "big"
[pool.sizes.cpu-2]
instance_types = ["c7i.large"]
[[pool]]
name = "arm"
os = "linux"
arch = "arm64"
labels = ["self-hosted", "linux", "arm64"]
[pool.sizes.cpu-16]
instance_types = ["c7g.4xlarge"]
[[pool]]
name = "urgent"
os = "linux"
arch = "x64"
labels = ["self-hosted", "linux", "x64", "urgent"]
priority = 5
repositories = ["acme/deploy"]
serves_group_jobs = true
[pool.sizes.cpu-2]
instance_types = ["c7i.large"]
[[pool]]
name = "open"
os = "linux"
arch = "x64"
labels = ["ubuntu-latest", "sandbox"]
repositories = ["acme/site"]
public_repositories = true
[pool.sizes.small]
vcpus = 2
"#;

fn fleet() -> FleetConfig {
    FleetConfig::parse("muster.toml", FLEET).config.expect("the file is good")
}

fn outcome(labels: &str, repository: &str, public: bool) -> String {
    let labels: Vec<&str> = labels.split_whitespace().collect();
    match fleet().resolve(&labels, repository, public) {
        Resolution::Class(class) => class.id.to_string(),
        Resolution::Refused(refusal) => refusal.kind().to_owned(),
    }
}

#[test]
fn who_serves_what() {
    let table = [
        // Defaults: what is not named is the pool's default.
        ("self-hosted linux x64", "acme/api", false, "linux/cpu-2/spot"),
        ("linux x64 cpu-8", "acme/api", false, "linux/cpu-8/spot"),
        ("linux x64 on-demand", "acme/api", false, "linux/cpu-2/on-demand"),
        ("linux cpu-8 spot-then-on-demand x64", "acme/api", false, "linux/cpu-8/spot-then-on-demand"),
        ("cpu-16", "acme/api", false, "arm/cpu-16/on-demand"),
        // Case, order and repeats do not matter.
        ("X64 LINUX Self-Hosted CPU-8 Spot", "ACME/Api", false, "linux/cpu-8/spot"),
        ("linux linux x64 cpu-2 cpu-2 spot spot", "acme/api", false, "linux/cpu-2/spot"),
        // Priority before the order of the file, among pools open to the repository.
        ("self-hosted linux x64", "acme/deploy", false, "urgent/cpu-2/on-demand"),
        ("self-hosted linux x64 spot", "acme/deploy", false, "linux/cpu-2/spot"),
        ("self-hosted linux", "acme/api", false, "linux/cpu-2/spot"),
        ("linux x64", "friends/tool", false, "linux/cpu-2/spot"),
        // No labels: only where jobs of a group are served.
        ("", "acme/deploy", false, "urgent/cpu-2/on-demand"),
        ("", "acme/api", false, "no_labels"),
        // A pool may have one of GitHub's names among its own.
        ("ubuntu-latest", "acme/site", false, "open/small/on-demand"),
        ("ubuntu-latest", "acme/site", true, "open/small/on-demand"),
        ("ubuntu-latest", "acme/api", false, "github_hosted"),
        ("ubuntu-latest sandbox", "acme/site", true, "open/small/on-demand"),
        ("ubuntu-24.04-arm", "acme/api", false, "github_hosted"),
        ("macos-14-xlarge", "acme/api", false, "github_hosted"),
        ("Windows-2025", "acme/api", false, "github_hosted"),
        ("ubuntu-latest gpu", "acme/api", false, "no_pool"),
        ("ubuntu", "acme/api", false, "no_pool"),
        // Raw instance types, where a pattern and the architecture allow them.
        ("linux x64 c7i.4xlarge", "acme/api", false, "linux/c7i.4xlarge/spot"),
        ("linux x64 C7I.4XLARGE on-demand", "acme/api", false, "linux/c7i.4xlarge/on-demand"),
        ("linux x64 c7g.large", "acme/api", false, "instance_type_not_allowed"),
        ("linux x64 m7i.large", "acme/api", false, "instance_type_not_allowed"),
        ("linux x64 c7i.large c7i.xlarge", "acme/api", false, "instance_type_not_allowed"),
        ("linux x64 c7i.large cpu-2", "acme/api", false, "instance_type_not_allowed"),
        ("linux x64 c7i.large cpu-64", "acme/api", false, "size_not_allowed"),
        // Sizes.
        ("linux x64 cpu-64", "acme/api", false, "size_not_allowed"),
        ("linux x64 CPU-64", "acme/api", false, "size_not_allowed"),
        ("linux x64 cpu-16", "acme/api", false, "size_not_allowed"),
        ("linux x64 small", "acme/api", false, "size_not_allowed"),
        ("linux x64 cpu-2 cpu-8", "acme/api", false, "size_not_allowed"),
        ("linux x64 cpu-x", "acme/api", false, "no_pool"),
        ("linux x64 cpu-64 gpu", "acme/api", false, "no_pool"),
        // Markets.
        ("linux arm64 spot", "acme/api", false, "market_not_allowed"),
        ("linux arm64 Spot-Then-On-Demand", "acme/api", false, "market_not_allowed"),
        ("linux x64 spot on-demand", "acme/api", false, "market_not_allowed"),
        ("linux arm64 cpu-64 spot", "acme/api", false, "size_not_allowed"),
        // Repositories and visibility come first, and the refusal that got furthest is told.
        ("linux x64", "other/api", false, "repository_not_allowed"),
        ("linux x64", "acme", false, "repository_not_allowed"),
        ("ubuntu-latest", "other/api", false, "repository_not_allowed"),
        ("", "other/api", true, "repository_not_allowed"),
        ("linux x64", "acme/api", true, "public_repository"),
        ("", "acme/api", true, "public_repository"),
        ("linux x64", "acme/site", true, "no_pool"),
        ("linux arm64 x64", "acme/api", false, "no_pool"),
        ("urgent", "acme/api", false, "no_pool"),
    ];
    for (labels, repository, public, wanted) in table {
        assert_eq!(outcome(labels, repository, public), wanted, "{labels:?} from {repository}, public: {public}");
    }
}

#[test]
fn refusals_say_why() {
    let table = [
        ("linux", "other/api", false),
        ("linux", "acme/api", true),
        ("", "acme/api", false),
        ("ubuntu-latest", "acme/api", false),
        ("linux x46", "acme/api", false),
        ("linux arm64 x64", "acme/api", false),
        ("urgent", "acme/api", false),
        ("linux x64 cpu-64", "acme/api", false),
        ("linux x64 cpu-2 cpu-8", "acme/api", false),
        ("linux x64 m7i.large", "acme/api", false),
        ("linux x64 c7i.large cpu-2", "acme/api", false),
        ("linux arm64 spot", "acme/api", false),
        ("linux x64 spot on-demand", "acme/api", false),
    ];
    let mut shown = String::new();
    for (labels, repository, public) in table {
        let labels: Vec<&str> = labels.split_whitespace().collect();
        let resolution = fleet().resolve(&labels, repository, public);
        let refusal = resolution.refusal().unwrap();
        assert_eq!(refusal.to_string(), refusal.why());
        shown.push_str(&format!("{}: {refusal}\n", refusal.kind()));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_hostile_label_stays_short_and_printable() {
    let labels = vec!["\u{1b}[31m\n`".repeat(10_000); 1_000];
    let resolution = fleet().resolve(&labels, "acme/api", false);
    let why = resolution.refusal().unwrap().why();
    assert!(why.len() < 10_000 && !why.contains(char::is_control), "{} bytes", why.len());
}

#[test]
fn also_names_every_other_class_that_covers_the_job() {
    let also = |labels: &str, repository: &str| -> Vec<String> {
        let labels: Vec<&str> = labels.split_whitespace().collect();
        fleet().also(&labels, repository, false).iter().map(|class| class.id.to_string()).collect()
    };
    assert_eq!(also("linux x64 cpu-2 spot", "acme/api"), Vec::<String>::new());
    assert_eq!(also("linux x64 cpu-2", "acme/api"), ["linux/cpu-2/on-demand", "linux/cpu-2/spot-then-on-demand"]);
    assert_eq!(also("linux x64 spot", "acme/api"), ["linux/cpu-8/spot"]);
    assert_eq!(also("cpu-2 on-demand", "acme/deploy"), ["linux/cpu-2/on-demand"]);
    assert_eq!(also("linux x64 c7i.large spot", "acme/api"), Vec::<String>::new());
    assert_eq!(
        also("linux x64 c7i.large", "acme/api"),
        ["linux/c7i.large/on-demand", "linux/c7i.large/spot-then-on-demand"]
    );
    assert_eq!(also("linux", "acme/deploy").len(), 7);
    assert_eq!(also("gpu", "acme/api"), Vec::<String>::new());
}

#[test]
fn classes_come_in_the_order_of_the_file_and_are_found_by_id() {
    let fleet = fleet();
    let ids: Vec<&str> = fleet.classes().iter().map(|class| class.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "linux/cpu-8/on-demand",
            "linux/cpu-8/spot",
            "linux/cpu-8/spot-then-on-demand",
            "linux/cpu-2/on-demand",
            "linux/cpu-2/spot",
            "linux/cpu-2/spot-then-on-demand",
            "arm/cpu-16/on-demand",
            "urgent/cpu-2/on-demand",
            "open/small/on-demand",
        ]
    );
    for class in fleet.classes() {
        assert_eq!(fleet.class(&class.id).as_ref(), Some(class));
        class.shapes.iter().for_each(|shape| assert_eq!(fleet.shape(&shape.id).as_ref(), Some(shape)));
    }
    let labels: Vec<&str> = fleet.classes()[0].labels.iter().map(|label| &**label).collect();
    assert_eq!(labels, ["self-hosted", "Linux", "x64", "cpu-8", "on-demand"]);
    assert_eq!(fleet.pool(&PoolName::new("arm")).unwrap().sizes.len(), 1);
    assert!(fleet.pool(&PoolName::new("ARM")).is_none());
}

#[test]
fn raw_classes_are_made_when_asked_for() {
    let fleet = fleet();
    let id = ClassId::new("linux/c7i.4xlarge/spot-then-on-demand");
    let class = fleet.class(&id).unwrap();
    assert!(class.raw && class.id == id);
    assert_eq!(class.shapes.len(), 2);
    for shape in class.shapes.iter() {
        assert_eq!(fleet.shape(&shape.id).as_ref(), Some(shape));
    }
    for bad in [
        "linux/c7g.large/spot",
        "linux/m7i.large/spot",
        "linux/C7I.large/spot",
        "linux/cpu-64/spot",
        "arm/cpu-16/spot",
        "linux/c7i.large/cheap",
        "linux/c7i.large",
        "linux/c7i.large/spot/x",
        "none/c7i.large/spot",
        "",
    ] {
        assert!(fleet.class(&ClassId::new(bad)).is_none(), "{bad}");
    }
}

#[test]
fn pools_with_equal_hardware_share_a_shape() {
    let fleet = fleet();
    let shape = |id: &str| fleet.class(&ClassId::new(id)).unwrap().shapes[0].id.clone();
    assert_eq!(shape("linux/cpu-2/on-demand"), shape("urgent/cpu-2/on-demand"));
    assert_ne!(shape("linux/cpu-2/on-demand"), shape("linux/cpu-2/spot"));
    assert_eq!(shape("linux/cpu-2/spot"), shape("linux/cpu-2/spot-then-on-demand"));
    assert_eq!(shape("linux/cpu-2/spot").as_str(), "linux-x64-spot-c7i.large-86e3c790");
    let imageless = FleetConfig::parse("f", &FLEET.replace("image = \"big\"\n", "")).config.unwrap();
    let there = imageless.class(&ClassId::new("linux/cpu-8/spot")).unwrap();
    assert_ne!(there.shapes[0].id, shape("linux/cpu-8/spot"));
}

#[test]
fn prices_follow_the_market_and_the_dearer_pool_wins() {
    let priced = FLEET.replace(
        "instance_types = [\"c7i.large\"]\n[[pool]]\nname = \"arm\"",
        "instance_types = [\"c7i.large\"]\nusd_per_hour = { on-demand = 0.09, spot = 0.04, standby = 0.01 }\n\
         [[pool]]\nname = \"arm\"",
    );
    let dearer = priced.replace(
        "instance_types = [\"c7i.large\"]\n[[pool]]\nname = \"open\"",
        "instance_types = [\"c7i.large\"]\nusd_per_hour = { on-demand = 0.10 }\n[[pool]]\nname = \"open\"",
    );
    let fleet = FleetConfig::parse("f", &dearer).config.unwrap();
    let class = fleet.class(&ClassId::new("linux/cpu-2/spot-then-on-demand")).unwrap();
    let prices: Vec<_> = class.shapes.iter().map(|s| (s.usd_per_hour, s.standby_usd_per_hour)).collect();
    assert_eq!(prices, [(Some(0.04), None), (Some(0.10), Some(0.01))]);
}

#[test]
fn a_budget_prices_all_that_can_be_launched() {
    let text = r#"
        [github]
        organization = "acme"
        webhook_secrets = ["env:S"]
        [fleet]
        budget_usd_per_hour = 40.0
        [[pool]]
        name = "linux"
        os = "linux"
        arch = "x64"
        markets = ["spot", "on-demand"]
        default_market = "spot"
        default_size = "cpu-2"
        instance_type_labels = ["*"]
        [pool.sizes.cpu-2]
        instance_types = ["c7i.large"]
        usd_per_hour = { on-demand = 0.10 }
        [pool.sizes.cpu-8]
        vcpus = 8
        [pool.sizes.whole]
        instance_types = ["m7i.metal"]
        usd_per_hour = { on-demand = 5 }
    "#;
    let parsed = FleetConfig::parse("f", text);
    assert_eq!(parsed.errors, []);
    let guesses = parsed.warnings.iter().filter(|d| d.key.ends_with("usd_per_hour")).count();
    assert_eq!(guesses, 3);
    let fleet = parsed.config.unwrap();
    let price = |id: &str| fleet.class(&ClassId::new(id)).unwrap().shapes[0].usd_per_hour;
    assert_eq!(price("linux/cpu-2/spot"), Some(0.10));
    assert_eq!(price("linux/whole/spot"), Some(5.0));
    assert_eq!(price("linux/cpu-8/on-demand"), Some(0.40));
    assert_eq!(price("linux/cpu-8/spot"), Some(0.40));
    assert!((price("linux/c7i.24xlarge/on-demand").unwrap() - 4.80).abs() < 1e-9);
    let metal = fleet.resolve(&["c7i.metal"], "acme/api", false);
    assert_eq!(metal.refusal().unwrap().refusal_kind(), RefusalKind::InstanceTypeNotAllowed);
    assert!(metal.refusal().unwrap().why().contains("no price"), "{metal:?}");
}

fn words() -> impl Strategy<Value = Vec<String>> {
    let word = prop_oneof![
        8 => prop::sample::select(vec![
            "self-hosted", "linux", "Linux", "x64", "arm64", "urgent", "cpu-2", "CPU-8", "cpu-16", "cpu-64", "small",
            "spot", "on-demand", "spot-then-on-demand", "c7i.large", "C7i.2xlarge", "c7g.large", "m7i.large",
            "ubuntu-latest", "sandbox",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ];
    prop::collection::vec(word, 0..6)
}

proptest! {
    #[test]
    fn the_class_found_covers_the_job(labels in words(), deploy: bool, public: bool) {
        let fleet = fleet();
        let repository = if deploy { "acme/deploy" } else { "acme/site" };
        let also = fleet.also(&labels, repository, public);
        if let Resolution::Class(class) = fleet.resolve(&labels, repository, public) {
            let found = fleet.class(&class.id);
            prop_assert_eq!(found.as_ref(), Some(&class));
            prop_assert!(!also.iter().any(|other| other.id == class.id));
            for class in also.iter().chain([&class]) {
                for label in &labels {
                    let has = class.labels.iter().any(|own| own.to_lowercase() == label.to_lowercase());
                    prop_assert!(has, "{} does not have {}", class.id, label);
                }
            }
        } else {
            prop_assert!(also.is_empty());
        }
    }

    #[test]
    fn a_refused_job_is_covered_by_no_open_class(labels in words(), public: bool) {
        let fleet = fleet();
        if fleet.resolve(&labels, "acme/site", public).refusal().is_some() && !labels.is_empty() {
            for class in fleet.classes() {
                let pool = fleet.pool(&class.pool).unwrap();
                let open = pool.repositories.iter().any(|p| p.matches("acme/site"))
                    && (!public || pool.public_repositories);
                let has = |label: &String| class.labels.iter().any(|own| own.to_lowercase() == label.to_lowercase());
                prop_assert!(!(open && labels.iter().all(has)), "{} would serve {:?}", class.id, labels);
            }
        }
    }
}
