//! What becomes of values between JSON and YAML: Helm writes YAML by reading its own JSON as YAML.

use crate::{goyaml, helm::failure::Failure, strconv};

/// How long a key may be between its quotes, for go-yaml to find it.
const MAX_KEY: usize = 1022;

/// YAML's line break that JSON does not escape.
const NEXT_LINE: char = '\u{85}';

/// What go-yaml accepts when it reads what `encoding/json` wrote; that escapes only the characters below the blank.
fn is_readable(character: char) -> bool {
    match character {
        '\0'..='~' | NEXT_LINE => true,
        '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => true,
    }
}

/// How many characters `encoding/json` writes for one.
fn written(character: char) -> usize {
    match character {
        '"' | '\\' | '\u{8}' | '\u{c}' | '\n' | '\r' | '\t' => 2,
        '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{fffd}' => 6,
        _ => 1,
    }
}

fn check_key(key: &[u8]) -> Result<(), Failure> {
    let key = String::from_utf8_lossy(key);
    if !key.chars().all(is_readable) {
        return Err(Failure::new("yaml: control characters are not allowed"));
    }
    if key.contains(NEXT_LINE) || key.chars().map(written).sum::<usize>() > MAX_KEY {
        return Err(Failure::new("yaml: could not find expected ':'"));
    }
    Ok(())
}

/// The text between quotes as YAML reads it: a line break with the blanks around it is one blank, more of them are line ends.
fn fold(text: &str) -> Result<String, Failure> {
    let mut folded = String::with_capacity(text.len());
    let mut lines = text.split(NEXT_LINE).peekable();
    let mut breaks = 0_usize;
    let mut is_first = true;
    while let Some(line) = lines.next() {
        let is_last = lines.peek().is_none();
        let starts_document = line.starts_with("---") || line.starts_with("...");
        let ends_there = line.get(3..).is_some_and(|rest| rest.starts_with(' ') || (rest.is_empty() && !is_last));
        if !is_first && starts_document && ends_there {
            return Err(Failure::new("yaml: found unexpected document indicator"));
        }
        let content = if is_first { line } else { line.trim_start_matches(' ') };
        let content = if is_last { content } else { content.trim_end_matches(' ') };
        if !content.is_empty() || is_last {
            match breaks {
                0 => {}
                1 => folded.push(' '),
                more => folded.extend(std::iter::repeat_n('\n', more - 1)),
            }
            breaks = 0;
            folded.push_str(content);
        }
        breaks += 1;
        is_first = false;
    }
    Ok(folded)
}

/// Whole floats become integers, as they do on the way through JSON.
pub(super) fn through_json(value: &mut goyaml::Value) -> Result<(), Failure> {
    match value {
        goyaml::Value::Float(number) if !number.is_finite() => return Err(Failure::new("json: unsupported value")),
        goyaml::Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e21 => {
            let written = strconv::json_float(*number).unwrap_or_default();
            if let Ok(whole) = written.parse::<i64>() {
                *value = goyaml::Value::Int(whole);
            } else if let Ok(whole) = written.parse::<u64>() {
                *value = goyaml::Value::Uint(whole);
            }
        }
        goyaml::Value::String(content) => match std::str::from_utf8(content) {
            Ok(text) if !text.chars().all(is_readable) => {
                return Err(Failure::new("yaml: control characters are not allowed"));
            }
            Ok(text) if text.contains(NEXT_LINE) => *value = goyaml::Value::string(fold(text)?.as_bytes()),
            Ok(_) => {}
            Err(_) => {
                *value = goyaml::Value::string(String::from_utf8_lossy(content).as_bytes());
                through_json(value)?;
            }
        },
        goyaml::Value::List(items) => items.iter_mut().try_for_each(through_json)?,
        goyaml::Value::Map(map) => {
            for (key, item) in map.iter_mut() {
                check_key(key)?;
                through_json(item)?;
            }
        }
        _ => {}
    }
    Ok(())
}
