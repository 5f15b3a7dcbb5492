//! How a simulated machine proves itself: a message authentication code under a key that only the simulator has.

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use muster_core::identity::{Identity, IdentityError, VerifiedInstance};
use muster_core::ids::InstanceId;
use muster_core::time::Timestamp;
use sha2::Sha256;

/// A proof is good for so long, before and after the instant that it names.
pub const PROOF_AGE_MAX: Duration = Duration::from_secs(60);

/// The check of simulated proofs, and the maker of them.
#[derive(Clone)]
pub struct SimIdentity {
    key: [u8; 32],
}

impl SimIdentity {
    /// With a key. Agents and door must have the same.
    pub fn new(key: [u8; 32]) -> SimIdentity {
        SimIdentity { key }
    }

    /// The proof of an instance, fresh at `at`.
    pub fn prove(&self, instance: &InstanceId, at: Timestamp) -> BTreeMap<String, String> {
        let code = self.mac(instance.as_str(), at.unix_ms()).finalize().into_bytes();
        BTreeMap::from([
            ("instance".to_owned(), instance.to_string()),
            ("at_ms".to_owned(), at.unix_ms().to_string()),
            ("code".to_owned(), hex(&code)),
        ])
    }

    fn mac(&self, instance: &str, at_ms: i64) -> Hmac<Sha256> {
        // HMAC fills a key up to the block of its hash with zeros.
        let mut block = [0; 64];
        block[..self.key.len()].copy_from_slice(&self.key);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(b"muster-sim instance\0");
        mac.update(instance.as_bytes());
        mac.update(&at_ms.to_be_bytes());
        mac
    }

    fn check(&self, proof: &BTreeMap<String, String>, now: Timestamp) -> Result<VerifiedInstance, IdentityError> {
        let field = |name: &str| proof.get(name).ok_or_else(|| IdentityError::Refused(format!("{name} is missing")));
        let instance = field("instance")?;
        let at_ms: i64 = field("at_ms")?.parse().map_err(|_| IdentityError::Refused("at_ms is no number".into()))?;
        let code = unhex(field("code")?).ok_or_else(|| IdentityError::Refused("code is not hex".into()))?;
        self.mac(instance, at_ms)
            .verify_slice(&code)
            .map_err(|_| IdentityError::Refused("the code does not fit".into()))?;
        let at = Timestamp::from_unix_ms(at_ms);
        if now.since(at) > PROOF_AGE_MAX || at.since(now) > PROOF_AGE_MAX {
            return Err(IdentityError::Refused(format!("it is of {at}, now is {now}")));
        }
        Ok(VerifiedInstance::attested(InstanceId::new(instance.as_str())).marked(hex(&code)))
    }
}

impl Identity for SimIdentity {
    fn verify(
        &self,
        proof: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> impl Future<Output = Result<VerifiedInstance, IdentityError>> + Send {
        ready(self.check(proof, now))
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|n| char::from(DIGITS[usize::from(n)])).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let digits: Option<Vec<u8>> = text.bytes().map(digit).collect();
    let digits = digits.filter(|d| d.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_proof_of_the_same_machine_is_good() {
        let identity = SimIdentity::new([7; 32]);
        let now = Timestamp::from_unix_ms(1_000_000);
        let instance = InstanceId::new("i-0123456789abcdef0");
        let proof = identity.prove(&instance, now);
        assert_eq!(identity.check(&proof, now + PROOF_AGE_MAX).unwrap().instance(), &instance);
        assert!(identity.check(&proof, now + PROOF_AGE_MAX + Duration::from_millis(1)).is_err());
        assert!(SimIdentity::new([8; 32]).check(&proof, now).is_err());
        for (field, wrong) in [("instance", "i-0123456789abcdef1"), ("at_ms", "1000001"), ("code", "00"), ("code", "x")]
        {
            let mut other = proof.clone();
            other.insert(field.to_owned(), wrong.to_owned());
            assert!(identity.check(&other, now).is_err(), "{field}");
        }
        assert!(identity.check(&BTreeMap::new(), now).is_err());
    }
}
