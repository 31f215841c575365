//! Sprig's functions for private keys, certificates and AES.
//!
//! Keys come from the seed of the render, so that the same render gives the same keys: whoever knows the seed knows them.

mod cipher;
mod curve;
mod der;
mod keys;
mod primes;
mod x509;

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Function, Outcome,
    Parameter::{Any, Int, Object, String as Text},
    arguments, fixed,
};
use crate::helm::{
    failure::Failure,
    object::Struct,
    template::evaluate::Evaluator,
    value::{Element, Value},
};
use keys::PrivateKey;
use x509::{Issuer, Subject};

/// Go's name of what the functions for certificates give.
const CERTIFICATE: &str = "sprig.certificate";

/// Bits of the keys of certificates and of `genPrivateKey "rsa"`.
const CERTIFICATE_BITS: u64 = 2048;
const PRIVATE_KEY_BITS: u64 = 4096;

/// What keys cost in steps: about as long as so many steps of a template take.
const CERTIFICATE_KEY_STEPS: u64 = 1_000_000;
const PRIVATE_KEY_STEPS: u64 = 8_000_000;
const DSA_STEPS: u64 = 4_000_000;
const CURVE_STEPS: u64 = 20_000;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("genPrivateKey", &[Text], generate),
    fixed("genCA", &[Text, Int], |evaluator, given| authority(evaluator, given, None)),
    fixed("genCAWithKey", &[Text, Int, Text], |evaluator, given| authority(evaluator, given, Some(2))),
    fixed("genSelfSignedCert", &[Text, Any, Any, Int], |evaluator, given| leaf(evaluator, given, None, None)),
    fixed("genSelfSignedCertWithKey", &[Text, Any, Any, Int, Text], |evaluator, given| {
        leaf(evaluator, given, None, Some(4))
    }),
    fixed("genSignedCert", &[Text, Any, Any, Int, Object(CERTIFICATE)], |evaluator, given| {
        leaf(evaluator, given, Some(4), None)
    }),
    fixed("genSignedCertWithKey", &[Text, Any, Any, Int, Object(CERTIFICATE), Text], |evaluator, given| {
        leaf(evaluator, given, Some(4), Some(5))
    }),
    fixed("buildCustomCert", &[Text, Text], build),
    fixed("encryptAES", &[Text, Text], |evaluator, given| {
        let (password, content) = (arguments::bytes(given, 0), arguments::bytes(given, 1));
        evaluator.reserve(content.len().saturating_mul(2))?;
        Ok(cipher::encrypt(password, content, &mut evaluator.random).into())
    }),
    fixed("decryptAES", &[Text, Text], |evaluator, given| {
        let (password, content) = (arguments::bytes(given, 0), arguments::bytes(given, 1));
        evaluator.reserve(content.len())?;
        Ok(cipher::decrypt(password, content)?.into())
    }),
];

/// `genPrivateKey kind`
fn generate(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let kind = arguments::text(given, 0);
    let key = match kind.as_ref() {
        "" | "rsa" => {
            evaluator.spend(PRIVATE_KEY_STEPS)?;
            Some(PrivateKey::rsa(&mut evaluator.random, PRIVATE_KEY_BITS))
        }
        "dsa" => {
            evaluator.spend(DSA_STEPS)?;
            Some(PrivateKey::dsa(&mut evaluator.random))
        }
        "ecdsa" => {
            evaluator.spend(CURVE_STEPS)?;
            PrivateKey::ecdsa(&mut evaluator.random)
        }
        "ed25519" => {
            evaluator.spend(CURVE_STEPS)?;
            PrivateKey::ed25519(&mut evaluator.random)
        }
        // As in Sprig, this is what is printed.
        _ => return Ok(format!("Unknown type {kind}").into()),
    };
    let key = key.ok_or_else(|| Failure::new(format!("failed to generate a private key of type {kind}")))?;
    Ok(key.to_pem().into())
}

/// The key that an argument is, or a new one.
fn key(evaluator: &mut Evaluator<'_>, given: &[Value], index: Option<usize>) -> Result<PrivateKey, Failure> {
    let Some(index) = index else {
        evaluator.spend(CERTIFICATE_KEY_STEPS)?;
        return Ok(PrivateKey::rsa(&mut evaluator.random, CERTIFICATE_BITS));
    };
    evaluator.spend(CURVE_STEPS)?;
    PrivateKey::parse(&arguments::text(given, index))
        .map_err(|error| Failure::new(format!("parsing private key: {error}")))
}

/// What a signature with a key costs: its numbers are raised to powers of their own size.
fn spend_on_signature(evaluator: &mut Evaluator<'_>, key: &PrivateKey) -> Result<(), Failure> {
    evaluator.spend((key.bits() / 256).saturating_pow(3).saturating_mul(200))
}

fn authority(evaluator: &mut Evaluator<'_>, given: &[Value], key_index: Option<usize>) -> Outcome {
    let common_name = common_name(given)?;
    let key = key(evaluator, given, key_index)?;
    let days = arguments::int(given, 1);
    let subject = Subject { common_name, addresses: Vec::new(), names: Vec::new(), days, is_authority: true };
    sign(evaluator, &subject, &key, None)
}

fn leaf(evaluator: &mut Evaluator<'_>, given: &[Value], issuer: Option<usize>, key_index: Option<usize>) -> Outcome {
    let common_name = common_name(given)?;
    let address = |text: String| {
        let wrong = || Failure::new(format!("error parsing ip: {text}"));
        text.parse::<IpAddr>().map_err(|_| wrong())
    };
    let addresses = words(given, 1, "error parsing ip")?.into_iter().map(address).collect::<Result<_, _>>()?;
    let names = words(given, 2, "error processing alternate dns name")?;
    let subject = Subject { common_name, addresses, names, days: arguments::int(given, 3), is_authority: false };
    let Some(issuer) = issuer else {
        let key = key(evaluator, given, key_index)?;
        return sign(evaluator, &subject, &key, None);
    };
    let part = |name: &[u8]| match given.get(issuer) {
        Some(Value::Object(object)) => {
            object.field(name).and_then(|part| part.as_bytes().map(<[u8]>::to_vec)).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    evaluator.spend(CURVE_STEPS)?;
    let (certificate, signer) = (part(b"Cert"), part(b"Key"));
    let signer = PrivateKey::parse(&String::from_utf8_lossy(&signer))
        .map_err(|error| Failure::new(format!("error parsing private key: {error}")))?;
    let issuer = Issuer::parse(&String::from_utf8_lossy(&certificate), &signer)?;
    spend_on_signature(evaluator, &signer)?;
    let key = key(evaluator, given, key_index)?;
    sign(evaluator, &subject, &key, Some(&issuer))
}

fn common_name(given: &[Value]) -> Result<&str, Failure> {
    std::str::from_utf8(arguments::bytes(given, 0)).map_err(|_| Failure::new("asn1: string not valid UTF-8"))
}

/// A list of texts; nothing is an empty one.
fn words(given: &[Value], index: usize, what: &str) -> Result<Vec<String>, Failure> {
    let items = match given.get(index) {
        None | Some(Value::Nil | Value::Invalid) => return Ok(Vec::new()),
        Some(Value::List(list)) if list.element == Element::Any => &list.items,
        Some(other) => {
            let found = other.type_name();
            return Err(Failure::new(format!("wrong type for value; expected []interface {{}}; got {found}")));
        }
    };
    let word = |item: &Value| match item.as_bytes() {
        Some(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        None => Err(Failure::new(format!("{what}: a value of type {} is not a string", item.type_name()))),
    };
    items.iter().map(word).collect()
}

fn sign(
    evaluator: &mut Evaluator<'_>,
    subject: &Subject<'_>,
    key: &PrivateKey,
    issuer: Option<&Issuer<'_>>,
) -> Outcome {
    if issuer.is_none() {
        spend_on_signature(evaluator, key)?;
    }
    let now = evaluator.now.0;
    let certificate = x509::certificate(subject, key, issuer, now, &mut evaluator.random)?;
    let private = key.to_pem();
    evaluator.reserve(certificate.len() + private.len())?;
    Ok(pair(certificate.into(), private.into()))
}

fn pair(certificate: Value, key: Value) -> Value {
    Struct::value(CERTIFICATE, vec![("Cert", "Cert", certificate), ("Key", "Key", key)])
}

/// `buildCustomCert certificate key`, both in Base64.
fn build(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    evaluator.reserve(arguments::bytes(given, 0).len() + arguments::bytes(given, 1).len())?;
    evaluator.spend(CURVE_STEPS)?;
    let decode = |index: usize, message: &'static str| {
        let digits: Vec<u8> =
            arguments::bytes(given, index).iter().filter(|byte| !matches!(byte, b'\r' | b'\n')).copied().collect();
        STANDARD.decode(digits).map_err(|_| Failure::new(message))
    };
    let certificate = decode(0, "unable to decode base64 certificate")?;
    let key = decode(1, "unable to decode base64 private key")?;
    x509::check(&String::from_utf8_lossy(&certificate))?;
    PrivateKey::parse(&String::from_utf8_lossy(&key))
        .map_err(|error| Failure::new(format!("error parsing private key: {error}")))?;
    Ok(pair(certificate.into(), key.into()))
}
