//! What is kept over a restart of the agent, in memory only (`/run`): nonce and key of the claim, and the session.
//!
//! Invariant: the file belongs to root and is readable by nobody else; a machine that boots anew has none.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use muster_core::protocol::SessionProof;
use muster_seal::KeyPair;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};

/// Of one claim, and of the session that it opened. Secrets: no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Kept {
    nonce: String,
    private_key: String,
    /// The session, once the claim is answered; while the next one is asked for, the former.
    pub session: Option<SessionProof>,
    /// The pool's `max_job_hours`, once its runner was started.
    #[serde(default)]
    pub job_hours: Option<u32>,
    /// Whether its runner was started.
    pub started: bool,
    /// The power is being switched off.
    #[serde(default)]
    pub over: bool,
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}

impl Kept {
    /// For a claim that nobody has made yet.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn fresh() -> io::Result<Kept> {
        let mut kept = Kept {
            nonce: String::new(),
            private_key: String::new(),
            session: None,
            job_hours: None,
            started: false,
            over: false,
        };
        kept.renew()?;
        Ok(kept)
    }

    /// For the claim after this session's.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn renew(&mut self) -> io::Result<()> {
        self.nonce = hex::encode(random::<16>()?);
        self.private_key = hex::encode(random::<32>()?);
        self.started = false;
        Ok(())
    }

    /// The claim's nonce.
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// The claim's keys.
    ///
    /// # Errors
    /// What was kept is no key.
    pub fn keys(&self) -> io::Result<KeyPair> {
        let bad = || io::Error::other("the kept key is none");
        let mut bytes = [0; 32];
        hex::decode_to_slice(&self.private_key, &mut bytes).map_err(|_| bad())?;
        KeyPair::from_private(&bytes).map_err(|_| bad())
    }
}

/// Where it is kept.
#[derive(Clone, Debug)]
pub struct Keeper {
    path: PathBuf,
}

impl Keeper {
    /// In this folder, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made, or is not ours alone.
    pub fn new(folder: &Path) -> io::Result<Keeper> {
        fs::create_dir_all(folder)?;
        #[cfg(unix)]
        fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        Ok(Keeper { path: folder.join("session.json") })
    }

    /// What a former agent of this boot has kept.
    pub fn load(&self) -> Option<Kept> {
        serde_json::from_slice(&fs::read(&self.path).ok()?).ok()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, kept: &Kept) -> io::Result<()> {
        let new = self.path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&new)?;
        file.write_all(&serde_json::to_vec(kept)?)?;
        drop(file);
        fs::rename(new, &self.path)
    }
}
