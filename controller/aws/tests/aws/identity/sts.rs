//! A small STS: it reads requests from the wire byte by byte and computes their signatures itself, from the published
//! description of Signature Version 4, without the SDK's signer and without any code of the door.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::HOST;
use super::agent::Agent;

/// How it answers.
#[derive(Clone, Debug)]
pub(crate) enum Play {
    /// As STS does.
    Honest,
    /// Always this.
    Says { status: u16, content_type: &'static str, body: String },
    /// Always these bytes, and then the connection ends.
    Raw(String),
    /// It takes the request and never answers.
    Hangs,
}

#[derive(Clone)]
pub(crate) struct Sts {
    address: String,
    agents: Arc<Mutex<Vec<Agent>>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Sts {
    pub(crate) fn start(play: Play) -> Sts {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sts = Sts {
            address: format!("http://{}", listener.local_addr().unwrap()),
            agents: Arc::default(),
            requests: Arc::default(),
        };
        let serving = sts.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (serving, play) = (serving.clone(), play.clone());
                std::thread::spawn(move || serving.serve(&play, stream.unwrap()));
            }
        });
        sts
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    /// These credentials are known from now on.
    pub(crate) fn knows(&self, agent: &Agent) {
        self.agents.lock().unwrap().push(agent.clone());
    }

    /// Everything that was asked, as it came over the wire.
    pub(crate) fn raw_requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn forget_requests(&self) {
        self.requests.lock().unwrap().clear();
    }

    fn serve(&self, play: &Play, mut stream: TcpStream) {
        while let Some(request) = read(&mut stream) {
            self.requests.lock().unwrap().push(request.clone());
            let (status, content_type, body) = match play {
                Play::Honest => match self.judge(&request) {
                    Ok(agent) => (200, "text/xml", good(&agent)),
                    Err(code) => (403, "text/xml", error(code)),
                },
                Play::Says { status, content_type, body } => (*status, *content_type, body.clone()),
                Play::Raw(bytes) => {
                    let _ = stream.write_all(bytes.as_bytes());
                    return;
                }
                Play::Hangs => continue,
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).is_err() {
                return;
            }
        }
    }

    /// Who signed this request; or the code of STS's refusal.
    fn judge(&self, request: &str) -> Result<Agent, &'static str> {
        let (head, _) = request.split_once("\r\n\r\n").ok_or("Malformed")?;
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let target = line.strip_prefix("GET ").and_then(|rest| rest.strip_suffix(" HTTP/1.1")).ok_or("Malformed")?;
        let (path, query) = target.split_once('?').ok_or("MissingAction")?;
        let mut headers = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or("Malformed")?;
            if headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()).is_some() {
                return Err("Malformed");
            }
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').ok_or("Malformed")?;
            parameters.push((decode(name), decode(value)));
        }
        let get = |name: &str| {
            let mut found = parameters.iter().filter(|(known, _)| known == name);
            match (found.next(), found.next()) {
                (Some((_, value)), None) => Ok(value.as_str()),
                _ => Err("IncompleteSignature"),
            }
        };
        if headers.get("host").map(String::as_str) != Some(HOST) {
            return Err("WrongHost");
        }
        let credential: Vec<&str> = get("X-Amz-Credential")?.split('/').collect();
        let [key_id, day, region, "sts", "aws4_request"] = &*credential else { return Err("IncompleteSignature") };
        let date = get("X-Amz-Date")?;
        if !date.starts_with(day) || get("X-Amz-Algorithm")? != "AWS4-HMAC-SHA256" {
            return Err("IncompleteSignature");
        }
        let agents = self.agents.lock().unwrap();
        let agent = agents.iter().find(|agent| agent.key_id == *key_id).ok_or("InvalidClientTokenId")?;
        if get("X-Amz-Security-Token")? != agent.token {
            return Err("InvalidClientTokenId");
        }
        let signed_headers = get("X-Amz-SignedHeaders")?;
        let mut canonical_headers = String::new();
        for name in signed_headers.split(';') {
            let value = headers.get(name).ok_or("SignatureDoesNotMatch")?;
            canonical_headers.push_str(&format!("{name}:{value}\n"));
        }
        let mut pairs: Vec<String> = parameters
            .iter()
            .filter(|(name, _)| name != "X-Amz-Signature")
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        pairs.sort();
        let nothing = hex::encode(Sha256::digest(b""));
        let canonical = format!("GET\n{path}\n{}\n{canonical_headers}\n{signed_headers}\n{nothing}", pairs.join("&"));
        let scope = format!("{day}/{region}/sts/aws4_request");
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let mut key = format!("AWS4{}", agent.secret).into_bytes();
        for part in [*day, *region, "sts", "aws4_request"] {
            key = mac(&key, part);
        }
        if hex::encode(mac(&key, &to_sign)) != get("X-Amz-Signature")? {
            return Err("SignatureDoesNotMatch");
        }
        if get("Action")? != "GetCallerIdentity" || get("Version")? != "2011-06-15" {
            return Err("AccessDenied");
        }
        Ok(agent.clone())
    }
}

/// One request's head; there is no body. `None` once the connection ends.
fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.extend(byte);
    }
    String::from_utf8(bytes).ok()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn decode(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [a, b, after @ ..]) => {
                bytes.extend(hex::decode([*a, *b]).unwrap());
                after
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    String::from_utf8(bytes).unwrap()
}

/// The answer about somebody.
pub(crate) fn good(agent: &Agent) -> String {
    let Agent { account, role, role_id, session, .. } = agent;
    let arn = format!("arn:aws:sts::{account}:assumed-role/{role}/{session}");
    answer(&result(&arn, &format!("{role_id}:{session}"), account))
}

pub(crate) fn result(arn: &str, user_id: &str, account: &str) -> String {
    format!(
        "<GetCallerIdentityResult>\n    <Arn>{arn}</Arn>\n    <UserId>{user_id}</UserId>\n    \
         <Account>{account}</Account>\n  </GetCallerIdentityResult>"
    )
}

pub(crate) fn answer(inside: &str) -> String {
    format!(
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  {inside}\n  \
         <ResponseMetadata>\n    <RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>\n  </ResponseMetadata>\n\
         </GetCallerIdentityResponse>\n"
    )
}

pub(crate) fn error(code: &str) -> String {
    format!(
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    <Type>Sender</Type>\n    \
         <Code>{code}</Code>\n    <Message>no</Message>\n  </Error>\n  <RequestId>x</RequestId>\n</ErrorResponse>\n"
    )
}
