//! Private keys: made from random numbers, read from PEM, written as Go writes them.

use num_bigint::BigUint;
use ring::{
    digest,
    signature::{Ed25519KeyPair, KeyPair as _},
};

use super::{
    curve::{self, Curve},
    der::{self, INTEGER, NULL, OBJECT_IDENTIFIER, OCTET_STRING, Reader},
    primes,
};
use crate::helm::functions::random::Random;

/// Moduli that are read: smaller ones are no protection, larger ones only cost time.
const RSA_BITS: std::ops::RangeInclusive<u64> = 1024..=8192;

const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// What stands before a SHA-256 digest in an RSA signature (RFC 8017, 9.2).
const SHA256_INFO: &[u8] =
    &[0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// Tags of the optional parts of an EC key.
const CURVE_NAME: u8 = 0xa0;
const PUBLIC_KEY: u8 = 0xa1;

pub(super) enum PrivateKey {
    Rsa {
        modulus: BigUint,
        public: BigUint,
        private: BigUint,
        encoded: Vec<u8>,
    },
    Ecdsa {
        curve: &'static Curve,
        private: BigUint,
        public: Vec<u8>,
    },
    Ed25519 {
        seed: Vec<u8>,
        pair: Ed25519KeyPair,
    },
    /// Only ever printed: certificates cannot be signed with it.
    Dsa {
        encoded: Vec<u8>,
    },
}

/// A signature and the encoded identifier of how it was made.
pub(super) struct Signature {
    pub(super) algorithm: Vec<u8>,
    pub(super) bytes: Vec<u8>,
}

// === impl PrivateKey ===

impl PrivateKey {
    pub(super) fn rsa(random: &mut Random, bits: u64) -> Self {
        let key = primes::rsa(random, bits);
        let one = BigUint::from(1_u8);
        let part = |prime: &BigUint| der::integer(&(&key.private % (prime - &one)));
        let inverse = key.second.modinv(&key.first).unwrap_or_default();
        let encoded = der::sequence(&[
            &der::small(0),
            &der::integer(&key.modulus),
            &der::integer(&key.public),
            &der::integer(&key.private),
            &der::integer(&key.first),
            &der::integer(&key.second),
            &part(&key.first),
            &part(&key.second),
            &der::integer(&inverse),
        ]);
        Self::Rsa { modulus: key.modulus, public: key.public, private: key.private, encoded }
    }

    pub(super) fn ecdsa(random: &mut Random) -> Option<Self> {
        let curve = curve::p256();
        Self::on_curve(curve, primes::below(random, &curve.order))
    }

    pub(super) fn ed25519(random: &mut Random) -> Option<Self> {
        Self::from_seed(random.bytes(32))
    }

    pub(super) fn dsa(random: &mut Random) -> Self {
        let key = primes::dsa(random);
        let numbers = [&key.p, &key.q, &key.g, &key.public, &key.private].map(der::integer).concat();
        Self::Dsa { encoded: der::sequence(&[&der::small(0), &numbers]) }
    }

    fn on_curve(curve: &'static Curve, private: BigUint) -> Option<Self> {
        let public = curve.public(&private)?;
        Some(Self::Ecdsa { curve, private, public })
    }

    fn from_seed(seed: Vec<u8>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        Some(Self::Ed25519 { seed, pair })
    }

    /// Reads a key as Sprig does: PKCS#8, PKCS#1 or SEC 1, in PEM.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (label, content) = der::from_pem(text).ok_or("no PEM data in input")?;
        let (key, form) = match label.as_str() {
            "PRIVATE KEY" => (pkcs8(&content), "decoding PEM as PKCS#8"),
            "RSA PRIVATE KEY" => (pkcs1(&content), "parsing RSA private key from PEM"),
            "EC PRIVATE KEY" => (sec1(&content, None), "parsing EC private key from PEM"),
            "DSA PRIVATE KEY" => (Some(Self::Dsa { encoded: content }), "parsing DSA private key from PEM"),
            other if other.ends_with(" PRIVATE KEY") => return Err(format!("invalid private key type {other}")),
            other => return Err(format!("no private key data in PEM block of type {other}")),
        };
        key.ok_or_else(|| format!("{form}: it is malformed, or of a kind or size that is not supported"))
    }

    /// The key in PEM, in the form that Go prefers for its kind.
    pub(super) fn to_pem(&self) -> String {
        match self {
            Self::Rsa { encoded, .. } => der::to_pem("RSA PRIVATE KEY", encoded),
            Self::Dsa { encoded } => der::to_pem("DSA PRIVATE KEY", encoded),
            Self::Ecdsa { curve, private, public } => {
                let encoded = der::sequence(&[
                    &der::small(1),
                    &der::element(OCTET_STRING, &curve.bytes(private)),
                    &der::element(CURVE_NAME, &der::identifier(curve.identifier)),
                    &der::element(PUBLIC_KEY, &der::bits(public)),
                ]);
                der::to_pem("EC PRIVATE KEY", &encoded)
            }
            Self::Ed25519 { seed, .. } => {
                let inner = der::element(OCTET_STRING, seed);
                let algorithm = der::sequence(&[&der::identifier(ED25519)]);
                der::to_pem(
                    "PRIVATE KEY",
                    &der::sequence(&[&der::small(0), &algorithm, &der::element(OCTET_STRING, &inner)]),
                )
            }
        }
    }

    /// The public key as certificates have it (SubjectPublicKeyInfo), and the bits in it.
    pub(super) fn public(&self) -> Result<(Vec<u8>, Vec<u8>), String> {
        let (algorithm, bits) = match self {
            Self::Rsa { modulus, public, .. } => {
                let key = der::sequence(&[&der::integer(modulus), &der::integer(public)]);
                (der::sequence(&[&der::identifier(RSA), &der::element(NULL, &[])]), key)
            }
            Self::Ecdsa { curve, public, .. } => {
                (der::sequence(&[&der::identifier(EC), &der::identifier(curve.identifier)]), public.clone())
            }
            Self::Ed25519 { pair, .. } => {
                (der::sequence(&[&der::identifier(ED25519)]), pair.public_key().as_ref().to_vec())
            }
            Self::Dsa { .. } => return Err("certificates with a DSA key are not supported".to_owned()),
        };
        Ok((der::sequence(&[&algorithm, &der::bits(&bits)]), bits))
    }

    /// Encoded identifier of the signatures that this key makes.
    pub(super) fn algorithm(&self) -> Vec<u8> {
        match self {
            Self::Rsa { .. } => der::sequence(&[&der::identifier(RSA_SHA256), &der::element(NULL, &[])]),
            Self::Ecdsa { curve, .. } => der::sequence(&[&der::identifier(curve.signature)]),
            Self::Ed25519 { .. } | Self::Dsa { .. } => der::sequence(&[&der::identifier(ED25519)]),
        }
    }

    /// Bits of the numbers that a signature is computed with, which decide what it costs.
    pub(super) fn bits(&self) -> u64 {
        match self {
            Self::Rsa { modulus, .. } => modulus.bits(),
            Self::Ecdsa { .. } | Self::Ed25519 { .. } | Self::Dsa { .. } => 1024,
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, String> {
        let bytes = match self {
            Self::Rsa { modulus, public, private, .. } => rsa_sign(modulus, public, private, message),
            Self::Ecdsa { curve, private, .. } => {
                curve.sign(private, message).map(|(r, s)| der::sequence(&[&der::integer(&r), &der::integer(&s)]))
            }
            Self::Ed25519 { pair, .. } => Some(pair.sign(message).as_ref().to_vec()),
            Self::Dsa { .. } => return Err("certificate private key does not implement crypto.Signer".to_owned()),
        };
        let bytes = bytes.ok_or("the private key does not make valid signatures")?;
        Ok(Signature { algorithm: self.algorithm(), bytes })
    }
}

/// RSASSA-PKCS1-v1_5 with SHA-256.
fn rsa_sign(modulus: &BigUint, public: &BigUint, private: &BigUint, message: &[u8]) -> Option<Vec<u8>> {
    let size = usize::try_from(modulus.bits().div_ceil(8)).ok()?;
    let hashed = digest::digest(&digest::SHA256, message);
    let tail = [&[0], SHA256_INFO, hashed.as_ref()].concat();
    let padding = vec![0xff; size.checked_sub(tail.len() + 2)?];
    let padded = BigUint::from_bytes_be(&[&[0, 1], padding.as_slice(), &tail].concat());
    let signed = padded.modpow(private, modulus);
    // A key whose numbers do not belong together would give away what it should keep.
    if signed.modpow(public, modulus) != padded {
        return None;
    }
    let digits = signed.to_bytes_be();
    let mut out = vec![0; size.checked_sub(digits.len())?];
    out.extend_from_slice(&digits);
    Some(out)
}

fn pkcs1(content: &[u8]) -> Option<PrivateKey> {
    let mut fields = Reader(content).sequence()?;
    if fields.integer()? != BigUint::ZERO {
        return None;
    }
    let (modulus, public, private) = (fields.integer()?, fields.integer()?, fields.integer()?);
    let (first, second) = (fields.integer()?, fields.integer()?);
    let is_odd = |number: &BigUint| number.bit(0);
    let is_sound = RSA_BITS.contains(&modulus.bits())
        && is_odd(&modulus)
        && is_odd(&public)
        && (2..=31).contains(&public.bits())
        && private < modulus
        && private != BigUint::ZERO
        && first.bits() <= modulus.bits()
        && second.bits() <= modulus.bits()
        && first * second == modulus;
    is_sound.then(|| PrivateKey::Rsa { modulus, public, private, encoded: content.to_vec() })
}

/// An EC key; in PKCS#8 its curve is named outside.
fn sec1(content: &[u8], outside: Option<&[u8]>) -> Option<PrivateKey> {
    let mut fields = Reader(content).sequence()?;
    if fields.integer()? != BigUint::from(1_u8) {
        return None;
    }
    let private = BigUint::from_bytes_be(fields.expect(OCTET_STRING)?);
    let name = match outside {
        Some(name) => name,
        None => Reader(fields.expect(CURVE_NAME)?).expect(OBJECT_IDENTIFIER)?,
    };
    let curve = [curve::p256(), curve::p384()].into_iter().find(|curve| curve.identifier == name)?;
    PrivateKey::on_curve(curve, private)
}

fn pkcs8(content: &[u8]) -> Option<PrivateKey> {
    let mut fields = Reader(content).sequence()?;
    fields.expect(INTEGER)?;
    let mut algorithm = fields.sequence()?;
    let key = fields.expect(OCTET_STRING)?;
    match algorithm.expect(OBJECT_IDENTIFIER)? {
        RSA => pkcs1(key),
        EC => sec1(key, Some(algorithm.expect(OBJECT_IDENTIFIER)?)),
        ED25519 => PrivateKey::from_seed(Reader(key).expect(OCTET_STRING)?.to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use ring::signature::{self, RsaKeyPair, UnparsedPublicKey};

    use super::*;

    fn random() -> Random {
        Random::new([9; 32])
    }

    #[test]
    fn every_kind_of_key_is_read_as_it_was_written() {
        let keys = [
            PrivateKey::rsa(&mut random(), 1024),
            PrivateKey::ecdsa(&mut random()).unwrap(),
            PrivateKey::ed25519(&mut random()).unwrap(),
        ];
        for key in keys {
            let written = key.to_pem();
            let read = PrivateKey::parse(&written).unwrap();
            assert_eq!(read.to_pem(), written);
            assert_eq!(read.public().unwrap(), key.public().unwrap());
        }
    }

    #[test]
    fn another_implementation_accepts_rsa_keys_and_their_signatures() {
        let key = PrivateKey::rsa(&mut random(), 2048);
        let PrivateKey::Rsa { encoded, .. } = &key else { panic!("an RSA key") };
        RsaKeyPair::from_der(encoded).unwrap();
        let signed = key.sign(b"message").unwrap();
        let public = UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key.public().unwrap().1);
        public.verify(b"message", &signed.bytes).unwrap();
        assert!(public.verify(b"another", &signed.bytes).is_err());
    }

    #[test]
    fn damaged_keys_are_refused_without_a_panic() {
        for key in [PrivateKey::rsa(&mut random(), 1024), PrivateKey::ecdsa(&mut random()).unwrap()] {
            let (label, content) = der::from_pem(&key.to_pem()).unwrap();
            for length in 0..content.len().min(200) {
                let cut = der::to_pem(&label, content.get(..length).unwrap());
                assert!(PrivateKey::parse(&cut).is_err(), "{length}");
            }
            for index in 0..content.len().min(200) {
                let mut damaged = content.clone();
                damaged[index] ^= 0x55;
                if let Ok(read) = PrivateKey::parse(&der::to_pem(&label, &damaged)) {
                    let _ = read.sign(b"message");
                }
            }
        }
    }

    #[test]
    fn texts_that_are_no_keys_are_named() {
        for (text, message) in [
            ("", "no PEM data in input"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "no private key data in PEM block of type CERTIFICATE",
            ),
            (
                "-----BEGIN ODD PRIVATE KEY-----\nAAAA\n-----END ODD PRIVATE KEY-----\n",
                "invalid private key type ODD PRIVATE KEY",
            ),
        ] {
            assert_eq!(PrivateKey::parse(text).err().as_deref(), Some(message), "{text}");
        }
    }
}
