//! What a pool gives its runners and their jobs beyond what their image has: `[pool.runner]`.
//!
//! What lives here: the values, and what none of them may be. They travel to the agent beside the runner configuration
//! (`protocol.rs`), and the agent judges them once more by the same rules. What may not: how a machine is made ready.
//!
//! Invariant: no value is a secret. Every job sees all of them, and so does whoever reads the configuration.

use std::collections::BTreeMap;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use super::diagnostic::join;
use super::limits::{
    CA_BYTES_MAX, DOCKER_MIRRORS_MAX, NO_PROXY_MAX, OPTION_CHARS_MAX, VARIABLE_NAME_CHARS_MAX, VARIABLES_BYTES_MAX,
    VARIABLES_MAX,
};
use super::market::Os;
use super::wording::quote;

/// Variables that have a key of their own, or that would change how the agent starts the runner.
const RESERVED: [(&str, &str); 5] = [
    ("ACTIONS_RUNNER_INPUT_", "remove it: the agent gives the runner its configuration"),
    ("ACTIONS_RUNNER_HOOK_", "write hook_job_started or hook_job_completed instead"),
    ("ACTIONS_RUNNER_RETURN_", "remove it: the agent reads the runner's exit codes"),
    ("LD_", "remove it, or set it in a step: it would change the agent's own start of the runner"),
    ("DYLD_", "remove it, or set it in a step: it would change the agent's own start of the runner"),
];
/// Variables of the proxy, in any case of letters.
const OF_PROXY: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// A pool's `[pool.runner]`. What is absent is as the image has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunnerOptions {
    /// The pool's `max_job_hours`: after so many hours the agent ends a job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_job_hours: Option<u32>,
    /// A script on the image that runs before each job's first step, as the runner's user: an absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_job_started: Option<String>,
    /// The same after each job's last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook_job_completed: Option<String>,
    /// The proxy of the runner, its jobs and Docker's daemon: `http://HOST:PORT`, without user or password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Hosts that are reached without it, besides loopback and the metadata service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub no_proxy: Vec<String>,
    /// Authorities that runner and jobs trust besides the system's: certificates in PEM form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_ca: Option<String>,
    /// Variables of the runner's environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Where Docker's daemon keeps images and containers: an absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_data_root: Option<String>,
    /// Mirrors that Docker's daemon pulls images from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub docker_mirrors: Vec<String>,
}

/// Why a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadOption {
    /// Its key in `[pool.runner]`, such as `no_proxy[1]`.
    pub key: String,
    /// What is wrong. Never the text of what may be a secret.
    pub message: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl RunnerOptions {
    /// Everything in it that cannot be used on this system.
    pub fn bad(&self, os: Os) -> Vec<BadOption> {
        let mut bad = Bad(Vec::new());
        for (key, hook) in
            [("hook_job_started", &self.hook_job_started), ("hook_job_completed", &self.hook_job_completed)]
        {
            bad.judge(key, hook.as_deref().and_then(|path| hook_problem(path, os)));
        }
        bad.judge("proxy", self.proxy.as_deref().and_then(|url| address_problem(url, PROXY_REMEDY)));
        self.judge_no_proxy(&mut bad);
        bad.judge("extra_ca", self.extra_ca.as_deref().and_then(|pem| ca_problem(pem, os)));
        self.judge_environment(&mut bad);
        self.judge_docker(os, &mut bad);
        bad.0
    }

    fn judge_no_proxy(&self, bad: &mut Bad) {
        if self.proxy.is_none() && !self.no_proxy.is_empty() {
            bad.add("no_proxy", "there is no proxy that hosts could be reached without", "add `proxy`, or remove it");
        }
        if self.no_proxy.len() > NO_PROXY_MAX {
            let message = format!("{} hosts; at most {NO_PROXY_MAX}", self.no_proxy.len());
            bad.add("no_proxy", message, "name domains (.acme.example) instead of hosts");
        }
        for (i, host) in self.no_proxy.iter().enumerate() {
            let good = |c: char| c.is_ascii_alphanumeric() || ".-_:/*".contains(c);
            if host.is_empty() || host.len() > OPTION_CHARS_MAX || !host.chars().all(good) {
                let message = format!("{} is neither a host, a domain nor a network", quote(host));
                bad.add(
                    format!("no_proxy[{i}]"),
                    message,
                    "write door.acme.example, .acme.example or 10.0.0.0/8, one each",
                );
            }
        }
    }

    fn judge_environment(&self, bad: &mut Bad) {
        let bytes: usize = self.environment.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.environment.len() > VARIABLES_MAX || bytes > VARIABLES_BYTES_MAX {
            let message = format!(
                "{} variables of {bytes} bytes; at most {VARIABLES_MAX} and {VARIABLES_BYTES_MAX}",
                self.environment.len()
            );
            bad.add("environment", message, "put what is long into a file of the image, and name the file");
        }
        for (name, value) in &self.environment {
            bad.judge(join("environment", name), variable_problem(name, value));
        }
    }

    fn judge_docker(&self, os: Os, bad: &mut Bad) {
        let linux_only = ("is for Linux: Docker's daemon is on no other image", "remove it");
        let elsewhere = os != Os::Linux;
        if let Some(path) = &self.docker_data_root {
            let problem = if elsewhere { Some(linux_only) } else { folder_problem(path) };
            bad.judge("docker_data_root", problem);
        }
        if elsewhere && !self.docker_mirrors.is_empty() {
            bad.judge("docker_mirrors", Some(linux_only));
        }
        if self.docker_mirrors.len() > DOCKER_MIRRORS_MAX {
            let message = format!("{} mirrors; at most {DOCKER_MIRRORS_MAX}", self.docker_mirrors.len());
            bad.add("docker_mirrors", message, "keep the nearest ones: Docker asks them one after another");
        }
        for (i, mirror) in self.docker_mirrors.iter().enumerate() {
            bad.judge(format!("docker_mirrors[{i}]"), address_problem(mirror, MIRROR_REMEDY));
        }
    }

    /// Names of variables that look as if their values were secrets.
    pub(super) fn looks_secret(&self) -> impl Iterator<Item = &str> {
        const TELLING: [&str; 6] = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY"];
        let telling = |name: &&String| TELLING.iter().any(|part| name.to_ascii_uppercase().contains(part));
        self.environment.keys().filter(telling).map(String::as_str)
    }
}

/// What is wrong with one value, and the remedy.
type Problem = (&'static str, &'static str);

struct Bad(Vec<BadOption>);

impl Bad {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>, remedy: &'static str) {
        self.0.push(BadOption { key: key.into(), message: message.into(), remedy });
    }

    fn judge(&mut self, key: impl Into<String>, problem: Option<Problem>) {
        if let Some((message, remedy)) = problem {
            self.add(key, format!("this {message}"), remedy);
        }
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= OPTION_CHARS_MAX && !text.chars().any(char::is_control)
}

/// What the runner takes for a hook (GitHub Docs, "Running scripts before or after a job").
fn hook_problem(path: &str, os: Os) -> Option<Problem> {
    let (absolute, remedy) = match os {
        Os::Windows => {
            let drive =
                path.get(..3).is_some_and(|d| d.ends_with(":\\") && d.starts_with(|c: char| c.is_ascii_alphabetic()));
            (drive, "write an absolute path on the image, such as C:\\muster\\job-started.ps1")
        }
        Os::Linux | Os::Macos => (
            path.starts_with('/'),
            "write an absolute path on the image, such as /usr/local/lib/muster/hooks/job-started.sh",
        ),
    };
    if !is_plain(path) || !absolute {
        return Some(("is no absolute path", remedy));
    }
    let script = [".sh", ".ps1"].iter().any(|ending| path.ends_with(ending));
    (!script).then_some(("is no script that a runner takes", "name a file that ends with .sh or .ps1"))
}

fn folder_problem(path: &str) -> Option<Problem> {
    let inside = |path: &str| path.split('/').any(|part| part == "..") || path.trim_end_matches('/').is_empty();
    (!is_plain(path) || !path.starts_with('/') || inside(path))
        .then_some(("is no folder of its own", "write an absolute path without `..`, such as /data/docker"))
}

const PROXY_REMEDY: &str = "write http://HOST:PORT; a proxy that asks for a password belongs to the image (`Proxy`)";
const MIRROR_REMEDY: &str = "write https://HOST, without a path; Docker takes no other";

/// A scheme, a host and a port, and nothing else.
fn address_problem(url: &str, remedy: &'static str) -> Option<Problem> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(authority) = rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest)) else {
        return Some(("does not begin with http:// or https://", remedy));
    };
    if authority.contains('@') {
        return Some(("holds a user or password, which every job could read", remedy));
    }
    let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((host, port)) => (host, port.parse::<u16>().is_ok_and(|port| port > 0)),
        None => (authority, true),
    };
    let named = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.');
    let by_6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match by_6 {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.starts_with(|c: char| c.is_ascii_alphanumeric()) && named(host),
    };
    (!is_plain(url) || !host || !port).then_some(("has more or less than a host and a port", remedy))
}

fn ca_problem(pem: &str, os: Os) -> Option<Problem> {
    const REMEDY: &str = "write certificates between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----";
    if os != Os::Linux {
        let remedy = "put the authorities into the image: elsewhere programs ask the system's store";
        return Some(("is for Linux", remedy));
    }
    if pem.contains("PRIVATE KEY") {
        return Some((
            "holds a private key, which every job could read",
            "remove the key, and replace it where it is used",
        ));
    }
    if pem.len() > CA_BYTES_MAX {
        return Some((
            "has more than 16 KiB",
            "keep the authorities that are needed; a whole bundle belongs to the image",
        ));
    }
    let mut certificates = 0;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let good = certificate.is_ok_and(|der| webpki::anchor_from_trusted_cert(&der).is_ok());
        if !good {
            return Some(("has a certificate that cannot be read", REMEDY));
        }
        certificates += 1;
    }
    (certificates == 0).then_some(("has no certificate in PEM form", REMEDY))
}

fn variable_problem(name: &str, value: &str) -> Option<Problem> {
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty()
        || name.len() > VARIABLE_NAME_CHARS_MAX
        || !name.chars().all(named)
        || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Some(("cannot be a variable's name", "use letters, digits and `_`, at most 128, and no digit first"));
    }
    if OF_PROXY.iter().any(|other| name.eq_ignore_ascii_case(other)) {
        return Some(("has a key of its own", "write `proxy` and `no_proxy` beside `environment` instead"));
    }
    if let Some((_, remedy)) = RESERVED.iter().find(|(start, _)| name.to_ascii_uppercase().starts_with(start)) {
        return Some(("is not a pool's to set", remedy));
    }
    if value.chars().any(char::is_control) {
        return Some(("holds a control character", "write it on one line"));
    }
    let authority = value.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    authority.is_some_and(|authority| authority.contains('@')).then_some((
        "holds a user or password, which every job could read",
        "leave it out, or give it to the jobs as a secret of GitHub's",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(options: &RunnerOptions, os: Os) -> Vec<String> {
        options.bad(os).into_iter().map(|bad| bad.key).collect()
    }

    #[test]
    fn addresses_have_a_host_and_a_port_and_nothing_else() {
        for good in ["http://proxy:3128", "https://a.b-c.example", "http://10.0.0.1:1/", "http://[fd00::1]:3128"] {
            assert_eq!(address_problem(good, ""), None, "{good}");
        }
        for bad in [
            "",
            "proxy:3128",
            "socks5://a:1",
            "http://",
            "http://a:0",
            "http://a:x",
            "http://a b",
            "http://a/path",
            "http://u@a:1",
            "http://[::g]:1",
            "http://-a:1",
            "http://a:1?x",
            "http://a:1:2",
        ] {
            assert!(address_problem(bad, "").is_some(), "{bad}");
        }
    }

    #[test]
    fn a_hook_is_a_script_of_its_system() {
        let with = |path: &str| RunnerOptions { hook_job_started: Some(path.to_owned()), ..RunnerOptions::default() };
        for (path, linux, windows) in [
            ("/a/b.sh", true, false),
            ("/a/b.ps1", true, false),
            ("C:\\a\\b.ps1", false, true),
            ("/a/b", false, false),
            ("a/b.sh", false, false),
            ("/a/b\n.sh", false, false),
            ("é:\\.sh", false, false),
        ] {
            assert_eq!(keys(&with(path), Os::Linux).is_empty(), linux, "{path:?}");
            assert_eq!(keys(&with(path), Os::Macos).is_empty(), linux, "{path:?}");
            assert_eq!(keys(&with(path), Os::Windows).is_empty(), windows, "{path:?}");
        }
    }

    #[test]
    fn limits_hold_for_sums_too() {
        let variables = |count: usize, bytes: usize| {
            let one = |i: usize| (format!("V{i:03}"), "x".repeat(bytes));
            RunnerOptions { environment: (0..count).map(one).collect(), ..RunnerOptions::default() }
        };
        assert_eq!(keys(&variables(VARIABLES_MAX, 1), Os::Linux), Vec::<String>::new());
        assert_eq!(keys(&variables(VARIABLES_MAX + 1, 1), Os::Linux), ["environment"]);
        assert_eq!(keys(&variables(2, VARIABLES_BYTES_MAX / 2), Os::Linux), ["environment"]);
    }
}
