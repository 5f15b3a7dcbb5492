//! Turning the metadata service of instances off.

use aws_sdk_ec2::types::InstanceMetadataEndpointState;
use futures_util::StreamExt as _;
use futures_util::stream;
use muster_core::ids::InstanceId;
use muster_core::ports::CloudError;

use super::account::Account;
use super::budget::Api;

/// Calls at once: each takes a tenth of a second or two, and a tick waits.
const AT_ONCE: usize = 10;

impl Account {
    /// Turns the metadata service of these instances off, and tells for which it failed. One that is gone has none.
    pub(super) async fn silence(&self, instances: &[InstanceId]) -> Vec<(InstanceId, CloudError)> {
        let calls = stream::iter(instances.iter().cloned()).map(|instance| async move {
            let changed = self
                .call(Api::ModifyInstanceMetadataOptions, |clients| {
                    let modify = clients.ec2.modify_instance_metadata_options().instance_id(instance.as_str());
                    modify.http_endpoint(InstanceMetadataEndpointState::Disabled).send()
                })
                .await;
            match changed {
                Ok(_) => None,
                Err(failure) if failure.is_not_found() => None,
                Err(failure) => Some((instance, failure.into())),
            }
        });
        calls.buffer_unordered(AT_ONCE).filter_map(|failed| async move { failed }).collect().await
    }
}
