//! X.509 certificates (RFC 5280) with the extensions that Sprig's templates ask for.

use std::net::IpAddr;

use num_bigint::BigUint;
use ring::digest;
use x509_parser::{certificate::X509Certificate, extensions::ParsedExtension, prelude::FromDer as _};

use super::{
    der::{self, BOOLEAN, GENERALIZED_TIME, OCTET_STRING, PRINTABLE_STRING, SET, UTC_TIME, UTF8_STRING},
    keys::PrivateKey,
    primes,
};
use crate::helm::functions::{dates::Time, random::Random};

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const SUBJECT_KEY: &[u8] = &[0x55, 0x1d, 0x0e];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const SERVER_AUTHENTICATION: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT_AUTHENTICATION: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// Digital signatures and key encipherment; for authorities also signing certificates. The first byte counts unused bits.
const USAGES: [u8; 2] = [5, 0xa0];
const AUTHORITY_USAGES: [u8; 2] = [2, 0xa4];

/// Nanoseconds of a day.
const DAY: i64 = 86_400_000_000_000;

/// What a certificate says of its owner.
pub(super) struct Subject<'a> {
    pub(super) common_name: &'a str,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) names: Vec<String>,
    /// From now.
    pub(super) days: i64,
    pub(super) is_authority: bool,
}

/// Who signs: the encoded name, the identifier of the key, and the key.
pub(super) struct Issuer<'a> {
    name: Vec<u8>,
    key_identifier: Vec<u8>,
    key: &'a PrivateKey,
}

// === impl Issuer ===

impl<'a> Issuer<'a> {
    /// An authority by its certificate in PEM. The key must be the one that the certificate is for.
    pub(super) fn parse(certificate: &str, key: &'a PrivateKey) -> Result<Self, String> {
        let (_, content) = der::from_pem(certificate).ok_or("unable to decode certificate")?;
        let certificate = read(&content)?;
        if certificate.public_key().raw != key.public()?.0 {
            return Err("x509: provided PrivateKey doesn't match parent's PublicKey".to_owned());
        }
        let identifier = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
            _ => None,
        });
        Ok(Self { name: certificate.subject().as_raw().to_vec(), key_identifier: identifier.unwrap_or_default(), key })
    }
}

fn read(content: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(content) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("error parsing certificate: x509: trailing data".to_owned()),
        Err(error) => Err(format!("error parsing certificate: {error}")),
    }
}

/// Whether a text in PEM is a certificate.
pub(super) fn check(certificate: &str) -> Result<(), String> {
    let (_, content) = der::from_pem(certificate).ok_or("unable to decode certificate")?;
    read(&content).map(|_| ())
}

/// Makes a certificate in PEM. Without an issuer the subject signs for itself.
pub(super) fn certificate(
    subject: &Subject<'_>,
    key: &PrivateKey,
    issuer: Option<&Issuer<'_>>,
    now: i64,
    random: &mut Random,
) -> Result<String, String> {
    let name = name(subject.common_name);
    let (public, bits) = key.public()?;
    let (issuer_name, signer) = issuer.map_or((&name, key), |issuer| (&issuer.name, issuer.key));
    let authority = issuer.filter(|issuer| issuer.name != name).map(|issuer| issuer.key_identifier.as_slice());
    let end = now.saturating_add(subject.days.wrapping_mul(DAY).div_euclid(1_000_000_000));
    let serial = primes::below(random, &(BigUint::from(1_u8) << 128));
    let algorithm = signer.algorithm();
    let content = der::sequence(&[
        // Version 3.
        &der::element(0xa0, &der::small(2)),
        &der::integer(&serial),
        &algorithm,
        issuer_name,
        &der::sequence(&[&time(now)?, &time(end)?]),
        &name,
        &public,
        &der::element(0xa3, &extensions(subject, &bits, authority.unwrap_or_default())?),
    ]);
    let signature = signer.sign(&content)?;
    Ok(der::to_pem("CERTIFICATE", &der::sequence(&[&content, &signature.algorithm, &der::bits(&signature.bytes)])))
}

/// A distinguished name with nothing but the common name.
fn name(common: &str) -> Vec<u8> {
    if common.is_empty() {
        return der::sequence(&[]);
    }
    let is_printable = common.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte));
    let text = der::element(if is_printable { PRINTABLE_STRING } else { UTF8_STRING }, common.as_bytes());
    der::sequence(&[&der::element(SET, &der::sequence(&[&der::identifier(COMMON_NAME), &text]))])
}

/// A moment, to the second: in the form with two digits for the year where that has one meaning.
fn time(seconds: i64) -> Result<Vec<u8>, String> {
    let time = Time::utc(seconds, 0);
    match time.civil().year {
        1950..2050 => Ok(der::element(UTC_TIME, time.format("060102150405Z").as_bytes())),
        0..=9999 => Ok(der::element(GENERALIZED_TIME, time.format("20060102150405Z").as_bytes())),
        year => Err(format!("cannot represent the year {year} in a certificate")),
    }
}

fn extension(identifier: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if critical { der::element(BOOLEAN, &[0xff]) } else { Vec::new() };
    der::sequence(&[&der::identifier(identifier), &critical, &der::element(OCTET_STRING, content)])
}

fn extensions(subject: &Subject<'_>, public: &[u8], authority: &[u8]) -> Result<Vec<u8>, String> {
    let is_authority = subject.is_authority;
    let usages = if is_authority { AUTHORITY_USAGES } else { USAGES };
    let purposes = der::sequence(&[&der::identifier(SERVER_AUTHENTICATION), &der::identifier(CLIENT_AUTHENTICATION)]);
    let constraints = if is_authority { der::element(BOOLEAN, &[0xff]) } else { Vec::new() };
    let mut all = vec![
        extension(KEY_USAGE, true, &der::element(der::BIT_STRING, &usages)),
        extension(EXTENDED_KEY_USAGE, false, &purposes),
        extension(BASIC_CONSTRAINTS, true, &der::sequence(&[&constraints])),
    ];
    if is_authority {
        // RFC 7093, method 1.
        let hashed = digest::digest(&digest::SHA256, public);
        let identifier = hashed.as_ref().get(..20).unwrap_or_default();
        all.push(extension(SUBJECT_KEY, false, &der::element(OCTET_STRING, identifier)));
    }
    if !authority.is_empty() {
        all.push(extension(AUTHORITY_KEY, false, &der::sequence(&[&der::element(0x80, authority)])));
    }
    let mut names = Vec::new();
    for name in &subject.names {
        if !name.is_ascii() {
            return Err(format!("x509: {name:?} cannot be encoded as an IA5String"));
        }
        names.extend(der::element(0x82, name.as_bytes()));
    }
    for address in &subject.addresses {
        names.extend(match address.to_canonical() {
            IpAddr::V4(address) => der::element(0x87, &address.octets()),
            IpAddr::V6(address) => der::element(0x87, &address.octets()),
        });
    }
    if !names.is_empty() {
        all.push(extension(ALTERNATIVE_NAMES, subject.common_name.is_empty(), &der::sequence(&[&names])));
    }
    Ok(der::sequence(&[&all.concat()]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
    use x509_parser::prelude::GeneralName;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn subject(common_name: &str, is_authority: bool) -> Subject<'_> {
        Subject { common_name, addresses: Vec::new(), names: Vec::new(), days: 10, is_authority }
    }

    fn verify(certificate: &X509Certificate<'_>, by: &PrivateKey, algorithm: &'static dyn VerificationAlgorithm) {
        let public = UnparsedPublicKey::new(algorithm, by.public().unwrap().1);
        public.verify(certificate.tbs_certificate.as_ref(), &certificate.signature_value.data).unwrap();
    }

    #[test]
    fn a_chain_of_every_kind_of_key_verifies() {
        let random = &mut Random::new([4; 32]);
        let kinds: [(PrivateKey, &dyn VerificationAlgorithm); 3] = [
            (PrivateKey::rsa(random, 2048), &signature::RSA_PKCS1_2048_8192_SHA256),
            (PrivateKey::ecdsa(random).unwrap(), &signature::ECDSA_P256_SHA256_ASN1),
            (PrivateKey::ed25519(random).unwrap(), &signature::ED25519),
        ];
        for (key, algorithm) in &kinds {
            let root = certificate(&subject("authority", true), key, None, NOW, random).unwrap();
            let issuer = Issuer::parse(&root, key).unwrap();
            let (_, root) = der::from_pem(&root).unwrap();
            let root = read(&root).unwrap();
            verify(&root, key, *algorithm);
            assert!(root.is_ca() && root.key_usage().unwrap().unwrap().value.key_cert_sign());
            let leaf_key = PrivateKey::ecdsa(random).unwrap();
            let leaf = certificate(&subject("leaf", false), &leaf_key, Some(&issuer), NOW, random).unwrap();
            let (_, leaf) = der::from_pem(&leaf).unwrap();
            let leaf = read(&leaf).unwrap();
            verify(&leaf, key, *algorithm);
            assert!(!leaf.is_ca());
            assert_eq!((leaf.issuer(), leaf.subject().to_string().as_str()), (root.subject(), "CN=leaf"));
        }
    }

    #[test]
    fn names_addresses_and_days_are_those_that_were_asked_for() {
        let random = &mut Random::new([5; 32]);
        let key = PrivateKey::ed25519(random).unwrap();
        let addresses = ["10.0.0.1", "::1", "::ffff:10.0.0.2"].map(|address| address.parse().unwrap()).to_vec();
        let wanted = Subject { addresses, names: vec!["a.test".to_owned()], ..subject("*.ünï", false) };
        let (_, made) = der::from_pem(&certificate(&wanted, &key, None, NOW, random).unwrap()).unwrap();
        let made = read(&made).unwrap();
        assert_eq!(made.subject().to_string(), "CN=*.ünï");
        assert_eq!(made.validity().not_before.timestamp(), NOW);
        assert_eq!(made.validity().not_after.timestamp(), NOW + 10 * 86_400);
        let names = &made.subject_alternative_name().unwrap().unwrap().value.general_names;
        let v6 = std::net::Ipv6Addr::LOCALHOST.octets();
        let expected: [GeneralName<'_>; 4] = [
            GeneralName::DNSName("a.test"),
            GeneralName::IPAddress(&[10, 0, 0, 1]),
            GeneralName::IPAddress(&v6),
            GeneralName::IPAddress(&[10, 0, 0, 2]),
        ];
        assert_eq!(names.as_slice(), expected);
    }

    #[test]
    fn an_authority_whose_key_is_another_one_is_refused() {
        let random = &mut Random::new([6; 32]);
        let (key, other) = (PrivateKey::ed25519(random).unwrap(), PrivateKey::ed25519(random).unwrap());
        let root = certificate(&subject("authority", true), &key, None, NOW, random).unwrap();
        assert!(Issuer::parse(&root, &other).is_err());
    }

    #[test]
    fn years_that_certificates_cannot_have_are_refused_and_distant_ones_have_four_digits() {
        assert!(time(i64::MAX).is_err() && time(i64::MIN).is_err());
        assert!(time(4_000_000_000).unwrap().ends_with(b"20961002070640Z"));
    }
}
