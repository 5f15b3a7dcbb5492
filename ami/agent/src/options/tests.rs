//! What a pool gives, on a machine that is a folder.

use tempfile::TempDir;

use super::*;

const AUTHORITY: &str = include_str!("../../../../tests/configs/authority.pem");

struct Machine {
    folder: TempDir,
    settings: Settings,
}

impl Machine {
    /// With Docker, and an image's authorities.
    fn new() -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("docker")).unwrap();
        fs::write(path("system.pem"), "the system's").unwrap();
        fs::write(path("image.pem"), "the image's\n\n").unwrap();
        fs::write(path("hook.sh"), "").unwrap();
        let mut settings = Settings {
            pool_dir: path("pool"),
            docker_config: path("docker/daemon.json"),
            docker_reload: vec!["touch".to_owned(), path("reloaded").display().to_string()],
            extra_ca: Some(path("image.pem")),
            ..Settings::default()
        };
        settings.environment.insert("SSL_CERT_FILE".to_owned(), path("system.pem").display().to_string());
        Machine { folder, settings }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn daemon(&self) -> Value {
        serde_json::from_str(&self.text("docker/daemon.json")).unwrap()
    }

    async fn apply(&self, options: &RunnerOptions) -> BTreeMap<String, OsString> {
        apply(options, &self.settings).await.unwrap()
    }

    async fn refuses(&self, options: &RunnerOptions) -> String {
        apply(options, &self.settings).await.unwrap_err().to_string()
    }
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[tokio::test]
async fn without_options_all_is_as_the_image_has_it() {
    let mut machine = Machine::new();
    machine.settings.hook_job_started = Some(PathBuf::from("/image/hook.sh"));
    machine.settings.environment = [("PIP_INDEX_URL".to_owned(), "https://image".to_owned())].into();
    let variables = machine.apply(&RunnerOptions::default()).await;
    let expected = [("ACTIONS_RUNNER_HOOK_JOB_STARTED", "/image/hook.sh"), ("PIP_INDEX_URL", "https://image")];
    assert_eq!(variables, expected.map(|(name, value)| (name.to_owned(), OsString::from(value))).into());
    for name in ["pool", "docker/daemon.json", "reloaded"] {
        assert!(!machine.path(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn the_pool_comes_before_the_image() {
    let mut machine = Machine::new();
    let of_image = [("http_proxy", "http://image:1"), ("no_proxy", "a"), ("GOPROXY", "https://image"), ("KEPT", "1")];
    machine.settings.environment = of_image.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    machine.settings.hook_job_started = Some(PathBuf::from("/image/hook.sh"));
    machine.settings.hook_job_completed = Some(PathBuf::from("/image/done.sh"));
    let hook = machine.path("hook.sh").display().to_string();
    let options = RunnerOptions {
        proxy: text("http://pool:3128"),
        no_proxy: vec![".acme.example".to_owned()],
        environment: [("GOPROXY".to_owned(), "https://pool".to_owned())].into(),
        hook_job_started: Some(hook.clone()),
        ..RunnerOptions::default()
    };
    let variables = machine.apply(&options).await;
    for (name, value) in [
        ("http_proxy", "http://pool:3128"),
        ("https_proxy", "http://pool:3128"),
        ("HTTP_PROXY", "http://pool:3128"),
        ("HTTPS_PROXY", "http://pool:3128"),
        ("no_proxy", "localhost,127.0.0.1,::1,169.254.169.254,fd00:ec2::254,.acme.example"),
        ("NO_PROXY", "localhost,127.0.0.1,::1,169.254.169.254,fd00:ec2::254,.acme.example"),
        ("GOPROXY", "https://pool"),
        ("KEPT", "1"),
        ("ACTIONS_RUNNER_HOOK_JOB_STARTED", &hook),
        ("ACTIONS_RUNNER_HOOK_JOB_COMPLETED", "/image/done.sh"),
    ] {
        assert_eq!(variables.get(name), Some(&OsString::from(value)), "{name}");
    }
    assert_eq!(variables.len(), 10, "{variables:?}");
}

#[tokio::test]
async fn authorities_are_added_to_the_systems_and_all_may_read_them() {
    use std::os::unix::fs::PermissionsExt;

    let machine = Machine::new();
    let options = RunnerOptions { extra_ca: text(AUTHORITY), ..RunnerOptions::default() };
    let variables = machine.apply(&options).await;
    let (bundle, extra) = (machine.path("pool/ca-bundle.pem"), machine.path("pool/ca-extra.pem"));
    for name in BUNDLE_VARIABLES {
        assert_eq!(variables.get(name), Some(&bundle.clone().into_os_string()), "{name}");
    }
    assert_eq!(variables.get("NODE_EXTRA_CA_CERTS"), Some(&extra.clone().into_os_string()));
    assert_eq!(machine.text("pool/ca-bundle.pem"), format!("the system's\nthe image's\n{AUTHORITY}"));
    assert_eq!(machine.text("pool/ca-extra.pem"), format!("the image's\n{AUTHORITY}"));
    for (path, mode) in [(machine.path("pool"), 0o755), (bundle, 0o644), (extra, 0o644)] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode, "{}", path.display());
    }
}

#[tokio::test]
async fn docker_is_told_once_and_keeps_what_the_image_says() {
    let machine = Machine::new();
    fs::write(machine.path("docker/daemon.json"), r#"{"log-driver": "local", "data-root": "/image"}"#).unwrap();
    let options = RunnerOptions {
        docker_data_root: text("/data/docker"),
        docker_mirrors: vec!["https://mirror.acme.example".to_owned()],
        proxy: text("http://pool:3128"),
        ..RunnerOptions::default()
    };
    machine.apply(&options).await;
    let without = "localhost,127.0.0.1,::1,169.254.169.254,fd00:ec2::254";
    let expected = json!({
        "log-driver": "local",
        "data-root": "/data/docker",
        "registry-mirrors": ["https://mirror.acme.example"],
        "proxies": { "http-proxy": "http://pool:3128", "https-proxy": "http://pool:3128", "no-proxy": without },
    });
    assert_eq!(machine.daemon(), expected);
    assert!(machine.path("reloaded").exists());
    // The next session of the same machine.
    fs::remove_file(machine.path("reloaded")).unwrap();
    machine.apply(&options).await;
    assert_eq!((machine.daemon(), machine.path("reloaded").exists()), (expected, false));
}

#[tokio::test]
async fn an_image_without_docker_has_nothing_to_be_told() {
    let machine = Machine::new();
    fs::remove_dir(machine.path("docker")).unwrap();
    machine.apply(&RunnerOptions { docker_data_root: text("/data/docker"), ..RunnerOptions::default() }).await;
    assert!(!machine.path("docker").exists() && !machine.path("reloaded").exists());
}

#[tokio::test]
async fn what_cannot_be_given_is_told_with_its_place_and_remedy() {
    let mut machine = Machine::new();
    let with_hook = |path: &str| RunnerOptions { hook_job_completed: text(path), ..RunnerOptions::default() };
    let missing = machine.path("none.sh").display().to_string();
    fs::create_dir(machine.path("folder.sh")).unwrap();
    let folder = machine.path("folder.sh").display().to_string();
    let docker = RunnerOptions { docker_data_root: text("/data/docker"), ..RunnerOptions::default() };
    let environment = |name: &str| RunnerOptions {
        environment: [(name.to_owned(), String::new())].into(),
        ..RunnerOptions::default()
    };
    for (options, words) in [
        (with_hook(&missing), "`runner.hook_job_completed` of the pool"),
        (with_hook(&folder), "it is no file; put the script into the image"),
        (with_hook("none.sh"), "no absolute path"),
        (environment("LD_PRELOAD"), "`runner.environment.LD_PRELOAD` of the pool"),
        (environment("ACTIONS_RUNNER_INPUT_JITCONFIG"), "not a pool's to set"),
    ] {
        let said = machine.refuses(&options).await;
        assert!(said.contains(words), "{said}");
    }
    fs::write(machine.path("docker/daemon.json"), "{").unwrap();
    assert!(machine.refuses(&docker).await.contains("daemon.json: it is no JSON"));
    fs::write(machine.path("docker/daemon.json"), "[]").unwrap();
    assert!(machine.refuses(&docker).await.contains("it is no object; mend it in the image"));
    fs::remove_file(machine.path("docker/daemon.json")).unwrap();
    machine.settings.docker_reload = vec!["false".to_owned()];
    assert!(machine.refuses(&docker).await.contains("Docker does not take the pool's options: false"));
    machine.settings.environment.insert("SSL_CERT_FILE".to_owned(), missing);
    let authority = RunnerOptions { extra_ca: text(AUTHORITY), ..RunnerOptions::default() };
    assert!(machine.refuses(&authority).await.contains("none.sh cannot be read"));
}
