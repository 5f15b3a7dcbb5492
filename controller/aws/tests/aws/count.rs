//! Whether every request is counted: by a server that counts them too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::config::{Credentials, Region, SharedCredentialsProvider};
use muster_aws::{
    AwsCloud, AwsSecrets, ConfigObject, DynamoLedger, ObjectAddress, Stack, StsIdentity, aws_config, caller, dynamo,
    queue_is_fifo, sqs,
};
use muster_core::config::{FleetConfig, SecretRef};
use muster_core::identity::Identity;
use muster_core::ports::Cloud;
use muster_core::time::Timestamp;
use muster_emf::EmfRecorder;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::identity::agent::Agent;
use crate::identity::{INSTANCE, now, settings};

/// A server that has trouble with every request: the SDK repeats it once.
struct Troubled {
    runtime: Runtime,
    sdk: SdkConfig,
    requests: Arc<AtomicUsize>,
    recorder: EmfRecorder,
}

async fn serve(listener: TcpListener, requests: Arc<AtomicUsize>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut heard = [0; 16 * 1024];
        // All requests of these tests fit.
        if stream.read(&mut heard).await.is_ok_and(|bytes| bytes > 0) {
            requests.fetch_add(1, Ordering::Relaxed);
            let answer = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }
}

fn troubled() -> Troubled {
    // One thread: the recorder is that of the thread.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let sdk = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, requests.clone()));
        let credentials = SharedCredentialsProvider::new(Credentials::new("test", "test", None, None, "tests"));
        let sdk = aws_config(Some(&endpoint)).await.into_builder();
        sdk.region(Region::new("us-east-1")).credentials_provider(credentials).build()
    });
    let recorder = EmfRecorder::builder("Test").build().unwrap();
    Troubled { runtime, sdk, requests, recorder }
}

impl Troubled {
    /// What was counted while this was done, by action; as many requests came.
    fn counted(&self, work: impl Future<Output = ()>) -> Vec<(String, f64)> {
        metrics::with_local_recorder(&self.recorder, || self.runtime.block_on(work));
        let mut lines = Vec::new();
        assert!(self.recorder.flush(0, &mut lines).unwrap().is_complete());
        let lines: Vec<Value> =
            String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let count = |line: &Value| (line["api"].as_str().unwrap().to_owned(), line["AwsRequests"].as_f64().unwrap());
        let counted: Vec<_> = lines.iter().map(count).collect();
        let sum: f64 = counted.iter().map(|(_, requests)| requests).sum();
        assert_eq!(sum, self.requests.swap(0, Ordering::Relaxed) as f64, "{counted:?}");
        counted
    }
}

fn twice(action: &str) -> Vec<(String, f64)> {
    vec![(action.to_owned(), 2.0)]
}

#[test]
fn requests_to_the_ledger_and_the_queue_are_counted() {
    let troubled = troubled();
    let open = async { assert!(DynamoLedger::open(dynamo(&troubled.sdk), "muster", "0123").await.is_err()) };
    assert_eq!(troubled.counted(open), twice("PutItem"));
    let ask = async { assert!(sqs(&troubled.sdk).list_queues().send().await.is_err()) };
    assert_eq!(troubled.counted(ask), twice("ListQueues"));
}

#[test]
fn requests_for_secrets_and_the_configuration_are_counted() {
    let troubled = troubled();
    let secrets = AwsSecrets::of(&troubled.sdk);
    let read = async |reference| assert!(secrets.read(&reference, Instant::now()).await.is_err());
    assert_eq!(troubled.counted(read(SecretRef::Ssm("/acme/key".to_owned()))), twice("GetParameter"));
    let secret = SecretRef::SecretsManager("acme-key".to_owned());
    assert_eq!(troubled.counted(read(secret)), twice("GetSecretValue"));
    let mut object = ConfigObject::over(&troubled.sdk, ObjectAddress::parse("s3://acme/muster.toml").unwrap());
    let look = async { assert!(object.look().await.is_err()) };
    assert_eq!(troubled.counted(look), twice("GetObject"));
}

fn configuration(account: &str) -> Arc<FleetConfig> {
    let text = format!(
        r#"
        [github]
        organization = "acme"
        webhook_secrets = ["env:SECRET"]
        [[github.app]]
        id = 1
        private_key = "env:KEY"
        [[aws.account]]
        name = "far"
        role = "arn:aws:iam::222222222222:role/muster"
        subnets = ["subnet-0123456789abcdef0"]
        instance_profile = "arn:aws:iam::222222222222:instance-profile/runner"
        images = {{ linux-x64 = "ami-0123456789abcdef0" }}
        [[pool]]
        name = "linux"
        os = "linux"
        arch = "x64"
        labels = ["linux"]
        default_size = "small"
        {account}
        [pool.sizes.small]
        instance_types = ["c6i.large"]
        "#
    );
    let parsed = FleetConfig::parse("test.toml", &text);
    Arc::new(parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.errors)))
}

#[test]
fn requests_for_proofs_of_identity_are_counted() {
    let troubled = troubled();
    let identity = StsIdentity::at_emulator(settings(), troubled.sdk.endpoint_url().unwrap()).unwrap();
    let proof = Agent::of_instance(INSTANCE).prove(now());
    let ask = async { assert!(identity.verify(&proof, now()).await.is_err()) };
    // One that is not answered is asked for again by the agent, with a new proof.
    assert_eq!(troubled.counted(ask), [("GetCallerIdentity".to_owned(), 1.0)]);
}

#[test]
fn requests_of_a_check_up_are_counted() {
    let troubled = troubled();
    let ask = async { assert!(caller(&troubled.sdk).await.is_err()) };
    assert_eq!(troubled.counted(ask), twice("GetCallerIdentity"));
    let url = format!("{}/000000000000/bells.fifo", troubled.sdk.endpoint_url().unwrap());
    let ask = async { assert!(queue_is_fifo(&troubled.sdk, &url).await.is_err()) };
    assert_eq!(troubled.counted(ask), twice("GetQueueAttributes"));
}

#[test]
fn requests_for_machines_are_counted_and_those_for_a_role() {
    for (account, action) in [("", "DescribeSubnets"), (r#"account = "far""#, "AssumeRole")] {
        let (troubled, config) = (troubled(), configuration(account));
        let stack = Stack { subnets: vec!["subnet-01".to_owned()], ..Stack::default() };
        let now = Arc::new(|| Timestamp::EPOCH);
        let cloud = AwsCloud::new(troubled.sdk.clone(), stack, Arc::new(move || config.clone()), now);
        let counted = troubled.counted(async { assert!(cloud.zones().await.is_err()) });
        assert!(counted.contains(&(action.to_owned(), 2.0)), "{counted:?}");
    }
}

/// The SDK asks nobody when it repeats a request.
#[test]
fn a_repetition_is_on_the_budget_of_its_api() {
    let (troubled, config) = (troubled(), configuration(r#"account = "far""#));
    let now = Arc::new(|| Timestamp::EPOCH);
    let cloud = AwsCloud::new(troubled.sdk.clone(), Stack::default(), Arc::new(move || config.clone()), now);
    // Ten calls are there, and the clock stands still.
    for _ in 0..5 {
        let counted = troubled.counted(async { assert!(cloud.zones().await.is_err()) });
        assert_eq!(counted, twice("AssumeRole"));
    }
    let refused = troubled.counted(async {
        let refused = cloud.zones().await.unwrap_err().to_string();
        assert!(refused.contains("AssumeRole is over its budget of 10 calls"), "{refused}");
    });
    assert_eq!(refused, []);
}
