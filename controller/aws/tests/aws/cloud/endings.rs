//! Ends, looks and what is tidied up on the way.

use muster_core::ids::InstanceId;
use muster_core::ports::{Cloud, CloudError, InstanceState};
use serde_json::json;

use super::super::emulator::block_on;
use super::stage::{Ground, Wish, good, in_state, live, stage};

fn on_emulation() -> super::stage::AwsStage {
    stage(Ground::Emulation, &Wish::default())
}

#[test]
fn the_group_is_back_at_its_target() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(5).await;
        assert_eq!(stage.sizes().await, (5, 5));
        assert!(stage.end(&instances[..1]).await.failed.is_empty());
        assert!(stage.end(&instances[1..4]).await.failed.is_empty());
        stage.advance(300).await;
        assert_eq!(stage.sizes().await, (1, 1));
        assert_eq!(stage.group().await.instances()[0].instance_id(), Some(instances[4].as_str()));
        let sighting = stage.look(&instances).await;
        assert_eq!(live(&sighting), [instances[4].clone()].into());
        assert_eq!(in_state(&sighting, InstanceState::Gone).len(), 4);
    });
}

#[test]
fn a_second_end_counts_once_whatever_aws_makes_of_it() {
    for second in ["refuse", "decrement"] {
        let stage = on_emulation();
        block_on(async {
            stage.control("POST", "settings", json!({"second_terminate": second})).await;
            let instances = stage.started(4).await;
            for _ in 0..2 {
                let ended = stage.end(&instances[..2]).await;
                assert!(ended.failed.is_empty(), "{ended:?}");
            }
            stage.advance(60).await;
            assert_eq!(stage.sizes().await, (2, 2), "{second}");
        });
    }
}

/// Somebody has lowered desired capacity below the members: it cannot be lowered once more with each that is ended.
#[test]
fn members_above_desired_capacity_are_ended_too() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(3).await;
        let name = stage.group().await.auto_scaling_group_name.unwrap();
        stage.scaling.set_desired_capacity().auto_scaling_group_name(name).desired_capacity(1).send().await.unwrap();
        let ended = stage.end(&instances).await;
        assert!(ended.failed.is_empty(), "{ended:?}");
        stage.advance(300).await;
        assert_eq!(stage.sizes().await, (0, 0));
        for instance in &instances {
            assert_eq!(stage.state(instance).await, "terminated");
        }
    });
}

#[test]
fn a_group_that_is_busy_ends_nothing_and_is_asked_again() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(2).await;
        let busy = json!({"kind": "error", "action": "TerminateInstanceInAutoScalingGroup", "code": "ScalingActivityInProgress", "count": 1});
        stage.fault(busy).await;
        let ended = stage.end(&instances[..1]).await;
        assert!(matches!(ended.failed[..], [(_, CloudError::Throttled(_))]), "{ended:?}");
        assert!(stage.end(&instances[..1]).await.failed.is_empty());
        stage.advance(60).await;
        assert_eq!(stage.sizes().await, (1, 1));
    });
}

#[test]
fn the_answer_to_an_end_gets_lost() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(3).await;
        stage.fault(json!({"kind": "lose_reply", "action": "TerminateInstanceInAutoScalingGroup", "count": 1})).await;
        let ended = stage.end(&instances[..1]).await;
        assert!(matches!(ended.failed[..], [(_, CloudError::Unknown(_))]), "{ended:?}");
        stage.advance(60).await;
        let ended = stage.end(&instances[..1]).await;
        assert_eq!((ended.gone, ended.failed.len()), (instances[..1].to_vec(), 0));
        assert_eq!(stage.sizes().await, (2, 2));
    });
}

#[test]
fn what_is_not_ours_is_never_ended() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(2).await;
        // One that is in no group and has no tag, and one of another fleet in our group.
        let run = stage.ec2.run_instances().image_id(&stage.image).min_count(1).max_count(1).send().await.unwrap();
        let stranger = InstanceId::new(run.instances()[0].instance_id().unwrap());
        let tag = aws_sdk_ec2::types::Tag::builder().key(muster_aws::FLEET_TAG).value("somebody").build();
        stage.ec2.create_tags().resources(instances[0].as_str()).tags(tag).send().await.unwrap();
        let wanted = [stranger.clone(), instances[0].clone(), instances[1].clone()];
        stage.writes().await;
        let ended = stage.end(&wanted).await;
        let failed: Vec<_> = ended.failed.iter().map(|(instance, _)| instance.clone()).collect();
        assert_eq!(failed, wanted[..2], "{ended:?}");
        assert!(ended.failed.iter().all(|(_, why)| why.to_string().contains("tag")), "{ended:?}");
        assert_eq!(stage.writes().await, ["TerminateInstanceInAutoScalingGroup"]);
        stage.advance(60).await;
        assert_eq!(stage.state(&stranger).await, "running");
        assert_eq!(stage.state(&instances[0]).await, "running");
        assert_eq!(stage.state(&instances[1]).await, "terminated");
    });
}

#[test]
fn one_that_left_its_group_is_ended_all_the_same() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(2).await;
        let name = stage.group().await.auto_scaling_group_name.unwrap();
        let detach = stage.scaling.detach_instances().auto_scaling_group_name(name);
        let detach = detach.instance_ids(instances[0].as_str()).should_decrement_desired_capacity(true);
        detach.send().await.unwrap();
        let ended = stage.end(&instances).await;
        assert!(ended.failed.is_empty(), "{ended:?}");
        stage.advance(60).await;
        assert_eq!(stage.state(&instances[0]).await, "terminated");
        assert_eq!(stage.sizes().await, (0, 0));
    });
}

#[test]
fn the_dead_are_buried() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(4).await;
        stage.control("POST", "instances", json!({"instance_id": instances[0].as_str(), "do": "shutdown"})).await;
        let interrupt = json!({"instance_id": instances[1].as_str(), "do": "interrupt", "notice_ms": 1_000});
        stage.control("POST", "instances", interrupt).await;
        stage.advance(60).await;
        assert_eq!(stage.sizes().await.0, 4, "nobody but us changes desired capacity");
        // One is buried by name, the other when it is seen.
        let ended = stage.end(&instances[..1]).await;
        assert_eq!((ended.gone, ended.failed.len()), (instances[..1].to_vec(), 0));
        let sighting = stage.look(&instances).await;
        assert_eq!(sighting.troubles, Vec::<String>::new());
        assert_eq!(in_state(&sighting, InstanceState::Gone), instances[..2].iter().cloned().collect());
        stage.advance(60).await;
        assert_eq!(stage.sizes().await, (2, 2));
        assert_eq!(stage.look(&instances).await.troubles, Vec::<String>::new());
        assert_eq!(stage.sizes().await, (2, 2));
    });
}

#[test]
fn phantom_capacity_is_cancelled_down_to_the_members() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(2).await;
        stage.fault(json!({"kind": "launch"})).await;
        let name = stage.group().await.auto_scaling_group_name.unwrap();
        stage.scaling.set_desired_capacity().auto_scaling_group_name(name).desired_capacity(5).send().await.unwrap();
        stage.advance(5).await;
        stage.look(&instances).await;
        assert_eq!(stage.sizes().await, (5, 2), "not right after a launch");
        for _ in 0..3 {
            stage.advance(60).await;
            let troubles = stage.look(&instances).await.troubles;
            assert!(troubles.iter().all(|why| why.contains("lacks machines: capacity")), "{troubles:?}");
        }
        assert_eq!(stage.sizes().await, (2, 2));
        stage.heal().await;
        stage.advance(600).await;
        assert_eq!(live(&stage.look(&instances).await), instances.into_iter().collect());
    });
}

#[test]
fn an_unprotected_member_keeps_its_phantom() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(2).await;
        stage.fault(json!({"kind": "launch"})).await;
        let name = stage.group().await.auto_scaling_group_name.unwrap();
        let protect = stage.scaling.set_instance_protection().auto_scaling_group_name(&name);
        protect.instance_ids(instances[0].as_str()).protected_from_scale_in(false).send().await.unwrap();
        stage.scaling.set_desired_capacity().auto_scaling_group_name(name).desired_capacity(5).send().await.unwrap();
        for _ in 0..4 {
            stage.advance(60).await;
            stage.look(&instances).await;
        }
        assert_eq!(stage.sizes().await, (5, 2));
    });
}

#[test]
fn silence_turns_the_metadata_service_off_each_for_itself() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(3).await;
        stage.fault(json!({"kind": "error", "action": "ModifyInstanceMetadataOptions", "code": "RequestLimitExceeded", "status": 503, "count": 2}))
            .await;
        let failed = good(stage.cloud.silence(&stage.named(&instances)).await);
        assert!(failed.len() <= 1, "the SDK repeats one of two: {failed:?}");
        assert!(good(stage.cloud.silence(&stage.named(&instances)).await).is_empty());
        for instance in &instances {
            let described = stage.ec2.describe_instances().instance_ids(instance.as_str()).send().await.unwrap();
            let options = described.reservations()[0].instances()[0].metadata_options().unwrap().clone();
            assert_eq!(options.http_endpoint().map(|state| state.as_str()), Some("disabled"));
            assert_eq!(options.http_tokens().map(|tokens| tokens.as_str()), Some("required"));
        }
    });
}

#[test]
fn a_look_that_fails_says_nothing_about_anyone() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(2).await;
        stage
            .fault(json!({"kind": "error", "action": "DescribeInstances", "code": "InternalError", "status": 500}))
            .await;
        let blind = stage.look(&instances).await;
        assert_eq!((blind.seen.len(), blind.absent.len(), blind.troubles.len()), (0, 0, 1), "{blind:?}");
        let ended = stage.end(&instances).await;
        assert_eq!((ended.gone.len(), ended.failed.len()), (0, 2), "{ended:?}");
        assert_eq!(stage.sizes().await, (2, 2));
        stage.heal().await;
        // Without groups there is nothing to be tidied up, and the list stands.
        stage.fault(json!({"kind": "error", "action": "DescribeAutoScalingGroups", "code": "Throttling"})).await;
        let sighting = stage.look(&instances).await;
        assert_eq!((live(&sighting).len(), sighting.troubles.len()), (2, 1), "{sighting:?}");
    });
}

/// An account that gives no answer is given up in time, and hides nothing but itself.
#[test]
fn a_look_does_not_wait_for_a_service_that_hangs() {
    let stage = on_emulation();
    block_on(async {
        let instances = stage.started(1).await;
        stage.fault(json!({"kind": "delay", "action": "DescribeAutoScalingGroups", "ms": 8_000})).await;
        let sighting = stage.look(&instances).await;
        assert_eq!(live(&sighting).len(), 1, "{sighting:?}");
        assert!(sighting.troubles[0].contains("no answer within 5 s"), "{sighting:?}");
    });
}
