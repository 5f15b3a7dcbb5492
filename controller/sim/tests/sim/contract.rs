//! The contract of the cloud's port, on the simulated one.

use std::cell::Cell;
use std::future::{Future, ready};
use std::time::Duration;

use muster_core::contract::Stage;
use muster_core::ids::{LaunchId, ShapeId};
use muster_core::launch::Launch;
use muster_sim::{SharedUniverse, SimCloud};

use crate::world::{World, exact, single};

struct SimStage {
    universe: SharedUniverse,
    cloud: SimCloud,
    launch: Launch,
    launches: Cell<u32>,
}

fn stage() -> SimStage {
    let mut world = World::new(exact(), &[single(1, 0.0, "job", 5.0)]);
    let launch = world.intent(1);
    let universe = SharedUniverse::new(world.universe);
    SimStage { cloud: universe.cloud(), universe, launch, launches: Cell::new(0) }
}

impl Stage for SimStage {
    type Cloud = SimCloud;

    fn cloud(&self) -> &SimCloud {
        &self.cloud
    }

    fn launch(&self, count: u32) -> Launch {
        self.launches.set(self.launches.get() + 1);
        Launch { id: LaunchId::new(format!("launch-{}", self.launches.get())), count, ..self.launch.clone() }
    }

    fn standing(&self) -> ShapeId {
        self.launch.purpose.shape.clone()
    }

    fn pass(&self, span: Duration) -> impl Future<Output = ()> {
        let mut universe = self.universe.lock();
        let to = universe.now() + span;
        // Nobody answers what the machines say: they wait.
        while universe.step(to).unwrap().is_some() {}
        ready(())
    }

    fn set_capacity(&self, there: bool) -> impl Future<Output = ()> {
        let purpose = &self.launch.purpose;
        self.universe.lock().set_capacity(&purpose.shape, &purpose.zone, there);
        ready(())
    }
}

fn at_once<T>(work: impl Future<Output = T>) -> T {
    use std::task::{Context, Poll, Waker};
    match std::pin::pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the simulated cloud does not make wait"),
    }
}

muster_core::cloud_contract! { stage: stage(), drive: at_once }
