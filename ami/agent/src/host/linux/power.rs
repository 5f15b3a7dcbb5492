//! The end of the machine, and systemd's view of the agent.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};

use crate::settings::Settings;
use crate::words;

/// How long the service manager may take to switch the machine off before the kernel is told to.
const PATIENCE: Duration = Duration::from_secs(90);

/// Ends the machine. Blocks, and comes back only if the settings name another command than the usual one.
pub fn power_off(settings: &Settings) {
    let usual = settings.power_off == Settings::default().power_off;
    let (program, arguments) = match settings.power_off.split_first() {
        Some((program, arguments)) => (program.as_str(), arguments),
        None => ("true", &[][..]),
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    let asked = command.status();
    if !usual {
        return;
    }
    if asked.is_ok_and(|status| status.success()) {
        std::thread::sleep(PATIENCE);
    }
    words::log("the service manager does not switch the machine off: the kernel is asked to");
    nix::unistd::sync();
    let Err(e) = reboot(RebootMode::RB_POWER_OFF);
    words::log(&format!("the kernel does not switch the machine off: {e}"));
}

/// Tells systemd something (sd_notify(3)), if it wants to know.
pub fn notify(text: &str) {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    if let (Ok(socket), Ok(address)) = (UnixDatagram::unbound(), address) {
        // Whoever does not listen does not want to know.
        let _ = socket.send_to_addr(text.as_bytes(), &address);
    }
}

/// How often systemd wants to hear `WATCHDOG=1`: half of its limit.
pub fn watchdog() -> Option<Duration> {
    let limit: u64 = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (limit > 0).then(|| Duration::from_micros(limit / 2))
}
