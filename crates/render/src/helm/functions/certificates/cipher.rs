//! `encryptAES` and `decryptAES`: AES-256 in CBC mode, the first block of the result being the initial vector, as Sprig has it.

use aes::{
    Aes256,
    cipher::{Array, BlockCipherDecrypt as _, BlockCipherEncrypt as _, KeyInit as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::helm::{failure::Failure, functions::random::Random};

const BLOCK: usize = 16;

/// The cipher of a password: its first 32 bytes, and zeros where there are fewer.
fn cipher(password: &[u8]) -> Aes256 {
    let mut key = [0; 32];
    key.iter_mut().zip(password).for_each(|(place, byte)| *place = *byte);
    Aes256::new(&Array(key))
}

fn mix(block: &mut [u8; BLOCK], other: &[u8; BLOCK]) {
    block.iter_mut().zip(other).for_each(|(byte, other)| *byte ^= other);
}

/// The content in Base64; nothing stays nothing.
pub(super) fn encrypt(password: &[u8], content: &[u8], random: &mut Random) -> String {
    if content.is_empty() {
        return String::new();
    }
    let cipher = cipher(password);
    let padding = BLOCK - content.len() % BLOCK;
    let mut padded = content.to_vec();
    // At most 16.
    padded.resize(content.len() + padding, u8::try_from(padding).unwrap_or_default());
    let mut last: [u8; BLOCK] = random.bytes(BLOCK).try_into().unwrap_or_default();
    let mut out = last.to_vec();
    let (blocks, _) = padded.as_chunks::<BLOCK>();
    for block in blocks {
        let mut block = *block;
        mix(&mut block, &last);
        let mut block = Array(block);
        cipher.encrypt_block(&mut block);
        last = block.0;
        out.extend_from_slice(&last);
    }
    STANDARD.encode(out)
}

/// What [`encrypt`] was given.
pub(super) fn decrypt(password: &[u8], encoded: &[u8]) -> Result<Vec<u8>, Failure> {
    if encoded.is_empty() {
        return Ok(Vec::new());
    }
    let sealed = STANDARD.decode(encoded).map_err(|error| Failure::new(error.to_string()))?;
    let malformed = || Failure::new("the text was not encrypted with encryptAES and this password");
    let (blocks, []) = sealed.as_chunks::<BLOCK>() else { return Err(malformed()) };
    let (first, blocks) = blocks.split_first().ok_or_else(malformed)?;
    let cipher = cipher(password);
    let (mut out, mut last) = (Vec::with_capacity(sealed.len()), *first);
    for block in blocks {
        let mut opened = Array(*block);
        cipher.decrypt_block(&mut opened);
        let mut opened = opened.0;
        mix(&mut opened, &last);
        last = *block;
        out.extend_from_slice(&opened);
    }
    let padding = usize::from(*out.last().ok_or_else(malformed)?);
    let length = out.len().checked_sub(padding).ok_or_else(malformed)?;
    out.truncate(length);
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_block_cipher_is_aes_256() {
        // FIPS 197, appendix C.3.
        let key: Vec<u8> = (0..32).collect();
        let mut block =
            Array([0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff]);
        cipher(&key).encrypt_block(&mut block);
        assert_eq!(
            block.0,
            [0x8e, 0xa2, 0xb7, 0xca, 0x51, 0x67, 0x45, 0xbf, 0xea, 0xfc, 0x49, 0x90, 0x4b, 0x49, 0x60, 0x89]
        );
    }

    #[test]
    fn contents_of_every_length_come_back() {
        let random = &mut Random::new([8; 32]);
        for length in 0..50 {
            let content: Vec<u8> = (0..length).collect();
            let sealed = encrypt(b"password", &content, random);
            assert_eq!(decrypt(b"password", sealed.as_bytes()).unwrap(), content);
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in ["MTIz", "!", "AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            assert!(decrypt(b"password", text.as_bytes()).is_err(), "{text}");
        }
    }
}
