//! Logs: a machine whose runner is over asks where to put them, and puts them there itself.
//!
//! What lives here: who may ask, and under which name and of what size a log is kept. What may not: a log.
//!
//! Invariant: a session gets addresses for a fixed few objects of its own, each of the size that was signed. Nothing is
//! written over, so asking again gives nothing more.

use std::sync::Arc;

use muster_core::log_shelf::{LogPut, LogShelf, NotSigned, PUT_WITHIN};
use muster_core::ports::{Store, StoreError};
use muster_core::protocol::{LogAnswer, LogRequest};
use thiserror::Error;

use crate::format::{self, BadField};
use crate::live::LiveConfig;
use crate::token;

/// Why there is no address.
#[derive(Debug, Error)]
pub enum LogError {
    /// A field is not what the protocol says.
    #[error(transparent)]
    BadField(#[from] BadField),
    /// No such session, not its token, or its machine is gone. The text is for the log alone.
    #[error("not proven: {0}")]
    NotProven(String),
    /// This fleet keeps no logs.
    #[error("no logs are kept")]
    Off,
    /// It could not be signed now.
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    /// The ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The receiving end of those who ask.
pub struct Logs<S> {
    store: Arc<S>,
    config: Arc<LiveConfig>,
    shelf: Option<Arc<dyn LogShelf>>,
}

impl<S: Store> Logs<S> {
    /// The receiving end over these ports. Without a shelf no logs are kept, whatever the configuration says.
    pub fn new(store: Arc<S>, config: Arc<LiveConfig>, shelf: Option<Arc<dyn LogShelf>>) -> Logs<S> {
        Logs { store, config, shelf }
    }

    /// Gives the address for one log. The session may be over, its machine may not.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn ask(&self, request: &LogRequest) -> Result<LogAnswer, LogError> {
        format::log(request)?;
        let config = self.config.current();
        let (Some(logs), Some(shelf)) = (&config.logs, &self.shelf) else { return Err(LogError::Off) };
        let instance = &request.from.instance;
        let Some(row) = token::session(&*self.store, &request.from).await? else {
            return Err(LogError::NotProven(format!("{instance}: no such session, or another token")));
        };
        let machine = self.store.machine(instance).await?;
        if machine.is_none_or(|machine| machine.gone_at.is_some()) {
            return Err(LogError::NotProven(format!("{instance}: its machine is gone")));
        }
        let put = LogPut::new(logs, &row.instance, row.session, request.kind, request.number, request.bytes);
        let bytes = put.bytes;
        let signed = shelf.sign(put).await?;
        Ok(LogAnswer { url: signed.url, headers: signed.headers, bytes, expires_s: PUT_WITHIN.as_secs() })
    }
}
