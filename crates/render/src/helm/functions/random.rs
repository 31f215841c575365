//! Random functions. They draw from a seed that the caller gives, so that a render can be repeated.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::{
    Function, Outcome,
    Parameter::{Int, String},
    arguments, fixed,
};
use crate::helm::{failure::Failure, template::evaluate::Evaluator, value::Value};

/// A stream of bytes from a seed: SHA-256 in counter mode.
pub(crate) struct Random {
    seed: [u8; 32],
    counter: u64,
    buffer: Vec<u8>,
}

// === impl Random ===

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Random {
        Random { seed, counter: 0, buffer: Vec::new() }
    }

    /// The stream of one template file, whatever others draw: a file that is added or removed changes no password of another.
    pub(crate) fn of_template(seed: &[u8; 32], path: &str) -> Random {
        let mut hash = Sha256::new();
        hash.update(seed);
        hash.update(path);
        Random::new(hash.finalize().into())
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            let mut hash = Sha256::new();
            hash.update(self.seed);
            hash.update(self.counter.to_le_bytes());
            self.counter = self.counter.wrapping_add(1);
            self.buffer.extend_from_slice(&hash.finalize());
        }
        let rest = self.buffer.split_off(count);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// A number below `bound`, every one as likely as the others.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        let reject = u64::MAX - u64::MAX % bound;
        loop {
            let mut number = [0; 8];
            number.copy_from_slice(&self.bytes(8));
            let number = u64::from_le_bytes(number);
            if number < reject {
                return number % bound;
            }
        }
    }
}

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &[u8] = b"0123456789";
const LETTERS_AND_DIGITS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("randAlphaNum", &[Int], |evaluator, given| pick(evaluator, given, LETTERS_AND_DIGITS)),
    fixed("randAlpha", &[Int], |evaluator, given| pick(evaluator, given, LETTERS)),
    fixed("randNumeric", &[Int], |evaluator, given| pick(evaluator, given, DIGITS)),
    fixed("randAscii", &[Int], |evaluator, given| {
        let printable: Vec<u8> = (32..=126).collect();
        pick(evaluator, given, &printable)
    }),
    fixed("randBytes", &[Int], |evaluator, given| {
        let count = count(evaluator, given)?;
        Ok(STANDARD.encode(evaluator.random.bytes(count)).into())
    }),
    fixed("randInt", &[Int, Int], |evaluator, given| {
        let (low, high) = (arguments::int(given, 0), arguments::int(given, 1));
        match high.checked_sub(low).and_then(|span| u64::try_from(span).ok()) {
            Some(span) if span > 0 => Ok(Value::Int(low.wrapping_add(evaluator.random.below(span) as i64))),
            _ => Err(Failure::new("invalid argument to Intn")),
        }
    }),
    fixed("shuffle", &[String], |evaluator, given| {
        let mut characters: Vec<char> = arguments::text(given, 0).chars().collect();
        evaluator.reserve(characters.len() * 8)?;
        for index in (1..characters.len()).rev() {
            let other = usize::try_from(evaluator.random.below(index as u64 + 1)).unwrap_or_default();
            characters.swap(index, other);
        }
        Ok(characters.into_iter().collect::<std::string::String>().into())
    }),
    fixed("uuidv4", &[], |evaluator, _| {
        let mut bytes = evaluator.random.bytes(16);
        if let Some(byte) = bytes.get_mut(6) {
            *byte = *byte & 0x0f | 0x40;
        }
        if let Some(byte) = bytes.get_mut(8) {
            *byte = *byte & 0x3f | 0x80;
        }
        let digits: std::string::String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default().to_owned();
        Ok([part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-").into())
    }),
];

fn count(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Result<usize, Failure> {
    let count = usize::try_from(arguments::int(given, 0)).map_err(|_| Failure::new("the length is negative"))?;
    evaluator.reserve(count.saturating_mul(16))?;
    Ok(count)
}

fn pick(evaluator: &mut Evaluator<'_>, given: &[Value], alphabet: &[u8]) -> Outcome {
    let count = count(evaluator, given)?;
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        let index = usize::try_from(evaluator.random.below(alphabet.len() as u64)).unwrap_or_default();
        out.push(alphabet.get(index).copied().unwrap_or(b'a'));
    }
    Ok(out.into())
}
