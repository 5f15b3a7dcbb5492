//! An agent of a machine that `muster serve` has launched in its simulated cloud. It claims before the machine's own
//! simulated agent does, which has to boot first.

use muster_core::ids::InstanceId;
use muster_core::machine::Machine;
use muster_core::ports::Store;
use muster_core::protocol::{AgentState, ClaimAnswer, ClaimRequest, ReportRequest, SessionProof};
use muster_sim::SimIdentity;
use muster_store::SqliteStore;
use muster_webhook::clock::{Clock, SystemClock};
use muster_webhook::seal::{KeyPair, SealPurpose};
use reqwest::RequestBuilder;

use crate::fleet::{Door, Fleet, SOON, said};

/// The longest long poll.
const WAIT_S: u32 = 25;

/// One machine's agent, with its session and what was sealed to it.
pub(crate) struct Agent {
    pub(crate) proof: SessionProof,
    pub(crate) config: Vec<u8>,
}

/// The machines that the ledger knows.
pub(crate) async fn machines(fleet: &Fleet) -> Vec<Machine> {
    let store = SqliteStore::open_read_only(&fleet.file("muster.sqlite")).unwrap();
    store.load().await.unwrap().machines
}

/// Waits until the ledger knows so many machines that nobody has claimed.
pub(crate) async fn unclaimed(fleet: &Fleet, count: usize) -> Vec<InstanceId> {
    let began = std::time::Instant::now();
    loop {
        let machines = machines(fleet).await;
        let free = machines.iter().filter(|machine| machine.told.claimed_at.is_none());
        let free: Vec<InstanceId> = free.map(|machine| machine.instance.clone()).collect();
        if free.len() >= count {
            return free;
        }
        assert!(began.elapsed() < SOON, "{count} machines did not come");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

impl Agent {
    /// Claims, and waits for the configuration.
    pub(crate) async fn claim(door: &Door, instance: &InstanceId) -> Agent {
        let keys = KeyPair::generate();
        let request = ClaimRequest {
            proof: SimIdentity::new(*b"a key for simulated proofs only.").prove(instance, SystemClock.now()),
            former: None,
            nonce: "00112233445566778899aabbccddeeff".to_owned(),
            public_key: keys.public_hex(),
            wait_s: WAIT_S,
            agent: Some("test".to_owned()),
        };
        let (status, answer) = said(door.post("/runners/claim").json(&request)).await;
        assert_eq!(status, 200, "{answer}");
        let answer: ClaimAnswer = serde_json::from_value(answer).unwrap();
        assert_eq!(&answer.instance, instance);
        let open = |purpose, sealed: &str| keys.open(purpose, instance, answer.session, sealed).unwrap();
        let token = String::from_utf8(open(SealPurpose::Session, &answer.sealed_session)).unwrap();
        let config = open(SealPurpose::RunnerConfig, answer.sealed_config.as_deref().expect("minted within 25 s"));
        Agent { proof: SessionProof { instance: instance.clone(), session: answer.session, token }, config }
    }

    /// A report that waits as long as it may.
    pub(crate) fn report(&self, door: &Door, state: AgentState) -> RequestBuilder {
        let request = ReportRequest { from: self.proof.clone(), state, wait_s: WAIT_S, seen_order: 0 };
        door.post("/runners/report").json(&request)
    }
}
