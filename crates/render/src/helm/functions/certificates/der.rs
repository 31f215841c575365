//! As much of DER (X.690) as keys and certificates need, and its text form, PEM.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use num_bigint::BigUint;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// Characters of Base64 in a line of PEM.
const PEM_LINE: usize = 64;

/// An element of some type.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    match digits.as_slice() {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        // A length has at most eight digits.
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

/// A number that is not negative.
pub(super) fn integer(number: &BigUint) -> Vec<u8> {
    let mut digits = number.to_bytes_be();
    if digits.first().is_some_and(|first| *first >= 0x80) {
        digits.insert(0, 0);
    }
    element(INTEGER, &digits)
}

pub(super) fn small(number: u32) -> Vec<u8> {
    integer(&BigUint::from(number))
}

/// A bit string of whole bytes.
pub(super) fn bits(content: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], content].concat())
}

/// An identifier whose content is already encoded.
pub(super) fn identifier(encoded: &[u8]) -> Vec<u8> {
    element(OBJECT_IDENTIFIER, encoded)
}

/// Reads one element after the other.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element: tag and content.
    pub(super) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let length = match first {
            short if *short < 0x80 => usize::from(*short),
            long => {
                let count = usize::from(*long & 0x7f);
                if !(1..=4).contains(&count) {
                    return None;
                }
                let (digits, after) = rest.split_at_checked(count)?;
                rest = after;
                digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))
            }
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The content of the next element, if it has this tag.
    pub(super) fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.any().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }

    /// A sequence, to be read itself.
    pub(super) fn sequence(&mut self) -> Option<Reader<'a>> {
        self.expect(SEQUENCE).map(Reader)
    }

    pub(super) fn integer(&mut self) -> Option<BigUint> {
        let digits = self.expect(INTEGER)?;
        // Negative numbers have no place in keys.
        let is_negative = digits.first().is_none_or(|first| *first >= 0x80);
        (!is_negative).then(|| BigUint::from_bytes_be(digits))
    }
}

/// A block of PEM text.
pub(super) fn to_pem(label: &str, content: &[u8]) -> String {
    let encoded = STANDARD.encode(content);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while let Some((line, after)) = rest.split_at_checked(PEM_LINE) {
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    if !rest.is_empty() {
        out.push_str(rest);
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

/// The label and content of the first block of a PEM text. Headers (`Proc-Type`) belong to encrypted keys, which are not read.
pub(super) fn from_pem(text: &str) -> Option<(String, Vec<u8>)> {
    let begin = text.match_indices("-----BEGIN ").map(|(index, _)| index);
    let at_line_start = |index: &usize| *index == 0 || text.as_bytes().get(index - 1) == Some(&b'\n');
    let start = begin.into_iter().find(at_line_start)?;
    let (label, body) = text.get(start..)?.strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let (body, _) = body.split_once(&format!("-----END {label}-----"))?;
    let digits: String = body.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    Some((label.to_owned(), STANDARD.decode(digits).ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be_and_are_read_again() {
        for (length, head) in [
            (0, vec![4, 0]),
            (127, vec![4, 127]),
            (128, vec![4, 0x81, 128]),
            (256, vec![4, 0x82, 1, 0]),
            (70_000, vec![4, 0x83, 1, 0x11, 0x70]),
        ] {
            let content = vec![7; length];
            let encoded = element(OCTET_STRING, &content);
            assert!(encoded.starts_with(&head), "{length}");
            let mut reader = Reader(&encoded);
            assert_eq!(reader.expect(OCTET_STRING), Some(content.as_slice()));
            assert!(reader.0.is_empty());
        }
    }

    #[test]
    fn a_length_beyond_the_input_is_refused() {
        for input in
            [&[4, 5, 1][..], &[4], &[], &[4, 0x80], &[4, 0x85, 1, 1, 1, 1, 1], &[4, 0x84, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(Reader(input).any(), None, "{input:?}");
        }
    }

    #[test]
    fn pem_text_is_read_as_it_was_written() {
        for length in [0, 1, 47, 48, 49, 1000] {
            let content: Vec<u8> = (0..length).map(|number| u8::try_from(number % 251).unwrap()).collect();
            let written = to_pem("SOMETHING", &content);
            assert_eq!(from_pem(&written), Some(("SOMETHING".to_owned(), content)), "{written}");
        }
        for text in [
            "",
            "-----BEGIN A-----",
            "-----BEGIN A-----\n!\n-----END A-----\n",
            "x-----BEGIN A-----\n-----END A-----\n",
        ] {
            assert_eq!(from_pem(text), None, "{text}");
        }
    }
}
