//! `encryptAES` and `decryptAES`: AES-256 in CBC mode, the password padded with zeros as key.

use aes::{
    Aes256, Block,
    cipher::{BlockDecrypt as _, BlockEncrypt as _, KeyInit as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Function, Outcome, Parameter::String, arguments, fixed};
use crate::helm::{failure::Failure, template::evaluate::Evaluator};

const BLOCK: usize = 16;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("encryptAES", &[String, String], encrypt),
    fixed("decryptAES", &[String, String], |_, given| decrypt(arguments::bytes(given, 0), arguments::bytes(given, 1))),
];

fn cipher(password: &[u8]) -> Aes256 {
    let mut key = [0; 32];
    key.iter_mut().zip(password).for_each(|(place, byte)| *place = *byte);
    Aes256::new(&key.into())
}

fn encrypt(evaluator: &mut Evaluator<'_>, given: &[crate::helm::value::Value]) -> Outcome {
    let plain = arguments::bytes(given, 1);
    if plain.is_empty() {
        return Ok("".into());
    }
    evaluator.reserve(plain.len().saturating_mul(3))?;
    let cipher = cipher(arguments::bytes(given, 0));
    let padding = BLOCK - plain.len() % BLOCK;
    let mut content = plain.to_vec();
    content.resize(plain.len() + padding, padding as u8);
    let mut out = evaluator.random.bytes(BLOCK);
    let mut previous = out.clone();
    for chunk in content.chunks(BLOCK) {
        let mut block = Block::default();
        block.iter_mut().zip(chunk.iter().zip(&previous)).for_each(|(place, (plain, before))| *place = plain ^ before);
        cipher.encrypt_block(&mut block);
        previous = block.to_vec();
        out.extend_from_slice(&previous);
    }
    Ok(STANDARD.encode(out).into())
}

fn decrypt(password: &[u8], encoded: &[u8]) -> Outcome {
    if encoded.is_empty() {
        return Ok("".into());
    }
    let bytes = STANDARD.decode(encoded).map_err(|error| Failure::new(format!("decryptAES: {error}")))?;
    if bytes.len() < 2 * BLOCK || bytes.len() % BLOCK != 0 {
        return Err(Failure::new("decryptAES: the text is no whole number of blocks"));
    }
    let cipher = cipher(password);
    let mut out = Vec::with_capacity(bytes.len());
    for (before, chunk) in bytes.chunks(BLOCK).zip(bytes.chunks(BLOCK).skip(1)) {
        let mut block = Block::clone_from_slice(chunk);
        cipher.decrypt_block(&mut block);
        out.extend(block.iter().zip(before).map(|(byte, before)| byte ^ before));
    }
    let padding = usize::from(out.last().copied().unwrap_or_default());
    match out.len().checked_sub(padding) {
        Some(length) => {
            out.truncate(length);
            Ok(out.into())
        }
        None => Err(Failure::new("decryptAES: the password is wrong")),
    }
}
