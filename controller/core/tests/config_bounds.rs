//! Bounds at an instant: schedules, clock changes, sums, and how long an answer holds.

use muster_core::config::{Bounds, FleetConfig, StandbyState};
use muster_core::ids::ClassId;
use muster_core::time::Timestamp;
use proptest::prelude::*;

fn fleet(zone: &str, pool: &str) -> FleetConfig {
    let text = format!(
        "[github]\norganization = \"acme\"\nwebhook_secrets = [\"env:S\"]\n[fleet]\ntime_zone = \"{zone}\"\n\
         [[pool]]\nname = \"p\"\nos = \"linux\"\narch = \"x64\"\nmarkets = [\"spot\", \"on-demand\"]\n\
         default_market = \"spot\"\ndefault_size = \"a\"\nidle = {{ min = 1, max = 9 }}\n{pool}\n\
         [pool.sizes.a]\ninstance_types = [\"c7i.large\", \"c7a.large\"]\n[pool.sizes.b]\nvcpus = 4\n\
         idle = {{ min = 3 }}\n"
    );
    let parsed = FleetConfig::parse("f", &text);
    assert_eq!(parsed.errors, []);
    parsed.config.expect("there is no error")
}

fn schedule(when: &str) -> String {
    format!("[[pool.schedule]]\nwhen = \"{when}\"\nidle = {{ min = 5 }}")
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("an instant")
}

fn applies(fleet: &FleetConfig, now: Timestamp) -> bool {
    fleet.idle_bounds(&ClassId::new("p/a/spot"), now).min == 5
}

#[test]
fn windows_hold_from_their_first_to_before_their_last_instant() {
    let table = [
        // 2026-11-23 is a Monday. Berlin is an hour ahead of UTC then.
        ("mon-fri 07:00-19:00", "2026-11-23T05:59:59.999Z", false),
        ("mon-fri 07:00-19:00", "2026-11-23T06:00:00Z", true),
        ("mon-fri 07:00-19:00", "2026-11-23T17:59:59.999Z", true),
        ("mon-fri 07:00-19:00", "2026-11-23T18:00:00Z", false),
        ("mon-fri 07:00-19:00", "2026-11-22T12:00:00Z", false),
        ("tue", "2026-11-23T22:59:59Z", false),
        ("tue", "2026-11-23T23:00:00Z", true),
        ("tue", "2026-11-24T22:59:59Z", true),
        ("tue", "2026-11-24T23:00:00Z", false),
        ("mon,wed 08:00-09:00", "2026-11-24T07:30:00Z", false),
        ("mon,wed 08:00-09:00", "2026-11-25T07:30:00Z", true),
        ("Monday,WED 8:00-9:00", "2026-11-25T07:30:00Z", true),
        // Days may wrap around the week.
        ("sat-mon 08:00-09:00", "2026-11-23T07:30:00Z", true),
        ("sat-mon 08:00-09:00", "2026-11-24T07:30:00Z", false),
        ("* 08:00-09:00", "2026-11-22T07:30:00Z", true),
        ("daily 20:00-24:00", "2026-11-22T22:59:59Z", true),
        ("daily 20:00-24:00", "2026-11-22T23:00:00Z", false),
        // A window over midnight belongs to the day on which it begins.
        ("fri 22:00-06:00", "2026-11-27T21:30:00Z", true),
        ("fri 22:00-06:00", "2026-11-28T04:59:59Z", true),
        ("fri 22:00-06:00", "2026-11-28T05:00:00Z", false),
        ("fri 22:00-06:00", "2026-11-27T04:00:00Z", false),
        ("sun 22:00-06:00", "2026-11-23T04:00:00Z", true),
    ];
    for (when, now, wanted) in table {
        let fleet = fleet("Europe/Berlin", &schedule(when));
        assert_eq!(applies(&fleet, at(now)), wanted, "{when} at {now}");
    }
}

#[test]
fn clock_changes_neither_lose_nor_repeat_a_window() {
    // Berlin jumps from 02:00 to 03:00 on 2026-03-29 (01:00Z), and back from 03:00 to 02:00 on 2026-10-25 (01:00Z).
    let table = [
        ("sun 02:30-04:00", "2026-03-29T00:59:59Z", false),
        ("sun 02:30-04:00", "2026-03-29T01:29:59Z", false),
        ("sun 02:30-04:00", "2026-03-29T01:30:00Z", true),
        ("sun 02:30-04:00", "2026-03-29T02:00:00Z", false),
        ("sun 07:00-19:00", "2026-03-29T05:00:00Z", true),
        ("sun 07:00-19:00", "2026-03-29T17:00:00Z", false),
        ("sat 22:00-06:00", "2026-03-29T03:59:59Z", true),
        ("sat 22:00-06:00", "2026-03-29T04:00:00Z", false),
        // The hour from 02:00 comes twice: the window is one span, and begins and ends with the first coming.
        ("sun 02:00-02:30", "2026-10-25T00:00:00Z", true),
        ("sun 02:00-02:30", "2026-10-25T00:30:00Z", false),
        ("sun 02:00-02:30", "2026-10-25T01:15:00Z", false),
        ("sun 02:00-03:30", "2026-10-25T02:29:59Z", true),
        ("sun 02:00-03:30", "2026-10-25T02:30:00Z", false),
        ("sat 22:00-06:00", "2026-10-25T04:59:59Z", true),
        ("sat 22:00-06:00", "2026-10-25T05:00:00Z", false),
    ];
    for (when, now, wanted) in table {
        let fleet = fleet("Europe/Berlin", &schedule(when));
        assert_eq!(applies(&fleet, at(now)), wanted, "{when} at {now}");
    }
    let utc = fleet("UTC", &schedule("sun 02:30-04:00"));
    assert!(applies(&utc, at("2026-03-29T02:30:00Z")));
}

#[test]
fn an_answer_holds_until_the_next_change() {
    let fleet = fleet("Europe/Berlin", &schedule("mon-fri 07:00-19:00"));
    let next = |now: &str| fleet.next_schedule_change(at(now)).unwrap().to_string();
    assert_eq!(next("2026-11-23T00:00:00Z"), "2026-11-23T06:00:00.000Z");
    assert_eq!(next("2026-11-23T06:00:00Z"), "2026-11-23T18:00:00.000Z");
    assert_eq!(next("2026-11-27T18:00:00Z"), "2026-11-30T06:00:00.000Z");
    assert_eq!(next("2026-10-23T17:00:00Z"), "2026-10-26T06:00:00.000Z");
    let answer = fleet.bounds_at(at("2026-11-23T06:00:00Z"));
    assert!(answer.covers(at("2026-11-23T06:00:00Z")) && answer.covers(at("2026-11-23T17:59:59Z")));
    assert!(!answer.covers(at("2026-11-23T18:00:00Z")) && !answer.covers(at("2026-11-23T05:59:59Z")));
}

#[test]
fn whole_days_in_a_row_are_no_change() {
    let fleet = fleet("Europe/Berlin", &schedule("sat,sun"));
    let next = |now: &str| fleet.next_schedule_change(at(now)).unwrap().to_string();
    assert_eq!(next("2026-11-28T12:00:00Z"), "2026-11-29T23:00:00.000Z");
    let always = self::fleet("Europe/Berlin", &schedule("daily"));
    assert!(applies(&always, at("2026-11-28T12:00:00Z")));
    assert_eq!(always.next_schedule_change(at("2026-11-28T12:00:00Z")), None);
}

#[test]
fn a_window_that_a_clock_change_swallows_comes_back_a_week_later() {
    // On 2026-03-29 Berlin has no time from 02:00 to 03:00.
    let fleet = fleet("Europe/Berlin", &schedule("sun 02:00-03:00"));
    let mut now = at("2026-03-23T12:00:00Z");
    while !applies(&fleet, now) {
        now = fleet.next_schedule_change(now).unwrap();
    }
    assert_eq!(now, at("2026-04-05T00:00:00Z"));
}

#[test]
fn later_schedules_win_bound_by_bound_and_the_rest_stays() {
    let pool = "standby = { min = 1, max = 4, state = \"hibernated\" }\n\
        [[pool.schedule]]\nwhen = \"mon-fri\"\nidle = { min = 5, max = 20 }\nstandby = { min = 3 }\n\
        [[pool.schedule]]\nwhen = \"mon 08:00-09:00\"\nidle = { min = 7 }";
    let fleet = fleet("UTC", pool);
    let idle = |class: &str, now| fleet.idle_bounds(&ClassId::new(class), at(now));
    assert_eq!(idle("p/a/spot", "2026-11-22T08:00:00Z"), Bounds { min: 1, max: 9 });
    assert_eq!(idle("p/a/spot", "2026-11-23T07:00:00Z"), Bounds { min: 5, max: 20 });
    assert_eq!(idle("p/a/spot", "2026-11-23T08:00:00Z"), Bounds { min: 7, max: 20 });
    // Only the default class follows the pool's bounds; a size has its own in the default market.
    assert_eq!(idle("p/a/on-demand", "2026-11-23T08:00:00Z"), Bounds::ANY);
    assert_eq!(idle("p/b/spot", "2026-11-23T08:00:00Z"), Bounds { min: 3, max: u32::MAX });
    assert_eq!(idle("p/b/on-demand", "2026-11-23T08:00:00Z"), Bounds::ANY);
    assert_eq!(idle("p/none/spot", "2026-11-23T08:00:00Z"), Bounds::NONE);
    let shape = &fleet.class(&ClassId::new("p/a/on-demand")).unwrap().shapes[0].id;
    let standby = |now| fleet.standby_bounds(shape, at(now));
    assert_eq!(standby("2026-11-22T08:00:00Z").bounds, Bounds { min: 1, max: 4 });
    assert_eq!(standby("2026-11-23T08:00:00Z").bounds, Bounds { min: 3, max: 4 });
    assert_eq!(standby("2026-11-23T08:00:00Z").state, StandbyState::Hibernated);
    let spot = &fleet.class(&ClassId::new("p/a/spot")).unwrap().shapes[0].id;
    assert_eq!(fleet.standby_bounds(spot, at("2026-11-23T08:00:00Z")).bounds, Bounds::NONE);
    let table = fleet.bounds_at(at("2026-11-23T08:00:00Z"));
    assert_eq!(table.standby_shapes().map(|(id, _)| id).collect::<Vec<_>>(), [shape]);
}

#[test]
fn without_schedules_an_answer_holds_forever() {
    let fleet = fleet("Europe/Berlin", "standby = { min = 2 }");
    for now in [Timestamp::from_unix_ms(i64::MIN), Timestamp::EPOCH, Timestamp::from_unix_ms(i64::MAX - 1)] {
        assert_eq!(fleet.next_schedule_change(now), None);
        let answer = fleet.bounds_at(now);
        assert!(answer.covers(now));
        assert_eq!(answer.standby_shapes().next().unwrap().1.bounds, Bounds { min: 2, max: 2 });
    }
}

#[test]
fn pools_with_the_same_shape_add_up_their_standby() {
    let other = "standby = { min = 1, max = 2 }\n[pool.sizes.a]\ninstance_types = [\"c7i.large\", \"c7a.large\"]\n\
        [pool.sizes.b]\nvcpus = 4\n[[pool]]\nname = \"q\"\nos = \"linux\"\narch = \"x64\"\nlabels = [\"q\"]\n\
        default_size = \"a\"\nidle = { min = 0 }\nstandby = { min = 3, max = 5 }\n";
    let fleet = fleet("UTC", other);
    let table = fleet.bounds_at(Timestamp::EPOCH);
    let all: Vec<Bounds> = table.standby_shapes().map(|(_, standby)| standby.bounds).collect();
    assert_eq!(all, [Bounds { min: 4, max: 7 }]);
}

proptest! {
    /// Whatever the zone and window: within the time an answer holds, a fresh answer is the same; at its end it is not.
    #[test]
    fn answers_hold_as_long_as_they_say(
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
        days in prop::sample::select(vec!["daily", "sun", "sat-mon", "mon,thu"]),
        start in 0_u32..1_440,
        end in 0_u32..=1_440,
        now_s in 1_767_225_600_i64..1_798_761_600,
        part in 0_i64..1_000,
    ) {
        let clock = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let when = format!("{days} {}-{}", clock(start), clock(end));
        let fleet = fleet(zone, &schedule(&when));
        let now = Timestamp::from_unix_ms(now_s * 1_000);
        let answer = fleet.bounds_at(now);
        prop_assert!(answer.covers(now));
        if answer.until < Timestamp::MAX {
            let within = Timestamp::from_unix_ms(now.unix_ms() + (answer.until.unix_ms() - now.unix_ms()) * part / 1_000);
            prop_assert_eq!(applies(&fleet, within), applies(&fleet, now));
            prop_assert_ne!(applies(&fleet, answer.until), applies(&fleet, now), "{} in {} at {}", when, zone, now);
        }
    }

    #[test]
    fn no_instant_panics(ms: i64) {
        let fleet = fleet("Australia/Lord_Howe", &schedule("daily 23:00-22:59"));
        fleet.bounds_at(Timestamp::from_unix_ms(ms));
    }
}
