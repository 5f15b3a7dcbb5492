//! A scaler and registrar of the smallest kind: they merge what agents say, mint, order drains, and delete registrations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use muster_core::claim::Order;
use muster_core::fact::FactBody;
use muster_core::ids::{Generation, InstanceId, RunnerId, RunnerName};
use muster_core::machine::{Drain, Machine, Registration, Removal, Report};
use muster_core::ports::{Batch, Store};
use muster_core::time::Timestamp;
use muster_store::MemoryStore;
use muster_webhook::seal::{Seal, SealPurpose};
use muster_webhook::{Clock, HpkeSealer, Sealer, SystemClock, Wakers};
use serde_json::json;

use super::github::Github;

#[derive(Default)]
struct State {
    machines: BTreeMap<InstanceId, Machine>,
    registered: BTreeMap<InstanceId, u64>,
    reports: BTreeMap<InstanceId, Vec<Report>>,
    prewarmed: Vec<InstanceId>,
    orders: Vec<(InstanceId, Order)>,
    changed: Vec<InstanceId>,
    /// The second key is not turned.
    holds: bool,
}

pub(crate) struct Scaler {
    store: Arc<MemoryStore>,
    wakers: Arc<Wakers>,
    github: Arc<Github>,
    state: Mutex<State>,
}

fn now() -> Timestamp {
    SystemClock.now()
}

impl Scaler {
    pub(crate) fn begin(store: Arc<MemoryStore>, wakers: Arc<Wakers>, github: Arc<Github>) -> Arc<Scaler> {
        let scaler = Arc::new(Scaler { store, wakers, github, state: Mutex::default() });
        let ticking = scaler.clone();
        tokio::spawn(async move {
            let mut generation = ticking.store.generation().await.expect("in memory");
            loop {
                generation = ticking.tick(generation).await;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        scaler
    }

    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().expect("not poisoned"))
    }

    /// A machine that the ledger has launched.
    pub(crate) fn launch(&self, instance: &str, may_register: bool) {
        let row = json!({
            "instance": instance, "launch": "launch-1", "intended_at": now(), "launched_at": now(),
            "purpose": {
                "pool": "linux", "class": "linux/cpu-2/spot", "shape": "a-shape", "zone": "eu-central-1a",
                "market": "spot", "origin": "cold", "price": 35_000,
            },
            "registers": if may_register { u32::MAX } else { 0 },
        });
        let machine: Machine = serde_json::from_value(row).expect("a machine");
        self.change(instance, machine);
    }

    /// Whether the ledger knows this machine.
    pub(crate) async fn has_written(&self, instance: &str) -> bool {
        self.store.machine(&InstanceId::new(instance)).await.expect("in memory").is_some()
    }

    fn change(&self, instance: &str, machine: Machine) {
        let instance = InstanceId::new(instance);
        self.with(|state| {
            state.machines.insert(instance.clone(), machine);
            state.changed.push(instance);
        });
    }

    pub(crate) fn machine(&self, instance: &str) -> Machine {
        self.with(|state| state.machines[&InstanceId::new(instance)].clone())
    }

    /// What it has reported, in order.
    pub(crate) fn reports(&self, instance: &str) -> Vec<Report> {
        self.with(|state| state.reports.get(&InstanceId::new(instance)).cloned().unwrap_or_default())
    }

    pub(crate) fn has_prewarmed(&self, instance: &str) -> bool {
        self.with(|state| state.prewarmed.contains(&InstanceId::new(instance)))
    }

    /// Its latest registration.
    pub(crate) fn registration(&self, instance: &str) -> Option<u64> {
        self.with(|state| state.registered.get(&InstanceId::new(instance)).copied())
    }

    /// Lets a ready machine register.
    pub(crate) fn register(&self, instance: &str) {
        let machine = self.machine(instance);
        self.change(instance, Machine { registers: u32::MAX, ..machine });
    }

    /// Whether it leaves frozen machines without an answer.
    pub(crate) fn hold(&self, holds: bool) {
        self.with(|state| state.holds = holds);
    }

    pub(crate) fn terminate(&self, instance: &str) {
        let machine = self.machine(instance);
        self.change(instance, Machine { terminate_at: Some(now()), ..machine });
    }

    /// Orders a drain, and says under which number.
    pub(crate) fn drain(&self, instance: &str) -> u32 {
        let machine = self.machine(instance);
        let order = machine.next_drain_order();
        let drain = json!({ "order": order, "ordered_at": now(), "removal": null });
        let drain: Drain = serde_json::from_value(drain).expect("a drain");
        self.change(instance, Machine { drain: Some(drain), ..machine });
        self.order(instance, Order::Drain { number: order });
        order
    }

    pub(crate) fn order(&self, instance: &str, order: Order) {
        self.with(|state| state.orders.push((InstanceId::new(instance), order)));
    }

    async fn tick(&self, generation: Generation) -> Generation {
        let mut batch = Batch::default();
        let facts = self.store.new_facts(1_000).await.expect("in memory");
        self.with(|state| {
            for fact in facts {
                batch.merged.push(fact.seq);
                match fact.fact.expect("it reads").body {
                    FactBody::Machine(event) => {
                        let Some(machine) = state.machines.get_mut(&event.instance) else { continue };
                        machine.hear(&event);
                        state.changed.push(event.instance.clone());
                        state.reports.entry(event.instance).or_default().push(event.report);
                    }
                    FactBody::Prewarmed(event) => state.prewarmed.push(event.instance),
                    FactBody::Job(_) | FactBody::Cloud(_) | FactBody::Group(_) | FactBody::Release(_) => {}
                }
            }
            self.answer_drains(state);
            let mut changed = std::mem::take(&mut state.changed);
            changed.sort();
            changed.dedup();
            batch.machines = changed.iter().filter_map(|instance| state.machines.get(instance).cloned()).collect();
            batch.orders = std::mem::take(&mut state.orders);
        });
        let ring: Vec<InstanceId> = batch.orders.iter().map(|(instance, _)| instance.clone()).collect();
        let generation = match batch.is_empty() {
            true => generation,
            false => self.store.commit(&batch, generation).await.expect("the only writer"),
        };
        for instance in ring {
            self.wakers.ring(&instance);
        }
        self.mint().await;
        generation
    }

    /// The second key.
    fn answer_drains(&self, state: &mut State) {
        if state.holds {
            return;
        }
        for (instance, machine) in &mut state.machines {
            let registration = state.registered.get(instance).copied();
            let frozen = machine.told.frozen.map(|(order, _)| order);
            let open = machine.open_drain().map(|drain| drain.order);
            let Some(drain) = machine.drain.as_mut().filter(|drain| Some(drain.order) == frozen && !drain.answered)
            else {
                continue;
            };
            if open != Some(drain.order) {
                continue;
            }
            let gone = registration.is_none_or(|id| self.github.delete(id));
            drain.removal = Some(if gone { Removal::Gone } else { Removal::Busy });
            drain.answered = true;
            let number = drain.order;
            let order = if gone { Order::Kill { number } } else { Order::Thaw { number } };
            state.orders.push((instance.clone(), order));
            state.changed.push(instance.clone());
        }
    }

    async fn mint(&self) {
        for mut row in self.store.unminted().await.expect("in memory") {
            let may =
                self.with(|state| state.machines.get(&row.instance).is_some_and(|machine| machine.may_register()));
            if !may {
                continue;
            }
            let (id, config) = self.github.mint();
            let purpose = SealPurpose::RunnerConfig;
            let seal = Seal { public_key: &row.public_key, instance: &row.instance, session: row.session, purpose };
            row.sealed_config = Some(HpkeSealer.seal(&seal, config.as_bytes()).expect("a good key"));
            let name = RunnerName::new(format!("linux-{}-{id}", row.instance));
            row.registration = Some(Registration { id: RunnerId(i64::try_from(id).expect("small")), name });
            if self.store.attach_config(&row).await.expect("in memory") {
                self.with(|state| state.registered.insert(row.instance.clone(), id));
                self.wakers.ring(&row.instance);
            }
        }
    }
}
