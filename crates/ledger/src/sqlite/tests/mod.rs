//! What only this engine promises, and the suite of every engine.

mod faults;
mod kill;
mod together;

use super::Sqlite;
use crate::conformance::{Store, model, suite};
use std::path::PathBuf;

/// A file of its own.
pub(super) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("ledger.db")
    }
}

impl Store for Place {
    type Engine = Sqlite;

    fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    async fn open(&self) -> Sqlite {
        Sqlite::open(&self.path()).unwrap()
    }
}

suite!(Place:
    a_grant_lives_once,
    p4_one_grant_a_key_and_service,
    a_spent_grant_is_replaced,
    a_refused_job_leaves_nothing,
    p1_claims_are_exact,
    p4_a_quota_cannot_be_raced,
    p4_two_people_at_once_from_one_address,
    a_quota_counts_what_came_of_it,
    p4_a_connection_that_the_kernel_let_in_counts,
    p5_the_cut_points,
    an_operators_grant_says_so,
    sessions_and_tokens_end,
    grants_are_listed,
    events_and_reports_agree,
    prune_takes_the_old_only,
);

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn p1_p4_p5_random_histories_are_as_the_reference(steps in model::history()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(model::run::<Place>(steps));
    }
}
