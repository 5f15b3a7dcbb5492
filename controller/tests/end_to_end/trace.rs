//! `muster trace pull` as somebody runs it: budget, going on, exit codes; and its trace, simulated.

use tempfile::TempDir;

use crate::fleet::{SERVES_RECORDED, folder, muster};

fn pull(folder: &TempDir, more: &[&str]) -> muster_tests::Answer {
    let config = folder.path().join("muster.toml").display().to_string();
    let out = folder.path().join("past.jsonl.gz").display().to_string();
    let mut arguments = vec!["trace", "pull", "--config", &config, "--days", "2", "--out", &out];
    arguments.extend(more);
    muster().run(&arguments)
}

#[cfg(not(feature = "aws"))]
#[test]
fn a_build_without_adapters_says_so() {
    let answer = pull(&folder(SERVES_RECORDED, b"key"), &["--json"]);
    assert_eq!((answer.code, answer.out.as_str()), (Some(2), ""));
    assert!(answer.err.contains("--features aws"), "{}", answer.err);
}

#[cfg(feature = "aws")]
#[test]
fn a_past_is_pulled_in_two_calls_and_simulated() {
    use std::time::Duration;

    use muster_tests::github::{FakeGithub, FakeOwner, FakeSetup};

    let mut setup = FakeSetup::new(FakeOwner::Organization("octo-org".to_owned()));
    setup.apps = vec![1];
    let fake = FakeGithub::start(setup);
    {
        let mut world = fake.world();
        let yesterday = world.now() - Duration::from_secs(86_400);
        for n in 1..=3 {
            let run = world.add_run("octo-org/api", "ci");
            world.set_run(run, yesterday, false);
            let id = world.add_job(run, &["self-hosted", "linux"]);
            world.set_job_status(id, "in_progress");
            world.set_job_status(id, "completed");
            let job = world.job(id).unwrap();
            job.started_at = yesterday + Duration::from_secs(30);
            job.completed_at = Some(job.started_at + Duration::from_secs(60 * n));
        }
    }
    let text = SERVES_RECORDED.replace("webhook_secrets", &format!("api_url = \"{}\"\nwebhook_secrets", fake.url()));
    let folder = folder(&text, &fake.key(1));
    let other = pull(&folder, &["--org", "other"]);
    assert_eq!(other.code, Some(2));
    assert!(other.err.contains("octo-org") && other.err.contains("--org"), "{}", other.err);
    assert_eq!(fake.world().seen().len(), 0);
    assert_eq!(pull(&folder, &["--requests", "2"]).code, Some(2), "that would not even begin");

    let first = pull(&folder, &["--json", "--requests", "5", "--org", "OCTO-org"]);
    assert_eq!(first.code, Some(1), "{}", first.err);
    assert_eq!(fake.world().seen().len(), 5);
    let told = first.json();
    assert_eq!((&told["whole"], &told["requests"], &told["trace"]), (&false.into(), &5.into(), &().into()));
    assert!(told["why"].as_str().unwrap().contains("same command"), "{told}");
    assert!(first.err.contains("5 requests at most"), "{}", first.err);
    let second = pull(&folder, &["--json"]);
    assert_eq!(second.code, Some(0), "{}", second.err);
    let told = second.json();
    assert_eq!((&told["whole"], &told["trace"]["runs"], &told["trace"]["jobs"]), (&true.into(), &3.into(), &3.into()));
    // A token, and what the first call left: the jobs of two runs.
    assert_eq!((&told["requests"], fake.world().seen().len()), (&4.into(), 9));

    let trace = folder.path().join("past.jsonl.gz").display().to_string();
    let simulated = muster().run(&["simulate", "--trace", &trace, "--json"]);
    assert_eq!(simulated.code, Some(0), "{}", simulated.err);
    assert_eq!(simulated.json()["jobs"]["completed"], 3);
    assert_eq!(pull(&folder, &[]).code, Some(2), "a trace is not written over");
    for secret in fake.world().secrets() {
        assert!([&first, &second].iter().all(|answer| !answer.out.contains(secret) && !answer.err.contains(secret)));
    }
}
