//! What STS said, read strictly: an answer that is not exactly that of `GetCallerIdentity` for an assumed role is none.
//!
//! Invariant: a [`Caller`] comes only from an answer of status 200 whose every element has its one place.

use muster_core::identity::IdentityError;
use roxmltree::{Document, Node, ParsingOptions};

use super::wire::{ANSWER_BYTES_MAX, Answer};

/// The namespace of STS's answers (STS API).
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// Nodes of an answer: ten or so.
const NODES_MAX: u32 = 64;
/// What unique ids of roles begin with (IAM User Guide, "Unique identifiers").
const ROLE_ID_START: &str = "AROA";
/// Error codes of a caller who asks too often, whatever the status (STS API, "Common errors").
const THROTTLED: [&str; 4] = ["Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled"];

/// Whose credentials signed the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// Twelve digits.
    pub(super) account: String,
    /// The role's name, without its path.
    pub(super) role: String,
    /// The role's unique id.
    pub(super) role_id: String,
    /// The session's name.
    pub(super) session: String,
}

/// Reads an answer. 200 is believed only if it is exactly what it must be; 403, and a 400 that is not a throttle, are STS's
/// no; everything else means that STS could not say.
pub(super) fn caller(answer: &Answer, partition: &str) -> Result<Caller, IdentityError> {
    let refused = |why: String| Err(IdentityError::Refused(why));
    match answer.status {
        200 => read(answer, partition).map_err(|why| IdentityError::Refused(format!("the answer of STS is {why}"))),
        status @ (400 | 403) => {
            let code = error_code(answer);
            let shown = code.as_deref().unwrap_or("no code");
            if THROTTLED.contains(&shown) {
                return Err(IdentityError::Unavailable(format!("STS is asked too often ({shown})")));
            }
            refused(format!("STS says no: {status}, {shown}"))
        }
        status => Err(IdentityError::Unavailable(format!("STS answers with status {status}"))),
    }
}

fn read(answer: &Answer, partition: &str) -> Result<Caller, &'static str> {
    let media_type = answer.content_type.as_deref().map(|text| text.split(';').next().unwrap_or_default().trim());
    if media_type != Some("text/xml") {
        return Err("not text/xml");
    }
    let document = parse(answer)?;
    let response = document.root_element();
    is_named(response, "GetCallerIdentityResponse")?;
    let result = only_child(response, "GetCallerIdentityResult")?;
    if response
        .children()
        .filter(Node::is_element)
        .any(|child| !matches!(child.tag_name().name(), "GetCallerIdentityResult" | "ResponseMetadata"))
    {
        return Err("of another form: it has elements of other kinds");
    }
    if result.children().filter(Node::is_element).count() != 3 {
        return Err("of another form: its result has not three elements");
    }
    let arn = text(result, "Arn")?;
    let user_id = text(result, "UserId")?;
    let account = text(result, "Account")?;
    caller_of(arn, user_id, account, partition)
}

fn parse(answer: &Answer) -> Result<Document<'_>, &'static str> {
    const _: () = assert!(ANSWER_BYTES_MAX <= 1 << 20);
    let body = answer.body.as_deref().ok_or("too long")?;
    let body = std::str::from_utf8(body).map_err(|_| "not UTF-8")?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(body, options).map_err(|_| "not XML of the expected kind")
}

fn is_named(node: Node<'_, '_>, name: &str) -> Result<(), &'static str> {
    let tag = node.tag_name();
    let same = tag.name() == name && tag.namespace() == Some(NAMESPACE);
    if same { Ok(()) } else { Err("that of another action, or of nothing known") }
}

/// The one child of this name.
fn only_child<'d, 'i>(parent: Node<'d, 'i>, name: &str) -> Result<Node<'d, 'i>, &'static str> {
    let mut named = parent.children().filter(|child| child.is_element() && child.tag_name().name() == name);
    match (named.next(), named.next()) {
        (Some(child), None) => is_named(child, name).map(|()| child),
        (None, _) => Err("of another form: an element is missing"),
        (Some(_), Some(_)) => Err("of another form: an element is there twice"),
    }
}

/// The text of the one child of this name, which has nothing else.
fn text<'d>(parent: Node<'d, '_>, name: &str) -> Result<&'d str, &'static str> {
    let child = only_child(parent, name)?;
    let mut inside = child.children();
    match (inside.next(), inside.next()) {
        (Some(only), None) if only.is_text() => only.text().ok_or("of another form: an element is empty"),
        _ => Err("of another form: an element is no plain text"),
    }
}

/// `arn:PARTITION:sts::ACCOUNT:assumed-role/ROLE/SESSION`, `AROA...:SESSION` and `ACCOUNT`, which must agree.
fn caller_of(arn: &str, user_id: &str, account: &str, partition: &str) -> Result<Caller, &'static str> {
    const NOT_A_ROLE: &str = "about somebody who is no assumed role";
    let parts: Vec<&str> = arn.split(':').collect();
    let ["arn", of_partition, "sts", "", of_account, resource] = &*parts else { return Err(NOT_A_ROLE) };
    let resource: Vec<&str> = resource.split('/').collect();
    let ["assumed-role", role, session] = &*resource else { return Err(NOT_A_ROLE) };
    let (role_id, of_session) = user_id.split_once(':').ok_or(NOT_A_ROLE)?;
    let good_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let good_id = role_id.starts_with(ROLE_ID_START) && role_id.bytes().all(|b| b.is_ascii_alphanumeric());
    if !good_account || !good_id || role.is_empty() || session.is_empty() {
        return Err(NOT_A_ROLE);
    }
    if *of_partition != partition || *of_account != account || of_session != *session {
        return Err("at odds with itself");
    }
    let own = |text: &str| text.to_owned();
    Ok(Caller { account: own(account), role: own(role), role_id: own(role_id), session: own(session) })
}

/// The code of an error answer, as far as it reads. Only letters reach a log.
fn error_code(answer: &Answer) -> Option<String> {
    let document = parse(answer).ok()?;
    let code = document.descendants().find(|node| node.tag_name().name() == "Code")?.text()?;
    let plain = !code.is_empty() && code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    plain.then(|| code.to_owned())
}
