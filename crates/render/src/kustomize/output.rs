//! From objects to text.
//!
//! The original prints each object with go-yaml 3, reads that back into JSON, and prints the JSON with go-yaml 2. Some texts
//! do not survive the way; this is where that shows.

use crate::goyaml::{self, Dialect, Map, Node, Scalar, ScalarStyle, Tag, Value};

/// The value of an object after it was printed and read back.
pub(super) fn to_value(node: &Node) -> Result<Value, String> {
    convert(node, true)
}

fn convert(node: &Node, top: bool) -> Result<Value, String> {
    Ok(match node {
        Node::Scalar(scalar) => convert_scalar(scalar)?,
        Node::List(items) => Value::List(items.iter().map(|item| convert(item, false)).collect::<Result<_, _>>()?),
        Node::Map(entries) => {
            let mut map = Map::with_capacity(entries.len());
            for (key, value) in entries {
                let is_word = match key.tag {
                    Tag::Str => true,
                    Tag::Empty => goyaml::is_string(&key.value, Dialect::V3),
                    _ => false,
                };
                if !is_word && !top {
                    return Err(format!("the key {:?} is no text; put it in quotes", key.value));
                }
                let value = convert(value, false).map_err(|error| format!("{}: {error}", key.value))?;
                if map.insert(goyaml::Bytes::from(key.value.as_bytes()), value).is_some() {
                    return Err(format!("the key {:?} is given twice", key.value));
                }
            }
            Value::Map(map)
        }
    })
}

fn convert_scalar(scalar: &Scalar) -> Result<Value, String> {
    let text = &*scalar.value;
    match (&scalar.tag, scalar.style) {
        (Tag::Str, ScalarStyle::Folded) if text.contains('\n') => return read_folded(text),
        (Tag::Str, ScalarStyle::Plain | ScalarStyle::Literal) if text.contains('\n') && text.starts_with('\t') => {
            return Err("a text of several lines begins with a tab".to_owned());
        }
        (Tag::Str, _) => return text_value(text),
        // An empty word between brackets is printed as quotes.
        (Tag::Null, _) if text.is_empty() && scalar.in_flow => return Ok(Value::string("")),
        (Tag::Null, _) if !scalar.explicit_tag && matches!(text, "" | "~" | "null" | "Null" | "NULL") => {
            return Ok(Value::Null);
        }
        (Tag::Empty, ScalarStyle::Plain) => {}
        (Tag::Empty, _) => return Ok(Value::string(text)),
        // In quotes it is text, whatever it was elsewhere; unless the text does not fit the type.
        (tag, style)
            if style != ScalarStyle::Plain
                && !scalar.explicit_tag
                && goyaml::resolve_scalar(text, Dialect::V3).0 == *tag =>
        {
            return text_value(text);
        }
        _ => {
            // A text that does not fit its type is written with its tag, and then cannot be read.
            let tagged = Scalar { explicit_tag: true, ..scalar.clone() };
            return finite(goyaml::to_value(&Node::Scalar(tagged), Dialect::V3).map_err(|error| error.to_string())?);
        }
    }
    finite(goyaml::resolve_scalar(text, Dialect::V3).1)
}

/// Text is written as JSON and read as YAML, which has other ideas of which letters may stand for themselves.
pub(super) fn text_value(text: &str) -> Result<Value, String> {
    let is_odd = |letter: char| matches!(letter, '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}');
    if text.is_ascii() && !text.contains('\u{7f}') || !text.contains(is_odd) {
        return Ok(Value::string(text));
    }
    if text.contains(|letter| is_odd(letter) && letter != '\u{85}') {
        return Err("a text has a control character".to_owned());
    }
    let json = goyaml::to_json(&Value::string(text), true);
    let document = json.and_then(|json| goyaml::parse_first(&json, Dialect::V2)).map_err(|error| error.to_string())?;
    Ok(document.unwrap_or_default())
}

fn finite(value: Value) -> Result<Value, String> {
    match value {
        Value::Float(number) if !number.is_finite() => {
            Err("infinities and not-a-number cannot be printed as JSON".to_owned())
        }
        other => Ok(other),
    }
}

/// Prints folded text as go-yaml 3 does and reads it back: lines that are indented deeper gain an empty one before them.
fn read_folded(text: &str) -> Result<Value, String> {
    let mut document = String::from("a: >");
    if text.starts_with([' ', '\n']) {
        document.push('2');
    }
    match text.strip_suffix('\n') {
        None => document.push('-'),
        Some("") => document.push('+'),
        Some(rest) if rest.ends_with('\n') => document.push('+'),
        Some(_) => {}
    }
    document.push('\n');
    let first = text.trim_start_matches('\n').chars().next();
    let doubles = first.is_some_and(|first| first != ' ' && first != '\t');
    let (mut at_start, mut leading_blank) = (true, true);
    for letter in text.chars() {
        if letter == '\n' {
            if !at_start && !leading_blank && doubles {
                document.push('\n');
            }
            document.push('\n');
            at_start = true;
            continue;
        }
        if at_start {
            document.push_str("  ");
            leading_blank = matches!(letter, ' ' | '\t');
            at_start = false;
        }
        document.push(letter);
    }
    document.push('\n');
    let documents = goyaml::parse_documents(document.as_bytes(), Dialect::V3).map_err(|error| error.to_string())?;
    documents
        .first()
        .and_then(|document| document.get("a"))
        .cloned()
        .ok_or_else(|| "folded text cannot be printed".to_owned())
}
