//! Runner releases: what each shape's image carries, held against what GitHub offers and when it stops taking it.
//!
//! GitHub wants a release to be taken within 30 days of its coming out, or gives its runners no more jobs (GitHub,
//! "Self-hosted runners reference"). No answer of its REST interface tells when a release came out; what is known is since
//! when a newer one than the image's has been offered to us, and that is the age here: a lower bound, from the first look on.
//! When GitHub stops taking a release is told by GitHub Enterprise Cloud alone.
//!
//! What lives here: the record that is kept, and what follows from it. What may not: asking, and the hold that stops launches
//! (`world`).
//!
//! Invariant: an image is judged by the machine of its shape that was launched last, and by what that one said first: a runner
//! may update itself later.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, PoolName, ShapeId};
use crate::machine::{Machine, Market};
use crate::time::Timestamp;

/// An image whose release is older than this is warned of: ten days are left of GitHub's 30.
pub const WARN_AFTER: Duration = Duration::from_secs(20 * 24 * 3_600);
/// Releases whose first sight is kept. GitHub brings out two or three a month.
const OFFERED_MAX: usize = 24;
/// An image is judged for so long after the last launch of it: by then it may be another one.
pub const JUDGED_FOR: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The number of a runner release. Ordered as the numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Release([u32; 3]);

/// A text that is no release number such as `2.336.0`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no runner release")]
pub struct NoRelease(String);

impl FromStr for Release {
    type Err = NoRelease;

    fn from_str(text: &str) -> Result<Release, NoRelease> {
        let mut parts = text.split('.').map(str::parse);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Ok(Release([major, minor, patch])),
            _ => Err(NoRelease(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Release {
    type Error = NoRelease;

    fn try_from(text: String) -> Result<Release, NoRelease> {
        text.parse()
    }
}

impl From<Release> for String {
    fn from(release: Release) -> String {
        release.to_string()
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// When GitHub stops taking a release, as far as it tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// From then on no runner of it can register.
    pub registration: Option<Timestamp>,
    /// From then on its runners get no jobs.
    pub runtime: Option<Timestamp>,
}

impl Retirement {
    /// From when on a just-in-time runner of it is of no use: each registers anew.
    pub fn at(&self) -> Option<Timestamp> {
        self.registration.into_iter().chain(self.runtime).min()
    }
}

/// What the machine of a shape that was launched last said of its runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// Its release, as GitHub listed it first.
    pub release: Release,
    /// The machine.
    pub instance: InstanceId,
    /// Its pool.
    pub pool: PoolName,
    /// How it was bought.
    pub market: Market,
    /// When it was launched.
    pub launched_at: Timestamp,
}

/// All that is known of releases: kept between looks, as a note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Releases {
    /// Releases that GitHub has offered, and when each was first seen.
    #[serde(default)]
    offered: BTreeMap<Release, Timestamp>,
    /// By shape.
    #[serde(default)]
    carried: BTreeMap<ShapeId, Carried>,
    /// When GitHub stops taking a release, of those that are carried and not the newest.
    #[serde(default)]
    retirements: BTreeMap<Release, Retirement>,
}

/// What is known of one shape's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The release that it carries.
    pub release: Release,
    /// The newest that GitHub offers.
    pub newest: Release,
    /// For how long GitHub has offered a newer one, as far as was seen; zero if it is the newest.
    pub age: Duration,
    /// When GitHub stops taking it, if that is told.
    pub retires_at: Option<Timestamp>,
}

impl Standing {
    /// Whether it is worth a warning.
    pub fn is_old(&self) -> bool {
        self.age >= WARN_AFTER
    }
}

impl Releases {
    /// Takes in the releases that GitHub offers now.
    pub fn offer(&mut self, offered: &[Release], now: Timestamp) {
        for release in offered {
            self.offered.entry(*release).or_insert(now);
        }
        while self.offered.len() > OFFERED_MAX {
            self.offered.pop_first();
        }
    }

    /// Takes in the release that GitHub lists for the runner of a machine.
    pub fn carry(&mut self, machine: &Machine, release: Release) {
        let launched_at = machine.launched_at;
        let newer = |known: &Carried| known.launched_at < launched_at && known.instance != machine.instance;
        let shape = &machine.purpose.shape;
        if self.carried.get(shape).is_none_or(newer) {
            let (pool, market) = (machine.purpose.pool.clone(), machine.purpose.market);
            let carried = Carried { release, instance: machine.instance.clone(), pool, market, launched_at };
            self.carried.insert(shape.clone(), carried);
        }
    }

    /// Forgets images of which no machine was launched for [`JUDGED_FOR`]: they may be others by now.
    pub fn forget_old(&mut self, now: Timestamp) {
        self.carried.retain(|_, carried| now.since(carried.launched_at) < JUDGED_FOR);
        let Releases { carried, retirements, .. } = self;
        retirements.retain(|release, _| carried.values().any(|carried| carried.release == *release));
    }

    /// Takes in when GitHub stops taking a release.
    pub fn retire(&mut self, release: Release, told: Retirement) {
        self.retirements.insert(release, told);
    }

    /// Whether GitHub is known to take a release no more.
    pub fn is_retired(&self, release: Release, now: Timestamp) -> bool {
        self.retirements.get(&release).and_then(Retirement::at).is_some_and(|at| at <= now)
    }

    /// Releases of images that are not the newest: of these it is worth asking when GitHub stops taking them.
    pub fn behind(&self) -> Vec<Release> {
        let Some(newest) = self.newest() else { return Vec::new() };
        let mut behind: Vec<Release> = self.carried.values().map(|carried| carried.release).collect();
        behind.retain(|release| *release < newest);
        behind.sort_unstable();
        behind.dedup();
        behind
    }

    /// The newest release that was ever offered.
    pub fn newest(&self) -> Option<Release> {
        self.offered.last_key_value().map(|(release, _)| *release)
    }

    /// Where a shape's image stands; `None` if no runner of it was listed, or nothing is known of what is offered.
    pub fn standing(&self, shape: &ShapeId, now: Timestamp) -> Option<Standing> {
        let release = self.carried.get(shape)?.release;
        let newest = self.newest()?;
        let newer = self.offered.iter().filter(|(offered, _)| **offered > release);
        let age = newer.map(|(_, at)| now.since(*at)).max().unwrap_or_default();
        let retires_at = self.retirements.get(&release).and_then(Retirement::at);
        Some(Standing { release, newest, age, retires_at })
    }

    /// The shapes of which a runner was listed, and the machine that each one's image is judged by.
    pub fn carried(&self) -> impl Iterator<Item = (&ShapeId, &Carried)> {
        self.carried.iter()
    }
}
