//! Reports of drills on disk, signed with a key of this host (Ed25519, RFC 8032).
//!
//! `TIME.json` is what is signed, byte for byte; `TIME.json.sig` has the 64 bytes of the signature, as
//! `openssl pkeyutl -verify -pubin -inkey KEY.pem -rawin -in TIME.json -sigfile TIME.json.sig` takes
//! them; `TIME.md` is the same for people, and made anew from what was verified when it is shown.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_base::base64;
use mainstay_base::fs::{create_dir_private, replace};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::{DrillReport, page, stamp};
use crate::error::{Error, ErrorKind};
use crate::progress::{Progress, Quiet};
use crate::run::Backups;

/// So many reports of a backup stay.
const REPORTS: usize = 100;

/// The key that reports of this host are signed with, the part that everybody may have. Its `Display`
/// form is PEM, as `openssl` reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Whether this is the signature of these bytes.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(bytes, signature)
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What comes before a key in SubjectPublicKeyInfo (RFC 8410, section 4).
        const BEFORE: [u8; 12] = [48, 42, 48, 5, 6, 3, 43, 101, 112, 3, 33, 0];
        let whole = [&BEFORE, self.0.as_slice()].concat();
        let text = base64(&whole);
        write!(
            f,
            "-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n"
        )
    }
}

/// A report whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedReport {
    /// What it says.
    pub report: DrillReport,
    /// Where it is.
    pub path: PathBuf,
}

impl Backups {
    fn drills(&self) -> PathBuf {
        self.state.join("drill")
    }

    /// The key that reports of drills are signed with, made at the first need.
    fn key(&self) -> Result<Ed25519KeyPair, Error> {
        let path = self.drills().join("key.pk8");
        let attempt = "sign the report of a drill";
        let quiet: Arc<dyn Progress> = Arc::new(Quiet);
        let _lock = crate::lock::acquire(
            &self.locks(),
            "drill-signing",
            attempt,
            Duration::from_secs(10),
            quiet.as_ref(),
        )?;
        let document = match fs::read(&path) {
            Ok(document) => document,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| {
                    Error::new(ErrorKind::Io, attempt, "the system gives no random numbers")
                })?;
                create_dir_private(&self.drills(), 0o700)
                    .and_then(|()| replace(&path, made.as_ref(), 0o600))
                    .map_err(|error| Error::io(attempt, &path, &error))?;
                made.as_ref().to_vec()
            }
            Err(error) => return Err(Error::io(attempt, &path, &error)),
        };
        Ed25519KeyPair::from_pkcs8(&document).map_err(|error| {
            Error::new(
                ErrorKind::Damaged,
                attempt,
                format!("{} is no key: {error}", path.display()),
            )
            .with_help(
                "move it away: a new one is made; reports of the old one then need its public key",
            )
        })
    }

    /// The public part of the key that reports of this host are signed with.
    pub fn drill_key(&self) -> Result<PublicKey, Error> {
        Ok(PublicKey(self.key()?.public_key().as_ref().to_vec()))
    }

    /// Writes a report down, signed; says where.
    pub(super) fn keep_report(&self, report: &DrillReport) -> Result<PathBuf, Error> {
        let attempt = "write the report of a drill";
        let key = self.key()?;
        let public = PublicKey(key.public_key().as_ref().to_vec());
        let directory = self.drills().join("reports").join(&report.backup);
        let fail = |error: io::Error| Error::io(attempt, &directory, &error);
        create_dir_private(&directory, 0o700).map_err(fail)?;
        let json = serde_json::to_vec_pretty(report)
            .map_err(|error| Error::new(ErrorKind::Internal, attempt, error.to_string()))?;
        let path = directory.join(format!("{}.json", stamp(report.began)));
        replace(&path, &json, 0o600).map_err(fail)?;
        replace(&signature_of(&path), key.sign(&json).as_ref(), 0o600).map_err(fail)?;
        let text = format!("{}\n{}", page(report), signed_by(&public, &path));
        replace(&path.with_extension("md"), text.as_bytes(), 0o600).map_err(fail)?;
        thin_out(&directory, &path).map_err(fail)?;
        Ok(path)
    }

    /// The last report of a drill of this backup, its signature verified; none if it was never drilled.
    pub fn last_report(&self, backup: &str) -> Result<Option<SignedReport>, Error> {
        self.backup_config(backup)?;
        match self.catalog.last_drill(backup, self.horizon())? {
            None => Ok(None),
            Some(record) => {
                let Some(path) = record.report else {
                    return Err(Error::new(
                        ErrorKind::Io,
                        format!("show the last drill of `{backup}`"),
                        "its report could not be written",
                    )
                    .with_help(format!("drill it again: `mainstay backup drill {backup}`")));
                };
                self.read_report(&path).map(Some)
            }
        }
    }

    /// A report of this host, its signature verified.
    pub fn read_report(&self, path: &Path) -> Result<SignedReport, Error> {
        let attempt = format!("read the report {}", path.display());
        let read = |path: &Path| fs::read(path).map_err(|error| Error::io(&attempt, path, &error));
        let json = read(path)?;
        let signature = read(&signature_of(path))?;
        let broken = |why: &str| {
            Error::new(ErrorKind::Damaged, &attempt, why).with_help(
                "it was changed after it was signed, or signed by another host's key; believe nothing in it, and drill again",
            )
        };
        if !self.drill_key()?.verifies(&json, &signature) {
            return Err(broken("its signature is not one of this host's key"));
        }
        let report = serde_json::from_slice(&json).map_err(|error| broken(&error.to_string()))?;
        Ok(SignedReport {
            report,
            path: path.to_owned(),
        })
    }
}

fn signature_of(path: &Path) -> PathBuf {
    crate::catalog::with_suffix(path, ".sig")
}

/// The last lines of a page.
fn signed_by(key: &PublicKey, path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    format!(
        "What this page says is in `{name}`, which is signed (`{name}.sig`, Ed25519) by the key of this host:\n\n```\n{key}```\n"
    )
}

/// Removes the oldest reports of a backup when there are many; of those that prove something the last
/// one stays.
fn thin_out(directory: &Path, new: &Path) -> io::Result<()> {
    let mut reports: Vec<PathBuf> = fs::read_dir(directory)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    reports.sort();
    let surplus = reports.len().saturating_sub(REPORTS);
    let proves = |path: &PathBuf| {
        fs::read(path).is_ok_and(|json| {
            serde_json::from_slice::<DrillReport>(&json).is_ok_and(|report| report.is_proven())
        })
    };
    let keep = reports.iter().rev().find(|path| proves(path)).cloned();
    for path in &reports[..surplus] {
        if path == new || Some(path) == keep.as_ref() {
            continue;
        }
        for path in [path.clone(), signature_of(path), path.with_extension("md")] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;
    use crate::drill::Verdict;

    #[test]
    fn a_signature_holds_for_what_was_signed_alone() {
        // RFC 8032, section 7.1, test 2.
        let bytes = |text: &str| -> Vec<u8> {
            (0..text.len() / 2)
                .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
                .collect()
        };
        let key = PublicKey(bytes(
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        ));
        let mut signature = bytes(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        );
        assert!(key.verifies(&[0x72], &signature));
        assert!(!key.verifies(&[0x73], &signature));
        signature[0] ^= 1;
        assert!(!key.verifies(&[0x72], &signature));
        assert!(!key.verifies(&[0x72], &[]));
        let pem = key.to_string();
        assert!(
            pem.starts_with("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA"),
            "{pem}"
        );
    }

    #[test]
    fn old_reports_go_and_the_last_proof_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = |number: usize| directory.path().join(format!("{number:04}.json"));
        for number in 0..REPORTS + 5 {
            let mut report = report();
            if number < 3 {
                report.verdict = Verdict::Proven;
            }
            fs::write(path(number), serde_json::to_vec(&report).unwrap()).unwrap();
            fs::write(signature_of(&path(number)), "s").unwrap();
        }
        thin_out(directory.path(), &path(REPORTS + 4)).unwrap();
        for number in [0, 1, 3, 4] {
            assert!(!path(number).exists() && !signature_of(&path(number)).exists());
        }
        for number in [2, 5, REPORTS + 4] {
            assert!(path(number).exists() && signature_of(&path(number)).exists());
        }
    }
}
