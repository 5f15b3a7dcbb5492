//! An agent's side of it, signed by the SDK's own signer; and agents that sign something else.

use std::time::{Duration, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SessionTokenMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use muster_aws::AUDIENCE_HEADER;
use muster_core::time::Timestamp;

use super::{ACCOUNT, AUDIENCE, HOST, Proof, REGION, ROLE, ROLE_ID};

/// Credentials, and whose they are.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) key_id: String,
    pub(crate) secret: String,
    pub(crate) token: String,
    pub(crate) account: String,
    pub(crate) role: String,
    pub(crate) role_id: String,
    pub(crate) session: String,
}

/// What an agent signs.
#[derive(Clone, Debug)]
pub(crate) struct Signs {
    pub(crate) host: String,
    pub(crate) region: String,
    pub(crate) query: String,
    /// Headers besides the host.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) expires: Duration,
}

impl Signs {
    /// What the protocol says.
    pub(crate) fn rightly() -> Signs {
        Signs {
            host: HOST.to_owned(),
            region: REGION.to_owned(),
            query: "Action=GetCallerIdentity&Version=2011-06-15".to_owned(),
            headers: vec![(AUDIENCE_HEADER.to_owned(), AUDIENCE.to_owned())],
            expires: Duration::from_secs(60),
        }
    }
}

impl Agent {
    /// With the role of the fleet's instances.
    pub(crate) fn of_instance(instance: &str) -> Agent {
        let own = str::to_owned;
        Agent {
            key_id: own("ASIAIOSFODNN7EXAMPLE"),
            secret: own("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            token: own("IQoJb3JpZ2luX2VjEXAMPLE//////////+token=="),
            account: own(ACCOUNT),
            role: own(ROLE),
            role_id: own(ROLE_ID),
            session: own(instance),
        }
    }

    /// The proof that the protocol describes.
    pub(crate) fn prove(&self, at: Timestamp) -> Proof {
        self.prove_with(&Signs::rightly(), at)
    }

    /// The fields of a proof whose signature is that of another request.
    pub(crate) fn prove_with(&self, signs: &Signs, at: Timestamp) -> Proof {
        let identity = Credentials::new(&self.key_id, &self.secret, Some(self.token.clone()), None, "tests").into();
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(signs.expires);
        settings.session_token_mode = SessionTokenMode::Include;
        let time = UNIX_EPOCH + Duration::from_millis(u64::try_from(at.unix_ms()).unwrap());
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&signs.region)
            .name("sts")
            .time(time)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let url = format!("https://{}/?{}", signs.host, signs.query);
        let headers = signs.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let request = SignableRequest::new("GET", url, headers, SignableBody::empty()).unwrap();
        let (instructions, signature) = sign(request, &params).unwrap().into_parts();
        let (_, signed) = instructions.into_parts();
        let date = signed.iter().find(|(name, _)| *name == "X-Amz-Date").unwrap().1.to_string();
        let fields = [
            ("kind", "sts"),
            ("key_id", &self.key_id),
            ("date", &date),
            ("session_token", &self.token),
            ("signature", &signature),
        ];
        fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}
