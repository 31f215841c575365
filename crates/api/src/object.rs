//! Objects as values: reading and writing metadata, and the bytes under which an object is kept.

use bytes::Bytes;
use lotse_store::Revision;
use ring::rand::SecureRandom;
use serde_json::{Map, Value};

use crate::status::{Error, Result};

/// An object serialised once, with a gap where the revision of its write goes.
#[derive(Debug)]
pub(crate) struct Encoded {
    bytes: Vec<u8>,
    gap: usize,
}

impl Encoded {
    /// Serialises an object; `metadata.resourceVersion` is left to [`Encoded::finish`].
    pub(crate) fn new(object: &Value) -> Result<Self> {
        let failed = |source: serde_json::Error| Error::internal("serialising an object", source);
        let object = object.as_object().ok_or_else(|| Error::bad_request("the object is not a JSON object"))?;
        let mut bytes = Vec::with_capacity(1024);
        let mut gap = 0;
        bytes.push(b'{');
        for (key, value) in object {
            if bytes.len() > 1 {
                bytes.push(b',');
            }
            serde_json::to_writer(&mut bytes, key).map_err(failed)?;
            bytes.push(b':');
            match value {
                Value::Object(metadata) if key == "metadata" => {
                    bytes.extend_from_slice(b"{\"resourceVersion\":\"");
                    gap = bytes.len();
                    bytes.push(b'"');
                    for (key, value) in metadata.iter().filter(|(key, _)| *key != "resourceVersion") {
                        bytes.push(b',');
                        serde_json::to_writer(&mut bytes, key).map_err(failed)?;
                        bytes.push(b':');
                        serde_json::to_writer(&mut bytes, value).map_err(failed)?;
                    }
                    bytes.push(b'}');
                }
                value => serde_json::to_writer(&mut bytes, value).map_err(failed)?,
            }
        }
        bytes.push(b'}');
        if gap == 0 {
            return Err(Error::bad_request("the object has no metadata"));
        }
        Ok(Self { bytes, gap })
    }

    /// The bytes with the revision in place. Quick: it runs on the store's writer thread.
    pub(crate) fn finish(self, revision: Revision) -> Bytes {
        let revision = revision.to_string();
        let (head, tail) = self.bytes.split_at(self.gap);
        let mut bytes = Vec::with_capacity(self.bytes.len() + revision.len());
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(revision.as_bytes());
        bytes.extend_from_slice(tail);
        bytes.into()
    }
}

/// Reads stored bytes.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|source| Error::internal("reading a stored object", source))
}

/// A string in `metadata`, empty if absent.
pub(crate) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata` of an object, made if absent.
pub(crate) fn metadata_mut(object: &mut Value) -> Result<&mut Map<String, Value>> {
    let object = object.as_object_mut().ok_or_else(|| Error::bad_request("the object is not a JSON object"))?;
    object
        .entry("metadata")
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
        .ok_or_else(|| Error::bad_request("metadata is not an object"))
}

/// Sets or removes a field of `metadata`.
pub(crate) fn set_meta(object: &mut Value, field: &str, value: Option<Value>) -> Result<()> {
    let metadata = metadata_mut(object)?;
    match value {
        Some(value) => metadata.insert(field.to_owned(), value),
        None => metadata.remove(field),
    };
    Ok(())
}

/// The strings of `metadata.finalizers`.
pub(crate) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let list = object.get("metadata").and_then(|m| m.get("finalizers")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// Whether the object is being deleted.
pub(crate) fn deleting(object: &Value) -> bool {
    !meta(object, "deletionTimestamp").is_empty()
}

/// The time as the API writes it, in whole seconds.
pub(crate) fn timestamp(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Letters without vowels and look-alikes, as Kubernetes uses for generated names.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// A random suffix for generated names.
pub(crate) fn random_suffix() -> String {
    let mut bytes = [0_u8; 5];
    if ring::rand::SystemRandom::new().fill(&mut bytes).is_err() {
        // The operating system refused random bytes; a uuid takes them from another path, and the store refuses a duplicate.
        let other = uuid::Uuid::new_v4();
        bytes.copy_from_slice(&other.as_bytes()[..5]);
    }
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

/// A name from `metadata.generateName`, at most 63 characters.
pub(crate) fn generate_name(base: &str) -> String {
    let cut = base.char_indices().nth(58).map_or(base.len(), |(at, _)| at);
    format!("{}{}", &base[..cut], random_suffix())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn the_revision_is_spliced_in_whatever_the_object_said() {
        let object =
            json!({"kind": "X", "metadata": {"name": "a", "resourceVersion": "old"}, "spec": {"metadata": {}}});
        let bytes = Encoded::new(&object).unwrap().finish(42);
        assert_eq!(
            parse(&bytes).unwrap(),
            json!({"kind": "X", "metadata": {"name": "a", "resourceVersion": "42"}, "spec": {"metadata": {}}})
        );
        assert!(Encoded::new(&json!({"kind": "X"})).is_err());
    }

    #[test]
    fn generated_names_stay_within_a_label() {
        assert_eq!(generate_name(&"a".repeat(80)).len(), 63);
        assert_ne!(generate_name("a-"), generate_name("a-"));
        assert!(generate_name(&"ä".repeat(80)).chars().count() == 63);
    }
}
