//! The runner releases on the images, held against what GitHub offers and takes.
//!
//! The list of registrations tells each runner's release, at no cost. What GitHub offers is asked for every six hours, and when
//! it stops taking a release that is not the newest, too: some eight requests a day.
//!
//! What lives here: when to ask, and what is told of it. What may not: what a release's age is (`muster_core::release`), and
//! the end of launches, which is the plan's: it is told by a fact.
//!
//! Invariant: an image is found retired only by GitHub's own word, and taken again only by a machine that was launched since.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use muster_core::config::FleetConfig;
use muster_core::fact::{Fact, FactBody, ReleaseEvent};
use muster_core::ids::{InstanceId, PoolName, ShapeId};
use muster_core::launch::{EVERY_ZONE, Hold};
use muster_core::machine::{Machine, instance_of};
use muster_core::ports::{Github, GithubError, Listed, Records, Snapshot, Store, StoreError};
use muster_core::release::{Carried, Release, Releases as Known, Standing};
use muster_core::time::Timestamp;
use muster_core::world::PROBE_EVERY;
use muster_webhook::clock::Clock;

use super::Healed;
use super::around::Around;

/// How often GitHub is asked for the releases that it offers, and for the end of each that is carried and not the newest.
pub const ASK_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// Ends that are asked for after one list.
const ENDS_MAX: usize = 5;
/// How often somebody is warned of one image.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// Where it is kept, among the ledger's notes, as JSON.
const NOTE: &str = "runner-releases";

/// An image that is worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Old {
    /// The shape.
    pub shape: ShapeId,
    /// How it stands.
    pub standing: Standing,
    /// Whether GitHub no longer takes it.
    pub retired: bool,
}

/// What is known of releases, and when it was asked for.
#[derive(Default)]
pub(super) struct Releases {
    known: Option<Known>,
    offered_at: Option<Timestamp>,
    /// When the end of a release was asked for.
    ends_at: BTreeMap<Release, Timestamp>,
    warned_at: BTreeMap<ShapeId, Timestamp>,
}

impl Releases {
    /// Takes in what a list of registrations says of the releases on the images, and tells what follows.
    pub(super) async fn compare<S: Store, R: Records + Github, K: Clock>(
        &mut self,
        around: Around<'_, S, R, K>,
        config: &FleetConfig,
        (listed, snapshot): (&[Listed], &Snapshot),
        healed: &mut Healed,
    ) -> Result<(), StoreError> {
        let Around { store, clock, .. } = around;
        let kept = match self.known.take() {
            Some(known) => known,
            // What does not read was written by another version: it is learned anew.
            None => store.note(NOTE).await?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
        };
        let mut known = kept.clone();
        let machines: BTreeMap<&InstanceId, &Machine> =
            snapshot.machines.iter().map(|machine| (&machine.instance, machine)).collect();
        let of_ours = listed.iter().filter_map(|listed| {
            let machine = machines.get(&instance_of(&listed.name)?)?;
            let registered = machine.told.registered.as_ref().filter(|(_, registered)| registered.id == listed.id);
            registered.and(listed.release).map(|release| (*machine, release))
        });
        of_ours.for_each(|(machine, release)| known.carry(machine, release));
        known.forget_old(clock.now());
        self.ask(around, &mut known, healed).await;
        let told = self.tell((store, clock.now()), config, (&known, snapshot), healed).await;
        if known != kept {
            let text = serde_json::to_string(&known).unwrap_or_default();
            store.put_note(NOTE, &text).await?;
        }
        self.known = Some(known);
        told
    }

    async fn ask<S, R: Records, K: Clock>(
        &mut self,
        around: Around<'_, S, R, K>,
        known: &mut Known,
        healed: &mut Healed,
    ) {
        let now = around.now();
        let due = |at: Option<&Timestamp>| at.is_none_or(|at| now.since(*at) >= ASK_EVERY);
        if due(self.offered_at.as_ref()) {
            match around.ask(around.github.offered()).await {
                Ok(offered) => known.offer(&offered, now),
                Err(error) => {
                    healed.troubles.push(format!("runner releases that GitHub offers: {error}"));
                    if !matches!(error, GithubError::Rejected(_)) {
                        return;
                    }
                }
            }
            self.offered_at = Some(now);
        }
        self.ends_at.retain(|_, at| now.since(*at) < ASK_EVERY);
        let behind = known.behind().into_iter().filter(|release| !self.ends_at.contains_key(release));
        for release in behind.take(ENDS_MAX).collect::<Vec<_>>() {
            match around.ask(around.github.retirement(release)).await {
                Ok(told) => {
                    told.into_iter().for_each(|told| known.retire(release, told));
                    self.ends_at.insert(release, now);
                }
                Err(error) => {
                    healed.troubles.push(format!("the end of runner release {release}: {error}"));
                    return;
                }
            }
        }
    }

    /// Tells the ages, warns, and stores what the plan has to know.
    async fn tell<S: Store>(
        &mut self,
        (store, now): (&S, Timestamp),
        config: &FleetConfig,
        (known, snapshot): (&Known, &Snapshot),
        healed: &mut Healed,
    ) -> Result<(), StoreError> {
        self.warned_at.retain(|_, at| now.since(*at) < WARN_EVERY);
        for (shape, carried) in known.carried() {
            let retired = known.is_retired(carried.release, now);
            let hold = held(snapshot, shape, carried);
            let taken = match hold {
                None if retired => Some(false),
                // Its image was looked at since the hold began, by a machine that was launched under it.
                Some(hold) if !retired && carried.launched_at >= hold.until - PROBE_EVERY => Some(true),
                None | Some(_) => None,
            };
            if let Some(taken) = taken {
                let (shape, market, release) = (shape.clone(), carried.market, carried.release);
                let event = ReleaseEvent { shape, market, at: now, release, taken };
                store.put_fact(&Fact { received_at: now, body: FactBody::Release(event) }).await?;
            }
            let Some(standing) = known.standing(shape, now) else { continue };
            if config.pool(&carried.pool).is_some() {
                let age: &mut Duration = healed.ages.entry(carried.pool.clone()).or_default();
                *age = (*age).max(standing.age);
            }
            if (standing.is_old() || retired) && !self.warned_at.contains_key(shape) {
                self.warned_at.insert(shape.clone(), now);
                healed.old.push(Old { shape: shape.clone(), standing, retired });
            }
        }
        Ok(())
    }
}

/// The hold that launches of this shape are under, because its image is too old.
fn held<'a>(snapshot: &'a Snapshot, shape: &ShapeId, carried: &Carried) -> Option<&'a Hold> {
    snapshot.holds.iter().find(|hold| {
        let Hold { offering, strikes, .. } = hold;
        let whole = offering.zone.as_str() == EVERY_ZONE && offering.shape == *shape;
        whole && offering.market == carried.market && *strikes > 0
    })
}

/// Ages of images by pool, the oldest of each.
pub type Ages = BTreeMap<PoolName, Duration>;
