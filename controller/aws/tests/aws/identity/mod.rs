//! The identity check, against a small STS of our own that verifies signatures, and against the emulators, which do not.
//!
//! What nothing here can show: that the real STS takes what is signed as docs/protocol.md says, and that EC2 gives a
//! session the instance's id as its name. Both are AWS's documented behaviour, and neither was tried on AWS.

pub(crate) mod agent;
mod answers;
mod attacks;
mod claims;
mod emulators;
mod fuzz;
mod sts;
mod vector;

use std::collections::BTreeMap;

use muster_aws::{StsIdentity, StsSettings, TrustedRole};
use muster_core::identity::{Identity, IdentityError, VerifiedInstance};
use muster_core::ids::InstanceId;
use muster_core::time::Timestamp;

use self::agent::Agent;
use self::sts::{Play, Sts};
use crate::emulator::block_on;

pub(super) const REGION: &str = "eu-central-1";
pub(super) const HOST: &str = "sts.eu-central-1.amazonaws.com";
pub(super) const AUDIENCE: &str = "https://door.acme.example";
pub(super) const ACCOUNT: &str = "111122223333";
pub(super) const ROLE: &str = "muster-runner";
pub(super) const ROLE_ID: &str = "AROAEXAMPLE0RUNNER00";
pub(crate) const INSTANCE: &str = "i-0123456789abcdef0";

pub(super) type Proof = BTreeMap<String, String>;

/// The wall's clock: the small STS goes by it too.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_unix_ms(i64::try_from(since.as_millis()).unwrap())
}

pub(super) fn trusted() -> Vec<TrustedRole> {
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/fleets/{ROLE}");
    vec![TrustedRole::new(None, &arn, Some(ROLE_ID)).unwrap()]
}

pub(crate) fn settings() -> StsSettings {
    StsSettings { region: REGION.to_owned(), audience: AUDIENCE.to_owned(), roles: trusted() }
}

pub(super) fn identity(sts: &Sts) -> StsIdentity {
    StsIdentity::at_emulator(settings(), &sts.address()).unwrap()
}

pub(super) fn verify(identity: &StsIdentity, proof: &Proof) -> Result<VerifiedInstance, IdentityError> {
    verify_at(identity, proof, now())
}

pub(super) fn verify_at(
    identity: &StsIdentity,
    proof: &Proof,
    now: Timestamp,
) -> Result<VerifiedInstance, IdentityError> {
    block_on(identity.verify(proof, now))
}

/// Why it was refused; another outcome fails the test.
#[track_caller]
pub(super) fn refused(outcome: Result<VerifiedInstance, IdentityError>) -> String {
    match outcome {
        Err(IdentityError::Refused(why)) => why,
        other => panic!("it was not refused: {other:?}"),
    }
}

#[track_caller]
pub(super) fn unavailable(outcome: Result<VerifiedInstance, IdentityError>) -> String {
    match outcome {
        Err(IdentityError::Unavailable(why)) => why,
        other => panic!("it was available: {other:?}"),
    }
}

#[test]
fn a_good_proof_says_which_instance_it_is() {
    let (sts, agent) = (Sts::start(Play::Honest), Agent::of_instance(INSTANCE));
    let identity = identity(&sts);
    sts.knows(&agent);
    let proof = agent.prove(now());
    let verified = verify(&identity, &proof).unwrap();
    assert_eq!(verified.instance(), &InstanceId::new(INSTANCE));
    assert_eq!(verified.mark(), Some(proof["signature"].as_str()));
    assert!(verified.may_be_in(&None));
    assert!(!verified.may_be_in(&Some("builds".into())));
}

/// What is sent, to the byte.
#[test]
fn the_request_is_the_doors_own() {
    let (sts, agent) = (Sts::start(Play::Honest), Agent::of_instance(INSTANCE));
    let proof = agent.prove(now());
    let _ = verify(&identity(&sts), &proof);
    assert_eq!(sts.raw_requests(), [expected(&proof)]);
}

/// The one request that a proof may become.
pub(super) fn expected(proof: &Proof) -> String {
    let token: String = proof["session_token"].replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!(
        "GET /?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential={}%2F{}%2F{REGION}%2Fsts%2Faws4_request&X-Amz-Date={}&X-Amz-Expires=60\
         &X-Amz-Security-Token={token}&X-Amz-SignedHeaders=host%3Bx-muster-audience&X-Amz-Signature={} HTTP/1.1\r\n\
         host: {HOST}\r\nx-muster-audience: {AUDIENCE}\r\n\r\n",
        proof["key_id"],
        &proof["date"][..8],
        proof["date"],
        proof["signature"],
    )
}
