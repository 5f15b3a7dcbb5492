//! Windows and others: enough to run one job. No freezer, so drains are refused; the firewall and the user are the image's to set up.

use std::io::{self, PipeReader, Read};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Launch, Pen, Process};
use crate::settings::Settings;

/// A pen that cannot be looked into.
struct OpenPen;

fn cannot() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "not on this system")
}

impl Pen for OpenPen {
    fn freeze(&self) -> io::Result<()> {
        Err(cannot())
    }

    fn is_frozen(&self) -> io::Result<bool> {
        Ok(false)
    }

    fn thaw(&self) -> io::Result<()> {
        Ok(())
    }

    fn kill(&self) -> io::Result<()> {
        Err(cannot())
    }

    fn processes(&self) -> io::Result<Vec<Process>> {
        Ok(Vec::new())
    }

    fn unread(&self) -> bool {
        false
    }
}

/// The runner's command. It runs as whoever runs the agent's service.
///
/// # Errors
/// None.
pub fn prepare(settings: &Settings) -> io::Result<Launch> {
    let runner_dir = &settings.runner_dir;
    let mut command = Command::new(runner_dir.join("bin").join(if cfg!(windows) {
        "Runner.Listener.exe"
    } else {
        "Runner.Listener"
    }));
    command.env_clear().arg("run").current_dir(runner_dir);
    // Without these not much runs on Windows.
    for name in ["SystemRoot", "PATH", "TEMP", "TMP", "USERPROFILE", "ProgramFiles", "ProgramData", "ComSpec"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    Ok(Launch { command, pen: Box::new(OpenPen) })
}

/// No runner outlives an agent here that could be told from others.
pub fn left_behind(_user: &str, _cgroup: &str) -> Option<Box<dyn Pen>> {
    None
}

/// # Errors
/// Always: it is the image's part here.
pub fn secure(_metadata: &str) -> io::Result<()> {
    Err(cannot())
}

/// Ends the machine.
pub fn power_off(settings: &Settings) {
    let usual = settings.power_off == Settings::default().power_off;
    let command: Vec<&str> = match usual {
        true if cfg!(windows) => vec!["shutdown", "/s", "/t", "0"],
        true => vec!["shutdown", "-h", "now"],
        false => settings.power_off.iter().map(String::as_str).collect(),
    };
    if let Some((program, arguments)) = command.split_first() {
        let _ = Command::new(program).args(arguments).status();
    }
}

/// The runner's output, read by a thread.
pub struct Output {
    blocks: UnboundedReceiver<Vec<u8>>,
    next: Vec<u8>,
}

impl Output {
    /// Of this pipe.
    ///
    /// # Errors
    /// None.
    pub fn new(mut pipe: PipeReader) -> io::Result<Output> {
        let (send, blocks) = unbounded_channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read) = pipe.read(&mut buffer) {
                if read == 0 || send.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Output { blocks, next: Vec::new() })
    }

    /// Comes back when there is something to read.
    pub async fn ready(&mut self) {
        match self.blocks.recv().await {
            Some(block) => self.next.extend(block),
            None => std::future::pending().await,
        }
    }

    /// All that is there now.
    pub fn drain(&mut self) -> Vec<u8> {
        while let Ok(block) = self.blocks.try_recv() {
            self.next.extend(block);
        }
        std::mem::take(&mut self.next)
    }
}

/// There is no systemd.
pub fn notify(_text: &str) {}

/// There is no systemd.
pub fn watchdog() -> Option<Duration> {
    None
}

/// A folder that is not read: there is no way here yet to be sure whose files they are.
pub struct Diag(());

impl Diag {
    /// # Errors
    /// Never.
    pub fn names(&self) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// # Errors
    /// Always.
    pub fn file(&self, _name: &str) -> io::Result<std::fs::File> {
        Err(cannot())
    }
}

/// # Errors
/// Never.
pub fn diag(_runner_dir: &Path, _user: &str) -> io::Result<Diag> {
    Ok(Diag(()))
}
