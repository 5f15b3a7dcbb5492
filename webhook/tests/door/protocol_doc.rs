//! `docs/protocol.md` is true: its test vector opens, and its examples are what the code reads and writes.

use muster_core::config::RunnerOptions;
use muster_core::ids::InstanceId;
use muster_core::protocol::{
    ClaimAnswer, ClaimRequest, LogAnswer, LogRequest, PrewarmedRequest, ReportAnswer, ReportRequest,
};
use muster_webhook::HpkeSealer;
use muster_webhook::Sealer;
use muster_webhook::seal::{KeyPair, Seal, SealPurpose};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const DOC: &str = include_str!("../../../docs/protocol.md");

/// The value of a line `name = value` of the test vector.
fn vector(name: &str) -> &'static str {
    let line = DOC.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='));
    line.unwrap_or_else(|| panic!("docs/protocol.md has no `{name} =`")).trim()
}

/// The JSON blocks after `<!-- name -->`.
fn examples<T: DeserializeOwned + Serialize>(name: &str) -> usize {
    let mark = format!("<!-- {name} -->");
    let blocks = DOC.split(&mark).skip(1);
    blocks
        .map(|after| {
            let block =
                after.split("```json").nth(1).and_then(|rest| rest.split("```").next()).expect("a block follows");
            let value: Value = serde_json::from_str(block).expect("JSON");
            let read: T = serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{name}: {e}: {block}"));
            let written = serde_json::to_value(&read).expect("JSON");
            for (field, said) in value.as_object().expect("an object") {
                assert_eq!(&written[field], said, "{name}: `{field}` is read and written as the page says");
            }
        })
        .count()
}

fn keys() -> KeyPair {
    let mut private = [0; 32];
    hex::decode_to_slice(vector("private_key"), &mut private).expect("64 hex digits");
    KeyPair::from_private(&private).expect("a private key")
}

#[test]
fn the_test_vector_opens() {
    let (keys, instance) = (keys(), InstanceId::new(vector("instance")));
    let session: u32 = vector("session").parse().unwrap();
    assert_eq!(keys.public_hex(), vector("public_key"));
    let seal =
        Seal { public_key: &keys.public_hex(), instance: &instance, session, purpose: SealPurpose::RunnerConfig };
    assert_eq!(format!("\"{}\"", seal.info()), vector("info"));
    let open = |purpose, instance: &InstanceId, session| keys.open(purpose, instance, session, vector("sealed"));
    let opened = open(SealPurpose::RunnerConfig, &instance, session).unwrap();
    assert_eq!(format!("\"{}\"", String::from_utf8(opened).unwrap()), vector("text"));
    // Bound to purpose, machine and session.
    assert!(open(SealPurpose::Session, &instance, session).is_err());
    assert!(open(SealPurpose::RunnerConfig, &InstanceId::new("i-0"), session).is_err());
    assert!(open(SealPurpose::RunnerConfig, &instance, session + 1).is_err());
    assert!(KeyPair::generate().open(SealPurpose::RunnerConfig, &instance, session, vector("sealed")).is_err());
}

#[test]
fn what_is_sealed_opens_once_and_for_one() {
    let (keys, instance) = (KeyPair::generate(), InstanceId::new("i-0"));
    let seal = Seal { public_key: &keys.public_hex(), instance: &instance, session: 7, purpose: SealPurpose::Session };
    let (one, two) = (HpkeSealer.seal(&seal, b"text").unwrap(), HpkeSealer.seal(&seal, b"text").unwrap());
    assert_ne!(one, two);
    assert_eq!(keys.open(SealPurpose::Session, &instance, 7, &one).unwrap(), b"text");
    for cut in [0, 8, one.len() - 4] {
        assert!(keys.open(SealPurpose::Session, &instance, 7, &one[..cut]).is_err());
    }
}

#[test]
fn the_examples_are_what_is_sent() {
    assert!(examples::<ClaimRequest>("claim request") >= 2);
    assert!(examples::<ClaimAnswer>("claim answer") >= 1);
    assert!(examples::<ReportRequest>("report request") >= 2);
    assert!(examples::<PrewarmedRequest>("prewarmed request") >= 1);
    assert!(examples::<ReportAnswer>("report answer") >= 2);
    assert!(examples::<RunnerOptions>("options") >= 1);
    assert!(examples::<LogRequest>("logs request") >= 1);
    assert!(examples::<LogAnswer>("logs answer") >= 1);
}
