//! What a scalar means.

use base64::Engine as _;

use super::{Dialect, Error, Map, Node, Scalar, ScalarStyle, Tag, Value, timestamp, value::Bytes};
use crate::strconv;

/// The tag and value of an unquoted word.
pub fn resolve_scalar(text: &str, dialect: Dialect) -> (Tag, Value) {
    resolve_special(text, dialect).unwrap_or_else(|| (Tag::Str, Value::string(text)))
}

/// The tag and value of an unquoted word that is no string; most are, and then nothing is copied.
pub(super) fn resolve_special(text: &str, dialect: Dialect) -> Option<(Tag, Value)> {
    let Some(&first) = text.as_bytes().first() else {
        return Some((Tag::Null, Value::Null));
    };
    match first {
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => named(text, dialect),
        b'.' => match text {
            ".inf" | ".Inf" | ".INF" => Some((Tag::Float, Value::Float(f64::INFINITY))),
            ".nan" | ".NaN" | ".NAN" => Some((Tag::Float, Value::Float(f64::NAN))),
            _ => strconv::parse_float(text).map(|value| (Tag::Float, Value::Float(value))),
        },
        b'+' | b'-' | b'0'..=b'9' => number(text, dialect),
        _ => None,
    }
}

/// Whether an unquoted word is a string.
pub fn is_string(text: &str, dialect: Dialect) -> bool {
    resolve_special(text, dialect).is_none_or(|(tag, _)| tag == Tag::Str)
}

fn named(text: &str, dialect: Dialect) -> Option<(Tag, Value)> {
    let old = dialect == Dialect::V2;
    Some(match text {
        "~" | "null" | "Null" | "NULL" => (Tag::Null, Value::Null),
        "true" | "True" | "TRUE" => (Tag::Bool, Value::Bool(true)),
        "false" | "False" | "FALSE" => (Tag::Bool, Value::Bool(false)),
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" if old => (Tag::Bool, Value::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" if old => (Tag::Bool, Value::Bool(false)),
        _ => return None,
    })
}

fn number(text: &str, dialect: Dialect) -> Option<(Tag, Value)> {
    match text {
        "+.inf" | "+.Inf" | "+.INF" => return Some((Tag::Float, Value::Float(f64::INFINITY))),
        "-.inf" | "-.Inf" | "-.INF" => return Some((Tag::Float, Value::Float(f64::NEG_INFINITY))),
        _ => {}
    }
    if let Some(time) = timestamp::to_rfc3339(text) {
        // sigs.k8s.io/yaml on go-yaml 2 leaves the text alone.
        return Some((Tag::Timestamp, Value::string(if dialect == Dialect::V2 { text } else { &time })));
    }
    let without;
    let plain = if text.contains('_') {
        without = text.replace('_', "");
        &without
    } else {
        text
    };
    if let Some(value) = strconv::parse_int(plain, 0) {
        return Some((Tag::Int, Value::Int(value)));
    }
    if let Some(value) = strconv::parse_uint(plain, 0) {
        return Some((Tag::Int, Value::Uint(value)));
    }
    if is_decimal(plain)
        && let Some(value) = strconv::parse_float(plain)
    {
        return Some((Tag::Float, Value::Float(value)));
    }
    None
}

/// Digits with at most one point and an exponent.
fn is_decimal(text: &str) -> bool {
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(rest);
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let count = digits(fraction);
        if whole == 0 && count == 0 {
            return false;
        }
        rest = &fraction[count..];
    } else if whole == 0 {
        return false;
    }
    match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(exponent) => {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
    }
}

/// The tag that a scalar of a text gets when it is read.
pub(super) fn tag_of(text: &str, style: ScalarStyle, tag: Option<&str>, dialect: Dialect) -> Tag {
    match tag {
        None | Some("") if style == ScalarStyle::Plain => {
            resolve_special(text, dialect).map_or(Tag::Str, |(tag, _)| tag)
        }
        None | Some("" | "!" | "tag:yaml.org,2002:str" | "!!str") => Tag::Str,
        Some(tag) => match tag.strip_prefix("tag:yaml.org,2002:").unwrap_or(tag) {
            "null" => Tag::Null,
            "bool" => Tag::Bool,
            "int" => Tag::Int,
            "float" => Tag::Float,
            "timestamp" => Tag::Timestamp,
            "binary" => Tag::Binary,
            "merge" => Tag::Merge,
            _ => Tag::Other(tag.into()),
        },
    }
}

/// The value of a node. Keys become strings as `sigs.k8s.io/yaml` makes them.
pub fn to_value(node: &Node, dialect: Dialect) -> Result<Value, Error> {
    Ok(match node {
        Node::Scalar(scalar) => scalar_value(scalar, dialect)?,
        Node::List(items) => Value::List(items.iter().map(|item| to_value(item, dialect)).collect::<Result<_, _>>()?),
        Node::Map(entries) => {
            let mut map = Map::with_capacity(entries.len());
            for (key, value) in entries {
                map.insert(key_text(key, dialect)?, to_value(value, dialect)?);
            }
            Value::Map(map)
        }
    })
}

pub(super) fn key_text(key: &Scalar, dialect: Dialect) -> Result<Bytes, Error> {
    if key.tag == Tag::Str {
        return Ok(Bytes::from(key.value.as_bytes()));
    }
    Ok(match scalar_value(key, dialect)? {
        Value::String(text) => text,
        Value::Bool(value) => Bytes::from(if value { b"true".as_slice() } else { b"false" }),
        Value::Int(value) => Bytes::from(value.to_string().into_bytes()),
        // go-yaml gives uint64 for these, which sigs.k8s.io/yaml does not take as a key; so for null.
        Value::Float(value) => Bytes::from(strconv::shortest_float(f64::from(value as f32)).into_bytes()),
        Value::Null => return Err(Error::new(0, 0, "a mapping key is null")),
        _ => return Err(Error::new(0, 0, format!("mapping key {:?} is no string", key.value))),
    })
}

pub(super) fn scalar_value(scalar: &Scalar, dialect: Dialect) -> Result<Value, Error> {
    let text = &*scalar.value;
    let refuse = |kind: &str| Err(Error::new(0, 0, format!("cannot decode {text:?} as {kind}")));
    match scalar.tag {
        Tag::Str | Tag::Other(_) | Tag::Merge => Ok(Value::string(text)),
        Tag::Null if !scalar.explicit_tag => Ok(Value::Null),
        Tag::Binary => {
            let compact: String = text.chars().filter(|letter| !matches!(letter, '\n' | '\r')).collect();
            match base64::engine::general_purpose::STANDARD.decode(compact) {
                Ok(bytes) => Ok(Value::String(Bytes::from(bytes))),
                Err(_) => refuse("base64"),
            }
        }
        _ => {
            let (tag, value) = resolve_scalar(text, dialect);
            match (&scalar.tag, tag, value) {
                (Tag::Float, Tag::Int, Value::Int(value)) => Ok(Value::Float(value as f64)),
                (Tag::Float, Tag::Int, Value::Uint(value)) => Ok(Value::Float(value as f64)),
                (wanted, found, value) if !scalar.explicit_tag || *wanted == found => Ok(value),
                (wanted, ..) => refuse(&format!("{wanted:?}").to_lowercase()),
            }
        }
    }
}
