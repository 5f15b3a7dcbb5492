//! Mints that fail, and machines that end while GitHub mints.

use std::sync::atomic::{AtomicI64, Ordering};

use muster_core::ids::RunnerId;
use muster_core::ports::Minted;
use muster_store::MemoryStore;
use muster_webhook::seal::SealError;
use muster_webhook::token::SessionToken;

use super::*;
use crate::clock::VirtualClock;
use crate::reconcile::tests::{at_once, claim, config, machine, write};

const START: Timestamp = Timestamp::from_unix_ms(1_795_428_000_000);

struct PlainSealer;

impl Sealer for PlainSealer {
    fn fresh_token(&self) -> Result<SessionToken, SealError> {
        Err(SealError::Failed)
    }

    fn seal(&self, _seal: &Seal<'_>, _text: &[u8]) -> Result<String, SealError> {
        Ok("sealed".to_owned())
    }
}

/// Refuses the runners of one size, and tells `meanwhile` of every mint.
struct Picky<F> {
    refuses: &'static str,
    minted: AtomicI64,
    removed: Mutex<Vec<RunnerId>>,
    meanwhile: F,
}

impl<F: Fn() + Send + Sync> Github for Picky<F> {
    async fn mint(&self, request: &MintRequest) -> Result<Minted, GithubError> {
        if request.labels.iter().any(|label| **label == *self.refuses) {
            return Err(GithubError::Rejected("no such runner group".to_owned()));
        }
        (self.meanwhile)();
        let id = RunnerId(self.minted.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(Minted { id, config: b"config".to_vec() })
    }

    async fn remove(&self, runner: RunnerId) -> Result<Removal, GithubError> {
        self.removed.lock().unwrap().push(runner);
        Ok(Removal::Gone)
    }
}

fn put_claim(store: &MemoryStore, machine: &Machine) {
    assert!(at_once(store.put_claim(&claim(machine, START))).unwrap());
}

#[test]
fn claims_that_always_fail_let_others_go_first() {
    let (config, store, clock) = (config(), Arc::new(MemoryStore::default()), VirtualClock::at(START));
    let bad = config.classes().iter().position(|class| class.id.as_str().contains("cpu-4")).unwrap();
    let good = config.classes().iter().position(|class| class.id.as_str().contains("cpu-2")).unwrap();
    let ago = |seconds| START - Duration::from_secs(seconds);
    let mut machines: Vec<Machine> = (1..=50).map(|n| machine(&config, bad, n, ago(100))).collect();
    let patient = machine(&config, good, 51, ago(1));
    machines.push(patient.clone());
    write(&store, machines.clone(), vec![]);
    machines.iter().for_each(|machine| put_claim(&store, machine));
    let github = Picky { refuses: "cpu-4", minted: AtomicI64::default(), removed: Mutex::default(), meanwhile: || () };
    let github = Arc::new(github);
    let registrar = Registrar::new(store.clone(), github, clock.clone(), PlainSealer);
    let mut now = START;
    while at_once(store.claim(&patient.instance)).unwrap().unwrap().registration.is_none() {
        assert!(now.since(START) < Duration::from_secs(60), "starved");
        let _ = at_once(registrar.step(&config));
        now = now + Duration::from_secs(2);
        clock.set(now);
    }
}

#[test]
fn a_registration_for_a_machine_that_is_being_ended_is_removed() {
    let (config, store, clock) = (config(), Arc::new(MemoryStore::default()), VirtualClock::at(START));
    let ending = machine(&config, 0, 1, START);
    write(&store, vec![ending.clone()], vec![]);
    put_claim(&store, &ending);
    let (ledger, row) = (store.clone(), Machine { terminate_at: Some(START), ..ending.clone() });
    let meanwhile = move || write(&ledger, vec![row.clone()], vec![]);
    let github = Picky { refuses: "none", minted: AtomicI64::default(), removed: Mutex::default(), meanwhile };
    let github = Arc::new(github);
    let registrar = Registrar::new(store.clone(), github.clone(), clock, PlainSealer);
    assert_eq!(at_once(registrar.step(&config)).unwrap(), Minting::Nothing);
    assert_eq!(*github.removed.lock().unwrap(), [RunnerId(1)]);
    assert_eq!(at_once(store.claim(&ending.instance)).unwrap().unwrap().sealed_config, None);
}

#[test]
fn nothing_is_minted_while_the_switch_says_freeze() {
    let (config, store, clock) = (config(), Arc::new(MemoryStore::default()), VirtualClock::at(START));
    let machine = machine(&config, 0, 1, START);
    write(&store, vec![machine.clone()], vec![]);
    put_claim(&store, &machine);
    at_once(store.set_switch(Switch::Freeze)).unwrap();
    let github = Picky { refuses: "none", minted: AtomicI64::default(), removed: Mutex::default(), meanwhile: || () };
    let github = Arc::new(github);
    let registrar = Registrar::new(store.clone(), github.clone(), clock.clone(), PlainSealer);
    assert_eq!(at_once(registrar.step(&config)).unwrap(), Minting::Wait(START + THAW_SEEN_WITHIN));
    assert_eq!(github.minted.load(Ordering::Relaxed), 0);
    at_once(store.set_switch(Switch::NoLaunch)).unwrap();
    clock.set(START + THAW_SEEN_WITHIN);
    assert_eq!(at_once(registrar.step(&config)).unwrap(), Minting::Minted(vec![machine.instance]));
}

/// Machines whose former session was removed by GitHub: the second claim of each stands.
fn second_claims(store: &MemoryStore, machines: impl Iterator<Item = Machine>) {
    for mut machine in machines {
        machine.session = 1;
        machine.told.done = Some((START, false));
        write(store, vec![machine.clone()], vec![]);
        let former =
            Registration { id: RunnerId(900), name: runner_name(&machine.purpose.pool, &machine.instance, "old") };
        let second = ClaimRow { session: 2, former: Some(former), ..claim(&machine, START) };
        assert!(at_once(store.put_claim(&second)).unwrap());
    }
}

#[test]
fn the_right_to_register_is_for_one_session() {
    let (config, store, clock) = (config(), Arc::new(MemoryStore::default()), VirtualClock::at(START));
    let machine = machine(&config, 0, 1, START);
    second_claims(&store, [machine.clone()].into_iter());
    let github = Picky { refuses: "none", minted: AtomicI64::default(), removed: Mutex::default(), meanwhile: || () };
    let github = Arc::new(github);
    let registrar = Registrar::new(store.clone(), github.clone(), clock, PlainSealer);
    assert_eq!(at_once(registrar.step(&config)).unwrap(), Minting::Nothing, "its right was for the first");
    let mut row = at_once(store.machine(&machine.instance)).unwrap().unwrap();
    row.registers = row.session_to_register();
    write(&store, vec![row], vec![]);
    assert_eq!(at_once(registrar.step(&config)).unwrap(), Minting::Minted(vec![machine.instance]));
    assert_eq!(*github.removed.lock().unwrap(), [RunnerId(900)], "the former one goes first");
}

#[test]
fn a_later_claim_takes_two_requests_from_the_budget() {
    let (config, store, clock) = (config(), Arc::new(MemoryStore::default()), VirtualClock::at(START));
    second_claims(&store, (1..=4).map(|n| Machine { registers: 2, ..machine(&config, 0, n, START) }));
    let github = Picky { refuses: "none", minted: AtomicI64::default(), removed: Mutex::default(), meanwhile: || () };
    let registrar = Registrar::unlimited(store, Arc::new(github), clock, PlainSealer).with_budget(4.0, 1.0);
    let minted = |minting| if let Minting::Minted(machines) = minting { machines.len() } else { 0 };
    assert_eq!(minted(at_once(registrar.step(&config)).unwrap()), 2);
    let until = Minting::Wait(START + Duration::from_secs(2));
    assert_eq!(at_once(registrar.step(&config)).unwrap(), until, "two more in two seconds");
}
