//! `muster-agent check`: whether this machine has what the agent needs. An image's test phase asks.

use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;

use crate::clock::Clock;
use crate::http;
use crate::metadata::Metadata;
use crate::settings::Settings;

/// One thing that is needed: its name, and what is there or what is wrong.
pub type Finding = (&'static str, Result<String, String>);

/// Looks at everything.
pub async fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = system(settings);
    findings.push(("runner", runner(&settings.runner_dir)));
    findings.push(("metadata service", metadata(settings).await));
    findings.push((
        "door's client",
        http::door(settings).map(|_| "TLS can be set up".to_owned()).map_err(|e| e.to_string()),
    ));
    findings
}

async fn metadata(settings: &Settings) -> Result<String, String> {
    let client = http::metadata().map_err(|e| e.to_string())?;
    let metadata = Metadata::new(client, &settings.metadata, Rc::new(Clock::default()));
    let instance = metadata.reach().await.map_err(|e| e.to_string())?;
    Ok(format!("this is {}", instance.trim()))
}

fn runner(runner_dir: &Path) -> Result<String, String> {
    let listener = runner_dir.join("bin").join(if cfg!(windows) { "Runner.Listener.exe" } else { "Runner.Listener" });
    let mut command = Command::new(&listener);
    // It refuses to run as root, and it need not: a version is told to anybody.
    command.arg("--version").current_dir(runner_dir).env("RUNNER_ALLOW_RUNASROOT", "1").stdin(Stdio::null());
    let out = command.output().map_err(|e| format!("{} cannot be run: {e}", listener.display()))?;
    let version = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    let looks_right = out.status.success() && version.chars().next().is_some_and(|c| c.is_ascii_digit());
    match looks_right {
        true => Ok(format!("version {version} in {}", runner_dir.display())),
        false => Err(format!("{} --version: {}, {version:?}", listener.display(), out.status)),
    }
}

#[cfg(target_os = "linux")]
fn system(settings: &Settings) -> Vec<Finding> {
    use crate::host;

    let text = |e: std::io::Error| e.to_string();
    let user = host::account(&settings.runner_user).map(|a| format!("{} is {}:{}", a.name, a.uid, a.gid)).map_err(text);
    let group = host::cgroup2().map(|path| path.display().to_string()).map_err(text);
    let mut nft = Command::new("nft");
    nft.arg("--version").env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").stdin(Stdio::null());
    let nft = match (settings.firewall, nft.output()) {
        (false, _) => Ok("not used: `firewall` is off".to_owned()),
        (true, Ok(out)) if out.status.success() => Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned()),
        (true, Ok(out)) => Err(format!("nft --version: {}", out.status)),
        (true, Err(e)) => Err(format!("nft cannot be run: {e}; install nftables")),
    };
    let root = match nix::unistd::Uid::effective().is_root() {
        true => Ok("yes".to_owned()),
        false => Err("the agent must run as root".to_owned()),
    };
    vec![("root", root), ("user", user), ("cgroup2", group), ("nftables", nft)]
}

#[cfg(not(target_os = "linux"))]
fn system(_settings: &Settings) -> Vec<Finding> {
    Vec::new()
}
