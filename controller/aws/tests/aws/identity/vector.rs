//! The test vector of docs/protocol.md: the SDK's signer makes it, and the small STS believes it.

use muster_core::time::Timestamp;

use super::INSTANCE;
use super::agent::Agent;
use super::sts::{Play, Sts};
use super::{expected, identity, verify_at};

#[test]
fn the_documented_proof_is_what_the_sdk_signs() {
    let (sts, agent) = (Sts::start(Play::Honest), Agent::of_instance(INSTANCE));
    sts.knows(&agent);
    let at = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
    let proof = agent.prove(at);
    let page = include_str!("../../../../../docs/protocol.md");
    let line = |name: &str, value: &str| {
        let found = page
            .lines()
            .map(str::split_whitespace)
            .any(|mut words| (words.next(), words.next(), words.next()) == (Some(name), Some("="), Some(value)));
        assert!(found, "docs/protocol.md has no line `{name} = {value}`");
    };
    line("secret_key", &agent.secret);
    for name in ["key_id", "date", "session_token", "signature"] {
        line(name, &proof[name]);
    }
    let verified = verify_at(&identity(&sts), &proof, at).unwrap();
    assert_eq!(verified.instance().as_str(), INSTANCE);
    assert_eq!(sts.raw_requests(), [expected(&proof)]);
}
