//! The example that ships, the label sets of a trace, and texts that are hardly a configuration.

use std::time::Duration;

use muster_core::config::{Arch, Bounds, FleetConfig, Hook, Market, MarketPolicy, Os, Owner, RunnerOptions};
use muster_core::ids::ClassId;
use muster_core::time::Timestamp;
use proptest::prelude::*;

const EXAMPLE: &str = include_str!("../../../muster.example.toml");
const AUTHORITY: &str = include_str!("../../../tests/configs/authority.pem");

/// The label sets of the trace that ships, with the class that serves each under the example.
const SETS: [(&str, &str); 6] = [
    ("self-hosted linux x64 cpu-2 spot", "linux/cpu-2/spot"),
    ("self-hosted linux x64 cpu-2 on-demand", "linux/cpu-2/on-demand"),
    ("self-hosted linux arm64 cpu-2 spot", "linux-arm/cpu-2/spot"),
    ("self-hosted windows x64", "windows/cpu-2/on-demand"),
    ("self-hosted macos arm64", "macos/m2/on-demand"),
    ("self-hosted linux x64 cpu-16 spot", "linux/cpu-16/spot"),
];

fn sets() -> Vec<Vec<String>> {
    SETS.iter().map(|(set, _)| set.split(' ').map(str::to_owned).collect()).collect()
}

#[test]
fn the_example_serves_the_trace() {
    let parsed = FleetConfig::parse("muster.example.toml", EXAMPLE);
    assert_eq!(parsed.errors, []);
    // The cost of a dedicated host is the one thing an admin is to be told.
    assert_eq!(parsed.warnings.iter().map(|d| d.key.as_str()).collect::<Vec<_>>(), ["pool[3].os"]);
    let fleet = parsed.config.unwrap();
    for ((_, class), set) in SETS.iter().zip(sets()) {
        let resolution = fleet.resolve(&set, "acme/api", false);
        assert_eq!(resolution.class().map(|class| class.id.as_str()), Some(*class), "{resolution:?}");
    }
    assert_eq!(fleet.github.owner, Owner::Organization("acme".to_owned()));
    assert_eq!(fleet.github.hook, Hook::App);
    let theirs = FleetConfig::parse("f", &EXAMPLE.replace("# hook = \"app\"", "hook = \"owner\""));
    assert_eq!(theirs.config.unwrap().github.hook, Hook::Owner);
    let target = fleet.fleet.queue_time_target.unwrap();
    assert_eq!((target.percentile, target.within), (95, Duration::from_secs(15)));
    assert_eq!(target.to_string(), "p95 < 15s");
}

/// The first file that the documentation ever showed. One size has no price, and there is a budget.
#[test]
fn a_typical_first_file_is_good() {
    let text = r#"
        [github]
        organization = "acme"
        api_url = "https://api.github.com"
        webhook_secrets = ["env:MUSTER_WEBHOOK_SECRET"]
        [[github.app]]
        id = 12345
        private_key = "file:app.pem"
        [fleet]
        name = "acme"
        max_runners = 200
        budget_usd_per_hour = 40.0
        queue_time_target = "p95 < 15s"
        time_zone = "Europe/Berlin"
        [[pool]]
        name = "linux"
        os = "linux"
        arch = "x64"
        labels = ["self-hosted", "linux", "x64"]
        runner_group = "default"
        repositories = ["acme/*"]
        public_repositories = false
        priority = 0
        default_size = "cpu-2"
        default_market = "spot"
        markets = ["spot", "on-demand", "spot-then-on-demand"]
        instance_type_labels = []
        idle = { min = 0, max = 20 }
        standby = { min = 0, max = 0, state = "stopped" }
        max_runners = 100
        max_job_hours = 6
        serves_group_jobs = false
        [pool.sizes.cpu-2]
        instance_types = ["c7i.large", "c7a.large", "m7i.large"]
        usd_per_hour = { on-demand = 0.09, spot = 0.035, standby = 0.004 }
        [pool.sizes.cpu-8]
        vcpus = 8
        memory_gib = 16
        [[pool.schedule]]
        when = "mon-fri 07:00-19:00"
        idle = { min = 4 }
    "#;
    let parsed = FleetConfig::parse("muster.toml", text);
    assert_eq!(parsed.errors, []);
    let keys: Vec<&str> = parsed.warnings.iter().map(|d| d.key.as_str()).collect();
    assert_eq!(keys, ["pool[0].sizes.cpu-8.usd_per_hour"]);
    let fleet = parsed.config.unwrap();
    let price = |id| fleet.class(&ClassId::new(id)).unwrap().shapes[0].usd_per_hour.unwrap();
    assert!((price("linux/cpu-8/on-demand") - 0.36).abs() < 1e-9);
    assert!((price("linux/cpu-8/spot") - 0.14).abs() < 1e-9);
}

#[test]
fn the_example_has_room_for_a_burst_of_300_machines() {
    let fleet = FleetConfig::parse("f", EXAMPLE).config.unwrap();
    let dearest = fleet.class(&ClassId::new("linux/cpu-16/spot")).unwrap().shapes[0].usd_per_hour.unwrap();
    assert!(fleet.fleet.max_runners.unwrap() >= 300);
    assert!(fleet.fleet.budget_usd_per_hour.unwrap() >= 300.0 * dearest);
    assert!(fleet.pools()[0].max_runners.unwrap() >= 300);
}

/// The example names every key there is: a key that is not in it would be unknown to newcomers.
#[test]
fn the_example_names_every_key() {
    let probe = EXAMPLE
        .replace("[fleet]\n", "[fleet]\nx = 1\n")
        .replace("[metrics]\n", "[metrics]\nx = 1\n")
        .replace("# [logs]\n# bucket", "[logs]\nxxxx = 1\nbucket")
        .replace("# [pool.runner]\n", "[pool.runner]\nxxxx = 1\n")
        .replace("[github]\n", "x = 1\n[github]\nx = 1\n")
        .replace("[[github.app]]\n", "[[github.app]]\nxxxx = 1\n")
        .replace("[[pool]]\n", "[[pool]]\nxxxxxx = 1\n")
        .replace("[pool.sizes.cpu-8]\n", "[pool.sizes.cpu-8]\nxxxx = 1\n")
        .replace("[[pool.schedule]]\n", "[[pool.schedule]]\nxxxx = 1\n");
    let errors = FleetConfig::parse("f", &probe).errors;
    assert_eq!(errors.len(), 13, "{errors:#?}");
    let mut names = 0;
    for remedy in errors.iter().filter_map(|d| d.remedy.split_once("keys here: ")).map(|(_, keys)| keys) {
        for name in remedy.split(", ").map(|name| name.split(' ').next().unwrap_or(name).trim_matches('`')) {
            assert!(
                EXAMPLE.contains(&format!("{name} = "))
                    || EXAMPLE.contains(&format!("[{name}]"))
                    || EXAMPLE.contains(&format!(".{name}")),
                "{name} is not in the example"
            );
            names += 1;
        }
    }
    assert!(names > 50, "{names}");
}

#[test]
fn logs_are_kept_if_there_is_a_section() {
    let said = |text: &str| FleetConfig::parse("f", &format!("{EXAMPLE}\n{text}")).config.unwrap().logs;
    assert_eq!(said(""), None);
    let kept = said("[logs]\nbucket = \"acme-runner-logs\"").unwrap();
    assert_eq!(
        (kept.bucket.as_str(), kept.prefix.as_str(), kept.bytes_max),
        ("acme-runner-logs", "runner-logs", 4 << 20)
    );
    let kept = said("[logs]\nbucket = \"b.1\"\nprefix = \"acme/ci_logs.1\"\nmax_mib = 16").unwrap();
    assert_eq!((kept.bucket.as_str(), kept.prefix.as_str(), kept.bytes_max), ("b.1", "acme/ci_logs.1", 16 << 20));
}

#[test]
fn a_trace_makes_one_class_per_set_with_exactly_its_labels() {
    let sets = sets();
    let fleet = FleetConfig::for_label_sets(&sets);
    assert_eq!(fleet.classes().len(), 6);
    let now = Timestamp::EPOCH;
    for set in &sets {
        let class = fleet.resolve(set, "any/thing", true).class().unwrap().clone();
        assert_eq!(class.labels.iter().map(|label| label.to_string()).collect::<Vec<_>>(), *set);
        assert_eq!(fleet.idle_bounds(&class.id, now), Bounds::ANY);
        assert_eq!(fleet.class(&class.id), Some(class.clone()));
        assert!(fleet.also(set, "any/thing", false).is_empty());
    }
    assert!(fleet.fleet.max_runners.is_none() && fleet.fleet.budget_usd_per_hour.is_none());
    assert_eq!(fleet.bounds_at(now).standby_shapes().count(), 0);
}

#[test]
fn a_trace_is_priced_by_its_labels() {
    let table = [
        ("self-hosted linux x64 cpu-2 spot", Os::Linux, Arch::X64, MarketPolicy::Spot, 0.035),
        ("self-hosted linux x64 cpu-2 on-demand", Os::Linux, Arch::X64, MarketPolicy::OnDemand, 0.09),
        ("linux arm64 CPU-8 Spot", Os::Linux, Arch::Arm64, MarketPolicy::Spot, 0.14),
        ("linux cpu-16 spot-then-on-demand", Os::Linux, Arch::X64, MarketPolicy::SpotThenOnDemand, 0.28),
        ("linux cpu-32", Os::Linux, Arch::X64, MarketPolicy::OnDemand, 1.44),
        ("gpu", Os::Linux, Arch::X64, MarketPolicy::OnDemand, 0.09),
        ("self-hosted windows x64", Os::Windows, Arch::X64, MarketPolicy::OnDemand, 0.18),
        ("windows spot", Os::Windows, Arch::X64, MarketPolicy::Spot, 0.07),
        ("windows cpu-8", Os::Windows, Arch::X64, MarketPolicy::OnDemand, 0.72),
        ("self-hosted macos arm64", Os::Macos, Arch::Arm64, MarketPolicy::OnDemand, 1.10),
        ("macos spot", Os::Macos, Arch::Arm64, MarketPolicy::OnDemand, 1.10),
        ("cpu-99999999999 cpu-0", Os::Linux, Arch::X64, MarketPolicy::OnDemand, 0.09),
    ];
    let sets: Vec<Vec<String>> = table.iter().map(|row| row.0.split(' ').map(str::to_owned).collect()).collect();
    let fleet = FleetConfig::for_label_sets(&sets);
    for ((labels, os, arch, market, price), set) in table.into_iter().zip(&sets) {
        let class = fleet.resolve(set, "a/b", false).class().unwrap().clone();
        let shape = &class.shapes[0];
        assert_eq!((shape.os, shape.arch, class.market), (os, arch, market), "{labels}");
        assert!((shape.usd_per_hour.unwrap() - price).abs() < 1e-9, "{labels}: {:?}", shape.usd_per_hour);
        assert_eq!(shape.standby_usd_per_hour.is_some(), shape.market == Market::OnDemand && os != Os::Macos);
    }
}

#[test]
fn a_trace_of_odd_sets_is_served_too() {
    let set = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>();
    let sets = [
        set(&["a", "b"]),
        set(&["B", "a", "b"]),
        set(&["a"]),
        set(&[]),
        set(&["self-hosted"]),
        set(&["a b"]),
        set(&["a-b"]),
        set(&["é"]),
    ];
    let fleet = FleetConfig::for_label_sets(&sets);
    let ids: Vec<&str> = fleet.classes().iter().map(|class| class.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "a/cpu-2/on-demand",
            "any/cpu-2/on-demand",
            "a-b/cpu-2/on-demand",
            "a-b-2/cpu-2/on-demand",
            "-/cpu-2/on-demand",
            "any-2/cpu-2/on-demand",
            "a-b-3/cpu-2/on-demand",
        ]
    );
    for set in &sets {
        let class = fleet.resolve(set, "a/b", false).class().unwrap().clone();
        let lower: std::collections::BTreeSet<String> = set.iter().map(|label| label.to_lowercase()).collect();
        assert_eq!(class.labels.len(), lower.len().max(1), "{set:?} is served by {}", class.id);
    }
    // A job without labels has a class of its own, whose runners have a label: GitHub registers none without.
    let groups = fleet.resolve::<&str>(&[], "a/b", false).class().unwrap().clone();
    assert_eq!((groups.id.as_str(), &*groups.labels), ("any-2/cpu-2/on-demand", &["self-hosted".into()][..]));
}

#[test]
fn a_pool_that_is_open_to_a_repository_is_open_to_its_copies() {
    let named = EXAMPLE.replacen("repositories = [\"acme/*\"]", "repositories = [\"acme/api\", \"acme/w*\"]", 1);
    let parsed = FleetConfig::parse("f", &named);
    assert_eq!(parsed.errors, []);
    let fleet = parsed.config.unwrap();
    let serves = |fleet: &FleetConfig, repository: &str| {
        fleet.resolve(&["self-hosted", "linux", "x64"], repository, false).class().is_some()
    };
    assert!(serves(&fleet, "acme/api") && !serves(&fleet, "acme/api-2"));
    let opened = fleet.open_to_copies(3);
    for repository in ["acme/api", "acme/api-2", "acme/api-3", "acme/web", "acme/web-3"] {
        assert!(serves(&opened, repository), "{repository}");
    }
    for repository in ["acme/api-4", "acme/apis", "acme/other", "acme/other-2"] {
        assert!(!serves(&opened, repository), "{repository}");
    }
}

proptest! {
    /// The example with a piece cut out, doubled, moved or replaced.
    #[test]
    fn fuzz_no_mutation_of_the_example_panics(
        cuts in prop::collection::vec((0_usize..8_000, 0_usize..60, 0_usize..8_000, "[\\[\\]{}=\",.#'a-z0-9\n -]{0,6}"), 1..4),
    ) {
        let mut chars: Vec<char> = EXAMPLE.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n").chars().collect();
        for (at, length, to, insert) in cuts {
            let start = at % chars.len();
            let end = (start + length).min(chars.len());
            let piece: Vec<char> = chars.drain(start..end).collect();
            let to = to % (chars.len() + 1);
            let moved = if length % 2 == 0 { piece } else { insert.chars().collect() };
            chars.splice(to..to, moved);
        }
        let text: String = chars.into_iter().collect();
        let parsed = FleetConfig::parse("f", &text);
        prop_assert_eq!(parsed.config.is_some(), parsed.errors.is_empty());
        let lines = u32::try_from(text.lines().count()).unwrap() + 1;
        for told in parsed.errors.iter().chain(&parsed.warnings) {
            prop_assert!((1..=lines).contains(&told.line) && !told.message.is_empty() && !told.remedy.is_empty());
        }
        if let Some(fleet) = parsed.config {
            fleet.bounds_at(Timestamp::EPOCH);
            fleet.resolve(&["linux", "c7i.large"], "acme/api", false);
        }
    }

    #[test]
    fn no_text_panics(text in "(\\PC|\n|[\\[\\]{}=\"']){0,200}") {
        FleetConfig::parse("f", &text);
    }

    #[test]
    fn no_trace_panics(sets in prop::collection::vec(prop::collection::vec("\\PC{0,6}|cpu-[0-9]{0,12}|linux|macos|spot", 0..5), 0..6)) {
        let fleet = FleetConfig::for_label_sets(&sets);
        for set in &sets {
            prop_assert!(fleet.resolve(set, "a/b", true).class().is_some(), "{:?}", set);
        }
    }
}

/// As people read it, without the marks of comments.
#[test]
fn the_examples_options_for_runners_are_good() {
    let (_, text) = EXAMPLE.split_once("# [pool.runner]\n").unwrap();
    let text: String = text.lines().map_while(|line| line.strip_prefix("# ")).map(|line| format!("{line}\n")).collect();
    let pem = AUTHORITY.trim_start_matches("-----BEGIN CERTIFICATE-----\n");
    let text = text.replace("...\n-----END CERTIFICATE-----\n", pem);
    let example = EXAMPLE.replacen("# [pool.runner]\n", &format!("[pool.runner]\n{text}"), 1);
    let parsed = FleetConfig::parse("f", &example);
    assert_eq!(parsed.errors, []);
    let config = parsed.config.unwrap();
    let options = config.pools()[0].runner_options();
    assert_eq!(options.max_job_hours, Some(6));
    assert_eq!(options.extra_ca.as_deref(), Some(AUTHORITY));
    assert_eq!(options.environment["GOPROXY"], "https://mirror.acme.example/go");
    let said = serde_json::to_value(&options).unwrap();
    assert_eq!(said.as_object().unwrap().len(), 9, "the example has every option: {said}");
    assert_eq!(
        config.pools()[1].runner_options(),
        RunnerOptions { max_job_hours: Some(6), ..RunnerOptions::default() }
    );
}
