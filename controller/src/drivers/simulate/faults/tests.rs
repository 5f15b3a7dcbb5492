//! Rules of the audit that no bug in the ledger breaks: a world is made by hand that does.

use std::time::Duration;

use muster_core::config::FleetConfig;
use muster_core::ids::{LaunchId, Zone};
use muster_core::launch::Launch;
use muster_core::machine::{Origin, Purpose};
use muster_core::money::HourlyPrice;
use muster_sim::{Cut, Settings, Trace, Universe};

use super::*;
use crate::drivers::catalog::ConfigCatalog;

fn world() -> (SharedUniverse, Audit, Timestamp) {
    let config = Arc::new(FleetConfig::for_label_sets(&[vec!["linux".to_owned()]]));
    let job = r#"{"run_id":1,"t":0,"repo":"acme/api","workflow":"ci","event":"push","cancel_after_s":null,
        "jobs":[{"name":"a","job":"a","needs":[],"labels":["linux"],"duration_s":5}]}"#;
    let load = Trace::bytes("one job", job.replace('\n', "").into_bytes()).load(Cut::WHOLE).unwrap();
    let mut universe = Universe::new(Settings::default(), load, ConfigCatalog(config.clone()));
    let began = universe.started_at();
    universe.run_to(began);
    let launch = launch(&config, began);
    universe.committed(&launch);
    universe.launch(&launch).unwrap();
    let universe = SharedUniverse::new(universe);
    let chronicle = Chronicle::new(false);
    let ledger = Arc::new(FaultyLedger::new(MemoryStore::new(MemoryOptions::default()), chronicle.clone()));
    let audit = Audit::new(ledger.clone(), Rest::new(ledger, false), chronicle, began);
    (universe, audit, began)
}

fn launch(config: &FleetConfig, at: Timestamp) -> Launch {
    let class = &config.classes()[0];
    Launch {
        id: LaunchId::new("by-hand"),
        purpose: Purpose {
            pool: class.pool.clone(),
            class: class.id.clone(),
            shape: class.shapes[0].id.clone(),
            account: None,
            zone: Zone::new("sim-a"),
            market: class.shapes[0].market,
            origin: Origin::Cold,
            price: HourlyPrice::from_usd(0.1),
        },
        count: 1,
        may_register: true,
        intended_at: at,
        reason: "a test".into(),
    }
}

/// What is found when both sides are looked at every ten minutes for so many minutes.
fn found_after(minutes: u64) -> Vec<Broken> {
    let (universe, mut audit, began) = world();
    for minute in (0..=minutes).step_by(10) {
        let now = began + Duration::from_secs(60 * minute);
        universe.lock().run_to(now);
        audit.look(now, &universe);
    }
    audit.violations().iter().map(|violation| violation.rule).collect()
}

#[test]
fn a_machine_that_the_ledger_does_not_know_is_found_when_it_has_run_for_long() {
    assert!(!found_after(90).contains(&Broken::UnknownMachine));
    let found = found_after(120);
    assert_eq!(found.iter().filter(|rule| **rule == Broken::UnknownMachine).count(), 1, "it is told once: {found:?}");
}

#[test]
fn a_job_that_waits_for_long_after_the_end_of_faults_is_found() {
    assert!(!found_after(60).contains(&Broken::NotServed));
    assert!(found_after(80).contains(&Broken::NotServed));
}
