//! The operating system's part: a pen for the runner's processes, the firewall, users, the end of the machine.
//!
//! What lives here: the smallest port that the rest needs ([`Pen`]), and one implementation of everything for each system.
//! Linux is complete. Elsewhere (Windows; macOS in a pinch) a runner cannot be frozen, so every drain is refused there and
//! machines end by the free drain or by their lease.

use std::io;
use std::process::Command;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use self::linux::*;
#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
pub use self::other::*;

/// A process in a pen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// Its name, as the system has it (on Linux at most 15 characters of it).
    pub name: String,
}

/// What holds the runner and every process that comes of it. Nothing leaves it by its own doing.
pub trait Pen {
    /// Begins to freeze all of them.
    ///
    /// # Errors
    /// The system refuses, or cannot.
    fn freeze(&self) -> io::Result<()>;
    /// Whether all of them stand still.
    ///
    /// # Errors
    /// The system does not say.
    fn is_frozen(&self) -> io::Result<bool>;
    /// Lets them run.
    ///
    /// # Errors
    /// The system refuses.
    fn thaw(&self) -> io::Result<()>;
    /// Ends all of them, frozen or not.
    ///
    /// # Errors
    /// The system refuses.
    fn kill(&self) -> io::Result<()>;
    /// All of them.
    ///
    /// # Errors
    /// The system does not say.
    fn processes(&self) -> io::Result<Vec<Process>>;
    /// Whether bytes have arrived for one of them that it has not read.
    fn unread(&self) -> bool;
}

/// A command that starts the runner in its pen. Its environment is empty.
pub struct Launch {
    /// The command.
    pub command: Command,
    /// The pen.
    pub pen: Box<dyn Pen>,
}
