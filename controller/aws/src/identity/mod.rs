//! Which instance a machine is, as STS sees it.
//!
//! The agent signs a `GetCallerIdentity` request with the credentials of its instance profile and sends the door what of
//! it only the agent can know: key id, date, session token, signature. The door makes the request anew from these, sends
//! it to STS, and learns whose credentials they are. The session name of an instance profile's credentials is the
//! instance's id, as only EC2 may assume that role.
//!
//! What lives here: one file for each step: the proof ([`proof`]), the request that it becomes ([`request`]), the sending
//! ([`wire`]), the answer ([`answer`]), and whom the fleet trusts ([`roles`]). What may not: the ledger. Whether the
//! instance is one of ours and may claim is the door's to say.
//!
//! Invariant: no byte of a proof reaches anything but the value of its own query parameter. Host, path, action, headers
//! and all other parameters are ours.

mod answer;
mod proof;
mod request;
mod roles;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use muster_core::identity::{Identity, IdentityError, VerifiedInstance};
use muster_core::ids::InstanceId;
use muster_core::time::Timestamp;
use thiserror::Error;

pub use self::roles::{RoleError, TrustedRole};

use self::answer::Caller;
use self::proof::StsProof;
use self::request::StsHost;
use self::wire::Wire;

/// The header that says for whom a proof is made. It is signed, and its value is the door's own.
pub const AUDIENCE_HEADER: &str = "x-muster-audience";
/// For how long the signature says that it is good (`X-Amz-Expires`). STS itself goes by 15 minutes whatever it says.
pub const EXPIRES_S: u32 = 60;
/// Longest audience.
const AUDIENCE_BYTES_MAX: usize = 256;

/// What the check goes by.
#[derive(Clone, Debug)]
pub struct StsSettings {
    /// The region whose STS is asked, and for which agents sign.
    pub region: String,
    /// For whom proofs are made: a text that no other fleet has. The address of the door, say.
    pub audience: String,
    /// Whose instances are believed.
    pub roles: Vec<TrustedRole>,
}

/// The check cannot be made with these settings.
#[derive(Debug, Error)]
pub enum StsSettingsError {
    /// The region is none, or one whose STS host is not known here.
    #[error("the region {0:?} has no STS host that Muster knows: name a region such as eu-central-1")]
    Region(String),
    /// SigV4 would sign another text than is sent.
    #[error("the audience of proofs must be 1 to {AUDIENCE_BYTES_MAX} printable ASCII characters without spaces")]
    Audience,
    /// The address of an emulator is none.
    #[error("{0:?} is not the address of an emulator of STS: write it as http://127.0.0.1:4566")]
    Endpoint(String),
}

/// The identity check by STS.
#[derive(Debug)]
pub struct StsIdentity {
    host: StsHost,
    audience: String,
    roles: RwLock<Arc<[TrustedRole]>>,
    wire: Wire,
}

impl StsIdentity {
    /// The check, against the region's own STS.
    ///
    /// # Errors
    /// [`StsSettingsError`].
    pub fn new(settings: StsSettings) -> Result<StsIdentity, StsSettingsError> {
        let host = StsHost::of_region(&settings.region)?;
        let wire = Wire::to(&host);
        StsIdentity::over(settings, host, wire)
    }

    /// The check, against an emulator of STS. What is sent names the region's own host all the same: agents have signed
    /// that one.
    ///
    /// # Errors
    /// [`StsSettingsError`].
    pub fn at_emulator(settings: StsSettings, endpoint: &str) -> Result<StsIdentity, StsSettingsError> {
        let host = StsHost::of_region(&settings.region)?;
        let wire = Wire::to_emulator(&host, endpoint)?;
        StsIdentity::over(settings, host, wire)
    }

    fn over(settings: StsSettings, host: StsHost, wire: Wire) -> Result<StsIdentity, StsSettingsError> {
        let StsSettings { audience, roles, .. } = settings;
        let good = (1..=AUDIENCE_BYTES_MAX).contains(&audience.len()) && audience.bytes().all(|b| b.is_ascii_graphic());
        if !good {
            return Err(StsSettingsError::Audience);
        }
        Ok(StsIdentity { host, audience, roles: RwLock::new(roles.into()), wire })
    }

    /// A new configuration: these are trusted from now on, and no others.
    pub fn trust(&self, roles: Vec<TrustedRole>) {
        *self.roles.write().unwrap_or_else(PoisonError::into_inner) = roles.into();
    }

    async fn check(&self, proof: &BTreeMap<String, String>, now: Timestamp) -> Result<VerifiedInstance, IdentityError> {
        let proof = StsProof::read(proof).map_err(|why| IdentityError::Refused(why.to_string()))?;
        proof.is_fresh(now).map_err(|why| IdentityError::Refused(why.to_string()))?;
        let answer = self.wire.ask(&request::path_and_query(&self.host, &proof), &self.audience).await;
        let answer = answer.map_err(|why| IdentityError::Unavailable(why.to_string()))?;
        let caller = answer::caller(&answer, self.host.partition())?;
        let roles = self.roles.read().unwrap_or_else(PoisonError::into_inner).clone();
        let accounts = roles::accounts_of(&roles, &caller);
        if accounts.is_empty() {
            let Caller { account, role, role_id, .. } = &caller;
            return Err(IdentityError::Refused(format!(
                "the role {role} ({role_id}) of account {account} is none of the fleet's: see instance_profile and \
                 instance_role in the configuration"
            )));
        }
        let Some(instance) = InstanceId::parse(&caller.session) else {
            return Err(IdentityError::Refused(format!(
                "the session name {:?} of the role {} is no instance's id: may others than EC2 assume that role?",
                caller.session, caller.role
            )));
        };
        Ok(VerifiedInstance::attested(instance).marked(proof.into_signature()).seen_in(accounts))
    }
}

impl Identity for StsIdentity {
    async fn verify(
        &self,
        proof: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<VerifiedInstance, IdentityError> {
        self.check(proof, now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_ids_have_two_lengths_and_small_digits() {
        for good in ["i-0a1b2c3d", "i-0123456789abcdef0"] {
            assert!(InstanceId::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "i-",
            "i-0a1b2c3",
            "i-0a1b2c3d4",
            "i-0123456789abcdef01",
            "i-0123456789ABCDEF0",
            "I-0a1b2c3d",
            "0a1b2c3d",
            "i-0a1b2c3g",
            "i-0a1b2c3d ",
            "mi-0123456789abcdef0",
            "i-0a1b2c3\u{661}",
        ] {
            assert!(InstanceId::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn an_audience_that_signing_would_change_is_refused() {
        let with = |audience: &str| {
            let audience = audience.to_owned();
            StsIdentity::new(StsSettings { region: "eu-central-1".to_owned(), audience, roles: Vec::new() })
        };
        assert!(with("https://door.example/").is_ok());
        for bad in ["", "a b", " a", "a\n", "\u{fc}", &"a".repeat(257)] {
            assert!(matches!(with(bad), Err(StsSettingsError::Audience)), "{bad:?}");
        }
    }
}
