//! A fleet in a folder of its own: configuration, secret, ledger, and `muster serve` on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_tests::{Answer, JobDelivery, Program, Running, sign, until};
use reqwest::RequestBuilder;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that should be there at once, on a machine with other work.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// The webhook secret that fleets begin with.
pub(crate) const SECRET: &str = "first-planted-secret-4f1d";

/// A configuration under which every recorded job has a class.
pub(crate) const SERVES_RECORDED: &str = r#"
[github]
organization = "octo-org"
webhook_secrets = ["file:webhook.secret"]
[[github.app]]
id = 1
private_key = "file:app.pem"
[fleet]
name = "recorded"
max_runners = 8
[[pool]]
name = "hosted-like"
os = "linux"
arch = "x64"
labels = ["ubuntu-latest"]
repositories = ["*"]
public_repositories = true
[pool.sizes.cpu-2]
instance_types = ["c7i.large"]
[[pool]]
name = "gpu"
os = "linux"
arch = "x64"
labels = ["gpu", "db-app", "dc-03"]
repositories = ["*"]
[pool.sizes.cpu-8]
instance_types = ["g6.2xlarge"]
[[pool]]
name = "k8s"
os = "linux"
arch = "x64"
labels = ["self-hosted", "k8s"]
repositories = ["*"]
public_repositories = true
[pool.sizes.cpu-2]
instance_types = ["c7i.large"]
"#;

/// `muster`, as Cargo has just built it.
pub(crate) fn muster() -> Program {
    Program::at(env!("CARGO_BIN_EXE_muster"))
}

/// A folder with a configuration and its secrets, for commands that read them.
pub(crate) fn folder(text: &str, key: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("muster.toml"), text).unwrap();
    fs::write(folder.path().join("webhook.secret"), SECRET).unwrap();
    fs::write(folder.path().join("app.pem"), key).unwrap();
    folder
}

/// A folder with a configuration and a secret, and what grows in it.
pub(crate) struct Fleet {
    folder: TempDir,
    program: Program,
}

impl Fleet {
    /// With this configuration, whose webhook secret is `file:webhook.secret` or `env:MUSTER_WEBHOOK_SECRET`.
    pub(crate) fn new(config: &str) -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("webhook.secret"), SECRET).unwrap();
        let fleet = Fleet { folder, program: muster().with("MUSTER_WEBHOOK_SECRET", SECRET) };
        fleet.write_config(config);
        fleet
    }

    /// With an environment variable for every program it starts.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Fleet {
        self.program = self.program.with(name, value);
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn shown(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    pub(crate) fn write_config(&self, text: &str) {
        self.replace("muster.toml", text);
    }

    /// Replaces a file at once, as editors and deployments do: nobody reads half of it.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let new = self.file(&format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.file(name)).unwrap();
    }

    fn serve_arguments(&self) -> Vec<String> {
        let mut arguments = vec!["serve".to_owned()];
        for (flag, value) in [
            ("--config", self.shown("muster.toml")),
            ("--db", self.shown("muster.sqlite")),
            ("--listen", "127.0.0.1:0".to_owned()),
            ("--cloud", "sim".to_owned()),
            ("--emf", self.shown("emf.jsonl")),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments
    }

    /// Starts `muster serve` and waits until it listens.
    pub(crate) fn serve(&self) -> Server {
        let mut running = self.program.start(&self.serve_arguments());
        let line = running.first_line(SOON);
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("the first line is {line:?}"));
        let address = url.strip_prefix("http://").and_then(|address| address.parse::<std::net::SocketAddr>().ok());
        assert!(address.is_some_and(|address| address.ip().is_loopback() && address.port() != 0), "{url}");
        Server { running, door: Door::new(url) }
    }

    /// Runs `muster serve` where it should not start.
    pub(crate) fn serve_in_vain(&self) -> Answer {
        self.program.run(&self.serve_arguments())
    }

    /// Runs a command with `--db`.
    pub(crate) fn on_ledger(&self, command: &str, more: &[&str]) -> Answer {
        let mut arguments = vec![command.to_owned(), "--db".to_owned(), self.shown("muster.sqlite")];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        self.program.run(&arguments)
    }

    /// The ledger's jobs, in its order.
    pub(crate) fn ledger(&self) -> Vec<Value> {
        let answer = self.on_ledger("ledger", &["--json"]);
        assert_eq!(answer.code, Some(0), "{}", answer.err);
        answer.json_lines()
    }

    /// One job of the ledger.
    pub(crate) fn job(&self, job: i64) -> Option<Value> {
        self.ledger().into_iter().find(|entry| entry["job_id"] == job)
    }
}

/// A running `muster serve`.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) door: Door,
}

impl Server {
    /// Ends it as a service manager does, and checks that it ends well and in time.
    pub(crate) fn end(self) -> Answer {
        self.running.signal("TERM");
        let answer = self.running.wait(Duration::from_secs(10));
        assert_eq!(answer.code, Some(0), "{}", answer.err);
        assert_eq!(answer.out.lines().count(), 1, "only one line on standard output: {}", answer.out);
        answer
    }

    /// The log so far, line by line.
    pub(crate) fn log(&self) -> Vec<Value> {
        log_lines(&self.running.err())
    }

    /// Waits for a line of the log.
    pub(crate) fn logged(&self, what: &str, mut is_it: impl FnMut(&Value) -> bool) -> Value {
        until(what, SOON, || self.log().into_iter().find(|line| is_it(line)))
    }
}

/// Log lines, of which each is a JSON document; one that is still being written is left out.
pub(crate) fn log_lines(err: &str) -> Vec<Value> {
    let whole = err.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: not a log line: {line}"));
    whole.lines().map(parse).collect()
}

/// Whether a log line tells of a launch for the pool.
pub(crate) fn is_launch_for(line: &Value, pool: &str) -> bool {
    let action = line["fields"]["action"].as_str().unwrap_or_default();
    line["target"] == "muster::plan" && action.starts_with("launch ") && action.contains(&format!(" x {pool}/"))
}

/// The way to a running door.
#[derive(Clone)]
pub(crate) struct Door {
    url: String,
    client: reqwest::Client,
}

impl Door {
    fn new(url: &str) -> Door {
        let client = reqwest::Client::builder().no_proxy().timeout(SOON * 2).build().unwrap();
        Door { url: url.to_owned(), client }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url))
    }

    /// A delivery as GitHub sends it, signed with `secret`.
    pub(crate) fn delivery(&self, event: &str, body: &str, secret: &str) -> RequestBuilder {
        self.post("/webhook")
            .header("content-type", "application/json")
            .header("x-github-event", event)
            .header("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
            .header("x-hub-signature-256", sign(secret.as_bytes(), body.as_bytes()))
            .body(body.to_owned())
    }

    /// Delivers, and gives status and answer.
    pub(crate) async fn deliver(&self, event: &str, body: &str) -> (u16, Value) {
        said(self.delivery(event, body, SECRET)).await
    }

    /// Delivers what happened to a job.
    pub(crate) async fn tell(&self, delivery: &JobDelivery) -> (u16, Value) {
        self.deliver("workflow_job", &delivery.body()).await
    }

    /// `GET /healthz`.
    pub(crate) async fn health(&self) -> (u16, Value) {
        said(self.get("/healthz")).await
    }
}

/// Sends a request, and gives status and JSON answer.
pub(crate) async fn said(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap();
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{status}, {error}: {body}")))
}
