//! HTTP clients: one for the door, through a proxy if need be, and one for the metadata service, which is never behind one.

use std::time::Duration;

use reqwest::{Certificate, Client, NoProxy, Proxy};
use thiserror::Error;

use crate::settings::Settings;

/// For a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// For an answer of the metadata service.
const METADATA: Duration = Duration::from_secs(5);

/// A client cannot be made.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The proxy's address is none.
    #[error("`proxy` is no address: {0}; write it as http://proxy.example:3128")]
    Proxy(reqwest::Error),
    /// The file of certificates cannot be read.
    #[error("`extra_ca` ({0}) cannot be read: {1}")]
    CaFile(String, std::io::Error),
    /// It has no certificates.
    #[error("`extra_ca` ({0}) has no certificates in PEM form")]
    Ca(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}; does this machine have CA certificates?")]
    Tls(reqwest::Error),
}

/// The door's client.
///
/// # Errors
/// See [`ClientError`].
pub fn door(settings: &Settings) -> Result<Client, ClientError> {
    let mut builder = Client::builder().connect_timeout(CONNECT).redirect(reqwest::redirect::Policy::none());
    builder = match &settings.proxy {
        None => builder.no_proxy(),
        Some(proxy) => {
            let proxy = Proxy::all(proxy).map_err(ClientError::Proxy)?;
            builder.proxy(proxy.no_proxy(NoProxy::from_string(&settings.no_proxy.join(","))))
        }
    };
    if let Some(path) = &settings.extra_ca {
        let name = path.display().to_string();
        let pem = std::fs::read(path).map_err(|e| ClientError::CaFile(name.clone(), e))?;
        let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(ClientError::Ca(name));
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(ClientError::Tls)
}

/// The metadata service's client. It speaks no TLS, so that no certificate is read for it.
///
/// # Errors
/// See [`ClientError`].
pub fn metadata() -> Result<Client, ClientError> {
    let builder = Client::builder().connect_timeout(METADATA).timeout(METADATA);
    builder.no_proxy().tls_certs_only([]).redirect(reqwest::redirect::Policy::none()).build().map_err(ClientError::Tls)
}
