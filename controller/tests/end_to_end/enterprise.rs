//! A GitHub of an enterprise: TLS by an authority of its own, behind a proxy, and addresses other than github.com's.

use muster_tests::Answer;
use muster_tests::github::{ConnectProxy, FakeGithub, TlsFront};
use tempfile::TempDir;

use crate::doctor::healthy;
use crate::fleet::muster;

/// A GitHub that is reached at `host` only, under a path, through a proxy, by those who trust its authority.
struct Enterprise {
    _fake: FakeGithub,
    front: TlsFront,
    proxy: ConnectProxy,
    folder: TempDir,
}

impl Enterprise {
    fn at(host: &str, base_path: &str) -> Enterprise {
        let (fake, folder) = healthy(base_path, |_| format!("https://{host}{base_path}"));
        let front = TlsFront::start(&[host], fake.address());
        let proxy = ConnectProxy::start(&[(&format!("{host}:443"), front.address())]);
        std::fs::write(folder.path().join("authority.pem"), front.authority()).unwrap();
        Enterprise { _fake: fake, front, proxy, folder }
    }

    fn doctor(&self, environment: &[(&str, &str)]) -> Answer {
        let config = self.folder.path().join("muster.toml").display().to_string();
        let with = |program: muster_tests::Program, (name, value): &(&str, &str)| program.with(name, *value);
        let program = environment.iter().fold(muster(), with);
        program.run(&["doctor", "--config", &config, "--json", "--door", "https://muster.example"])
    }

    fn authority(&self) -> String {
        self.folder.path().join("authority.pem").display().to_string()
    }
}

/// What is not ok, but for AWS, which nobody asks here.
fn bad(answer: &Answer) -> Vec<String> {
    let found = answer.json();
    let bad = found.as_array().unwrap().iter().filter(|finding| finding["state"] == "not_ok");
    bad.map(ToString::to_string).collect()
}

#[test]
fn enterprise_server_and_ghe_com_are_reached_through_a_proxy_by_who_trusts_their_authority() {
    for (host, base_path) in [("ghe.example", "/api/v3"), ("api.acme.ghe.com", "")] {
        let enterprise = Enterprise::at(host, base_path);
        let (proxy, authority) = (enterprise.proxy.url(), enterprise.authority());
        let well = enterprise.doctor(&[("HTTPS_PROXY", &proxy), ("SSL_CERT_FILE", &authority)]);
        assert_eq!((well.code, bad(&well)), (Some(0), vec![]), "{host}: {} {}", well.out, well.err);
        let asked = enterprise.proxy.asked();
        let own = format!("{host}:443");
        assert!(!asked.is_empty() && asked.iter().all(|authority| *authority == own), "{asked:?}");

        let strange = bad(&enterprise.doctor(&[("HTTPS_PROXY", &proxy)]));
        assert!(strange.iter().any(|finding| finding.contains("SSL_CERT_FILE")), "{host}: {strange:?}");

        let before = enterprise.proxy.asked().len();
        let direct = enterprise.doctor(&[("HTTPS_PROXY", &proxy), ("NO_PROXY", host), ("SSL_CERT_FILE", &authority)]);
        assert_eq!((direct.code, enterprise.proxy.asked().len()), (Some(1), before), "{host}: nobody else knows it");
    }
}

#[test]
fn a_private_authority_needs_no_proxy() {
    let enterprise = Enterprise::at("localhost", "/api/v3");
    let port = enterprise.front.address().port();
    let config = enterprise.folder.path().join("muster.toml");
    let text =
        std::fs::read_to_string(&config).unwrap().replace("https://localhost/", &format!("https://localhost:{port}/"));
    std::fs::write(&config, text).unwrap();
    let well = enterprise.doctor(&[("SSL_CERT_FILE", &enterprise.authority())]);
    assert_eq!((well.code, bad(&well)), (Some(0), vec![]), "{} {}", well.out, well.err);
    assert_eq!(enterprise.doctor(&[]).code, Some(1));
}
