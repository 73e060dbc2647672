//! TLS for sinks (RFC 8446, RFC 5246), by rustls with the cryptography of ring.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::Error;

/// How a peer is known, and how we are known to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// Who vouches for the peer.
    pub roots: Roots,
    /// The name its certificate must have; the host of the address if there is none.
    pub server_name: Option<String>,
    /// Takes any certificate: whoever sits between us and the peer reads and changes everything. For
    /// trying something out.
    pub insecure_skip_verify: bool,
    /// What we show to a peer that asks who we are.
    pub identity: Option<Identity>,
}

/// Who vouches for a peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Roots {
    /// The authorities that the system trusts.
    #[default]
    System,
    /// Those in a PEM file alone.
    File(PathBuf),
    /// Those of the system and those in a PEM file.
    SystemAnd(PathBuf),
}

/// A certificate of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM file with our certificate and those between it and its authority, ours first.
    pub certificates: PathBuf,
    /// PEM file with the private key of it.
    pub key: PathBuf,
}

/// What one connection after another is made with.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    /// Whether we show who we are: only after that a peer says whether it takes us (TLS 1.3).
    pub(super) shows_identity: bool,
}

impl Tls {
    /// Reads certificates and keys. `host` is the peer's name if the config has no other.
    pub(super) fn load(config: &TlsConfig, host: &str) -> Result<Self, Error> {
        let name = config.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|error| {
            Error::setup(
                format!("`{name}` as the name of a TLS peer"),
                io::Error::new(io::ErrorKind::InvalidInput, error),
            )
        })?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::setup("TLS", io::Error::other(error)))?;
        let builder = if config.insecure_skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
        } else {
            builder.with_root_certificates(roots(&config.roots)?)
        };
        let config_ = match &config.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_file(&identity.key)
                    .map_err(|error| unreadable("private key", &identity.key, error))?;
                builder
                    .with_client_auth_cert(certificates(&identity.certificates)?, key)
                    .map_err(|error| {
                        Error::setup(
                            format!("the certificate {}", identity.certificates.display()),
                            io::Error::new(io::ErrorKind::InvalidData, error),
                        )
                    })?
            }
        };
        Ok(Self {
            config: Arc::new(config_),
            name,
            shows_identity: config.identity.is_some(),
        })
    }
}

fn unreadable(what: &str, path: &Path, error: rustls::pki_types::pem::Error) -> Error {
    let source = match error {
        rustls::pki_types::pem::Error::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    };
    Error::setup(format!("the {what} {}", path.display()), source)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(std::iter::Iterator::collect);
    match found {
        Err(error) => Err(unreadable("certificates", path, error)),
        Ok(found) if found.is_empty() => Err(Error::setup(
            format!("the certificates {}", path.display()),
            io::Error::new(io::ErrorKind::InvalidData, "there are none in it"),
        )),
        Ok(found) => Ok(found),
    }
}

fn roots(roots: &Roots) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    if let Roots::System | Roots::SystemAnd(_) = roots {
        let found = rustls_native_certs::load_native_certs();
        store.add_parsable_certificates(found.certs);
        if store.is_empty() && *roots == Roots::System {
            return Err(Error::setup(
                "the system's certificate authorities",
                io::Error::new(
                    io::ErrorKind::NotFound,
                    "there are none: install the package ca-certificates, or name a file",
                ),
            ));
        }
    }
    if let Roots::File(path) | Roots::SystemAnd(path) = roots {
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|error| {
                Error::setup(
                    format!("the certificates {}", path.display()),
                    io::Error::new(io::ErrorKind::InvalidData, error),
                )
            })?;
        }
    }
    Ok(store)
}

/// Takes any certificate, and still asks for proof that the peer has its key.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
