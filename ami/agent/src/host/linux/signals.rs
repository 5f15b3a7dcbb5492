//! A pen without control groups: all processes of the runner's user, stopped and ended by signals.
//!
//! It holds as long as the runner's user stays itself: a job with root leaves it.

use std::io;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::super::{Pen, Process};
use super::proc;
use super::user::Account;

/// How often new processes are looked for: one may have been forked between the look and the signal.
const ROUNDS: u32 = 20;

/// The pen.
pub(super) struct SignalPen {
    uid: u32,
}

impl SignalPen {
    pub(super) fn new(account: &Account) -> SignalPen {
        SignalPen { uid: account.uid }
    }

    fn send(&self, signal: Signal) {
        for process in proc::of_user(self.uid) {
            if let Ok(id) = i32::try_from(process.id) {
                // It may have ended by itself.
                let _ = kill(Pid::from_raw(id), signal);
            }
        }
    }
}

impl Pen for SignalPen {
    fn freeze(&self) -> io::Result<()> {
        for _ in 0..ROUNDS {
            self.send(Signal::SIGSTOP);
            if self.is_frozen()? {
                break;
            }
        }
        Ok(())
    }

    fn is_frozen(&self) -> io::Result<bool> {
        Ok(proc::of_user(self.uid).iter().all(|process| proc::is_stopped(process.id)))
    }

    fn thaw(&self) -> io::Result<()> {
        self.send(Signal::SIGCONT);
        Ok(())
    }

    fn kill(&self) -> io::Result<()> {
        for _ in 0..ROUNDS {
            self.send(Signal::SIGKILL);
        }
        Ok(())
    }

    fn processes(&self) -> io::Result<Vec<Process>> {
        Ok(proc::of_user(self.uid))
    }

    fn unread(&self) -> bool {
        proc::of_user(self.uid).iter().any(|process| proc::has_unread(process.id))
    }
}
