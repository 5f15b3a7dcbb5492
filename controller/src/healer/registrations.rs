//! Registrations: what GitHub lists, held against what the ledger says.
//!
//! An agent can say that its listener waits while GitHub has none: the listener hangs, or the machine is dead and the cloud has
//! not noticed. And GitHub can have a registration that nobody listens for: its machine died, or the answer to its removal was
//! lost. Jobs go to neither, but the first counts as idle and the second as a runner, for a day.
//!
//! What lives here: when the list is read, and what is concluded from it. What may not: the end of a machine. That it is not
//! seen is a fact; the plan drains it, which proves that no job runs.
//!
//! Invariant: nothing is concluded from one list. What stands in it was so for a while, in every list since.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use muster_core::config::FleetConfig;
use muster_core::fact::{Fact, FactBody};
use muster_core::ids::{InstanceId, PoolName, RunnerId, RunnerName};
use muster_core::machine::{Machine, MachineEvent, MachinePhase, Removal, Report, instance_of, runner_name};
use muster_core::ports::{Github, GithubError, Listed, Records, Snapshot, Store, StoreError, Switch};
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;

use super::Healed;
use super::around::Around;
use crate::reconcile::from_github_within;

/// How often the list is read, ...
pub const LIST_EVERY: Duration = Duration::from_secs(300);
/// ... and for each page of it: a list of a hundred pages is read every 75 minutes, which is 80 requests an hour.
pub const LIST_EVERY_A_PAGE: Duration = Duration::from_secs(45);
/// The last list is believed until this many should have been read: one may fail.
const BELIEVED_FOR: u32 = 2;
/// GitHub's largest page.
const PAGE: usize = 100;
/// A list that takes longer to read is none, ...
const LIST_WITHIN: Duration = Duration::from_secs(40);
/// ... and with less time left than this none is begun.
const LIST_NEEDS: Duration = Duration::from_secs(10);
/// A listener that connected later than this before a list may not be in it yet.
const SETTLES: Duration = Duration::from_secs(120);
/// A runner that waits and that GitHub does not see for so long is not there.
pub const UNSEEN_AFTER: Duration = Duration::from_secs(240);
/// A registration without a machine that is offline for so long is nobody's. A fresh one gets its listener within minutes.
pub const LEFTOVER_AFTER: Duration = Duration::from_secs(900);
/// Registrations removed after one list.
pub const REMOVED_MAX: usize = 50;

/// What a list gives cause for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Doubts {
    /// Runners that wait, says the ledger, and have no listener, says GitHub: the machine and its session.
    unseen: BTreeMap<RunnerId, (InstanceId, u32)>,
    /// Registrations of ours that no machine has.
    leftovers: BTreeMap<RunnerId, RunnerName>,
    /// Registrations with a job, whose machine is gone.
    stranded: BTreeSet<RunnerName>,
}

/// What was listed so far.
#[derive(Default)]
pub(super) struct Registrations {
    next_at: Option<Timestamp>,
    /// Since when a registration gives cause for doubt, in every list.
    since: BTreeMap<RunnerId, Timestamp>,
    /// Runners that each list since then said have a job, and whose machine is gone.
    stranded: BTreeMap<RunnerName, Timestamp>,
    /// When the last list was read.
    listed_at: Option<Timestamp>,
    /// Runners whose listener was connected at the last list, and until when that is believed.
    online: BTreeSet<RunnerName>,
    online_until: Timestamp,
}

impl Registrations {
    /// Whether GitHub has the runner, connected: a runner of one job is listed for as long as that runs.
    pub(super) fn vouches(&self, runner: &RunnerName, now: Timestamp) -> bool {
        now < self.online_until && self.online.contains(runner)
    }

    /// Runners of which GitHub has said that they have a job, in two lists so far apart and in each between, and whose machine is
    /// gone; since when.
    pub(super) fn dead_for(&self, long: Duration) -> BTreeMap<RunnerName, Timestamp> {
        let last = self.listed_at.unwrap_or(Timestamp::EPOCH);
        let dead = self.stranded.iter().filter(|(_, since)| last.since(**since) >= long);
        dead.map(|(runner, since)| (runner.clone(), *since)).collect()
    }

    /// Reads the list, if it is time, and acts on what has been so for long enough. Returns what was read.
    pub(super) async fn compare<S: Store, R: Records + Github, K: Clock>(
        &mut self,
        around: Around<'_, S, R, K>,
        config: &FleetConfig,
        healed: &mut Healed,
    ) -> Result<Option<(Vec<Listed>, Snapshot)>, StoreError> {
        let Around { store, github, clock, until } = around;
        let began = clock.now();
        let within = LIST_WITHIN.min(until.since(began));
        if self.next_at.is_some_and(|at| began < at) || within < LIST_NEEDS {
            return Ok(None);
        }
        self.next_at = Some(began + LIST_EVERY);
        let listed = match from_github_within(clock, within, github.registrations()).await {
            Ok(listed) => listed,
            Err(error) => {
                // What the last one said is old: who was dead then is not dead in every list since.
                self.stranded.clear();
                healed.troubles.push(format!("listing registrations: {error}"));
                return Ok(None);
            }
        };
        let pages = u32::try_from(listed.len().div_ceil(PAGE)).unwrap_or(u32::MAX);
        let every = LIST_EVERY.max(LIST_EVERY_A_PAGE.saturating_mul(pages));
        self.next_at = Some(began + every);
        self.online = listed.iter().filter(|runner| runner.online).map(|runner| runner.name.clone()).collect();
        self.online_until = began + every * BELIEVED_FOR;
        // After the list: what has ended meanwhile is no cause for doubt.
        let snapshot = store.load().await?;
        let doubts = judge(&listed, &snapshot, config, began);
        self.since.retain(|id, _| doubts.unseen.contains_key(id) || doubts.leftovers.contains_key(id));
        let mut long = |id: &RunnerId, after: Duration| began.since(*self.since.entry(*id).or_insert(began)) >= after;
        for (id, (instance, session)) in &doubts.unseen {
            if long(id, UNSEEN_AFTER) {
                let at = clock.now();
                let event = MachineEvent { instance: instance.clone(), session: *session, at, report: Report::Unseen };
                store.put_fact(&Fact { received_at: at, body: FactBody::Machine(event) }).await?;
                healed.unseen.push(instance.clone());
            }
        }
        healed.stranded.extend(doubts.stranded.iter().cloned());
        self.stranded.retain(|runner, _| doubts.stranded.contains(runner));
        for runner in doubts.stranded {
            self.stranded.entry(runner).or_insert(began);
        }
        self.listed_at = Some(began);
        let mut leftovers: Vec<_> =
            doubts.leftovers.into_iter().filter(|(id, _)| long(id, LEFTOVER_AFTER)).take(REMOVED_MAX).collect();
        if store.switch().await? == Switch::Freeze {
            leftovers.clear();
        }
        for (id, name) in leftovers {
            if around.is_over() {
                break;
            }
            match around.ask(github.remove(id)).await {
                Ok(Removal::Gone) => {
                    self.since.remove(&id);
                    healed.leftovers.push(name);
                }
                Ok(Removal::Busy) => {
                    self.since.remove(&id);
                    healed.troubles.push(format!("registration {name} is listed as idle, and cannot be removed"));
                }
                Err(error) => {
                    healed.troubles.push(format!("removing registration {name}: {error}"));
                    if matches!(error, GithubError::Limited { .. }) {
                        break;
                    }
                }
            }
        }
        Ok(Some((listed, snapshot)))
    }
}

/// What of this list does not go with the ledger.
fn judge(listed: &[Listed], snapshot: &Snapshot, config: &FleetConfig, began: Timestamp) -> Doubts {
    let machines: BTreeMap<&InstanceId, &Machine> =
        snapshot.machines.iter().map(|machine| (&machine.instance, machine)).collect();
    let by_id: BTreeMap<RunnerId, &Listed> = listed.iter().map(|listed| (listed.id, listed)).collect();
    let mut doubts = Doubts::default();
    for machine in &snapshot.machines {
        // Also one that does not answer its drain: it is drained again and again.
        let waits = matches!(machine.phase(), MachinePhase::Idle(_) | MachinePhase::Draining(_));
        let waits = waits && machine.told.listening_at.is_some_and(|at| began.since(at) >= SETTLES);
        let Some((_, registration)) = machine.told.registered.as_ref().filter(|_| waits) else { continue };
        let seen = by_id.get(&registration.id).is_some_and(|listed| listed.online || listed.busy);
        // It was told of before: the plan has it.
        if !seen && machine.told.unseen_at.is_none() {
            doubts.unseen.insert(registration.id, (machine.instance.clone(), machine.session));
        }
    }
    for runner in listed.iter().filter(|runner| !runner.online) {
        let Some(instance) = instance_of(&runner.name).filter(|instance| is_ours(&runner.name, instance, config))
        else {
            continue;
        };
        let machine = machines.get(&instance).filter(|machine| machine.is_live());
        let registered = machine.and_then(|machine| machine.told.registered.as_ref());
        match (runner.busy, machine) {
            (true, None) => {
                doubts.stranded.insert(runner.name.clone());
            }
            (false, None) => {
                doubts.leftovers.insert(runner.id, runner.name.clone());
            }
            // Its machine has another one by now.
            (false, Some(_)) if registered.is_some_and(|(_, registration)| registration.id != runner.id) => {
                doubts.leftovers.insert(runner.id, runner.name.clone());
            }
            (_, Some(_)) => {}
        }
    }
    doubts
}

/// Whether a name is one that the registrar gives: of a pool that there is.
fn is_ours(name: &RunnerName, instance: &InstanceId, config: &FleetConfig) -> bool {
    config.pools().iter().any(|pool| is_of(name, instance, &pool.name))
}

/// Whether a name is one that the registrar gives to this machine in this pool.
pub(super) fn is_of(name: &RunnerName, instance: &InstanceId, pool: &PoolName) -> bool {
    name.as_str().starts_with(runner_name(pool, instance, "").as_str())
}
