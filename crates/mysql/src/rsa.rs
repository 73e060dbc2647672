//! The one thing that is needed of RSA: to encrypt a password for a server whose key is known.
//!
//! RSAES-OAEP with SHA-1 and an empty label (RFC 8017, section 7.1), for the key that a server shows
//! as `SubjectPublicKeyInfo` in PEM (RFC 5280, RFC 7468). Nothing secret but the message goes in, and
//! that is padded with random bytes before it is a number, so that time taken tells nothing of it.

use num_bigint::BigUint;
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind};

const HASH: usize = 20;
/// The object identifier 1.2.840.113549.1.1.1, rsaEncryption.
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// A public key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PublicKey {
    modulus: BigUint,
    exponent: BigUint,
    /// Bytes of the modulus.
    size: usize,
}

fn bad(what: &str) -> Error {
    Error::new(
        ErrorKind::Protocol,
        format!("the server's RSA key cannot be read: {what}"),
    )
}

/// Takes one DER element with this tag; gives its content.
fn element<'a>(from: &mut &'a [u8], tag: u8) -> Result<&'a [u8], Error> {
    let short = || bad("it is cut short");
    let [found, first, rest @ ..] = *from else {
        return Err(short());
    };
    if *found != tag {
        return Err(bad("it is not an RSA key in DER"));
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => {
            let (bytes, rest) = rest.split_at_checked(1).ok_or_else(short)?;
            (usize::from(bytes[0]), rest)
        }
        0x82 => {
            let (bytes, rest) = rest.split_at_checked(2).ok_or_else(short)?;
            ((usize::from(bytes[0]) << 8) | usize::from(bytes[1]), rest)
        }
        _ => return Err(bad("it is longer than a key is")),
    };
    let (content, rest) = rest.split_at_checked(length).ok_or_else(short)?;
    *from = rest;
    Ok(content)
}

impl PublicKey {
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        use rustls::pki_types::SubjectPublicKeyInfoDer;
        use rustls::pki_types::pem::PemObject as _;
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|_| bad("it is not a public key in PEM"))?;
        let mut outer = der.as_ref();
        let mut info = element(&mut outer, 0x30)?;
        let mut algorithm = element(&mut info, 0x30)?;
        if element(&mut algorithm, 0x06)? != RSA_ENCRYPTION {
            return Err(bad("it is a key of another kind"));
        }
        // The first byte of a bit string says how many bits of its last are not used.
        let mut bits = element(&mut info, 0x03)?
            .strip_prefix(&[0])
            .ok_or_else(|| bad("it is not an RSA key in DER"))?;
        let mut numbers = element(&mut bits, 0x30)?;
        let modulus = BigUint::from_bytes_be(element(&mut numbers, 0x02)?);
        let exponent = BigUint::from_bytes_be(element(&mut numbers, 0x02)?);
        // Servers make keys of 2048 bits; longer ones than 16384 would only take our time.
        if !(1024..=16384).contains(&modulus.bits()) || !modulus.bit(0) {
            return Err(bad("its size is not one of a key"));
        }
        if !(2..=64).contains(&exponent.bits()) {
            return Err(bad("its exponent is not one of a key"));
        }
        Ok(Self {
            size: usize::try_from(modulus.bits().div_ceil(8)).unwrap_or(usize::MAX),
            modulus,
            exponent,
        })
    }

    /// Encrypts a message.
    pub(crate) fn encrypt(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut seed = Zeroizing::new([0u8; HASH]);
        random(&mut *seed)?;
        self.encrypt_with(message, &seed)
    }

    fn encrypt_with(&self, message: &[u8], seed: &[u8; HASH]) -> Result<Vec<u8>, Error> {
        let room = self.size.saturating_sub(2 * HASH + 2);
        if message.len() > room {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the password is longer than the {room} bytes that the server's key encrypts"
                ),
            )
            .with_help("use TLS"));
        }
        // EM = 00 | masked seed | masked (hash of the label | zeros | 01 | message)
        let mut encoded = Zeroizing::new(vec![0u8; self.size]);
        let (front, data) = encoded.split_at_mut(1 + HASH);
        let masked_seed = &mut front[1..];
        data[..HASH].copy_from_slice(&Sha1::digest(b""));
        let at = data.len() - message.len();
        data[at - 1] = 1;
        data[at..].copy_from_slice(message);
        mask(data, seed);
        masked_seed.copy_from_slice(seed);
        mask(masked_seed, data);
        let sealed = BigUint::from_bytes_be(&encoded).modpow(&self.exponent, &self.modulus);
        let sealed = sealed.to_bytes_be();
        let mut out = vec![0; self.size - sealed.len()];
        out.extend_from_slice(&sealed);
        Ok(out)
    }
}

/// MGF1 of a seed, over what is there.
fn mask(data: &mut [u8], seed: &[u8]) {
    for (counter, block) in (0u32..).zip(data.chunks_mut(HASH)) {
        let hash = Sha1::new()
            .chain_update(seed)
            .chain_update(counter.to_be_bytes())
            .finalize();
        for (byte, mask) in block.iter_mut().zip(hash) {
            *byte ^= mask;
        }
    }
}

fn random(bytes: &mut [u8]) -> Result<(), Error> {
    let mut done = 0;
    while done < bytes.len() {
        done += rustix::rand::getrandom(&mut bytes[done..], rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| {
                Error::new(ErrorKind::Setup, "the system has no random bytes")
                    .with_source(errno.into())
            })?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key for tests, made by openssl; nothing is protected by it.
    pub(crate) const PUBLIC: &str = include_str!("rsa/public.pem");

    #[test]
    fn keys_are_read_and_others_refused() {
        let key = PublicKey::from_pem(PUBLIC.as_bytes()).unwrap();
        assert_eq!(key.size, 256);
        assert_eq!(key.exponent, BigUint::from(65537u32));
        for broken in [
            "",
            "garbage",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        ] {
            assert!(PublicKey::from_pem(broken.as_bytes()).is_err(), "{broken}");
        }
        // An elliptic key.
        let other = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----";
        assert!(PublicKey::from_pem(other.as_bytes()).is_err());
    }

    #[test]
    fn a_message_comes_back_with_the_private_key() {
        let key = PublicKey::from_pem(PUBLIC.as_bytes()).unwrap();
        let private =
            BigUint::parse_bytes(include_str!("rsa/private.hex").trim().as_bytes(), 16).unwrap();
        for message in [&b""[..], b"a password\0", &[7; 214]] {
            let sealed = key.encrypt(message).unwrap();
            assert_eq!(sealed.len(), 256);
            let open = BigUint::from_bytes_be(&sealed)
                .modpow(&private, &key.modulus)
                .to_bytes_be();
            let mut encoded = vec![0; 256 - open.len()];
            encoded.extend(open);
            let (front, data) = encoded.split_at_mut(21);
            mask(&mut front[1..], data);
            mask(data, &front[1..]);
            assert_eq!(data[..20], Sha1::digest(b"")[..]);
            let end = data[20..].iter().position(|byte| *byte != 0).unwrap() + 20;
            assert_eq!(data[end], 1);
            assert_eq!(&data[end + 1..], message);
        }
        assert!(key.encrypt(&[7; 215]).is_err());
        assert_ne!(key.encrypt(b"x").unwrap(), key.encrypt(b"x").unwrap());
    }
}
