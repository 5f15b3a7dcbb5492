//! The fake GitHub as a process of its own, for tests that are not written in Rust.
//!
//! `github-fake [--port N] [--organization LOGIN | --enterprise SLUG | --repository OWNER/NAME] [--app ID]
//! [--group NAME]... [--base-path /api/v3] --key FILE`
//!
//! It writes the App's fresh private key to FILE, says `listening on http://...` on the first line of standard output, and
//! ends when its standard input does: with 1, and what was wrong on standard error, if a request or an answer broke
//! GitHub's description. What goes wrong on demand is told under `/_fake/` (`github/control.rs`).

use std::io::{Read, Write};
use std::process::ExitCode;

use muster_tests::github::{FakeGithub, FakeOwner, FakeSetup};

const USAGE: &str = "github-fake [--port N] [--organization LOGIN | --enterprise SLUG | --repository OWNER/NAME] \
    [--app ID] [--group NAME]... [--base-path /api/v3] --key FILE";

fn read_arguments() -> Option<(FakeSetup, u16, String)> {
    let mut setup = FakeSetup::new(FakeOwner::Organization("acme".to_owned()));
    let (mut port, mut key) = (0, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--port" => port = value.parse().ok()?,
            "--organization" => setup.owner = FakeOwner::Organization(value),
            "--enterprise" => setup.owner = FakeOwner::Enterprise(value),
            "--repository" => setup.owner = FakeOwner::Repository(value),
            "--app" => setup.apps = vec![value.parse().ok()?],
            "--group" => setup.groups.push(value),
            "--base-path" => setup.base_path = value,
            "--key" => key = Some(value),
            _ => return None,
        }
    }
    Some((setup, port, key?))
}

fn main() -> ExitCode {
    let Some((setup, port, key)) = read_arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let app = setup.apps[0];
    let fake = FakeGithub::start_on(setup, port);
    if let Err(error) = std::fs::write(&key, fake.key(app)) {
        eprintln!("{key}: {error}");
        return ExitCode::from(2);
    }
    let said = writeln!(std::io::stdout(), "listening on {}", fake.url());
    // Whoever started it has gone if nobody reads or writes any more.
    let _ = said.and_then(|()| std::io::stdin().read_to_end(&mut Vec::new()));
    let wrong = fake.world().take_wrong();
    for wrong in &wrong {
        eprintln!("{wrong}");
    }
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
