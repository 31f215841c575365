//! scrypt (RFC 7914), for `derivePassword`.

use std::num::NonZeroU32;

use ring::{hmac, pbkdf2};

use super::{Outcome, arguments};
use crate::helm::{failure::Failure, template::evaluate::Evaluator, value::Value};

/// Work and memory (32 MiB), as Sprig fixes them.
const COST: usize = 32_768;
const BLOCKS: usize = 8;
const PARALLEL: usize = 2;

/// The templates of passwords by kind, and the characters that their letters stand for.
const TEMPLATES: [(&str, &[&str]); 6] = [
    ("maximum", &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"]),
    (
        "long",
        &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
    ),
    ("medium", &["CvcnoCvc", "CvcCvcno"]),
    ("short", &["Cvcn"]),
    ("basic", &["aaanaaan", "aannaaan", "aaannaaa"]),
    ("pin", &["nnnn"]),
];
const CHARACTERS: [(u8, &[u8]); 8] = [
    (b'V', b"AEIOU"),
    (b'C', b"BCDFGHJKLMNPQRSTVWXYZ"),
    (b'v', b"aeiou"),
    (b'c', b"bcdfghjklmnpqrstvwxyz"),
    (b'A', b"AEIOUBCDFGHJKLMNPQRSTVWXYZ"),
    (b'a', b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"),
    (b'n', b"0123456789"),
    (b'o', b"@&%?,=[]_:-+*$#!'^~;()/."),
];
const EXTRA: &[u8] = b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()";
const NAMESPACE: &[u8] = b"com.lyndir.masterpassword";

/// `derivePassword counter kind password user site`
pub(super) fn derive_password(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let counter = match given.first() {
        Some(Value::Int(counter)) => u32::try_from(*counter & 0xffff_ffff).unwrap_or_default(),
        _ => return Err(Failure::new("wrong type for value; expected uint32")),
    };
    let kind = arguments::text(given, 1);
    let Some((_, templates)) = TEMPLATES.iter().find(|(name, _)| *name == kind) else {
        return Ok(format!("cannot find password template {kind}").into());
    };
    evaluator.spend(2_000_000)?;
    let (password, user, site) = (arguments::bytes(given, 2), arguments::bytes(given, 3), arguments::bytes(given, 4));
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let salt = [NAMESPACE, &length(user), user].concat();
    let key = scrypt(password, &salt);
    let message = [NAMESPACE, &length(site), site, &counter.to_be_bytes()].concat();
    let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &message);
    let seed = seed.as_ref();
    let at = |index: usize| usize::from(seed.get(index).copied().unwrap_or_default());
    let template = templates.get(at(0) % templates.len()).copied().unwrap_or_default();
    let characters = template.bytes().enumerate().map(|(index, letter)| {
        let set = CHARACTERS.iter().find(|(known, _)| *known == letter).map_or(EXTRA, |(_, set)| *set);
        set.get(at(index + 1) % set.len()).copied().unwrap_or(b'?')
    });
    Ok(characters.collect::<Vec<u8>>().into())
}

fn pbkdf2_once(password: &[u8], salt: &[u8], out: &mut [u8]) {
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, NonZeroU32::MIN, salt, password, out);
}

fn scrypt(password: &[u8], salt: &[u8]) -> [u8; 64] {
    let mut bytes = vec![0; PARALLEL * BLOCKS * 128];
    pbkdf2_once(password, salt, &mut bytes);
    let mut table = vec![[0_u32; BLOCKS * 32]; COST];
    for chunk in bytes.chunks_mut(BLOCKS * 128) {
        let mut block = [0_u32; BLOCKS * 32];
        for (word, bytes) in block.iter_mut().zip(chunk.chunks(4)) {
            *word = u32::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        mix(&mut block, &mut table);
        for (word, bytes) in block.iter().zip(chunk.chunks_mut(4)) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }
    let mut out = [0; 64];
    pbkdf2_once(password, &bytes, &mut out);
    out
}

fn mix(block: &mut [u32; BLOCKS * 32], table: &mut [[u32; BLOCKS * 32]]) {
    for slot in table.iter_mut() {
        *slot = *block;
        *block = blend(block);
    }
    for _ in 0..COST {
        let index = block.get(BLOCKS * 32 - 16).map_or(0, |word| *word as usize) % COST;
        if let Some(slot) = table.get(index) {
            block.iter_mut().zip(slot).for_each(|(word, other)| *word ^= other);
        }
        *block = blend(block);
    }
}

/// BlockMix: even results first, then the odd ones.
fn blend(block: &[u32; BLOCKS * 32]) -> [u32; BLOCKS * 32] {
    let mut last = [0_u32; 16];
    last.copy_from_slice(block.get(BLOCKS * 32 - 16..).unwrap_or(&[0; 16]));
    let mut out = [0_u32; BLOCKS * 32];
    for (index, chunk) in block.chunks(16).enumerate() {
        last.iter_mut().zip(chunk).for_each(|(word, other)| *word ^= other);
        salsa(&mut last);
        let position = if index % 2 == 0 { index / 2 } else { BLOCKS + index / 2 } * 16;
        if let Some(slot) = out.get_mut(position..position + 16) {
            slot.copy_from_slice(&last);
        }
    }
    out
}

/// Salsa20/8.
fn salsa(block: &mut [u32; 16]) {
    let mut x = *block;
    macro_rules! quarter {
        ($a:literal, $b:literal, $c:literal, $d:literal) => {
            x[$b] ^= x[$a].wrapping_add(x[$d]).rotate_left(7);
            x[$c] ^= x[$b].wrapping_add(x[$a]).rotate_left(9);
            x[$d] ^= x[$c].wrapping_add(x[$b]).rotate_left(13);
            x[$a] ^= x[$d].wrapping_add(x[$c]).rotate_left(18);
        };
    }
    for _ in 0..4 {
        quarter!(0, 4, 8, 12);
        quarter!(5, 9, 13, 1);
        quarter!(10, 14, 2, 6);
        quarter!(15, 3, 7, 11);
        quarter!(0, 1, 2, 3);
        quarter!(5, 6, 7, 4);
        quarter!(10, 11, 8, 9);
        quarter!(15, 12, 13, 14);
    }
    block.iter_mut().zip(x).for_each(|(word, other)| *word = word.wrapping_add(other));
}
