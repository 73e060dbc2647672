//! What connections of sinks are made with under TLS.

use std::io;
use std::sync::Arc;

use mainstay_base::tls::Tls;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::error::Error;

/// What one connection after another is made with.
#[derive(Debug, Clone)]
pub(super) struct TlsClient {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    /// Whether we show who we are: only after that a peer says whether it takes us (TLS 1.3).
    pub(super) shows_identity: bool,
}

impl TlsClient {
    /// Reads certificates and keys. `host` is the peer's name if the config has no other.
    pub(super) fn load(tls: &Tls, host: &str) -> Result<Self, Error> {
        let load = || {
            Ok(Self {
                config: tls.client()?,
                name: tls.name(host)?,
                shows_identity: tls.identity.is_some(),
            })
        };
        load().map_err(|error: mainstay_base::tls::Error| {
            Error::setup(format!("TLS with {host}"), io::Error::from(error))
        })
    }
}
