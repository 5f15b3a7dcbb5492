//! What `/proc` says of processes and their sockets.

use std::fs;

use super::super::Process;

/// The process, if it lives.
pub(super) fn process(id: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let name = fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
    let state = state_of(&stat)?;
    // What has ended and was not waited for does nothing any more.
    (state != 'Z' && state != 'X').then(|| Process { id, name: name.trim_end().to_owned() })
}

/// The state's letter: after the name, which is in parentheses and may have any letter in it.
fn state_of(stat: &str) -> Option<char> {
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether a process stands still by a signal.
pub(super) fn is_stopped(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    state_of(&stat).is_none_or(|state| matches!(state, 'T' | 't' | 'Z' | 'X'))
}

/// All processes of a user.
pub(super) fn of_user(uid: u32) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let own = ids.filter(|id| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        uids.split_whitespace().any(|each| each.parse() == Ok(uid))
    });
    own.filter_map(process).collect()
}

/// Whether bytes wait in one of its connections.
pub(super) fn has_unread(id: u32) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{id}/fd")) else { return false };
    let inodes: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    ["tcp", "tcp6"].iter().any(|table| {
        let table = fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap_or_default();
        table.lines().any(|line| waits_in(line, &inodes))
    })
}

/// A line of `/proc/net/tcp`: number, local, remote, state, tx:rx, timer, retransmits, uid, timeout, inode (proc(5)).
fn waits_in(line: &str, inodes: &[String]) -> bool {
    const ESTABLISHED: &str = "01";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (Some(state), Some(queues), Some(inode)) = (fields.get(3), fields.get(4), fields.get(9)) else { return false };
    let waiting = queues.split_once(':').is_some_and(|(_, rx)| rx.chars().any(|digit| digit != '0'));
    *state == ESTABLISHED && waiting && inodes.iter().any(|own| own == inode)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn bytes_that_nobody_has_read_are_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        // Other tests of this process have sockets too: only that it becomes true is ours to say.
        ours.write_all(b"a job, perhaps").unwrap();
        let mut seen = false;
        for _ in 0..1_000 {
            seen = seen || has_unread(std::process::id());
        }
        assert!(seen);
        drop(theirs);
    }

    #[test]
    fn a_name_with_parentheses_hides_no_state() {
        assert_eq!(state_of("12 (a) S (b) T 1 2"), Some('T'));
        assert!(process(std::process::id()).is_some());
        assert!(!is_stopped(std::process::id()));
    }
}
