//! The wire to the simulated cloud: what is asked arrives, and an answer can get lost.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use muster_core::ids::{InstanceId, LaunchId, ShapeId, Zone};
use muster_core::launch::{Launch, LaunchReply};
use muster_core::ports::{Cloud, CloudError, Ended, Sighting};
use muster_sim::SimCloud;

/// The simulated cloud, some way off.
#[derive(Clone)]
pub(super) struct Wire {
    cloud: SimCloud,
    /// Launches whose first answer got lost. `None`: no answer gets lost.
    lost: Option<Arc<Mutex<BTreeSet<LaunchId>>>>,
}

impl Wire {
    /// A wire on which nothing gets lost.
    pub(super) fn sound(cloud: SimCloud) -> Wire {
        Wire { cloud, lost: None }
    }

    /// A wire on which the first answer to every launch gets lost: each has to be asked for twice.
    pub(super) fn lossy(cloud: SimCloud) -> Wire {
        Wire { cloud, lost: Some(Arc::default()) }
    }

    /// Whether the answer to this launch gets lost now.
    fn loses(&self, launch: &LaunchId) -> bool {
        let Some(lost) = &self.lost else { return false };
        let mut lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
        // The second answer arrives, and is then forgotten.
        !lost.remove(launch) && lost.insert(launch.clone())
    }
}

impl Cloud for Wire {
    async fn launch(&self, launch: &Launch, known: &[InstanceId]) -> Result<LaunchReply, CloudError> {
        let reply = self.cloud.launch(launch, known).await;
        if self.loses(&launch.id) { Err(CloudError::Unknown("the answer got lost".to_owned())) } else { reply }
    }

    fn terminate(&self, instances: &[(InstanceId, ShapeId)]) -> impl Future<Output = Result<Ended, CloudError>> + Send {
        self.cloud.terminate(instances)
    }

    fn release(
        &self,
        instances: &[(InstanceId, ShapeId)],
    ) -> impl Future<Output = Result<Vec<(InstanceId, CloudError)>, CloudError>> + Send {
        self.cloud.release(instances)
    }

    fn silence(
        &self,
        instances: &[(InstanceId, ShapeId)],
    ) -> impl Future<Output = Result<Vec<(InstanceId, CloudError)>, CloudError>> + Send {
        self.cloud.silence(instances)
    }

    fn instances(&self, known: &[(InstanceId, ShapeId)]) -> impl Future<Output = Result<Sighting, CloudError>> + Send {
        self.cloud.instances(known)
    }

    fn set_standby(&self, shape: &ShapeId, size: u32) -> impl Future<Output = Result<(), CloudError>> + Send {
        self.cloud.set_standby(shape, size)
    }

    fn zones(&self) -> impl Future<Output = Result<Vec<Zone>, CloudError>> + Send {
        self.cloud.zones()
    }

    fn standby(&self) -> impl Future<Output = Result<Vec<(ShapeId, u32)>, CloudError>> + Send {
        self.cloud.standby()
    }
}
