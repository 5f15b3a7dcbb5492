//! The runner's process: started, watched, frozen and looked at, ended.
//!
//! `bin/Runner.Listener` is run itself: `run.sh` hides its exit codes. Its configuration is in its environment, never in an
//! argument or a file of ours.
//!
//! What lives here: the process and its signs. What may not: what a sign means for the machine.

mod log_tail;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use self::log_tail::LogTail;
use crate::host::{self, Launch, Output, Pen};
use crate::life::{Look, Sign};
use crate::settings::Settings;
use crate::signs;
use crate::words;

/// The name of a worker's process.
const WORKER: &str = "Runner.Worker";
/// What the runner's own helper waits for after an update (actions/runner, `run-helper.sh`), and for how long.
const UPDATED: &str = "update.finished";
const UPDATE_MAX: Duration = Duration::from_secs(30);
/// The exit codes of a listener that has begun to replace itself (actions/runner, `Constants.Runner.ReturnCode`).
const UPDATING: [i32; 2] = [3, 4];
/// Between two looks whether it stands still.
const FREEZING: Duration = Duration::from_millis(2);
/// The longest line that is kept of the runner's output.
const LINE_MAX: usize = 4096;
/// The most lines of it that are passed on to the journal.
const LINES_MAX: u32 = 1_000;
/// Where a runner looks for programs, unless the settings say otherwise.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A runner.
pub struct Running {
    child: Child,
    output: Output,
    rest: Vec<u8>,
    lines: u32,
    log: LogTail,
    pen: Box<dyn Pen>,
    listener: Option<u32>,
}

/// What happens to it.
pub enum Happening {
    /// It has shown these signs.
    Signs(Vec<Sign>),
    /// It has ended, with this code, after these signs.
    Exited(Vec<Sign>, Option<i32>),
}

/// Waits until a runner that has updated itself can be started again.
pub async fn updated(runner_dir: &Path) {
    let marker = runner_dir.join(UPDATED);
    let end = Instant::now() + UPDATE_MAX;
    while !marker.exists() && Instant::now() < end {
        sleep(Duration::from_millis(100)).await;
    }
    // It may belong to the former version.
    let _ = std::fs::remove_file(marker);
}

impl Running {
    /// Starts a runner with this configuration, and these variables beyond those that every runner has.
    ///
    /// # Errors
    /// The system refuses, or the runner's user is not there.
    pub fn start(settings: &Settings, variables: &BTreeMap<String, OsString>, config: &str) -> io::Result<Running> {
        let Launch { mut command, pen } = host::prepare(settings)?;
        let (reader, writer) = io::pipe()?;
        command.env("PATH", SEARCH).env("LANG", "C.UTF-8");
        #[cfg(target_os = "linux")]
        {
            let account = host::account(&settings.runner_user)?;
            command.env("HOME", account.home).env("USER", &account.name).env("LOGNAME", &account.name);
        }
        command.envs(variables);
        command.env("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE", "1");
        command.env("ACTIONS_RUNNER_INPUT_JITCONFIG", config);
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let log = LogTail::new(settings.runner_dir.join("_diag"));
        let child = Command::from(command).spawn()?;
        let listener = child.id();
        Ok(Running { child, output: Output::new(reader)?, rest: Vec::new(), lines: 0, log, pen, listener })
    }

    /// Waits for what happens next.
    pub async fn happens(&mut self) -> Happening {
        tokio::select! {
            () = self.output.ready() => Happening::Signs(self.look()),
            status = self.child.wait() => {
                let code = status.ok().and_then(|status| status.code());
                let signs = self.look();
                // A job may have left processes behind; an update goes on when the listener has ended.
                if !code.is_some_and(|code| UPDATING.contains(&code)) {
                    let _ = self.pen.thaw();
                    let _ = self.pen.kill();
                }
                Happening::Exited(signs, code)
            }
        }
    }

    /// Every sign that there is at this moment and was not told yet.
    pub fn look(&mut self) -> Vec<Sign> {
        let mut signs: Vec<Sign> = self.log.lines().iter().filter_map(|line| signs::of_log(line)).collect();
        self.rest.extend(self.output.drain());
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.rest[..end]).trim_end().to_owned();
            self.rest.drain(..=end);
            signs.extend(signs::of_output(&line));
            if !line.is_empty() && self.lines < LINES_MAX {
                self.lines += 1;
                words::log(&format!("runner: {}", line.chars().take(300).collect::<String>()));
            }
        }
        if self.rest.len() > LINE_MAX {
            self.rest.clear();
        }
        if self.others().iter().any(|name| name == WORKER) {
            signs.push(Sign::Worker);
        }
        signs
    }

    /// The names of all processes in the pen but the listener.
    fn others(&self) -> Vec<String> {
        let all = self.pen.processes().unwrap_or_default();
        all.into_iter().filter(|process| Some(process.id) != self.listener).map(|process| process.name).collect()
    }

    /// Freezes it, and looks.
    pub async fn freeze(&mut self, patience: Duration) -> (Vec<Sign>, Look) {
        let end = Instant::now() + patience;
        let mut frozen = self.pen.freeze().is_ok();
        while frozen && !self.pen.is_frozen().unwrap_or(false) {
            frozen = Instant::now() < end;
            sleep(FREEZING).await;
        }
        let signs = self.look();
        let others = self.pen.processes().map_or(true, |all| all.iter().any(|one| Some(one.id) != self.listener));
        (signs, Look { frozen, others, unread: self.pen.unread() })
    }

    /// Lets it run.
    pub fn thaw(&self) {
        if let Err(e) = self.pen.thaw() {
            words::log(&format!("the runner cannot be thawed: {e}"));
        }
    }

    /// Ends it and all its processes.
    pub async fn kill(mut self) {
        if self.pen.kill().is_err() {
            let _ = self.child.start_kill();
        }
        let _ = self.child.wait().await;
    }
}
