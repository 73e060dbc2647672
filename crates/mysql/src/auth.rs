//! How a password is proved to a server, by the method that the server names.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html>,
//! <https://mariadb.com/kb/en/connection/#authentication-plugins>

use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use mainstay_base::Secret;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};
use crate::rsa::PublicKey;

/// A method of authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// `mysql_native_password`: SHA-1 with a nonce.
    Native,
    /// `caching_sha2_password`: SHA-256 with a nonce if the server remembers, else the password itself.
    CachingSha2,
    /// `sha256_password`: always the password itself.
    Sha256,
    /// `client_ed25519`: a signature of a nonce.
    Ed25519,
    /// `mysql_clear_password`: the password itself, as LDAP and PAM need it.
    Clear,
}

impl Method {
    pub(crate) fn named(plugin: &str) -> Option<Self> {
        Some(match plugin {
            "mysql_native_password" => Self::Native,
            "caching_sha2_password" => Self::CachingSha2,
            "sha256_password" => Self::Sha256,
            "client_ed25519" => Self::Ed25519,
            "mysql_clear_password" => Self::Clear,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
            Self::Sha256 => "sha256_password",
            Self::Ed25519 => "client_ed25519",
            Self::Clear => "mysql_clear_password",
        }
    }
}

/// An error for a method that is not built here.
pub(crate) fn unsupported(plugin: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("the server wants the user to be authenticated by `{plugin}`, which is not built here"),
    )
    .with_help("give the user one of mysql_native_password, caching_sha2_password, sha256_password and ed25519 (`ALTER USER`)")
}

/// Where the key comes from that a password is encrypted with where there is no TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ServerKey {
    /// From the server itself, if it is on this machine. Over a network whoever sits in between
    /// could send a key of his own, and read the password: that is an error then.
    #[default]
    AskOnThisMachine,
    /// From the server itself, wherever it is.
    Ask,
    /// From this file: the server's `public_key.pem`.
    File(std::path::PathBuf),
}

/// What the other side can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privacy {
    /// TLS: nobody but the server.
    Tls,
    /// A unix socket: the same, but not every method of a server knows that.
    Socket,
    /// TCP to this machine.
    Loopback,
    /// TCP to another one.
    Open,
}

/// What to do next.
pub(crate) enum Act {
    /// Send this.
    Send(Zeroizing<Vec<u8>>),
    /// Wait for the server.
    Wait,
}

/// One authentication under way.
pub(crate) struct Exchange<'a> {
    pub(crate) method: Method,
    nonce: Vec<u8>,
    password: &'a Secret,
    privacy: Privacy,
    key: &'a ServerKey,
    asked: bool,
}

impl<'a> Exchange<'a> {
    pub(crate) fn new(
        method: Method,
        nonce: Vec<u8>,
        password: &'a Secret,
        privacy: Privacy,
        key: &'a ServerKey,
    ) -> Self {
        Self {
            method,
            nonce,
            password,
            privacy,
            key,
            asked: false,
        }
    }

    /// What the client says first.
    pub(crate) fn first(&mut self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let password = self.password.expose().as_bytes();
        let empty = password.is_empty();
        Ok(match self.method {
            Method::Native if empty => Zeroizing::new(Vec::new()),
            Method::Native => Zeroizing::new(native(password, &self.nonce).to_vec()),
            // A lone zero says that there is none.
            Method::CachingSha2 | Method::Sha256 if empty => Zeroizing::new(vec![0]),
            Method::CachingSha2 => Zeroizing::new(caching_sha2(password, &self.nonce).to_vec()),
            Method::Sha256 | Method::Clear if self.privacy == Privacy::Tls => self.clear(),
            // With its plugin a server takes the password itself under TLS alone.
            Method::Sha256 => self.seal_or_ask(1)?,
            Method::Clear if self.privacy == Privacy::Socket => self.clear(),
            Method::Ed25519 => {
                if self.nonce.len() != 32 {
                    return Err(Error::protocol("a nonce that is not of ed25519"));
                }
                Zeroizing::new(ed25519(password, &self.nonce).to_vec())
            }
            Method::Clear => {
                return Err(Error::new(
                    ErrorKind::Insecure,
                    "the server asks for the password in clear, and the connection is not encrypted",
                )
                .with_help("use TLS, or the server's socket on this machine"));
            }
        })
    }

    /// What follows from more that a server said. `said` is without its first byte.
    pub(crate) fn more(&mut self, said: &[u8]) -> Result<Act, Error> {
        let unexpected = || Error::protocol("an answer that belongs to no authentication");
        match (self.method, said) {
            // It remembered; an OK follows.
            (Method::CachingSha2, [3]) => Ok(Act::Wait),
            (Method::CachingSha2, [4])
                if matches!(self.privacy, Privacy::Tls | Privacy::Socket) =>
            {
                Ok(Act::Send(self.clear()))
            }
            (Method::CachingSha2, [4]) if !self.asked => Ok(Act::Send(self.seal_or_ask(2)?)),
            (Method::CachingSha2 | Method::Sha256, pem) if self.asked => {
                self.asked = false;
                PublicKey::from_pem(pem)
                    .and_then(|key| self.seal(&key))
                    .map(Act::Send)
            }
            _ => Err(unexpected()),
        }
    }

    fn clear(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.password.expose().len() + 1));
        bytes.extend_from_slice(self.password.expose().as_bytes());
        bytes.push(0);
        bytes
    }

    /// The password, encrypted with a key that we have, or the question for the server's key.
    fn seal_or_ask(&mut self, question: u8) -> Result<Zeroizing<Vec<u8>>, Error> {
        match self.key {
            ServerKey::File(path) => {
                let pem = std::fs::read(path).map_err(|error| {
                    Error::new(
                        ErrorKind::Setup,
                        format!("the server's key {} cannot be read", path.display()),
                    )
                    .with_source(error)
                })?;
                PublicKey::from_pem(&pem).and_then(|key| self.seal(&key))
            }
            ServerKey::AskOnThisMachine if self.privacy == Privacy::Open => Err(Error::new(
                ErrorKind::Insecure,
                format!(
                    "the server asks for the password itself ({}), and the connection is neither encrypted nor on this machine",
                    self.method.name()
                ),
            )
            .with_help("use TLS, or name the file with the server's public key")),
            ServerKey::AskOnThisMachine | ServerKey::Ask => {
                self.asked = true;
                Ok(Zeroizing::new(vec![question]))
            }
        }
    }

    fn seal(&self, key: &PublicKey) -> Result<Zeroizing<Vec<u8>>, Error> {
        if self.nonce.is_empty() {
            return Err(Error::protocol("a nonce of no length"));
        }
        let mut mixed = self.clear();
        for (byte, nonce) in mixed.iter_mut().zip(self.nonce.iter().cycle()) {
            *byte ^= nonce;
        }
        key.encrypt(&mixed).map(Zeroizing::new)
    }
}

fn native(password: &[u8], nonce: &[u8]) -> [u8; 20] {
    let once = Sha1::digest(password);
    let mix = Sha1::new()
        .chain_update(nonce)
        .chain_update(Sha1::digest(once))
        .finalize();
    std::array::from_fn(|at| once[at] ^ mix[at])
}

fn caching_sha2(password: &[u8], nonce: &[u8]) -> [u8; 32] {
    let once = Sha256::digest(password);
    let mix = Sha256::new()
        .chain_update(Sha256::digest(once))
        .chain_update(nonce)
        .finalize();
    std::array::from_fn(|at| once[at] ^ mix[at])
}

/// Ed25519 (RFC 8032) with the password in the place of the secret key, whatever its length.
fn ed25519(password: &[u8], nonce: &[u8]) -> [u8; 64] {
    let hashed = Zeroizing::new(<[u8; 64]>::from(Sha512::digest(password)));
    let (low, prefix) = hashed.split_at(32);
    let mut secret = Zeroizing::new([0u8; 32]);
    secret.copy_from_slice(low);
    let secret = Zeroizing::new(Scalar::from_bytes_mod_order(clamp_integer(*secret)));
    let public = EdwardsPoint::mul_base(&secret).compress();
    let wide = |parts: [&[u8]; 3]| {
        let hash = parts
            .iter()
            .fold(Sha512::new(), Sha512::chain_update)
            .finalize();
        Scalar::from_bytes_mod_order_wide(&hash.into())
    };
    let once = wide([prefix, nonce, &[]]);
    let point = EdwardsPoint::mul_base(&once).compress();
    let challenge = wide([point.as_bytes(), public.as_bytes(), nonce]);
    let answer = once + challenge * *secret;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(point.as_bytes());
    signature[32..].copy_from_slice(answer.as_bytes());
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
            .collect()
    }

    /// RFC 8032, section 7.1, TEST 1 to 3: there the key is a seed of 32 bytes.
    #[test]
    fn signatures_are_those_of_the_rfc() {
        for (seed, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ] {
            assert_eq!(ed25519(&unhex(seed), &unhex(message))[..], unhex(signature));
        }
    }

    /// What a server checks: it has the hash of a hash, and gets the hash out of the answer.
    #[test]
    fn a_server_that_has_only_a_hash_can_check() {
        let nonce = b"01234567890123456789";
        let answer = native(b"secret", nonce);
        let stored = Sha1::digest(Sha1::digest(b"secret"));
        let mix = Sha1::new()
            .chain_update(nonce)
            .chain_update(stored)
            .finalize();
        let once: Vec<u8> = answer.iter().zip(mix).map(|(a, b)| a ^ b).collect();
        assert_eq!(Sha1::digest(once), stored);
        let answer = caching_sha2(b"secret", nonce);
        let stored = Sha256::digest(Sha256::digest(b"secret"));
        let mix = Sha256::new()
            .chain_update(stored)
            .chain_update(nonce)
            .finalize();
        let once: Vec<u8> = answer.iter().zip(mix).map(|(a, b)| a ^ b).collect();
        assert_eq!(Sha256::digest(once), stored);
    }

    fn exchange<'a>(
        method: Method,
        password: &'a Secret,
        privacy: Privacy,
        key: &'a ServerKey,
    ) -> Exchange<'a> {
        Exchange::new(
            method,
            b"01234567890123456789".to_vec(),
            password,
            privacy,
            key,
        )
    }

    #[test]
    fn a_password_is_never_sent_where_it_can_be_read() {
        let password = Secret::new("hunter2");
        let asks = ServerKey::AskOnThisMachine;
        for method in [
            Method::CachingSha2,
            Method::Sha256,
            Method::Clear,
            Method::Native,
        ] {
            for privacy in [
                Privacy::Tls,
                Privacy::Socket,
                Privacy::Loopback,
                Privacy::Open,
            ] {
                let mut one = exchange(method, &password, privacy, &asks);
                let mut sent = Vec::new();
                let mut refused = None;
                match one.first() {
                    Ok(first) => sent.push(first),
                    Err(error) => refused = Some(error.kind()),
                }
                if refused.is_none() && method == Method::CachingSha2 {
                    match one.more(&[4]) {
                        Ok(Act::Send(more)) => sent.push(more),
                        Ok(Act::Wait) => panic!("it must answer"),
                        Err(error) => refused = Some(error.kind()),
                    }
                }
                let clear = sent
                    .iter()
                    .any(|bytes| bytes.windows(7).any(|seven| seven == b"hunter2"));
                let private = match method {
                    Method::Sha256 => privacy == Privacy::Tls,
                    _ => matches!(privacy, Privacy::Tls | Privacy::Socket),
                };
                let itself = method != Method::Native;
                assert_eq!(clear, itself && private, "{method:?} {privacy:?}");
                let insecure =
                    itself && !private && (method == Method::Clear || privacy == Privacy::Open);
                let expected = insecure.then_some(ErrorKind::Insecure);
                assert_eq!(refused, expected, "{method:?} {privacy:?}");
            }
        }
    }

    #[test]
    fn a_key_of_the_server_is_used_once_it_was_asked_for() {
        let password = Secret::new("hunter2");
        let pem = crate::rsa::tests::PUBLIC.as_bytes();
        let mut one = exchange(
            Method::CachingSha2,
            &password,
            Privacy::Loopback,
            &ServerKey::AskOnThisMachine,
        );
        one.first().unwrap();
        assert!(one.more(pem).is_err(), "nobody asked");
        let Act::Send(question) = one.more(&[4]).unwrap() else {
            panic!("it must ask")
        };
        assert_eq!(*question, [2]);
        let Act::Send(sealed) = one.more(pem).unwrap() else {
            panic!("it must answer")
        };
        assert_eq!(sealed.len(), 256);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, pem).unwrap();
        let key = ServerKey::File(file.path().to_owned());
        let mut one = exchange(Method::CachingSha2, &password, Privacy::Open, &key);
        one.first().unwrap();
        assert!(matches!(one.more(&[4]).unwrap(), Act::Send(sealed) if sealed.len() == 256));
        let mut one = exchange(Method::CachingSha2, &password, Privacy::Open, &key);
        assert!(matches!(one.more(&[3]).unwrap(), Act::Wait));
    }

    #[test]
    fn an_empty_password_is_said_to_be_none() {
        let none = Secret::new("");
        let key = ServerKey::AskOnThisMachine;
        for (method, first) in [
            (Method::Native, &[][..]),
            (Method::CachingSha2, &[0]),
            (Method::Sha256, &[0]),
        ] {
            let mut one = exchange(method, &none, Privacy::Open, &key);
            assert_eq!(&**one.first().unwrap(), first, "{method:?}");
        }
    }
}
