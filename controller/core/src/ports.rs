//! Ports: what the shell must bring. Each trait is a few verbs in Muster's own words; no SDK type crosses them.
//!
//! The futures are `Send` and name no runtime. In memory they are ready at once, which is what makes a simulated week
//! take seconds.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::claim::{ClaimRow, Order};
use crate::fact::Fact;
use crate::ids::{Generation, InstanceId, JobId, JobKey, LaunchId, RunId, RunnerId, RunnerName, ShapeId, Zone};
use crate::job::{JobAbout, JobEvent, JobRecord};
use crate::launch::{Hold, Launch, LaunchReply};
use crate::machine::{Machine, Removal};
use crate::money::HourlyPrice;
use crate::protocol::Numbered;
use crate::release::{Release, Retirement};
use crate::rerun::{JobNow, RunNow};
use crate::time::Timestamp;

/// Something that can be told to look. Bells carry nothing, and a lost one costs only time.
pub trait Bell: Send + Sync {
    /// Rings. Never blocks, never fails: many rings may be heard as one.
    fn ring(&self);
}

/// The ledger failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Someone else wrote: the view is stale and must be loaded again.
    #[error("the ledger is at generation {found}, not {expected}: another scaler has written")]
    Conflict {
        /// What the writer believed.
        expected: Generation,
        /// What the ledger says.
        found: Generation,
    },
    /// It could not be read or written. A write may have happened all the same (the answer may be what was lost), and a
    /// commit in part (see [`Store::commit`]): whoever goes on loads again.
    #[error("the ledger is unavailable: {0}")]
    Unavailable(String),
    /// A row does not read. It is named; the rest is served.
    #[error("the ledger holds a row that does not read: {0}")]
    Unreadable(String),
}

/// Whether a fact was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// Stored.
    New,
    /// Known already; nothing was changed.
    Duplicate,
}

/// A fact that no tick has merged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFact {
    /// Its place in the ledger.
    pub seq: i64,
    /// The fact, or why it does not read.
    pub fact: Result<Fact, String>,
}

/// The admin's switch, read first by every tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// Work.
    #[default]
    Run,
    /// Launch nothing; let what runs end.
    NoLaunch,
    /// Merge facts, touch nothing.
    Freeze,
}

/// All that a scaler starts from.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// A random word given to the ledger when it was made: part of every launch id, so that an emptied ledger cannot
    /// repeat the ids of the old one.
    pub ledger: String,
    /// The generation that the next write must name.
    pub generation: Generation,
    /// The admin's switch.
    pub switch: Switch,
    /// Jobs that are not over.
    pub jobs: Vec<JobRecord>,
    /// Machines that are not forgotten.
    pub machines: Vec<Machine>,
    /// Launches without an outcome.
    pub launches: Vec<Launch>,
    /// Capacity memory.
    pub holds: Vec<Hold>,
    /// Rows that do not read, each named, with why: another version of Muster wrote them, or they are damaged. They stay
    /// where they are, and the scaler works without them: the jobs among them wait for the next fact about them, the
    /// machines are not counted.
    pub unreadable: Vec<String>,
}

/// One write of the scaler. All of it or nothing, as far as one transaction of the ledger reaches; see
/// [`Store::commit`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Facts that are merged.
    pub merged: Vec<i64>,
    /// Facts that do not read, and why.
    pub set_aside: Vec<(i64, String)>,
    /// Job records, whole.
    pub jobs: Vec<JobRecord>,
    /// Machines, whole.
    pub machines: Vec<Machine>,
    /// Machines that are over and matched: their rows and claims go.
    pub forgotten: Vec<InstanceId>,
    /// New launches.
    pub launches: Vec<Launch>,
    /// Launches whose outcome is now known.
    pub settled: Vec<LaunchId>,
    /// Orders to agents; each replaces the machine's former one.
    pub orders: Vec<(InstanceId, Order)>,
    /// Holds, whole; one whose `until` has passed is dropped.
    pub holds: Vec<Hold>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        *self == Batch::default()
    }
}

/// The ledger.
pub trait Store: Send + Sync {
    /// Stores a fact once. When it returns, the fact survives a crash.
    fn put_fact(&self, fact: &Fact) -> impl Future<Output = Result<Put, StoreError>> + Send;
    /// The oldest facts that no tick has merged, at most `max`.
    fn new_facts(&self, max: usize) -> impl Future<Output = Result<Vec<NewFact>, StoreError>> + Send;
    /// Everything that lives.
    fn load(&self) -> impl Future<Output = Result<Snapshot, StoreError>> + Send;
    /// The records of these jobs, finished ones too; unknown ones, and those that do not read, are left out.
    fn jobs(&self, keys: &[JobKey]) -> impl Future<Output = Result<Vec<JobRecord>, StoreError>> + Send;
    /// Writes a batch if the ledger is still at `expected`, and returns the new generation.
    ///
    /// A batch that does not fit into one transaction of the ledger is written in several, each under the generation that
    /// the one before has left: jobs, machines, launches, orders, holds, then the verdicts on facts, then settled
    /// launches, then what is forgotten. What was written up to any of them is a ledger that a fresh scaler can go on
    /// from. After an error the caller loads again. With [`StoreError::Conflict`] for its own `expected`, nothing of the
    /// batch was written.
    fn commit(
        &self,
        batch: &Batch,
        expected: Generation,
    ) -> impl Future<Output = Result<Generation, StoreError>> + Send;
    /// The generation alone, to look again right before an effect.
    fn generation(&self) -> impl Future<Output = Result<Generation, StoreError>> + Send;
    /// The admin's switch.
    fn switch(&self) -> impl Future<Output = Result<Switch, StoreError>> + Send;
    /// Sets the admin's switch.
    fn set_switch(&self, switch: Switch) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// One machine's row.
    fn machine(&self, instance: &InstanceId) -> impl Future<Output = Result<Option<Machine>, StoreError>> + Send;
    /// One machine's claim.
    fn claim(&self, instance: &InstanceId) -> impl Future<Output = Result<Option<ClaimRow>, StoreError>> + Send;
    /// Puts a claim if the machine has none of this session or a later one. `false`: it has, and nothing was changed.
    fn put_claim(&self, row: &ClaimRow) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Adds registration and sealed configuration to the claim of that session, if it has none yet. `false`: it has, or
    /// the session is over.
    fn attach_config(&self, row: &ClaimRow) -> impl Future<Output = Result<bool, StoreError>> + Send;
    /// Drops the sealed configuration of that session.
    fn drop_config(&self, instance: &InstanceId, session: u32) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Claims without a registration. Those that do not read are left out.
    fn unminted(&self) -> impl Future<Output = Result<Vec<ClaimRow>, StoreError>> + Send;
    /// The latest order to this machine, with its place in the row: the first is 1, each committed one is one more.
    fn order(&self, instance: &InstanceId) -> impl Future<Output = Result<Option<Numbered>, StoreError>> + Send;
    /// Notes that the machine was heard of.
    fn touch_lease(&self, instance: &InstanceId, at: Timestamp) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Uses up a one-time key; `false` if it was used before. It may be forgotten after `until`.
    fn use_once(&self, key: &str, until: Timestamp) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The last good configuration, as text.
    fn config(&self) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;
    /// Keeps a configuration that was found good.
    fn put_config(&self, text: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// What somebody has put down under a name, as text.
    fn note(&self, name: &str) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;
    /// Puts it down. Notes need no generation: each name has one writer.
    fn put_note(&self, name: &str, text: &str) -> impl Future<Output = Result<(), StoreError>> + Send;
    /// Every fact about a job, oldest first: its chain of events.
    fn history(&self, job: JobId) -> impl Future<Output = Result<Vec<Fact>, StoreError>> + Send;
}

/// The cloud failed.
#[derive(Debug, Error)]
pub enum CloudError {
    /// Nothing happened; come back later. Too many requests, or something on the way to this one was not to be had.
    #[error("not now: {0}")]
    Throttled(String),
    /// Nothing happened, and nothing will: the request is wrong.
    #[error("rejected by the cloud: {0}")]
    Rejected(String),
    /// It may have taken effect: look before repeating.
    #[error("no answer from the cloud: {0}")]
    Unknown(String),
}

/// How an instance stands, as the cloud tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Pending or running.
    Live,
    /// Shutting down or terminated.
    Gone,
}

/// One look at the fleet's instances. The fleet may live in several accounts, and each can fail alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Instances that were seen, asked about or not.
    pub seen: Vec<(InstanceId, InstanceState)>,
    /// Of those that were asked about: where they would be was read to its end, and they are not there. Of an instance
    /// that is in neither list nothing is known.
    pub absent: Vec<InstanceId>,
    /// What could not be read or tidied up, and why.
    pub troubles: Vec<String>,
}

/// What became of a request to end instances. Each stands alone.
#[derive(Debug, Default)]
pub struct Ended {
    /// Known to be gone already. Of the rest the cloud tells later.
    pub gone: Vec<InstanceId>,
    /// Not ended, and why.
    pub failed: Vec<(InstanceId, CloudError)>,
}

/// The standby stock of a shape, as the cloud tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    /// Whose.
    pub shape: ShapeId,
    /// Machines that can be taken now.
    pub ready: u32,
    /// How many the cloud keeps there. `None`: what stands there, or how it is kept, is not as it would be made now, as
    /// after a new image.
    pub size: Option<u32>,
}

/// What a spot machine of a shape costs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpotPrice {
    /// Which shape.
    pub shape: ShapeId,
    /// Where.
    pub zone: Zone,
    /// The dearest of the shape's types there: a budget must not be exceeded whichever is picked.
    pub price: HourlyPrice,
}

/// EC2 and Auto Scaling.
pub trait Cloud: Send + Sync {
    /// Launches. A repeat under the same id returns the same instances. `known` are the instances of its shape that the
    /// ledger has: where the cloud does not say who came, newcomers are told from the rest by them.
    fn launch(
        &self,
        launch: &Launch,
        known: &[InstanceId],
    ) -> impl Future<Output = Result<LaunchReply, CloudError>> + Send;
    /// Lets machines go on that wait for our word on their way into or out of the standby stock. Idempotent; one that
    /// does not wait is let be. Returns those for which it failed.
    fn release(
        &self,
        instances: &[(InstanceId, ShapeId)],
    ) -> impl Future<Output = Result<Vec<(InstanceId, CloudError)>, CloudError>> + Send;
    /// Ends named instances, each with the shape that it was launched as, lowering desired capacity with each. Idempotent.
    /// An instance that is not the fleet's is left alone, and told as failed.
    fn terminate(&self, instances: &[(InstanceId, ShapeId)]) -> impl Future<Output = Result<Ended, CloudError>> + Send;
    /// Turns the metadata service of named instances off, so that nothing that runs there can ask it for anything.
    /// Idempotent; an instance that is gone has none. Returns those for which it failed.
    fn silence(
        &self,
        instances: &[(InstanceId, ShapeId)],
    ) -> impl Future<Output = Result<Vec<(InstanceId, CloudError)>, CloudError>> + Send;
    /// Looks for these instances, each with the shape that it was launched as, and for whatever else is the fleet's.
    fn instances(&self, known: &[(InstanceId, ShapeId)]) -> impl Future<Output = Result<Sighting, CloudError>> + Send;
    /// Brings the standby stock of a shape to `size` machines, all as they would be made now. Where some are not, the stock
    /// goes first, and [`Cloud::standby`] tells when it can be asked for again. A shape that the configuration has lost can
    /// have none.
    fn set_standby(&self, shape: &ShapeId, size: u32) -> impl Future<Output = Result<(), CloudError>> + Send;
    /// The zones that machines can be launched in, in order of preference.
    fn zones(&self) -> impl Future<Output = Result<Vec<Zone>, CloudError>> + Send;
    /// The standby stocks.
    fn standby(&self) -> impl Future<Output = Result<Vec<Stock>, CloudError>> + Send;
    /// The shape that the group of this name is for; `None` if it is no group of the fleet. A cloud that answers every
    /// launch at once tells nothing of groups.
    fn shape_of(&self, _group: &str) -> Option<ShapeId> {
        None
    }
    /// What spot machines cost now, as far as the cloud tells. Of what it does not tell, the configuration's price holds.
    fn spot_prices(&self) -> impl Future<Output = Result<Vec<SpotPrice>, CloudError>> + Send;
}

/// What a registration is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MintRequest {
    /// A name never used before.
    pub name: RunnerName,
    /// Exactly the class's labels.
    pub labels: Arc<[Arc<str>]>,
    /// The runner group's name.
    pub runner_group: Arc<str>,
}

/// A fresh just-in-time registration. The configuration is a secret: it has no `Debug`.
pub struct Minted {
    /// GitHub's id of the registration.
    pub id: RunnerId,
    /// The encoded configuration, for the runner alone.
    pub config: Vec<u8>,
}

/// GitHub failed.
#[derive(Debug, Error)]
pub enum GithubError {
    /// Over a limit; nothing happened.
    #[error("GitHub asks to wait until {until}")]
    Limited {
        /// When to come back.
        until: Timestamp,
    },
    /// The request is wrong.
    #[error("rejected by GitHub: {0}")]
    Rejected(String),
    /// It may have taken effect: look by name before repeating.
    #[error("no answer from GitHub: {0}")]
    Unknown(String),
}

/// GitHub's REST interface for runners.
pub trait Github: Send + Sync {
    /// `generate-jitconfig`.
    fn mint(&self, request: &MintRequest) -> impl Future<Output = Result<Minted, GithubError>> + Send;
    /// Removes a registration. One that does not exist is gone.
    fn remove(&self, runner: RunnerId) -> impl Future<Output = Result<Removal, GithubError>> + Send;
}

/// A webhook delivery about a job that its receiver did not take, as GitHub's log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedDelivery {
    /// Which log it is in and where there, in the adapter's words.
    pub place: Arc<str>,
    /// The delivery's GUID. Another attempt of the same delivery has the same.
    pub guid: Arc<str>,
    /// When it was tried.
    pub delivered_at: Timestamp,
    /// What it tells: `queued`, `in_progress` and so on.
    pub action: Arc<str>,
}

/// A registration, as GitHub lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// GitHub's id.
    pub id: RunnerId,
    /// The runner's name: one of ours carries its machine.
    pub name: RunnerName,
    /// Whether a listener is connected.
    pub online: bool,
    /// Whether it has a job.
    pub busy: bool,
    /// The release of its listener, once one has connected.
    pub release: Option<Release>,
}

/// Workflow runs, and running them again. Optional work, as all of [`Records`].
pub trait Reruns: Send + Sync {
    /// A run as it is now. `None`: there is no such run, or not for us.
    fn run(&self, repository: &str, run: RunId) -> impl Future<Output = Result<Option<RunNow>, GithubError>> + Send;
    /// The jobs of one attempt of a run.
    fn run_jobs(
        &self,
        repository: &str,
        run: RunId,
        attempt: u32,
    ) -> impl Future<Output = Result<Vec<JobNow>, GithubError>> + Send;
    /// Whether a later run of the same workflow on the same branch has begun, or that cannot be told: GitHub does not say which
    /// runs share a concurrency group, and these may.
    fn is_superseded(&self, repository: &str, run: RunId) -> impl Future<Output = Result<bool, GithubError>> + Send;
    /// Runs all jobs of a run that failed or were cancelled again, and those that need them, as the next attempt. After
    /// [`GithubError::Unknown`] the run's attempt tells what came of it.
    fn rerun_failed(&self, repository: &str, run: RunId) -> impl Future<Output = Result<(), GithubError>> + Send;
    /// Cancels a run that goes on; with `force` without waiting for its runners, which GitHub offers for a run that does not
    /// respond to the other.
    fn cancel(&self, repository: &str, run: RunId, force: bool)
    -> impl Future<Output = Result<(), GithubError>> + Send;
}

/// What GitHub itself remembers: the log of its webhook deliveries, and the jobs. A webhook that never came is found here.
///
/// All of it is optional work: it comes after mints and removals, and stops first when requests run short.
pub trait Records: Send + Sync {
    /// Deliveries about jobs that failed since then, the earliest first. One that has succeeded at another attempt may be
    /// among them. None is missing before the last of them: a log that is too long for one call is
    /// [`GithubError::Limited`], and later calls read on in it until they have come to its end.
    fn failed_since(&self, since: Timestamp) -> impl Future<Output = Result<Vec<FailedDelivery>, GithubError>> + Send;
    /// The payload of a delivery, as JSON. `None`: the log has it no more.
    fn payload(&self, of: &FailedDelivery) -> impl Future<Output = Result<Option<Vec<u8>>, GithubError>> + Send;
    /// What a job is now. `about` is what is known of it: GitHub tells neither the repository nor its visibility with a job.
    /// `None`: there is no such job.
    fn job(&self, about: &JobAbout, job: JobId) -> impl Future<Output = Result<Option<JobEvent>, GithubError>> + Send;
    /// Repositories of the owner in which something was pushed since then, the latest first, a bounded number.
    fn pushed_since(&self, since: Timestamp) -> impl Future<Output = Result<Vec<Arc<str>>, GithubError>> + Send;
    /// Jobs of a repository that wait for a runner, but for those of the runs that are to be let be: each run costs a request.
    /// `None`: nothing has changed since this was last asked, or there is no such repository.
    fn waiting(
        &self,
        repository: &str,
        let_be: &BTreeSet<RunId>,
    ) -> impl Future<Output = Result<Option<Vec<JobEvent>>, GithubError>> + Send;
    /// All registrations of the owner, those of others too. One that goes while the list is read may hide another: nothing
    /// follows from one list alone.
    fn registrations(&self) -> impl Future<Output = Result<Vec<Listed>, GithubError>> + Send;
    /// The runner releases that GitHub offers the owner now: one, as a rule. A new release comes to owners little by little.
    fn offered(&self) -> impl Future<Output = Result<Vec<Release>, GithubError>> + Send;
    /// When GitHub stops taking a runner release. `None`: it does not tell, as all but GitHub Enterprise Cloud.
    fn retirement(&self, of: Release) -> impl Future<Output = Result<Option<Retirement>, GithubError>> + Send;
}
