//! Sprig's functions that shorten, wrap and pick from text.

use super::{
    Function, Outcome,
    Parameter::{Int, String},
    arguments, fixed,
    strings::map_text,
};
use crate::helm::{failure::Failure, template::evaluate::Evaluator, value::Value};

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("abbrev", &[Int, String], |_, given| {
        let (width, input) = (arguments::int(given, 0), arguments::text(given, 1));
        if width < 4 { Ok(Value::from(input.as_ref())) } else { abbreviate(&input, 0, width) }
    }),
    fixed("abbrevboth", &[Int, Int, String], |_, given| {
        let (left, right, input) = (arguments::int(given, 0), arguments::int(given, 1), arguments::text(given, 2));
        if right < 4 || (left > 0 && right < 7) {
            Ok(Value::from(input.as_ref()))
        } else {
            abbreviate(&input, left, right)
        }
    }),
    fixed("nospace", &[String], |_, given| {
        // Sprig takes every byte for a character here.
        let kept =
            arguments::bytes(given, 0).iter().map(|byte| char::from(*byte)).filter(|letter| !letter.is_whitespace());
        Ok(kept.collect::<std::string::String>().into())
    }),
    fixed("initials", &[String], |_, given| Ok(initials(arguments::bytes(given, 0)).into())),
    fixed("wrap", &[Int, String], |evaluator, given| {
        wrap(evaluator, arguments::int(given, 0), "\n", &arguments::text(given, 1), false)
    }),
    fixed("wrapWith", &[Int, String, String], |evaluator, given| {
        wrap(evaluator, arguments::int(given, 0), &arguments::text(given, 1), &arguments::text(given, 2), true)
    }),
];

/// Cuts a text to `width` bytes with dots on the sides where something is missing.
fn abbreviate(input: &str, offset: i64, width: i64) -> Outcome {
    let bytes = input.as_bytes();
    let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let part = |from: i64, to: i64| {
        let (from, to) = (usize::try_from(from).unwrap_or(0), usize::try_from(to.min(length)).unwrap_or(0));
        bytes.get(from..to).unwrap_or_default().to_vec()
    };
    if length <= width {
        return Ok(Value::from(input));
    }
    let mut offset = offset.min(length);
    if length - offset < width - 3 {
        offset = length - (width - 3);
    }
    let dots = b"...".to_vec();
    if offset <= 4 {
        return Ok([part(0, width - 3), dots].concat().into());
    }
    if width < 7 {
        return Err(Failure::new("minimum abbreviation width with offset is 7"));
    }
    if offset + width - 3 < length {
        let inner = abbreviate(&std::string::String::from_utf8_lossy(&part(offset, length)), 0, width - 3)?;
        return Ok([dots, inner.as_bytes().unwrap_or_default().to_vec()].concat().into());
    }
    Ok([dots, part(length - (width - 3), length)].concat().into())
}

/// The first byte of every word, taken for a character as by Sprig.
fn initials(text: &[u8]) -> std::string::String {
    let letters = text.iter().map(|byte| char::from(*byte)).collect::<Vec<_>>();
    letters.split(|letter| letter.is_whitespace()).filter_map(|word| word.first()).collect()
}

/// Breaks lines at spaces before `width` characters; `cut` also breaks words that are longer.
fn wrap(evaluator: &mut Evaluator<'_>, width: i64, new_line: &str, input: &str, cut: bool) -> Outcome {
    let width = usize::try_from(width.max(1)).unwrap_or(usize::MAX);
    evaluator.reserve(input.len().saturating_mul(new_line.len() + 1))?;
    let new_line = if new_line.is_empty() { "\n" } else { new_line };
    let characters: Vec<char> = input.chars().collect();
    let length = characters.len();
    let collect =
        |from: usize, to: usize| characters.get(from..to).unwrap_or_default().iter().collect::<std::string::String>();
    let mut out = std::string::String::with_capacity(input.len());
    let mut offset = 0;
    while length - offset > width {
        if characters.get(offset) == Some(&' ') {
            offset += 1;
            continue;
        }
        let end = offset + width;
        let space = (offset..=end.min(length - 1)).rev().find(|index| characters.get(*index) == Some(&' '));
        if let Some(space) = space {
            out.push_str(&collect(offset, space));
            out.push_str(new_line);
            offset = space + 1;
        } else if cut {
            out.push_str(&collect(offset, end));
            out.push_str(new_line);
            offset = end;
        } else {
            match (end..length).find(|index| characters.get(*index) == Some(&' ')) {
                Some(space) => {
                    out.push_str(&collect(offset, space));
                    out.push_str(new_line);
                    offset = space + 1;
                }
                None => {
                    out.push_str(&collect(offset, length));
                    offset = length;
                }
            }
        }
    }
    out.push_str(&collect(offset, length));
    Ok(out.into())
}
