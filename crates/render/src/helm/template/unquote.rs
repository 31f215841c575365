//! Go's string and character literals.

use crate::helm::template::lexer::decode;

/// The bytes of an interpreted (`"…"`) or raw (`` `…` ``) string literal; `None` when it is malformed.
pub(crate) fn unquote(literal: &[u8]) -> Option<Vec<u8>> {
    let (&quote, rest) = literal.split_first()?;
    let (&last, inner) = rest.split_last()?;
    if quote != last {
        return None;
    }
    match quote {
        b'`' => Some(inner.iter().copied().filter(|byte| *byte != b'\r').collect()),
        b'"' => {
            let mut out = Vec::with_capacity(inner.len());
            let mut rest = inner;
            while !rest.is_empty() {
                if rest.first() == Some(&b'\n') || rest.first() == Some(&quote) {
                    return None;
                }
                rest = unquote_character(rest, quote, &mut out)?;
            }
            Some(out)
        }
        _ => None,
    }
}

/// The code point of a character literal such as `'x'`.
pub(crate) fn unquote_rune(literal: &[u8]) -> Option<u32> {
    let inner = literal.strip_prefix(b"'")?;
    if inner.first() == Some(&b'\'') {
        return None;
    }
    let (rune, rest) = character(inner, b'\'')?;
    (rest == b"'").then_some(match rune {
        Character::Rune(rune) => rune,
        Character::Byte(byte) => byte.into(),
    })
}

enum Character {
    Rune(u32),
    /// `\x` and octal escapes are bytes, not characters.
    Byte(u8),
}

fn unquote_character<'a>(input: &'a [u8], quote: u8, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    if input.first().is_some_and(|byte| *byte >= 0x80) {
        // Invalid bytes stay as they are in valid UTF-8 only; Go replaces the others.
        let (found, length) = decode(input)?;
        let mut buffer = [0; 4];
        out.extend_from_slice(found.encode_utf8(&mut buffer).as_bytes());
        return input.get(length..);
    }
    let (found, rest) = character(input, quote)?;
    match found {
        Character::Byte(byte) => out.push(byte),
        Character::Rune(rune) => {
            let mut buffer = [0; 4];
            out.extend_from_slice(char::from_u32(rune)?.encode_utf8(&mut buffer).as_bytes());
        }
    }
    Some(rest)
}

fn character(input: &[u8], quote: u8) -> Option<(Character, &[u8])> {
    let (&first, rest) = input.split_first()?;
    if first != b'\\' {
        let (found, length) = decode(input)?;
        return Some((Character::Rune(found.into()), input.get(length..)?));
    }
    let (&escape, rest) = rest.split_first()?;
    let simple = |rune: u8| Some((Character::Rune(rune.into()), rest));
    match escape {
        b'a' => simple(7),
        b'b' => simple(8),
        b'f' => simple(12),
        b'n' => simple(b'\n'),
        b'r' => simple(b'\r'),
        b't' => simple(b'\t'),
        b'v' => simple(11),
        b'\\' => simple(b'\\'),
        b'\'' | b'"' if escape == quote => simple(escape),
        b'x' => {
            let value = hexadecimal(rest, 2)?;
            Some((Character::Byte(u8::try_from(value).ok()?), rest.get(2..)?))
        }
        b'u' | b'U' => {
            let digits = if escape == b'u' { 4 } else { 8 };
            let value = hexadecimal(rest, digits)?;
            char::from_u32(value)?;
            Some((Character::Rune(value), rest.get(digits..)?))
        }
        b'0'..=b'7' => {
            let digits = input.get(1..4)?;
            let mut value = 0_u32;
            for digit in digits {
                value = value * 8 + u32::from(digit.checked_sub(b'0').filter(|digit| *digit < 8)?);
            }
            Some((Character::Byte(u8::try_from(value).ok()?), input.get(4..)?))
        }
        _ => None,
    }
}

fn hexadecimal(input: &[u8], digits: usize) -> Option<u32> {
    input.get(..digits)?.iter().try_fold(0_u32, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
}
