//! Looking at the cloud: zones, standby stock, and which instances are still there.
//!
//! The looks are taken side by side and briefly: a cloud that does not answer delays a tick by seconds, and what was known
//! before stays in use. Prices are looked at less often, for they move by the hour, and not at the first look, which jobs wait
//! for. A fleet without machines is looked at too, if seldom: on the occasion the adapter tidies up what
//! the last launches may have left behind.
//!
//! Invariant: "gone" needs positive evidence. An instance is gone when the cloud says so, or when it was absent from
//! several lists over a while, and never right after its launch: lists lag behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join4;
use muster_core::ids::{InstanceId, ShapeId};
use muster_core::ports::{Batch, Cloud, Github, InstanceState, Sighting, Store, Switch};
use muster_core::time::Timestamp;
use muster_core::world::World;
use muster_webhook::clock::Clock;

use super::{Reconciler, TickError, TickReport, from_cloud};

/// How often the cloud is looked at.
pub const OBSERVE_EVERY: Duration = Duration::from_secs(60);
/// How often instances are listed while the ledger knows of none.
pub const OBSERVE_IDLE_EVERY: Duration = Duration::from_secs(600);
/// As long as no zone is known, nothing can be launched: it is looked again after this long.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How often spot prices are read, ...
pub(super) const PRICES_EVERY: Duration = Duration::from_secs(600);
/// ... and how old they may be when they cannot be read.
const PRICES_MAX: Duration = Duration::from_secs(1_800);
/// A look that has no answer by then was none.
pub const LOOK_MAX: Duration = Duration::from_secs(8);
/// So many lists in a row without an instance, ...
pub const GONE_READS: u32 = 3;
/// ... over at least this long, mean that it is gone, ...
pub const GONE_AFTER: Duration = Duration::from_secs(120);
/// ... but not this soon after its launch.
pub const NEWBORN: Duration = Duration::from_secs(300);

/// When the cloud was last looked at, and what was missing.
#[derive(Debug, Default)]
pub(super) struct Observer {
    looked_at: Option<Timestamp>,
    /// When instances were last listed.
    listed_at: Option<Timestamp>,
    /// When spot prices were last read.
    priced_at: Option<Timestamp>,
    absent: BTreeMap<InstanceId, (u32, Timestamp)>,
    /// Those that were absent for so long that they are gone, with their shapes: what is left of them in the cloud is to be
    /// ended.
    remains: Vec<(InstanceId, ShapeId)>,
}

impl<S: Store, C: Cloud, G: Github, K: Clock> Reconciler<S, C, G, K> {
    pub(super) async fn observe(&mut self, world: &mut World, report: &mut TickReport) -> Result<(), TickError> {
        let now = report.now;
        let machines = world.machines().next().is_some();
        if let Some(at) = self.observer.looked_at.filter(|at| now.since(*at) < OBSERVE_EVERY) {
            if machines {
                report.wake(at + OBSERVE_EVERY);
            }
            return Ok(());
        }
        let is_first = self.observer.looked_at.is_none();
        let prices = !is_first && self.observer.priced_at.is_none_or(|at| now.since(at) >= PRICES_EVERY);
        self.observer.looked_at = Some(now);
        // At the first look all are listed, though the ledger knows of none: it may be a new one, or have been emptied.
        // The adapter changes things on the occasion: a frozen fleet is let be, and so is one that another scaler has taken over.
        let due = machines || self.observer.listed_at.is_none_or(|at| now.since(at) >= OBSERVE_IDLE_EVERY);
        let lists = due && world.switch() != Switch::Freeze && self.store.generation().await? == world.generation();
        if lists {
            self.observer.listed_at = Some(now);
        }
        // The next fact ends the silence of an idle fleet.
        report.wake(if machines { now + OBSERVE_EVERY } else { now + OBSERVE_IDLE_EVERY });
        let known: Vec<(InstanceId, ShapeId)> = world
            .machines()
            .filter(|machine| machine.is_live())
            .map(|machine| (machine.instance.clone(), machine.purpose.shape.clone()))
            .collect();
        let (clock, limit) = (&self.clock, LOOK_MAX.min(self.call_max()));
        let list =
            async { if lists { Some(from_cloud(clock, limit, self.cloud.instances(&known)).await) } else { None } };
        let price =
            async { if prices { Some(from_cloud(clock, limit, self.cloud.spot_prices()).await) } else { None } };
        let (zones, stock, sighting, prices) = join4(
            from_cloud(clock, limit, self.cloud.zones()),
            from_cloud(clock, limit, self.cloud.standby()),
            list,
            price,
        )
        .await;
        match zones {
            Ok(zones) => world.set_zones(zones),
            Err(error) => {
                report.troubles.push(format!("listing zones: {error}"));
                if world.zones().is_empty() {
                    self.observer.looked_at = None;
                    report.wake(now + LOOK_AGAIN);
                }
            }
        }
        match stock {
            Ok(stock) => world.set_stock(stock),
            Err(error) => report.troubles.push(format!("listing standby stock: {error}")),
        }
        match prices {
            Some(Ok(prices)) => {
                self.observer.priced_at = Some(now);
                world.set_spot_prices(prices);
            }
            Some(Err(error)) => {
                report.troubles.push(format!("reading spot prices: {error}"));
                if self.observer.priced_at.is_some_and(|at| now.since(at) >= PRICES_MAX) {
                    world.set_spot_prices(Vec::new());
                }
            }
            None => {}
        }
        let sighting = match sighting {
            Some(Ok(sighting)) => sighting,
            Some(Err(error)) => {
                report.troubles.push(format!("listing instances: {error}"));
                return Ok(());
            }
            None => return Ok(()),
        };
        let mut batch = Batch::default();
        report.troubles.extend(sighting.troubles.iter().map(|trouble| format!("listing instances: {trouble}")));
        if let Some((count, why)) = strangers(world, &sighting) {
            report.unknown = count;
            report.troubles.push(why);
        }
        for instance in self.observer.missing(world, &sighting, now) {
            world.instance_gone(&instance, now, &mut batch);
        }
        if !batch.is_empty() {
            self.commit(world, &batch).await?;
        }
        self.bury(world, report).await
    }

    /// Ends what is left of machines that were absent for too long: the cloud may count one as a member of its group for ever
    /// that it no longer lists. What fails is tried again at the next look.
    async fn bury(&mut self, world: &World, report: &mut TickReport) -> Result<(), TickError> {
        let remains = std::mem::take(&mut self.observer.remains);
        if remains.is_empty() || self.store.generation().await? != world.generation() {
            self.observer.remains = remains;
            return Ok(());
        }
        match from_cloud(&self.clock, self.call_max(), self.cloud.terminate(&remains)).await {
            Ok(ended) => {
                for (instance, why) in ended.failed {
                    report.troubles.push(format!("what is left of {instance}: {why}"));
                    let shape = remains.iter().find(|(known, _)| *known == instance).cloned();
                    self.observer.remains.extend(shape);
                }
            }
            Err(error) => {
                report.troubles.push(format!("what is left of {} machines: {error}", remains.len()));
                self.observer.remains = remains;
            }
        }
        Ok(())
    }
}

/// Machines that carry the fleet's tag and are not in the ledger, more than can have come by launches that are open.
fn strangers(world: &World, sighting: &Sighting) -> Option<(usize, String)> {
    let awaited = world.launches().map(|launch| launch.count as usize).sum();
    let unknown =
        |seen: &&(InstanceId, InstanceState)| seen.1 == InstanceState::Live && world.machine(&seen.0).is_none();
    let unknown: Vec<&str> = sighting.seen.iter().filter(unknown).map(|(instance, _)| instance.as_str()).collect();
    let first = unknown.first().filter(|_| unknown.len() > awaited)?;
    let why = format!(
        "{} machines of the fleet run that this ledger does not know, such as {first}: the ledger was emptied or is another \
         one, or somebody has started them; they count against no cap, and nobody ends them: bring the former ledger back, \
         or terminate them by their tag",
        unknown.len()
    );
    Some((unknown.len(), why))
}

impl Observer {
    /// Machines that the lists prove gone. A list that could not be read says nothing about what would be in it: it
    /// neither counts as one without the machine, nor as one with it.
    fn missing(&mut self, world: &World, sighting: &Sighting, now: Timestamp) -> Vec<InstanceId> {
        let in_state = |wanted: InstanceState| -> BTreeSet<&InstanceId> {
            sighting.seen.iter().filter(|(_, state)| *state == wanted).map(|(instance, _)| instance).collect()
        };
        let (live, ended) = (in_state(InstanceState::Live), in_state(InstanceState::Gone));
        let absent: BTreeSet<&InstanceId> = sighting.absent.iter().collect();
        let mut gone = Vec::new();
        let mut missing = BTreeMap::new();
        for machine in world.machines().filter(|machine| machine.is_live() && !live.contains(&machine.instance)) {
            let known = self.absent.get(&machine.instance).copied();
            let counted = absent.contains(&machine.instance).then(|| {
                let (reads, since) = known.unwrap_or((0, now));
                (reads + 1, since)
            });
            let long = counted.is_some_and(|(reads, since)| {
                reads >= GONE_READS && now.since(since) >= GONE_AFTER && now.since(machine.launched_at) >= NEWBORN
            });
            if ended.contains(&machine.instance) || long {
                gone.push(machine.instance.clone());
                if long {
                    self.remains.push((machine.instance.clone(), machine.purpose.shape.clone()));
                }
            } else if let Some(count) = counted.or(known) {
                missing.insert(machine.instance.clone(), count);
            }
        }
        self.absent = missing;
        gone
    }
}
