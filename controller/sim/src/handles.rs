//! The universe behind the product's ports: a cloud and a GitHub whose futures are ready at once.

use std::collections::BTreeSet;
use std::future::{Future, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_core::ids::{InstanceId, JobId, RunId, RunnerId, ShapeId, Zone};
use muster_core::job::{JobAbout, JobEvent};
use muster_core::launch::{Launch, LaunchReply};
use muster_core::machine::Removal;
use muster_core::ports::{
    Cloud, CloudError, Ended, FailedDelivery, Github, GithubError, Listed, MintRequest, Minted, Records, Reruns,
    Sighting, SpotPrice, Stock,
};
use muster_core::release::{Release, Retirement};
use muster_core::rerun::{JobNow, RunNow};
use muster_core::time::Timestamp;

use crate::universe::Universe;

/// A clock for universes that run in real time: every call first lets time pass to it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A universe with several hands on it.
#[derive(Clone)]
pub struct SharedUniverse {
    universe: Arc<Mutex<Universe>>,
    clock: Option<Clock>,
}

impl SharedUniverse {
    /// In virtual time: calls happen at the universe's own instant.
    pub fn new(universe: Universe) -> SharedUniverse {
        SharedUniverse { universe: Arc::new(Mutex::new(universe)), clock: None }
    }

    /// In real time, scaled or not: calls happen when the clock says.
    pub fn with_clock(universe: Universe, clock: Clock) -> SharedUniverse {
        SharedUniverse { universe: Arc::new(Mutex::new(universe)), clock: Some(clock) }
    }

    /// The universe itself, at the clock's instant if there is a clock. Held for short: everyone else waits.
    pub fn lock(&self) -> MutexGuard<'_, Universe> {
        let mut universe = self.universe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clock) = &self.clock {
            universe.run_to(clock());
        }
        universe
    }

    /// Its cloud.
    pub fn cloud(&self) -> SimCloud {
        SimCloud(self.clone())
    }

    /// Its GitHub.
    pub fn github(&self) -> SimGithub {
        SimGithub(self.clone())
    }
}

/// The simulated EC2 and Auto Scaling.
#[derive(Clone)]
pub struct SimCloud(SharedUniverse);

impl Cloud for SimCloud {
    fn launch(
        &self,
        launch: &Launch,
        _known: &[InstanceId],
    ) -> impl Future<Output = Result<LaunchReply, CloudError>> + Send {
        ready(self.0.lock().launch(launch))
    }

    /// Nothing waits: simulated machines come out of their stock by themselves.
    fn release(
        &self,
        _instances: &[(InstanceId, ShapeId)],
    ) -> impl Future<Output = Result<Vec<(InstanceId, CloudError)>, CloudError>> + Send {
        ready(Ok(Vec::new()))
    }

    fn terminate(&self, instances: &[(InstanceId, ShapeId)]) -> impl Future<Output = Result<Ended, CloudError>> + Send {
        let instances: Vec<InstanceId> = instances.iter().map(|(instance, _)| instance.clone()).collect();
        ready(Ok(Ended { gone: self.0.lock().terminate(&instances), failed: Vec::new() }))
    }

    fn silence(
        &self,
        instances: &[(InstanceId, ShapeId)],
    ) -> impl Future<Output = Result<Vec<(InstanceId, CloudError)>, CloudError>> + Send {
        self.0.lock().silence(instances.len());
        ready(Ok(Vec::new()))
    }

    fn instances(&self, known: &[(InstanceId, ShapeId)]) -> impl Future<Output = Result<Sighting, CloudError>> + Send {
        let seen = self.0.lock().instances();
        let there: BTreeSet<&InstanceId> = seen.iter().map(|(instance, _)| instance).collect();
        let absent = known.iter().map(|(instance, _)| instance).filter(|instance| !there.contains(instance));
        let absent = absent.cloned().collect();
        ready(Ok(Sighting { seen, absent, troubles: Vec::new() }))
    }

    fn set_standby(&self, shape: &ShapeId, size: u32) -> impl Future<Output = Result<(), CloudError>> + Send {
        ready(self.0.lock().set_standby(shape, size))
    }

    fn zones(&self) -> impl Future<Output = Result<Vec<Zone>, CloudError>> + Send {
        ready(Ok(self.0.lock().zones()))
    }

    fn standby(&self) -> impl Future<Output = Result<Vec<Stock>, CloudError>> + Send {
        ready(Ok(self.0.lock().standby()))
    }

    /// What the configuration says: nothing moves.
    fn spot_prices(&self) -> impl Future<Output = Result<Vec<SpotPrice>, CloudError>> + Send {
        ready(Ok(Vec::new()))
    }
}

/// The simulated GitHub.
#[derive(Clone)]
pub struct SimGithub(SharedUniverse);

impl Records for SimGithub {
    fn failed_since(&self, since: Timestamp) -> impl Future<Output = Result<Vec<FailedDelivery>, GithubError>> + Send {
        ready(Ok(self.0.lock().failed_since(since)))
    }

    fn payload(&self, of: &FailedDelivery) -> impl Future<Output = Result<Option<Vec<u8>>, GithubError>> + Send {
        ready(Ok(self.0.lock().payload(&of.place)))
    }

    fn job(&self, _about: &JobAbout, job: JobId) -> impl Future<Output = Result<Option<JobEvent>, GithubError>> + Send {
        ready(Ok(self.0.lock().job_now(job)))
    }

    fn pushed_since(&self, _since: Timestamp) -> impl Future<Output = Result<Vec<Arc<str>>, GithubError>> + Send {
        ready(Ok(self.0.lock().repositories()))
    }

    fn waiting(
        &self,
        repository: &str,
        let_be: &BTreeSet<RunId>,
    ) -> impl Future<Output = Result<Option<Vec<JobEvent>>, GithubError>> + Send {
        ready(Ok(Some(self.0.lock().waiting_jobs(repository, let_be))))
    }

    fn registrations(&self) -> impl Future<Output = Result<Vec<Listed>, GithubError>> + Send {
        ready(Ok(self.0.lock().registrations()))
    }

    fn offered(&self) -> impl Future<Output = Result<Vec<Release>, GithubError>> + Send {
        ready(Ok(self.0.lock().offered()))
    }

    /// As of github.com: it does not tell.
    fn retirement(&self, _of: Release) -> impl Future<Output = Result<Option<Retirement>, GithubError>> + Send {
        ready(Ok(None))
    }
}

impl Reruns for SimGithub {
    fn run(&self, _repository: &str, run: RunId) -> impl Future<Output = Result<Option<RunNow>, GithubError>> + Send {
        ready(Ok(self.0.lock().run_now(run)))
    }

    fn run_jobs(
        &self,
        _repository: &str,
        run: RunId,
        attempt: u32,
    ) -> impl Future<Output = Result<Vec<JobNow>, GithubError>> + Send {
        ready(Ok(self.0.lock().run_jobs(run, attempt)))
    }

    /// Each run is on a branch of its own.
    fn is_superseded(&self, _repository: &str, _run: RunId) -> impl Future<Output = Result<bool, GithubError>> + Send {
        ready(Ok(false))
    }

    fn rerun_failed(&self, _repository: &str, run: RunId) -> impl Future<Output = Result<(), GithubError>> + Send {
        ready(self.0.lock().rerun_failed(run))
    }

    fn cancel(
        &self,
        _repository: &str,
        run: RunId,
        _force: bool,
    ) -> impl Future<Output = Result<(), GithubError>> + Send {
        ready(self.0.lock().cancel_run(run))
    }
}

impl Github for SimGithub {
    fn mint(&self, request: &MintRequest) -> impl Future<Output = Result<Minted, GithubError>> + Send {
        ready(self.0.lock().mint(request))
    }

    fn remove(&self, runner: RunnerId) -> impl Future<Output = Result<Removal, GithubError>> + Send {
        ready(self.0.lock().remove(runner))
    }
}
