//! OpenAPI definitions as clients read them (`kubectl explain`, `kubectl apply`, Terraform): the generated types' schemas with
//! upstream's descriptions, joined with [`crate::facts`] and the `x-kubernetes-group-version-kind` of each kind.
//!
//! The result is large (megabytes for all kinds): make it on demand, serialise and compress it, drop it.

use k8s_openapi::{ListableResource, Resource, apimachinery::pkg::apis::meta::v1::ListMeta};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    facts::{self, Merging, Topology},
    path::MAX_DEPTH,
};

const REFERENCE: &str = "#/components/schemas/";
const GROUP_VERSION_KIND: &str = "x-kubernetes-group-version-kind";

/// Collects definitions, keyed by their names (`io.k8s.api.apps.v1.Deployment`).
#[derive(Debug, Default)]
pub struct Definitions(Map<String, Value>);

// === impl Definitions ===

impl Definitions {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a type and all it refers to.
    pub fn add_type<T: JsonSchema>(&mut self) {
        let mut generator = SchemaSettings::openapi3().into_generator();
        let _ = generator.subschema_for::<T>();
        for (name, mut definition) in generator.take_definitions(false) {
            if !self.0.contains_key(&name) {
                annotate(&name, &mut definition);
                self.0.insert(name, definition);
            }
        }
    }

    /// Adds a kind with its group, version and kind.
    pub fn add<K: JsonSchema + Resource>(&mut self) {
        self.add_type::<K>();
        self.identify(&K::schema_name(), K::GROUP, K::VERSION, K::KIND);
    }

    /// Adds a kind and its list.
    pub fn add_with_list<K: JsonSchema + ListableResource>(&mut self) {
        self.add::<K>();
        self.add_type::<ListMeta>();
        let item = K::schema_name();
        let name = match item.rsplit_once('.') {
            Some((package, _)) => format!("{package}.{}", K::LIST_KIND),
            None => K::LIST_KIND.to_owned(),
        };
        let list = list_of(&item, K::KIND);
        self.0.insert(name.clone(), list);
        self.identify(&name, K::GROUP, K::VERSION, K::LIST_KIND);
    }

    /// Adds a kind of a CustomResourceDefinition and its list; `schema` is the version's `openAPIV3Schema`.
    pub fn add_custom(&mut self, group: &str, version: &str, kind: &str, list_kind: &str, schema: &Value) {
        self.add_type::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>();
        self.add_type::<ListMeta>();
        let package: Vec<&str> = group.split('.').rev().collect();
        let name = format!("{}.{version}.{kind}", package.join("."));
        let mut definition = if schema.is_object() { schema.clone() } else { json!({"type": "object"}) };
        if let Value::Object(fields) = &mut definition {
            let properties = fields.entry("properties").or_insert_with(|| json!({}));
            if let Value::Object(properties) = properties {
                properties.insert("apiVersion".to_owned(), type_meta("apiVersion"));
                properties.insert("kind".to_owned(), type_meta("kind"));
                let meta = format!("{REFERENCE}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
                properties.insert("metadata".to_owned(), json!({"$ref": meta}));
            }
        }
        self.0.insert(name.clone(), definition);
        self.identify(&name, group, version, kind);
        let list = format!("{}.{version}.{list_kind}", package.join("."));
        self.0.insert(list.clone(), list_of(&name, kind));
        self.identify(&list, group, version, list_kind);
    }

    /// As OpenAPI v3 has them: the value of `components.schemas`.
    pub fn into_v3(mut self) -> Map<String, Value> {
        for (name, union) in [
            ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", json!([{"type": "integer"}, {"type": "string"}])),
            ("io.k8s.apimachinery.pkg.api.resource.Quantity", json!([{"type": "string"}, {"type": "number"}])),
        ] {
            if let Some(Value::Object(definition)) = self.0.get_mut(name) {
                definition.remove("x-kubernetes-int-or-string");
                definition.insert("oneOf".to_owned(), union);
            }
        }
        self.0
    }

    /// As OpenAPI v2 has them: the value of `definitions`, without what v2 cannot say.
    pub fn into_v2(mut self) -> Map<String, Value> {
        for (name, format) in [
            ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", Some("int-or-string")),
            ("io.k8s.apimachinery.pkg.api.resource.Quantity", None),
        ] {
            if let Some(Value::Object(definition)) = self.0.get_mut(name) {
                definition.remove("x-kubernetes-int-or-string");
                definition.insert("type".to_owned(), json!("string"));
                if let Some(format) = format {
                    definition.insert("format".to_owned(), json!(format));
                }
            }
        }
        self.0.values_mut().for_each(|definition| downgrade(definition, 0));
        self.0
    }

    fn identify(&mut self, name: &str, group: &str, version: &str, kind: &str) {
        if let Some(Value::Object(definition)) = self.0.get_mut(name) {
            let identity = json!([{"group": group, "kind": kind, "version": version}]);
            definition.insert(GROUP_VERSION_KIND.to_owned(), identity);
        }
    }
}

/// Adds to a definition what the generated type does not say.
fn annotate(name: &str, definition: &mut Value) {
    let Value::Object(definition) = definition else { return };
    if facts::ATOMIC_STRUCTS.binary_search(&name).is_ok() {
        definition.insert("x-kubernetes-map-type".to_owned(), json!("atomic"));
    }
    if let Some(Value::Array(required)) = definition.get_mut("required") {
        // The generated types ask for metadata because they hold it by value; the API does not.
        required.retain(|field| field != "metadata");
        if required.is_empty() {
            definition.remove("required");
        }
    }
    let Some(Value::Object(properties)) = definition.get_mut("properties") else { return };
    for (field, schema) in properties {
        let (topology, merging) = facts::of_field(name, field);
        let default = facts::key_default(Some(name), field);
        let granular = facts::GRANULAR.contains(&(name, field.as_str()));
        let annotated = topology != Topology::Unchanged || merging != Merging::None || default.is_some() || granular;
        let is_list = schema.get("type").is_some_and(|kind| kind == "array");
        if !annotated && !is_list {
            continue;
        }
        if annotated && let Some(reference) = schema.get("$ref").cloned() {
            // Nothing may stand beside a reference.
            *schema = json!({"allOf": [{"$ref": reference}]});
        }
        let Value::Object(schema) = schema else { continue };
        let mut set = |name: &str, value: Value| schema.insert(name.to_owned(), value);
        match topology {
            Topology::Unchanged if is_list => drop(set("x-kubernetes-list-type", json!("atomic"))),
            Topology::Unchanged => {}
            Topology::Atomic => drop(set("x-kubernetes-list-type", json!("atomic"))),
            Topology::Set => drop(set("x-kubernetes-list-type", json!("set"))),
            Topology::Map(keys) => {
                set("x-kubernetes-list-map-keys", json!(keys));
                set("x-kubernetes-list-type", json!("map"));
            }
            Topology::AtomicMap => drop(set("x-kubernetes-map-type", json!("atomic"))),
        }
        let strategy = match merging {
            Merging::None => None,
            Merging::Merge(_) | Merging::MergePrimitives => Some("merge"),
            Merging::MergeRetainKeys(_) => Some("merge,retainKeys"),
            Merging::RetainKeys => Some("retainKeys"),
            Merging::Replace => Some("replace"),
        };
        if let Some(strategy) = strategy {
            set("x-kubernetes-patch-strategy", json!(strategy));
        }
        if let Merging::Merge(key) | Merging::MergeRetainKeys(key) = merging {
            set("x-kubernetes-patch-merge-key", json!(key));
        }
        if granular {
            set("x-kubernetes-map-type", json!("granular"));
        }
        if let Some(default) = default {
            set("default", json!(default));
        }
    }
}

fn type_meta(field: &str) -> Value {
    let description = match field {
        "apiVersion" => "The version of the schema that this object is written in.",
        _ => "What this object is; together with the version it names the endpoint that serves it.",
    };
    json!({"description": description, "type": "string"})
}

fn list_of(item: &str, kind: &str) -> Value {
    json!({
        "description": format!("A list of {kind} objects."),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": type_meta("apiVersion"),
            "items": {"description": "The objects.", "type": "array", "items": {"$ref": format!("{REFERENCE}{item}")}},
            "kind": type_meta("kind"),
            "metadata": {"$ref": format!("{REFERENCE}io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta")},
        },
    })
}

/// References as v2 writes them, and no keyword that v2 does not have: strict readers refuse the whole document otherwise.
fn downgrade(value: &mut Value, depth: usize) {
    if depth > 2 * MAX_DEPTH {
        *value = json!({});
        return;
    }
    match value {
        Value::Object(fields) => {
            if let Some(single) =
                fields.get("allOf").and_then(|all| all.get(0)).and_then(|first| first.get("$ref")).cloned()
            {
                // v2 readers look through neither; the reference is what counts.
                fields.remove("allOf");
                fields.insert("$ref".to_owned(), single);
            }
            for keyword in ["allOf", "anyOf", "not", "nullable", "oneOf"] {
                // A property of that name is a schema, and stays.
                if !fields.get(keyword).is_some_and(|value| value.is_object() && keyword != "not") {
                    fields.remove(keyword);
                }
            }
            for (name, value) in fields {
                match value {
                    Value::String(reference) if name == "$ref" => {
                        if let Some(target) = reference.strip_prefix(REFERENCE) {
                            *reference = format!("#/definitions/{target}");
                        }
                    }
                    Value::Object(properties) if name == "properties" => {
                        properties.values_mut().for_each(|property| downgrade(property, depth + 1));
                    }
                    Value::Object(_) | Value::Array(_) if !matches!(name.as_str(), "default" | "enum" | "example") => {
                        downgrade(value, depth + 1)
                    }
                    _ => {}
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| downgrade(item, depth + 1)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use k8s_openapi::api::{apps::v1::Deployment, core::v1::PersistentVolume};

    use super::*;

    fn deployment() -> Definitions {
        let mut definitions = Definitions::new();
        definitions.add_with_list::<Deployment>();
        definitions
    }

    #[test]
    fn kinds_say_what_they_are_and_lists_how_they_merge() {
        let v3 = Value::Object(deployment().into_v3());
        assert_eq!(
            v3["io.k8s.api.apps.v1.Deployment"][GROUP_VERSION_KIND],
            json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
        );
        assert_eq!(v3["io.k8s.api.apps.v1.DeploymentList"][GROUP_VERSION_KIND][0]["kind"], "DeploymentList");
        let containers = &v3["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        let ports = &v3["io.k8s.api.core.v1.Container"]["properties"]["ports"];
        assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
        assert_eq!(v3["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"], "TCP");
        assert!(v3["io.k8s.api.core.v1.PodSpec"]["description"].is_string());
        assert_eq!(v3["io.k8s.api.apps.v1.Deployment"]["required"], json!(["spec"]));
    }

    #[test]
    fn version_2_has_no_keyword_of_version_3() {
        let mut definitions = deployment();
        definitions.add::<PersistentVolume>();
        let schema = json!({"type": "object", "properties": {
            "nullable": {"type": "string", "nullable": true},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}});
        definitions.add_custom("stable.example.com", "v1", "CronTab", "CronTabList", &schema);
        let v2 = Value::Object(definitions.into_v2());
        let text = v2.to_string();
        for keyword in ["\"oneOf\":[", "\"anyOf\":[", "\"allOf\":[", "\"nullable\":true", "components/schemas"] {
            assert!(!text.contains(keyword), "{keyword}");
        }
        assert!(v2["com.example.stable.v1.CronTab"]["properties"]["nullable"].is_object());
        assert_eq!(
            v2["io.k8s.api.core.v1.PersistentVolumeSpec"]["properties"]["claimRef"]["$ref"],
            "#/definitions/io.k8s.api.core.v1.ObjectReference"
        );
    }
}
