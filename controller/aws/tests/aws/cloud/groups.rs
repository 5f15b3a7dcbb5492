//! What groups and templates look like, and when they are written.

use aws_sdk_ec2::types::{LaunchTemplateHttpTokensState, ShutdownBehavior};
use muster_core::config::Os;
use muster_core::money::HourlyPrice;
use muster_core::ports::{Cloud, CloudError, SpotPrice};
use serde_json::{Value, json};

use super::super::emulator::block_on;
use super::stage::{AwsStage, Ground, Wish, good, stage};

const MADE: [&str; 5] =
    ["CreateLaunchTemplate", "CreateAutoScalingGroup", "SuspendProcesses", "CreateOrUpdateTags", "LaunchInstances"];
const CHANGED: [&str; 5] = [
    "CreateLaunchTemplateVersion",
    "UpdateAutoScalingGroup",
    "SuspendProcesses",
    "CreateOrUpdateTags",
    "LaunchInstances",
];

async fn template(stage: &AwsStage) -> aws_sdk_ec2::types::LaunchTemplateVersion {
    let group = stage.group().await;
    let policy = group.mixed_instances_policy().unwrap();
    let from = policy.launch_template().unwrap().launch_template_specification().unwrap();
    let described = stage
        .ec2
        .describe_launch_template_versions()
        .launch_template_id(from.launch_template_id().unwrap())
        .versions(from.version().unwrap())
        .send()
        .await
        .unwrap();
    described.launch_template_versions()[0].clone()
}

#[test]
fn a_group_and_its_template_are_as_they_should_be() {
    let wish = Wish {
        fleet: "max_runners = 50",
        aws: "[aws]\nroot_gib = 40\nroot_initialization_mibps = 200\nkms_key = \"alias/runners\"".to_owned(),
        ..Wish::default()
    };
    let stage = stage(Ground::Emulation, &wish);
    block_on(async {
        stage.started(1).await;
        let group = stage.group().await;
        assert_eq!((group.min_size(), group.max_size()), (Some(0), Some(100)));
        assert_eq!(group.new_instances_protected_from_scale_in(), Some(true));
        assert_eq!(group.capacity_rebalance(), Some(false));
        let mut suspended: Vec<_> = group.suspended_processes().iter().filter_map(|one| one.process_name()).collect();
        suspended.sort_unstable();
        assert_eq!(suspended, ["AZRebalance", "AlarmNotification", "ReplaceUnhealthy"]);
        let subnets: Vec<&str> = stage.subnets.iter().map(|(subnet, _)| subnet.as_str()).collect();
        assert_eq!(group.vpc_zone_identifier(), Some(subnets.join(",").as_str()));
        let policy = group.mixed_instances_policy().unwrap();
        let split = policy.instances_distribution().unwrap();
        assert_eq!(split.on_demand_percentage_above_base_capacity(), Some(0));
        assert_eq!(split.spot_allocation_strategy(), Some("price-capacity-optimized"));
        let types: Vec<_> =
            policy.launch_template().unwrap().overrides().iter().filter_map(|o| o.instance_type()).collect();
        assert_eq!(types, ["c6i.large", "m6i.large"]);
        let propagated: Vec<_> =
            group.tags().iter().filter(|tag| tag.propagate_at_launch() == Some(true)).filter_map(|t| t.key()).collect();
        assert_eq!(propagated, ["muster:fleet", "muster:shape"]);

        let version = template(&stage).await;
        let data = version.launch_template_data().unwrap();
        assert_eq!(data.image_id(), Some(stage.image.as_str()));
        assert_eq!(data.key_name(), None);
        assert_eq!(data.instance_initiated_shutdown_behavior(), Some(&ShutdownBehavior::Terminate));
        let metadata = data.metadata_options().unwrap();
        assert_eq!(metadata.http_tokens(), Some(&LaunchTemplateHttpTokensState::Required));
        assert_eq!(metadata.http_put_response_hop_limit(), Some(1));
        let root = data.block_device_mappings()[0].ebs().unwrap();
        assert_eq!((root.encrypted(), root.kms_key_id()), (Some(true), Some("alias/runners")));
        assert_eq!((root.volume_size(), root.volume_initialization_rate()), (Some(40), Some(200)));
        assert_eq!(root.volume_type().map(|kind| kind.as_str()), Some("gp3"));
        let user_data = base64_decoded(data.user_data().unwrap());
        let told: Value = serde_json::from_str(&user_data).unwrap();
        let shape = stage.shape("spot").id.to_string();
        let wanted = json!({"door": "https://door.example", "audience": "https://door.example", "fleet": stage.fleet, "shape": shape});
        assert_eq!(told, wanted, "and no secret");
    });
}

fn base64_decoded(text: &str) -> String {
    use base64::Engine as _;
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(text).unwrap()).unwrap()
}

#[test]
fn on_demand_takes_types_in_order_and_attributes_by_price() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        let reply = good(stage.cloud.launch(&stage.launch_of("on-demand", 1), &[]).await);
        assert_eq!((reply.instances.len(), reply.error), (1, None));
        let group = stage.group().await;
        let split = group.mixed_instances_policy().unwrap().instances_distribution().unwrap();
        assert_eq!(split.on_demand_percentage_above_base_capacity(), Some(100));
        assert_eq!(split.on_demand_allocation_strategy(), Some("prioritized"));
        stage.reconfigure(&Wish { size: "vcpus = 4\nmemory_gib = 16", ..Wish::default() });
        let reply = good(stage.cloud.launch(&stage.launch_of("on-demand", 1), &[]).await);
        assert_eq!((reply.instances.len(), reply.error), (1, None));
        let groups = stage.groups().await;
        let by_attributes = groups.iter().find(|group| {
            let policy = group.mixed_instances_policy().unwrap();
            policy.launch_template().unwrap().overrides()[0].instance_requirements().is_some()
        });
        let policy = by_attributes.unwrap().mixed_instances_policy().unwrap().clone();
        let split = policy.instances_distribution().unwrap();
        assert_eq!(split.on_demand_allocation_strategy(), Some("lowest-price"));
        let asked = policy.launch_template().unwrap().overrides()[0].instance_requirements().unwrap().clone();
        assert_eq!(asked.v_cpu_count().map(|count| (count.min(), count.max())), Some((Some(4), Some(4))));
        assert_eq!(asked.memory_mib().and_then(|memory| memory.min()), Some(16 * 1_024));
    });
}

#[test]
fn what_is_equal_is_not_written_again() {
    let mut stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stage.writes().await;
        stage.started(1).await;
        assert_eq!(stage.writes().await, MADE);
        stage.started(1).await;
        assert_eq!(stage.writes().await, ["LaunchInstances"]);
        // Looked at again after a while, and found to be as it should be.
        stage.advance(7_200).await;
        stage.started(1).await;
        assert_eq!(stage.writes().await, ["LaunchInstances"]);
        // The root volume of new machines.
        stage.reconfigure(&Wish { aws: "[aws]\nroot_gib = 60".to_owned(), ..Wish::default() });
        stage.started(1).await;
        assert_eq!(stage.writes().await, CHANGED);
        let version = template(&stage).await;
        assert_eq!(version.version_number(), Some(2));
        let root = version.launch_template_data().unwrap().block_device_mappings()[0].ebs().unwrap().volume_size();
        assert_eq!(root, Some(60));
        assert_eq!(stage.sizes().await, (4, 4), "the machines that run were not touched");
    });
    // Another process, which has written nothing yet.
    stage.restart(stage.stack.clone());
    block_on(async {
        stage.started(1).await;
        assert_eq!(stage.writes().await, ["LaunchInstances"]);
    });
}

#[test]
fn a_change_that_was_cut_off_is_made_again() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        stage.fault(json!({"kind": "error", "action": "SuspendProcesses", "code": "Throttling"})).await;
        let refused = stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await;
        assert!(matches!(refused, Err(CloudError::Throttled(_))), "{refused:?}");
        assert_eq!(stage.group().await.suspended_processes().len(), 0);
        stage.heal().await;
        stage.started(1).await;
        assert_eq!(stage.group().await.suspended_processes().len(), 3);
        let writes = stage.writes().await;
        let versions = writes.iter().filter(|action| action.contains("LaunchTemplate")).count();
        assert_eq!(versions, 1, "the template was good already: {writes:?}");
    });
}

#[test]
fn a_smaller_cap_ends_nothing() {
    let wish = Wish { fleet: "max_runners = 100", ..Wish::default() };
    let stage = stage(Ground::Emulation, &wish);
    block_on(async {
        for _ in 0..2 {
            stage.started(90).await;
        }
        stage.reconfigure(&Wish { fleet: "max_runners = 1", ..Wish::default() });
        let full = stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await;
        assert!(matches!(full, Err(CloudError::Rejected(_))), "{full:?}");
        assert_eq!(stage.group().await.max_size(), Some(180));
        assert_eq!(stage.sizes().await, (180, 180));
    });
}

#[test]
fn what_is_not_ours_is_not_taken_over() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        let instances = stage.started(1).await;
        assert!(stage.end(&instances).await.failed.is_empty());
        let group = stage.group().await;
        let name = group.auto_scaling_group_name().unwrap();
        let tag = aws_sdk_autoscaling::types::Tag::builder()
            .key(muster_aws::FLEET_TAG)
            .value("somebody")
            .resource_id(name)
            .resource_type("auto-scaling-group")
            .propagate_at_launch(true)
            .build();
        stage.scaling.create_or_update_tags().tags(tag).send().await.unwrap();
        stage.advance(3_600).await;
        stage.writes().await;
        let refused = stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await;
        assert!(matches!(&refused, Err(CloudError::Rejected(why)) if why.contains("has no tag")), "{refused:?}");
        assert_eq!(stage.writes().await, Vec::<String>::new());
    });
}

#[test]
fn an_image_behind_a_parameter_is_followed() {
    let stage = stage(
        Ground::Emulation,
        &Wish { pool: "", size: "instance_types = [\"c6i.large\"]\nimage = \"ssm:/runners/linux\"", ..Wish::default() },
    );
    let ssm = aws_sdk_ssm::Client::new(&stage.sdk);
    block_on(async {
        let others = stage.ec2.describe_images().owners("amazon").send().await.unwrap();
        let other = others
            .images()
            .iter()
            .filter(|i| i.root_device_name().is_some())
            .find(|i| i.image_id() != Some(&stage.image));
        let other = other.and_then(|image| image.image_id()).unwrap().to_owned();
        let put = |image: &str| {
            let put = ssm.put_parameter().name("/runners/linux").value(image).overwrite(true);
            put.r#type(aws_sdk_ssm::types::ParameterType::String).send()
        };
        put("something else").await.unwrap();
        let refused = stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await;
        assert!(matches!(&refused, Err(CloudError::Rejected(why)) if why.contains("no image's id")), "{refused:?}");
        put(&stage.image).await.unwrap();
        stage.started(1).await;
        put(&other).await.unwrap();
        stage.started(1).await;
        assert_eq!(template(&stage).await.version_number(), Some(1), "read lately");
        stage.advance(600).await;
        stage.started(1).await;
        let version = template(&stage).await;
        assert_eq!(version.version_number(), Some(2));
        assert_eq!(version.launch_template_data().unwrap().image_id(), Some(other.as_str()));
    });
}

#[test]
fn what_is_missing_is_named() {
    let mut stage = stage(Ground::Emulation, &Wish::default());
    stage.restart(muster_aws::Stack::default());
    block_on(async {
        let refused = stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await;
        assert!(matches!(&refused, Err(CloudError::Rejected(why)) if why.contains("MUSTER_SUBNETS")), "{refused:?}");
    });
}

#[test]
fn a_group_that_nobody_asks_for_is_removed_after_a_week() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        let instances = stage.started(1).await;
        let before = stage.group().await.auto_scaling_group_name.unwrap();
        let other = Wish { size: r#"instance_types = ["r6i.large"]"#, ..Wish::default() };
        stage.reconfigure(&other);
        let hours = |hours: u64| stage.advance(hours * 3_600);
        stage.look(&[]).await;
        hours(200).await;
        stage.look(&[]).await;
        assert_eq!(stage.groups().await.len(), 1, "it has a member");
        let forgotten: Vec<_> =
            instances.iter().map(|i| (i.clone(), muster_core::ids::ShapeId::new("linux-x64-spot-lost-0"))).collect();
        assert!(good(stage.cloud.terminate(&forgotten).await).failed.is_empty());
        for wanted in [1, 1, 0] {
            hours(100).await;
            assert_eq!(stage.look(&[]).await.troubles, Vec::<String>::new());
            stage.advance(5).await;
            assert_eq!(stage.groups().await.len(), wanted);
        }
        let templates = stage.ec2.describe_launch_templates().launch_template_names(&before).send().await;
        assert!(templates.is_err(), "the template is gone too: {templates:?}");
        // What comes back is made anew.
        stage.reconfigure(&Wish::default());
        stage.started(1).await;
        assert_eq!(stage.group().await.auto_scaling_group_name.as_deref(), Some(before.as_str()));
    });
}

#[test]
fn a_full_account_says_so_and_gives_up_what_is_unused() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        let instances = stage.started(1).await;
        assert!(stage.end(&instances).await.failed.is_empty());
        stage.advance(60).await;
        let limits =
            json!({"account": "123456789012", "region": super::stage::REGION, "MaxNumberOfAutoScalingGroups": 1});
        stage.control("POST", "limits", limits).await;
        stage.reconfigure(&Wish { size: r#"instance_types = ["r6i.large"]"#, ..Wish::default() });
        let full = stage.cloud.launch(&stage.launch_of("spot", 1), &[]).await;
        assert!(matches!(&full, Err(CloudError::Rejected(why)) if why.contains("1 of 1 groups")), "{full:?}");
        assert_eq!(stage.look(&[]).await.troubles, Vec::<String>::new());
        stage.advance(5).await;
        stage.started(1).await;
    });
}

#[test]
fn windows_machines_cost_what_windows_costs() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        let windows = r#"
            [pool.sizes.small]
            instance_types = ["c6i.large", "m6i.large"]
            [[pool]]
            name = "windows"
            os = "windows"
            arch = "x64"
            labels = ["windows"]
            default_size = "small"
            default_market = "spot"
            markets = ["spot"]
        "#;
        stage.reconfigure(&Wish { pool: windows, ..Wish::default() });
        let shapes = stage.shapes();
        let mut prices = good(stage.cloud.spot_prices().await);
        prices.retain(|told| told.zone == stage.subnets[0].1);
        let of = |os: Os| {
            let is_of = |told: &&SpotPrice| shapes.iter().any(|shape| shape.os == os && shape.id == told.shape);
            prices.iter().filter(is_of).map(|told| told.price).collect::<Vec<_>>()
        };
        let ([linux], [windows]) = (&*of(Os::Linux), &*of(Os::Windows)) else { panic!("{prices:?}") };
        assert!(*windows > *linux + HourlyPrice::from_usd(0.09), "two vCPUs: {prices:?}");
    });
}

#[test]
fn a_spot_shape_costs_as_much_as_the_dearest_of_its_types_in_a_zone() {
    let stage = stage(Ground::Emulation, &Wish::default());
    block_on(async {
        let zone = stage.subnets[0].1.clone();
        for (name, price) in [("c6i.large", 0.0321), ("m6i.large", 0.0456), ("r6i.large", 0.9)] {
            let price = json!({"account": "123456789012", "region": super::stage::REGION, "instance_type": name, "zone": zone, "price": price});
            stage.control("POST", "spot-prices", price).await;
        }
        let prices = good(stage.cloud.spot_prices().await);
        let told: Vec<_> = prices.iter().filter(|price| price.zone == zone).collect();
        assert_eq!(told.len(), 1, "on-demand shapes have none: {prices:?}");
        assert_eq!(told[0].shape, stage.shape("spot").id);
        assert_eq!(told[0].price, HourlyPrice::from_usd(0.0456));
        stage.reconfigure(&Wish { size: "vcpus = 2\nmemory_gib = 4", ..Wish::default() });
        assert_eq!(good(stage.cloud.spot_prices().await), [], "hardware by attributes names no types");
    });
}
