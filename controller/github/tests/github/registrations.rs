//! The list of all registrations.

use muster_core::ids::{RunnerId, RunnerName};
use muster_core::ports::{Github, GithubError, Listed, Records};
use muster_tests::github::Fault;

use crate::bench::{Bench, limited, organization, rejected, unknown};

/// So many runners, of which the first is online and the second busy.
fn full(count: usize) -> Bench {
    let bench = Bench::new(organization());
    for n in 0..count {
        bench.fake.world().register(&format!("runner-{n}"), vec!["linux".to_owned()], 1, "_work").unwrap();
    }
    let mut world = bench.fake.world();
    world.runner("runner-0").unwrap().online = true;
    let second = world.runner("runner-1").unwrap();
    (second.online, second.busy) = (true, true);
    drop(world);
    bench
}

impl Bench {
    fn pages(&self) -> Vec<u16> {
        let world = self.fake.world();
        let pages = world.seen().iter().filter(|seen| seen.path.contains("/actions/runners?per_page=100&page="));
        pages.map(|seen| seen.status.unwrap_or(0)).collect()
    }

    async fn list(&self) -> Result<Vec<Listed>, GithubError> {
        self.quiet(self.github.registrations().await)
    }
}

#[tokio::test]
async fn every_page_is_read_and_only_what_has_changed_is_read_again() {
    let bench = full(230);
    let first = bench.list().await.unwrap();
    assert_eq!((first.len(), bench.pages()), (230, vec![200; 3]));
    let of = |listed: &[Listed], name: &str| {
        let found = listed.iter().find(|listed| listed.name == RunnerName::new(name)).unwrap();
        (found.online, found.busy)
    };
    let states = ["runner-0", "runner-1", "runner-2"].map(|name| of(&first, name));
    assert_eq!(states, [(true, false), (true, true), (false, false)]);
    let left = bench.github.rates()[0].remaining;
    assert_eq!(bench.list().await.unwrap(), first);
    assert_eq!(
        (bench.pages()[3..].to_vec(), bench.github.rates()[0].remaining),
        (vec![304; 3], left),
        "which costs nothing"
    );
    bench.fake.world().runner("runner-229").unwrap().online = true;
    let third = bench.list().await.unwrap();
    assert_eq!((bench.pages()[6..].to_vec(), of(&third, "runner-229")), (vec![304, 304, 200], (true, false)));
}

#[tokio::test]
async fn a_list_of_whole_pages_ends_by_its_number_of_runners() {
    let bench = full(200);
    assert_eq!((bench.list().await.unwrap().len(), bench.pages().len()), (200, 2));
    let all: Vec<i64> = bench.fake.world().runners().iter().map(|runner| runner.id).collect();
    for id in &all[2..120] {
        bench.github.remove(RunnerId(*id)).await.unwrap();
    }
    let left = bench.list().await.unwrap();
    assert_eq!(left.iter().map(|listed| listed.id.0).collect::<Vec<_>>(), [&all[..2], &all[120..]].concat());
}

#[tokio::test]
async fn an_owner_without_runners_has_an_empty_list() {
    let bench = Bench::new(organization());
    assert_eq!(bench.list().await.unwrap(), []);
}

#[tokio::test]
async fn what_cannot_be_read_is_no_list() {
    let bench = full(120);
    bench.fake.fail(Fault::status("GET", "page=2", 404, "Not Found"));
    assert!(rejected(bench.list().await).contains("registrations"));
    bench.fake.fail(Fault::status("GET", "page=2", 502, "Bad gateway"));
    unknown(bench.list().await);
    bench.fake.fail(Fault::secondary("GET", "page=1", Some(60)));
    limited(bench.list().await);
}
