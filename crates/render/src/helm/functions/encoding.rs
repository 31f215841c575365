//! JSON, YAML, TOML, base64 and base32, from and to values.

use base64::{
    Engine as _, alphabet,
    engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
};

use super::{
    Function, Outcome,
    Parameter::{Any, String},
    arguments, fixed,
    json_to_yaml::through_json,
    toml,
};
use crate::{
    goyaml::{self, Dialect, EmitStyle},
    helm::{
        failure::Failure,
        template::evaluate::Evaluator,
        value::{Element, Entries, Kind, MAX_VALUE_DEPTH, Map, Text, Value, text},
        values::not_in_json,
    },
};

/// Go does not mind bits behind the last byte.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

pub(super) const FUNCTIONS: &[Function] = &[
    fixed("toJson", &[Any], |evaluator, given| or_empty(json(evaluator, given, true, false))),
    fixed("mustToJson", &[Any], |evaluator, given| json(evaluator, given, true, false)),
    fixed("toPrettyJson", &[Any], |evaluator, given| or_empty(json(evaluator, given, true, true))),
    fixed("mustToPrettyJson", &[Any], |evaluator, given| json(evaluator, given, true, true)),
    fixed("toRawJson", &[Any], |evaluator, given| json(evaluator, given, false, false)),
    fixed("mustToRawJson", &[Any], |evaluator, given| json(evaluator, given, false, false)),
    fixed("fromJson", &[String], |evaluator, given| {
        Ok(match limited(evaluator, parse_json(arguments::bytes(given, 0)))? {
            Ok(Value::Map(map)) => Value::Map(map),
            Ok(Value::Nil) => Value::Map(Map::nil()),
            Ok(other) => error_map(&not_a(&other, "map[string]interface {}")),
            Err(message) => error_map(&message),
        })
    }),
    fixed("fromJsonArray", &[String], |evaluator, given| {
        Ok(match limited(evaluator, parse_json(arguments::bytes(given, 0)))? {
            Ok(Value::List(list)) => Value::List(list),
            Ok(Value::Nil) => Value::nil_list(Element::Any),
            Ok(other) => Value::list(vec![not_a(&other, "[]interface {}").into()]),
            Err(message) => Value::list(vec![message.into()]),
        })
    }),
    fixed("mustFromJson", &[String], |evaluator, given| {
        limited(evaluator, parse_json(arguments::bytes(given, 0)))?.map_err(Failure::from)
    }),
    fixed("toYaml", &[Any], |evaluator, given| or_empty(yaml(evaluator, given))),
    fixed("mustToYaml", &[Any], yaml),
    fixed("toYamlPretty", &[Any], |evaluator, given| or_empty(pretty_yaml(evaluator, given))),
    fixed("fromYaml", &[String], |evaluator, given| {
        Ok(match limited(evaluator, parse_yaml(arguments::bytes(given, 0)))? {
            Ok(Some(Value::Map(map))) => Value::Map(map),
            Ok(None) => Value::map(Entries::new()),
            Ok(Some(Value::Nil)) => Value::Map(Map::nil()),
            Ok(Some(other)) => error_map(&format!(
                "error unmarshaling JSON: while decoding JSON: {}",
                not_a(&other, "map[string]interface {}")
            )),
            Err(message) => error_map(&message),
        })
    }),
    fixed("fromYamlArray", &[String], |evaluator, given| {
        Ok(match limited(evaluator, parse_yaml(arguments::bytes(given, 0)))? {
            Ok(Some(Value::List(list))) => Value::List(list),
            Ok(None) => Value::list(Vec::new()),
            Ok(Some(Value::Nil)) => Value::nil_list(Element::Any),
            Ok(Some(other)) => Value::list(vec![
                format!("error unmarshaling JSON: while decoding JSON: {}", not_a(&other, "[]interface {}")).into(),
            ]),
            Err(message) => Value::list(vec![message.into()]),
        })
    }),
    fixed("toToml", &[Any], |evaluator, given| {
        if arguments::any(given, 0).is_nil() {
            return Err(Failure::new("reflect: call of reflect.Value.Type on zero Value"));
        }
        let value = exact(evaluator, &arguments::any(given, 0))?;
        let encoded = limited(evaluator, toml::encode(&value, evaluator.limits.text))?;
        Ok(encoded.unwrap_or_else(|message| message).into())
    }),
    fixed("fromToml", &[String], |evaluator, given| {
        let decoded = limited(evaluator, toml::decode(&arguments::text(given, 0)))?;
        Ok(decoded.unwrap_or_else(|message| error_map(&message)))
    }),
    fixed("b64enc", &[String], |_, given| Ok(STANDARD.encode(arguments::bytes(given, 0)).into())),
    fixed("b64dec", &[String], |_, given| {
        let input: Vec<u8> =
            arguments::bytes(given, 0).iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        Ok(match LENIENT.decode(&input) {
            Ok(bytes) => bytes.into(),
            Err(_) => {
                let at = bad_base64(arguments::bytes(given, 0));
                format!("illegal base64 data at input byte {at}").into()
            }
        })
    }),
    fixed("b32enc", &[String], |_, given| Ok(base32_encode(arguments::bytes(given, 0)).into())),
    fixed("b32dec", &[String], |_, given| {
        Ok(base32_decode(arguments::bytes(given, 0))
            .map_or_else(|at| format!("illegal base32 data at input byte {at}").into(), Value::from))
    }),
];

/// Errors of encoding vanish in Helm's plain functions; limits never do.
fn or_empty(outcome: Outcome) -> Outcome {
    match outcome {
        Err(failure) if !failure.limit => Ok("".into()),
        other => other,
    }
}

/// Errors of reading become values in Helm; that a text exceeds a limit must not.
fn limited<T>(
    evaluator: &mut Evaluator<'_>,
    read: Result<T, std::string::String>,
) -> Result<Result<T, std::string::String>, Failure> {
    evaluator.has_room(0)?;
    match read {
        Err(message) if message.ends_with(goyaml::TOO_MANY_VALUES) || message.ends_with(toml::TOO_LONG) => {
            Err(Failure::limit(message))
        }
        other => Ok(other),
    }
}

fn error_map(message: &str) -> Value {
    Value::map([(text("Error"), Value::from(message))].into())
}

fn not_a(value: &Value, wanted: &str) -> std::string::String {
    let found = match value.kind() {
        Kind::Bool => "bool",
        Kind::Float => "number",
        Kind::String => "string",
        Kind::Slice => "array",
        _ => "object",
    };
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}

/// What is encoded, against the limits: a value may hold the same part many times.
struct Size {
    values: usize,
    /// Texts, keys and indentation.
    bytes: usize,
}

/// The value as `encoding/json` sees it, numbers exactly as they are.
pub(super) fn exact(evaluator: &mut Evaluator<'_>, value: &Value) -> Result<goyaml::Value, Failure> {
    part(evaluator, value, 0, &mut Size { values: 0, bytes: 0 })
}

/// What a part of a value, so deep inside it, takes when it is written.
fn measure(evaluator: &mut Evaluator<'_>, value: &Value, depth: usize, size: &mut Size) -> Result<(), Failure> {
    // Characters that JSON and YAML write as escapes take six bytes.
    let long = |text: &Text| text.len() + text.iter().filter(|byte| **byte < b' ').count() * 5;
    let texts = match value {
        Value::String(text) | Value::Bytes(text) => long(text),
        Value::Map(map) => map.entries().keys().map(long).sum(),
        _ => 0,
    };
    size.values += 1;
    size.bytes = size.bytes.saturating_add(texts).saturating_add(depth * 2);
    if size.values > goyaml::MAX_VALUES {
        return Err(Failure::limit(format!("{} to encode", goyaml::TOO_MANY_VALUES)));
    }
    if size.bytes > evaluator.limits.text {
        return Err(Failure::limit(format!("a text of more than {} bytes to encode", evaluator.limits.text)));
    }
    evaluator.spend(1 + texts as u64 / 64)
}

fn part(evaluator: &mut Evaluator<'_>, value: &Value, depth: usize, size: &mut Size) -> Result<goyaml::Value, Failure> {
    if depth >= MAX_VALUE_DEPTH {
        return Err(Failure::limit("a value is nested too deep to be encoded"));
    }
    measure(evaluator, value, depth, size)?;
    Ok(match value {
        Value::Invalid | Value::Nil => goyaml::Value::Null,
        Value::Bool(value) => goyaml::Value::Bool(*value),
        Value::Uint64(number) => i64::try_from(*number).map_or(goyaml::Value::Uint(*number), goyaml::Value::Int),
        Value::Float(number) => goyaml::Value::Float(*number),
        Value::Complex(..) => return Err(Failure::new("json: unsupported type: complex128")),
        Value::String(content) => goyaml::Value::String(Text::clone(content)),
        Value::Bytes(content) => goyaml::Value::string(STANDARD.encode(content)),
        Value::List(list) if list.nil => goyaml::Value::Null,
        Value::List(list) => {
            let items: Result<Vec<_>, Failure> =
                list.items.iter().map(|item| part(evaluator, item, depth + 1, size)).collect();
            goyaml::Value::List(items?)
        }
        Value::Map(map) if map.is_nil() => goyaml::Value::Null,
        Value::Map(map) => {
            let mut out = goyaml::Map::with_capacity(map.len());
            for (key, item) in map.entries().iter() {
                out.insert(Text::clone(key), part(evaluator, item, depth + 1, size)?);
            }
            goyaml::Value::Map(out)
        }
        Value::Time(time) => goyaml::Value::string(time.format("2006-01-02T15:04:05.999999999Z07:00")),
        Value::Object(object) if object.as_version().is_some() => {
            goyaml::Value::String(object.string().unwrap_or_else(|| text("")))
        }
        Value::Object(object) => match object.items() {
            Some(items) => {
                let items: Result<Vec<_>, Failure> =
                    items.iter().map(|item| part(evaluator, item, depth + 1, size)).collect();
                goyaml::Value::List(items?)
            }
            None => {
                let is_map = object.kind() == Kind::Map;
                let mut out = goyaml::Map::new();
                for (_, name, item) in object.members() {
                    if is_map || (!name.is_empty() && item.truth()) {
                        out.insert(name, part(evaluator, &item, depth + 1, size)?);
                    }
                }
                goyaml::Value::Map(out)
            }
        },
        other => {
            goyaml::Value::Int(other.as_integer().and_then(|number| i64::try_from(number).ok()).unwrap_or_default())
        }
    })
}

fn json(evaluator: &mut Evaluator<'_>, given: &[Value], escape: bool, pretty: bool) -> Outcome {
    let value = exact(evaluator, &arguments::any(given, 0))?;
    let compact = goyaml::to_json_in_order(&value, escape).map_err(|error| Failure::new(error.to_string()))?;
    Ok(if pretty { indent_json(&compact) } else { compact }.into())
}

/// `json.Indent` with two spaces.
fn indent_json(compact: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(compact.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + depth * 2, b' ');
    };
    for (index, byte) in compact.iter().enumerate() {
        if in_string {
            out.push(*byte);
            in_string = escaped || *byte != b'"';
            escaped = *byte == b'\\' && !escaped;
            continue;
        }
        let next = compact.get(index + 1);
        match byte {
            b'{' | b'[' => {
                out.push(*byte);
                depth += 1;
                if !matches!(next, Some(b'}' | b']')) {
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(index.checked_sub(1).and_then(|before| compact.get(before)), Some(b'{' | b'[')) {
                    line(&mut out, depth);
                }
                out.push(*byte);
            }
            b',' => {
                out.push(b',');
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            other => {
                in_string = *other == b'"';
                out.push(*other);
            }
        }
    }
    out
}

fn yaml(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let mut value = exact(evaluator, &arguments::any(given, 0))?;
    through_json(&mut value)?;
    emit(&value, EmitStyle::V2)
}

/// What the method `YAML` of `chartutil.Values` gives: as `toYaml`, with the last line end.
pub(crate) fn values_as_yaml(evaluator: &mut Evaluator<'_>, map: &Map) -> Outcome {
    let mut value = exact(evaluator, &Value::Map(map.clone()))?;
    through_json(&mut value)?;
    Ok(goyaml::emit(&value, EmitStyle::V2).into())
}

/// A map as `toYaml` writes it; nothing when it cannot be written.
pub(crate) fn words_as_yaml(map: goyaml::Map) -> Outcome {
    let mut value = goyaml::Value::Map(map);
    or_empty(through_json(&mut value).and_then(|()| emit(&value, EmitStyle::V2)))
}

fn pretty_yaml(evaluator: &mut Evaluator<'_>, given: &[Value]) -> Outcome {
    let value = exact(evaluator, &arguments::any(given, 0))?;
    emit(&value, EmitStyle::V3)
}

fn emit(value: &goyaml::Value, style: EmitStyle) -> Outcome {
    let mut out = goyaml::emit(value, style);
    if out.last() == Some(&b'\n') {
        out.pop();
    }
    Ok(out.into())
}

/// JSON as Go reads it into `interface{}`.
fn parse_json(input: &[u8]) -> Result<Value, std::string::String> {
    if super::strings::trim(input).is_empty() {
        return Err("unexpected end of JSON input".to_owned());
    }
    goyaml::from_json(input).map(|value| from_yaml(&value)).map_err(|error| error.message)
}

/// The first document of a YAML text, through JSON.
fn parse_yaml(input: &[u8]) -> Result<Option<Value>, std::string::String> {
    let document = goyaml::parse_first(input, Dialect::V2)
        .map_err(|error| format!("error converting YAML to JSON: yaml: {error}"))?;
    if let Some(found) = document.as_ref().and_then(not_in_json) {
        return Err(format!("error converting YAML to JSON: json: unsupported value: {found}"));
    }
    Ok(document.as_ref().map(from_yaml))
}

/// What YAML becomes in templates: every number a float.
pub(crate) fn from_yaml(value: &goyaml::Value) -> Value {
    match value {
        goyaml::Value::Null => Value::Nil,
        goyaml::Value::Bool(value) => Value::Bool(*value),
        goyaml::Value::Int(number) => Value::Float(*number as f64),
        goyaml::Value::Uint(number) => Value::Float(*number as f64),
        goyaml::Value::Float(number) => Value::Float(*number),
        goyaml::Value::String(content) => Value::String(Text::clone(content)),
        goyaml::Value::List(items) => Value::list(items.iter().map(from_yaml).collect()),
        goyaml::Value::Map(map) => {
            Value::map(map.iter().map(|(key, item)| (Text::clone(key), from_yaml(item))).collect())
        }
    }
}

/// Where Go finds that a text is no base64; line ends count, and belong to no group of four.
fn bad_base64(input: &[u8]) -> usize {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let mut bytes = input.iter().copied().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    let mut in_group = 0;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            _ if is_digit(byte) => in_group = (in_group + 1) % 4,
            b'=' if in_group == 2 => match bytes.next() {
                Some((_, b'=')) => return bytes.next().map_or(input.len(), |(after, _)| after),
                Some((second, _)) => return second - 1,
                None => return input.len(),
            },
            b'=' if in_group == 3 => return bytes.next().map_or(input.len(), |(after, _)| after),
            _ => return at,
        }
    }
    input.len() - in_group
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32_encode(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len().div_ceil(5) * 8);
    for chunk in input.chunks(5) {
        let value =
            (0..5).fold(0_u64, |value, index| value << 8 | u64::from(chunk.get(index).copied().unwrap_or_default()));
        let digits = (chunk.len() * 8).div_ceil(5);
        for index in 0..8 {
            let digit = usize::try_from(value >> (35 - index * 5) & 31).unwrap_or_default();
            out.push(if index < digits { BASE32.get(digit).copied().unwrap_or(b'A') } else { b'=' });
        }
    }
    out
}

/// What base32 says; where it is none otherwise, as Go finds it. Line ends do not count, nor does what follows the padding.
fn base32_decode(input: &[u8]) -> Result<Vec<u8>, usize> {
    let clean: Vec<u8> = input.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let mut out = Vec::with_capacity(clean.len() / 8 * 5);
    for start in (0..clean.len()).step_by(8) {
        let (mut value, mut digits) = (0_u64, 0);
        while digits < 8 {
            let at = start + digits;
            let byte = *clean.get(at).ok_or(start)?;
            let rest = clean.get(at + 1..).unwrap_or_default();
            if byte == b'=' && digits >= 2 && rest.len() < 8 {
                let padding = rest.get(..7 - digits).ok_or(clean.len())?;
                if let Some(wrong) = padding.iter().position(|byte| *byte != b'=') {
                    return Err(at + wrong);
                }
                if matches!(digits, 3 | 6) {
                    return Err(at);
                }
                break;
            }
            value = value << 5 | BASE32.iter().position(|known| *known == byte).ok_or(at)? as u64;
            digits += 1;
        }
        value <<= 5 * (8 - digits);
        out.extend_from_slice(value.to_be_bytes().get(3..3 + digits * 5 / 8).unwrap_or_default());
        if digits < 8 {
            break;
        }
    }
    Ok(out)
}
