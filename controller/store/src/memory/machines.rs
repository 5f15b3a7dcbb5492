//! What the ledger keeps per machine, in memory: rows, claims, orders and leases.
//!
//! Invariant: a forgotten machine leaves nothing behind.

use std::collections::{BTreeMap, BTreeSet};

use muster_core::claim::{ClaimRow, Order};
use muster_core::ids::InstanceId;
use muster_core::machine::Machine;
use muster_core::protocol::Numbered;
use muster_core::time::Timestamp;

/// Everything that is keyed by an instance.
#[derive(Debug, Default)]
pub(super) struct Machines {
    pub(super) rows: BTreeMap<InstanceId, Machine>,
    pub(super) claims: BTreeMap<InstanceId, ClaimRow>,
    /// Claims without a registration, oldest first.
    unminted: BTreeSet<(Timestamp, InstanceId)>,
    pub(super) orders: BTreeMap<InstanceId, Numbered>,
    pub(super) leases: BTreeMap<InstanceId, Timestamp>,
}

impl Machines {
    pub(super) fn put_claim(&mut self, row: &ClaimRow) -> bool {
        if let Some(known) = self.claims.get(&row.instance) {
            if known.session >= row.session {
                return false;
            }
            self.unminted.remove(&(known.claimed_at, known.instance.clone()));
        }
        if row.registration.is_none() {
            self.unminted.insert((row.claimed_at, row.instance.clone()));
        }
        self.claims.insert(row.instance.clone(), row.clone());
        true
    }

    pub(super) fn attach_config(&mut self, row: &ClaimRow) -> bool {
        let Some(known) = self.claims.get_mut(&row.instance) else {
            return false;
        };
        if known.session != row.session || known.registration.is_some() {
            return false;
        }
        known.registration.clone_from(&row.registration);
        known.sealed_config.clone_from(&row.sealed_config);
        if known.registration.is_some() {
            self.unminted.remove(&(known.claimed_at, known.instance.clone()));
        }
        true
    }

    pub(super) fn drop_config(&mut self, instance: &InstanceId, session: u32) {
        if let Some(known) = self.claims.get_mut(instance)
            && known.session == session
        {
            known.sealed_config = None;
        }
    }

    pub(super) fn unminted(&self) -> Vec<ClaimRow> {
        self.unminted.iter().filter_map(|(_, instance)| self.claims.get(instance).cloned()).collect()
    }

    pub(super) fn order(&mut self, instance: &InstanceId, order: Order) {
        let former = self.orders.get(instance).map_or(0, |numbered| numbered.seq);
        self.orders.insert(instance.clone(), Numbered { seq: former + 1, order });
    }

    pub(super) fn touch(&mut self, instance: &InstanceId, at: Timestamp) {
        if let Some(known) = self.leases.get_mut(instance) {
            *known = at.max(*known);
        } else {
            self.leases.insert(instance.clone(), at);
        }
    }

    pub(super) fn forget(&mut self, instance: &InstanceId) {
        self.rows.remove(instance);
        if let Some(claim) = self.claims.remove(instance) {
            self.unminted.remove(&(claim.claimed_at, claim.instance));
        }
        self.orders.remove(instance);
        self.leases.remove(instance);
    }

    /// Forgets claims, orders and leases of machines that have no row, if they are older than `cutoff`. (A claim can be
    /// ahead of the row of a machine that was just launched; an order cannot.)
    pub(super) fn prune(&mut self, cutoff: Timestamp) -> usize {
        let Machines { rows, claims, unminted, orders, leases } = self;
        let before = claims.len() + orders.len() + leases.len();
        claims.retain(|instance, claim| claim.claimed_at >= cutoff || rows.contains_key(instance));
        unminted.retain(|(_, instance)| claims.contains_key(instance));
        orders.retain(|instance, _| rows.contains_key(instance));
        leases.retain(|instance, at| *at >= cutoff || rows.contains_key(instance));
        before - claims.len() - orders.len() - leases.len()
    }
}
