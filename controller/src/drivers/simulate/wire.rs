//! The wire to the simulated cloud: what is asked arrives, an answer can get lost, and somebody may listen in.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use muster_core::ids::{InstanceId, LaunchId, ShapeId, Zone};
use muster_core::launch::{Launch, LaunchReply};
use muster_core::ports::{Cloud, CloudError, Ended, Sighting, SpotPrice, Stock};
use muster_sim::SimCloud;

/// What the simulated cloud was asked, with its answer where the answer names instances.
#[derive(Debug)]
pub enum Asked<'a> {
    /// [`Cloud::launch`].
    Launch {
        /// What.
        launch: &'a Launch,
        /// The instances that the ledger has of its shape.
        known: &'a [InstanceId],
        /// What was answered.
        reply: &'a Result<LaunchReply, CloudError>,
    },
    /// [`Cloud::release`].
    Release(&'a [(InstanceId, ShapeId)]),
    /// [`Cloud::terminate`].
    Terminate(&'a [(InstanceId, ShapeId)]),
    /// [`Cloud::silence`].
    Silence(&'a [(InstanceId, ShapeId)]),
    /// [`Cloud::instances`].
    Instances(&'a [(InstanceId, ShapeId)]),
    /// [`Cloud::set_standby`].
    SetStandby(&'a ShapeId, u32),
    /// [`Cloud::zones`].
    Zones,
    /// [`Cloud::standby`].
    Standby,
    /// [`Cloud::spot_prices`].
    SpotPrices,
}

/// Hears what the simulated cloud is asked, such as another cloud that is asked the same.
pub trait Echo: Send + Sync {
    /// It was asked this.
    fn asked(&self, what: &Asked<'_>);
}

/// The simulated cloud, some way off.
#[derive(Clone)]
pub(super) struct Wire {
    cloud: SimCloud,
    echo: Option<Arc<dyn Echo>>,
    /// Launches whose first answer got lost. `None`: no answer gets lost.
    lost: Option<Arc<Mutex<BTreeSet<LaunchId>>>>,
}

impl Wire {
    /// A wire on which nothing gets lost.
    pub(super) fn sound(cloud: SimCloud) -> Wire {
        Wire { cloud, echo: None, lost: None }
    }

    /// A wire on which the first answer to every launch gets lost: each has to be asked for twice.
    pub(super) fn lossy(cloud: SimCloud) -> Wire {
        Wire { cloud, echo: None, lost: Some(Arc::default()) }
    }

    /// The same wire, with somebody who listens.
    pub(super) fn heard_by(self, echo: Option<Arc<dyn Echo>>) -> Wire {
        Wire { echo, ..self }
    }

    fn tell(&self, what: &Asked<'_>) {
        if let Some(echo) = &self.echo {
            echo.asked(what);
        }
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
        self.tell(&Asked::Launch { launch, known, reply: &reply });
        if self.loses(&launch.id) { Err(CloudError::Unknown("the answer got lost".to_owned())) } else { reply }
    }

    async fn terminate(&self, instances: &[(InstanceId, ShapeId)]) -> Result<Ended, CloudError> {
        self.tell(&Asked::Terminate(instances));
        self.cloud.terminate(instances).await
    }

    async fn release(&self, instances: &[(InstanceId, ShapeId)]) -> Result<Vec<(InstanceId, CloudError)>, CloudError> {
        self.tell(&Asked::Release(instances));
        self.cloud.release(instances).await
    }

    async fn silence(&self, instances: &[(InstanceId, ShapeId)]) -> Result<Vec<(InstanceId, CloudError)>, CloudError> {
        self.tell(&Asked::Silence(instances));
        self.cloud.silence(instances).await
    }

    async fn instances(&self, known: &[(InstanceId, ShapeId)]) -> Result<Sighting, CloudError> {
        self.tell(&Asked::Instances(known));
        self.cloud.instances(known).await
    }

    async fn set_standby(&self, shape: &ShapeId, size: u32) -> Result<(), CloudError> {
        self.tell(&Asked::SetStandby(shape, size));
        self.cloud.set_standby(shape, size).await
    }

    async fn zones(&self) -> Result<Vec<Zone>, CloudError> {
        self.tell(&Asked::Zones);
        self.cloud.zones().await
    }

    async fn standby(&self) -> Result<Vec<Stock>, CloudError> {
        self.tell(&Asked::Standby);
        self.cloud.standby().await
    }

    fn shape_of(&self, group: &str) -> Option<ShapeId> {
        self.cloud.shape_of(group)
    }

    async fn spot_prices(&self) -> Result<Vec<SpotPrice>, CloudError> {
        self.tell(&Asked::SpotPrices);
        self.cloud.spot_prices().await
    }
}
