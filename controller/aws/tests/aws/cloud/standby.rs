//! Standby: a stock of stopped machines, taken out one launch at a time.

use std::collections::BTreeSet;

use muster_core::config::{Arch, Os};
use muster_core::fact::{GroupEvent, GroupEventKind};
use muster_core::ids::{InstanceId, ShapeId};
use muster_core::launch::{Launch, LaunchErrorKind};
use muster_core::machine::Origin;
use muster_core::ports::{Cloud, CloudError};
use serde_json::json;

use super::super::emulator::block_on;
use super::stage::{AwsStage, Ground, Wish, good, stage};

fn from_stock(stage: &AwsStage, count: u32) -> Launch {
    let mut launch = stage.launch_of("on-demand", count);
    launch.purpose.origin = Origin::Standby;
    launch
}

/// The stocks, as the cloud tells them: whose, how many can be taken, how many are kept.
async fn told(stage: &AwsStage) -> Vec<(ShapeId, u32, Option<u32>)> {
    let stocks = good(stage.cloud.standby().await).into_iter();
    stocks.map(|stock| (stock.shape, stock.ready, stock.size)).collect()
}

/// A stock of stopped machines.
async fn stocked(stage: &AwsStage, size: u32) {
    let shape = stage.shape("on-demand").id.clone();
    good(stage.cloud.set_standby(&shape, size).await);
    stage.advance(5).await;
    assert_eq!(told(stage).await, [(shape.clone(), 0, Some(size))], "they warm up, and wait at the hook");
    // Nobody lets them go on.
    stage.advance(400).await;
    assert_eq!(told(stage).await, [(shape, size, Some(size))]);
    assert_eq!(stage.look(&[]).await.seen, [], "stock is no machine that the ledger should know");
}

fn on_its_way(answer: &Result<muster_core::launch::LaunchReply, CloudError>) -> bool {
    matches!(answer, Err(CloudError::Unknown(why)) if why.contains("on their way"))
}

#[test]
fn a_launch_takes_machines_out_of_the_stock_once() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 2).await;
        let group = stage.group().await;
        let pool = group.warm_pool_configuration().unwrap();
        assert_eq!((pool.min_size(), pool.max_group_prepared_capacity()), (Some(2), Some(2)));
        assert_eq!(pool.instance_reuse_policy().and_then(|policy| policy.reuse_on_scale_in()), Some(false));
        let launch = from_stock(&stage, 1);
        stage.writes().await;
        let asked = stage.cloud.launch(&launch, &[]).await;
        assert!(on_its_way(&asked), "{asked:?}");
        let again = stage.cloud.launch(&launch, &[]).await;
        assert!(on_its_way(&again), "{again:?}");
        let raises = stage.writes().await.into_iter().filter(|action| action == "SetDesiredCapacity").count();
        assert_eq!(raises, 1);
        let other = stage.cloud.launch(&from_stock(&stage, 1), &[]).await;
        assert!(matches!(&other, Err(CloudError::Throttled(why)) if why.contains("under way")), "{other:?}");
        stage.advance(5).await;
        let came = good(stage.cloud.launch(&launch, &[]).await);
        assert_eq!((came.instances.len(), came.error), (1, None));
        let first = came.instances[0].clone();
        let second = from_stock(&stage, 1);
        let known = std::slice::from_ref(&first);
        assert!(on_its_way(&stage.cloud.launch(&second, known).await));
        stage.advance(5).await;
        let came = good(stage.cloud.launch(&second, known).await);
        assert_eq!(came.instances.len(), 1);
        assert_ne!(came.instances[0], first);
        assert_eq!(stage.sizes().await, (2, 2));
    });
}

/// A member is listed as terminating until EC2 is done with it, a minute or so, and its end has lowered desired capacity.
#[test]
fn a_machine_that_is_on_its_way_out_keeps_none_in_the_stock() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 2).await;
        let launch = from_stock(&stage, 1);
        assert!(on_its_way(&stage.cloud.launch(&launch, &[]).await));
        stage.advance(5).await;
        let first = good(stage.cloud.launch(&launch, &[]).await).instances.remove(0);
        good(stage.cloud.terminate(&[(first, launch.purpose.shape.clone())]).await);
        let group = stage.group().await;
        let leaving = group.instances()[0].lifecycle_state().unwrap().as_str().to_owned();
        assert!(leaving.starts_with("Terminating") && group.desired_capacity() == Some(0), "{leaving}");
        let next = stage.cloud.launch(&from_stock(&stage, 1), &[]).await;
        assert!(on_its_way(&next), "{next:?}");
    });
}

#[test]
fn a_member_that_nobody_knows_is_not_taken_for_a_newcomer() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 2).await;
        let name = stage.group().await.auto_scaling_group_name.unwrap();
        stage.scaling.set_desired_capacity().auto_scaling_group_name(name).desired_capacity(1).send().await.unwrap();
        stage.advance(5).await;
        let stranger = InstanceId::new(stage.group().await.instances()[0].instance_id().unwrap());
        let launch = from_stock(&stage, 1);
        assert!(on_its_way(&stage.cloud.launch(&launch, &[]).await));
        stage.advance(5).await;
        let came = good(stage.cloud.launch(&launch, &[]).await);
        assert!(came.instances.len() == 1 && came.instances[0] != stranger, "{came:?}");
    });
}

/// Even if nobody may read why.
#[test]
fn a_raise_that_brings_nothing_is_over_in_time_and_taken_back() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        let shape = stage.shape("on-demand").id.clone();
        good(stage.cloud.set_standby(&shape, 0).await);
        stage.fault(json!({"kind": "launch"})).await;
        stage.fault(json!({"kind": "error", "action": "DescribeScalingActivities", "code": "AccessDenied"})).await;
        let launch = from_stock(&stage, 1);
        assert!(on_its_way(&stage.cloud.launch(&launch, &[]).await));
        stage.advance(120).await;
        let unread = stage.cloud.launch(&launch, &[]).await;
        assert!(matches!(&unread, Err(CloudError::Unknown(why)) if why.contains("AccessDenied")), "{unread:?}");
        stage.advance(180).await;
        let over = good(stage.cloud.launch(&launch, &[]).await);
        assert_eq!((over.instances.len(), over.error.map(|e| e.kind)), (0, Some(LaunchErrorKind::Capacity)));
        for _ in 0..4 {
            stage.look(&[]).await;
            stage.advance(60).await;
        }
        assert_eq!(stage.sizes().await, (0, 0));
    });
}

#[test]
fn a_machine_waits_at_the_hook_until_it_is_let_go_on() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 1).await;
        let launch = from_stock(&stage, 1);
        assert!(on_its_way(&stage.cloud.launch(&launch, &[]).await));
        stage.advance(5).await;
        let came = good(stage.cloud.launch(&launch, &[]).await).instances;
        let state = async || stage.group().await.instances()[0].lifecycle_state().unwrap().as_str().to_owned();
        assert_eq!(state().await, "Pending:Wait");
        let named = vec![(came[0].clone(), launch.purpose.shape.clone())];
        for _ in 0..2 {
            assert!(good(stage.cloud.release(&named).await).is_empty());
            stage.advance(5).await;
            assert_eq!(state().await, "InService");
        }
        let ended = good(stage.cloud.terminate(&named).await);
        assert!(ended.failed.is_empty(), "{ended:?}");
        stage.advance(60).await;
        assert_eq!(stage.sizes().await, (0, 0));
        assert_eq!(stage.state(&came[0]).await, "terminated");
    });
}

#[test]
fn spot_machines_do_not_stand_by_and_stock_cannot_be_ended_by_name() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        let refused = stage.cloud.set_standby(&stage.shape("spot").id, 1).await;
        assert!(matches!(refused, Err(CloudError::Rejected(_))), "{refused:?}");
        stocked(&stage, 1).await;
        let name = stage.group().await.auto_scaling_group_name.unwrap();
        let pool = stage.scaling.describe_warm_pool().auto_scaling_group_name(name).send().await.unwrap();
        let warm = InstanceId::new(pool.instances()[0].instance_id().unwrap());
        let ended = good(stage.cloud.terminate(&[(warm, stage.shape("on-demand").id.clone())]).await);
        assert!(ended.failed[0].1.to_string().contains("warm pool"), "{ended:?}");
    });
}

/// The images of what stands by, and of what is on its way to.
async fn images_on_standby(stage: &AwsStage) -> BTreeSet<String> {
    let name = stage.group().await.auto_scaling_group_name.unwrap();
    let pool = stage.scaling.describe_warm_pool().auto_scaling_group_name(name).send().await.unwrap();
    let leaves = |state: &str| state.contains("Terminat");
    let staying = pool.instances().iter().filter(|member| !leaves(member.lifecycle_state().unwrap().as_str()));
    let ids: Vec<String> = staying.map(|member| member.instance_id().unwrap().to_owned()).collect();
    assert!(!ids.is_empty());
    let described = stage.ec2.describe_instances().set_instance_ids(Some(ids)).send().await.unwrap();
    let instances = described.reservations().iter().flat_map(|reservation| reservation.instances());
    instances.map(|instance| instance.image_id().unwrap().to_owned()).collect()
}

/// Members of a pool cannot be ended by name: the stock is emptied and filled again, by two questions of the planner.
#[test]
fn a_stock_of_a_former_image_is_made_anew() {
    let mut stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 2).await;
        let shape = stage.shape("on-demand").id.clone();
        assert_eq!(images_on_standby(&stage).await, [stage.image.clone()].into());
        let other = stage.other_image().await;
        stage.restart(with_image(&stage, &other));
        assert_eq!(told(&stage).await, [(shape.clone(), 2, None)], "it is not as it would be made now");
        for _ in 0..2 {
            good(stage.cloud.set_standby(&shape, 2).await);
            assert_eq!(told(&stage).await[0].2, None, "the pool has not let go of them yet");
        }
        stage.advance(5).await;
        assert_eq!(told(&stage).await, [(shape.clone(), 0, Some(0))]);
        good(stage.cloud.set_standby(&shape, 2).await);
        stage.advance(5).await;
        assert_eq!(images_on_standby(&stage).await, [other.clone()].into());
        stage.advance(400).await;
        assert_eq!(told(&stage).await, [(shape.clone(), 2, Some(2))]);
        // A machine of the new stock is taken as any other.
        let launch = from_stock(&stage, 1);
        assert!(on_its_way(&stage.cloud.launch(&launch, &[]).await));
        stage.advance(5).await;
        assert_eq!(good(stage.cloud.launch(&launch, &[]).await).instances.len(), 1);
    });
}

fn with_image(stage: &AwsStage, image: &str) -> muster_aws::Stack {
    muster_aws::Stack { images: [((Os::Linux, Arch::X64), image.into())].into(), ..stage.stack.clone() }
}

/// What stands by was made from it, under the same version.
#[test]
fn an_image_that_is_rolled_back_in_time_costs_no_machine() {
    let mut stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 2).await;
        let shape = stage.shape("on-demand").id.clone();
        let (first, other) = (stage.image.clone(), stage.other_image().await);
        stage.restart(with_image(&stage, &other));
        good(stage.cloud.set_standby(&shape, 2).await);
        stage.restart(with_image(&stage, &first));
        assert_eq!(told(&stage).await, [(shape.clone(), 2, None)]);
        good(stage.cloud.set_standby(&shape, 2).await);
        assert_eq!(told(&stage).await, [(shape.clone(), 2, Some(2))]);
        stage.advance(60).await;
        assert_eq!(told(&stage).await, [(shape, 2, Some(2))], "none of them has gone");
        assert_eq!(images_on_standby(&stage).await, [first].into());
    });
}

/// Somebody has pointed the group at `$Latest`: that is mended, and says nothing about the machines.
#[test]
fn a_group_that_was_changed_by_hand_is_mended_and_its_stock_stays() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 2).await;
        let shape = stage.shape("on-demand").id.clone();
        let group = stage.group().await;
        let mut policy = group.mixed_instances_policy.clone().unwrap();
        let specification = policy.launch_template.as_mut().unwrap().launch_template_specification.as_mut().unwrap();
        let ours = specification.version.replace("$Latest".to_owned());
        specification.launch_template_name = None;
        let name = group.auto_scaling_group_name.unwrap();
        let update = stage.scaling.update_auto_scaling_group().auto_scaling_group_name(name);
        update.mixed_instances_policy(policy).send().await.unwrap();
        assert_eq!(told(&stage).await, [(shape.clone(), 2, None)]);
        good(stage.cloud.set_standby(&shape, 2).await);
        stage.advance(60).await;
        assert_eq!(told(&stage).await, [(shape, 2, Some(2))]);
        let policy = stage.group().await.mixed_instances_policy.unwrap();
        assert_eq!(policy.launch_template.unwrap().launch_template_specification.unwrap().version, ours);
    });
}

#[test]
fn a_stock_that_is_to_stand_by_otherwise_is_made_anew() {
    let stage = stage(Ground::Emulation, &Wish { pool: "standby = { min = 2, max = 2 }", ..Wish::default() });
    block_on(async {
        stocked(&stage, 2).await;
        let shape = stage.shape("on-demand").id.clone();
        stage.reconfigure(&Wish { pool: r#"standby = { min = 2, max = 2, state = "hibernated" }"#, ..Wish::default() });
        assert_eq!(stage.shape("on-demand").id, shape);
        assert_eq!(told(&stage).await, [(shape.clone(), 2, None)]);
        good(stage.cloud.set_standby(&shape, 2).await);
        stage.advance(5).await;
        good(stage.cloud.set_standby(&shape, 2).await);
        stage.advance(400).await;
        assert_eq!(told(&stage).await, [(shape, 2, Some(2))]);
        let name = stage.group().await.auto_scaling_group_name.unwrap();
        let pool = stage.scaling.describe_warm_pool().auto_scaling_group_name(name).send().await.unwrap();
        let states = pool.instances().iter().map(|member| member.lifecycle_state().unwrap().as_str().to_owned());
        assert_eq!(states.collect::<BTreeSet<String>>(), ["Warmed:Hibernated".to_owned()].into());
    });
}

/// What changes the group and not its machines changes no machine.
#[test]
fn a_stock_stays_when_only_its_group_changes() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 2).await;
        let shape = stage.shape("on-demand").id.clone();
        stage.reconfigure(&Wish { fleet: "max_runners = 7", ..Wish::default() });
        assert_eq!(told(&stage).await, [(shape.clone(), 2, None)]);
        good(stage.cloud.set_standby(&shape, 2).await);
        assert_eq!(told(&stage).await, [(shape, 2, Some(2))]);
    });
}

#[test]
fn the_stock_of_a_shape_that_is_lost_is_taken_away() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 2).await;
        let lost = stage.shape("on-demand").id.clone();
        stage.reconfigure(&Wish { size: r#"instance_types = ["r6i.large"]"#, ..Wish::default() });
        assert_eq!(told(&stage).await, [(lost.clone(), 2, Some(2))]);
        good(stage.cloud.set_standby(&lost, 0).await);
        stage.advance(60).await;
        assert_eq!(told(&stage).await, [(lost.clone(), 0, Some(0))]);
        let more = stage.cloud.set_standby(&lost, 1).await;
        assert!(matches!(&more, Err(CloudError::Rejected(why)) if why.contains("no shape")), "{more:?}");
    });
}

#[test]
fn a_stock_that_nobody_asks_for_goes_with_its_group() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 2).await;
        stage.reconfigure(&Wish { size: r#"instance_types = ["r6i.large"]"#, ..Wish::default() });
        for _ in 0..5 {
            assert_eq!(stage.look(&[]).await.troubles, Vec::<String>::new());
            stage.advance(100 * 3_600).await;
        }
        assert_eq!(stage.groups().await.len(), 0);
    });
}

/// The scaler dies after the cloud has answered, and before the ledger knows.
#[test]
fn an_answer_that_was_never_written_down_is_given_again() {
    let mut stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 3).await;
        let launch = from_stock(&stage, 1);
        stage.writes().await;
        assert!(on_its_way(&stage.cloud.launch(&launch, &[]).await));
        stage.advance(5).await;
        let first = good(stage.cloud.launch(&launch, &[]).await);
        stage.restart(stage.stack.clone());
        let next = from_stock(&stage, 1);
        let early = stage.cloud.launch(&next, &[]).await;
        assert!(matches!(&early, Err(CloudError::Throttled(_))), "its machine is not in the ledger: {early:?}");
        let again = good(stage.cloud.launch(&launch, &[]).await);
        assert_eq!((again.instances.clone(), again.error), (first.instances, None));
        assert!(on_its_way(&stage.cloud.launch(&next, &again.instances).await), "it is now");
        let raises = stage.writes().await.into_iter().filter(|action| action == "SetDesiredCapacity").count();
        assert_eq!(raises, 2);
        assert_eq!(stage.group().await.desired_capacity(), Some(2));
    });
}

/// What the group's activities say ends the wait, and what is missing is taken back.
#[test]
fn a_raise_that_failed_is_not_waited_out() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        let shape = stage.shape("on-demand").id.clone();
        good(stage.cloud.set_standby(&shape, 0).await);
        stage.fault(json!({"kind": "launch", "available": 1})).await;
        let launch = from_stock(&stage, 3);
        assert!(on_its_way(&stage.cloud.launch(&launch, &[]).await));
        stage.advance(30).await;
        let mut answer = stage.cloud.launch(&launch, &[]).await;
        for _ in 0..6 {
            if !on_its_way(&answer) {
                break;
            }
            // One waits at the hook: nothing is lowered under a member that is not in service.
            let group = stage.group().await;
            let ids = group.instances().iter().map(|member| InstanceId::new(member.instance_id().unwrap()));
            let waiting: Vec<_> = ids.map(|id| (id, shape.clone())).collect();
            assert!(good(stage.cloud.release(&waiting).await).is_empty());
            stage.advance(10).await;
            answer = stage.cloud.launch(&launch, &[]).await;
        }
        let answer = good(answer);
        let error = answer.error.expect("two did not come");
        assert_eq!((answer.instances.len(), error.kind), (1, LaunchErrorKind::Capacity), "{error}");
        assert!(error.message.contains("do not have sufficient"), "{error}");
        stage.heal().await;
        stage.advance(600).await;
        assert_eq!(stage.sizes().await, (1, 1), "nothing comes late");
    });
}

/// The emulation's events, as EventBridge would hand them to the door.
#[test]
fn what_auto_scaling_tells_of_a_group_is_a_fact_about_its_shape() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        let shape = stage.shape("on-demand").id.clone();
        stocked(&stage, 1).await;
        assert_eq!(stage.told().await, [], "into its stock");
        stage.fault(json!({"kind": "launch", "available": 0})).await;
        assert!(on_its_way(&stage.cloud.launch(&from_stock(&stage, 2), &[]).await));
        stage.advance(30).await;
        let told = stage.told().await;
        assert_eq!(
            told.iter().map(|event| stage.cloud.shape_of(&event.group)).collect::<BTreeSet<_>>(),
            [Some(shape)].into()
        );
        let left = |event: &&GroupEvent| matches!(event.kind, GroupEventKind::LeftStandby { .. });
        assert_eq!(told.iter().filter(left).count(), 1, "{told:?}");
        let failed = told.iter().filter_map(|event| match &event.kind {
            GroupEventKind::LaunchFailed { why, .. } => Some(why),
            GroupEventKind::LeftStandby { .. } => None,
        });
        assert!(
            failed.clone().count() >= 1 && failed.clone().all(|why| why.contains("do not have sufficient")),
            "{told:?}"
        );
        assert_eq!(stage.cloud.shape_of("muster-other"), None);
    });
}

#[test]
fn a_stock_that_does_not_fill_is_told_with_the_reason() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stage.fault(json!({"kind": "launch"})).await;
        good(stage.cloud.set_standby(&stage.shape("on-demand").id, 2).await);
        stage.advance(30).await;
        let troubles = stage.look(&[]).await.troubles;
        assert!(troubles.iter().any(|why| why.contains("lacks machines: capacity: We currently")), "{troubles:?}");
        stage.heal().await;
        stage.advance(900).await;
        assert_eq!(stage.look(&[]).await.troubles, Vec::<String>::new());
    });
}

/// The call that raises desired capacity fails, and nobody knows whether it took effect.
#[test]
fn a_raise_that_never_took_effect_is_made_again() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 2).await;
        let failing = json!({"kind": "error", "action": "SetDesiredCapacity", "code": "InternalFailure", "status": 500, "count": 1});
        stage.fault(failing).await;
        let launch = from_stock(&stage, 1);
        let asked = stage.cloud.launch(&launch, &[]).await;
        assert!(matches!(&asked, Err(CloudError::Unknown(why)) if why.contains("InternalFailure")), "{asked:?}");
        stage.advance(30).await;
        assert!(on_its_way(&stage.cloud.launch(&launch, &[]).await));
        stage.advance(5).await;
        assert_eq!(good(stage.cloud.launch(&launch, &[]).await).instances.len(), 1);
        assert_eq!(stage.group().await.desired_capacity(), Some(1));
    });
}

/// The same, found out too late: what came of it then would belong to nobody.
#[test]
fn a_raise_that_is_over_is_not_made_again() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 2).await;
        let failing = json!({"kind": "error", "action": "SetDesiredCapacity", "code": "InternalFailure", "status": 500, "count": 1});
        stage.fault(failing).await;
        let launch = from_stock(&stage, 1);
        assert!(matches!(stage.cloud.launch(&launch, &[]).await, Err(CloudError::Unknown(_))));
        stage.advance(300).await;
        assert_eq!(good(stage.cloud.launch(&launch, &[]).await).instances, []);
        assert_eq!(stage.group().await.desired_capacity(), Some(0));
    });
}

/// Phantom capacity of a group whose stock stands beside it.
#[test]
fn a_raise_that_fails_is_taken_back_beside_a_stock() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stocked(&stage, 2).await;
        let name = stage.group().await.auto_scaling_group_name.unwrap();
        stage
            .scaling
            .suspend_processes()
            .auto_scaling_group_name(&name)
            .scaling_processes("Launch")
            .send()
            .await
            .unwrap();
        stage.scaling.set_desired_capacity().auto_scaling_group_name(name).desired_capacity(1).send().await.unwrap();
        for _ in 0..4 {
            stage.advance(60).await;
            stage.look(&[]).await;
        }
        assert_eq!(stage.sizes().await, (0, 0));
        assert_eq!(told(&stage).await[0].1, 2, "the stock stays");
    });
}
