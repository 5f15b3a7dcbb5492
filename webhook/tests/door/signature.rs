//! The signature check.

use muster_webhook::Secrets;
use muster_webhook::signature::{SecretsError, SignatureError, SignatureHeader};

use crate::world::sign;

/// GitHub's published test vector ("Validating webhook deliveries").
const VECTOR: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

fn check(secrets: &Secrets, header: &str, body: &str) -> Result<(), SignatureError> {
    secrets.check(SignatureHeader::Sha256(header.as_bytes()), body.as_bytes()).map(|signed| {
        assert_eq!(signed.body(), body.as_bytes());
    })
}

#[test]
fn takes_githubs_own_test_vector() {
    let secrets = Secrets::new(&["It's a Secret to Everybody"]).unwrap();
    assert_eq!(check(&secrets, VECTOR, "Hello, World!"), Ok(()));
    assert_eq!(check(&secrets, VECTOR, "Hello, World?"), Err(SignatureError::Wrong));
    assert_eq!(check(&Secrets::new(&["another"]).unwrap(), VECTOR, "Hello, World!"), Err(SignatureError::Wrong));
}

#[test]
fn says_what_is_wrong_with_a_header() {
    let secrets = Secrets::new(&["It's a Secret to Everybody"]).unwrap();
    let digits = VECTOR.strip_prefix("sha256=").unwrap();
    let malformed = [
        String::new(),
        digits.to_owned(),
        "sha256=".to_owned(),
        format!("sha1={digits}"),
        format!("sha256={}", &digits[1..]),
        format!("{VECTOR}0"),
        format!("{VECTOR} "),
        format!(" {VECTOR}"),
        VECTOR.to_uppercase(),
        format!("sha256={}", digits.to_uppercase()),
        format!("sha256={}g", &digits[1..]),
    ];
    for header in malformed {
        assert_eq!(check(&secrets, &header, "Hello, World!"), Err(SignatureError::Malformed), "{header:?}");
    }
    let reason = |header| secrets.check(header, b"Hello, World!").err();
    assert_eq!(reason(SignatureHeader::Absent), Some(SignatureError::Absent));
    assert_eq!(reason(SignatureHeader::Sha1Only), Some(SignatureError::Sha1Only));
    assert_eq!(reason(SignatureHeader::Repeated), Some(SignatureError::Malformed));
}

#[test]
fn secrets_rotate_while_deliveries_come_in() {
    let by = |secret: &str| sign(secret.as_bytes(), b"body");
    let secrets = Secrets::new(&["old"]).unwrap();
    let good = |secret: &str| check(&secrets, &by(secret), "body").is_ok();
    assert!(good("old") && !good("new"));
    secrets.rotate(&["new", "old"]).unwrap();
    assert!(good("old") && good("new"));
    secrets.rotate(&["new"]).unwrap();
    assert!(!good("old") && good("new"));
    // A bad set changes nothing.
    assert_eq!(secrets.rotate::<&str>(&[]), Err(SecretsError::Count(0)));
    assert_eq!(secrets.rotate(&["a", "b", "c"]), Err(SecretsError::Count(3)));
    assert_eq!(secrets.rotate(&["new", ""]), Err(SecretsError::Empty));
    assert!(!good("old") && good("new"));
}
