//! Warming: a machine that is to stand by reads what a job will need, so that the disk has it when it is started again.
//!
//! A volume that is made from a snapshot fetches each block when it is first read. What fails here costs time later, and is
//! told, no more.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::settings::Settings;
use crate::words;

/// How deep folders are followed.
const DEPTH_MAX: u32 = 40;

/// Warms this machine. Blocks.
pub fn warm(settings: &Settings) {
    let mut buffer = vec![0; 1 << 18];
    match read_all(&settings.runner_dir, &mut buffer, DEPTH_MAX) {
        Ok(bytes) => words::log(&format!("warm: {} MB of the runner are read", bytes >> 20)),
        Err(e) => words::log(&format!("warm: {} cannot be read: {e}", settings.runner_dir.display())),
    }
    for image in &settings.warm_images {
        let mut docker = Command::new("docker");
        docker.args(["pull", "--quiet", image]).stdin(Stdio::null()).stdout(Stdio::null());
        match docker.status() {
            Ok(status) if status.success() => {}
            Ok(status) => words::log(&format!("warm: docker pull {image}: {status}")),
            Err(e) => words::log(&format!("warm: docker cannot be run: {e}")),
        }
    }
}

fn read_all(folder: &Path, buffer: &mut [u8], depth: u32) -> io::Result<u64> {
    let mut bytes = 0;
    if depth == 0 {
        return Ok(bytes);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            bytes += read_all(&entry.path(), buffer, depth - 1)?;
        } else if kind.is_file() {
            let mut file = File::open(entry.path())?;
            loop {
                match file.read(buffer)? {
                    0 => break,
                    read => bytes += read as u64,
                }
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::write(folder.path().join("bin/a"), [1; 1000]).unwrap();
        fs::write(folder.path().join("b"), [1; 24]).unwrap();
        assert_eq!(read_all(folder.path(), &mut [0; 100], DEPTH_MAX).unwrap(), 1_024);
    }
}
