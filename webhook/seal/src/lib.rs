//! Texts sealed to the key of one claim (HPKE, RFC 9180: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305).
//!
//! What lives here: what the door and the registrar seal and an agent opens, so that neither has the other's code. What may
//! not: where ciphertexts are kept, and who makes session tokens.
//!
//! Invariant: a ciphertext opens only for the key, machine, session and purpose that it was sealed for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use muster_core::ids::InstanceId;
use thiserror::Error;

/// Bytes of an X25519 key, public or private, and of the encapsulated key that a ciphertext begins with.
pub const KEY_BYTES: usize = 32;

/// What a sealed text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealPurpose {
    /// The session token.
    Session,
    /// The runner configuration.
    RunnerConfig,
}

impl SealPurpose {
    fn word(self) -> &'static str {
        match self {
            SealPurpose::Session => "session",
            SealPurpose::RunnerConfig => "runner-config",
        }
    }
}

/// Whom and what a text is sealed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal<'a> {
    /// The claim's key (hex).
    pub public_key: &'a str,
    /// The machine.
    pub instance: &'a InstanceId,
    /// The session.
    pub session: u32,
    /// What it is.
    pub purpose: SealPurpose,
}

impl Seal<'_> {
    /// HPKE's `info`: ASCII, as in `docs/protocol.md`.
    pub fn info(&self) -> String {
        info(self.purpose, self.instance, self.session)
    }
}

fn info(purpose: SealPurpose, instance: &InstanceId, session: u32) -> String {
    format!("muster/1 {} {instance} {session}", purpose.word())
}

/// Sealing or opening failed. The texts name no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// The public key is not one of X25519, or one of its weak points.
    #[error("the public key cannot be sealed to")]
    PublicKey,
    /// The ciphertext is not for this key, machine, session and purpose, or was changed.
    #[error("the sealed text does not open")]
    Open,
    /// The operating system gave no random bytes, or the cipher refused.
    #[error("sealing failed")]
    Failed,
}

/// Seals a text (base64).
///
/// # Errors
/// [`SealError::PublicKey`] if the key is none; [`SealError::Failed`] otherwise.
pub fn seal(seal: &Seal<'_>, text: &[u8]) -> Result<String, SealError> {
    let mut key = [0; KEY_BYTES];
    hex::decode_to_slice(seal.public_key, &mut key).map_err(|_| SealError::PublicKey)?;
    let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&key).map_err(|_| SealError::PublicKey)?;
    let (encapsulated, mut context) = hpke::setup_sender::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &key,
        seal.info().as_bytes(),
    )
    // Encapsulation fails only for points of small order.
    .map_err(|_| SealError::PublicKey)?;
    let ciphertext = context.seal(text, b"").map_err(|_| SealError::Failed)?;
    let mut sealed = encapsulated.to_bytes().to_vec();
    sealed.extend_from_slice(&ciphertext);
    Ok(BASE64.encode(sealed))
}

/// An agent's key pair for one claim. A secret: it has no `Debug`.
pub struct KeyPair {
    private: <X25519HkdfSha256 as Kem>::PrivateKey,
    public: <X25519HkdfSha256 as Kem>::PublicKey,
}

impl KeyPair {
    /// A fresh pair.
    pub fn generate() -> KeyPair {
        let (private, public) = X25519HkdfSha256::gen_keypair();
        KeyPair { private, public }
    }

    /// The pair of a known private key.
    ///
    /// # Errors
    /// [`SealError::PublicKey`] if the bytes are no private key.
    pub fn from_private(bytes: &[u8; KEY_BYTES]) -> Result<KeyPair, SealError> {
        let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(bytes).map_err(|_| SealError::PublicKey)?;
        let public = X25519HkdfSha256::sk_to_pk(&private);
        Ok(KeyPair { private, public })
    }

    /// The public key as a claim carries it.
    pub fn public_hex(&self) -> String {
        hex::encode(self.public.to_bytes())
    }

    /// Opens what was sealed to this pair.
    ///
    /// # Errors
    /// [`SealError::Open`] if it is for anyone or anything else.
    pub fn open(
        &self,
        purpose: SealPurpose,
        instance: &InstanceId,
        session: u32,
        sealed: &str,
    ) -> Result<Vec<u8>, SealError> {
        let bytes = BASE64.decode(sealed).map_err(|_| SealError::Open)?;
        let (encapsulated, ciphertext) = bytes.split_at_checked(KEY_BYTES).ok_or(SealError::Open)?;
        let encapsulated =
            <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| SealError::Open)?;
        let mut context = hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &self.private,
            &encapsulated,
            info(purpose, instance, session).as_bytes(),
        )
        .map_err(|_| SealError::Open)?;
        context.open(ciphertext, b"").map_err(|_| SealError::Open)
    }
}
