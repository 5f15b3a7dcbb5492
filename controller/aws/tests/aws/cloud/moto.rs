//! What moto does right: subnets, images, templates, groups, members, ends with decrement.

use muster_core::contract::Stage;
use muster_core::ids::InstanceId;
use muster_core::ports::Cloud;

use super::super::emulator::block_on;
use super::stage::{Ground, Wish, good, live, stage};

#[test]
fn groups_are_made_once_and_members_end_by_name() {
    // Unlike EC2, moto wants to be told the size of a root volume.
    let stage = stage(Ground::Moto, &Wish { aws: "[aws]\nroot_gib = 20".to_owned(), ..Wish::default() });
    block_on(async {
        assert_eq!(good(stage.cloud.zones().await).len(), stage.subnets.len());
        let (_, instances) = stage.machines(3).await;
        assert_eq!(instances.len(), 3);
        let group = stage.group().await;
        assert_eq!((group.min_size(), group.new_instances_protected_from_scale_in()), (Some(0), Some(true)));
        assert_eq!(live(&stage.look(&instances).await), instances.iter().cloned().collect());
        assert!(stage.end(&instances[..1]).await.failed.is_empty());
        assert_eq!(stage.sizes().await, (2, 2));
        let ended = stage.end(&instances[..1]).await;
        assert_eq!((ended.gone, ended.failed.len()), (instances[..1].to_vec(), 0));
        assert_eq!(stage.sizes().await, (2, 2));
        let nobody = InstanceId::new("i-00000000000000bad");
        assert_eq!(stage.look(std::slice::from_ref(&nobody)).await.absent, [nobody]);
        assert!(good(stage.cloud.silence(&stage.named(&instances[1..])).await).is_empty());
    });
}

#[test]
fn a_stranger_is_left_alone() {
    let stage = stage(Ground::Moto, &Wish::default());
    block_on(async {
        let run = stage.ec2.run_instances().image_id(&stage.image).min_count(1).max_count(1).send().await.unwrap();
        let stranger = InstanceId::new(run.instances()[0].instance_id().unwrap());
        let ended = stage.end(std::slice::from_ref(&stranger)).await;
        assert_eq!(ended.failed.len(), 1, "{ended:?}");
        assert_eq!(stage.state(&stranger).await, "running");
    });
}
