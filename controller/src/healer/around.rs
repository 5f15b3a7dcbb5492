//! What the healer's parts work with, in one step.

use std::future::Future;

use muster_core::ports::GithubError;
use muster_core::time::Timestamp;
use muster_webhook::clock::Clock;

use crate::reconcile::{CALL_MAX, from_github_within};

/// The ledger, GitHub, the clock, and how long the step may take.
pub(super) struct Around<'a, S, R, K> {
    pub(super) store: &'a S,
    pub(super) github: &'a R,
    pub(super) clock: &'a K,
    /// What has not begun by then is for the next step.
    pub(super) until: Timestamp,
}

impl<S, R, K> Clone for Around<'_, S, R, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, R, K> Copy for Around<'_, S, R, K> {}

impl<S, R, K: Clock> Around<'_, S, R, K> {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// GitHub's answer, or none within what is left of the step.
    pub(super) async fn ask<T>(
        &self,
        call: impl Future<Output = Result<T, GithubError>> + Send,
    ) -> Result<T, GithubError> {
        from_github_within(self.clock, CALL_MAX.min(self.until.since(self.now())), call).await
    }

    /// Whether nothing more may begin.
    pub(super) fn is_over(&self) -> bool {
        self.now() >= self.until
    }
}
