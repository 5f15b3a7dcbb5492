//! The runner, as listener and as worker.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio, exit};
use std::thread::sleep;
use std::time::{Duration, Instant};

const CONFIG: &str = "ACTIONS_RUNNER_INPUT_JITCONFIG";

pub(crate) fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let name = arguments[0].rsplit('/').next().unwrap_or_default();
    match (name, arguments.get(1).map(String::as_str)) {
        (_, Some("--version")) => say("2.330.0"),
        ("Runner.Listener", Some("run")) => Listener::begin().listen(),
        ("Runner.Listener", Some("forked")) => forked(&arguments[2..]),
        ("Runner.Worker", _) => worker(&arguments[1..]),
        _ => exit(64),
    }
}

fn say(line: &str) {
    // Whoever has closed the pipe does not listen.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn folder() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."))
}

/// So many milliseconds, or until there is a file `go`.
fn wait(ms: Option<&str>) {
    let end = Instant::now() + Duration::from_millis(ms.and_then(|text| text.parse().ok()).unwrap_or(0));
    let go = folder().join("go");
    while Instant::now() < end && !go.exists() {
        sleep(end.saturating_duration_since(Instant::now()).min(Duration::from_millis(10)));
    }
}

fn log(kind: &str, text: &str) {
    // A full disk is no reason to stop.
    let path = folder().join("_diag").join(format!("{kind}_20261122-100000-utc.log"));
    if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path) {
        let _ = writeln!(file, "[2026-11-22 10:00:00Z INFO StandIn] {text}");
    }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().any(|field| field == "0"))
}

struct Listener {
    registration: String,
    to: TcpStream,
    from: BufReader<TcpStream>,
    /// It writes nothing of a job.
    mute: bool,
}

impl Listener {
    fn begin() -> Listener {
        if is_root() {
            say("Must not run interactively with sudo");
            exit(1);
        }
        let config = std::env::var(CONFIG).unwrap_or_default();
        let Some((address, registration)) = config.split_once('/') else { exit(1) };
        // As the real one does: what is left of its configuration is the runner's user's to read.
        let _ = std::fs::write(folder().join(".credentials"), &config);
        let to = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(_) => sleep(Duration::from_millis(50)),
            }
        };
        let Ok(from) = to.try_clone() else { exit(1) };
        Listener { registration: registration.to_owned(), to, from: BufReader::new(from), mute: false }
    }

    fn ask(&mut self, what: &str) -> Vec<String> {
        let mut line = String::new();
        let sent = writeln!(self.to, "{what} {}", self.registration);
        if sent.is_err() || self.from.read_line(&mut line).unwrap_or(0) == 0 {
            exit(1);
        }
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn listen(mut self) {
        match self.ask("connect")[0].as_str() {
            "conflict" => {
                say("A session for this runner already exists.");
                exit(5);
            }
            "gone" => {
                say("The runner registration has been deleted from the server.");
                exit(0);
            }
            "deprecated" => {
                say("Runner version v2.330.0 is deprecated and cannot receive messages.");
                exit(7);
            }
            "broken" => exit(1),
            "mute" => self.mute = true,
            _ => {}
        }
        say("\n√ Connected to GitHub\n\nCurrent runner version: '2.330.0'");
        say("2026-11-22 10:00:00Z: Listening for Jobs");
        let mut messages = 0;
        loop {
            let told = self.ask("poll");
            if told[0] != "none" && !self.mute {
                messages += 1;
                log("Runner", &format!("Message '{messages}' received from session 'c0ffee'."));
            }
            match told[0].as_str() {
                "job" => {
                    self.ask("got");
                    if self.job(&told[1..]) {
                        exit(0);
                    }
                }
                "gone" => {
                    log("Runner", "Runner deleted from the server. Deleting Runner Session...");
                    exit(0);
                }
                "refresh" => log("Runner", "Received ForceTokenRefreshMessage"),
                "update" => update(),
                _ => {}
            }
        }
    }

    /// Whether it ran.
    fn job(&mut self, gaps: &[String]) -> bool {
        let gap = |index: usize| gaps.get(index).map(String::as_str);
        wait(gap(0));
        let job = self.ask("acquire");
        if job[0] != "ok" {
            log("Runner", "Skipping message Job. Job not found");
            return false;
        }
        wait(gap(1));
        if !self.mute {
            log("Runner", "One time used runner received job message.");
            say("2026-11-22 10:00:01Z: Running job: build");
        }
        let mut child = Command::new("/proc/self/exe");
        child.arg0(folder().join("bin/Runner.Listener")).arg("forked").arg(gap(2).unwrap_or("0")).args(&job[1..]);
        let worked = child.env_remove(CONFIG).stdin(Stdio::null()).status().is_ok_and(|status| status.success());
        let result = if worked { "Succeeded" } else { "Failed" };
        self.ask(&format!("done {result}"));
        say(&format!("2026-11-22 10:00:02Z: Job build completed with result: {result}"));
        true
    }
}

/// A child that is not the worker yet. Its name is the listener's.
fn forked(arguments: &[String]) {
    // The kernel names a process for the file that it was started from.
    let _ = std::fs::write("/proc/self/comm", "Runner.Listener");
    wait(arguments.first().map(String::as_str));
    let error = Command::new(folder().join("bin/Runner.Worker")).args(&arguments[1..]).exec();
    say(&format!("no worker: {error}"));
    exit(1);
}

/// A job: it takes so many milliseconds, and runs a script if one is named.
fn worker(arguments: &[String]) {
    log("Worker", "Job message received");
    let hook = |name: &str| {
        let path = std::env::var(name).ok()?;
        Some(Command::new("/bin/sh").arg("-e").arg(path).stdin(Stdio::null()).status())
    };
    hook("ACTIONS_RUNNER_HOOK_JOB_STARTED");
    wait(arguments.first().map(String::as_str));
    let mut good = true;
    if let Some(script) = arguments.get(1) {
        good = Command::new("/bin/sh").arg(script).stdin(Stdio::null()).status().is_ok_and(|status| status.success());
    }
    hook("ACTIONS_RUNNER_HOOK_JOB_COMPLETED");
    exit(i32::from(!good));
}

/// Replaces itself: a script goes on when the listener has ended, and says when it is done.
fn update() {
    let script = format!("sleep 0.2; echo 1 > {}/update.finished", folder().display());
    let _ = Command::new("/bin/sh").arg("-c").arg(script).stdin(Stdio::null()).spawn();
    say("Runner update in progress, do not shutdown runner.");
    exit(3);
}
