//! A control group (version 2) as the runner's pen.
//!
//! It is made below the agent's own group, so that whoever ends the agent's unit ends the runner too, and belongs to root: a
//! process in it cannot leave it. No controller is used; freezing and killing are part of every group.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::{Pen, Process};
use super::proc;

/// A group.
pub struct CgroupPen {
    path: PathBuf,
}

/// Where version 2 is mounted, alone or beside version 1.
///
/// # Errors
/// It is not, or the system does not say.
pub fn cgroup2() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    // Fields before " - " are positional; the fifth is the mount point. After it comes the file system's type.
    let found = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4)).flatten()
    });
    found.map(PathBuf::from).ok_or_else(|| io::Error::other("cgroup2 is not mounted"))
}

impl CgroupPen {
    fn path(name: &str) -> io::Result<PathBuf> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        Ok(cgroup2()?.join(own).join(name))
    }

    /// An empty group of this name.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new(name: &str) -> io::Result<CgroupPen> {
        let path = CgroupPen::path(name)?;
        match fs::create_dir(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            Ok(()) | Err(_) => {}
        }
        let pen = CgroupPen { path };
        // Nothing of a former session is left to run beside this one's.
        pen.kill()?;
        pen.thaw()?;
        Ok(pen)
    }

    /// The group that a former agent has made.
    pub fn existing(name: &str) -> Option<CgroupPen> {
        let path = CgroupPen::path(name).ok()?;
        path.is_dir().then_some(CgroupPen { path })
    }

    /// The file to which a process writes itself in.
    pub fn entrance(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.path.join(file), text)
    }

    fn event(&self, name: &str) -> io::Result<bool> {
        let events = fs::read_to_string(self.path.join("cgroup.events"))?;
        Ok(events.lines().any(|line| line.strip_prefix(name).is_some_and(|value| value.trim() == "1")))
    }

    fn members(&self, path: &Path) -> io::Result<Vec<u32>> {
        let text = fs::read_to_string(path.join("cgroup.procs"))?;
        let mut all: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        // Only root could make groups below it; then they count too.
        for entry in fs::read_dir(path)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                all.extend(self.members(&entry.path()).unwrap_or_default());
            }
        }
        Ok(all)
    }
}

impl Pen for CgroupPen {
    fn freeze(&self) -> io::Result<()> {
        self.write("cgroup.freeze", "1")
    }

    fn is_frozen(&self) -> io::Result<bool> {
        self.event("frozen ")
    }

    fn thaw(&self) -> io::Result<()> {
        self.write("cgroup.freeze", "0")
    }

    fn kill(&self) -> io::Result<()> {
        self.write("cgroup.kill", "1")
    }

    fn processes(&self) -> io::Result<Vec<Process>> {
        Ok(self.members(&self.path)?.into_iter().filter_map(proc::process).collect())
    }

    fn unread(&self) -> bool {
        self.members(&self.path).is_ok_and(|ids| ids.into_iter().any(proc::has_unread))
    }
}

impl Drop for CgroupPen {
    fn drop(&mut self) {
        // Refused as long as somebody is in it.
        let _ = fs::remove_dir(&self.path);
    }
}
