//! The cloud port for EC2 Auto Scaling and EC2, in one account or several.
//!
//! What lives here: which account a shape is in, and one small function for each verb of the port. What may not:
//! decisions (the planner's), and a retry beyond the SDK's one (the next tick is the retry).
//!
//! Groups belong to shapes. They are made at a shape's first launch, and changed when the configuration, the stack or an
//! image has changed. Their desired capacity has one owner: it rises by `LaunchInstances`, and falls with each machine
//! that is ended by name. Effects that have no token of their own run one at a time for each group.
//!
//! Invariant: one account that fails stops its own shapes and hides its own instances, and nothing else.

mod account;
mod activities;
mod blueprint;
mod budget;
mod checkup;
mod egress;
mod errors;
mod group;
mod image;
mod instances;
mod launch;
mod look;
mod names;
mod phantom;
mod prices;
mod quotas;
mod retire;
mod silence;
mod stack;
mod standby;
mod subnets;
mod template;
mod terminate;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_config::SdkConfig;
use aws_sdk_autoscaling::types::WarmPoolState;
use aws_sdk_sts::config::Region;
use futures_util::future::join_all;
use muster_core::config::{FleetConfig, Market, Shape, StandbyState};
use muster_core::ids::{InstanceId, ShapeId, Zone};
use muster_core::launch::{LAUNCH_MAX, Launch, LaunchErrorKind, LaunchReply};
use muster_core::machine::Origin;
use muster_core::ports::{Cloud, CloudError, Ended, Sighting, SpotPrice, Stock};

pub use self::budget::Now;
pub use self::checkup::{AccountCheckup, There};
pub use self::egress::WayOut;
pub use self::names::{FLEET_TAG, SHAPE_TAG};
pub use self::quotas::VcpuQuota;
pub use self::stack::Stack;

use self::account::{Account, Role, lock};
use self::blueprint::Blueprint;
use self::errors::Failure;
use self::names::{GroupKind, group_name};

/// The configuration in force.
pub type Config = Arc<dyn Fn() -> Arc<FleetConfig> + Send + Sync>;

/// EC2 and Auto Scaling.
pub struct AwsCloud {
    sdk: SdkConfig,
    stack: Stack,
    config: Config,
    now: Now,
    accounts: Mutex<Vec<Arc<Account>>>,
    /// In which account the shapes of instances were last seen, for those that the configuration has lost.
    homes: Mutex<BTreeMap<ShapeId, Option<Arc<str>>>>,
}

impl AwsCloud {
    /// The cloud of a fleet. `config` is asked at each call, so that a reload needs nothing else; `sdk` has the
    /// controller's own credentials and region.
    pub fn new(sdk: SdkConfig, stack: Stack, config: Config, now: Now) -> AwsCloud {
        AwsCloud { sdk, stack, config, now, accounts: Mutex::default(), homes: Mutex::default() }
    }

    /// The accounts of the configuration, the home account first. What is known of one is kept as long as the
    /// configuration says the same of it.
    fn accounts(&self, config: &FleetConfig) -> Vec<Arc<Account>> {
        let mut known = lock(&self.accounts);
        let mut region = self.sdk.region().cloned();
        if let Some(other) = &config.aws.region {
            region = Some(Region::new(other.clone()));
        }
        let sdk = self.sdk.clone().into_builder().region(region.clone()).build();
        let fleet = config.fleet.name.as_str();
        let account = |name: Option<&Arc<str>>, place, role: Option<Role>| {
            let same = |account: &&Arc<Account>| {
                account.is_as(name.map(|name| &**name), &place, role.as_ref(), fleet, region.as_ref())
            };
            match known.iter().find(same) {
                Some(account) => account.clone(),
                None => Arc::new(Account::new(name.cloned(), place, role, fleet, &sdk, self.now.clone())),
            }
        };
        let mut accounts = vec![account(None, self.stack.home(&config.aws), None)];
        for (name, there) in &config.aws.accounts {
            let role = Role { arn: there.role.clone(), external_id: there.external_id.clone() };
            accounts.push(account(Some(name), there.place.clone(), Some(role)));
        }
        known.clone_from(&accounts);
        accounts
    }

    /// The account of a shape; of one that the configuration has lost, where it was last.
    fn account_of(&self, config: &FleetConfig, shape: &ShapeId) -> Option<Arc<Account>> {
        let name = match config.shape(shape) {
            Some(shape) => shape.account.clone(),
            None => lock(&self.homes).get(shape).cloned()?,
        };
        self.accounts(config).into_iter().find(|account| account.name == name)
    }

    /// Sorts instances into accounts. Those of shapes that nobody knows go to every account: an instance is in one.
    fn by_account(&self, instances: &[(InstanceId, ShapeId)]) -> Vec<(Arc<Account>, Vec<InstanceId>, Vec<InstanceId>)> {
        let config = (self.config)();
        let mut accounts: Vec<_> =
            self.accounts(&config).into_iter().map(|account| (account, Vec::new(), Vec::new())).collect();
        for (instance, shape) in instances {
            match self.account_of(&config, shape) {
                Some(home) => {
                    for (account, certain, _) in &mut accounts {
                        if Arc::ptr_eq(account, &home) {
                            certain.push(instance.clone());
                        }
                    }
                }
                None => accounts.iter_mut().for_each(|(_, _, perhaps)| perhaps.push(instance.clone())),
            }
        }
        accounts
    }

    async fn blueprint(
        &self,
        config: &FleetConfig,
        account: &Account,
        shape: &Shape,
        kind: GroupKind,
    ) -> Result<Blueprint, Failure> {
        let image = account.image(shape).await?;
        let fleet = (config.fleet.name.as_str(), config.fleet.max_runners);
        let hibernates = kind == GroupKind::Standby && self.pool_state(config, &shape.id) == WarmPoolState::Hibernated;
        let place = (&account.place, account.name.as_deref());
        let mut blueprint = Blueprint::new(fleet, &self.stack, place, shape, image, kind)?;
        blueprint.template.hibernates = hibernates;
        Ok(blueprint)
    }

    /// The standby stocks of an account.
    async fn stocks(&self, config: &FleetConfig, account: &Account) -> Result<Vec<Stock>, Failure> {
        let mut stocks = Vec::new();
        for pool in account.pools().await? {
            let mut size = pool.size();
            // What the configuration has lost is emptied, whatever it was made from.
            if let Some(shape) = config.shape(&pool.shape) {
                let state = self.pool_state(config, &shape.id);
                match self.blueprint(config, account, &shape, GroupKind::Standby).await {
                    Ok(blueprint) => size = size.filter(|_| pool.is_as(&blueprint, &state)),
                    // It stays as it is for as long as nobody knows how it should be.
                    Err(failure) => tracing::warn!(shape = %shape.id, %failure, "how its stock should be is not known"),
                }
            }
            lock(&self.homes).entry(pool.shape.clone()).or_insert_with(|| account.name.clone());
            let ready = pool.ready();
            stocks.push(Stock { shape: pool.shape, ready, size });
        }
        account.remember_stocks(&stocks);
        Ok(stocks)
    }

    fn pool_state(&self, config: &FleetConfig, shape: &ShapeId) -> WarmPoolState {
        match config.standby_bounds(shape, (self.now)()).state {
            StandbyState::Hibernated => WarmPoolState::Hibernated,
            StandbyState::Stopped => WarmPoolState::Stopped,
        }
    }

    /// Takes away the stock of a shape that the configuration has lost, wherever it is.
    async fn empty(&self, config: &FleetConfig, shape: &ShapeId) -> Result<(), CloudError> {
        let name = group_name(&config.fleet.name, shape, GroupKind::Standby);
        let accounts = self.accounts(config);
        let emptied = join_all(accounts.iter().map(|account| account.empty_pool(&name))).await;
        Ok(emptied.into_iter().collect::<Result<(), Failure>>()?)
    }

    async fn prepare(&self, launch: &Launch) -> Result<(Arc<Account>, Blueprint), Failure> {
        let wrong = |why: String| Failure::ours(LaunchErrorKind::Configuration, why);
        let config = (self.config)();
        let purpose = &launch.purpose;
        if launch.count == 0 || launch.count > LAUNCH_MAX {
            return Err(wrong(format!("{} instances: 1 to {LAUNCH_MAX} are possible", launch.count)));
        }
        let Some(shape) = config.shape(&purpose.shape) else {
            return Err(wrong(format!("there is no shape {} in the configuration", purpose.shape)));
        };
        if shape.market != purpose.market {
            return Err(wrong(format!("shape {} is {}, not {}", shape.id, shape.market, purpose.market.as_str())));
        }
        let Some(account) = self.account_of(&config, &shape.id) else {
            return Err(wrong(format!("there is no account {:?} in the configuration", shape.account)));
        };
        lock(&self.homes).insert(shape.id.clone(), account.name.clone());
        if !account.zones().await?.contains(&purpose.zone) {
            return Err(wrong(format!("{} has no subnet of the fleet in zone {}", account.title(), purpose.zone)));
        }
        let kind = match purpose.origin {
            Origin::Cold => GroupKind::Cold,
            Origin::Standby => GroupKind::Standby,
        };
        let blueprint = self.blueprint(&config, &account, &shape, kind).await?;
        account.realise(&blueprint).await?;
        Ok((account, blueprint))
    }
}

impl Cloud for AwsCloud {
    async fn launch(&self, launch: &Launch, known: &[InstanceId]) -> Result<LaunchReply, CloudError> {
        // Nothing was launched by getting ready, but an earlier request may have been: these are no answers to it.
        let (account, blueprint) = self.prepare(launch).await.map_err(Failure::on_the_way)?;
        match launch.purpose.origin {
            Origin::Cold => account.launch_cold(&blueprint, launch, known).await,
            Origin::Standby => account.launch_by_raise(&blueprint, launch, known).await,
        }
    }

    async fn release(&self, instances: &[(InstanceId, ShapeId)]) -> Result<Vec<(InstanceId, CloudError)>, CloudError> {
        let config = (self.config)();
        let mut by_shape: BTreeMap<&ShapeId, Vec<InstanceId>> = BTreeMap::new();
        for (instance, shape) in instances {
            by_shape.entry(shape).or_default().push(instance.clone());
        }
        let mut failed = Vec::new();
        for (shape, instances) in by_shape {
            let group = group_name(&config.fleet.name, shape, GroupKind::Standby);
            match self.account_of(&config, shape) {
                Some(home) => failed.extend(home.release(&group, &instances).await),
                None => {
                    let accounts = self.accounts(&config);
                    let answers = join_all(accounts.iter().map(|account| account.release(&group, &instances))).await;
                    failed.extend(failed_everywhere(answers));
                }
            }
        }
        Ok(failed)
    }

    async fn terminate(&self, instances: &[(InstanceId, ShapeId)]) -> Result<Ended, CloudError> {
        let ends = self.by_account(instances).into_iter().map(|(account, certain, perhaps)| async move {
            let mut ended = Ended::default();
            let all = [certain, perhaps].concat();
            if !all.is_empty() {
                account.end(&all, &mut ended).await;
            }
            ended
        });
        let mut all = Ended::default();
        for ended in join_all(ends).await {
            all.gone.extend(ended.gone);
            all.failed.extend(ended.failed);
        }
        Ok(all)
    }

    async fn silence(&self, instances: &[(InstanceId, ShapeId)]) -> Result<Vec<(InstanceId, CloudError)>, CloudError> {
        let calls = self
            .by_account(instances)
            .into_iter()
            .map(|(account, certain, perhaps)| async move { account.silence(&[certain, perhaps].concat()).await });
        Ok(join_all(calls).await.into_iter().flatten().collect())
    }

    async fn instances(&self, known: &[(InstanceId, ShapeId)]) -> Result<Sighting, CloudError> {
        let config = (self.config)();
        let looks = self.by_account(known).into_iter().map(|(account, certain, perhaps)| {
            let config = config.clone();
            async move {
                let sighting = account.look(&[certain, perhaps.clone()].concat(), &config).await;
                (perhaps, sighting)
            }
        });
        let looks = join_all(looks).await;
        let mut all = Sighting::default();
        // An instance that may be anywhere is absent if it is absent everywhere.
        let mut absences: BTreeMap<InstanceId, usize> = BTreeMap::new();
        let accounts = looks.len();
        for (perhaps, sighting) in looks {
            all.seen.extend(sighting.seen);
            all.troubles.extend(sighting.troubles);
            for absent in sighting.absent {
                if perhaps.contains(&absent) {
                    *absences.entry(absent).or_default() += 1;
                } else {
                    all.absent.push(absent);
                }
            }
        }
        all.absent.extend(absences.into_iter().filter(|(_, times)| *times == accounts).map(|(instance, _)| instance));
        Ok(all)
    }

    async fn set_standby(&self, shape: &ShapeId, size: u32) -> Result<(), CloudError> {
        let config = (self.config)();
        let Some((shape, account)) = config.shape(shape).zip(self.account_of(&config, shape)) else {
            if size == 0 {
                return self.empty(&config, shape).await;
            }
            return Err(CloudError::Rejected(format!("there is no shape {shape} in the configuration")));
        };
        if shape.market == Market::Spot {
            return Err(CloudError::Rejected(format!(
                "{} is a spot shape: only on-demand machines stand by",
                shape.id
            )));
        }
        let blueprint =
            self.blueprint(&config, &account, &shape, GroupKind::Standby).await.map_err(Failure::on_the_way)?;
        // Asked for because it is not as it should be: what is remembered of the group may be wrong.
        account.doubt(&blueprint.name);
        account.realise(&blueprint).await.map_err(Failure::on_the_way)?;
        Ok(account.set_stock(&blueprint, size, self.pool_state(&config, &shape.id)).await?)
    }

    fn shape_of(&self, group: &str) -> Option<ShapeId> {
        let config = (self.config)();
        let has = |shape: &Shape, kind| group_name(&config.fleet.name, &shape.id, kind) == group;
        let mut shapes = config.shapes();
        let shape = shapes.find(|shape| has(shape, GroupKind::Cold) || has(shape, GroupKind::Standby))?;
        Some(shape.id.clone())
    }

    async fn zones(&self) -> Result<Vec<Zone>, CloudError> {
        let accounts = self.accounts(&(self.config)());
        let told = join_all(accounts.iter().map(|account| account.look_for("zones", account.zones()))).await;
        let mut zones: Vec<Zone> = Vec::new();
        let mut failed = None;
        for told in told {
            match told {
                Ok(told) => {
                    for zone in told {
                        if !zones.contains(&zone) {
                            zones.push(zone);
                        }
                    }
                }
                Err(failure) => failed = Some(failure),
            }
        }
        // One account without zones stops its own shapes only; the launch says why.
        match failed {
            Some(failure) if zones.is_empty() => Err(failure.into()),
            Some(_) | None => Ok(zones),
        }
    }

    async fn standby(&self) -> Result<Vec<Stock>, CloudError> {
        let config = (self.config)();
        let accounts = self.accounts(&config);
        let looks = accounts.iter().map(|account| account.look_for("standby stock", self.stocks(&config, account)));
        let mut told = join_all(looks).await;
        let read = told.iter().any(Result::is_ok);
        for (account, told) in accounts.iter().zip(&mut told).filter(|(_, told)| read && told.is_err()) {
            // Nothing is launched from a stock that cannot be read, and none is changed.
            *told = Ok(account.unread_stocks());
        }
        what_was_read(told)
    }

    async fn spot_prices(&self) -> Result<Vec<SpotPrice>, CloudError> {
        let config = (self.config)();
        let reads = self.accounts(&config).into_iter().map(|account| {
            let shapes: Vec<Arc<Shape>> = config
                .shapes()
                .filter(|shape| shape.market == Market::Spot && shape.account == account.name)
                .cloned()
                .collect();
            async move { account.look_for("spot prices", account.spot_prices(&shapes)).await }
        });
        // Of what is not read the configuration's price holds.
        what_was_read(join_all(reads).await)
    }
}

/// Instances that are in one account, nobody knows which: one failed if it failed in all of them.
fn failed_everywhere(answers: Vec<Vec<(InstanceId, CloudError)>>) -> Vec<(InstanceId, CloudError)> {
    let accounts = answers.len();
    let mut times: BTreeMap<InstanceId, (usize, CloudError)> = BTreeMap::new();
    for (instance, error) in answers.into_iter().flatten() {
        times.entry(instance).and_modify(|(times, _)| *times += 1).or_insert((1, error));
    }
    let all = times.into_iter().filter(|(_, (times, _))| *times == accounts);
    all.map(|(instance, (_, error))| (instance, error)).collect()
}

/// What some accounts have told; an error if none has told anything and one could not be read.
fn what_was_read<T>(told: Vec<Result<Vec<T>, Failure>>) -> Result<Vec<T>, CloudError> {
    let failed = told.iter().filter_map(|told| told.as_ref().err()).next().cloned();
    let all: Vec<T> = told.into_iter().flatten().flatten().collect();
    match failed {
        Some(failure) if all.is_empty() => Err(failure.into()),
        Some(_) | None => Ok(all),
    }
}
