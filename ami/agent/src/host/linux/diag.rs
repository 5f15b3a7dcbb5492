//! The runner's folder `_diag`, for an agent that is root and reads in it.
//!
//! The folder is the runner's user's, who can put anything there at any moment. So nothing is named by a path beyond the
//! runner's own folder: each name is opened below the folder that is open, no link is followed, nothing is waited for, and
//! what was opened must be a plain file of that user's. A file of anybody else is none of the runner's, however it came
//! there (as a hard link, by a folder that was moved).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;

/// So many entries are looked at: a job can make millions of them.
const ENTRIES_MAX: usize = 4_096;
const NO_LINK: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK);

/// The folder, opened.
pub struct Diag {
    folder: OwnedFd,
    owner: u32,
}

impl Diag {
    /// Of the runner in this folder, whose user has this number.
    ///
    /// # Errors
    /// It is not there, or is no folder.
    pub fn open(runner_dir: &Path, owner: u32) -> io::Result<Diag> {
        let folder = NO_LINK | OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let runner = open(runner_dir, folder, Mode::empty())?;
        Ok(Diag { folder: openat(&runner, "_diag", folder, Mode::empty())?, owner })
    }

    /// What is in it, by name: the first so many entries.
    ///
    /// # Errors
    /// The system's.
    pub fn names(&self) -> io::Result<Vec<String>> {
        // The very folder that is open, whatever has its name by now.
        let entries = fs::read_dir(format!("/proc/self/fd/{}", self.folder.as_raw_fd()))?;
        Ok(entries.take(ENTRIES_MAX).flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// It is no plain file of the runner's user, or cannot be read.
    pub fn file(&self, name: &str) -> io::Result<File> {
        let file = File::from(openat(&self.folder, name, NO_LINK | OFlag::O_RDONLY, Mode::empty())?);
        let about = file.metadata()?;
        let theirs = std::os::unix::fs::MetadataExt::uid(&about) == self.owner;
        if about.is_file() && theirs { Ok(file) } else { Err(io::Error::other("it is no plain file of the runner's")) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn me() -> u32 {
        nix::unistd::getuid().as_raw()
    }

    fn runner() -> tempfile::TempDir {
        let runner = tempfile::tempdir().unwrap();
        fs::create_dir(runner.path().join("_diag")).unwrap();
        fs::write(runner.path().join("_diag/Worker_1.log"), "of the job\n").unwrap();
        fs::write(runner.path().join("secret"), "root's\n").unwrap();
        runner
    }

    #[test]
    fn plain_files_are_read() {
        let runner = runner();
        let diag = Diag::open(runner.path(), me()).unwrap();
        assert_eq!(diag.names().unwrap(), ["Worker_1.log"]);
        let mut text = String::new();
        diag.file("Worker_1.log").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "of the job\n");
    }

    #[test]
    fn links_pipes_folders_and_ways_out_are_not() {
        let runner = runner();
        let folder = runner.path().join("_diag");
        symlink(runner.path().join("secret"), folder.join("Worker_2.log")).unwrap();
        symlink("Worker_1.log", folder.join("Worker_3.log")).unwrap();
        nix::unistd::mkfifo(&folder.join("Worker_4.log"), Mode::S_IRWXU).unwrap();
        fs::create_dir(folder.join("Worker_5.log")).unwrap();
        let diag = Diag::open(runner.path(), me()).unwrap();
        assert_eq!(diag.names().unwrap().len(), 5);
        for name in ["Worker_2.log", "Worker_3.log", "Worker_4.log", "Worker_5.log"] {
            assert!(diag.file(name).is_err(), "{name}");
        }
    }

    /// A hard link to a file of another user's, or a folder of another user's that was moved there.
    #[test]
    fn files_of_others_are_not_read() {
        let runner = runner();
        let diag = Diag::open(runner.path(), me() + 1).unwrap();
        assert!(diag.file("Worker_1.log").is_err());
    }

    #[test]
    fn the_folder_itself_may_be_no_link_and_cannot_be_put_in_its_place_later() {
        let (runner, elsewhere) = (runner(), tempfile::tempdir().unwrap());
        fs::write(elsewhere.path().join("Worker_1.log"), "root's\n").unwrap();
        let diag = Diag::open(runner.path(), me()).unwrap();
        let folder = runner.path().join("_diag");
        fs::rename(&folder, runner.path().join("moved")).unwrap();
        symlink(elsewhere.path(), &folder).unwrap();
        assert!(Diag::open(runner.path(), me()).is_err());
        let mut text = String::new();
        diag.file("Worker_1.log").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "of the job\n", "the folder that was opened");
    }
}
