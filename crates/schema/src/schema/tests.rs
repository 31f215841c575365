#![allow(clippy::unwrap_used, clippy::expect_used)]
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{PersistentVolume, Pod, Service},
    discovery::v1::EndpointSlice,
};
use serde_json::json;

use super::*;
use crate::Reason;

fn findings(schema: &Schema, object: Value) -> Vec<(String, String)> {
    schema.validate(&object).into_iter().map(|cause| (cause.field, cause.message)).collect()
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "creationTimestamp": null, "labels": {"app": "web"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}, "creationTimestamp": null},
            "spec": {"containers": [{"name": "web", "image": "nginx", "resources": {"limits": {"cpu": 1, "memory": "64Mi"}},
                "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": "http", "path": "/"}}}]}}},
        "status": {}
    })
}

#[test]
fn a_good_deployment_has_no_findings() {
    let schema = Schema::of::<Deployment>();
    assert_eq!(findings(&schema, deployment()), []);
    assert_eq!(schema.unknown_fields(&deployment()), Vec::<String>::new());
}

#[test]
fn findings_read_as_in_kubernetes() {
    let schema = Schema::of::<Deployment>();
    let mut object = deployment();
    object["spec"]["replicas"] = json!("two");
    object["spec"]["minReadySeconds"] = json!(3_000_000_000_u64);
    object["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = json!("1x");
    object["spec"].as_object_mut().unwrap().remove("selector");
    object["metadata"]["creationTimestamp"] = json!("yesterday");
    object["metadata"]["labels"]["app"] = json!(1);
    let found = findings(&schema, object);
    let has = |field: &str, message: &str| {
        assert!(found.contains(&(field.into(), message.into())), "{field}: {message}\n{found:#?}")
    };
    has("spec.selector", "Required value");
    has("spec.replicas", "Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\"");
    has(
        "spec.minReadySeconds",
        "Invalid value: 3000000000: spec.minReadySeconds in body must be of type int32: \"3000000000\"",
    );
    has(
        "spec.template.spec.containers[0].resources.limits[cpu]",
        "Invalid value: \"1x\": quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    );
    has(
        "metadata.labels[app]",
        "Invalid value: \"integer\": metadata.labels[app] in body must be of type string: \"integer\"",
    );
    has(
        "metadata.creationTimestamp",
        "Invalid value: \"yesterday\": metadata.creationTimestamp in body must be of type date-time: \"yesterday\"",
    );
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn unknown_fields_are_named_and_pruned() {
    let schema = Schema::of::<Deployment>();
    let mut object = deployment();
    object["spec"]["replicsa"] = json!(1);
    object["metadata"]["lables"] = json!({});
    object["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = json!("Always");
    let mut unknown = schema.unknown_fields(&object);
    unknown.sort();
    assert_eq!(unknown, ["metadata.lables", "spec.replicsa", "spec.template.spec.containers[0].imagePullPolice"]);
    let mut pruned = schema.prune(&mut object);
    pruned.sort();
    assert_eq!(pruned, unknown);
    assert_eq!(object, deployment());
}

#[test]
fn nulls_of_go_clients_are_accepted_for_built_in_kinds() {
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "a"}, "addressType": "IPv4",
        "endpoints": null, "ports": null});
    assert_eq!(findings(&Schema::of::<EndpointSlice>(), slice), []);
}

#[test]
fn bytes_are_base64_with_or_without_line_ends() {
    let schema = Schema::of::<k8s_openapi::api::core::v1::Secret>();
    assert_eq!(findings(&schema, json!({"data": {"a": "YWJj\nZGVm\r\n", "b": "", "c": null}})), []);
    assert_eq!(findings(&schema, json!({"data": {"a": "§"}})).len(), 1);
    assert_eq!(findings(&schema, json!({"data": {"a": 1}})).len(), 1);
}

#[test]
fn reviews_need_no_metadata() {
    let schema = Schema::of::<k8s_openapi::api::authorization::v1::SelfSubjectAccessReview>();
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    assert_eq!(findings(&schema, review), []);
    assert_eq!(findings(&schema, json!({})), [("spec".to_owned(), "Required value".to_owned())]);
}

#[test]
fn every_row_of_the_facts_names_a_field_of_the_generated_types() {
    let mut definitions = crate::openapi::Definitions::new();
    use k8s_openapi::api::*;
    definitions.add::<apps::v1::Deployment>();
    definitions.add::<apps::v1::DaemonSet>();
    definitions.add::<apps::v1::ReplicaSet>();
    definitions.add::<apps::v1::StatefulSet>();
    definitions.add::<batch::v1::Job>();
    definitions.add::<core::v1::Pod>();
    definitions.add::<core::v1::Node>();
    definitions.add::<core::v1::Service>();
    definitions.add::<core::v1::ServiceAccount>();
    definitions.add::<core::v1::Namespace>();
    definitions.add::<core::v1::PersistentVolume>();
    definitions.add::<core::v1::PersistentVolumeClaim>();
    definitions.add::<core::v1::ReplicationController>();
    definitions.add::<core::v1::ResourceQuota>();
    definitions.add::<discovery::v1::EndpointSlice>();
    definitions.add::<policy::v1::PodDisruptionBudget>();
    definitions.add::<autoscaling::v2::HorizontalPodAutoscaler>();
    definitions.add::<autoscaling::v1::HorizontalPodAutoscaler>();
    definitions.add::<networking::v1::ServiceCIDR>();
    definitions.add::<storage::v1::CSINode>();
    definitions.add::<storage::v1::CSIDriver>();
    definitions.add::<rbac::v1::RoleBinding>();
    definitions.add::<node::v1::RuntimeClass>();
    definitions.add::<flowcontrol::v1::FlowSchema>();
    definitions.add::<flowcontrol::v1::PriorityLevelConfiguration>();
    definitions.add::<admissionregistration::v1::MutatingWebhookConfiguration>();
    definitions.add::<admissionregistration::v1::ValidatingWebhookConfiguration>();
    definitions.add::<admissionregistration::v1::ValidatingAdmissionPolicy>();
    definitions.add::<admissionregistration::v1::ValidatingAdmissionPolicyBinding>();
    definitions.add::<certificates::v1::CertificateSigningRequest>();
    definitions.add::<resource::v1::ResourceClaim>();
    definitions.add::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>();
    definitions.add::<k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService>();
    let definitions = definitions.into_v3();
    let (mut checked, mut package_rows) = (0, 0);
    for (definition, field, topology, merging) in crate::facts::FIELDS {
        package_rows += 1;
        let Some(schema) = definitions.get(*definition) else { continue };
        checked += 1;
        let property = &schema["properties"][*field];
        assert!(property.is_object(), "{definition}.{field} does not exist");
        let item =
            property["items"]["$ref"].as_str().map(|name| &definitions[name.rsplit('/').next().unwrap()]["properties"]);
        let keys: &[&str] = if let crate::facts::Topology::Map(keys) = topology { keys } else { &[] };
        let merge_key = match merging {
            crate::facts::Merging::Merge(key) | crate::facts::Merging::MergeRetainKeys(key) => Some(key),
            _ => None,
        };
        for key in keys.iter().chain(merge_key) {
            assert!(item.is_some_and(|item| item[*key].is_object()), "{definition}.{field} has no key {key}");
        }
    }
    assert!(checked >= 85, "{checked} of {package_rows} rows checked");
    assert!(crate::facts::FIELDS.is_sorted_by_key(|row| (row.0, row.1)));
    assert!(crate::facts::ATOMIC_STRUCTS.is_sorted());
}

#[test]
fn definitions_are_shared_between_kinds() {
    let pod = Schema::of::<Pod>();
    let deployment = Schema::of::<Deployment>();
    let of_pod = pod.root_field("spec").unwrap();
    let of_template = deployment.root_field("spec").unwrap().field("template").unwrap().field("spec").unwrap();
    assert!(std::ptr::eq(of_pod, of_template));
    assert!(!Schema::of::<StatefulSet>().has_validation_rules());
    assert!(builtin::lookup("io.k8s.api.core.v1.PodSpec").is_some());
}

#[test]
fn references_are_atomic_but_for_the_claim_of_a_volume() {
    let volume = Schema::of::<PersistentVolume>();
    let claim = volume.root_field("spec").unwrap().field("claimRef").unwrap();
    assert!(matches!(&claim.shape, Shape::Object(object) if !object.atomic && !object.properties.is_empty()));
    let service = Schema::of::<Service>();
    let selector = service.root_field("spec").unwrap().field("selector").unwrap();
    assert!(matches!(&selector.shape, Shape::Object(object) if object.atomic));
}

fn custom() -> Arc<Schema> {
    Schema::from_crd(&json!({"type": "object", "required": ["spec"], "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}},
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 9},
            "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "maybe": {"type": "string", "nullable": true},
            "nested": {"type": "object", "default": {}, "properties": {"on": {"type": "boolean", "default": true}}},
            "tags": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "rules": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["host"], "items":
                {"type": "object", "required": ["host"], "properties": {"host": {"type": "string"}, "to": {"type": "string"}}}},
            "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
            "one": {"type": "object", "oneOf": [{"required": ["x"]}, {"required": ["y"]}], "properties": {"x": {"type": "string"}, "y": {"type": "string"}}}
        }}}}))
    .unwrap()
}

#[test]
fn custom_resources_are_checked_in_the_words_of_kubernetes() {
    let schema = custom();
    let found = findings(
        &schema,
        json!({"metadata": {"name": "toolong", "labels": {"a": 1}}, "spec": {
        "size": 0, "mode": "c", "name": "A", "port": true, "tags": ["a", "a"], "rules": [{"host": "h"}, {"host": "h"}],
        "template": {"kind": "Pod"}, "one": {}, "nested": null}}),
    );
    let has = |field: &str, message: &str| {
        assert!(found.iter().any(|(f, m)| f == field && m.contains(message)), "{field}: {message}\n{found:#?}")
    };
    has("spec.size", "Invalid value: 0: spec.size in body should be greater than or equal to 1");
    has("spec.mode", "Unsupported value: \"c\": supported values: \"a\", \"b\"");
    has("spec.name", "Invalid value: \"A\": spec.name in body should match '^[a-z]+$'");
    has("spec.name", "should be at least 2 chars long");
    has("spec.port", "must be of type integer,string: \"boolean\"");
    has("spec.tags[1]", "Duplicate value: \"a\"");
    has("spec.rules[1]", "Duplicate value: {\"host\":\"h\"}");
    has("spec.template.apiVersion", "Required value");
    has("spec.one", "must validate one and only one schema (oneOf). Found none valid");
    has("spec.nested", "must be of type object: \"null\"");
    has("metadata.name", "Too long: may not be more than 5 bytes");
    has("metadata.labels[a]", "must be of type string");
    assert_eq!(
        findings(
            &schema,
            json!({"metadata": {"name": "ok"}, "spec": {"size": 3, "maybe": null, "port": "http", "free": {"a": [1]}, "one": {"x": ""}}})
        ),
        []
    );
    assert_eq!(schema.validate(&json!({}))[0].reason, Reason::FieldValueRequired);
}

#[test]
fn custom_resources_are_pruned_and_defaulted() {
    let schema = custom();
    let mut object = json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a", "bogus": 1}, "extra": 1,
        "spec": {"size": 1, "what": 1, "free": {"any": {"thing": 1}}, "template": {"apiVersion": "v1", "kind": "Pod", "spec": {"x": 1}, "metadata": {"name": "p", "odd": 1}},
            "rules": [{"host": "h", "odd": 1}], "nested": null}});
    let mut paths = schema.prune(&mut object);
    paths.sort();
    assert_eq!(paths, ["extra", "metadata.bogus", "spec.rules[0].odd", "spec.template.metadata.odd", "spec.what"]);
    schema.default(&mut object);
    assert_eq!(object["spec"]["mode"], "a");
    assert_eq!(object["spec"]["nested"], json!({"on": true}));
    assert_eq!(object["spec"]["free"], json!({"any": {"thing": 1}}));
}

#[test]
fn schemas_that_are_not_structural_are_refused_with_the_place() {
    let table = [
        (json!({"properties": {}}), "type", "Required value"),
        (json!({"type": "array", "items": {"type": "string"}}), "type", "must be object at the root"),
        (json!({"type": "object", "properties": {"a": {}}}), "properties[a].type", "must not be empty"),
        (json!({"type": "object", "properties": {"a": {"type": "array"}}}), "properties[a].items", "must be specified"),
        (json!({"type": "object", "properties": {"a": {"type": "text"}}}), "properties[a].type", "Unsupported value"),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            "properties[a].pattern",
            "regular expression",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": {"type": "string"}}}}),
            "properties[a].additionalProperties",
            "mutual exclusive",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}}}),
            "properties[a].x-kubernetes-list-map-keys",
            "Required value",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "$ref": "x"}}}),
            "properties[a].$ref",
            "Forbidden",
        ),
        (json!({"type": "object", "anyOf": [{"default": 1}]}), "anyOf[0].default", "must be empty to be structural"),
        (json!("x"), "", "must be of type object"),
    ];
    for (schema, field, message) in table {
        let causes = Schema::from_crd(&schema).unwrap_err();
        assert!(
            causes.iter().any(|cause| cause.field == field && cause.message.contains(message)),
            "{schema}: {causes:#?}"
        );
    }
}

#[test]
fn validation_rules_are_not_silently_accepted() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "x-kubernetes-validations": [{"rule": "self != ''"}]}}});
    assert!(Schema::from_crd(&schema).unwrap().has_validation_rules());
    assert!(!custom().has_validation_rules());
}

#[test]
fn deep_input_is_refused_not_followed() {
    let wrap = |name: &str, value: Value| Value::Object([(name.to_owned(), value)].into_iter().collect());
    let mut deep = json!({"type": "string"});
    for _ in 0..300 {
        deep = wrap("properties", wrap("a", deep));
        deep["type"] = json!("object");
    }
    assert!(Schema::from_crd(&deep).is_err());
    let mut nested = json!({});
    for _ in 0..300 {
        nested = wrap("a", nested);
    }
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let free = Schema::from_crd(&free).unwrap();
    assert_eq!(free.validate(&nested).len(), 0);
    let recursive =
        Schema::of::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>();
    let mut items = json!({});
    for _ in 0..300 {
        items = wrap("not", items);
    }
    let definition = json!({"spec": {"versions": [{"schema": {"openAPIV3Schema": items}}]}});
    assert!(recursive.validate(&definition).iter().any(|cause| cause.message.contains("nested too deeply")));
    assert!(recursive.unknown_fields(&definition).is_empty());
}

#[test]
fn anything_accepts_everything_but_broken_metadata() {
    let schema = Schema::anything();
    assert_eq!(findings(&schema, json!({"a": [1, null], "metadata": {"name": "x"}})), []);
    assert_eq!(findings(&schema, json!({"metadata": {"name": 1}})).len(), 1);
    assert!(schema.unknown_fields(&json!({"a": 1})).is_empty());
}
