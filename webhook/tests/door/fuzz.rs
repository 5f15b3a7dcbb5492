//! Nothing that anybody sends makes the door panic.
//!
//! The number of cases follows `PROPTEST_CASES`; the default is for every test run.

use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use muster_core::protocol::{ClaimRequest, ReportRequest};
use muster_webhook::Secrets;
use muster_webhook::payload::parse;
use muster_webhook::seal::{KeyPair, SealPurpose};
use muster_webhook::signature::SignatureHeader;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::world::{INSTANCE, NONCE, RECORDED, SECRET, World, claim, delivery, recorded, sign, start};

static BODIES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| RECORDED.iter().map(|name| recorded(name)).collect());
static SECRETS: LazyLock<Secrets> = LazyLock::new(|| Secrets::new(&[SECRET]).expect("one secret"));

fn parses_or_says_why(body: &[u8]) {
    let signature = sign(SECRET, body);
    let signed = SECRETS.check(SignatureHeader::Sha256(signature.as_bytes()), body).expect("signed a line above");
    if let Err(e) = parse(signed, start()) {
        assert!(!e.to_string().is_empty());
    }
}

/// Polls a future of the door once: in memory everything is ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits for something"),
    }
}

/// One change of a recorded body.
#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    Cut(Index, Index),
    Repeat(Index, Index),
    Insert(Index, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let tokens = select(vec![
        "null",
        "true",
        "-1",
        "1e999",
        "99999999999999999999",
        "0.5",
        "\"\"",
        "[]",
        "{}",
        "[",
        "{",
        "}",
        "]",
        ",",
        ":",
        "\"",
        "\\u0000",
        "\\ud800",
        "\\",
        "\u{feff}",
        "\"id\":\"x\",",
        "\"labels\":[null],",
        "\"action\":\"queued\",",
    ]);
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Cut(from, to)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
        (any::<Index>(), tokens).prop_map(|(at, token)| Change::Insert(at, token)),
    ]
}

fn changed(mut body: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let length = body.len().max(1);
        let span = |a: &Index, b: &Index| {
            let (a, b) = (a.index(length), b.index(length));
            // Short spans, so that most of the body stays.
            a.min(b)..a.max(b).min(a.min(b) + 40).min(body.len())
        };
        match change {
            Change::Byte(at, byte) => {
                if let Some(found) = body.get_mut(at.index(length)) {
                    *found = *byte;
                }
            }
            Change::Cut(a, b) => drop(body.drain(span(a, b))),
            Change::Repeat(a, b) => {
                let span = span(a, b);
                let (at, piece) = (span.start, body[span].to_vec());
                body.splice(at..at, piece);
            }
            Change::Insert(at, token) => {
                let at = at.index(length).min(body.len());
                body.splice(at..at, token.bytes());
            }
        }
    }
    body
}

proptest! {
    #[test]
    fn any_signature_header(header in vec(any::<u8>(), 0..100), body in vec(any::<u8>(), 0..100)) {
        prop_assert!(SECRETS.check(SignatureHeader::Sha256(&header), &body).is_err());
    }

    #[test]
    fn signature_headers_that_look_right(header in "sha(1|256)=[0-9a-fA-F]{62,66}") {
        prop_assert!(SECRETS.check(SignatureHeader::Sha256(header.as_bytes()), b"body").is_err());
    }

    #[test]
    fn any_bytes_as_payload(body in vec(any::<u8>(), 0..300)) {
        parses_or_says_why(&body);
    }

    #[test]
    fn recorded_payloads_changed(which in 0..RECORDED.len(), changes in vec(change(), 1..6)) {
        parses_or_says_why(&changed(BODIES[which].clone(), &changes));
    }

    #[test]
    fn deliveries_over_http(
        which in 0..RECORDED.len(),
        changes in vec(change(), 0..3),
        event in "[ -~]{0,20}",
        guid in "[ -~]{0,80}",
        content_type in "[ -~]{0,40}",
    ) {
        let body = changed(BODIES[which].clone(), &changes);
        let sent = delivery(&body).header("x-github-delivery", &guid).header("content-type", &content_type);
        let named = delivery(&body).header("x-github-event", &event).header("x-hub-signature-256", &guid);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            for sent in [sent, named] {
                let (status, answer) = world.send(sent.body_of()).await;
                assert!(status.is_success() || answer["error"].is_string());
            }
        });
    }

    #[test]
    fn any_text_as_claim_or_report(body in vec(any::<u8>(), 0..300)) {
        let _ = serde_json::from_slice::<ClaimRequest>(&body).is_ok();
        let _ = serde_json::from_slice::<ReportRequest>(&body).is_ok();
    }

    #[test]
    fn claims_and_reports_changed(changes in vec(change(), 1..5), state in "[a-z]{0,12}", number in any::<i64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        let world = World::new();
        world.launch(INSTANCE);
        let request = claim(INSTANCE, NONCE, &KeyPair::generate());
        let body = changed(serde_json::to_vec(&request).unwrap(), &changes);
        if let Ok(mut request) = serde_json::from_slice::<ClaimRequest>(&body) {
            request.wait_s = 0;
            let _ = now(world.door.claims().claim(&request)).is_ok();
        }
        let report = serde_json::json!({
            "instance": INSTANCE, "session": number, "token": "00".repeat(32), "state": state, "number": number,
            "why": state, "ran_job": number > 0,
        });
        let body = changed(report.to_string().into_bytes(), &changes);
        if let Ok(mut request) = serde_json::from_slice::<ReportRequest>(&body) {
            request.wait_s = 0;
            let _ = now(world.door.reports().report(&request)).is_ok();
        }
    }

    #[test]
    fn any_text_as_sealed(sealed in "[A-Za-z0-9+/=]{0,200}", bytes in vec(any::<u8>(), 0..40)) {
        let (keys, instance) = (KeyPair::generate(), muster_core::ids::InstanceId::new(INSTANCE));
        prop_assert!(keys.open(SealPurpose::Session, &instance, 1, &sealed).is_err());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        prop_assert!(keys.open(SealPurpose::RunnerConfig, &instance, 1, &text).is_err());
    }
}
