//! The request that a proof becomes: all of it is fixed but for four values.
//!
//! Invariant: the host is the region's own, the action is `GetCallerIdentity`, and each parameter is there once.

use super::proof::StsProof;
use super::{AUDIENCE_HEADER, EXPIRES_S, StsSettingsError};

/// The version of the STS API.
const VERSION: &str = "2011-06-15";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The pinned host of one region's STS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StsHost {
    region: String,
    partition: &'static str,
    name: String,
}

impl StsHost {
    /// The host for a region, by the partition that its name begins with (AWS General Reference, "AWS STS endpoints";
    /// a test compares with the SDK's own table). Isolated partitions are not known here.
    pub(super) fn of_region(region: &str) -> Result<StsHost, StsSettingsError> {
        let unknown = || StsSettingsError::Region(region.to_owned());
        let parts: Vec<&str> = region.split('-').collect();
        let word = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
        let number = |part: &&str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        let (partition, suffix) = match &*parts {
            ["us", "gov", direction, n] if word(direction) && number(n) => ("aws-us-gov", "amazonaws.com"),
            ["cn", direction, n] if word(direction) && number(n) => ("aws-cn", "amazonaws.com.cn"),
            [continent, direction, n]
                if continent.len() == 2
                    && word(continent)
                    && word(direction)
                    && number(n)
                    && *direction != "gov"
                    && !direction.starts_with("iso") =>
            {
                ("aws", "amazonaws.com")
            }
            _ => return Err(unknown()),
        };
        Ok(StsHost { region: region.to_owned(), partition, name: format!("sts.{region}.{suffix}") })
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What ARNs begin with there: `aws`, `aws-cn`, `aws-us-gov`.
    pub(super) fn partition(&self) -> &'static str {
        self.partition
    }
}

/// Path and query of the request. Parameters are in the order in which they are signed.
pub(super) fn path_and_query(host: &StsHost, proof: &StsProof) -> String {
    let credential = format!("{}/{}/{}/sts/aws4_request", proof.key_id(), proof.day(), host.region);
    let expires = EXPIRES_S.to_string();
    let signed_headers = format!("host;{AUDIENCE_HEADER}");
    let parameters = [
        ("Action", "GetCallerIdentity"),
        ("Version", VERSION),
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", proof.date()),
        ("X-Amz-Expires", &expires),
        ("X-Amz-Security-Token", proof.session_token()),
        ("X-Amz-SignedHeaders", &signed_headers),
        ("X-Amz-Signature", proof.signature()),
    ];
    let encoded: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    format!("/?{}", encoded.join("&"))
}

/// Percent-encoding as SigV4 wants it: all but RFC 3986's unreserved characters.
fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use aws_sdk_sts::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};

    use super::*;

    /// What the SDK has as the address of a region's STS.
    fn of_sdk(region: &str) -> String {
        let params = Params::builder().region(region).use_global_endpoint(false).build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let endpoint = runtime.block_on(DefaultResolver::new().resolve_endpoint(&params)).unwrap();
        endpoint.url().to_owned()
    }

    #[test]
    fn hosts_are_those_of_the_sdk() {
        let regions = [
            ("us-east-1", "aws"),
            ("eu-central-1", "aws"),
            ("ap-southeast-2", "aws"),
            ("il-central-1", "aws"),
            ("mx-central-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("cn-northwest-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-gov-east-1", "aws-us-gov"),
        ];
        for (region, partition) in regions {
            let host = StsHost::of_region(region).unwrap();
            assert_eq!(format!("https://{}", host.name()), of_sdk(region));
            assert_eq!(host.partition(), partition);
        }
    }

    #[test]
    fn what_is_no_region_or_unknown_has_no_host() {
        for bad in [
            "",
            "eu",
            "eu-central",
            "eu-central-1.evil.example",
            "eu-central-1/",
            "EU-CENTRAL-1",
            "eu-central-1@x",
            "us-iso-east-1",
            "us-isob-east-1",
            "eu-isoe-west-1",
            "eusc-de-east-1",
            "us-gov-1",
            "-central-1",
            "eu--1",
            "eu-central-",
            "us-gov-west-1-a",
        ] {
            let refused = StsHost::of_region(bad);
            assert!(refused.is_err(), "{bad}: {refused:?}");
        }
        assert!(StsHost::of_region("us-isoa-1").is_err());
    }

    #[test]
    fn everything_that_is_not_unreserved_is_encoded() {
        assert_eq!(encode("aZ0-_.~"), "aZ0-_.~");
        assert_eq!(encode("a/b+c=d&e;f%g h\u{e9}"), "a%2Fb%2Bc%3Dd%26e%3Bf%25g%20h%C3%A9");
    }
}
