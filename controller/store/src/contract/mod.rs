//! The contract: what every ledger must do, as test cases that run against any [`Store`](muster_core::ports::Store).
//!
//! What lives here: cases that only use the ports. What may not: anything about one kind of ledger, except [`Keeps`].
//! [`contract_suite!`](crate::contract_suite) makes a test of each case.

pub mod claims;
pub mod commits;
pub mod facts;
pub mod retention;
pub mod samples;

use muster_core::ports::StoreError;

/// What a ledger keeps of what is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Merged facts and whole records.
    Everything,
    /// Only that, when and how a job ended; of one that ended badly on a runner the whole record.
    Tombstones,
}

/// The answer, or the end of the test.
#[track_caller]
pub fn good<T>(answer: Result<T, StoreError>) -> T {
    match answer {
        Ok(value) => value,
        Err(error) => panic!("the ledger failed: {error}"),
    }
}

/// Makes a `#[test]` of every case of the contract.
///
/// `fresh` is an expression that makes something whose field `store` is an empty ledger (it may own a directory besides);
/// `keeps` says which [`Keeps`](crate::contract::Keeps) it is; `drive` runs a future to its end.
#[macro_export]
macro_rules! contract_suite {
    (fresh: $fresh:expr, keeps: $keeps:expr, drive: $drive:path) => {
        $crate::contract_suite! { @cases $fresh, $keeps, $drive;
            facts::a_fact_is_stored_once,
            facts::facts_come_in_the_order_of_arrival,
            facts::a_merged_fact_does_not_come_again,
            facts::an_unreadable_fact_is_told_and_set_aside,
            facts::the_first_verdict_stands,
            facts::history_is_the_chain_of_a_job,
            facts::every_fact_that_was_put_shows_in_the_ledger,
            facts::the_ledger_comes_in_pages,
            commits::a_new_ledger_is_empty,
            commits::everything_comes_back,
            commits::a_stale_commit_changes_nothing,
            commits::every_commit_raises_the_generation,
            commits::a_finished_job_is_not_loaded_and_still_known,
            commits::a_failed_job_is_kept_whole,
            commits::a_settled_launch_is_not_loaded,
            commits::orders_are_numbered,
            commits::a_forgotten_machine_leaves_nothing,
            commits::switch_and_configuration_are_kept,
            commits::notes_are_kept_by_name,
            claims::a_later_session_replaces_a_claim,
            claims::a_registration_is_attached_once,
            claims::a_configuration_is_dropped_with_its_session,
            claims::claims_wait_oldest_first,
            claims::a_one_time_key_is_used_once,
            claims::a_lease_only_grows,
            retention::a_replay_revives_nothing,
            retention::a_finished_job_is_forgotten_in_time,
            retention::what_has_ended_is_pruned,
            retention::rows_are_counted,
        }
    };
    (@cases $fresh:expr, $keeps:expr, $drive:path; $($group:ident :: $case:ident),+ $(,)?) => {
        $(
            #[test]
            fn $case() {
                let fresh = $fresh;
                $drive($crate::contract::$group::$case(&fresh.store, $keeps));
            }
        )+
    };
}
