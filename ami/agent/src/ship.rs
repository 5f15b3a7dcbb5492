//! The runner's logs leave a machine whose job is over, before it ends.
//!
//! What lives here: which files of `_diag`, how much of them, and for how long it is tried. What may not: waiting for it.
//! Nothing of it is anybody's condition: what fails is told in the journal, and goes with the machine.
//!
//! Invariants: no file is read but through [`host::Diag`], and nothing is sent but to an address that the door has given.
//! A log is in memory in pieces, never as a whole: the agent's memory is the job's loss.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::time::Duration;

use muster_core::config::limits::LOG_MIB_MAX;
use muster_core::log_shelf::{FILES_MAX, LogKind};
use muster_core::protocol::{LogRequest, SessionProof};
use reqwest::Body;
use tokio::io::AsyncReadExt as _;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use crate::clock::Clock;
use crate::door::Door;
use crate::host;
use crate::life::Answer;
use crate::settings::Settings;
use crate::words;

/// All of it is over after this long. The machine is ended from outside in about as much time as a rule.
pub const SHIP_WITHIN: Duration = Duration::from_secs(20);
/// The most of one file that is sent: the door never takes more.
const BYTES_MAX: u64 = (LOG_MIB_MAX as u64) << 20;
/// So much of a file is read at once.
const PIECE: usize = 32 << 10;

/// One log.
struct Log {
    kind: LogKind,
    number: u32,
    file: File,
    bytes: u64,
}

/// Puts what there is where the door says, within [`SHIP_WITHIN`].
pub async fn ship(door: Door, from: SessionProof, settings: Settings, clock: &Clock) {
    in_time(all(door, from, settings, clock)).await;
}

async fn in_time(work: impl Future<Output = u32>) {
    match timeout(SHIP_WITHIN, work).await {
        Ok(0) => {}
        Ok(kept) => words::log(&format!("{kept} of the runner's logs are kept")),
        Err(_) => words::log("the runner's logs are not all kept: it took too long"),
    }
}

async fn all(door: Door, from: SessionProof, settings: Settings, clock: &Clock) -> u32 {
    let found = spawn_blocking(move || find(&host::diag(&settings.runner_dir, &settings.runner_user)?)).await;
    match found.unwrap_or_else(|_| Err(io::Error::other("the reader has died"))) {
        Ok(logs) => put(logs, &door, &from, clock).await,
        Err(e) => {
            words::log(&format!("the runner's logs cannot be read: {e}"));
            0
        }
    }
}

/// Puts one after another, and counts them.
async fn put(logs: Vec<Log>, door: &Door, from: &SessionProof, clock: &Clock) -> u32 {
    let mut kept = 0;
    for log in logs {
        let Log { kind, number, file, bytes } = log;
        let to = match door.log(&LogRequest { from: from.clone(), kind, number, bytes }, clock).await {
            Ok(to) => to,
            Err(not_taken) => {
                words::log(&not_taken.why);
                match not_taken.answer {
                    // It keeps none, or none of ours.
                    Answer::Final(_) => break,
                    Answer::Claimed { .. } | Answer::Heard { .. } | Answer::Early(_) | Answer::Unavailable(_) => {
                        continue;
                    }
                }
            }
        };
        let granted = to.bytes.min(BYTES_MAX);
        let found = spawn_blocking(move || seek_end(file, granted)).await;
        let sent = match found.unwrap_or_else(|_| Err(io::Error::other("the reader has died"))) {
            Ok(file) => door.put(to, end(file, granted)).await,
            Err(e) => Err(e.to_string()),
        };
        match sent {
            Ok(()) => kept += 1,
            Err(why) => words::log(&format!("{} log {number} is not kept: {why}", kind.as_str())),
        }
    }
    kept
}

/// The latest logs of each kind that are not empty, the job's first.
fn find(diag: &host::Diag) -> io::Result<Vec<Log>> {
    let mut names = diag.names()?;
    // The names have the time in them: the last are the newest.
    names.sort_unstable_by(|a, b| b.cmp(a));
    let mut logs = Vec::new();
    for (kind, start) in [(LogKind::Worker, "Worker_"), (LogKind::Runner, "Runner_")] {
        let ours = names.iter().filter(|name| name.starts_with(start) && name.ends_with(".log"));
        let opened = ours.filter_map(|name| {
            let file = diag.file(name).ok()?;
            let bytes = file.metadata().ok()?.len().min(BYTES_MAX);
            (bytes > 0).then_some((file, bytes))
        });
        logs.extend((1..=FILES_MAX).zip(opened).map(|(number, (file, bytes))| Log { kind, number, file, bytes }));
    }
    Ok(logs)
}

/// The file, before its last so many bytes. It may have grown.
fn seek_end(mut file: File, bytes: u64) -> io::Result<File> {
    let from = file.metadata()?.len().checked_sub(bytes);
    file.seek(SeekFrom::Start(from.ok_or_else(|| io::Error::other("it has become shorter"))?))?;
    Ok(file)
}

/// So many bytes of a file from where it stands. A file that turns out to be shorter breaks the put off, since its length is
/// among the headers that the door has signed.
fn end(file: File, bytes: u64) -> Body {
    Body::wrap_stream(ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(bytes), PIECE))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
