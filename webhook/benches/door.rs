//! What the door's path costs beyond the signature it cannot do without.
//!
//! `bare` is HMAC-SHA256 of the body with the `hmac` crate and nothing else, key set-up included. `path` is all that
//! happens to a delivery between HTTP and the answer: signature, production's parsing, the check whose delivery it is,
//! resolution against 100 classes, and a fact handed to an in-memory ledger. Both on the same bytes. No log line is
//! written and no metric is exported. `refused` is the path of a job that no class serves.

#[path = "../tests/door/fake_store.rs"]
mod fake_store;

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fake_store::FakeStore;
use hmac::{Hmac, KeyInit, Mac};
use muster_core::config::FleetConfig;
use muster_webhook::delivery::DeliveryHeaders;
use muster_webhook::signature::SignatureHeader;
use muster_webhook::webhook::{Outcome, WebhookError};
use muster_webhook::{LiveConfig, NotifyBell, Secrets, SystemClock, Webhooks};
use sha2::Sha256;

const SECRET: &[u8] = b"a secret of the usual length, 40 letters";
/// The labels of ten pools of five sizes in two markets. The last ones serve the recorded jobs, so that the search is a
/// long one.
const POOLS: [&[&str]; 10] = [
    &["self-hosted", "linux", "x64", "pool-0"],
    &["self-hosted", "linux", "x64", "pool-1"],
    &["self-hosted", "linux", "x64", "pool-2"],
    &["self-hosted", "linux", "x64", "pool-3"],
    &["self-hosted", "linux", "x64", "pool-4"],
    &["self-hosted", "linux", "x64", "pool-5"],
    &["self-hosted", "linux", "x64", "pool-6"],
    &["self-hosted", "linux", "x64", "k8s"],
    &["self-hosted", "linux", "x64", "ubuntu-latest"],
    &["self-hosted", "gpu", "db-app", "dc-03"],
];

fn config() -> FleetConfig {
    let mut text = String::from(
        "[github]\norganization = \"acme\"\nwebhook_secrets = [\"env:SECRET\"]\n\
         [[github.app]]\nid = 1\nprivate_key = \"file:app.pem\"\n[fleet]\nname = \"acme\"\n",
    );
    for (pool, labels) in POOLS.iter().enumerate() {
        text.push_str(&format!(
            "[[pool]]\nname = \"pool-{pool}\"\nos = \"linux\"\narch = \"x64\"\n\
             labels = {labels:?}\nrepositories = [\"*\"]\n\
             public_repositories = true\nmarkets = [\"spot\", \"on-demand\"]\ndefault_market = \"spot\"\n\
             default_size = \"cpu-0\"\n"
        ));
        for size in 0..5 {
            text.push_str(&format!("[pool.sizes.cpu-{size}]\ninstance_types = [\"c7i.large\", \"m7i.large\"]\n"));
        }
    }
    let parsed = FleetConfig::parse("bench.toml", &text);
    let config = parsed.config.unwrap_or_else(|| panic!("{:?}", parsed.errors));
    assert_eq!(config.classes().len(), 100);
    config
}

fn receive(
    webhooks: &Webhooks<FakeStore, SystemClock>,
    headers: &DeliveryHeaders<'_>,
    body: &[u8],
) -> Result<Outcome, WebhookError> {
    match pin!(webhooks.receive(headers, body)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("in memory everything is ready at once"),
    }
}

fn payload(name: &str) -> Vec<u8> {
    let path = format!("{}/../tests/payloads/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn bare(body: &[u8]) -> impl AsRef<[u8]> + use<> {
    let mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("any length is good");
    mac.chain_update(body).finalize().into_bytes()
}

fn headers(signature: &str) -> DeliveryHeaders<'_> {
    DeliveryHeaders {
        signature: SignatureHeader::Sha256(signature.as_bytes()),
        event: Some("workflow_job"),
        delivery: Some("7a3a2f50-62f6-11ee-8a5c-4a5b0f5e3c3d"),
        form_encoded: false,
    }
}

fn door(c: &mut Criterion) {
    let webhooks = Webhooks::new(
        Arc::new(FakeStore::default()),
        Arc::new(SystemClock),
        Arc::new(Secrets::new(&[SECRET]).expect("one secret")),
        Arc::new(LiveConfig::new(config())),
        Arc::new(NotifyBell::default()),
    );
    let mut group = c.benchmark_group("door");
    // The largest of the eight recorded workflow_job deliveries, and the two in the middle.
    for name in ["workflow_job.queued.7", "workflow_job.in_progress.1", "workflow_job.waiting.8"] {
        let body = payload(name);
        let signature = format!("sha256={}", hex::encode(bare(&body)));
        let headers = headers(&signature);
        let outcome = receive(&webhooks, &headers, &body);
        assert!(matches!(&outcome, Ok(Outcome::Stored(s)) if s.resolution.class().is_some()), "{outcome:?}");

        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("bare", name), &body, |b, body| b.iter(|| bare(black_box(body))));
        group.bench_with_input(BenchmarkId::new("path", name), &body, |b, body| {
            b.iter(|| receive(&webhooks, &headers, black_box(body)));
        });
    }

    // The same job from a repository that asks for what nobody has.
    let body = payload("workflow_job.in_progress.1");
    let body = String::from_utf8(body).expect("UTF-8").replace("dc-03", "dc-04").into_bytes();
    let signature = format!("sha256={}", hex::encode(bare(&body)));
    let headers = headers(&signature);
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_with_input(BenchmarkId::new("refused", "workflow_job.in_progress.1"), &body, |b, body| {
        b.iter(|| receive(&webhooks, &headers, black_box(body)));
    });
    group.finish();
}

criterion_group!(benches, door);
criterion_main!(benches);
