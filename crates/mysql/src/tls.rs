//! TLS to a server (RFC 8446, RFC 5246), by rustls with the cryptography of ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::error::{Error, ErrorKind};

/// How a server is known, and how we are known to it. TLS is never given up for a connection in clear.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// PEM file with the authorities that are believed; those of the system if there is none.
    pub ca: Option<PathBuf>,
    /// The name that must be in the certificate; the host of the address if there is none.
    pub server_name: Option<String>,
    /// Takes any name in a certificate that one of the authorities in `ca` has signed: the
    /// certificates that a `MySQL` server makes for itself have no name of a host in them. Needs `ca`,
    /// because with the system's authorities anybody has such a certificate.
    pub any_name: bool,
    /// What we show to a server that asks who we are.
    pub identity: Option<Identity>,
}

/// A certificate of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM file with our certificate and those between it and its authority, ours first.
    pub certificates: PathBuf,
    /// PEM file with the private key of it.
    pub key: PathBuf,
}

impl Tls {
    /// Reads certificates and keys.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| setup(format!("TLS cannot be prepared: {error}")))?;
        let roots = self.roots()?;
        let builder = if self.any_name {
            if self.ca.is_none() {
                return Err(
                    setup("any name is taken only from an authority of `ca`".to_owned())
                        .with_help("name the file with the server's own authority in `ca`"),
                );
            }
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| setup(format!("TLS cannot be prepared: {error}")))?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyName(inner)))
        } else {
            builder.with_root_certificates(roots)
        };
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from_pem_file(&identity.key)
                    .map_err(|error| unreadable("private key", &identity.key, error))?;
                builder
                    .with_client_auth_cert(certificates(&identity.certificates)?, key)
                    .map_err(|error| {
                        setup(format!(
                            "the certificate {} is of no use: {error}",
                            identity.certificates.display()
                        ))
                    })?
            }
        };
        Ok(Arc::new(config))
    }

    /// The name to ask for. With a unix socket there is no host, and any name is as good.
    pub(crate) fn name(&self, host: &str) -> Result<ServerName<'static>, Error> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| {
            setup(format!(
                "`{name}` is not a name that a certificate can have"
            ))
        })
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut store = RootCertStore::empty();
        let Some(path) = &self.ca else {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(
                    setup("this system knows no certificate authority".to_owned()).with_help(
                        "install the package ca-certificates, or name a PEM file in `ca`",
                    ),
                );
            }
            return Ok(store);
        };
        for certificate in certificates(path)? {
            store
                .add(certificate)
                .map_err(|error| setup(format!("{} is no authority: {error}", path.display())))?;
        }
        Ok(store)
    }
}

fn setup(reason: String) -> Error {
    Error::new(ErrorKind::Setup, reason)
}

fn unreadable(what: &str, path: &Path, error: rustls::pki_types::pem::Error) -> Error {
    let made = setup(format!("the {what} {} cannot be read", path.display()));
    match error {
        rustls::pki_types::pem::Error::Io(error) => made.with_source(error),
        error => setup(format!("{made}: {error}")),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(std::iter::Iterator::collect);
    match found {
        Err(error) => Err(unreadable("certificates", path, error)),
        Ok(found) if found.is_empty() => Err(setup(format!(
            "there is no certificate in {}",
            path.display()
        ))),
        Ok(found) => Ok(found),
    }
}

/// Believes a certificate of the given authorities whatever name is in it.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The name is looked at last: this error says that all else was right.
        match self
            .0
            .verify_server_cert(certificate, between, name, ocsp, now)
        {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
