//! From a request body to a [`Value`]: JSON and YAML, with limits on size and depth, and duplicate keys found.

use std::fmt;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::status::{Error, Result};

/// Nesting of objects and arrays beyond which a body is refused.
pub(crate) const MAX_DEPTH: usize = 99;

/// A decoded body.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// What it says; of duplicate keys, the last counts.
    pub(crate) value: Value,
    /// Paths of the duplicate keys: `spec.replicas`.
    pub(crate) duplicates: Vec<String>,
}

/// Reads the body, up to a limit.
pub(crate) async fn read(body: Body, limit: usize) -> Result<Bytes> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<http_body_util::LengthLimitError>().is_some() => {
            Err(Error::TooLarge { limit })
        }
        Err(error) => Err(Error::bad_request(format!("the body of the request could not be read: {error}"))),
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/json`, also assumed where nothing is said.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Format {
    /// Reads a `Content-Type`.
    pub(crate) fn of(content_type: Option<&str>) -> Result<Self> {
        let media = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match media {
            "" | "application/json" | "*/*" => Ok(Self::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Self::Yaml),
            "application/vnd.kubernetes.protobuf" => Ok(Self::Protobuf),
            _ => Err(Error::UnsupportedMediaType(
                "application/json, application/yaml, application/vnd.kubernetes.protobuf",
            )),
        }
    }
}

/// Decodes a body that must hold one value.
pub(crate) fn decode(bytes: &[u8], format: Format) -> Result<Decoded> {
    let mut duplicates = Vec::new();
    if format == Format::Protobuf {
        return Ok(Decoded { value: crate::protobuf::decode(bytes)?, duplicates });
    }
    let json = format == Format::Json || bytes.iter().find(|b| !b.is_ascii_whitespace()).is_some_and(|b| *b == b'{');
    let value = if json {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        Node { depth: 0, duplicates: &mut duplicates }
            .deserialize(&mut deserializer)
            .and_then(|value| deserializer.end().map(|()| value))
            .map_err(|error| Error::bad_request(format!("couldn't get version/kind; json parse error: {error}")))?
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| Error::bad_request("the YAML body is not UTF-8"))?;
        serde_saphyr::from_str_with_options::<Document>(text, yaml_options())
            .map_err(|error| Error::bad_request(format!("error converting YAML to JSON: {error}")))?
            .0
    };
    Ok(Decoded { value, duplicates })
}

fn yaml_options() -> serde_saphyr::Options {
    // Octal modes as kubectl reads them (0644 is 420), and a budget against alias bombs and deep nesting.
    let mut budget = serde_saphyr::Budget::default();
    budget.max_depth = MAX_DEPTH;
    budget.max_nodes = 250_000;
    budget.flow_nesting_limit = MAX_DEPTH;
    serde_saphyr::options! { legacy_octal_numbers: true, budget: Some(budget) }
}

/// A YAML document; duplicate keys are an error of the parser itself.
struct Document(Value);

impl<'de> serde::Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Node { depth: 0, duplicates: &mut Vec::new() }.deserialize(deserializer).map(Self)
    }
}

/// One value inside a body.
struct Node<'a> {
    depth: usize,
    duplicates: &'a mut Vec<String>,
}

impl Node<'_> {
    fn deeper<E: serde::de::Error>(&self) -> std::result::Result<usize, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("exceeded max depth of {MAX_DEPTH} nested values")));
        }
        Ok(self.depth + 1)
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("numbers must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> std::result::Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut values = Vec::new();
        loop {
            let before = self.duplicates.len();
            let Some(value) = seq.next_element_seed(Node { depth, duplicates: self.duplicates })? else { break };
            for path in self.duplicates.iter_mut().skip(before) {
                *path = format!("[{}]{}{path}", values.len(), if path.starts_with('[') { "" } else { "." });
            }
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value, A::Error> {
        let depth = self.deeper()?;
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let before = self.duplicates.len();
            let value = map.next_value_seed(Node { depth, duplicates: self.duplicates })?;
            for path in self.duplicates.iter_mut().skip(before) {
                *path = format!("{key}{}{path}", if path.starts_with('[') { "" } else { "." });
            }
            match values.entry(key) {
                serde_json::map::Entry::Vacant(entry) => {
                    entry.insert(value);
                }
                serde_json::map::Entry::Occupied(mut entry) => {
                    self.duplicates.push(entry.key().clone());
                    entry.insert(value);
                }
            }
            if self.duplicates.len() > 64 {
                return Err(A::Error::custom("too many duplicate keys"));
            }
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn duplicates_are_named_by_path() {
        let decoded = decode(br#"{"a":{"b":1,"b":2},"c":[{"d":1},{"e":1,"e":2}],"a2":1}"#, Format::Json).unwrap();
        assert_eq!(decoded.duplicates, ["a.b", "c[1].e"]);
        assert_eq!(decoded.value["a"]["b"], 2);
    }

    #[test]
    fn deep_bodies_are_refused_and_not_crashed_on() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(decode(nested(99).as_bytes(), Format::Json).is_ok());
        for depth in [100, 200, 100_000] {
            assert!(decode(nested(depth).as_bytes(), Format::Json).is_err());
            assert!(decode(nested(depth).as_bytes(), Format::Yaml).is_err());
        }
    }

    #[test]
    fn yaml_reads_as_kubectl_reads_it() {
        let decoded = decode(b"a: 0644\nb: yes\nc: 'yes'\nd: 1\n", Format::Yaml).unwrap();
        assert_eq!(decoded.value, serde_json::json!({"a": 420, "b": true, "c": "yes", "d": 1}));
        assert!(decode(b"a: 1\na: 2\n", Format::Yaml).is_err());
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..9 {
            let previous = format!("*a{},", i - 1).repeat(9);
            bomb.push_str(&format!("a{i}: &a{i} [{}]\n", previous.trim_end_matches(',')));
        }
        assert!(decode(bomb.as_bytes(), Format::Yaml).is_err());
    }
}
