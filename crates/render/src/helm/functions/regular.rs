//! Regular expressions with RE2's syntax and Go's replacement text.

use std::rc::Rc;

use regex::bytes::{Regex, RegexBuilder};

use super::{
    Function, Outcome,
    Parameter::{Int, String},
    arguments, fixed,
};
use crate::helm::{
    failure::Failure,
    template::evaluate::Evaluator,
    value::{Element, Text, Value},
};

/// Characters of an expression that a message shows.
const SHOWN: usize = 500;

/// Larger programs are refused.
const MAX_PROGRAM_BYTES: usize = 2 * 1024 * 1024;

/// Compiled expressions that are kept.
const MAX_KEPT: usize = 100;

/// What a match costs of the budget of bytes, besides its text.
const MATCH_BYTES: usize = 96;

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("regexMatch", &[String, String], |evaluator, given| match compiled(evaluator, given) {
        Ok(expression) => Ok(expression.is_match(arguments::bytes(given, 1)).into()),
        Err(failure) if failure.limit => Err(failure),
        Err(_) => Ok(Value::Bool(false)),
    }),
    fixed("mustRegexMatch", &[String, String], |evaluator, given| {
        Ok(compiled(evaluator, given)?.is_match(arguments::bytes(given, 1)).into())
    }),
    fixed("regexFind", &[String, String], find),
    fixed("mustRegexFind", &[String, String], find),
    fixed("regexFindAll", &[String, String, Int], find_all),
    fixed("mustRegexFindAll", &[String, String, Int], find_all),
    fixed("regexReplaceAll", &[String, String, String], |evaluator, given| replace(evaluator, given, false)),
    fixed("mustRegexReplaceAll", &[String, String, String], |evaluator, given| replace(evaluator, given, false)),
    fixed("regexReplaceAllLiteral", &[String, String, String], |evaluator, given| replace(evaluator, given, true)),
    fixed("mustRegexReplaceAllLiteral", &[String, String, String], |evaluator, given| replace(evaluator, given, true)),
    fixed("regexSplit", &[String, String, Int], split),
    fixed("mustRegexSplit", &[String, String, Int], split),
    fixed("regexQuoteMeta", &[String], |_, given| {
        let quote = |byte: &u8| if b"\\.+*?()|[]{}^$".contains(byte) { vec![b'\\', *byte] } else { vec![*byte] };
        Ok(arguments::bytes(given, 0).iter().flat_map(quote).collect::<Vec<u8>>().into())
    }),
];

/// The first argument as an expression; searching the second costs steps.
fn compiled(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Result<Rc<Regex>, Failure> {
    let source = arguments::string(given, 0);
    evaluator.spend(1 + arguments::bytes(given, 1).len() as u64 / 16)?;
    if let Some(known) = evaluator.expressions.get(&source) {
        return Ok(Rc::clone(known));
    }
    let effort = repetitions(&source).saturating_add(source.len() as u64).saturating_mul(20);
    evaluator.spend(effort.saturating_add(10_000))?;
    if evaluator.expressions.len() >= MAX_KEPT {
        evaluator.expressions.clear();
    }
    let shown = std::string::String::from_utf8_lossy(&source).into_owned();
    let bad = |message: &str| {
        let (shown, rest) = shown.split_at(shown.floor_char_boundary(SHOWN));
        Failure::new(format!("error parsing regexp: {message}: `{shown}{}`", if rest.is_empty() { "" } else { "…" }))
    };
    let translated = translate(&shown).map_err(|message| bad(&message))?;
    let expression = RegexBuilder::new(&translated)
        .size_limit(MAX_PROGRAM_BYTES)
        .dfa_size_limit(MAX_PROGRAM_BYTES)
        .build()
        .map_err(|error| {
            bad(error.to_string().lines().last().unwrap_or("invalid syntax").trim_start_matches("error: "))
        })?;
    let expression = Rc::new(expression);
    evaluator.expressions.insert(Text::clone(&source), Rc::clone(&expression));
    Ok(expression)
}

/// How often repetitions that are counted (`{2,5}`) repeat, if all are inside each other: as large may the program become.
fn repetitions(source: &[u8]) -> u64 {
    let counts = source.split(|byte| *byte == b'{').skip(1).map(|rest| {
        let inner: Vec<u8> = rest.iter().copied().take_while(|byte| byte.is_ascii_digit() || *byte == b',').collect();
        let numbers =
            inner.split(|byte| *byte == b',').filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        numbers.max().unwrap_or(1_u64).max(1)
    });
    counts.fold(1, u64::saturating_mul)
}

/// Writes an expression of Go for the `regex` crate: classes are ASCII, `{` and `[` may be plain characters.
fn translate(source: &str) -> Result<std::string::String, std::string::String> {
    let characters: Vec<char> = source.chars().collect();
    let at = |index: usize| characters.get(index).copied();
    let mut out = std::string::String::with_capacity(source.len() + 16);
    let mut index = 0;
    let mut class = false;
    let mut class_start = 0;
    while let Some(character) = at(index) {
        match character {
            '\\' => {
                let Some(escape) = at(index + 1) else {
                    return Err("trailing backslash at end of expression".to_owned());
                };
                index += 2;
                match escape {
                    'd' | 'D' | 's' | 'S' | 'w' | 'W' => out.push_str(&ascii_class(escape, class)),
                    'b' | 'B' if !class => out.push_str(&format!("(?-u:\\{escape})")),
                    'Q' if !class => {
                        let rest: std::string::String = characters.iter().skip(index).collect();
                        let literal = rest.split("\\E").next().unwrap_or_default().to_owned();
                        index += literal.chars().count();
                        if at(index) == Some('\\') {
                            index += 2;
                        }
                        out.push_str(&regex::escape(&literal));
                    }
                    'Z' | '<' | '>' | 'u' | 'U' | 'C' => return Err("invalid escape sequence".to_owned()),
                    other => {
                        out.push('\\');
                        out.push(other);
                    }
                }
                continue;
            }
            '[' if class && at(index + 1) == Some(':') => {
                let end = (index + 2..characters.len()).find(|end| at(*end) == Some(':') && at(end + 1) == Some(']'));
                let Some(end) = end else { return Err("invalid character class range".to_owned()) };
                out.extend(characters.get(index..end + 2).unwrap_or_default());
                index = end + 2;
                continue;
            }
            '[' if class => out.push_str("\\["),
            '[' => {
                class = true;
                class_start = index + if at(index + 1) == Some('^') { 2 } else { 1 };
                out.push('[');
                if class_start == index + 2 {
                    out.push('^');
                    index += 1;
                }
            }
            ']' if class && index > class_start => {
                class = false;
                out.push(']');
            }
            ']' if class => out.push_str("\\]"),
            '&' | '~' if class => {
                out.push('\\');
                out.push(character);
            }
            '-' if class && at(index + 1) == Some('-') => out.push_str("\\-"),
            '{' if !class => {
                if let Some(end) = repetition_end(&characters, index)? {
                    out.extend(characters.get(index..end).unwrap_or_default());
                    index = end;
                    continue;
                }
                out.push_str("\\{");
            }
            '(' if !class && at(index + 1) == Some('?') => {
                if at(index + 2).is_some_and(|flag| matches!(flag, 'x' | 'u' | 'R' | '=' | '!')) {
                    return Err("invalid or unsupported Perl syntax".to_owned());
                }
                out.push('(');
            }
            other => out.push(other),
        }
        index += 1;
    }
    if class { Err("missing closing ]".to_owned()) } else { Ok(out) }
}

fn ascii_class(escape: char, inside: bool) -> std::string::String {
    let set = match escape.to_ascii_lowercase() {
        'd' => "0-9",
        's' => "\\t\\n\\x0C\\r ",
        _ => "0-9A-Za-z_",
    };
    match (escape.is_ascii_uppercase(), inside) {
        (false, true) => set.to_owned(),
        (negated, _) => format!("[{}{set}]", if negated { "^" } else { "" }),
    }
}

/// Where a `{n,m}` that begins at `start` ends; `None` when the brace is a plain character.
fn repetition_end(characters: &[char], start: usize) -> Result<Option<usize>, std::string::String> {
    let Some(length) = characters.iter().skip(start).position(|character| *character == '}') else { return Ok(None) };
    let inner: std::string::String = characters.get(start + 1..start + length).unwrap_or_default().iter().collect();
    let (low, high) = inner.split_once(',').unwrap_or((&inner, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(low) || !(high.is_empty() || is_number(high)) {
        return Ok(None);
    }
    let too_large = |text: &str| text.parse::<u32>().map_or(!text.is_empty(), |number| number > 1000);
    if too_large(low) || too_large(high) {
        return Err("invalid repeat count".to_owned());
    }
    Ok(Some(start + length + 1))
}

fn find(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let found =
        compiled(evaluator, given)?.find(arguments::bytes(given, 1)).map(|found| Value::string(found.as_bytes()));
    Ok(found.unwrap_or_else(|| "".into()))
}

fn limit_of(count: i64) -> usize {
    if count < 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) }
}

fn find_all(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let expression = compiled(evaluator, given)?;
    let limit = limit_of(arguments::int(given, 2));
    let input = arguments::bytes(given, 1);
    let mut found: Vec<&[u8]> = Vec::new();
    for one in expression.find_iter(input).take(limit) {
        evaluator.reserve(one.len() + MATCH_BYTES)?;
        found.push(one.as_bytes());
    }
    Ok(if found.is_empty() { Value::nil_list(Element::String) } else { Value::strings(found) })
}

fn replace(evaluator: &mut Evaluator<'_>, given: &[Value], literal: bool) -> Outcome {
    let expression = compiled(evaluator, given)?;
    let (input, replacement) = (arguments::bytes(given, 1), arguments::bytes(given, 2));
    let references = replacement.iter().filter(|byte| **byte == b'$').count();
    let mut done = 0;
    let mut out = Vec::with_capacity(input.len());
    let mut start = 0;
    for captures in expression.captures_iter(input) {
        let Some(whole) = captures.get(0) else { continue };
        out.extend_from_slice(input.get(start..whole.start()).unwrap_or_default());
        // Before it is made: one match may be written as often as there are references.
        let most = replacement.len().saturating_add(if literal { 0 } else { references.saturating_mul(whole.len()) });
        if out.len().saturating_add(most) > evaluator.limits.text {
            return Err(Failure::limit(format!("a text exceeds the limit of {} bytes", evaluator.limits.text)));
        }
        if literal {
            out.extend_from_slice(replacement);
        } else {
            captures.expand(replacement, &mut out);
        }
        start = whole.end();
        evaluator.reserve(out.len() - done)?;
        done = out.len();
    }
    out.extend_from_slice(input.get(start..).unwrap_or_default());
    Ok(out.into())
}

fn split(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let expression = compiled(evaluator, given)?;
    let input = arguments::bytes(given, 1);
    let limit = limit_of(arguments::int(given, 2));
    if limit == 0 {
        return Ok(Value::nil_list(Element::String));
    }
    if input.is_empty() && !expression.as_str().is_empty() {
        return Ok(Value::strings([""]));
    }
    let mut parts: Vec<&[u8]> = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for found in expression.find_iter(input) {
        if parts.len() + 1 == limit {
            break;
        }
        end = found.start();
        evaluator.reserve(end.saturating_sub(begin) + MATCH_BYTES)?;
        if found.end() != 0 {
            parts.push(input.get(begin..end).unwrap_or_default());
        }
        begin = found.end();
    }
    if end != input.len() {
        parts.push(input.get(begin..).unwrap_or_default());
    }
    Ok(Value::strings(parts))
}
