//! Sprig's plain string functions.

use super::{
    Function, Outcome,
    Parameter::{Any, Int, String},
    arguments, fixed, variadic,
};
use crate::helm::{
    failure::Failure,
    format,
    held::ELEMENT_BYTES,
    quote,
    template::{evaluate::Evaluator, find},
    value::{Element, Entries, Map, Value, text},
};

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("hello", &[], |_, _| Ok("Hello!".into())),
    fixed("trim", &[String], |_, given| Ok(Value::string(trim(arguments::bytes(given, 0))))),
    fixed("upper", &[String], |_, given| {
        Ok(map_text(arguments::bytes(given, 0), |text| text.chars().map(simple_upper).collect()))
    }),
    fixed("lower", &[String], |_, given| {
        Ok(map_text(arguments::bytes(given, 0), |text| text.chars().map(simple_lower).collect()))
    }),
    fixed("trunc", &[Int, String], |_, given| {
        Ok(Value::string(trunc(arguments::int(given, 0), arguments::bytes(given, 1))))
    }),
    fixed("substr", &[Int, Int, String], substr),
    fixed("repeat", &[Int, String], repeat),
    fixed("trimAll", &[String, String], trim_all),
    fixed("trimall", &[String, String], trim_all),
    fixed("trimSuffix", &[String, String], |_, given| {
        let input = arguments::bytes(given, 1);
        Ok(Value::string(input.strip_suffix(arguments::bytes(given, 0)).unwrap_or(input)))
    }),
    fixed("trimPrefix", &[String, String], |_, given| {
        let input = arguments::bytes(given, 1);
        Ok(Value::string(input.strip_prefix(arguments::bytes(given, 0)).unwrap_or(input)))
    }),
    fixed("contains", &[String, String], |_, given| {
        Ok(find(arguments::bytes(given, 1), arguments::bytes(given, 0)).is_some().into())
    }),
    fixed("hasPrefix", &[String, String], |_, given| {
        Ok(arguments::bytes(given, 1).starts_with(arguments::bytes(given, 0)).into())
    }),
    fixed("hasSuffix", &[String, String], |_, given| {
        Ok(arguments::bytes(given, 1).ends_with(arguments::bytes(given, 0)).into())
    }),
    variadic("quote", &[], Any, |evaluator, given| {
        let mut parts = Vec::new();
        for value in given.iter().filter(|value| !value.is_nil()) {
            parts.push(quote::quote(&format::string_of(value, evaluator.limits.text)?));
        }
        Ok(parts.join(&b' ').into())
    }),
    variadic("squote", &[], Any, |evaluator, given| {
        let mut parts = Vec::new();
        for value in given.iter().filter(|value| !value.is_nil()) {
            parts.push(
                [b"'", format::print(std::slice::from_ref(value), evaluator.limits.text)?.as_slice(), b"'"].concat(),
            );
        }
        Ok(parts.join(&b' ').into())
    }),
    variadic("cat", &[], Any, |evaluator, given| {
        let mut parts = Vec::new();
        for value in given.iter().filter(|value| !value.is_nil()) {
            parts.push(format::print(std::slice::from_ref(value), evaluator.limits.text)?);
        }
        Ok(parts.join(&b' ').into())
    }),
    fixed("indent", &[Int, String], |evaluator, given| Ok(indent(evaluator, given)?.into())),
    fixed("nindent", &[Int, String], |evaluator, given| {
        let mut out = vec![b'\n'];
        out.append(&mut indent(evaluator, given)?);
        Ok(out.into())
    }),
    fixed("replace", &[String, String, String], |evaluator, given| {
        replace(evaluator, arguments::bytes(given, 2), arguments::bytes(given, 0), arguments::bytes(given, 1))
            .map(Value::from)
    }),
    fixed("plural", &[String, String, Int], |_, given| {
        Ok(arguments::any(given, usize::from(arguments::int(given, 2) != 1)))
    }),
    fixed("toString", &[Any], |evaluator, given| {
        Ok(Value::String(format::string_of(&arguments::any(given, 0), evaluator.limits.text)?))
    }),
    fixed("split", &[String, String], |evaluator, given| {
        reserve_parts(evaluator, arguments::bytes(given, 1), arguments::bytes(given, 0))?;
        Ok(numbered(split(arguments::bytes(given, 1), arguments::bytes(given, 0), usize::MAX)))
    }),
    fixed("splitList", &[String, String], |evaluator, given| {
        reserve_parts(evaluator, arguments::bytes(given, 1), arguments::bytes(given, 0))?;
        Ok(Value::strings(split(arguments::bytes(given, 1), arguments::bytes(given, 0), usize::MAX)))
    }),
    fixed("splitn", &[String, Int, String], |evaluator, given| {
        reserve_parts(evaluator, arguments::bytes(given, 2), arguments::bytes(given, 0))?;
        let count = arguments::int(given, 1);
        let limit = if count < 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) };
        Ok(numbered(split(arguments::bytes(given, 2), arguments::bytes(given, 0), limit)))
    }),
    fixed("join", &[String, Any], |evaluator, given| {
        let parts = strings_of(evaluator, &arguments::any(given, 1))?;
        let total: usize = parts.iter().map(|part| part.len() + arguments::bytes(given, 0).len()).sum();
        evaluator.reserve(total)?;
        Ok(parts.join(arguments::bytes(given, 0)).into())
    }),
    fixed("toStrings", &[Any], |evaluator, given| {
        Ok(Value::strings(strings_of(evaluator, &arguments::any(given, 0))?))
    }),
    fixed("sortAlpha", &[Any], |evaluator, given| {
        let list = arguments::any(given, 0);
        if list.is_nil() {
            return Ok(Value::strings(["<nil>"]));
        }
        let mut parts = strings_of(evaluator, &list)?;
        parts.sort();
        Ok(Value::strings(parts))
    }),
];

pub(super) fn simple_upper(character: char) -> char {
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(single), None) => single,
        _ => character,
    }
}

pub(super) fn simple_lower(character: char) -> char {
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) => single,
        // The only one with two: a capital I with a dot.
        _ => 'i',
    }
}

pub(super) fn map_text(input: &[u8], change: impl Fn(&str) -> std::string::String) -> Value {
    Value::from(change(&std::string::String::from_utf8_lossy(input)))
}

/// White space as Go's `strings.TrimSpace` sees it.
pub(crate) fn trim(input: &[u8]) -> &[u8] {
    match std::str::from_utf8(input) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => input.trim_ascii(),
    }
}

fn trunc(count: i64, input: &[u8]) -> &[u8] {
    let length = i64::try_from(input.len()).unwrap_or(i64::MAX);
    let at = |index: i64| usize::try_from(index).unwrap_or_default();
    if count < 0 && length + count > 0 {
        return input.get(at(length + count)..).unwrap_or_default();
    }
    if count >= 0 && length > count { input.get(..at(count)).unwrap_or(input) } else { input }
}

fn substr(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let (start, end, input) = (arguments::int(given, 0), arguments::int(given, 1), arguments::bytes(given, 2));
    let length = i64::try_from(input.len()).unwrap_or(i64::MAX);
    let (from, to) = if start < 0 {
        (0, end)
    } else if end < 0 || end > length {
        (start, length)
    } else {
        (start, end)
    };
    let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    match range.and_then(|(from, to)| input.get(from..to)) {
        Some(part) => Ok(Value::string(part)),
        None => Err(Failure::new(format!("runtime error: slice bounds out of range [{from}:{to}]"))),
    }
}

fn repeat(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let (count, input) = (arguments::int(given, 0), arguments::bytes(given, 1));
    let Ok(count) = usize::try_from(count) else { return Err(Failure::new("strings: negative Repeat count")) };
    evaluator.reserve(count.saturating_mul(input.len()))?;
    Ok(input.repeat(count).into())
}

fn trim_all(_: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let (set, input) = (arguments::text(given, 0), arguments::text(given, 1));
    Ok(Value::from(input.trim_matches(|character| set.contains(character))))
}

fn indent(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Result<Vec<u8>, Failure> {
    let (count, input) = (arguments::int(given, 0), arguments::bytes(given, 1));
    let Ok(count) = usize::try_from(count) else { return Err(Failure::new("strings: negative Repeat count")) };
    let lines = memchr::memchr_iter(b'\n', input).count() + 1;
    let total = count.saturating_mul(lines).saturating_add(input.len());
    evaluator.reserve(total)?;
    let pad = vec![b' '; count];
    let mut out = Vec::with_capacity(total);
    for (index, line) in input.split(|byte| *byte == b'\n').enumerate() {
        if index > 0 {
            out.push(b'\n');
        }
        out.extend_from_slice(&pad);
        out.extend_from_slice(line);
    }
    Ok(out)
}

/// `strings.ReplaceAll`: an empty `old` matches before every character and at the end.
pub(super) fn replace(evaluator: &mut Evaluator<'_>, input: &[u8], old: &[u8], new: &[u8]) -> Result<Vec<u8>, Failure> {
    if old == new {
        return Ok(input.to_vec());
    }
    let mut out = Vec::with_capacity(input.len());
    if old.is_empty() {
        evaluator.reserve(input.len().saturating_add(1).saturating_mul(new.len().saturating_add(1)))?;
        let mut rest = input;
        out.extend_from_slice(new);
        while let Some((_, length)) = crate::helm::template::decode(rest) {
            out.extend_from_slice(rest.get(..length).unwrap_or_default());
            out.extend_from_slice(new);
            rest = rest.get(length..).unwrap_or_default();
        }
        return Ok(out);
    }
    let count = memchr::memmem::find_iter(input, old).count();
    evaluator.reserve(input.len().saturating_add(count.saturating_mul(new.len())))?;
    let mut start = 0;
    for found in memchr::memmem::find_iter(input, old) {
        out.extend_from_slice(input.get(start..found).unwrap_or_default());
        out.extend_from_slice(new);
        start = found + old.len();
    }
    out.extend_from_slice(input.get(start..).unwrap_or_default());
    Ok(out)
}

/// Takes what the parts of a text need from the budget: each is a value of its own.
fn reserve_parts(evaluator: &mut Evaluator<'_>, input: &[u8], separator: &[u8]) -> Result<(), Failure> {
    let parts =
        if separator.is_empty() { input.len() } else { memchr::memmem::find_iter(input, separator).count() + 1 };
    evaluator.reserve(parts.saturating_mul(96).saturating_add(input.len()))
}

/// `strings.SplitN`: an empty separator splits into characters.
pub(super) fn split<'i>(input: &'i [u8], separator: &[u8], limit: usize) -> Vec<&'i [u8]> {
    let mut parts = Vec::new();
    if limit == 0 {
        return parts;
    }
    let mut rest = input;
    while parts.len() + 1 < limit {
        let cut = if separator.is_empty() {
            match crate::helm::template::decode(rest) {
                Some((_, length)) if length < rest.len() => Some((length, length)),
                _ => None,
            }
        } else {
            find(rest, separator).map(|found| (found, found + separator.len()))
        };
        let Some((end, next)) = cut else { break };
        parts.push(rest.get(..end).unwrap_or_default());
        rest = rest.get(next..).unwrap_or_default();
    }
    if !(separator.is_empty() && rest.is_empty()) {
        parts.push(rest);
    }
    parts
}

fn numbered(parts: Vec<&[u8]>) -> Value {
    let entries: Entries =
        parts.into_iter().enumerate().map(|(index, part)| (text(format!("_{index}")), Value::string(part))).collect();
    Value::Map(Map::typed(Element::String, entries))
}

/// Sprig's `strslice`: the elements as strings, without nil.
pub(super) fn strings_of(evaluator: &mut Evaluator<'_>, value: &Value) -> Result<Vec<Vec<u8>>, Failure> {
    let limit = evaluator.limits.text;
    if let Value::List(list) = value {
        // As a text here, and as one of the result.
        evaluator.reserve(list.items.len().saturating_mul(64))?;
        evaluator.has_room(list.items.len().saturating_mul(ELEMENT_BYTES))?;
    }
    match value.as_items() {
        Some(items) => items
            .iter()
            .filter(|item| !item.is_nil())
            .map(|item| Ok(format::string_of(item, limit)?.to_vec()))
            .collect(),
        None if value.is_nil() => Ok(Vec::new()),
        None => Ok(vec![format::string_of(value, limit)?.to_vec()]),
    }
}
