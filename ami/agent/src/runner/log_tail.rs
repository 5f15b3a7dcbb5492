//! New lines of the runner's log, `_diag/Runner_*.log`.
//!
//! The folder is the runner's, and the agent is root: nothing but plain files is opened, no link is followed, and no more is
//! read than is of use. What is read decides about this machine only.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The most that is read of one file at once; what is beyond is skipped.
const BYTES_MAX: u64 = 1 << 20;
/// The most files that are looked at. A runner makes one for each start, and one for each 10 MB.
const FILES_MAX: usize = 64;

/// The log of one session. What is there already is a former session's.
pub(super) struct LogTail {
    folder: PathBuf,
    read: BTreeMap<PathBuf, u64>,
}

impl LogTail {
    pub(super) fn new(folder: PathBuf) -> LogTail {
        let mut tail = LogTail { folder, read: BTreeMap::new() };
        for path in tail.files() {
            let len = fs::symlink_metadata(&path).map_or(0, |file| file.len());
            tail.read.insert(path, len);
        }
        tail
    }

    fn files(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("Runner_")))
            .map(|entry| entry.path())
            .collect();
        files.sort();
        // The names have the time in them: the last are the newest.
        files.split_off(files.len().saturating_sub(FILES_MAX))
    }

    /// Whole lines that have come since.
    pub(super) fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for path in self.files() {
            let from = self.read.get(&path).copied().unwrap_or(0);
            if let Some((text, to)) = read_from(&path, from) {
                lines.extend(text.lines().map(str::to_owned));
                self.read.insert(path, to);
            }
        }
        lines
    }
}

/// The whole lines of a file beyond an offset, and the offset behind them.
fn read_from(path: &Path, from: u64) -> Option<(String, u64)> {
    let mut file = open(path)?;
    let about = file.metadata().ok()?;
    if !about.is_file() || about.len() <= from {
        return None;
    }
    let start = from.max(about.len().saturating_sub(BYTES_MAX));
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let end = bytes.iter().rposition(|byte| *byte == b'\n')? + 1;
    Some((String::from_utf8_lossy(&bytes[..end]).into_owned(), start + end as u64))
}

fn open(path: &Path) -> Option<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(target_os = "linux")]
    {
        use nix::fcntl::OFlag;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    }
    options.open(path).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_what_is_new_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("Runner_1-utc.log");
        fs::write(&path, "of a former session\n").unwrap();
        let mut tail = LogTail::new(folder.path().to_owned());
        assert!(tail.lines().is_empty());
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        write!(file, "one\ntw").unwrap();
        assert_eq!(tail.lines(), ["one"]);
        writeln!(file, "o").unwrap();
        fs::write(folder.path().join("Worker_1-utc.log"), "not ours\n").unwrap();
        fs::write(folder.path().join("Runner_2-utc.log"), "three\n").unwrap();
        assert_eq!(tail.lines(), ["two", "three"]);
        assert!(tail.lines().is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "root's\n").unwrap();
        let mut tail = LogTail::new(folder.path().to_owned());
        std::os::unix::fs::symlink(folder.path().join("secret"), folder.path().join("Runner_1-utc.log")).unwrap();
        assert!(tail.lines().is_empty());
        assert!(open(&folder.path().join("Runner_1-utc.log")).is_none());
    }
}
