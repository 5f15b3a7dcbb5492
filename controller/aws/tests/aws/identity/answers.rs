//! Answers that STS does not give, or not about an instance: none is believed.

use muster_core::identity::{IdentityError, VerifiedInstance};

use super::agent::Agent;
use super::sts::{Play, Sts, answer, error, good, result};
use super::{ACCOUNT, INSTANCE, ROLE, ROLE_ID, identity, now, refused, unavailable, verify};

fn agent() -> Agent {
    Agent::of_instance(INSTANCE)
}

fn play(play: Play) -> Result<VerifiedInstance, IdentityError> {
    verify(&identity(&Sts::start(play)), &agent().prove(now()))
}

fn says(status: u16, content_type: &'static str, body: String) -> Result<VerifiedInstance, IdentityError> {
    play(Play::Says { status, content_type, body })
}

/// With status 200 and as XML.
fn told(body: String) -> String {
    refused(says(200, "text/xml", body))
}

fn arn() -> String {
    format!("arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/{INSTANCE}")
}

fn user_id() -> String {
    format!("{ROLE_ID}:{INSTANCE}")
}

#[test]
fn the_expected_one_is_believed() {
    assert!(says(200, "text/xml", good(&agent())).is_ok());
    assert!(says(200, "text/xml; charset=utf-8", format!("<?xml version=\"1.0\"?>\n{}", good(&agent()))).is_ok());
}

#[test]
fn json_is_not() {
    let json = format!(
        "{{\"GetCallerIdentityResponse\":{{\"GetCallerIdentityResult\":{{\"Account\":\"{ACCOUNT}\",\"Arn\":\"{}\",\"UserId\":\"{}\"}}}}}}",
        arn(),
        user_id()
    );
    assert!(refused(says(200, "application/json", json.clone())).contains("not text/xml"));
    assert!(told(json).contains("not XML"));
    assert!(refused(says(200, "application/json", good(&agent()))).contains("not text/xml"));
}

#[test]
fn an_answer_that_reflects_somebodys_data_is_not() {
    // Another action whose answer carries text of the caller, with the expected answer inside.
    let inside = good(&agent());
    let reflecting = [
        format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">{inside}</AssumeRoleWithWebIdentityResponse>"
        ),
        format!("{{\"SubjectFromWebIdentityToken\":\"{inside}\"}}"),
        answer(&format!("{}<More>{inside}</More>", result(&arn(), &user_id(), ACCOUNT))),
        answer(&format!(
            "<GetCallerIdentityResult><x>{}</x></GetCallerIdentityResult>",
            result(&arn(), &user_id(), ACCOUNT)
        )),
        format!("{inside}{inside}"),
        format!("x{inside}"),
        inside.replace("<Arn>", "<Arn><!--").replace("</Arn>", &format!("-->{}</Arn>", arn())),
        inside.replace("<Account>", "<Account><b>").replace("</Account>", "</b></Account>"),
    ];
    for body in reflecting {
        told(body);
    }
}

#[test]
fn two_results_are_not() {
    let one = result(&arn(), &user_id(), ACCOUNT);
    assert!(told(answer(&format!("{one}{one}"))).contains("twice"));
    let twice = one.replace("<Account>", &format!("<Arn>{}</Arn><Account>", arn()));
    told(answer(&twice));
    told(answer(&one.replace(&format!("<Account>{ACCOUNT}</Account>"), &format!("<Arn>{}</Arn>", arn()))));
}

#[test]
fn a_huge_one_is_not() {
    let padding = " ".repeat(17_000);
    assert!(told(format!("{}{padding}", good(&agent()))).contains("too long"));
    let many = "<x/>".repeat(100);
    told(answer(&format!("{}{many}", result(&arn(), &user_id(), ACCOUNT))));
}

#[test]
fn documents_with_tricks_are_not() {
    let inside = good(&agent());
    for body in [
        format!("<!DOCTYPE a [<!ENTITY b \"c\">]>{inside}"),
        inside.replace("https://sts.amazonaws.com/doc/2011-06-15/", "https://sts.example/"),
        inside.replace(" xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"", ""),
        inside.replace("<GetCallerIdentityResult>", "<GetCallerIdentityResult xmlns=\"urn:x\">"),
        inside.replace("</GetCallerIdentityResponse>", ""),
        String::new(),
    ] {
        told(body);
    }
}

#[test]
fn one_that_is_at_odds_with_itself_is_not() {
    let of = |arn: &str, user_id: &str, account: &str| told(answer(&result(arn, user_id, account)));
    let odds = "at odds";
    assert!(of(&arn(), &format!("{ROLE_ID}:i-0a1b2c3d"), ACCOUNT).contains(odds));
    assert!(of(&arn(), &user_id(), "999988887777").contains(odds));
    assert!(of(&arn().replace("arn:aws:", "arn:aws-cn:"), &user_id(), ACCOUNT).contains(odds));
}

#[test]
fn somebody_who_is_no_assumed_role_is_not() {
    let of = |arn: &str, user_id: &str| told(answer(&result(arn, user_id, ACCOUNT)));
    let nobody = "no assumed role";
    for arn in [
        format!("arn:aws:iam::{ACCOUNT}:user/{INSTANCE}"),
        format!("arn:aws:iam::{ACCOUNT}:root"),
        format!("arn:aws:sts::{ACCOUNT}:federated-user/{INSTANCE}"),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}"),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role/x/{ROLE}/{INSTANCE}"),
        format!("arn:aws:sts:{ACCOUNT}:assumed-role/{ROLE}/{INSTANCE}"),
        format!("arn:aws:sts::{ACCOUNT}:assumed-role//{INSTANCE}"),
    ] {
        assert!(of(&arn, &user_id()).contains(nobody), "{arn}");
    }
    for user_id in [INSTANCE.to_owned(), format!("AIDAEXAMPLE:{INSTANCE}"), "AROA".to_owned()] {
        assert!(of(&arn(), &user_id).contains(nobody), "{user_id}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let target = Sts::start(Play::Says { status: 200, content_type: "text/xml", body: good(&agent()) });
    for status in [301, 302, 303, 307, 308] {
        let raw = format!("HTTP/1.1 {status} X\r\nLocation: {}/\r\nContent-Length: 0\r\n\r\n", target.address());
        assert!(unavailable(play(Play::Raw(raw))).contains(&status.to_string()));
    }
    assert_eq!(target.raw_requests(), Vec::<String>::new());
}

#[test]
fn a_no_is_a_refusal_and_trouble_is_none() {
    for code in ["SignatureDoesNotMatch", "ExpiredToken", "InvalidClientTokenId", "AccessDenied"] {
        assert!(refused(says(403, "text/xml", error(code))).contains(code));
    }
    assert!(refused(says(400, "text/xml", error("IncompleteSignature"))).contains("IncompleteSignature"));
    refused(says(403, "text/plain", "a page of somebody".to_owned()));
    for (status, code) in [(400, "Throttling"), (400, "ThrottlingException"), (403, "RequestLimitExceeded")] {
        assert!(unavailable(says(status, "text/xml", error(code))).contains("too often"));
    }
    for status in [201, 204, 404, 408, 429, 500, 502, 503] {
        assert!(unavailable(says(status, "text/xml", good(&agent()))).contains(&status.to_string()));
    }
}

#[test]
fn no_answer_is_no_refusal() {
    let length = good(&agent()).len() + 1;
    let cut = format!("HTTP/1.1 200 X\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\r\n{}", good(&agent()));
    for raw in [String::new(), "HTTP/1.1 200".to_owned(), "nonsense\r\n\r\n".to_owned(), cut] {
        unavailable(play(Play::Raw(raw)));
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = super::settings();
    let nowhere = muster_aws::StsIdentity::at_emulator(settings, &format!("http://127.0.0.1:{port}")).unwrap();
    assert!(unavailable(verify(&nowhere, &agent().prove(now()))).contains("network path"));
}

#[test]
fn silence_ends_in_time() {
    let began = std::time::Instant::now();
    assert!(unavailable(play(Play::Hangs)).contains("has not answered"));
    assert!(began.elapsed() < std::time::Duration::from_secs(9));
}
