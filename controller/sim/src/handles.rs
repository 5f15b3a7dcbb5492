//! The universe behind the product's ports: a cloud and a GitHub whose futures are ready at once.

use std::collections::BTreeSet;
use std::future::{Future, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

use crate::universe::{CallFate, Universe};

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

impl SimCloud {
    /// Lets a call have its effect and its answer, unless one of them gets lost.
    fn call<T>(&self, act: impl FnOnce(&mut Universe) -> Result<T, CloudError>) -> Result<T, CloudError> {
        let mut universe = self.0.lock();
        match universe.cloud_call() {
            CallFate::Sound => act(&mut universe),
            CallFate::Fails => Err(CloudError::Unknown("a fault: nothing has happened".to_owned())),
            CallFate::TooMany => Err(CloudError::Throttled("a fault: RequestLimitExceeded".to_owned())),
            CallFate::ReplyLost => {
                let _ = act(&mut universe);
                Err(CloudError::Unknown("a fault: it has happened".to_owned()))
            }
        }
    }
}

impl Cloud for SimCloud {
    fn launch(
        &self,
        launch: &Launch,
        _known: &[InstanceId],
    ) -> impl Future<Output = Result<LaunchReply, CloudError>> + Send {
        ready(self.call(|universe| universe.launch(launch)))
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
        ready(self.call(|universe| Ok(Ended { gone: universe.terminate(&instances), failed: Vec::new() })))
    }

    fn silence(
        &self,
        instances: &[(InstanceId, ShapeId)],
    ) -> impl Future<Output = Result<Vec<(InstanceId, CloudError)>, CloudError>> + Send {
        let silenced = self.call(|universe| {
            universe.silence(instances.len());
            Ok(Vec::new())
        });
        ready(silenced)
    }

    fn instances(&self, known: &[(InstanceId, ShapeId)]) -> impl Future<Output = Result<Sighting, CloudError>> + Send {
        let sighting = self.call(|universe| Ok(universe.instances())).map(|seen| {
            let there: BTreeSet<&InstanceId> = seen.iter().map(|(instance, _)| instance).collect();
            let absent = known.iter().map(|(instance, _)| instance).filter(|instance| !there.contains(instance));
            let absent = absent.cloned().collect();
            Sighting { seen, absent, troubles: Vec::new() }
        });
        ready(sighting)
    }

    fn set_standby(&self, shape: &ShapeId, size: u32) -> impl Future<Output = Result<(), CloudError>> + Send {
        ready(self.call(|universe| universe.set_standby(shape, size)))
    }

    fn zones(&self) -> impl Future<Output = Result<Vec<Zone>, CloudError>> + Send {
        ready(self.call(|universe| Ok(universe.zones())))
    }

    fn standby(&self) -> impl Future<Output = Result<Vec<Stock>, CloudError>> + Send {
        ready(self.call(|universe| Ok(universe.standby())))
    }

    /// What the configuration says: nothing moves.
    fn spot_prices(&self) -> impl Future<Output = Result<Vec<SpotPrice>, CloudError>> + Send {
        ready(Ok(Vec::new()))
    }
}

/// The simulated GitHub.
#[derive(Clone)]
pub struct SimGithub(SharedUniverse);

/// When GitHub wants to be asked again.
const LEFT_ALONE: Duration = Duration::from_secs(60);

impl SimGithub {
    /// Lets a request have its effect and its answer, unless one of them gets lost.
    fn call<T>(&self, act: impl FnOnce(&mut Universe) -> Result<T, GithubError>) -> Result<T, GithubError> {
        self.call_and_look(act, |_, _| {})
    }

    /// The same; what comes of an effect whose answer is lost is looked at afterwards.
    fn call_and_look<T>(
        &self,
        act: impl FnOnce(&mut Universe) -> Result<T, GithubError>,
        look: impl FnOnce(&mut Universe, T),
    ) -> Result<T, GithubError> {
        let mut universe = self.0.lock();
        match universe.github_call() {
            CallFate::Sound => act(&mut universe),
            CallFate::Fails => Err(GithubError::Unknown("a fault: nothing has happened".to_owned())),
            CallFate::TooMany => Err(GithubError::Limited { until: universe.now() + LEFT_ALONE }),
            CallFate::ReplyLost => {
                if let Ok(done) = act(&mut universe) {
                    look(&mut universe, done);
                }
                Err(GithubError::Unknown("a fault: it has happened".to_owned()))
            }
        }
    }
}

impl Records for SimGithub {
    fn failed_since(&self, since: Timestamp) -> impl Future<Output = Result<Vec<FailedDelivery>, GithubError>> + Send {
        ready(self.call(|universe| Ok(universe.failed_since(since))))
    }

    fn payload(&self, of: &FailedDelivery) -> impl Future<Output = Result<Option<Vec<u8>>, GithubError>> + Send {
        ready(self.call(|universe| Ok(universe.payload(&of.place))))
    }

    fn job(&self, _about: &JobAbout, job: JobId) -> impl Future<Output = Result<Option<JobEvent>, GithubError>> + Send {
        ready(self.call(|universe| Ok(universe.job_now(job))))
    }

    fn pushed_since(&self, since: Timestamp) -> impl Future<Output = Result<Vec<Arc<str>>, GithubError>> + Send {
        ready(self.call(|universe| Ok(universe.pushed_since(since))))
    }

    fn waiting(
        &self,
        repository: &str,
        let_be: &BTreeSet<RunId>,
    ) -> impl Future<Output = Result<Option<Vec<JobEvent>>, GithubError>> + Send {
        ready(self.call(|universe| Ok(Some(universe.waiting_jobs(repository, let_be)))))
    }

    fn registrations(&self) -> impl Future<Output = Result<Vec<Listed>, GithubError>> + Send {
        ready(self.call(|universe| Ok(universe.registrations())))
    }

    fn offered(&self) -> impl Future<Output = Result<Vec<Release>, GithubError>> + Send {
        ready(self.call(|universe| Ok(universe.offered())))
    }

    /// As of github.com: it does not tell.
    fn retirement(&self, _of: Release) -> impl Future<Output = Result<Option<Retirement>, GithubError>> + Send {
        ready(Ok(None))
    }
}

impl Reruns for SimGithub {
    fn run(&self, _repository: &str, run: RunId) -> impl Future<Output = Result<Option<RunNow>, GithubError>> + Send {
        ready(self.call(|universe| Ok(universe.run_now(run))))
    }

    fn run_jobs(
        &self,
        _repository: &str,
        run: RunId,
        attempt: u32,
    ) -> impl Future<Output = Result<Vec<JobNow>, GithubError>> + Send {
        ready(self.call(|universe| Ok(universe.run_jobs(run, attempt))))
    }

    /// Each run is on a branch of its own.
    fn is_superseded(&self, _repository: &str, _run: RunId) -> impl Future<Output = Result<bool, GithubError>> + Send {
        ready(Ok(false))
    }

    fn rerun_failed(&self, _repository: &str, run: RunId) -> impl Future<Output = Result<(), GithubError>> + Send {
        ready(self.call(|universe| universe.rerun_failed(run)))
    }

    fn cancel(
        &self,
        _repository: &str,
        run: RunId,
        _force: bool,
    ) -> impl Future<Output = Result<(), GithubError>> + Send {
        ready(self.call(|universe| universe.cancel_run(run)))
    }
}

impl Github for SimGithub {
    fn mint(&self, request: &MintRequest) -> impl Future<Output = Result<Minted, GithubError>> + Send {
        // As the adapter does it: after a lost answer it looks for the name, and removes what it finds.
        let look = |universe: &mut Universe, minted: Minted| {
            let _ = universe.remove(minted.id);
        };
        ready(self.call_and_look(|universe| universe.mint(request), look))
    }

    fn remove(&self, runner: RunnerId) -> impl Future<Output = Result<Removal, GithubError>> + Send {
        ready(self.call(|universe| universe.remove(runner)))
    }
}
