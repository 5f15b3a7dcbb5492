//! Other accounts: the tags that the scaler puts on the session of a role there, and those that the role's trust lets through.

const NAMES: &str = include_str!("../../../aws/src/cloud/names.rs");
const ACCOUNT: &str = include_str!("../../../../infra/account.yaml");

/// The value of a tag's key in `names.rs`.
fn key(name: &str) -> &'static str {
    let value = NAMES.split_once(&format!("{name}: &str = \"")).and_then(|(_, rest)| rest.split('"').next());
    value.unwrap_or_else(|| panic!("controller/aws/src/cloud/names.rs has no {name}"))
}

#[test]
fn a_role_there_lets_the_tags_of_our_sessions_through() {
    let (fleet, account) = (key("FLEET_TAG"), key("ACCOUNT_TAG"));
    assert!(ACCOUNT.contains(&format!("\"aws:RequestTag/{fleet}\": !Ref Fleet")));
    assert!(ACCOUNT.contains(&format!("\"aws:TagKeys\": [\"{fleet}\", \"{account}\"]")));
}
