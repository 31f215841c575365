//! What `crds` declares about custom kinds: which of their fields name other objects.

use serde_json::Value;

use super::field_spec::{FieldSpec, NameReference, Specs};
use crate::goyaml::{self, Dialect};

/// Deeper types are not looked into.
const MAX_DEPTH: usize = 32;

/// The paths that a file of type definitions adds.
pub(super) fn specs(content: &[u8]) -> Result<Specs, String> {
    let documents = goyaml::parse_documents(content, Dialect::V2).map_err(|error| error.to_string())?;
    let types = documents.first().map(goyaml::to_json_value).unwrap_or_default();
    let mut specs = Specs::default();
    for (name, definition) in types.as_object().into_iter().flatten() {
        let properties = definition.pointer("/Schema/properties").or_else(|| definition.pointer("/schema/properties"));
        let Some(properties) = properties.and_then(Value::as_object) else { continue };
        let is_kind = ["apiVersion", "kind", "metadata"].iter().all(|field| properties.contains_key(*field));
        if !is_kind {
            continue;
        }
        let kind = name.rsplit('.').next().unwrap_or(name);
        let mut found = Walk { types: &types, kind, specs: &mut specs };
        found.properties(properties, "", 0)?;
    }
    Ok(specs)
}

struct Walk<'a> {
    types: &'a Value,
    kind: &'a str,
    specs: &'a mut Specs,
}

// === impl Walk ===

impl Walk<'_> {
    fn properties(
        &mut self,
        properties: &serde_json::Map<String, Value>,
        path: &str,
        depth: usize,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Ok(());
        }
        for (name, property) in properties {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let spec =
                |path: String| FieldSpec { kind: self.kind.to_owned(), path: path.into(), ..FieldSpec::default() };
            let text = |name: &str| property.get(name).and_then(Value::as_str).unwrap_or_default();
            if property.get("x-kubernetes-annotation").is_some() {
                self.specs.common_annotations.push(spec(path.clone()));
            }
            if property.get("x-kubernetes-label-selector").is_some() {
                self.specs.common_labels.push(spec(path.clone()));
            }
            if property.get("x-kubernetes-identity").is_some() {
                self.specs.name_prefix.push(spec(path.clone()));
            }
            let kind = text("x-kubernetes-object-ref-kind");
            if !kind.is_empty() {
                let key = text("x-kubernetes-object-ref-name-key");
                let key = if key.is_empty() { "name" } else { key };
                self.specs.add_name_reference(NameReference {
                    version: text("x-kubernetes-object-ref-api-version").to_owned(),
                    kind: kind.to_owned(),
                    field_specs: vec![spec(format!("{path}/{key}"))],
                    ..NameReference::default()
                })?;
            }
            // Neither lists nor types without a name are looked into.
            let reference = property.get("$ref").and_then(Value::as_str);
            let below = reference.and_then(|name| self.types.get(name)).and_then(|definition| {
                definition.pointer("/Schema/properties").or_else(|| definition.pointer("/schema/properties"))
            });
            if let Some(below) = below.and_then(Value::as_object) {
                self.properties(below, &path, depth + 1)?;
            }
        }
        Ok(())
    }
}
