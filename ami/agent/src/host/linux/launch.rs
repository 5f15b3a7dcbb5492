//! From the agent to the runner: between fork and exec our own binary runs once more, as a process without a future.
//!
//! It enters the pen while it is still root, lets go of every descriptor but the standard three, gets a session of its own,
//! and becomes the runner as another user: no supplementary groups, no capabilities, nothing inherited but the environment
//! that was made for it.
//!
//! How many processes that user may have is a limit of the user (`RLIMIT_NPROC`), not of the pen: a group below one that has
//! processes of its own gets no controller (Linux, Documentation/admin-guide/cgroup-v2.rst, "No Internal Process Constraint"),
//! and the agent is in the group above. To move it out of there would keep systemd from starting it again beside a live job.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{close, setsid};

/// When memory is short, the runner and its job go before the agent (proc(5), `oom_score_adj`).
const OOM_SCORE: &str = "500";

/// Becomes the runner. Comes back only if that fails.
///
/// # Errors
/// What has failed.
pub fn launch(entrance: &OsStr, user: (&str, &str), processes_max: &str, runner_dir: &OsStr) -> io::Error {
    match become_runner(entrance, user, processes_max, Path::new(runner_dir)) {
        Ok(never) => match never {},
        Err(e) => e,
    }
}

fn become_runner(
    entrance: &OsStr,
    (uid, gid): (&str, &str),
    processes_max: &str,
    runner_dir: &Path,
) -> io::Result<std::convert::Infallible> {
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id != 0);
    let (Some(uid), Some(gid)) = (number(uid), number(gid)) else {
        return Err(io::Error::other("the runner must not be root"));
    };
    if entrance != "-" {
        fs::write(entrance, "0")?;
    }
    let Ok(processes_max) = processes_max.parse() else {
        return Err(io::Error::other("the greatest number of processes is none"));
    };
    // Root is not bound by it, and may start what is.
    setrlimit(Resource::RLIMIT_NPROC, processes_max, processes_max)?;
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    setsid()?;
    umask(Mode::from_bits_truncate(0o022));
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // The one that the list was read through is closed already.
        let _ = close(fd);
    }
    // With a uid and as root, std drops every supplementary group as well.
    let error = Command::new(runner_dir.join("bin/Runner.Listener"))
        .arg("run")
        .current_dir(runner_dir)
        .uid(uid)
        .gid(gid)
        .exec();
    Err(error)
}
