//! Certificates for servers, made for each test.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// An authority and a server's certificate, in files.
pub(crate) struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// For a server of this name.
    pub(crate) fn new(name: &str) -> Self {
        let directory = testbed::directory();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let write = |name: &str, text: String| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            testbed::give(&path);
        };
        write("ca.pem", ca.pem());
        write("certificate.pem", certificate.pem());
        write("key.pem", key.serialize_pem());
        Self { directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What makes a server use them.
    pub(crate) fn options(&self) -> [String; 3] {
        let option = |option: &str, path: &Path| format!("--{option}={}", path.display());
        [
            option("ssl-ca", &self.path("ca.pem")),
            option("ssl-cert", &self.path("certificate.pem")),
            option("ssl-key", &self.path("key.pem")),
        ]
    }
}
