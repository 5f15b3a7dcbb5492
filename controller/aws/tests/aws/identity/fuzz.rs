//! Whatever a proof says: it becomes the one request that it may become, or none.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::agent::Agent;
use super::sts::{Play, Sts};
use super::{INSTANCE, expected, identity, now, verify};

const CASES: u32 = 400;
const NAMES: [&str; 9] = ["kind", "key_id", "date", "session_token", "signature", "host", "Action", "region", "x"];

/// Text of the kind that gets out of a query, a header or a path.
fn text() -> impl Strategy<Value = String> {
    let tricky = prop::sample::select(vec![
        "&Action=AssumeRole",
        "?",
        "#",
        "/../",
        "%26",
        "%0d%0a",
        "\r\nHost: evil.example\r\n",
        " HTTP/1.1\r\n\r\nGET / ",
        "@evil.example",
        "=",
        "+",
        "/",
        ";",
        "\u{0}",
        "\u{e9}",
        "ASIA",
        "sts",
    ]);
    prop_oneof![
        ".{0,40}",
        "[A-Z0-9]{16,40}",
        "[0-9a-f]{64}",
        "[A-Za-z0-9+/=]{1,200}",
        "20[0-9]{6}T[0-9]{6}Z",
        (".{0,8}", tricky, "[A-Za-z0-9+/=]{0,60}").prop_map(|(a, b, c)| format!("{a}{b}{c}")),
    ]
}

/// A good proof, some of whose fields are replaced, lengthened, removed or joined by others.
fn proof() -> impl Strategy<Value = BTreeMap<String, String>> {
    let change = (prop::sample::select(NAMES.to_vec()), text(), 0..4u8);
    prop::collection::vec(change, 0..4).prop_map(|changes| {
        let mut proof = Agent::of_instance(INSTANCE).prove(now());
        for (name, text, how) in changes {
            match (how, proof.get(name)) {
                (0, _) => drop(proof.remove(name)),
                (1, Some(known)) => drop(proof.insert(name.to_owned(), format!("{known}{text}"))),
                (2, Some(known)) => drop(proof.insert(name.to_owned(), format!("{text}{known}"))),
                _ => drop(proof.insert(name.to_owned(), text)),
            }
        }
        proof
    })
}

#[test]
fn no_field_changes_anything_but_its_own_value() {
    let sts = Sts::start(Play::Honest);
    let identity = identity(&sts);
    let asked = std::cell::Cell::new(0);
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: CASES, ..ProptestConfig::default() });
    let outcome = runner.run(&proof(), |proof| {
        sts.forget_requests();
        let verified = verify(&identity, &proof);
        prop_assert!(verified.is_err(), "STS knows nobody");
        let sent = sts.raw_requests();
        if !sent.is_empty() {
            asked.set(asked.get() + 1);
            prop_assert_eq!(sent, [expected(&proof)]);
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(asked.get() > CASES / 20, "only {} proofs came so far as to be sent", asked.get());
}
