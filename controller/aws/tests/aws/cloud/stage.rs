//! A fleet in an emulated account: configuration, clock, and a hand on the emulation.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_autoscaling::types::AutoScalingGroup;
use aws_sdk_ec2::config::{Credentials, Region, SharedCredentialsProvider};
use muster_aws::{AwsCloud, FLEET_TAG, Stack, aws_config};
use muster_core::config::{Arch, FleetConfig, Os, Shape};
use muster_core::contract::Stage;
use muster_core::fact::GroupEvent;
use muster_core::ids::{InstanceId, LaunchId, ShapeId, Zone};
use muster_core::launch::{Launch, LaunchReply};
use muster_core::machine::{Origin, Purpose};
use muster_core::money::HourlyPrice;
use muster_core::ports::{Cloud, CloudError, Ended, InstanceState, Sighting};
use muster_core::time::Timestamp;
use muster_webhook::cloud_events::{self, Heard};
use serde_json::{Value, json};

use super::super::emulator::{block_on, random};

pub(crate) const REGION: &str = "us-east-1";
/// The emulation has one clock and one list of faults: one test at a time uses it.
static ALONE: Mutex<()> = Mutex::new(());
const PATIENCE: Duration = Duration::from_secs(30);

/// Which emulator a stage stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    Emulation,
    Moto,
}

impl Ground {
    fn endpoint(self) -> String {
        let name = match self {
            Ground::Emulation => "MUSTER_TEST_EMULATION",
            Ground::Moto => "MUSTER_TEST_MOTO",
        };
        std::env::var(name).unwrap_or_else(|_| {
            panic!("{name} does not say where it is: `bash .ci/run emulators` starts all and runs these tests")
        })
    }
}

pub(crate) struct AwsStage {
    pub(crate) cloud: AwsCloud,
    pub(crate) fleet: String,
    pub(crate) image: String,
    pub(crate) subnets: Vec<(String, Zone)>,
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) scaling: aws_sdk_autoscaling::Client,
    pub(crate) sdk: SdkConfig,
    pub(crate) stack: Stack,
    ground: Ground,
    endpoint: String,
    config: Arc<Mutex<Arc<FleetConfig>>>,
    clock: Arc<AtomicI64>,
    launches: Cell<u32>,
    _alone: MutexGuard<'static, ()>,
}

/// What a pool's configuration may add.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) fleet: &'static str,
    pub(crate) pool: &'static str,
    pub(crate) size: &'static str,
    pub(crate) aws: String,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish { fleet: "", pool: "", size: r#"instance_types = ["c6i.large", "m6i.large"]"#, aws: String::new() }
    }
}

fn configuration(name: &str, wish: &Wish) -> Arc<FleetConfig> {
    let Wish { fleet, pool, size, aws } = wish;
    let text = format!(
        r#"
        [github]
        organization = "acme"
        webhook_secrets = ["env:SECRET"]
        [[github.app]]
        id = 1
        private_key = "env:KEY"
        [fleet]
        name = "{name}"
        {fleet}
        {aws}
        [[pool]]
        name = "linux"
        os = "linux"
        arch = "x64"
        labels = ["linux"]
        default_size = "small"
        default_market = "spot"
        markets = ["spot", "on-demand"]
        {pool}
        [pool.sizes.small]
        {size}
        "#
    );
    let parsed = FleetConfig::parse("test.toml", &text);
    Arc::new(parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.errors)))
}

pub(crate) fn stage(ground: Ground, wish: &Wish) -> AwsStage {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let endpoint = ground.endpoint();
    let sdk = block_on(aws_config(Some(&endpoint)));
    let credentials = Credentials::new("test", "test", None, None, "tests");
    let provider = SharedCredentialsProvider::new(credentials);
    let sdk = sdk.into_builder().region(Region::new(REGION)).credentials_provider(provider).build();
    // The stage's own hand: an emulator on a busy machine takes longer than the adapter may wait.
    let patient = TimeoutConfig::builder().operation_attempt_timeout(PATIENCE).operation_timeout(PATIENCE).build();
    let patient = sdk.clone().into_builder().timeout_config(patient).build();
    let (ec2, scaling) = (aws_sdk_ec2::Client::new(&patient), aws_sdk_autoscaling::Client::new(&patient));
    if ground == Ground::Emulation {
        block_on(async {
            control(&endpoint, "POST", "reset", json!({})).await;
            control(&endpoint, "POST", "clock", json!({"mode": "stopped"})).await;
        });
    }
    let (subnets, image, security_group) =
        block_on(async { (subnets(&ec2).await, images(&ec2).await[0].clone(), security_group(&ec2).await) });
    // What an earlier test has left in moto is another fleet's.
    let fleet = format!("t{}", random());
    let config = Arc::new(Mutex::new(configuration(&fleet, wish)));
    // The emulators give credentials by the wall's clock.
    let clock = Arc::new(AtomicI64::new(wall()));
    let stack = Stack {
        subnets: subnets.iter().map(|(subnet, _)| subnet.clone()).collect(),
        security_groups: vec![security_group],
        instance_profile: Some("arn:aws:iam::123456789012:instance-profile/runner".to_owned()),
        kms_key: None,
        images: [((Os::Linux, Arch::X64), image.as_str().into())].into(),
        door_url: "https://door.example".to_owned(),
        audience: String::new(),
    };
    let now = now_of(&clock);
    let cloud = AwsCloud::new(sdk.clone(), stack.clone(), in_force(&config), now);
    let launches = Cell::new(0);
    AwsStage {
        cloud,
        fleet,
        image,
        subnets,
        ec2,
        scaling,
        sdk,
        stack,
        ground,
        endpoint,
        config,
        clock,
        launches,
        _alone: alone,
    }
}

fn in_force(config: &Arc<Mutex<Arc<FleetConfig>>>) -> muster_aws::Config {
    let config = config.clone();
    Arc::new(move || config.lock().unwrap().clone())
}

fn now_of(clock: &Arc<AtomicI64>) -> muster_aws::Now {
    let clock = clock.clone();
    Arc::new(move || Timestamp::from_unix_ms(clock.load(Ordering::Relaxed)))
}

async fn subnets(ec2: &aws_sdk_ec2::Client) -> Vec<(String, Zone)> {
    let described = ec2.describe_subnets().send().await.unwrap();
    let mut subnets: Vec<_> = described
        .subnets()
        .iter()
        .map(|subnet| (subnet.subnet_id().unwrap().to_owned(), Zone::new(subnet.availability_zone().unwrap())))
        .collect();
    subnets.sort_by(|one, other| one.1.cmp(&other.1));
    subnets.truncate(3);
    subnets
}

async fn security_group(ec2: &aws_sdk_ec2::Client) -> String {
    let described = ec2.describe_security_groups().send().await.unwrap();
    let mut defaults = described.security_groups().iter().filter(|group| group.group_name() == Some("default"));
    defaults.next().and_then(|group| group.group_id()).unwrap().to_owned()
}

/// Images that Linux machines can be launched from. Both grounds have moto's, read once: there are hundreds.
async fn images(ec2: &aws_sdk_ec2::Client) -> &'static [String] {
    static IMAGES: OnceLock<Vec<String>> = OnceLock::new();
    if let Some(images) = IMAGES.get() {
        return images;
    }
    let described = ec2.describe_images().owners("amazon").send().await.unwrap();
    let linux = |image: &&aws_sdk_ec2::types::Image| image.root_device_name().is_some() && image.platform().is_none();
    let images = described.images().iter().filter(linux);
    let images = images.map(|image| image.image_id().unwrap().to_owned()).collect();
    IMAGES.get_or_init(|| images)
}

async fn control(endpoint: &str, method: &str, path: &str, body: Value) -> Value {
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
    let request = client.request(method.parse().unwrap(), format!("{endpoint}/_emulation/{path}"));
    let request = if method == "GET" { request } else { request.json(&body) };
    let answer = request.send().await.unwrap();
    let (status, body) = (answer.status(), answer.json::<Value>().await.unwrap());
    assert!(status.is_success(), "{method} {path}: {body}");
    body
}

impl AwsStage {
    /// A new process with the same configuration and clock.
    pub(crate) fn restart(&mut self, stack: Stack) {
        self.cloud = AwsCloud::new(self.sdk.clone(), stack, in_force(&self.config), now_of(&self.clock));
    }

    /// Puts another configuration in force.
    pub(crate) fn reconfigure(&self, wish: &Wish) {
        *self.config.lock().unwrap() = configuration(&self.fleet, wish);
    }

    pub(crate) fn shapes(&self) -> Vec<Arc<Shape>> {
        self.config.lock().unwrap().shapes().cloned().collect()
    }

    pub(crate) fn shape(&self, market: &str) -> Arc<Shape> {
        let config = self.config.lock().unwrap();
        config.shapes().find(|shape| shape.market.as_str() == market).unwrap().clone()
    }

    /// The spot shape of an account; `None` is the home account.
    pub(crate) fn shape_in(&self, account: Option<&str>) -> Arc<Shape> {
        let config = self.config.lock().unwrap();
        let mut shapes = config.shapes().filter(|shape| shape.market.as_str() == "spot");
        shapes.find(|shape| shape.account.as_deref() == account).unwrap().clone()
    }

    /// Lets our clock and the emulation's go on.
    pub(crate) async fn advance(&self, seconds: u64) {
        self.clock.fetch_add(i64::try_from(seconds * 1_000).unwrap(), Ordering::Relaxed);
        if self.ground == Ground::Emulation {
            self.control("POST", "advance", json!({"seconds": seconds})).await;
        }
    }

    pub(crate) async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        control(&self.endpoint, method, path, body).await
    }

    pub(crate) async fn fault(&self, rule: Value) {
        self.control("POST", "faults", rule).await;
    }

    pub(crate) async fn heal(&self) {
        self.control("DELETE", "faults", json!({})).await;
    }

    /// What the door makes of the events about groups since the last such question.
    pub(crate) async fn told(&self) -> Vec<GroupEvent> {
        let events = self.control("GET", "events", json!({})).await;
        self.control("DELETE", "events", json!({})).await;
        let heard = events.as_array().unwrap().iter().map(|event| cloud_events::read(&event.to_string()).unwrap());
        let of_groups = |heard| if let Heard::Group(event) = heard { Some(event) } else { None };
        heard.filter_map(of_groups).collect()
    }

    /// What was asked of AWS since the last such question, by action. Reading is left out.
    pub(crate) async fn writes(&self) -> Vec<String> {
        let calls = self.control("GET", "calls", json!({})).await;
        self.control("DELETE", "calls", json!({})).await;
        let actions = calls.as_array().unwrap().iter().map(|call| call["action"].as_str().unwrap().to_owned());
        actions.filter(|action| !action.starts_with("Describe") && !action.starts_with("Get")).collect()
    }

    pub(crate) async fn groups(&self) -> Vec<AutoScalingGroup> {
        let described = self.scaling.describe_auto_scaling_groups().send().await.unwrap();
        let ours = |group: &AutoScalingGroup| {
            group.tags().iter().any(|tag| tag.key() == Some(FLEET_TAG) && tag.value() == Some(&self.fleet))
        };
        described.auto_scaling_groups.unwrap_or_default().into_iter().filter(ours).collect()
    }

    /// An image that the stack does not name.
    pub(crate) async fn other_image(&self) -> String {
        images(&self.ec2).await.iter().find(|id| **id != self.image).unwrap().clone()
    }

    pub(crate) async fn group(&self) -> AutoScalingGroup {
        let mut groups = self.groups().await;
        assert_eq!(groups.len(), 1);
        groups.remove(0)
    }

    /// Desired capacity and number of members of the only group.
    pub(crate) async fn sizes(&self) -> (i32, usize) {
        let group = self.group().await;
        (group.desired_capacity().unwrap(), group.instances().len())
    }

    pub(crate) fn launch_of(&self, market: &str, count: u32) -> Launch {
        let shape = self.shape(market);
        self.launches.set(self.launches.get() + 1);
        Launch {
            id: LaunchId::new(format!("{}-1-{}", self.fleet, self.launches.get())),
            purpose: Purpose {
                pool: muster_core::ids::PoolName::new("linux"),
                class: muster_core::ids::ClassId::new(format!("linux/small/{market}")),
                shape: shape.id.clone(),
                zone: self.subnets[0].1.clone(),
                market: shape.market,
                account: shape.account.clone(),
                origin: Origin::Cold,
                price: HourlyPrice::ZERO,
            },
            count,
            may_register: true,
            intended_at: Timestamp::from_unix_ms(self.clock.load(Ordering::Relaxed)),
            reason: "a test".into(),
        }
    }

    /// Launches spot machines that are in service afterwards.
    pub(crate) async fn started(&self, count: u32) -> Vec<InstanceId> {
        let reply = good(self.cloud.launch(&self.launch_of("spot", count), &[]).await);
        assert_eq!((reply.instances.len(), &reply.error), (count as usize, &None));
        self.advance(5).await;
        reply.instances
    }

    pub(crate) async fn end(&self, instances: &[InstanceId]) -> Ended {
        good(self.cloud.terminate(&self.named(instances)).await)
    }

    pub(crate) async fn look(&self, known: &[InstanceId]) -> Sighting {
        good(self.cloud.instances(&self.named(known)).await)
    }

    pub(crate) fn named(&self, instances: &[InstanceId]) -> Vec<(InstanceId, ShapeId)> {
        let shape = self.shape("spot").id.clone();
        instances.iter().map(|instance| (instance.clone(), shape.clone())).collect()
    }

    /// The state of an instance as EC2 says.
    pub(crate) async fn state(&self, instance: &InstanceId) -> String {
        let described = self.ec2.describe_instances().instance_ids(instance.as_str()).send().await.unwrap();
        let instance = &described.reservations()[0].instances()[0];
        instance.state().unwrap().name().unwrap().as_str().to_owned()
    }
}

impl Stage for AwsStage {
    type Cloud = AwsCloud;

    fn cloud(&self) -> &AwsCloud {
        &self.cloud
    }

    fn launch(&self, count: u32) -> Launch {
        self.launch_of("spot", count)
    }

    fn standing(&self) -> ShapeId {
        self.shape("on-demand").id.clone()
    }

    async fn pass(&self, span: Duration) {
        self.advance(span.as_secs()).await;
    }

    async fn set_capacity(&self, there: bool) {
        if there {
            self.heal().await;
        } else {
            self.fault(json!({"kind": "launch"})).await;
        }
    }

    /// Moto knows no `LaunchInstances`. Getting ready for one makes the group, which can be raised.
    async fn machines(&self, count: u32) -> (Launch, Vec<InstanceId>) {
        let launch = self.launch(count);
        let reply = self.cloud.launch(&launch, &[]).await;
        if self.ground == Ground::Emulation {
            self.advance(60).await;
            return (launch, good(reply).instances);
        }
        assert!(matches!(reply, Err(CloudError::Unknown(_))), "moto answers what it does not know with 500: {reply:?}");
        let members = async || {
            let group = self.group().await;
            group
                .instances()
                .iter()
                .map(|member| InstanceId::new(member.instance_id().unwrap()))
                .collect::<BTreeSet<_>>()
        };
        let (before, group) = (members().await, self.group().await);
        let desired = group.desired_capacity().unwrap() + i32::try_from(count).unwrap();
        let raise = self.scaling.set_desired_capacity().set_auto_scaling_group_name(group.auto_scaling_group_name);
        raise.desired_capacity(desired).send().await.unwrap();
        (launch, members().await.difference(&before).cloned().collect())
    }
}

#[track_caller]
pub(crate) fn good<T>(answer: Result<T, CloudError>) -> T {
    match answer {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// Why a launch was refused without any machine.
#[track_caller]
pub(crate) fn refused(reply: LaunchReply) -> (muster_core::launch::LaunchErrorKind, String) {
    assert_eq!(reply.instances, []);
    let error = reply.error.expect("it was refused");
    (error.kind, error.message.to_string())
}

pub(crate) fn live(sighting: &Sighting) -> BTreeSet<InstanceId> {
    in_state(sighting, InstanceState::Live)
}

pub(crate) fn in_state(sighting: &Sighting, wanted: InstanceState) -> BTreeSet<InstanceId> {
    sighting.seen.iter().filter(|(_, state)| *state == wanted).map(|(instance, _)| instance.clone()).collect()
}

fn wall() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
