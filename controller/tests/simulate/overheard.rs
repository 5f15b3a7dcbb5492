//! Somebody who hears what the simulated cloud is asked: all of it, and nothing changes by it.

use std::sync::{Arc, Mutex};

use muster::drivers::simulate::{Asked, Echo, Simulation};
use muster_core::ids::InstanceId;
use muster_core::plan::Policy;
use muster_store::{MemoryOptions, MemoryStore};

use super::scenario::{assert_sound, hours, run, scenario, shipped};

#[derive(Default)]
struct Heard {
    launched: Mutex<Vec<InstanceId>>,
    ended: Mutex<Vec<InstanceId>>,
}

impl Echo for Heard {
    fn asked(&self, what: &Asked<'_>) {
        match what {
            Asked::Launch { reply, .. } => {
                self.launched.lock().unwrap().extend(reply.as_ref().unwrap().instances.iter().cloned());
            }
            Asked::Terminate(of) => self.ended.lock().unwrap().extend(of.iter().map(|(instance, _)| instance.clone())),
            Asked::Release(_)
            | Asked::Silence(_)
            | Asked::Instances(_)
            | Asked::SetStandby(..)
            | Asked::Zones
            | Asked::Standby
            | Asked::SpotPrices => {}
        }
    }
}

#[test]
fn all_is_heard_and_nothing_changes() {
    let scenario = scenario(shipped(), hours(3, 4), Policy::Cold);
    let alone = run(&scenario);
    let heard = Arc::new(Heard::default());
    let store = Arc::new(MemoryStore::new(MemoryOptions::default()));
    let mut simulation = Simulation::heard_by(scenario, store, Some(heard.clone())).unwrap();
    let summary = simulation.run(&mut (), &mut ()).unwrap();
    assert_sound(&summary);
    assert_eq!(summary, alone);
    let (launched, ended) = (heard.launched.lock().unwrap(), heard.ended.lock().unwrap());
    assert!(summary.launches.cold > 0);
    assert_eq!(launched.len() as u64, summary.launches.cold);
    assert!(launched.iter().all(|instance| ended.contains(instance)), "a cold fleet ends each of its machines");
}
