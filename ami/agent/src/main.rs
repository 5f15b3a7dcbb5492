//! `muster-agent`: what a machine of a fleet runs. See the library.

use std::io::Write;
use std::process::ExitCode;

use muster_agent::settings::Settings;
use muster_agent::{check, shell, words};

const USAGE: &str = "muster-agent, for machines of a Muster fleet

    muster-agent run      live this machine's life: claim, run one job, end the machine (as root)
    muster-agent check    say whether this machine has what that needs; exit code 1 if not
    muster-agent version  say the version

Settings: /etc/muster/agent.toml, or the file that MUSTER_AGENT_SETTINGS names.
";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let texts: Vec<_> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    match texts.as_slice() {
        ["run"] => with_settings(run),
        ["check"] => with_settings(look),
        ["version" | "--version"] => {
            print(concat!("muster-agent ", env!("CARGO_PKG_VERSION"), "\n"), ExitCode::SUCCESS)
        }
        ["help" | "--help" | "-h"] => print(USAGE, ExitCode::SUCCESS),
        // What the agent calls itself with, on the way to the runner.
        #[cfg(target_os = "linux")]
        ["launch", _, uid, gid, processes_max, _] => {
            let error = muster_agent::host::launch(&arguments[1], (uid, gid), processes_max, &arguments[5]);
            words::log(&format!("the runner cannot be started: {error}"));
            ExitCode::from(1)
        }
        _ => {
            words::log("there is no such command; `muster-agent help` says which there are");
            ExitCode::from(2)
        }
    }
}

fn print(text: &str, code: ExitCode) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    code
}

fn with_settings(then: fn(&tokio::runtime::Runtime, Settings) -> anyhow::Result<ExitCode>) -> ExitCode {
    let done = Settings::read().map_err(anyhow::Error::from).and_then(|settings| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        then(&runtime, settings)
    });
    done.unwrap_or_else(|error| {
        words::log(&format!("{error:#}"));
        ExitCode::from(2)
    })
}

fn run(runtime: &tokio::runtime::Runtime, settings: Settings) -> anyhow::Result<ExitCode> {
    #[cfg(target_os = "linux")]
    // Nobody but root reads our memory, whatever its owner.
    nix::sys::prctl::set_dumpable(false)?;
    runtime.block_on(tokio::task::LocalSet::new().run_until(shell::run(settings)))?;
    Ok(ExitCode::SUCCESS)
}

fn look(runtime: &tokio::runtime::Runtime, settings: Settings) -> anyhow::Result<ExitCode> {
    let findings = runtime.block_on(check::check(&settings));
    let good = findings.iter().all(|(_, found)| found.is_ok());
    for (what, found) in findings {
        let line = match found {
            Ok(text) => format!("ok    {what}: {text}\n"),
            Err(text) => format!("FAIL  {what}: {text}\n"),
        };
        print(&line, ExitCode::SUCCESS);
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
