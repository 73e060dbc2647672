//! Whose certificates are believed: the system's authorities, or those of the config's own files.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::channel::Failure;

/// The certificates of the authorities that a channel believes, in DER: those in `files`, or where
/// none are given those of the system.
pub(crate) fn authorities(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let mut found = Vec::new();
    if files.is_empty() {
        found = rustls_native_certs::load_native_certs().certs;
    }
    for file in files {
        let shown = file.display();
        let bytes = std::fs::read(file).map_err(|error| {
            Failure::temporary(
                format!("cannot read the certificates in {shown}: {error}"),
                "name a PEM file that mainstay may read in `ca`",
            )
        })?;
        let before = found.len();
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            found.push(certificate.map_err(|error| {
                Failure::temporary(
                    format!("{shown} is not a PEM file: {error}"),
                    "name a file with certificates between BEGIN CERTIFICATE and END CERTIFICATE in `ca`",
                )
            })?);
        }
        if found.len() == before {
            return Err(Failure::temporary(
                format!("there is no certificate in {shown}"),
                "name a file with certificates between BEGIN CERTIFICATE and END CERTIFICATE in `ca`",
            ));
        }
    }
    // The libraries above refuse all of them for one that they cannot read; systems have such.
    found.retain(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
    if found.is_empty() {
        return Err(Failure::temporary(
            "no certificate authority is known on this system",
            "install the package ca-certificates, or name a PEM file in `ca`",
        ));
    }
    Ok(found)
}

/// TLS of a client that believes these and nobody else.
pub(crate) fn client(files: &[PathBuf]) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in authorities(files)? {
        // Those that cannot be read are left out already.
        let _ = roots.add(certificate);
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| {
            Failure::temporary(
                format!("TLS cannot be prepared: {error}"),
                "this is a fault of mainstay: report it",
            )
        })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The one provider of cryptography for mail and webhooks.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What TLS has against the other side, inside an error of the connection.
pub(crate) fn fault(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
