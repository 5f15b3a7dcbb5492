//! Several accounts: each fails alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_sdk_ec2::config::{Credentials, SharedCredentialsProvider};
use muster_core::config::Shape;
use muster_core::ids::InstanceId;
use muster_core::machine::{Market, Origin, Purpose};
use muster_core::ports::{Cloud, CloudError, Stock};
use serde_json::json;

use super::super::emulator::block_on;
use super::stage::{AwsStage, Ground, Wish, good, stage};

const OTHER: &str = "222222222222";

/// Where machines can live in the other account, read with its role.
async fn place(stage: &AwsStage) -> String {
    let role = format!("arn:aws:iam::{OTHER}:role/muster");
    let sts = aws_sdk_sts::Client::new(&stage.sdk);
    let given = sts.assume_role().role_arn(&role).role_session_name("tests").send().await.unwrap().credentials.unwrap();
    let credentials =
        Credentials::new(given.access_key_id, given.secret_access_key, Some(given.session_token), None, "tests");
    let sdk =
        stage.sdk.clone().into_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build();
    let subnets = aws_sdk_ec2::Client::new(&sdk).describe_subnets().send().await.unwrap();
    let zone = stage.subnets[0].1.as_str();
    let subnet = subnets.subnets().iter().find(|subnet| subnet.availability_zone() == Some(zone)).unwrap();
    format!(
        r#"
        [[aws.account]]
        name = "build"
        role = "{role}"
        external_id = "what-was-agreed"
        subnets = ["{}"]
        instance_profile = "arn:aws:iam::{OTHER}:instance-profile/runner"
        images = {{ linux-x64 = "{}" }}
        "#,
        subnet.subnet_id().unwrap(),
        stage.image
    )
}

/// Two pools: one at home, one in the other account.
async fn furnish(stage: &AwsStage) {
    let pool = r#"
        [pool.sizes.small]
        instance_types = ["c6i.large"]
        [[pool]]
        name = "far"
        account = "build"
        os = "linux"
        arch = "x64"
        labels = ["far"]
        default_size = "small"
        default_market = "spot"
        markets = ["spot", "on-demand"]
    "#;
    stage.reconfigure(&Wish { aws: place(stage).await, pool, ..Wish::default() });
}

/// A launch at home, or in the other account.
fn launch(stage: &AwsStage, far: bool, count: u32) -> muster_core::launch::Launch {
    let mut launch = stage.launch_of("spot", count);
    launch.purpose.shape = stage.shape_in(far.then_some("build")).id.clone();
    launch
}

#[test]
fn a_role_is_taken_on_once_and_its_account_stands_alone() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        furnish(&stage).await;
        stage.writes().await;
        let (home, far) = (launch(&stage, false, 1), launch(&stage, true, 2));
        let at_home = good(stage.cloud.launch(&home, &[]).await).instances;
        let away = good(stage.cloud.launch(&far, &[]).await).instances;
        assert_eq!((at_home.len(), away.len()), (1, 2));
        stage.advance(5).await;
        let calls = stage.control("GET", "calls?action=AssumeRole", json!({})).await;
        let calls = calls.as_array().unwrap();
        assert_eq!(calls.len(), 1, "{calls:?}");
        assert_eq!(calls[0]["params"]["ExternalId"], "what-was-agreed");
        let tags = calls[0]["params"].to_string();
        assert!(
            tags.contains("muster:fleet") && tags.contains("muster:account") && tags.contains(&stage.fleet),
            "{tags}"
        );
        let launches = stage.control("GET", "calls?action=LaunchInstances", json!({})).await;
        let accounts: Vec<_> =
            launches.as_array().unwrap().iter().map(|call| call["account"].as_str().unwrap()).collect();
        assert_eq!(accounts, ["123456789012", OTHER]);

        let known: Vec<_> = at_home
            .iter()
            .map(|instance| (instance.clone(), home.purpose.shape.clone()))
            .chain(away.iter().map(|instance| (instance.clone(), far.purpose.shape.clone())))
            .collect();
        let sighting = good(stage.cloud.instances(&known).await);
        assert_eq!((sighting.seen.len(), sighting.absent.len(), sighting.troubles.len()), (3, 0, 0), "{sighting:?}");

        // The other account's role is revoked, and its credentials have run out.
        stage.fault(json!({"kind": "error", "action": "AssumeRole", "code": "AccessDenied", "status": 403})).await;
        stage.advance(3_600).await;
        let sighting = good(stage.cloud.instances(&known).await);
        let seen: Vec<&InstanceId> = sighting.seen.iter().map(|(instance, _)| instance).collect();
        assert_eq!(seen, at_home.iter().collect::<Vec<_>>());
        assert_eq!(sighting.absent, [], "nobody could look there");
        assert!(sighting.troubles.iter().any(|why| why.contains("account build") && why.contains("trust policy")));
        let refused = stage.cloud.launch(&launch(&stage, true, 1), &[]).await;
        assert!(matches!(&refused, Err(CloudError::Rejected(why)) if why.contains("AccessDenied")), "{refused:?}");
        assert_eq!(good(stage.cloud.launch(&launch(&stage, false, 1), &[]).await).instances.len(), 1);
        let ended = good(stage.cloud.terminate(&known).await);
        let failed: Vec<_> = ended.failed.iter().map(|(instance, _)| instance.clone()).collect();
        assert_eq!(failed, away, "{ended:?}");
        assert!(!good(stage.cloud.zones().await).is_empty());

        stage.heal().await;
        let ended = good(stage.cloud.terminate(&known).await);
        assert!(ended.failed.is_empty(), "{ended:?}");
        stage.advance(60).await;
        let sighting = good(stage.cloud.instances(&known).await);
        assert_eq!((sighting.absent.len(), sighting.troubles.len()), (0, 0), "{sighting:?}");
    });
}

#[test]
fn an_instance_whose_shape_is_forgotten_is_looked_for_everywhere() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        furnish(&stage).await;
        let far = launch(&stage, true, 1);
        let away = good(stage.cloud.launch(&far, &[]).await).instances;
        stage.advance(5).await;
        let lost = muster_core::ids::ShapeId::new("linux-x64-spot-lost-00000000");
        let nobody = InstanceId::new("i-00000000000000bad");
        let known = [(away[0].clone(), lost.clone()), (nobody.clone(), lost)];
        let sighting = good(stage.cloud.instances(&known).await);
        assert_eq!((sighting.seen.len(), &sighting.absent), (1, &vec![nobody.clone()]), "{sighting:?}");
        stage.fault(json!({"kind": "error", "action": "DescribeInstances", "account": OTHER, "code": "InternalError", "status": 500}))
            .await;
        let sighting = good(stage.cloud.instances(&known).await);
        assert_eq!((sighting.seen.len(), sighting.absent.len()), (0, 0), "it may be where nobody looked");
        stage.heal().await;
        let ended = good(stage.cloud.terminate(&known).await);
        assert!(ended.failed.is_empty(), "{ended:?}");
        stage.advance(60).await;
        let again = good(stage.cloud.terminate(&known).await);
        assert_eq!((again.gone, again.failed.len()), (away, 0));
    });
}

#[test]
fn a_stock_in_another_account_is_filled_taken_from_and_told_there() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        furnish(&stage).await;
        let shapes = stage.shapes();
        let far = |shape: &&Arc<Shape>| shape.account.is_some() && shape.market == Market::OnDemand;
        let shape = shapes.iter().find(far).unwrap().id.clone();
        good(stage.cloud.set_standby(&shape, 2).await);
        stage.advance(400).await;
        let told = |ready| Stock { shape: shape.clone(), ready, size: Some(2) };
        assert_eq!(good(stage.cloud.standby().await), [told(2)]);
        assert_eq!(stage.groups().await.len(), 0, "nothing stands at home");
        let mut launch = stage.launch_of("on-demand", 1);
        launch.purpose = Purpose { shape: shape.clone(), origin: Origin::Standby, ..launch.purpose };
        assert!(matches!(stage.cloud.launch(&launch, &[]).await, Err(CloudError::Unknown(_))), "on its way");
        stage.advance(5).await;
        let came = good(stage.cloud.launch(&launch, &[]).await).instances;
        assert_eq!(came.len(), 1);
        let named = vec![(came[0].clone(), shape.clone())];
        assert!(good(stage.cloud.release(&named).await).is_empty());
        stage.advance(400).await;
        assert_eq!(good(stage.cloud.standby().await), [told(2)], "filled up again");
        let writes = stage.control("GET", "calls?action=SetDesiredCapacity", json!({})).await;
        let accounts: BTreeSet<_> =
            writes.as_array().unwrap().iter().map(|call| call["account"].as_str().unwrap()).collect();
        assert_eq!(accounts, [OTHER].into());

        // The role is revoked: nothing of that stock is to be had, and it is not told as one to be filled.
        stage.fault(json!({"kind": "error", "action": "AssumeRole", "code": "AccessDenied", "status": 403})).await;
        stage.advance(3_600).await;
        assert_eq!(good(stage.cloud.standby().await), [told(0)]);
        assert!(stage.cloud.set_standby(&shape, 2).await.is_err());
    });
}

#[test]
fn a_checkup_tells_what_each_account_has_and_changes_nothing() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        furnish(&stage).await;
        stage.writes().await;
        let found = stage.cloud.checkup().await;
        let names: Vec<_> = found.iter().map(|account| account.name.as_deref()).collect();
        assert_eq!(names, [None, Some("build")]);
        for account in &found {
            let there = account.there.as_ref().unwrap();
            let zones = if account.role.is_none() { stage.subnets.len() } else { 1 };
            assert_eq!((&account.lacking, &there.subnets), (&Vec::new(), &Ok((Vec::new(), zones))));
            let images: Vec<_> = there.images.iter().map(|(name, id)| (name.as_str(), id.clone())).collect();
            assert_eq!(images, [(&*format!("linux x64 ({})", stage.image), Ok(stage.image.clone()))]);
            let quotas: Vec<_> =
                there.vcpus.iter().map(|quota| (quota.code, quota.needed, quota.vcpus.clone())).collect();
            assert_eq!(quotas, [("L-1216C47A", 2, Ok(5)), ("L-34B43A08", 2, Ok(5))], "those of a new account");
            let (has, most) = *there.groups.as_ref().unwrap();
            assert!(has < most, "{has} of {most}");
        }
        let calls = stage.writes().await;
        assert!(calls.iter().all(|call| call == "AssumeRole"), "{calls:?}");

        // An image and a subnet that are not there, and nothing in the configuration of the other account.
        let wish = Wish {
            aws: "[aws]\nsubnets = [\"subnet-00000000000000bad\"]\nimages = { linux-x64 = \"ami-00000000000000bad\" }"
                .to_owned(),
            ..Wish::default()
        };
        stage.reconfigure(&wish);
        let found = stage.cloud.checkup().await;
        let there = found[0].there.as_ref().unwrap();
        assert_eq!(there.subnets, Ok((vec!["subnet-00000000000000bad".to_owned()], 0)));
        let image = there.images["linux x64 (ami-00000000000000bad)"].as_ref().unwrap_err();
        assert!(image.contains("ami-00000000000000bad"), "{image}");

        // The role cannot be taken on: nothing is asked in the other account.
        furnish(&stage).await;
        stage.fault(json!({"kind": "error", "action": "AssumeRole", "code": "AccessDenied", "status": 403})).await;
        stage.advance(3_600).await;
        stage.writes().await;
        let found = stage.cloud.checkup().await;
        assert!(found[0].there.is_ok());
        let why = found[1].there.as_ref().unwrap_err();
        assert!(why.contains("AccessDenied") && why.contains("trust policy"), "{why}");
        assert_eq!(stage.writes().await, ["AssumeRole"], "once");
        stage.heal().await;
    });
}
