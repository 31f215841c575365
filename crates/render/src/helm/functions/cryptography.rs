//! Checksums and password hashes.

use std::fmt::Write as _;

use ring::digest;

use super::{Function, Parameter::String, arguments, fixed};
use crate::helm::{failure::Failure, template::evaluate::Evaluator, value::Value};

/// What bcrypt spends on a hash (2^10 rounds), as in Go.
const BCRYPT_COST: u32 = 10;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("sha1sum", &[String], |_, given| Ok(checksum(&digest::SHA1_FOR_LEGACY_USE_ONLY, arguments::bytes(given, 0)))),
    fixed("sha256sum", &[String], |_, given| Ok(checksum(&digest::SHA256, arguments::bytes(given, 0)))),
    fixed("sha512sum", &[String], |_, given| Ok(checksum(&digest::SHA512, arguments::bytes(given, 0)))),
    fixed("adler32sum", &[String], |_, given| Ok(adler32(arguments::bytes(given, 0)).to_string().into())),
    fixed("bcrypt", &[String], |evaluator, given| Ok(bcrypt_hash(evaluator, arguments::bytes(given, 0))?.into())),
    fixed("htpasswd", &[String, String], |evaluator, given| {
        let user = arguments::text(given, 0);
        if user.contains(':') {
            return Ok(format!("invalid username: {user}").into());
        }
        Ok(format!("{user}:{}", bcrypt_hash(evaluator, arguments::bytes(given, 1))?).into())
    }),
    fixed("derivePassword", &[super::Parameter::Any, String, String, String, String], super::scrypt::derive_password),
];

pub(super) fn hex(bytes: &[u8]) -> std::string::String {
    bytes.iter().fold(std::string::String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn checksum(algorithm: &'static digest::Algorithm, input: &[u8]) -> Value {
    hex(digest::digest(algorithm, input).as_ref()).into()
}

fn adler32(input: &[u8]) -> u32 {
    let (a, b) = input.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

fn bcrypt_hash(evaluator: &mut Evaluator<'_>, password: &[u8]) -> Result<std::string::String, Failure> {
    // A hash takes about as long as this many steps.
    evaluator.spend(500_000)?;
    let salt: [u8; 16] = evaluator.random.bytes(16).try_into().unwrap_or_default();
    if password.len() > 72 {
        return Ok("failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes".to_owned());
    }
    let parts = bcrypt::hash_with_salt(password, BCRYPT_COST, salt)
        .map_err(|error| Failure::new(format!("failed to encrypt string with bcrypt: {error}")))?;
    Ok(parts.format_for_version(bcrypt::Version::TwoA))
}
