//! The check behind the door's claims: what a good proof is not enough for.

use std::sync::Arc;
use std::time::Duration;

use muster_aws::{StsIdentity, TrustedRole};
use muster_core::config::FleetConfig;
use muster_core::ids::{InstanceId, LaunchId};
use muster_core::launch::Launch;
use muster_core::machine::Machine;
use muster_core::ports::{Batch, Store};
use muster_core::protocol::{ClaimAnswer, ClaimRequest};
use muster_store::MemoryStore;
use muster_store::contract::samples;
use muster_webhook::claims::{ClaimError, Claims, Early, Over};
use muster_webhook::seal::KeyPair;
use muster_webhook::{Handover, HpkeSealer, LiveConfig, NotifyBell, SystemClock, Wakers};
use sha2::{Digest, Sha256};

use super::agent::Agent;
use super::sts::{Play, Sts};
use super::{ACCOUNT, INSTANCE, Proof, ROLE, identity, now, trusted};
use crate::emulator::block_on;

const EXAMPLE: &str = include_str!("../../../../../muster.example.toml");
const NONCE: &str = "5e1f0c9a7b3d42688d90a1b2c3d4e5f6";
const OTHER_NONCE: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

struct Door {
    store: Arc<MemoryStore>,
    identity: Arc<StsIdentity>,
    claims: Claims<MemoryStore, StsIdentity, SystemClock>,
    agent: Agent,
    sts: Sts,
}

fn door() -> Door {
    let (sts, agent) = (Sts::start(Play::Honest), Agent::of_instance(INSTANCE));
    sts.knows(&agent);
    let (store, identity) = (Arc::new(MemoryStore::default()), Arc::new(identity(&sts)));
    let bell = || Arc::new(NotifyBell::default());
    let config = FleetConfig::parse("muster.example.toml", EXAMPLE).config.expect("the example is good");
    let claims = Claims::new(
        Handover::new(store.clone(), Arc::new(LiveConfig::new(config))),
        identity.clone(),
        Arc::new(SystemClock),
        Arc::new(HpkeSealer),
        bell(),
        bell(),
        Arc::new(Wakers::in_process()),
    );
    Door { store, identity, claims, agent, sts }
}

impl Door {
    /// A machine that the ledger has launched.
    fn launched(&self, account: Option<&str>, change: impl FnOnce(&mut Machine)) {
        let mut purpose = samples::purpose();
        purpose.account = account.map(Into::into);
        let launch = Launch {
            id: LaunchId::new("one"),
            purpose,
            count: 1,
            may_register: true,
            intended_at: now(),
            reason: "a test".into(),
        };
        let mut machine = Machine::launched(InstanceId::new(INSTANCE), &launch, now());
        change(&mut machine);
        let batch = Batch { machines: vec![machine], ..Batch::default() };
        block_on(async {
            let generation = self.store.generation().await.unwrap();
            self.store.commit(&batch, generation).await.unwrap();
        });
    }

    fn claim(&self, proof: Proof, nonce: &str, keys: &KeyPair) -> Result<ClaimAnswer, ClaimError> {
        let request = ClaimRequest {
            proof,
            former: None,
            nonce: nonce.to_owned(),
            public_key: keys.public_hex(),
            wait_s: 0,
            agent: None,
        };
        block_on(self.claims.claim(&request))
    }

    fn prove(&self) -> Proof {
        self.agent.prove(now())
    }

    #[track_caller]
    fn over(&self) -> Over {
        match self.claim(self.prove(), NONCE, &KeyPair::generate()) {
            Err(ClaimError::Over(over)) => over,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_launched_machine_gets_its_session_and_a_repeated_claim_the_same() {
    let (door, keys) = (door(), KeyPair::generate());
    door.launched(None, |_| {});
    let first = door.claim(door.prove(), NONCE, &keys).unwrap();
    assert_eq!((first.instance.as_str(), first.session), (INSTANCE, 1));
    assert_eq!(door.claim(door.prove(), NONCE, &keys).unwrap(), first);
}

#[test]
fn one_that_was_never_launched_by_us_gets_none() {
    let door = door();
    let answer = door.claim(door.prove(), NONCE, &KeyPair::generate());
    assert!(matches!(answer, Err(ClaimError::TooEarly(Early::Launch))), "{answer:?}");
    assert_eq!(block_on(door.store.claim(&InstanceId::new(INSTANCE))).unwrap(), None);
}

#[test]
fn one_that_is_finished_gets_none() {
    for change in [(|machine: &mut Machine| machine.terminate_at = Some(now())) as fn(&mut Machine), |machine| {
        machine.gone_at = Some(now())
    }] {
        let door = door();
        door.launched(None, change);
        assert_eq!(door.over(), Over::Ending);
    }
    let door = door();
    door.launched(None, |machine| {
        machine.session = 1;
        machine.told.done = Some((now(), true));
    });
    assert_eq!(door.over(), Over::Forgotten, "its claim is gone, and its job was run");
}

#[test]
fn a_second_nonce_gets_none() {
    let door = door();
    door.launched(None, |_| {});
    door.claim(door.prove(), NONCE, &KeyPair::generate()).unwrap();
    let second = door.claim(door.prove(), OTHER_NONCE, &KeyPair::generate());
    assert!(matches!(second, Err(ClaimError::Taken)), "{second:?}");
}

#[test]
fn a_replayed_proof_gets_none() {
    let (door, keys) = (door(), KeyPair::generate());
    door.launched(None, |_| {});
    let proof = door.prove();
    door.claim(proof.clone(), NONCE, &keys).unwrap();
    // While the session stands, by another nonce, and by the same nonce with another key.
    for nonce in [OTHER_NONCE, NONCE] {
        let again = door.claim(proof.clone(), nonce, &KeyPair::generate());
        assert!(matches!(again, Err(ClaimError::Taken)), "{again:?}");
    }
    let key = format!("proof-{}", hex::encode(Sha256::digest(&proof["signature"])));
    let kept = block_on(door.store.use_once(&key, now() + Duration::from_secs(60))).unwrap();
    assert!(!kept, "the signature is used up");
}

/// The proof of a session that nobody knows any more: its signature is what is remembered, whatever else the map says.
#[test]
fn a_replayed_proof_gets_none_even_where_the_claim_is_gone() {
    let door = door();
    door.launched(None, |_| {});
    let proof = door.prove();
    let key = format!("proof-{}", hex::encode(Sha256::digest(&proof["signature"])));
    assert!(block_on(door.store.use_once(&key, now() + Duration::from_secs(60))).unwrap());
    let replayed = door.claim(proof, NONCE, &KeyPair::generate());
    assert!(matches!(replayed, Err(ClaimError::NotProven(_))), "{replayed:?}");
}

#[test]
fn an_instance_of_another_account_of_the_fleet_gets_none() {
    let door = door();
    let builds = format!("arn:aws:iam::444455556666:role/{ROLE}");
    let mut roles = trusted();
    roles.push(TrustedRole::new(Some("builds".into()), &builds, None).unwrap());
    door.identity.trust(roles);
    // It proves to be in the controller's own account, and was launched in the other one.
    door.launched(Some("builds"), |_| {});
    let refused = door.claim(door.prove(), NONCE, &KeyPair::generate());
    assert!(matches!(refused, Err(ClaimError::NotProven(_))), "{refused:?}");
    let there =
        Agent { account: "444455556666".to_owned(), key_id: "ASIAOTHEROTHEROTHER0".to_owned(), ..door.agent.clone() };
    door.sts.knows(&there);
    door.claim(there.prove(now()), NONCE, &KeyPair::generate()).unwrap();
    assert_ne!(there.account, ACCOUNT);
}
