//! The emulators' STS. Neither verifies a signature: they show that the request is understood and the answer is read, and
//! nothing about who may be believed. Moto takes a presigned request for one to S3, whose answer is not believed.

use aws_sdk_sts::Client;
use muster_aws::{StsIdentity, StsSettings, TrustedRole};

use super::agent::{Agent, Signs};
use super::{INSTANCE, REGION, now, refused, settings, verify};
use crate::emulator::{Emulator, block_on, shared_config};

/// Credentials of a role as an instance gets them, from the emulator itself.
fn assumed(emulator: Emulator) -> (Agent, String) {
    let client = Client::new(&shared_config(emulator));
    let account = block_on(client.get_caller_identity().send()).unwrap().account.unwrap();
    let arn = format!("arn:aws:iam::{account}:role/muster-runner");
    let assumed = client.assume_role().role_arn(&arn).role_session_name(INSTANCE).send();
    let credentials = block_on(assumed).unwrap().credentials.unwrap();
    let agent = Agent {
        key_id: credentials.access_key_id,
        secret: credentials.secret_access_key,
        token: credentials.session_token,
        account,
        ..Agent::of_instance(INSTANCE)
    };
    (agent, arn)
}

#[test]
fn an_assumed_role_with_an_instances_id_is_that_instance() {
    let emulator = Emulator::Ministack;
    let (agent, arn) = assumed(emulator);
    let roles = vec![TrustedRole::new(Some("there".into()), &arn, None).unwrap()];
    let identity = StsIdentity::at_emulator(StsSettings { roles, ..settings() }, &emulator.endpoint()).unwrap();
    let verified = verify(&identity, &agent.prove(now())).unwrap_or_else(|error| panic!("{emulator:?}: {error}"));
    assert_eq!(verified.instance().as_str(), INSTANCE);
    assert!(verified.may_be_in(&Some("there".into())) && !verified.may_be_in(&None));
    // Why this is no evidence of more: the emulator does not look at signatures.
    let forged = Signs { region: "us-east-1".to_owned(), ..Signs::rightly() };
    assert_ne!(forged.region, REGION);
    assert!(verify(&identity, &agent.prove_with(&forged, now())).is_ok());
}

#[test]
fn strangers_are_refused() {
    for (emulator, says) in [(Emulator::Ministack, "none of the fleet's"), (Emulator::Moto, "not text/xml")] {
        let (agent, arn) = assumed(emulator);
        let other = arn.replace("muster-runner", "another");
        let roles = vec![TrustedRole::new(None, &other, None).unwrap()];
        let identity = StsIdentity::at_emulator(StsSettings { roles, ..settings() }, &emulator.endpoint()).unwrap();
        assert!(refused(verify(&identity, &agent.prove(now()))).contains(says));
    }
}
