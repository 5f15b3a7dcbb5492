//! Runner groups by name.

use muster_core::ports::Github;
use muster_github::{GROUPS_AGE_MAX, GROUPS_LOOK_AGAIN};
use muster_tests::github::{Fault, What};
use serde_json::json;

use crate::bench::{Bench, organization, rejected, request, unknown};

#[tokio::test]
async fn groups_are_found_on_every_page_and_in_any_case() {
    let mut setup = organization();
    setup.groups = (0..250).map(|n| format!("Group {n}")).collect();
    let bench = Bench::new(setup);
    for (n, name) in ["group 249", "GROUP 0", "DEFAULT"].into_iter().enumerate() {
        bench.github.mint(&request(&format!("r-{n}"), name)).await.unwrap();
    }
    let groups: Vec<i64> = bench.fake.world().runners().iter().map(|runner| runner.group).collect();
    assert_eq!(groups, [251, 2, 1]);
    assert_eq!(bench.count("GET", "runner-groups"), 3, "three pages, once");
}

#[tokio::test]
async fn default_is_what_github_marks_so() {
    let bench = Bench::new(organization());
    let id = bench.fake.world().add_group("Everything");
    let changed = |place: usize, value: bool| {
        let pointer = format!("/runner_groups/{place}/default");
        Fault::on("GET", "runner-groups", What::Changed { pointer, value: json!(value), described: true })
    };
    // The one called `Default` is not the default one any more.
    bench.fake.fail(changed(0, false));
    let why = rejected(bench.mint("a").await);
    assert!(why.contains("no runner group \"default\""), "{why}");
    bench.advance(GROUPS_LOOK_AGAIN);
    bench.fake.world().remove_group("Default");
    bench.fake.fail(changed(1, true));
    bench.mint("a").await.unwrap();
    assert_eq!(bench.fake.world().runners()[0].group, id);
}

#[tokio::test]
async fn a_missing_group_is_never_another_one() {
    let bench = Bench::new(organization());
    let why = rejected(bench.github.mint(&request("a", "Nowhere")).await);
    assert!(why.contains("no runner group \"Nowhere\" in the organization acme") && why.contains("create it"), "{why}");
    rejected(bench.github.mint(&request("a", "Nowhere")).await);
    assert_eq!((bench.count("GET", "runner-groups"), bench.count("POST", "generate-jitconfig")), (1, 0));
    let id = bench.fake.world().add_group("Nowhere");
    bench.advance(GROUPS_LOOK_AGAIN);
    bench.github.mint(&request("a", "nowhere")).await.unwrap();
    assert_eq!(bench.fake.world().runners()[0].group, id);
}

#[tokio::test]
async fn a_group_that_has_gone_is_noticed() {
    let bench = Bench::new(organization());
    bench.github.mint(&request("a", "Linux builders")).await.unwrap();
    bench.fake.world().remove_group("Linux builders");
    let why = rejected(bench.github.mint(&request("b", "Linux builders")).await);
    assert!(why.contains("Runner group not found"), "{why}");
    let why = rejected(bench.github.mint(&request("b", "Linux builders")).await);
    assert!(why.contains("there is no runner group \"Linux builders\""), "{why}");
    // Made anew under another number.
    let id = bench.fake.world().add_group("Linux builders");
    bench.advance(GROUPS_LOOK_AGAIN);
    bench.github.mint(&request("b", "Linux builders")).await.unwrap();
    assert_eq!(bench.fake.world().runners()[1].group, id);
}

#[tokio::test]
async fn the_list_is_made_anew_when_it_is_old() {
    let bench = Bench::new(organization());
    bench.mint("a").await.unwrap();
    bench.advance(GROUPS_AGE_MAX);
    bench.fake.fail(Fault::status("GET", "runner-groups", 502, "Bad Gateway"));
    unknown(bench.mint("b").await);
    bench.fake.fail(Fault::on("GET", "runner-groups", What::Truncated));
    let why = unknown(bench.mint("b").await);
    assert!(why.contains("nothing was changed"), "{why}");
    bench.mint("b").await.unwrap();
    assert_eq!(bench.count("GET", "runner-groups"), 4);
}
