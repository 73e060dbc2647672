//! The client's side of TLS (RFC 8446, RFC 5246), by rustls with the cryptography of ring: whom we
//! believe, what we show, and what an error of it means.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    RootCertStore, SignatureScheme, StreamOwned,
};

use crate::config::Section;
use crate::{Diagnostic, Place};

/// How a peer is known, and how we are known to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// PEM files with the authorities that are believed, and nobody else; those of the system where
    /// there is none.
    pub ca: Vec<PathBuf>,
    /// The name that its certificate must have; the host of the address if there is none.
    pub server_name: Option<String>,
    /// What of its certificate is looked at.
    pub check: Check,
    /// What we show to a peer that asks who we are.
    pub identity: Option<Identity>,
}

/// What of a peer's certificate is looked at. That the peer has the key of it is, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Check {
    /// Everything.
    #[default]
    Name,
    /// Everything but the name in it: the certificates that some servers make for themselves have no
    /// name of a host. Needs [`Tls::ca`], because with the system's authorities anybody has such a
    /// certificate.
    AnyName,
    /// Nothing: whoever sits between us and the peer reads and changes everything. For trying
    /// something out.
    Nothing,
}

/// A certificate of our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM file with our certificate and those between it and its authority, ours first.
    pub certificates: PathBuf,
    /// PEM file with the private key of it.
    pub key: PathBuf,
}

/// Why TLS cannot be prepared, and what to do about it.
#[derive(Debug)]
pub struct Error {
    kind: io::ErrorKind,
    reason: String,
    help: &'static str,
}

const NAME_CA: &str =
    "name a file with certificates between BEGIN CERTIFICATE and END CERTIFICATE in `ca`";
const NAME_CERT: &str = "name a file with our certificate between BEGIN CERTIFICATE and END CERTIFICATE, and those between it and its authority, in `cert`";
const NAME_KEY: &str = "name a file with the private key of `cert` between BEGIN PRIVATE KEY and END PRIVATE KEY in `key`, without a password (`openssl pkey -in FILE -out NEW` takes it off)";

impl Error {
    fn new(kind: io::ErrorKind, reason: String, help: &'static str) -> Self {
        Self { kind, reason, help }
    }

    /// Of what sort it is.
    pub fn kind(&self) -> io::ErrorKind {
        self.kind
    }

    /// What to do about it.
    pub fn help(&self) -> &'static str {
        self.help
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.reason)
    }
}

impl std::error::Error for Error {}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind, error)
    }
}

impl Tls {
    /// Reads what each table `tls` of a config has: `ca`, `server_name`, `cert` and `key`. Keys of its
    /// own are the caller's to read, and so is the end of it.
    pub fn read(section: &mut Section<'_>) -> Self {
        let certificates = section.get_spanned::<PathBuf>("cert");
        let key = section.get_spanned::<PathBuf>("key");
        let identity = match (certificates, key) {
            (Some(certificates), Some(key)) => Some(Identity {
                certificates: certificates.value,
                key: key.value,
            }),
            (None, None) => None,
            (Some(alone), None) => {
                lonely(section, "cert", "key", &alone.place);
                None
            }
            (None, Some(alone)) => {
                lonely(section, "key", "cert", &alone.place);
                None
            }
        };
        Self {
            ca: section.get("ca").into_iter().collect(),
            server_name: section.get("server_name"),
            check: Check::Name,
            identity,
        }
    }

    /// Reads the files, and makes of them what connections are made with.
    pub fn client(&self) -> Result<Arc<ClientConfig>, Error> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unprepared)?;
        let builder = match self.check {
            Check::Name => builder.with_root_certificates(roots(&self.ca)?),
            Check::AnyName if self.ca.is_empty() => {
                return Err(Error::new(
                    io::ErrorKind::InvalidInput,
                    "any name is taken only from an authority of `ca`".to_owned(),
                    "name the file with the server's own authority in `ca`",
                ));
            }
            Check::AnyName => {
                let roots = Arc::new(roots(&self.ca)?);
                let inner = WebPkiServerVerifier::builder_with_provider(roots, provider())
                    .build()
                    .map_err(unprepared)?;
                let verifier = Lenient {
                    provider: provider(),
                    inner: Some(inner),
                };
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
            }
            Check::Nothing => {
                let verifier = Lenient {
                    provider: provider(),
                    inner: None,
                };
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificates, key }) => {
                let chain = read_certificates(certificates, NAME_CERT)?;
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| unreadable("private key", key, error, NAME_KEY))?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|error| unfit(certificates, key, &error))?
            }
        };
        Ok(Arc::new(config))
    }

    /// The name that the certificate of a peer at `host` must have.
    pub fn name(&self, host: &str) -> Result<ServerName<'static>, Error> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned()).map_err(|_| {
            Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{name}` is not a name that a certificate can have"),
                "write the name or the address of a host, without a port",
            )
        })
    }
}

/// A certificate proves nothing without its key, and the other way round.
fn lonely(section: &Section<'_>, there: &str, missing: &str, place: &Place) {
    section.report(
        Diagnostic::error(format!("`{there}` does nothing without `{missing}`"))
            .at(place)
            .help(format!("add {missing} = \"…\", the path of a PEM file")),
    );
}

/// Begins TLS over a connection, and ends when both sides know each other; but a peer of TLS 1.3 that
/// does not take our certificate says so only later.
pub fn begin<S: Read + Write>(
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
    mut socket: S,
) -> io::Result<StreamOwned<ClientConnection, S>> {
    let mut connection = ClientConnection::new(client, name).map_err(io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// What TLS has against the other side, inside an error of the connection.
pub fn fault(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What to do about a connection that TLS does not come about on.
pub fn help(fault: &rustls::Error) -> &'static str {
    use AlertDescription as Alert;
    use rustls::Error as Fault;
    match fault {
        Fault::InvalidCertificate(why) => match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "name the PEM file of the authority that signed the server's certificate in `ca`; those between the two are the server's to send"
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                "the server needs a certificate that is valid today: renew it there, or set the clock of this machine"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "use a name that is in the server's certificate: in the address, or as `server_name` where the config has that"
            }
            _ => "the server needs a certificate that was made for servers: renew it there",
        },
        Fault::AlertReceived(
            Alert::CertificateRequired | Alert::NoCertificate | Alert::HandshakeFailure,
        ) => {
            "if the server asks who we are, show it a certificate (`cert` and `key`, where the config has them); otherwise it and mainstay have no cipher in common"
        }
        Fault::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError,
        ) => {
            "the server does not take our certificate: check that `cert` is valid and signed by an authority which the server believes"
        }
        Fault::AlertReceived(Alert::ProtocolVersion) | Fault::PeerIncompatible(_) => {
            "switch on TLS 1.2 or 1.3 at the server: older versions are not spoken"
        }
        Fault::InvalidMessage(_) => "check the port: what the server says there is not TLS",
        _ => "the log of the server may say more",
    }
}

/// The one provider of cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates of the authorities in these files, or where none are given those of the system;
/// never an empty list. In a file with many, those that cannot be used are left out, as systems have
/// them; a file with none that can is an error.
pub fn authorities(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let is_usable =
        |found: &CertificateDer<'static>| RootCertStore::empty().add(found.clone()).is_ok();
    let mut found = Vec::new();
    for file in files {
        let before = found.len();
        found.append(&mut read_certificates(file, NAME_CA)?);
        found.retain(is_usable);
        if found.len() == before {
            let reason = format!("what {} has is not a certificate", file.display());
            return Err(Error::new(io::ErrorKind::InvalidData, reason, NAME_CA));
        }
    }
    if files.is_empty() {
        found = rustls_native_certs::load_native_certs().certs;
        found.retain(is_usable);
    }
    if found.is_empty() {
        return Err(Error::new(
            io::ErrorKind::NotFound,
            "this system knows no certificate authority".to_owned(),
            "install the package ca-certificates, or name a PEM file in `ca`",
        ));
    }
    Ok(found)
}

fn roots(files: &[PathBuf]) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(authorities(files)?);
    Ok(store)
}

fn read_certificates(
    path: &Path,
    help: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(pem::Error::NoItemsFound),
        other => other,
    }
    .map_err(|error| unreadable("certificates", path, error, help))
}

fn unreadable(what: &str, path: &Path, error: pem::Error, help: &'static str) -> Error {
    let shown = path.display();
    // The library's own words would show what is in the file, byte for byte.
    let why = match error {
        pem::Error::Io(error) => {
            let help = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    "give the user mainstay runs as the right to read it, or name another file"
                }
                _ => help,
            };
            let reason = format!("cannot read the {what} in {shown}: {error}");
            return Error::new(error.kind(), reason, help);
        }
        pem::Error::NoItemsFound => {
            let reason = format!("{shown} has no {what} in it");
            return Error::new(io::ErrorKind::InvalidData, reason, help);
        }
        pem::Error::MissingSectionEnd { .. } => "an END line is missing",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is not whole",
        pem::Error::Base64Decode(_) => "what is between BEGIN and END is not base64",
        _ => "it cannot be understood",
    };
    let reason = format!("{shown} is not a PEM file: {why}");
    Error::new(io::ErrorKind::InvalidData, reason, help)
}

fn unfit(certificates: &Path, key: &Path, error: &rustls::Error) -> Error {
    let (certificates, key) = (certificates.display(), key.display());
    let (reason, help) = match error {
        rustls::Error::InconsistentKeys(_) => (
            format!("the private key in {key} is not that of the certificate in {certificates}"),
            "name the two that were made together in `cert` and `key`; our own certificate comes first in its file",
        ),
        error => (
            format!(
                "the certificate in {certificates} with the key in {key} is of no use: {error}"
            ),
            "name an RSA, ECDSA or Ed25519 key and its certificate in `key` and `cert`",
        ),
    };
    Error::new(io::ErrorKind::InvalidData, reason, help)
}

fn unprepared(error: impl fmt::Display) -> Error {
    let reason = format!("TLS cannot be prepared: {error}");
    Error::new(
        io::ErrorKind::Other,
        reason,
        "this is a fault of mainstay: report it",
    )
}

/// Believes more certificates than it should, and still asks for proof that the peer has the key.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    /// Looks at everything but the name; where there is none, nothing is looked at.
    inner: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        // The name is looked at last: this error says that all else was right.
        match inner.verify_server_cert(certificate, between, name, ocsp, now) {
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
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests;
