//! What a pool gives its runners (`[pool.runner]` in `muster.toml`), made ready on this machine before its runner starts.
//!
//! What lives here: the order in which the image's settings and the pool's options hold, the files that runner and jobs read,
//! and what Docker's daemon is told. What may not: what a value may be, which is judged here by the configuration's own rules.
//!
//! Invariant: a runner starts with all that its pool gives it or not at all: a hook or a proxy may be there for a reason.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use muster_core::config::{Os, RunnerOptions};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::settings::Settings;
use crate::words;

/// The variables of the runner (GitHub Docs, "Running scripts before or after a job").
const HOOK_STARTED: &str = "ACTIONS_RUNNER_HOOK_JOB_STARTED";
const HOOK_COMPLETED: &str = "ACTIONS_RUNNER_HOOK_JOB_COMPLETED";
/// Tools differ in which of these they look at.
const PROXY_VARIABLES: [&str; 4] = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];
const NO_PROXY_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];
/// What is never behind a proxy: loopback and the metadata service.
const NEVER_BY_PROXY: [&str; 5] = ["localhost", "127.0.0.1", "::1", "169.254.169.254", "fd00:ec2::254"];
/// Who takes a file of all authorities, instead of the system's: OpenSSL, and with it .NET and the runner, Ruby and PHP; curl;
/// Python's requests and pip; git; AWS's tools; cargo.
const BUNDLE_VARIABLES: [&str; 6] =
    ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO"];
/// Node has authorities of its own, and adds these.
const EXTRA_VARIABLE: &str = "NODE_EXTRA_CA_CERTS";
/// Where systems keep all authorities: Debian's and Ubuntu's, Amazon's and Red Hat's, others'.
const SYSTEM_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// For Docker's daemon to start anew.
const RELOAD_WITHIN: Duration = Duration::from_secs(30);

/// Makes everything ready, and says which variables the runner gets.
///
/// # Errors
/// The machine cannot give what the pool asks for; what, and the remedy.
pub async fn apply(options: &RunnerOptions, settings: &Settings) -> io::Result<BTreeMap<String, OsString>> {
    judge(options)?;
    let mut variables: BTreeMap<String, OsString> = BTreeMap::new();
    let mut set = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        variables.insert(name.to_owned(), value.as_ref().to_owned());
    };
    for (name, value) in &settings.environment {
        set(name, value);
    }
    if let Some(proxy) = &options.proxy {
        let except = without_proxy(options);
        PROXY_VARIABLES.iter().for_each(|name| set(name, proxy));
        NO_PROXY_VARIABLES.iter().for_each(|name| set(name, &except));
    }
    if let Some(pem) = &options.extra_ca {
        let (bundle, extra) = trust(pem, settings)?;
        BUNDLE_VARIABLES.iter().for_each(|name| set(name, &bundle));
        set(EXTRA_VARIABLE, &extra);
    }
    for (name, value) in &options.environment {
        set(name, value);
    }
    let hooks = [
        (HOOK_STARTED, "hook_job_started", &options.hook_job_started, &settings.hook_job_started),
        (HOOK_COMPLETED, "hook_job_completed", &options.hook_job_completed, &settings.hook_job_completed),
    ];
    for (name, key, pools, images) in hooks {
        match (pools, images) {
            (Some(path), _) => set(name, &hook(key, path)?),
            (None, Some(path)) => set(name, path),
            (None, None) => {}
        }
    }
    if configure_docker(options, &settings.docker_config)? {
        reload_docker(&settings.docker_reload).await?;
    }
    Ok(variables)
}

/// The door is believed, and what it says is judged all the same: between fork and exec a program of root's has these
/// variables.
fn judge(options: &RunnerOptions) -> io::Result<()> {
    let os = match std::env::consts::OS {
        "windows" => Os::Windows,
        "macos" => Os::Macos,
        _ => Os::Linux,
    };
    match options.bad(os).into_iter().next() {
        None => Ok(()),
        Some(bad) => {
            Err(io::Error::other(format!("`runner.{}` of the pool: {}; {}", bad.key, bad.message, bad.remedy)))
        }
    }
}

/// The runner fails each job whose hook is not there. Here it is known before a job is taken.
fn hook<'p>(key: &str, path: &'p str) -> io::Result<&'p Path> {
    let found = fs::metadata(path).map_err(|e| e.to_string());
    match found.and_then(|file| if file.is_file() { Ok(()) } else { Err("it is no file".to_owned()) }) {
        Ok(()) => Ok(Path::new(path)),
        Err(why) => {
            let remedy = "put the script into the image, or name one that is there";
            Err(io::Error::other(format!("`runner.{key}` of the pool: {path}: {why}; {remedy}")))
        }
    }
}

fn without_proxy(options: &RunnerOptions) -> String {
    let hosts = NEVER_BY_PROXY.iter().copied().chain(options.no_proxy.iter().map(String::as_str));
    hosts.collect::<Vec<_>>().join(",")
}

/// Files of all authorities, and of those that are not the system's.
fn trust(pem: &str, settings: &Settings) -> io::Result<(PathBuf, PathBuf)> {
    let named = settings.environment.get("SSL_CERT_FILE").map(PathBuf::from);
    let system = named.or_else(|| SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file()));
    let Some(system) = system else {
        return Err(io::Error::other(
            "`runner.extra_ca` of the pool: this system has no file of authorities to add it to; \
                                     install ca-certificates in the image",
        ));
    };
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|e| io::Error::other(format!("{} cannot be read: {e}", path.display())))
    };
    let mut extra = pem.trim_end().to_owned() + "\n";
    if let Some(path) = &settings.extra_ca {
        extra = read(path)?.trim_end().to_owned() + "\n" + &extra;
    }
    let all = read(&system)?.trim_end().to_owned() + "\n" + &extra;
    let file = |name: &str| settings.pool_dir.join(name);
    let files = (file("ca-bundle.pem"), file("ca-extra.pem"));
    open_folder(&settings.pool_dir)?;
    replace(&files.0, all.as_bytes())?;
    replace(&files.1, extra.as_bytes())?;
    Ok(files)
}

/// A folder of root's that all may read.
fn open_folder(folder: &Path) -> io::Result<()> {
    let made = fs::create_dir_all(folder);
    #[cfg(unix)]
    let made = made.and_then(|()| fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)));
    made.map_err(|e| io::Error::other(format!("`pool_dir` ({}) cannot be made: {e}", folder.display())))
}

/// Writes a file that all may read, as a whole or not at all.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = fs::File::create(&new)?;
        file.write_all(content)?;
        #[cfg(unix)]
        fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        fs::rename(&new, path)
    };
    write().map_err(|e| io::Error::other(format!("{} cannot be written: {e}", path.display())))
}

/// Tells Docker's daemon, if there is one, by its file; whether anything is new in it.
fn configure_docker(options: &RunnerOptions, path: &Path) -> io::Result<bool> {
    let asks = options.docker_data_root.is_some() || !options.docker_mirrors.is_empty();
    if !asks && options.proxy.is_none() {
        return Ok(false);
    }
    if !path.parent().is_some_and(Path::is_dir) {
        if asks {
            words::log("the pool has options for Docker, which this image has not");
        }
        return Ok(false);
    }
    let unusable = |why: String| io::Error::other(format!("{}: {why}; mend it in the image", path.display()));
    let before = match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|e| unusable(format!("it is no JSON: {e}")))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => json!({}),
        Err(e) => return Err(unusable(e.to_string())),
    };
    let Value::Object(mut daemon) = before.clone() else {
        return Err(unusable("it is no object".to_owned()));
    };
    // Names of dockerd(8), "daemon configuration file"; `proxies` since release 23.
    if let Some(root) = &options.docker_data_root {
        daemon.insert("data-root".to_owned(), json!(root));
    }
    if !options.docker_mirrors.is_empty() {
        daemon.insert("registry-mirrors".to_owned(), json!(options.docker_mirrors));
    }
    if let Some(proxy) = &options.proxy {
        let proxies = json!({ "http-proxy": proxy, "https-proxy": proxy, "no-proxy": without_proxy(options) });
        daemon.insert("proxies".to_owned(), proxies);
    }
    let after = Value::Object(daemon);
    if after == before {
        return Ok(false);
    }
    replace(path, format!("{after:#}\n").as_bytes())?;
    Ok(true)
}

/// A daemon that runs already (a machine that hibernated) reads its file only when it starts.
async fn reload_docker(command: &[String]) -> io::Result<()> {
    let failed = |why: String| io::Error::other(format!("Docker does not take the pool's options: {why}"));
    let [program, arguments @ ..] = command else { return Ok(()) };
    let mut reload = Command::new(program);
    reload.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match timeout(RELOAD_WITHIN, reload.status()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(format!("{program}: {status}"))),
        Ok(Err(e)) => Err(failed(format!("{program} cannot be run: {e}"))),
        Err(_) => Err(failed(format!("{program} took longer than {} s", RELOAD_WITHIN.as_secs()))),
    }
}

#[cfg(test)]
mod tests;
