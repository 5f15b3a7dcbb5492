//! Logs put into the emulators' S3 with addresses that the adapter has signed, by whoever has the address alone.
//!
//! Neither emulator checks signatures, so what S3 would refuse by them is shown here by what is signed, and by the signature
//! computed once more: see `the_size_and_the_type_are_part_of_what_is_signed`.

use std::collections::BTreeMap;

use aws_sdk_s3::Client;
use muster_aws::S3LogShelf;
use muster_core::config::Logs;
use muster_core::ids::InstanceId;
use muster_core::log_shelf::{CONTENT_TYPE, LogKind, LogPut, LogShelf, PUT_WITHIN, PresignedPut};
use reqwest::{Method, StatusCode, Url};

use crate::emulator::{BOTH, Emulator, block_on, random, shared_config};

const INSTANCE: &str = "i-0123456789abcdef0";

fn put(bucket: &str, bytes: u64) -> LogPut {
    let logs = Logs { bucket: bucket.to_owned(), prefix: "ci/logs".to_owned(), bytes_max: 1_000 };
    LogPut::new(&logs, &InstanceId::new(INSTANCE), 2, LogKind::Worker, 1, bytes)
}

fn bucket(emulator: Emulator) -> (Client, String) {
    let config = aws_sdk_s3::config::Builder::from(&shared_config(emulator)).force_path_style(true).build();
    let (client, name) = (Client::from_conf(config), format!("muster-logs-{}", random()));
    block_on(client.create_bucket().bucket(&name).send()).unwrap();
    (client, name)
}

fn signed(emulator: Emulator, bucket: &str, bytes: u64) -> PresignedPut {
    block_on(S3LogShelf::over(&shared_config(emulator)).sign(put(bucket, bytes))).unwrap_or_else(|e| panic!("{e}"))
}

fn send(put: &PresignedPut, body: &[u8]) -> StatusCode {
    let mut request = reqwest::Client::new().request(Method::PUT, &put.url).body(body.to_vec());
    for (name, value) in &put.headers {
        request = request.header(name, value);
    }
    block_on(request.send()).unwrap().status()
}

#[test]
fn a_log_is_put_with_the_address_alone_and_never_over_another() {
    for emulator in BOTH {
        let (client, bucket) = bucket(emulator);
        let address = signed(emulator, &bucket, 5);
        assert_eq!(send(&address, b"first"), StatusCode::OK, "{emulator:?}");
        let key = format!("ci/logs/{INSTANCE}/2-worker-1.log");
        let read = || {
            let got = block_on(client.get_object().bucket(&bucket).key(&key).send()).unwrap();
            (got.content_type.clone(), block_on(got.body.collect()).unwrap().to_vec())
        };
        assert_eq!(read(), (Some(CONTENT_TYPE.to_owned()), b"first".to_vec()), "{emulator:?}");
        assert_eq!(send(&address, b"other"), StatusCode::PRECONDITION_FAILED, "{emulator:?}");
        assert_eq!(read().1, b"first", "{emulator:?}");
    }
}

/// As Signature Version 4 has it: what is in `X-Amz-SignedHeaders` goes into the signature, with its value.
#[test]
fn the_size_and_the_type_are_part_of_what_is_signed() {
    let emulator = Emulator::Moto;
    let address = signed(emulator, "acme-logs", 1_234_567);
    let expected = [("content-length", "1000"), ("content-type", CONTENT_TYPE), ("if-none-match", "*")];
    let headers: BTreeMap<String, String> = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(address.headers, headers, "the limit is in the signature, not the size that was asked for");

    let url = Url::parse(&address.url).unwrap();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    assert_eq!(query["X-Amz-SignedHeaders"], "content-length;content-type;host;if-none-match");
    assert_eq!(query["X-Amz-Expires"], PUT_WITHIN.as_secs().to_string());
    let known = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature"];
    let more: Vec<&String> = query.keys().filter(|name| !known.contains(&name.as_str())).collect();
    assert_eq!(more, ["X-Amz-SignedHeaders", "x-id"], "nothing else is asked of whoever puts");

    assert_eq!(signature(&url, &query, &headers), query["X-Amz-Signature"], "as computed from the description");
    let larger = BTreeMap::from_iter(headers.into_iter().map(|(name, value)| match &*name {
        "content-length" => (name, "1001".to_owned()),
        _ => (name, value),
    }));
    assert_ne!(signature(&url, &query, &larger), query["X-Amz-Signature"], "another size has another signature");
}

/// The signature that S3 computes for a request with these headers (S3 API reference, "Authenticating requests: using query
/// parameters"), for the secret key `test`.
fn signature(url: &Url, query: &BTreeMap<String, String>, headers: &BTreeMap<String, String>) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::{Digest, Sha256};

    let mut raw: Vec<&str> =
        url.query().unwrap().split('&').filter(|pair| !pair.starts_with("X-Amz-Signature")).collect();
    raw.sort_unstable();
    let mut all = headers.clone();
    all.insert("host".to_owned(), format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()));
    let lines: String = all.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    let canonical = format!("PUT\n{}\n{}\n{lines}\n{}\nUNSIGNED-PAYLOAD", url.path(), raw.join("&"), names.join(";"));
    let (_, scope) = query["X-Amz-Credential"].split_once('/').unwrap();
    let hash = hex::encode(Sha256::digest(canonical));
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{hash}", query["X-Amz-Date"]);
    let sign = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let key = scope.split('/').fold(b"AWS4test".to_vec(), |key, part| sign(&key, part));
    hex::encode(sign(&key, &text))
}

/// Who sends the size that was signed and then goes on is cut off there.
#[test]
fn no_more_than_was_signed_is_kept() {
    for emulator in BOTH {
        let (client, bucket) = bucket(emulator);
        let address = signed(emulator, &bucket, 5);
        raw_put(&address, b"more than five");
        let key = format!("ci/logs/{INSTANCE}/2-worker-1.log");
        let kept = block_on(client.get_object().bucket(&bucket).key(&key).send()).unwrap();
        assert_eq!(block_on(kept.body.collect()).unwrap().to_vec(), b"more ", "{emulator:?}");
    }
}

/// The request as it was signed, and more behind it: no decent client would send that. What is answered is to both.
fn raw_put(put: &PresignedPut, body: &[u8]) {
    use std::io::{Read, Write};
    let url = Url::parse(&put.url).unwrap();
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let headers: String = put.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let (path, query) = (url.path(), url.query().unwrap());
    let head = format!("PUT {path}?{query} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n");
    let mut stream = std::net::TcpStream::connect(&host).unwrap();
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}
