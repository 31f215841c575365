//! Bodies in Kubernetes' Protobuf encoding, which typed Go clients send (`kubectl create`, `kubectl auth can-i`) and for which
//! they have no other form. Read here into the same [`Value`] as JSON; answers are always JSON, which these clients accept.
//!
//! A body is four magic bytes and a `runtime.Unknown` that holds the object (`k8s.io/apimachinery/pkg/runtime`). What the numbers
//! in the wire format mean stands in `messages.txt`: one line for each message of the built-in groups, with number, JSON name and
//! type of each field (`s` text, `y` bytes, `i` whole number, `b` boolean, `d` number, or a message; `*` repeated, `%` a map).

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{body::MAX_DEPTH, status::Error};

const MESSAGES: &str = include_str!("messages.txt");
const MAGIC: &[u8] = b"k8s\0";

/// Messages whose fields stand in the JSON object around them.
const INLINE: [&str; 8] = [
    "ephemeralContainerCommon",
    "handler",
    "localObjectReference",
    "persistentVolumeSource",
    "rule",
    "ruleWithOperations",
    "volumeSource",
    "ingressRuleValue",
];

/// Fields for which zero, false and empty differ from absent. The wire format always carries the other ones, where it means that
/// they are not set.
const MEANT: [&str; 58] = [
    "activeDeadlineSeconds",
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "allowed",
    "attachRequired",
    "automountServiceAccountToken",
    "averageUtilization",
    "backoffLimit",
    "backoffLimitPerIndex",
    "blockOwnerDeletion",
    "completions",
    "containerPort",
    "controller",
    "defaultMode",
    "deletionGracePeriodSeconds",
    "desiredReplicas",
    "disruptionsAllowed",
    "enableServiceLinks",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "hostUsers",
    "immutable",
    "intVal",
    "leaseDurationSeconds",
    "leaseTransitions",
    "maxFailedIndexes",
    "minDomains",
    "minReplicas",
    "mode",
    "optional",
    "orphanDependents",
    "parallelism",
    "partition",
    "priority",
    "privileged",
    "progressDeadlineSeconds",
    "publishNotReadyAddresses",
    "readOnlyRootFilesystem",
    "ready",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "serving",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "stabilizationWindowSeconds",
    "startingDeadlineSeconds",
    "storageClassName",
    "successfulJobsHistoryLimit",
    "suspend",
    "terminating",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
];

/// Reads a body.
pub(crate) fn decode(body: &[u8]) -> Result<Value, Error> {
    read(body).ok_or_else(|| {
        Error::bad_request(
            "the protobuf body cannot be read, or its kind has no protobuf form; send application/json instead",
        )
    })
}

fn read(body: &[u8]) -> Option<Value> {
    let unknown = body.strip_prefix(MAGIC)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(unknown) {
        match field? {
            (1, Wire::Bytes(bytes)) => {
                for field in Fields(bytes) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = text_of(text)?,
                        (2, Wire::Bytes(text)) => kind = text_of(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            (3, Wire::Bytes(encoding)) if !encoding.is_empty() => return None,
            _ => {}
        }
    }
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let package = if group.is_empty() { "core" } else { group.split('.').next()? };
    let own = format!("{package}.{version}.{kind}");
    // Options have a kind in every group, and one form.
    let message = find(&own).or_else(|| find(&format!("meta.v1.{kind}")))?;
    let mut object = message_of(message, raw, 0)?;
    let map = object.as_object_mut()?;
    map.insert("apiVersion".to_owned(), api_version.into());
    map.insert("kind".to_owned(), kind.into());
    Some(object)
}

/// The fields of a message, as they stand in `messages.txt`.
fn find(name: &str) -> Option<&'static str> {
    MESSAGES.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

fn field_of(message: &'static str, number: u64) -> Option<(&'static str, &'static str)> {
    message.split(' ').find_map(|field| {
        let (n, rest) = field.split_once(':')?;
        (n.parse() == Ok(number)).then(|| rest.split_once(':'))?
    })
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let (first, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(first & 127).checked_shl(shift)?;
            if *first < 128 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Number(u32::from_le_bytes(self.take(4)?.try_into().ok()?).into()),
            _ => return None,
        };
        Some((key >> 3, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    /// `None` inside: the bytes are not a message.
    type Item = Option<(u64, Wire<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

fn text_of(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn message_of(message: &'static str, bytes: &[u8], depth: usize) -> Option<Value> {
    if depth >= MAX_DEPTH {
        return None;
    }
    let mut object = Map::new();
    for field in Fields(bytes) {
        let (number, wire) = field?;
        // Fields of other versions than ours.
        let Some((name, kind)) = field_of(message, number) else { continue };
        if let Some(kind) = kind.strip_prefix('*') {
            let item = value_of(kind, wire, depth)?;
            if let Value::Array(list) = object.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
                list.push(item);
            }
        } else if let Some(kind) = kind.strip_prefix('%') {
            let Wire::Bytes(entry) = wire else { return None };
            let (mut key, mut value) = (String::new(), None);
            for field in Fields(entry) {
                match field? {
                    (1, Wire::Bytes(text)) => key = text_of(text)?,
                    (2, wire) => value = Some(value_of(kind, wire, depth)?),
                    _ => {}
                }
            }
            let value = value.unwrap_or_else(|| Value::String(String::new()));
            if let Value::Object(map) = object.entry(name).or_insert_with(|| Value::Object(Map::new())) {
                map.insert(key, value);
            }
        } else {
            let value = value_of(kind, wire, depth)?;
            match value {
                Value::Object(fields) if INLINE.contains(&name) => object.extend(fields),
                value if set(name, &value) => {
                    object.insert(name.to_owned(), value);
                }
                _ => {}
            }
        }
    }
    Some(Value::Object(object))
}

/// Whether a value says something.
fn set(name: &str, value: &Value) -> bool {
    let empty = match value {
        Value::Null => return false,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    };
    !empty || MEANT.binary_search(&name).is_ok()
}

fn value_of(kind: &'static str, wire: Wire<'_>, depth: usize) -> Option<Value> {
    match (kind, wire) {
        ("s", Wire::Bytes(bytes)) => text_of(bytes).map(Value::String),
        ("y", Wire::Bytes(bytes)) => Some(STANDARD.encode(bytes).into()),
        ("i", Wire::Number(number)) => Some(number.cast_signed().into()),
        ("b", Wire::Number(number)) => Some((number != 0).into()),
        ("d", Wire::Number(number)) => serde_json::Number::from_f64(f64::from_bits(number)).map(Value::Number),
        (message, Wire::Bytes(bytes)) => {
            special(message, bytes, depth).unwrap_or_else(|| message_of(find(message)?, bytes, depth + 1))
        }
        _ => None,
    }
}

/// Messages that are not objects in JSON. The inner `None`: malformed.
fn special(message: &str, bytes: &[u8], depth: usize) -> Option<Option<Value>> {
    let fields = || Fields(bytes).collect::<Option<Vec<_>>>();
    let number = |wanted: u64| {
        let found = fields()?.into_iter().find_map(|(n, wire)| match wire {
            Wire::Number(value) if n == wanted => Some(value.cast_signed()),
            _ => None,
        });
        Some(found.unwrap_or(0))
    };
    let first_bytes = |wanted: u64| {
        let found = fields()?.into_iter().find_map(|(n, wire)| match wire {
            Wire::Bytes(value) if n == wanted => Some(value),
            _ => None,
        });
        Some(found.unwrap_or_default())
    };
    let json = |bytes: &[u8]| match bytes {
        [] => Some(Value::Null),
        bytes => crate::body::decode(bytes, crate::body::Format::Json).ok().map(|decoded| decoded.value),
    };
    Some(match message {
        "api.resource.Quantity" => first_bytes(1).and_then(text_of).map(Value::String),
        // Nothing written is the zero time, which JSON leaves out.
        "meta.v1.Time" | "meta.v1.MicroTime" if bytes.is_empty() => Some(Value::Null),
        "meta.v1.Time" => {
            number(1).and_then(|s| Timestamp::from_second(s).ok()).map(|t| crate::object::timestamp(t).into())
        }
        "meta.v1.MicroTime" => number(1).zip(number(2)).and_then(|(seconds, nanos)| {
            let time = Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()?;
            Some(time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().into())
        }),
        "util.intstr.IntOrString" => match number(1) {
            Some(0) => number(2).map(|n| (n as i32).into()),
            Some(_) => first_bytes(3).and_then(text_of).map(Value::String),
            None => None,
        },
        "runtime.RawExtension" | "meta.v1.FieldsV1" => first_bytes(1).and_then(json),
        "authentication.v1.ExtraValue"
        | "authorization.v1.ExtraValue"
        | "certificates.v1.ExtraValue"
        | "meta.v1.Verbs" => {
            let items = fields().map(|fields| {
                let texts = fields.into_iter().filter_map(|(_, wire)| match wire {
                    Wire::Bytes(bytes) => text_of(bytes).map(Value::String),
                    Wire::Number(_) => None,
                });
                Value::Array(texts.collect())
            });
            items.filter(|_| depth < MAX_DEPTH)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    /// A length-delimited field.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
        out.extend_from_slice(bytes);
        out
    }

    fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
    }

    #[test]
    fn a_config_map_reads_as_its_json() {
        let metadata = [field(1, b"a"), field(3, b""), field(8, b"")].concat();
        let entry = [field(1, b"k"), field(2, b"v")].concat();
        let raw = [field(1, &metadata), field(2, &entry)].concat();
        assert_eq!(
            decode(&envelope("v1", "ConfigMap", &raw)).unwrap(),
            serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}})
        );
    }

    #[test]
    fn every_type_that_a_field_names_is_known() {
        for line in MESSAGES.lines() {
            for field in line.split(' ').skip(1).filter(|field| !field.is_empty()) {
                let kind = field.rsplit(':').next().unwrap().trim_start_matches(['*', '%']);
                assert!(kind.len() == 1 || find(kind).is_some(), "{line}: {kind}");
            }
        }
        assert!(MEANT.is_sorted());
    }

    #[test]
    fn damaged_bodies_are_refused() {
        let good = envelope("v1", "ConfigMap", &field(1, &field(1, b"a")));
        for end in 0..good.len() {
            // Most prefixes are malformed, none may panic.
            let _ = decode(&good[..end]);
        }
        assert!(decode(b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
        assert!(decode(&envelope("v1", "Nothing", b"")).is_err());
        assert!(decode(b"").is_err());
    }
}
