//! A program under test: run to its end, or kept running and listened to.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::until;

/// Names a folder, if there is one, in which what programs print is kept: CI searches it for secrets.
const PRINTED: &str = "MUSTER_TEST_PRINTED";
/// A program that still runs after this long hangs.
const ENDS_WITHIN: Duration = Duration::from_secs(180);

/// A program, with what it is started with every time.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    environment: Vec<(String, String)>,
}

/// What a program has left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// All of standard output.
    pub out: String,
    /// All of standard error.
    pub err: String,
}

impl Answer {
    /// Standard output, line by line, each a JSON document.
    ///
    /// # Panics
    /// If one is not.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(parse).collect()
    }

    /// Standard output, which is one JSON document on one line.
    ///
    /// # Panics
    /// If it is anything else.
    pub fn json(&self) -> serde_json::Value {
        let mut lines = self.json_lines();
        assert_eq!(lines.len(), 1, "one line of JSON, not {:?}; {}", self.out, self.err);
        lines.remove(0)
    }
}

impl Program {
    /// The program at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Program {
        Program { path: path.into(), environment: Vec::new() }
    }

    /// With an environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Program {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(&self, arguments: &[impl AsRef<OsStr>]) -> Running {
        Running::of(&mut self.command(arguments), &self.path)
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// If it cannot be started, or hangs.
    pub fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Answer {
        self.start(arguments).wait(ENDS_WITHIN)
    }
}

/// One stream of a running program, as far as it was read.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

impl Heard {
    fn text(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, stream: Option<impl Read + Send + 'static>) -> JoinHandle<()> {
        let heard = self.clone();
        thread::spawn(move || {
            let Some(stream) = stream else { return };
            let mut lines = BufReader::new(stream);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                heard.text().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        })
    }
}

/// A program that runs. It is killed when this is dropped.
pub struct Running {
    child: Child,
    out: Heard,
    err: Heard,
    listeners: Vec<JoinHandle<()>>,
}

impl Running {
    fn of(command: &mut Command, path: &Path) -> Running {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (out, err) = (Heard::default(), Heard::default());
        let listeners = vec![out.listen(child.stdout.take()), err.listen(child.stderr.take())];
        Running { child, out, err, listeners }
    }

    /// Standard output so far.
    pub fn out(&self) -> String {
        self.out.text().clone()
    }

    /// Standard error so far.
    pub fn err(&self) -> String {
        self.err.text().clone()
    }

    /// Waits until the first line of standard output is there, and gives it.
    ///
    /// # Panics
    /// If it does not come in time, or the program ends first.
    pub fn first_line(&mut self, within: Duration) -> String {
        until("the first line of standard output", within, || {
            if let Some((line, _)) = self.out.text().split_once('\n') {
                return Some(line.to_owned());
            }
            let ended = self.child.try_wait().ok().flatten();
            assert!(ended.is_none(), "it ended ({ended:?}) and said: {}", self.err());
            None
        })
    }

    /// Sends a signal by its name, such as `TERM`.
    ///
    /// # Panics
    /// If the system has no `sh`.
    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let told = Command::new("sh").args(["-c", &kill]).status();
        assert!(told.is_ok_and(|status| status.success()), "{kill}");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not come in time.
    pub fn wait(mut self, within: Duration) -> Answer {
        let began = Instant::now();
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked how it is") {
                break status;
            }
            assert!(began.elapsed() < within, "it still runs after {within:?}: {}", self.err());
            thread::sleep(Duration::from_millis(2));
        };
        self.told(status.code())
    }

    /// Ends it at once, as a crash would, and gives what it had said.
    pub fn kill(mut self) -> Answer {
        // It may have ended by itself.
        let _ = self.child.kill();
        let code = self.child.wait().ok().and_then(|status| status.code());
        self.told(code)
    }

    fn told(&mut self, code: Option<i32>) -> Answer {
        for listener in self.listeners.drain(..) {
            // A listener only reads: it does not panic.
            let _ = listener.join();
        }
        Answer { code, out: self.out(), err: self.err() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(folder) = std::env::var_os(PRINTED) {
            keep(Path::new(&folder), self.child.id(), &[self.out(), self.err()]);
        }
    }
}

/// Keeps what a program has printed, in a file of its own.
fn keep(folder: &Path, child: u32, printed: &[String]) {
    let file = folder.join(format!("{}-{child}", std::process::id()));
    // Whoever asked for it makes sure that the folder is there.
    std::fs::write(&file, printed.concat()).unwrap_or_else(|error| panic!("{PRINTED}: {}: {error}", file.display()));
}
