//! The Apps' keys, and the check of what they sign; written apart from any library for JSON Web Tokens.

use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

/// The longest life that GitHub allows a JWT.
const LIFE_MAX: u64 = 600;
/// How far its clock and ours may differ.
const SKEW: u64 = 60;

/// A fresh RSA key, as an App has one.
#[derive(Clone)]
pub struct AppKey {
    pem: String,
    public: Vec<u8>,
}

impl AppKey {
    /// Makes one.
    ///
    /// # Panics
    /// If the system gives no random numbers.
    pub fn fresh() -> AppKey {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("random numbers");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("a fresh key can be written");
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or("")).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        AppKey { pem, public: pair.public_key().as_ref().to_vec() }
    }

    /// The private key, as the App's page would give it.
    pub fn pem(&self) -> &[u8] {
        self.pem.as_bytes()
    }

    /// Checks a JWT of the App.
    pub(super) fn check(&self, app: u64, jwt: &str, now: Duration) -> Result<(), String> {
        let (signed, signature) = jwt.rsplit_once('.').ok_or("it is no JWT")?;
        let (header, claims) = signed.split_once('.').ok_or("it is no JWT")?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| "it is not base64url".to_owned());
        let json = |text| -> Result<Value, String> {
            serde_json::from_slice(&decode(text)?).map_err(|_| "it is not JSON".to_owned())
        };
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public);
        key.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| "the signature is another key's")?;
        if json(header)?["alg"] != "RS256" {
            return Err("'alg' must be RS256".to_owned());
        }
        let claims = json(claims)?;
        if issuer(&claims) != Some(app) {
            return Err("'Issuer' claim ('iss') is another App".to_owned());
        }
        let (Some(issued), Some(expires)) = (claims["iat"].as_u64(), claims["exp"].as_u64()) else {
            return Err("'iat' and 'exp' must be Integers".to_owned());
        };
        let now = now.as_secs();
        if issued > now + SKEW {
            return Err("'Issued at' claim ('iat') is in the future".to_owned());
        }
        if expires <= now || expires > now + LIFE_MAX + SKEW || expires > issued + LIFE_MAX + SKEW {
            return Err("'Expiration time' claim ('exp') is past or too far in the future".to_owned());
        }
        Ok(())
    }
}

/// Whom a JWT says it is from, before that is believed.
pub(super) fn claimed_app(jwt: &str) -> Option<u64> {
    let claims = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?;
    issuer(&serde_json::from_slice(&claims).ok()?)
}

fn issuer(claims: &Value) -> Option<u64> {
    claims["iss"].as_u64().or_else(|| claims["iss"].as_str()?.parse().ok())
}
