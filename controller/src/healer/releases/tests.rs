//! Releases on the images: what is asked, told and kept.

use futures_util::FutureExt;
use muster_core::ids::{RunnerId, RunnerName};
use muster_core::launch::{LaunchErrorKind, Offering};
use muster_core::machine::{Registration, Session};
use muster_core::ports::{Batch, NewFact};
use muster_core::release::Retirement;

use super::*;
use crate::healer::tests::{Fleet, at};
use crate::reconcile::tests::{config as two_classes, machine};

const DAY: u64 = 24 * 3_600;

fn release(text: &str) -> Release {
    text.parse().unwrap()
}

/// A machine that was launched then, and whose registration is its number.
fn launched(n: u32, seconds: u64) -> Machine {
    let name = RunnerName::new(format!("linux-i-{n:08x}-abcdef"));
    let registered = Some((at(seconds), Registration { id: RunnerId(n.into()), name }));
    let told = Session { registered, busy_at: Some(at(seconds)), ..Session::default() };
    Machine { told, session: 1, launched_at: at(seconds), ..machine(&two_classes(), 0, n, at(seconds)) }
}

impl Fleet {
    pub(in crate::healer) fn commits(&self, batch: &Batch) {
        let generation = self.store.generation().now_or_never().unwrap().unwrap();
        self.store.commit(batch, generation).now_or_never().unwrap().unwrap();
    }

    /// A machine is launched, and GitHub lists its runner with this release; nothing else.
    fn runs(&self, n: u32, seconds: u64, carries: &str) {
        let machine = launched(n, seconds);
        let (_, Registration { id, name }) = machine.told.registered.clone().unwrap();
        let listed = Listed { id, name, online: true, busy: true, release: carries.parse().ok() };
        self.records.lock().listed = vec![listed];
        self.has(machine);
    }

    fn offers(&self, releases: &[&str]) {
        self.records.lock().offered = releases.iter().map(|text| release(text)).collect();
    }

    /// What was told about releases since the last such question, as a scaler merges it.
    fn told(&self) -> Vec<(Release, bool)> {
        let facts = self.store.new_facts(100).now_or_never().unwrap().unwrap();
        self.commits(&Batch { merged: facts.iter().map(|fact| fact.seq).collect(), ..Batch::default() });
        let event = |fact: NewFact| {
            let FactBody::Release(event) = fact.fact.unwrap().body else { panic!("another fact") };
            (event.release, event.taken)
        };
        facts.into_iter().map(event).collect()
    }

    /// The hold that the scaler makes of a retired image, found then.
    fn holds(&self, seconds: u64) {
        let purpose = launched(1, 0).purpose;
        let offering = Offering::everywhere(purpose.shape, purpose.market);
        let hold = Hold { offering, kind: LaunchErrorKind::Outdated, until: at(seconds) + PROBE_EVERY, strikes: 1 };
        self.commits(&Batch { holds: vec![hold], ..Batch::default() });
    }

    fn asked_of_releases(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.records.lock().asked);
        asked.into_iter().filter(|word| word == "offered" || word.starts_with("retirement")).collect()
    }
}

#[test]
fn an_image_is_told_of_at_twenty_days_and_then_once_a_day() {
    let mut fleet = Fleet::new();
    fleet.offers(&["2.335.0"]);
    fleet.runs(1, 0, "2.335.0");
    let ages = |seconds| [(PoolName::new("linux"), Duration::from_secs(seconds))].into();
    assert_eq!(fleet.step_at(0).ages, ages(0));
    fleet.offers(&["2.336.0"]);
    fleet.step_at(DAY);
    for day in 2..21 {
        fleet.runs(u32::try_from(day).unwrap(), day * DAY, "2.335.0");
        let healed = fleet.step_at(day * DAY);
        assert_eq!((healed.ages, healed.old), (ages((day - 1) * DAY), vec![]), "day {day}");
    }
    // Another process knows since when the newer one is offered.
    fleet.restart();
    fleet.runs(40, 21 * DAY, "2.335.0");
    let old = fleet.step_at(21 * DAY).old;
    assert!(old.len() == 1 && !old[0].retired, "{old:?}");
    assert_eq!((old[0].standing.release, old[0].standing.newest), (release("2.335.0"), release("2.336.0")));
    assert_eq!(fleet.step_at(21 * DAY + 300).old, []);
    assert_eq!(fleet.step_at(22 * DAY).old.len(), 1);
    fleet.runs(41, 22 * DAY, "2.336.0");
    let renewed = fleet.step_at(22 * DAY + 300);
    assert_eq!((renewed.old, renewed.ages), (vec![], ages(0)));
    assert_eq!(fleet.told(), [], "GitHub has not said that it takes it no more");
}

#[test]
fn github_is_asked_every_six_hours_and_only_about_what_is_behind() {
    let mut fleet = Fleet::new();
    fleet.offers(&["2.336.0"]);
    fleet.runs(1, 0, "2.336.0");
    let span = ASK_EVERY.as_secs();
    for seconds in (0..2 * span).step_by(300) {
        fleet.step_at(seconds);
    }
    assert_eq!(fleet.asked_of_releases(), ["offered", "offered"]);
    fleet.runs(2, 2 * span, "2.335.0");
    for seconds in (2 * span..4 * span).step_by(300) {
        fleet.step_at(seconds);
    }
    assert_eq!(fleet.asked_of_releases(), ["offered", "retirement 2.335.0", "offered", "retirement 2.335.0"]);
}

#[test]
fn what_github_refuses_is_not_asked_again_soon_and_what_it_does_not_answer_is() {
    for (error, asked) in [
        (GithubError::Rejected("no".to_owned()), vec!["offered"]),
        (GithubError::Unknown("lost".to_owned()), vec!["offered", "offered"]),
        (GithubError::Limited { until: at(10) }, vec!["offered", "offered"]),
    ] {
        let mut fleet = Fleet::new();
        fleet.records.lock().refuse = Some(("offered".to_owned(), error));
        assert_eq!(fleet.step_at(0).troubles.len(), 1);
        fleet.step_at(300);
        assert_eq!(fleet.asked_of_releases(), asked);
    }
}

#[test]
fn a_retired_image_is_told_to_the_plan_until_it_holds_and_again_when_a_newer_one_shows() {
    let mut fleet = Fleet::new();
    fleet.offers(&["2.336.0"]);
    let told = Retirement { registration: Some(at(1_000)), runtime: Some(at(9_000)) };
    fleet.records.lock().retirements.insert(release("2.335.0"), told);
    fleet.runs(1, 0, "2.335.0");
    for seconds in [0, 300, 600, 900] {
        assert_eq!(fleet.step_at(seconds).old, []);
    }
    assert_eq!(fleet.told(), []);
    let old = fleet.step_at(1_200).old;
    assert!(old.len() == 1 && old[0].retired, "{old:?}");
    assert_eq!(fleet.told(), [(release("2.335.0"), false)]);
    fleet.holds(1_200);
    fleet.step_at(1_500);
    assert_eq!(fleet.told(), [], "it holds");
    // A probe with the same image, then one with a new image.
    let probed = 1_200 + PROBE_EVERY.as_secs();
    fleet.holds(probed);
    fleet.runs(2, probed, "2.335.0");
    fleet.step_at(probed + 300);
    assert_eq!(fleet.told(), []);
    fleet.runs(3, probed + 10, "2.336.0");
    fleet.step_at(probed + 600);
    assert_eq!(fleet.told(), [(release("2.336.0"), true)]);
}

#[test]
fn a_hold_that_an_agent_gave_cause_for_ends_only_by_a_machine_launched_under_it() {
    let mut fleet = Fleet::new();
    fleet.runs(1, 0, "2.335.0");
    fleet.holds(100);
    fleet.step_at(300);
    assert_eq!(fleet.told(), [], "launched before");
    fleet.runs(2, 2_000, "2.336.0");
    fleet.step_at(2_100);
    assert_eq!(fleet.told(), [(release("2.336.0"), true)]);
}
