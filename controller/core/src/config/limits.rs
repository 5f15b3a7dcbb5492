//! Limits of the configuration, by name.
//!
//! What lives here: numbers that validation compares with. What may not: limits of the planner or of the door.
//!
//! Invariant: a configuration within these limits keeps planning and resolution within their time.

/// The most that `rerun_interrupted` may be: a fifth of GitHub's 50 re-runs of one run (GitHub changelog, 2026-04-10), which
/// people need too.
pub const RERUNS_MAX: u32 = 10;
/// Bytes of one configuration file. Far above any real one; keeps reading it short.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// Pools of one fleet.
pub const POOLS_MAX: usize = 500;
/// Classes (pool x size x market) of one fleet.
pub const CLASSES_MAX: usize = 2_000;
/// Schedules of one pool.
pub const SCHEDULES_MAX: usize = 50;
/// Runners, for every cap and bound. GitHub allows 10,000 in one runner group.
pub const RUNNERS_MAX: u32 = 100_000;
/// Labels of one runner. From GitHub's REST schema of `generate-jitconfig`.
pub const LABELS_MAX: usize = 100;
/// Labels a class adds to its pool's: the size's name and the market label.
pub const LABELS_ADDED: usize = 2;
/// Characters of one label. GitHub's own limit.
pub const LABEL_CHARS_MAX: usize = 256;
/// Characters of a fleet's, pool's or size's name: they become part of names in AWS and GitHub (64 characters).
pub const NAME_CHARS_MAX: usize = 32;
/// Live webhook secrets: the present one, and the former or next one during a rotation.
pub const WEBHOOK_SECRETS_MAX: usize = 2;
/// Instance types of one size. An Auto Scaling group takes 40 overrides in its mixed instances policy.
pub const INSTANCE_TYPES_MAX: usize = 40;
/// Hours a self-hosted job may run. GitHub's own limit: 5 days.
pub const JOB_HOURS_MAX: u32 = 120;
/// Default of `max_job_hours`: GitHub's default `timeout-minutes`, 360.
pub const JOB_HOURS_DEFAULT: u32 = 6;
/// The most that `logs.max_mib` may be: an agent has 20 s for all that it sends.
pub const LOG_MIB_MAX: u32 = 16;
/// Default of `logs.max_mib`: a worker's log of hours stays below, as a rule.
pub const LOG_MIB_DEFAULT: u32 = 4;
/// Bytes of a pool's `extra_ca`: some eight certificates.
pub const CA_BYTES_MAX: usize = 16 * 1024;
/// Variables of a pool's `environment`.
pub const VARIABLES_MAX: usize = 64;
/// Bytes of their names and values together.
pub const VARIABLES_BYTES_MAX: usize = 16 * 1024;
/// Characters of a variable's name.
pub const VARIABLE_NAME_CHARS_MAX: usize = 128;
/// Hosts of a pool's `no_proxy`.
pub const NO_PROXY_MAX: usize = 64;
/// Mirrors of a pool's `docker_mirrors`.
pub const DOCKER_MIRRORS_MAX: usize = 8;
/// Bytes of one path, host or address of a pool's options.
pub const OPTION_CHARS_MAX: usize = 255;
/// Highest plausible hourly price in US dollars; above it a price is taken for a mistake.
pub const PRICE_USD_MAX: f64 = 1_000_000.0;
/// Syntax errors told at once; what follows the first few is mostly their echo.
pub(super) const SYNTAX_ERRORS_MAX: usize = 10;
/// Characters of a foreign text (a job's label, a mistyped value) shown in a sentence.
pub(super) const SHOWN_CHARS_MAX: usize = 64;
/// Foreign texts listed in one sentence.
pub(super) const SHOWN_TEXTS_MAX: usize = 12;

const _: () = assert!(LABELS_ADDED < LABELS_MAX);
const _: () = assert!(POOLS_MAX <= CLASSES_MAX);
const _: () = assert!(LOG_MIB_DEFAULT <= LOG_MIB_MAX);
/// What a pool gives its runners travels in one answer with their configuration: far below what a Lambda may answer (6 MB),
/// and small beside it.
const _: () = assert!(
    CA_BYTES_MAX + VARIABLES_BYTES_MAX + (NO_PROXY_MAX + DOCKER_MIRRORS_MAX + 4) * OPTION_CHARS_MAX <= 64 * 1024
);
const _: () = assert!(JOB_HOURS_DEFAULT <= JOB_HOURS_MAX);
