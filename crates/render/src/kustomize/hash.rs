//! The suffix of generated objects' names.

use sha2::{Digest, Sha256};

use super::{output, resource::Resource};
use crate::goyaml::{self, Bytes, Map, Value};

/// Ten letters that depend on the content of a ConfigMap or Secret; for other kinds on the whole object.
pub(super) fn suffix(resource: &Resource) -> Result<String, String> {
    let text = |name: &str| resource.node.get(name).and_then(goyaml::Node::text).unwrap_or_default().to_owned();
    let data = |name: &str| resource.node.get(name).map(output::to_value).transpose();
    let mut fields = Map::new();
    let mut add = |name: &str, value: Value| {
        fields.insert(Bytes::from(name.as_bytes()), value);
    };
    match resource.kind() {
        kind @ ("ConfigMap" | "Secret") => {
            add("kind", Value::string(kind));
            // The name never enters, though its key does.
            add("name", Value::string(""));
            add("data", data("data")?.unwrap_or_else(|| Value::string("")));
            let more = if kind == "Secret" { "stringData" } else { "binaryData" };
            if let Some(value @ Value::Map(_)) = data(more)? {
                add(more, value);
            }
            if kind == "Secret" {
                add("type", Value::string(text("type")));
            }
        }
        _ => {
            if let Value::Map(map) = output::to_value(&resource.node)? {
                fields = map;
            }
        }
    }
    let json = goyaml::to_json(&Value::Map(fields), true).map_err(|error| error.to_string())?;
    let digest = Sha256::digest(&json);
    let hex = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(hex
        .chars()
        .map(|letter| match letter {
            '0' => 'g',
            '1' => 'h',
            '3' => 'k',
            'a' => 'm',
            'e' => 't',
            other => other,
        })
        .collect())
}
