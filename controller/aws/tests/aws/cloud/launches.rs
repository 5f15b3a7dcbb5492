//! Launches: what the cloud's answers mean, and what happens when there is none.

use muster_core::launch::LaunchErrorKind;
use muster_core::ports::{Cloud, CloudError};
use serde_json::json;

use super::super::emulator::block_on;
use super::stage::{Ground, Wish, good, live, refused, stage};

fn on_emulation() -> super::stage::AwsStage {
    stage(Ground::Emulation, &Wish::default())
}

#[test]
fn what_ec2_lacks_or_forbids_is_told_by_its_kind() {
    let stage = on_emulation();
    block_on(async {
        for (code, kind) in [
            ("InsufficientInstanceCapacity", LaunchErrorKind::Capacity),
            ("UnfulfillableCapacity", LaunchErrorKind::Capacity),
            ("VcpuLimitExceeded", LaunchErrorKind::Quota),
            ("MaxSpotInstanceCountExceeded", LaunchErrorKind::Quota),
            ("UnauthorizedOperation", LaunchErrorKind::Configuration),
            ("Gremlins", LaunchErrorKind::Unknown),
        ] {
            stage.fault(json!({"kind": "launch", "code": code, "market": "spot"})).await;
            let (told, words) = refused(good(stage.cloud.launch(&stage.launch_of("spot", 2), &[]).await));
            assert!(told == kind && words.contains(code), "{code}: {told:?} {words}");
            stage.heal().await;
        }
        assert_eq!(stage.sizes().await, (0, 0));
    });
}

#[test]
fn some_of_a_launch_may_come() {
    let stage = on_emulation();
    block_on(async {
        stage.fault(json!({"kind": "launch", "instance_type": "c6i.large", "available": 2})).await;
        stage.fault(json!({"kind": "launch", "instance_type": "m6i.large", "available": 1})).await;
        let launch = stage.launch_of("spot", 5);
        let reply = good(stage.cloud.launch(&launch, &[]).await);
        assert_eq!(reply.instances.len(), 3);
        assert_eq!(reply.error.as_ref().map(|error| error.kind), Some(LaunchErrorKind::Capacity));
        stage.heal().await;
        assert_eq!(good(stage.cloud.launch(&launch, &[]).await), reply, "the repeat is the same launch");
        stage.advance(5).await;
        assert_eq!(stage.sizes().await, (3, 3));
    });
}

#[test]
fn an_answer_that_got_lost_is_had_by_asking_again() {
    let stage = on_emulation();
    block_on(async {
        stage.started(1).await;
        stage.fault(json!({"kind": "lose_reply", "action": "LaunchInstances", "count": 1})).await;
        let launch = stage.launch_of("spot", 2);
        let lost = stage.cloud.launch(&launch, &[]).await;
        assert!(matches!(lost, Err(CloudError::Unknown(_))), "{lost:?}");
        let found = good(stage.cloud.launch(&launch, &[]).await);
        assert_eq!((found.instances.len(), found.error), (2, None));
        stage.advance(5).await;
        assert_eq!(stage.sizes().await, (3, 3));
    });
}

#[test]
fn errors_of_the_call_say_whether_something_may_have_happened() {
    let stage = on_emulation();
    block_on(async {
        stage.started(1).await;
        for (code, status, wanted) in [
            ("Throttling", 400, "throttled"),
            ("RequestLimitExceeded", 503, "throttled"),
            ("ResourceContention", 500, "throttled"),
            ("AccessDenied", 403, "rejected"),
            ("InternalFailure", 500, "unknown"),
            ("IdempotentCallInProgress", 400, "unknown"),
        ] {
            stage.fault(json!({"kind": "error", "action": "LaunchInstances", "code": code, "status": status})).await;
            let told = match stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await {
                Err(CloudError::Throttled(_)) => "throttled",
                Err(CloudError::Rejected(_)) => "rejected",
                Err(CloudError::Unknown(_)) => "unknown",
                Ok(reply) => panic!("{code}: {reply:?}"),
            };
            assert_eq!(told, wanted, "{code}");
            stage.heal().await;
        }
        // On the way to a launch, nothing can have happened.
        stage.advance(3_600).await;
        stage
            .fault(json!({"kind": "error", "action": "DescribeSubnets", "code": "InternalError", "status": 500}))
            .await;
        good(stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await);
        stage.fault(json!({"kind": "error", "action": "DescribeAutoScalingGroups", "code": "InternalFailure", "status": 500}))
            .await;
        stage.advance(3_600).await;
        let told = stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await;
        assert!(matches!(told, Err(CloudError::Throttled(_))), "{told:?}");
    });
}

/// Found out once, tried again after a day; meanwhile one launch of a group at a time.
#[test]
fn without_launch_instances_desired_capacity_is_raised() {
    let stage = on_emulation();
    block_on(async {
        stage.fault(json!({"kind": "error", "action": "LaunchInstances", "code": "InvalidAction"})).await;
        let launch = stage.launch_of("spot", 2);
        let asked = stage.cloud.launch(&launch, &[]).await;
        assert!(matches!(asked, Err(CloudError::Unknown(_))), "{asked:?}");
        stage.advance(5).await;
        let came = good(stage.cloud.launch(&launch, &[]).await);
        assert_eq!((came.instances.len(), came.error), (2, None));
        let second = stage.launch_of("spot", 1);
        let asked = stage.cloud.launch(&second, &came.instances).await;
        assert!(matches!(asked, Err(CloudError::Unknown(_))), "{asked:?}");
        stage.advance(5).await;
        assert_eq!(good(stage.cloud.launch(&second, &came.instances).await).instances.len(), 1);
        let probes = stage.writes().await.into_iter().filter(|action| action == "LaunchInstances").count();
        assert_eq!(probes, 1);
        stage.heal().await;
        stage.advance(25 * 3_600).await;
        assert_eq!(good(stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await).instances.len(), 1);
        assert_eq!(stage.writes().await, ["LaunchInstances"]);
    });
}

#[test]
fn the_maximum_size_is_a_fuse() {
    let wish = Wish { fleet: "max_runners = 10", ..Wish::default() };
    let stage = stage(Ground::Emulation, &wish);
    block_on(async {
        for _ in 0..2 {
            stage.started(10).await;
        }
        let blown = stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await;
        assert!(matches!(&blown, Err(CloudError::Rejected(why)) if why.contains("max size")), "{blown:?}");
        assert_eq!(stage.sizes().await, (20, 20));
    });
}

#[test]
fn a_new_instance_may_be_invisible_for_a_while() {
    let stage = on_emulation();
    block_on(async {
        stage.control("POST", "settings", json!({"visibility_ms": 30_000})).await;
        let instances = good(stage.cloud.launch(&stage.launch_of("spot", 2), &[]).await).instances;
        stage.advance(5).await;
        let early = stage.look(&instances).await;
        assert_eq!((early.seen, early.absent), (vec![], instances.clone()));
        let ended = stage.end(&instances).await;
        assert!(ended.gone.is_empty() && ended.failed.is_empty(), "{ended:?}");
        stage.advance(60).await;
        assert_eq!(live(&stage.look(&instances).await), instances.into_iter().collect());
    });
}

#[test]
fn a_group_that_somebody_deleted_is_made_again() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(1).await;
        assert!(stage.end(&instances).await.failed.is_empty());
        stage.advance(60).await;
        let name = stage.group().await.auto_scaling_group_name.unwrap();
        stage.scaling.delete_auto_scaling_group().auto_scaling_group_name(&name).send().await.unwrap();
        stage.advance(5).await;
        stage.started(1).await;
        assert_eq!(stage.sizes().await, (1, 1));
    });
}

#[test]
fn a_burst_over_the_budget_is_throttled_and_not_sent() {
    let stage = on_emulation();
    block_on(async {
        stage.started(1).await;
        stage.writes().await;
        let mut sent = 0;
        let throttled = loop {
            match stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await {
                Ok(_) => sent += 1,
                Err(error) => break error,
            }
            assert!(sent <= 40, "there is no budget");
        };
        assert!(matches!(&throttled, CloudError::Throttled(why) if why.contains("budget")), "{throttled}");
        assert_eq!(stage.writes().await.len(), sent);
        // Our clock stands still; a second later there is room again.
        stage.advance(1).await;
        good(stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await);
    });
}

#[test]
fn a_launch_over_the_budget_of_instances_is_not_sent_and_takes_nothing_for_what_does_not_come() {
    let stage = stage(Ground::Emulation, &Wish { fleet: "max_runners = 2000", ..Wish::default() });
    block_on(async {
        let hundred = || stage.launch_of("spot", 100);
        stage.fault(json!({"kind": "launch", "code": "InsufficientInstanceCapacity", "market": "spot"})).await;
        for _ in 0..11 {
            refused(good(stage.cloud.launch(&hundred(), &[]).await));
        }
        stage.heal().await;
        // For the budget of calls.
        stage.advance(4).await;
        let first = hundred();
        stage.fault(json!({"kind": "lose_reply", "action": "LaunchInstances", "count": 1})).await;
        let lost = stage.cloud.launch(&first, &[]).await;
        assert!(matches!(lost, Err(CloudError::Unknown(_))), "{lost:?}");
        for _ in 1..10 {
            assert_eq!(good(stage.cloud.launch(&hundred(), &[]).await).instances.len(), 100);
        }
        stage.writes().await;
        let over = stage.cloud.launch(&hundred(), &[]).await;
        let words = "100 instances are over the account's budget of RunInstances";
        assert!(matches!(&over, Err(CloudError::Throttled(why)) if why.contains(words)), "{over:?}");
        assert_eq!(stage.writes().await, [""; 0]);
        let answer = good(stage.cloud.launch(&first, &[]).await);
        assert_eq!(answer.instances.len(), 100, "asked for again, it is the same launch, and has its tokens");
        stage.advance(49).await;
        assert!(matches!(stage.cloud.launch(&hundred(), &[]).await, Err(CloudError::Throttled(_))));
        stage.advance(1).await;
        assert_eq!(good(stage.cloud.launch(&hundred(), &[]).await).instances.len(), 100);
    });
}
