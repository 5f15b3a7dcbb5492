//! The list of registrations against the ledger, both as a test tells them.

use futures_util::FutureExt;
use muster_core::machine::{Drain, Registration, Session};
use muster_core::ports::Batch;

use super::*;
use muster_core::job::{JobEvidence, Started};

use crate::healer::tests::{Fleet, at, told};
use crate::reconcile::tests::{config as two_classes, machine};

const ID: RunnerId = RunnerId(7);

fn listed(name: &RunnerName, online: bool, busy: bool) -> Listed {
    Listed { id: ID, name: name.clone(), online, busy, release: None }
}

/// The name of a runner of ours.
fn name() -> RunnerName {
    RunnerName::new("linux-i-00000001-abcdef")
}

/// A machine that has waited for a job since the start.
fn idle() -> Machine {
    let registration = Registration { id: ID, name: name() };
    let told = Session { registered: Some((at(0), registration)), listening_at: Some(at(0)), ..Session::default() };
    Machine { told, session: 3, ..machine(&two_classes(), 0, 1, at(0)) }
}

impl Fleet {
    pub(in crate::healer) fn has(&self, machine: Machine) {
        let batch = Batch { machines: vec![machine], ..Batch::default() };
        let generation = self.store.generation().now_or_never().unwrap().unwrap();
        self.store.commit(&batch, generation).now_or_never().unwrap().unwrap();
    }

    fn lists(&self, listed: &[Listed]) {
        self.records.lock().listed = listed.to_vec();
    }

    /// The healer looks every five minutes until then.
    fn heals_until(&mut self, seconds: u64) -> Vec<(u64, Healed)> {
        (0..=seconds).step_by(300).map(|seconds| (seconds, self.step_at(seconds))).collect()
    }
}

#[test]
fn a_runner_that_github_does_not_see_is_told_of_after_two_lists() {
    let drained = {
        let drain = Drain { order: 1, ordered_at: at(1), removal: None, answered: false, closed_at: None };
        Machine { drain: Some(drain), ..idle() }
    };
    let offline = vec![listed(&name(), false, false)];
    for (machine, seen) in [(idle(), vec![]), (idle(), offline.clone()), (drained, offline)] {
        let mut fleet = Fleet::new();
        fleet.has(machine);
        fleet.lists(&seen);
        let found: Vec<u64> = fleet
            .heals_until(900)
            .into_iter()
            .filter(|(_, healed)| !healed.unseen.is_empty())
            .map(|(at, _)| at)
            .collect();
        // At the first list it had connected a moment ago. Nothing has merged the fact, so it is told again, to no effect.
        assert_eq!(found, [600, 900], "{seen:?}");
        let facts = fleet.store.new_facts(10).now_or_never().unwrap().unwrap();
        let told: Vec<_> = facts.into_iter().map(|new| new.fact.unwrap().body).collect();
        let event = |body: &FactBody| matches!(body, FactBody::Machine(event) if event.report == Report::Unseen && event.session == 3);
        assert!(told.len() == 1 && event(&told[0]), "{told:?}");
    }
}

#[test]
fn a_runner_that_github_sees_is_not_told_of() {
    let busy = {
        let mut busy = idle();
        busy.told.busy_at = Some(at(1));
        busy
    };
    let known = {
        let mut known = idle();
        known.told.unseen_at = Some(at(1));
        known
    };
    let ending = Machine { terminate_at: Some(at(1)), ..idle() };
    for (machine, seen) in [
        (idle(), vec![listed(&name(), true, false)]),
        (idle(), vec![listed(&name(), false, true)]),
        (busy, vec![]),
        (known, vec![]),
        (ending, vec![]),
    ] {
        let mut fleet = Fleet::new();
        fleet.has(machine);
        fleet.lists(&seen);
        assert!(fleet.heals_until(1_800).into_iter().all(|(_, healed)| healed == Healed::default()));
    }
}

#[test]
fn what_was_in_doubt_once_is_believed_again() {
    let mut fleet = Fleet::new();
    fleet.has(idle());
    for (seconds, online) in (300..=3_000).step_by(300).zip([false, true].into_iter().cycle()) {
        fleet.lists(&[listed(&name(), online, false)]);
        assert_eq!(fleet.step_at(seconds), Healed::default(), "at {seconds}");
    }
}

#[test]
fn a_registration_without_a_machine_is_removed_after_a_quarter_of_an_hour() {
    let gone = Machine { gone_at: Some(at(1)), ..idle() };
    let renewed = {
        let mut renewed = idle();
        renewed.told.registered.as_mut().unwrap().1.id = RunnerId(8);
        renewed
    };
    let seen = Listed { id: RunnerId(8), ..listed(&RunnerName::new("linux-i-00000001-ghijkl"), true, false) };
    for machine in [None, Some(gone), Some(renewed)] {
        let mut fleet = Fleet::new();
        machine.into_iter().for_each(|machine| fleet.has(machine));
        fleet.lists(&[listed(&name(), false, false), seen.clone()]);
        let removed: Vec<_> = fleet
            .heals_until(1_500)
            .into_iter()
            .flat_map(|(at, healed)| healed.leftovers.into_iter().map(move |name| (at, name)))
            .collect();
        assert_eq!(removed, [(900, name())]);
        assert_eq!(fleet.records.lock().listed, std::slice::from_ref(&seen));
    }
}

#[test]
fn what_may_be_in_use_or_is_not_ours_is_not_removed() {
    let foreign = ["build-box-17", "macs-i-00000001-abcdef", "linux-x-i-00000001-abcdef", "linux-i-00000001"];
    let foreign = foreign.map(|name| listed(&RunnerName::new(name), false, false));
    for runner in foreign.into_iter().chain([listed(&name(), true, false), listed(&name(), true, true)]) {
        let mut fleet = Fleet::new();
        fleet.lists(&[runner]);
        assert!(fleet.heals_until(3_600).into_iter().all(|(_, healed)| healed == Healed::default()));
        assert_eq!(fleet.records.lock().listed.len(), 1);
    }
    // It waits for its listener.
    let mut fleet = Fleet::new();
    let mut minted = idle();
    minted.told.listening_at = None;
    fleet.has(minted);
    fleet.lists(&[listed(&name(), false, false)]);
    assert!(fleet.heals_until(3_600).into_iter().all(|(_, healed)| healed == Healed::default()));
}

#[test]
fn a_job_of_a_machine_that_is_gone_is_told_and_its_registration_stays() {
    let mut fleet = Fleet::new();
    fleet.lists(&[listed(&name(), false, true)]);
    for (_, healed) in fleet.heals_until(3_600) {
        assert_eq!(healed, Healed { stranded: [name()].into(), ..Healed::default() });
    }
    assert_eq!(fleet.records.lock().listed.len(), 1);
}

#[test]
fn nothing_is_removed_while_the_switch_says_freeze() {
    let mut fleet = Fleet::new();
    fleet.lists(&[listed(&name(), false, false)]);
    fleet.store.set_switch(Switch::Freeze).now_or_never().unwrap().unwrap();
    assert!(fleet.heals_until(3_600).into_iter().all(|(_, healed)| healed == Healed::default()));
    fleet.store.set_switch(Switch::Run).now_or_never().unwrap().unwrap();
    assert_eq!(fleet.step_at(3_900).leftovers, [name()]);
}

#[test]
fn what_github_refuses_is_told_and_tried_again() {
    let mut fleet = Fleet::new();
    fleet.lists(&[listed(&name(), false, false)]);
    let refusals = [("registrations".to_owned(), 300), (format!("remove {ID}"), 900)];
    for (word, seconds) in refusals {
        let until = at(seconds + 10);
        fleet.heals_until(seconds - 300);
        fleet.records.lock().refuse = Some((word.clone(), GithubError::Limited { until }));
        let healed = fleet.step_at(seconds);
        assert_eq!((healed.troubles.len(), healed.leftovers.len()), (1, 0), "{word}: {healed:?}");
    }
    assert_eq!(fleet.step_at(1_200).leftovers, [name()]);
}

#[test]
fn a_longer_list_is_read_less_often() {
    let mut fleet = Fleet::new();
    let many =
        (0..2_000).map(|n| Listed { id: RunnerId(n), ..listed(&RunnerName::new(format!("box-{n}")), true, false) });
    fleet.lists(&many.collect::<Vec<_>>());
    let mut read_at = Vec::new();
    for seconds in (0..=1_800).step_by(60) {
        fleet.step_at(seconds);
        if fleet.records.lock().asked.drain(..).any(|word| word == "registrations") {
            read_at.push(seconds);
        }
    }
    assert_eq!(read_at, [0, 900, 1_800], "twenty pages");
}

/// A runner of one job is in the list for as long as that runs: the list says it for a hundred at a time.
#[test]
fn a_running_job_is_not_asked_for_while_the_list_has_its_runner() {
    let started = |name: &RunnerName| {
        let runner = muster_core::job::RunnerRef { id: Some(ID), name: name.clone() };
        JobEvidence::InProgress(Started { started_at: at(0), runner: Some(runner) })
    };
    let busy = {
        let mut busy = idle();
        busy.told.busy_at = Some(at(0));
        busy
    };
    let asked_for = |seen: &[Listed], until: u64| {
        let mut fleet = Fleet::new();
        fleet.has(busy.clone());
        fleet.knows(&told(1, "linux", "acme/api", started(&name())), 0);
        fleet.lists(seen);
        fleet.heals_until(until);
        fleet.asked().contains(&"job 1".to_owned())
    };
    assert!(!asked_for(&[listed(&name(), true, true)], 7_200));
    for seen in [&[][..], &[listed(&name(), false, true)]] {
        assert!(asked_for(seen, 900), "{seen:?}");
    }
}

#[test]
fn a_list_that_was_not_read_again_vouches_for_nobody() {
    let mut registrations = Registrations { online: BTreeSet::from([name()]), ..Registrations::default() };
    registrations.online_until = at(600);
    assert!(registrations.vouches(&name(), at(599)));
    assert!(!registrations.vouches(&name(), at(600)));
}
