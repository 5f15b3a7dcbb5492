//! Proofs that are not what they seem, each refused.

use std::time::Duration;

use muster_aws::{AUDIENCE_HEADER, StsIdentity, StsSettings, TrustedRole};

use super::agent::{Agent, Signs};
use super::sts::{Play, Sts};
use super::{
    ACCOUNT, AUDIENCE, HOST, INSTANCE, Proof, REGION, ROLE, ROLE_ID, identity, now, refused, settings, verify,
    verify_at,
};

struct Scene {
    sts: Sts,
    identity: StsIdentity,
    agent: Agent,
}

fn scene() -> Scene {
    let (sts, agent) = (Sts::start(Play::Honest), Agent::of_instance(INSTANCE));
    sts.knows(&agent);
    let identity = identity(&sts);
    // Without the change that each test makes, it is a good proof.
    verify(&identity, &agent.prove(now())).unwrap();
    sts.forget_requests();
    Scene { sts, identity, agent }
}

impl Scene {
    /// Signed rightly but for one thing, and so by the wrong signature for what the door sends.
    fn signs(&self, change: impl FnOnce(&mut Signs)) -> String {
        let mut signs = Signs::rightly();
        change(&mut signs);
        let why = refused(verify(&self.identity, &self.agent.prove_with(&signs, now())));
        assert_eq!(self.sts.raw_requests().len(), 1);
        why
    }

    /// With a field more, or another; nobody is asked about it.
    fn with(&self, change: impl FnOnce(&mut Proof)) -> String {
        let mut proof = self.agent.prove(now());
        change(&mut proof);
        let why = refused(verify(&self.identity, &proof));
        assert_eq!(self.sts.raw_requests(), Vec::<String>::new());
        why
    }

    /// Of credentials that are somebody else's.
    fn is(&self, change: impl FnOnce(&mut Agent)) -> String {
        let mut other = Agent { key_id: "ASIAOTHEROTHEROTHER0".to_owned(), ..self.agent.clone() };
        change(&mut other);
        self.sts.knows(&other);
        refused(verify(&self.identity, &other.prove(now())))
    }
}

#[test]
fn another_action() {
    for action in ["AssumeRole", "GetSessionToken", "GetAccessKeyInfo"] {
        let why = scene().signs(|signs| signs.query = format!("Action={action}&Version=2011-06-15"));
        assert!(why.contains("SignatureDoesNotMatch"), "{why}");
    }
    assert!(scene().with(|proof| drop(proof.insert("action".to_owned(), "AssumeRole".to_owned()))).contains("field"));
}

#[test]
fn another_host() {
    for host in ["sts.amazonaws.com", "sts.us-east-1.amazonaws.com", "evil.example", "127.0.0.1"] {
        let why = scene().signs(|signs| signs.host = host.to_owned());
        assert!(why.contains("SignatureDoesNotMatch"), "{why}");
        scene().with(|proof| drop(proof.insert("host".to_owned(), host.to_owned())));
    }
    let why = scene().signs(|signs| signs.region = "us-east-1".to_owned());
    assert!(why.contains("SignatureDoesNotMatch"), "{why}");
    scene().with(|proof| drop(proof.insert("region".to_owned(), REGION.to_owned())));
}

#[test]
fn an_extra_parameter() {
    let why = scene().signs(|signs| signs.query.push_str("&RoleArn=x"));
    assert!(why.contains("SignatureDoesNotMatch"), "{why}");
    let signature = |proof: &mut Proof, more: &str| {
        let with = format!("{}{more}", proof["signature"]);
        proof.insert("signature".to_owned(), with);
    };
    assert!(scene().with(|proof| signature(proof, "&Action=AssumeRole")).contains("signature"));
    let token = |proof: &mut Proof| drop(proof.insert("session_token".to_owned(), "x&Action=AssumeRole".to_owned()));
    assert!(scene().with(token).contains("session_token"));
    scene().with(|proof| drop(proof.insert("RoleArn".to_owned(), "x".to_owned())));
}

#[test]
fn a_duplicate_parameter() {
    let why = scene().signs(|signs| signs.query.push_str("&Action=GetCallerIdentity"));
    assert!(why.contains("SignatureDoesNotMatch"), "{why}");
    // A field cannot be there twice in a map; under another name it is an unknown one.
    scene().with(|proof| drop(proof.insert("Signature".to_owned(), proof["signature"].clone())));
}

#[test]
fn an_unsigned_audience() {
    let why = scene().signs(|signs| signs.headers.clear());
    assert!(why.contains("SignatureDoesNotMatch"), "{why}");
}

#[test]
fn another_audience_is_another_fleet() {
    for audience in ["https://door.other.example", "https://door.acme.example/", "HTTPS://door.acme.example", ""] {
        let why = scene().signs(|signs| signs.headers = vec![(AUDIENCE_HEADER.to_owned(), audience.to_owned())]);
        assert!(why.contains("SignatureDoesNotMatch"), "{why}");
    }
}

#[test]
fn a_header_more() {
    let why = scene().signs(|signs| signs.headers.push(("accept".to_owned(), "application/json".to_owned())));
    assert!(why.contains("SignatureDoesNotMatch"), "{why}");
}

#[test]
fn a_longer_life() {
    let why = scene().signs(|signs| signs.expires = Duration::from_secs(604_800));
    assert!(why.contains("SignatureDoesNotMatch"), "{why}");
}

#[test]
fn an_old_date() {
    let (scene, now) = (scene(), now());
    for age in [62, 900, 86_400] {
        let proof = scene.agent.prove(now - Duration::from_secs(age));
        assert!(refused(verify_at(&scene.identity, &proof, now)).contains("ago"));
    }
    // A fresh date under an old signature.
    let mut proof = scene.agent.prove(now - Duration::from_secs(62));
    assert!(scene.sts.raw_requests().is_empty());
    proof.insert("date".to_owned(), scene.agent.prove(now)["date"].clone());
    assert!(refused(verify_at(&scene.identity, &proof, now)).contains("SignatureDoesNotMatch"));
}

#[test]
fn a_future_date() {
    let (scene, now) = (scene(), now());
    for ahead in [12, 900, 86_400 * 3_650] {
        let proof = scene.agent.prove(now + Duration::from_secs(ahead));
        assert!(refused(verify_at(&scene.identity, &proof, now)).contains("future"));
    }
    assert!(scene.sts.raw_requests().is_empty());
}

#[test]
fn a_role_of_another_name() {
    for role in ["admin", "Muster-runner", "muster-runner2"] {
        assert!(scene().is(|other| other.role = role.to_owned()).contains("none of the fleet's"));
    }
}

#[test]
fn a_role_of_another_id() {
    assert!(scene().is(|other| other.role_id = "AROAEXAMPLE0OTHER000".to_owned()).contains("none of the fleet's"));
}

#[test]
fn a_role_of_another_account() {
    assert!(scene().is(|other| other.account = "999988887777".to_owned()).contains("none of the fleet's"));
}

#[test]
fn a_role_that_is_trusted_no_longer() {
    let scene = scene();
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/another");
    scene.identity.trust(vec![TrustedRole::new(None, &arn, None).unwrap()]);
    assert!(refused(verify(&scene.identity, &scene.agent.prove(now()))).contains("none of the fleet's"));
}

#[test]
fn a_session_name_that_is_no_instance_id() {
    for session in
        ["botocore-session-1", "i-0123456789ABCDEF0", "i-0123456789abcdef", "i-0123456789abcdef0x", "me@acme"]
    {
        let why = scene().is(|other| other.session = session.to_owned());
        assert!(why.contains("no instance's id"), "{why}");
    }
}

#[test]
fn keys_that_sts_does_not_know() {
    let scene = scene();
    let stranger = Agent { key_id: "ASIASTRANGERSTRANGER".to_owned(), ..scene.agent.clone() };
    assert!(refused(verify(&scene.identity, &stranger.prove(now()))).contains("InvalidClientTokenId"));
    let forger = Agent { secret: "guessed".to_owned(), ..scene.agent.clone() };
    assert!(refused(verify(&scene.identity, &forger.prove(now()))).contains("SignatureDoesNotMatch"));
}

/// The same credentials, seen through another region's door.
#[test]
fn a_proof_for_another_region() {
    let scene = scene();
    let elsewhere = StsSettings { region: "us-east-1".to_owned(), ..settings() };
    let elsewhere = StsIdentity::at_emulator(elsewhere, &scene.sts.address()).unwrap();
    refused(verify(&elsewhere, &scene.agent.prove(now())));
    assert!(scene.sts.raw_requests()[0].contains("host: sts.us-east-1.amazonaws.com\r\n"), "never {HOST}");
}

/// A refusal is for the log: it names no part of the proof that could be used elsewhere.
#[test]
fn a_refusal_tells_no_secret() {
    let scene = scene();
    let stranger = Agent { role: "x".to_owned(), key_id: "ASIAOTHEROTHEROTHER0".to_owned(), ..scene.agent.clone() };
    scene.sts.knows(&stranger);
    let proof = stranger.prove(now());
    let why = refused(verify(&scene.identity, &proof));
    assert!(!why.contains(&proof["session_token"]) && !why.contains(&proof["signature"]), "{why}");
    assert!(why.contains(ACCOUNT) && why.contains(ROLE_ID) && !why.contains(ROLE) && !why.contains(AUDIENCE));
}
