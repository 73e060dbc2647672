//! Who may ask: one name and one password for a server, by basic authentication (RFC 7617).

use std::fmt;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use mainstay_base::{Secret, hex};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::xmlrpc::base64;

/// The name and password of a server.
#[derive(Clone)]
pub struct Login {
    /// The name.
    username: String,
    /// The password, or `{SHA}` and the 40 hexadecimal digits of its SHA-1 digest.
    password: Secret,
}

impl Login {
    /// A login as the config has it.
    pub fn new(username: impl Into<String>, password: Secret) -> Self {
        Self {
            username: username.into(),
            password,
        }
    }

    /// Whether these are the name and the password. It takes as long for wrong ones as for right
    /// ones, however long a part of them is right.
    fn admits(&self, username: &str, password: &str) -> bool {
        let name = same(self.username.as_bytes(), username.as_bytes());
        let expected = self.password.expose();
        let word = match expected.strip_prefix("{SHA}") {
            Some(digest) => same(
                digest.to_ascii_lowercase().as_bytes(),
                hex(&Sha1::digest(password)).as_bytes(),
            ),
            None => same(expected.as_bytes(), password.as_bytes()),
        };
        name & word
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

/// What the headers of a request prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// It is who may ask.
    Admitted,
    /// It did not say who it is.
    Missing,
    /// It said, and it was wrong.
    Wrong,
    /// What it said cannot be read.
    Malformed,
}

/// Judges a request.
pub(super) fn check(login: &Login, headers: &HeaderMap) -> Proof {
    let Some(header) = headers.get(AUTHORIZATION) else {
        return Proof::Missing;
    };
    let Some((scheme, cookie)) = header.to_str().ok().and_then(|it| it.split_once(' ')) else {
        return Proof::Malformed;
    };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Proof::Missing;
    }
    let Some(decoded) = base64::decode(cookie.trim()) else {
        return Proof::Malformed;
    };
    let Ok(decoded) = String::from_utf8(decoded) else {
        return Proof::Wrong;
    };
    match decoded.split_once(':') {
        Some((username, password)) if login.admits(username, password) => Proof::Admitted,
        _ => Proof::Wrong,
    }
}

/// Whether two texts are the same. Digests are compared, all of them, so that the time says neither
/// how much of a text is right nor how long it should be.
fn same(one: &[u8], other: &[u8]) -> bool {
    let (one, other) = (Sha256::digest(one), Sha256::digest(other));
    let difference = one
        .iter()
        .zip(other.iter())
        .fold(0, |all, (one, other)| all | (one ^ other));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, text.parse().unwrap());
        headers
    }

    fn basic(pair: &str) -> HeaderMap {
        let encoded = mainstay_base::base64(pair.as_bytes());
        header(&format!("Basic {encoded}"))
    }

    #[test]
    fn proofs() {
        let plain = Login::new("user", Secret::new("pa:ss"));
        // sha1("pa:ss")
        let sha = Login::new(
            "user",
            Secret::new("{SHA}C0D2E4906D5D9F1E8B8B67C1D0A3A9D9F0A0B3D1"),
        );
        for (headers, expected) in [
            (HeaderMap::new(), Proof::Missing),
            (header("Digest x"), Proof::Missing),
            (header("Basic"), Proof::Malformed),
            (header("Basic abcde"), Proof::Malformed),
            (basic("user"), Proof::Wrong),
            (basic("user:"), Proof::Wrong),
            (basic("user:pa"), Proof::Wrong),
            (basic("user:pa:ss"), Proof::Admitted),
            (basic("user:pa:ss "), Proof::Wrong),
            (basic("User:pa:ss"), Proof::Wrong),
            (basic(":pa:ss"), Proof::Wrong),
        ] {
            assert_eq!(check(&plain, &headers), expected, "{headers:?}");
        }
        assert_eq!(check(&sha, &basic("user:pa:ss")), Proof::Wrong);
        // The example of FIPS 180: the digest of `abc`.
        let abc = Login::new(
            "user",
            Secret::new("{SHA}A9993e364706816aba3e25717850c26c9cd0d89d"),
        );
        assert_eq!(check(&abc, &basic("user:abc")), Proof::Admitted);
        assert_eq!(check(&abc, &basic("user:abd")), Proof::Wrong);
        let lower = header(&"Basic dXNlcjphYmM=".replace("Basic", "basic"));
        assert_eq!(check(&abc, &lower), Proof::Admitted);
        assert!(!format!("{plain:?}").contains("pa"), "no secret is shown");
    }
}
