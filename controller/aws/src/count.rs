//! Counting of calls.
//!
//! Invariant: every request that is sent to AWS in our name is counted once, a repetition by the SDK too. Those that get
//! this process its own credentials are the SDK's, and are not.

use aws_sdk_sqs::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use metrics::counter;
use muster_core::metric;

/// Counts one request, under AWS's name of the action.
pub(crate) fn count(action: &str) {
    counter!(metric::AWS_REQUESTS, "api" => action.to_owned()).increment(1);
}

/// Part of every client.
#[derive(Debug)]
pub(crate) struct Counter;

#[dyn_dispatch_hint]
impl Intercept for Counter {
    fn name(&self) -> &'static str {
        "Counter"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(metadata) = config.load::<Metadata>() {
            count(metadata.name());
        }
        Ok(())
    }
}
