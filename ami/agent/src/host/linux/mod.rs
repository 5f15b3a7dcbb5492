//! Linux: control groups, nftables, users, systemd's notifications.

mod cgroup;
mod diag;
mod firewall;
mod launch;
mod output;
mod power;
mod proc;
mod signals;
mod user;

use std::io;
use std::path::Path;

pub use self::cgroup::{CgroupPen, cgroup2};
pub use self::diag::Diag;
pub use self::firewall::secure;
pub use self::launch::launch;
pub use self::output::Output;
pub use self::power::{notify, power_off, watchdog};
pub use self::user::{Account, account};

use super::{Launch, Pen};
use crate::settings::Settings;

/// What a launch begins with: our own binary, which enters the pen, leaves everything of ours behind and becomes the runner.
///
/// # Errors
/// There is no such user, or the system refuses a pen.
pub fn prepare(settings: &Settings) -> io::Result<Launch> {
    let account = account(&settings.runner_user)?;
    let (entrance, pen): (_, Box<dyn Pen>) = match CgroupPen::new(&settings.cgroup) {
        Ok(pen) => (pen.entrance(), Box::new(pen)),
        Err(e) => {
            crate::words::log(&format!("no control group of version 2 ({e}): the runner is frozen by signals"));
            (Path::new("-").to_owned(), Box::new(signals::SignalPen::new(&account)))
        }
    };
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command
        .env_clear()
        .arg("launch")
        .arg(entrance)
        .arg(account.uid.to_string())
        .arg(account.gid.to_string())
        .arg(settings.processes_max.to_string())
        .arg(&settings.runner_dir);
    Ok(Launch { command, pen })
}

/// The pen of a runner that a former agent on this machine has left, if somebody is in it.
pub fn left_behind(user: &str, cgroup: &str) -> Option<Box<dyn Pen>> {
    let account = account(user).ok()?;
    let pen: Box<dyn Pen> = match CgroupPen::existing(cgroup) {
        Some(pen) => Box::new(pen),
        None if cgroup2().is_err() => Box::new(signals::SignalPen::new(&account)),
        None => return None,
    };
    pen.processes().is_ok_and(|processes| !processes.is_empty()).then_some(pen)
}

/// The runner's folder `_diag`.
///
/// # Errors
/// There is no such user or folder.
pub fn diag(runner_dir: &Path, user: &str) -> io::Result<Diag> {
    Diag::open(runner_dir, account(user)?.uid)
}
