//! The runner's output: a pipe of which everything can be had that was written before this moment.

use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe::Receiver;

/// The most that is read at once: a runner that writes without end does not stop us from doing anything else.
const BYTES_MAX: usize = 1 << 20;

/// The reading end, twice: one to be woken by, and one that does not believe what it was told of readiness.
pub struct Output {
    wakes: Receiver,
    pipe: PipeReader,
    ended: bool,
}

impl Output {
    /// Of this pipe.
    ///
    /// # Errors
    /// The system refuses.
    pub fn new(pipe: PipeReader) -> io::Result<Output> {
        let wakes = Receiver::from_owned_fd(OwnedFd::from(pipe.try_clone()?))?;
        Ok(Output { wakes, pipe, ended: false })
    }

    /// Comes back when there is something to read.
    pub async fn ready(&mut self) {
        if self.ended || self.wakes.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// All that is there now.
    pub fn drain(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.read(&mut all, |output, buffer| output.wakes.try_read(buffer));
        // Both have one state in the kernel, and that does not block.
        self.read(&mut all, |output, buffer| output.pipe.read(buffer));
        all
    }

    fn read(&mut self, all: &mut Vec<u8>, read: fn(&mut Output, &mut [u8]) -> io::Result<usize>) {
        let mut buffer = [0; 4096];
        while !self.ended && all.len() < BYTES_MAX {
            match read(self, &mut buffer) {
                Ok(0) => self.ended = true,
                Ok(read) => all.extend_from_slice(&buffer[..read]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }
}
