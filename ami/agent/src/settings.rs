//! The settings of an image: `/etc/muster/agent.toml`. All are optional; `agent.example.toml` has every one.
//!
//! What lives here: reading and judging them. What may not: what a machine is told at its launch (user data).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::life::Limits;

/// Where they are.
pub const PATH: &str = "/etc/muster/agent.toml";
/// Another path of them.
pub const PATH_VARIABLE: &str = "MUSTER_AGENT_SETTINGS";
/// For tests with real processes: see [`Limits::faster`]. Not for production: the door's own limits stay as they are.
pub const FASTER_VARIABLE: &str = "MUSTER_AGENT_TEST_FASTER";
/// The same: see [`Limits::shorter`].
pub const SHORTER_VARIABLE: &str = "MUSTER_AGENT_TEST_SHORTER";
/// The same: a job's hours are so many times shorter.
pub const JOBS_SHORTER_VARIABLE: &str = "MUSTER_AGENT_TEST_JOBS_SHORTER";

/// What `processes_max` may be. The runner alone has some 30 threads; Linux has no more processes than the last
/// (`PID_MAX_LIMIT`).
const PROCESSES: std::ops::RangeInclusive<u32> = 64..=4_194_304;

/// The settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The metadata service.
    pub metadata: String,
    /// Where the runner is unpacked.
    pub runner_dir: PathBuf,
    /// As whom it runs.
    pub runner_user: String,
    /// The control group that the agent makes for it, below its own.
    pub cgroup: String,
    /// Processes and threads that the runner's user may have.
    pub processes_max: u32,
    /// Where the agent keeps its session: a file system in memory.
    pub state_dir: PathBuf,
    /// Where last words go.
    pub console: PathBuf,
    /// Hours after which a job is ended, unless the door says what its pool grants.
    pub max_job_hours: f64,
    /// Hours for which a machine may be idle.
    pub idle_hours: f64,
    /// Whether the runner's user is kept from the metadata service.
    pub firewall: bool,
    /// The proxy for the door.
    pub proxy: Option<String>,
    /// Hosts that are reached without it.
    pub no_proxy: Vec<String>,
    /// More certificates that are trusted: a PEM file.
    pub extra_ca: Option<PathBuf>,
    /// Variables of the runner's environment, beyond those that it always has.
    pub environment: BTreeMap<String, String>,
    /// A script that runs before each job's first step, as the runner's user.
    pub hook_job_started: Option<PathBuf>,
    /// A script that runs after each job's last step.
    pub hook_job_completed: Option<PathBuf>,
    /// Where the agent puts what a pool gives its runners, for them to read: a file system in memory.
    pub pool_dir: PathBuf,
    /// The configuration of Docker's daemon, which a pool may change. Without its folder there is no Docker.
    pub docker_config: PathBuf,
    /// What makes a daemon that runs read it, and starts none.
    pub docker_reload: Vec<String>,
    /// Container images that a machine of a standby stock pulls before it is stopped.
    pub warm_images: Vec<String>,
    /// What ends the machine.
    pub power_off: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            metadata: "http://169.254.169.254".to_owned(),
            runner_dir: PathBuf::from("/opt/actions-runner"),
            runner_user: "runner".to_owned(),
            cgroup: "muster-runner".to_owned(),
            processes_max: 16_384,
            state_dir: PathBuf::from("/run/muster"),
            console: PathBuf::from("/dev/console"),
            max_job_hours: 120.0,
            idle_hours: 24.0,
            firewall: true,
            proxy: None,
            no_proxy: Vec::new(),
            extra_ca: None,
            environment: BTreeMap::new(),
            hook_job_started: None,
            hook_job_completed: None,
            pool_dir: PathBuf::from("/run/muster-pool"),
            docker_config: PathBuf::from("/etc/docker/daemon.json"),
            docker_reload: ["systemctl", "try-restart", "docker.service"].map(str::to_owned).to_vec(),
            warm_images: Vec::new(),
            power_off: vec!["systemctl".to_owned(), "poweroff".to_owned()],
        }
    }
}

/// Settings that cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{0}: it cannot be read: {1}")]
    File(String, std::io::Error),
    /// It is not TOML, or has a key that is none, or a value of another kind.
    #[error("{0}: {1}")]
    Syntax(String, Box<toml::de::Error>),
    /// A value is out of range.
    #[error("{0}: `{1}` {2}")]
    Value(String, &'static str, &'static str),
}

impl Settings {
    /// From the file that the environment names, or the usual one; without a file, the defaults.
    ///
    /// # Errors
    /// See [`SettingsError`]: file, key and remedy are named.
    pub fn read() -> Result<Settings, SettingsError> {
        let named = std::env::var_os(PATH_VARIABLE);
        let path = named.as_ref().map_or(Path::new(PATH), Path::new);
        match std::fs::read_to_string(path) {
            Ok(text) => Settings::parse(&path.display().to_string(), &text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(Settings::default()),
            Err(e) => Err(SettingsError::File(path.display().to_string(), e)),
        }
    }

    /// From a text, with the file's name for errors.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn parse(file: &str, text: &str) -> Result<Settings, SettingsError> {
        let settings: Settings =
            toml::from_str(text).map_err(|e| SettingsError::Syntax(file.to_owned(), Box::new(e)))?;
        settings.judge(file)?;
        Ok(settings)
    }

    fn judge(&self, file: &str) -> Result<(), SettingsError> {
        let absolute = |path: &PathBuf| path.is_absolute();
        let hours = |hours: f64| hours > 0.0 && hours <= 10_000.0;
        let named = |name: &String| !name.is_empty() && !name.contains(['=', '\0']);
        let rules: [(&'static str, bool, &'static str); 15] = [
            ("metadata", self.metadata.starts_with("http://"), "must be an address such as http://169.254.169.254"),
            ("runner_dir", absolute(&self.runner_dir), "must be an absolute path"),
            ("runner_user", !matches!(&*self.runner_user, "" | "root"), "must be a user other than root"),
            ("cgroup", named(&self.cgroup) && !self.cgroup.contains(['/', '.']), "must be a name without `/` and `.`"),
            ("processes_max", PROCESSES.contains(&self.processes_max), "must be a number from 64 to 4194304"),
            ("state_dir", absolute(&self.state_dir), "must be an absolute path"),
            ("max_job_hours", hours(self.max_job_hours), "must be hours: more than 0, at most 10000"),
            ("idle_hours", hours(self.idle_hours), "must be hours: more than 0, at most 10000"),
            ("hook_job_started", self.hook_job_started.iter().all(absolute), "must be an absolute path"),
            ("hook_job_completed", self.hook_job_completed.iter().all(absolute), "must be an absolute path"),
            ("pool_dir", absolute(&self.pool_dir), "must be an absolute path"),
            ("docker_config", absolute(&self.docker_config), "must be an absolute path"),
            ("docker_reload", !self.docker_reload.is_empty(), "must name a command, such as [\"true\"]"),
            ("environment", self.environment.keys().all(named), "must have names without `=`"),
            ("power_off", !self.power_off.is_empty(), "must name a command, such as [\"systemctl\", \"poweroff\"]"),
        ];
        match rules.into_iter().find(|(_, good, _)| !good) {
            None => Ok(()),
            Some((key, _, rule)) => Err(SettingsError::Value(file.to_owned(), key, rule)),
        }
    }

    /// The limits that follow. `spread` is this machine's own number between 0 and 1.
    pub fn limits(&self, spread: f64) -> Limits {
        let limits = Limits::new(self.job_may_take(None), hours(self.idle_hours), spread);
        limits.faster(times(FASTER_VARIABLE)).shorter(times(SHORTER_VARIABLE))
    }

    /// How long a job may take: what its pool grants, or else these settings.
    pub fn job_may_take(&self, pool_hours: Option<u32>) -> Duration {
        let granted = pool_hours.filter(|hours| *hours > 0).map(f64::from);
        hours(granted.unwrap_or(self.max_job_hours)).div_f64(times(JOBS_SHORTER_VARIABLE))
    }
}

fn hours(hours: f64) -> Duration {
    Duration::from_secs_f64(hours * 3_600.0)
}

fn times(variable: &str) -> f64 {
    let given = std::env::var(variable).ok().and_then(|text| text.parse::<f64>().ok());
    given.filter(|times| *times >= 1.0 && times.is_finite()).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_every_key_with_its_default() {
        let text = include_str!("../agent.example.toml");
        let plain: String =
            text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
        let table: toml::Table = plain.parse().unwrap();
        let mut read = Settings::parse("agent.example.toml", &plain).unwrap();
        let said = format!("{read:?}");
        for key in
            ["proxy", "extra_ca", "hook_job_started", "hook_job_completed", "no_proxy", "environment", "warm_images"]
        {
            assert!(table.contains_key(key), "{key} is missing in the example");
        }
        assert_eq!(table.len(), said.matches(": ").count() - read.environment.len(), "{said}");
        let Settings {
            proxy, no_proxy, extra_ca, environment, hook_job_started, hook_job_completed, warm_images, ..
        } = Settings::default();
        read = Settings {
            proxy,
            no_proxy,
            extra_ca,
            environment,
            hook_job_started,
            hook_job_completed,
            warm_images,
            ..read
        };
        assert_eq!(read, Settings::default());
        assert_eq!(Settings::parse("agent.example.toml", text).unwrap(), Settings::default());
    }

    #[test]
    fn the_pools_hours_govern_a_job() {
        let settings = Settings { max_job_hours: 2.0, ..Settings::default() };
        let may = |pool: Option<u32>| settings.job_may_take(pool).as_secs();
        assert_eq!((may(Some(1)), may(Some(200)), may(None), may(Some(0))), (3_600, 720_000, 7_200, 7_200));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("runner_usr = \"x\"", "runner_usr"),
            ("runner_user = \"root\"", "`runner_user` must be a user other than root"),
            ("max_job_hours = 0.0", "`max_job_hours` must be hours"),
            ("runner_dir = \"opt\"", "`runner_dir` must be an absolute path"),
            ("processes_max = 10", "`processes_max` must be a number from 64"),
            ("power_off = []", "`power_off` must name a command"),
            ("metadata = \"https://a\"", "`metadata` must be an address"),
            ("firewall = 1", "firewall"),
        ] {
            let error = Settings::parse("agent.toml", text).unwrap_err().to_string();
            assert!(error.contains("agent.toml") && error.contains(words), "{error}");
        }
    }
}
