//! Sprig's keys and certificates. Everything is drawn from the render's seed, signatures included, so that the same seed gives the
//! same certificate.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use p256::{
    ecdsa::{Signature, signature::Signer as _},
    elliptic_curve::sec1::ToEncodedPoint as _,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use rsa::{
    RsaPrivateKey,
    pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPrivateKey as _, LineEnding},
    pkcs8::EncodePrivateKey as _,
    rand_core,
};
use time::{Duration, OffsetDateTime};

use super::{
    Function, Outcome,
    Parameter::{Any, Int, Object, String},
    arguments, fixed,
};
use crate::helm::{failure::Failure, object::Struct, template::evaluate::Evaluator, value::Value};

/// As `%T` prints a certificate with its key.
const CERTIFICATE: &str = "sprig.certificate";

/// What the search for primes costs, in steps of the evaluation.
const RSA_2048_STEPS: u64 = 1_000_000;
const RSA_4096_STEPS: u64 = 8_000_000;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("genPrivateKey", &[String], |evaluator, given| {
        let kind = arguments::text(given, 0);
        Ok(match kind.as_ref() {
            "" | "rsa" => rsa_key(evaluator, 4096)?.into(),
            "ecdsa" => ecdsa_key(evaluator)?.into(),
            "ed25519" => ed25519_key(evaluator)?.into(),
            "dsa" => {
                return Err(Failure::new(
                    "genPrivateKey: DSA keys are obsolete and are not made; use ed25519, ecdsa or rsa",
                ));
            }
            other => format!("Unknown type {other}").into(),
        })
    }),
    fixed("genCA", &[String, Int], |evaluator, given| {
        let key = rsa_key(evaluator, 2048)?;
        authority(evaluator, given, key)
    }),
    fixed("genCAWithKey", &[String, Int, String], |evaluator, given| {
        authority(evaluator, given, arguments::text(given, 2).into_owned())
    }),
    fixed("genSelfSignedCert", &[String, Any, Any, Int], |evaluator, given| {
        let key = rsa_key(evaluator, 2048)?;
        self_signed(evaluator, given, key)
    }),
    fixed("genSelfSignedCertWithKey", &[String, Any, Any, Int, String], |evaluator, given| {
        self_signed(evaluator, given, arguments::text(given, 4).into_owned())
    }),
    fixed("genSignedCert", &[String, Any, Any, Int, Object(CERTIFICATE)], |evaluator, given| {
        let key = rsa_key(evaluator, 2048)?;
        signed(evaluator, given, key)
    }),
    fixed("genSignedCertWithKey", &[String, Any, Any, Int, Object(CERTIFICATE), String], |evaluator, given| {
        signed(evaluator, given, arguments::text(given, 5).into_owned())
    }),
    fixed("buildCustomCert", &[String, String], |_, given| {
        let decode = |index: usize, what: &str| {
            let bytes = STANDARD.decode(arguments::bytes(given, index));
            let bytes = bytes.map_err(|_| Failure::new(format!("unable to decode base64 {what}")))?;
            std::string::String::from_utf8(bytes).map_err(|_| Failure::new(format!("unable to decode {what}")))
        };
        let (certificate, key) = (decode(0, "certificate")?, decode(1, "private key")?);
        if !certificate.contains("-----BEGIN CERTIFICATE-----") {
            return Err(Failure::new("unable to decode certificate"));
        }
        Key::parse(&key)?;
        Ok(pair(certificate, key))
    }),
];

fn pair(certificate: std::string::String, key: std::string::String) -> Value {
    Struct::value(CERTIFICATE, vec![("Cert", "Cert", certificate.into()), ("Key", "Key", key.into())])
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("cannot make a certificate: {error}"))
}

// --- keys

/// The render's own randomness, for the crates that make keys.
struct Seeded<'e, 'a>(&'e mut Evaluator<'a>);

impl rand_core::RngCore for Seeded<'_, '_> {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, target: &mut [u8]) {
        let bytes = self.0.random.bytes(target.len());
        target.copy_from_slice(&bytes);
    }

    fn try_fill_bytes(&mut self, target: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(target);
        Ok(())
    }
}

// The seed decides how good the keys are; a caller that wants secrets passes a secret seed.
impl rand_core::CryptoRng for Seeded<'_, '_> {}

fn rsa_key(evaluator: &mut Evaluator<'_>, bits: usize) -> Result<std::string::String, Failure> {
    evaluator.spend(if bits > 2048 { RSA_4096_STEPS } else { RSA_2048_STEPS })?;
    let key = RsaPrivateKey::new(&mut Seeded(evaluator), bits).map_err(failed)?;
    Ok(key.to_pkcs1_pem(LineEnding::LF).map_err(failed)?.as_str().to_owned())
}

fn ecdsa_key(evaluator: &mut Evaluator<'_>) -> Result<std::string::String, Failure> {
    let key = p256::SecretKey::random(&mut Seeded(evaluator));
    Ok(key.to_sec1_pem(LineEnding::LF).map_err(failed)?.as_str().to_owned())
}

/// The fixed part of an Ed25519 key in PKCS #8 (RFC 8410); the seed follows.
const ED25519_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

fn ed25519_key(evaluator: &mut Evaluator<'_>) -> Result<std::string::String, Failure> {
    let mut document = ED25519_PREFIX.to_vec();
    document.extend(evaluator.random.bytes(32));
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(document)))
}

/// A key that signs the same message always alike.
enum Key {
    /// RSA or Ed25519, whose signatures are deterministic by themselves.
    Ring(Box<KeyPair>),
    /// With nonces after RFC 6979, and the public point.
    Ecdsa(Box<p256::ecdsa::SigningKey>, Vec<u8>),
}

impl Key {
    fn parse(pem: &str) -> Result<Self, Failure> {
        let ecdsa = |key: p256::SecretKey| {
            let point = key.public_key().to_encoded_point(false).as_bytes().to_vec();
            Key::Ecdsa(Box::new(key.into()), point)
        };
        let bad = |error: &dyn std::fmt::Display| Failure::new(format!("error decoding private key: {error}"));
        if pem.contains("-----BEGIN RSA PRIVATE KEY-----") {
            let key = RsaPrivateKey::from_pkcs1_pem(pem).map_err(|error| bad(&error))?;
            let document = key.to_pkcs8_der().map_err(|error| bad(&error))?;
            return KeyPair::try_from(document.as_bytes())
                .map(|key| Key::Ring(key.into()))
                .map_err(|error| bad(&error));
        }
        if pem.contains("-----BEGIN EC PRIVATE KEY-----") {
            return p256::SecretKey::from_sec1_pem(pem).map(ecdsa).map_err(|error| bad(&error));
        }
        if let Ok(key) = <p256::SecretKey as p256::pkcs8::DecodePrivateKey>::from_pkcs8_pem(pem) {
            return Ok(ecdsa(key));
        }
        if !pem.contains("-----BEGIN PRIVATE KEY-----") {
            return Err(bad(&"no RSA, EC or PKCS #8 key in PEM"));
        }
        KeyPair::from_pem(pem).map(|key| Key::Ring(key.into())).map_err(|error| bad(&error))
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        match self {
            Key::Ring(key) => key.der_bytes(),
            Key::Ecdsa(_, point) => point,
        }
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self {
            Key::Ring(key) => key.algorithm(),
            Key::Ecdsa(..) => &rcgen::PKCS_ECDSA_P256_SHA256,
        }
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Key::Ring(key) => key.sign(message),
            Key::Ecdsa(key, _) => {
                let signature: Signature = key.try_sign(message).map_err(|_| rcgen::Error::RemoteKeyError)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
        }
    }
}

// --- certificates

/// Arguments: common name, [addresses, names,] days.
fn parameters(evaluator: &mut Evaluator<'_>, name: &str, days: i64) -> Result<CertificateParams, Failure> {
    evaluator.spend(100_000)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    let begin = OffsetDateTime::from_unix_timestamp(evaluator.now.0).map_err(failed)?;
    let end = begin.checked_add(Duration::seconds(days.saturating_mul(86_400)));
    let last_year = 9999;
    parameters.not_before = begin;
    parameters.not_after =
        end.filter(|end| end.year() <= last_year).ok_or_else(|| failed("it would be valid beyond the year 9999"))?;
    let mut serial = evaluator.random.bytes(16);
    if let Some(first) = serial.first_mut() {
        // Positive, and not shorter than it looks.
        *first = *first & 0x7f | 0x40;
    }
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    parameters.is_ca = IsCa::ExplicitNoCa;
    Ok(parameters)
}

/// Adds the addresses (argument 1) and names (argument 2) that the certificate is for.
fn add_names(parameters: &mut CertificateParams, given: &[Value]) -> Result<(), Failure> {
    for address in list(given, 1, "ip")? {
        let parsed: IpAddr = address.parse().map_err(|_| Failure::new(format!("error parsing ip: {address}")))?;
        parameters.subject_alt_names.push(SanType::IpAddress(parsed));
    }
    for name in list(given, 2, "alternate dns name")? {
        let name = name.try_into().map_err(failed)?;
        parameters.subject_alt_names.push(SanType::DnsName(name));
    }
    Ok(())
}

fn list(given: &[Value], index: usize, what: &str) -> Result<Vec<std::string::String>, Failure> {
    let value = arguments::any(given, index);
    if value.is_nil() {
        return Ok(Vec::new());
    }
    let Some(items) = value.as_items() else {
        return Err(Failure::new(format!(
            "wrong type for value; expected []interface {{}}; got {}",
            value.type_name()
        )));
    };
    let word = |item: &Value| match item {
        Value::String(text) => Ok(std::string::String::from_utf8_lossy(text).into_owned()),
        other => Err(Failure::new(format!("error parsing {what}: {} is not a string", other.type_name()))),
    };
    items.iter().map(word).collect()
}

fn authority(evaluator: &mut Evaluator<'_>, given: &[Value], key: std::string::String) -> Outcome {
    let mut parameters = parameters(evaluator, &arguments::text(given, 0), arguments::int(given, 1))?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages.push(KeyUsagePurpose::KeyCertSign);
    let certificate = parameters.self_signed(&Key::parse(&key)?).map_err(failed)?;
    Ok(pair(certificate.pem(), key))
}

fn self_signed(evaluator: &mut Evaluator<'_>, given: &[Value], key: std::string::String) -> Outcome {
    let mut parameters = parameters(evaluator, &arguments::text(given, 0), arguments::int(given, 3))?;
    add_names(&mut parameters, given)?;
    let certificate = parameters.self_signed(&Key::parse(&key)?).map_err(failed)?;
    Ok(pair(certificate.pem(), key))
}

fn signed(evaluator: &mut Evaluator<'_>, given: &[Value], key: std::string::String) -> Outcome {
    let mut parameters = parameters(evaluator, &arguments::text(given, 0), arguments::int(given, 3))?;
    add_names(&mut parameters, given)?;
    let authority = arguments::any(given, 4);
    let part = |name: &[u8]| match &authority {
        Value::Object(object) => object.field(name).and_then(|field| field.as_bytes().map(<[u8]>::to_vec)),
        _ => None,
    };
    let text = |name: &[u8]| {
        part(name).map(|bytes| std::string::String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    parameters.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_ca_cert_pem(&text(b"Cert"), Key::parse(&text(b"Key"))?).map_err(failed)?;
    let certificate = parameters.signed_by(&Key::parse(&key)?, &issuer).map_err(failed)?;
    Ok(pair(certificate.pem(), key))
}
