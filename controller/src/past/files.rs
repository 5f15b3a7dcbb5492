//! The files of a pull: the trace, and beside it, until that is whole, the runs that were read and how far the reading has come.
//!
//! Invariant: whenever the process ends, the state on disk is one that was whole, and the runs that it counts are all there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use muster_core::time::Timestamp;
use thiserror::Error;

use super::lines::{self, Run, Shown, Totals};
use super::{Pull, VERSION, Wanted};

/// The files of a pull are in the way of it, or in no state to go on from.
#[derive(Debug, Error)]
pub enum PullError {
    /// A file cannot be read or written.
    #[error("{path}: {source}; check the path and its disk")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is a trace already.
    #[error("{0} exists: remove it, or name another --out")]
    Exists(String),
    /// The state is another pull's.
    #[error(
        "{path} is of a pull of other things ({of}): ask for the same, name another --out, or remove it to begin anew"
    )]
    Another {
        /// The state.
        path: String,
        /// What is pulled there.
        of: String,
    },
    /// The state does not read, or what it counts is not there.
    #[error("{path} cannot be gone on from ({why}): remove it to begin anew")]
    Broken {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
}

/// Where a pull is written.
#[derive(Clone, Debug)]
pub struct Files {
    out: PathBuf,
    part: PathBuf,
    state: PathBuf,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> PullError {
    move |source| PullError::File { path: path.display().to_string(), source }
}

impl Files {
    /// The files of a trace that is to be at `out`: `out.part` and `out.state.json` are beside it.
    pub fn of(out: &Path) -> Files {
        let beside = |end: &str| {
            let mut name = out.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        Files { out: out.to_owned(), part: beside(".part"), state: beside(".state.json") }
    }

    /// How far an earlier pull of the same has come; a new one of the days before `now` if there was none.
    ///
    /// # Errors
    /// [`PullError`]: there is something else.
    pub fn begin(&self, wanted: Wanted, now: Timestamp) -> Result<Pull, PullError> {
        let shown = || self.state.display().to_string();
        let text = match fs::read(&self.state) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.out.exists() {
                    return Err(PullError::Exists(self.out.display().to_string()));
                }
                let pull = Pull::new(wanted, now);
                // What cannot be written had better be told before anything is asked.
                self.save(&pull)?;
                return Ok(pull);
            }
            Err(error) => return Err(failed(&self.state)(error)),
        };
        let broken = |why: String| PullError::Broken { path: shown(), why };
        let pull: Pull = serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        if pull.version != VERSION {
            return Err(broken(format!("it is of version {}", pull.version)));
        }
        if pull.wanted != wanted {
            let Wanted { owner, api_url, days, unpushed } = &pull.wanted;
            let all = if *unpushed { ", all repositories" } else { "" };
            return Err(PullError::Another { path: shown(), of: format!("{days} days of {owner} at {api_url}{all}") });
        }
        let there = match fs::metadata(&self.part) {
            Ok(part) => part.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed(&self.part)(error)),
        };
        if there < pull.kept {
            return Err(broken(format!("{} is cut short or gone", self.part.display())));
        }
        Ok(pull)
    }

    /// Appends runs to the `kept` bytes of those that were read before; gives how many bytes there are now.
    pub(super) fn keep(&self, runs: &[Run], kept: u64) -> Result<u64, PullError> {
        if runs.is_empty() {
            return Ok(kept);
        }
        let append = || -> io::Result<u64> {
            let mut part = OpenOptions::new().create(true).truncate(false).write(true).open(&self.part)?;
            // What is beyond was read after the last state: it is read again.
            part.set_len(kept)?;
            part.seek(SeekFrom::End(0))?;
            let mut lines = Vec::new();
            for run in runs {
                serde_json::to_writer(&mut lines, run)?;
                lines.push(b'\n');
            }
            part.write_all(&lines)?;
            part.sync_data()?;
            part.stream_position()
        };
        append().map_err(failed(&self.part))
    }

    /// Writes how far the pull has come, as a whole or not at all.
    pub(super) fn save(&self, pull: &Pull) -> Result<(), PullError> {
        replace(&self.state, |file| Ok(serde_json::to_writer(file, pull)?)).map_err(failed(&self.state))
    }

    /// Writes the trace of a pull that is whole, and removes what was beside it.
    ///
    /// # Errors
    /// [`PullError`].
    pub fn finish(&self, pull: &Pull, shown: Shown) -> Result<Totals, PullError> {
        let runs = self.read(pull.kept)?;
        let gzip = self.out.extension().is_some_and(|extension| extension == "gz");
        let written = replace(&self.out, |file| {
            if gzip {
                let mut packed = GzEncoder::new(file, Compression::default());
                let totals = lines::write(runs, pull.from, shown, &mut packed)?;
                packed.finish()?;
                Ok(totals)
            } else {
                lines::write(runs, pull.from, shown, file)
            }
        });
        let totals = written.map_err(failed(&self.out))?;
        for beside in [&self.state, &self.part] {
            match fs::remove_file(beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(beside)(error)),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(totals)
    }

    /// The runs of the first `kept` bytes.
    fn read(&self, kept: u64) -> Result<Vec<Run>, PullError> {
        if kept == 0 {
            return Ok(Vec::new());
        }
        let broken = |why: String| PullError::Broken { path: self.part.display().to_string(), why };
        let part = File::open(&self.part).map_err(failed(&self.part))?;
        let mut runs = Vec::new();
        for line in BufReader::new(io::Read::take(part, kept)).lines() {
            let line = line.map_err(failed(&self.part))?;
            runs.push(serde_json::from_str(&line).map_err(|error| broken(error.to_string()))?);
        }
        Ok(runs)
    }
}

/// Writes a file beside its place, and puts it there when it is whole.
fn replace<T>(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>) -> io::Result<T> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let beside = PathBuf::from(name);
    let mut file = BufWriter::new(File::create(&beside)?);
    let written = write(&mut file)?;
    file.flush()?;
    file.get_ref().sync_all()?;
    fs::rename(&beside, path)?;
    Ok(written)
}
