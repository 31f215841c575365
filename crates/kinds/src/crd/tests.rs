//! Tests of CustomResourceDefinitions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{ColumnType, Strategy, hooks};

fn shirts() -> Value {
    let mut crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "shirts.stable.example.com", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "group": "stable.example.com",
            "scope": "Namespaced",
            "names": {"plural": "shirts", "kind": "Shirt", "shortNames": ["sh"], "categories": ["all"]},
            "versions": [
                {
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "properties": {"color": {"type": "string"}, "replicas": {"type": "integer"}}},
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    }}},
                    "subresources": {"status": {}, "scale": {
                        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector",
                    }},
                    "selectableFields": [{"jsonPath": ".spec.color"}],
                    "additionalPrinterColumns": [
                        {"name": "Color", "type": "string", "jsonPath": ".spec.color"},
                        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "priority": 1},
                        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
                        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                    ],
                },
                {"name": "v1beta1", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
                {"name": "v1alpha1", "served": false, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
            ],
        },
    });
    hooks::crd::default(&mut crd);
    crd
}

fn sentences(causes: &[Cause]) -> Vec<String> {
    causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn served_versions_become_kinds() {
    let kinds = from_crd(&shirts()).unwrap();
    let names: Vec<_> =
        kinds.iter().map(|kind| format!("{kind:?} {} {} {}", kind.plural, kind.singular, kind.list_kind)).collect();
    assert_eq!(
        names,
        [
            "stable.example.com/v1 Shirt shirts shirt ShirtList",
            "stable.example.com/v1beta1 Shirt shirts shirt ShirtList"
        ]
    );
    let [stored, beta] = &kinds[..] else { panic!("two kinds") };
    assert!(stored.custom && stored.namespaced && stored.status);
    assert_eq!(stored.storage_kind(), ("stable.example.com", "v1", "Shirt"));
    assert_eq!(stored.short_names, ["sh"]);
    assert_eq!(stored.categories, ["all"]);
    assert_eq!(stored.selectable_fields, [("spec.color".into(), "/spec/color".into())]);
    let scale = stored.scale.as_ref().unwrap();
    assert_eq!((&*scale.spec_replicas, &*scale.status_replicas), ("/spec/replicas", "/status/replicas"));
    assert_eq!(scale.selector.as_deref(), Some("/status/selector"));
    assert_eq!(beta.storage_kind(), ("stable.example.com", "v1", "Shirt"));

    let mut object = json!({"apiVersion": "stable.example.com/v1beta1", "kind": "Shirt", "spec": {"color": "red"}});
    beta.to_stored(&mut object).unwrap();
    assert_eq!(object["apiVersion"], "stable.example.com/v1");
    beta.from_stored(&mut object).unwrap();
    assert_eq!(object["apiVersion"], "stable.example.com/v1beta1");
    // Kept in this shape while it was the stored version.
    stored.from_stored(&mut object).unwrap();
    assert_eq!(object["apiVersion"], "stable.example.com/v1");
}

#[test]
fn additional_columns_show_what_their_path_finds() {
    let kinds = from_crd(&shirts()).unwrap();
    let object = json!({
        "metadata": {"name": "polo", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"color": "blue", "replicas": 3},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    let now: Timestamp = "2026-01-01T03:12:00Z".parse().unwrap();
    let cells =
        |kind: &Kind, object: &Value| kind.columns.iter().map(|column| (column.cell)(object, now)).collect::<Vec<_>>();
    assert_eq!(Value::from(cells(&kinds[0], &object)), json!(["polo", "blue", "True", 3, "3h12m"]));
    assert_eq!(Value::from(cells(&kinds[0], &json!({}))), json!(["", null, null, null, null]));
    assert_eq!(Value::from(cells(&kinds[1], &object)), json!(["polo", "3h12m"]), "without columns of its own: the age");
    assert_eq!(kinds[0].columns[2].priority, 1);
    assert_eq!(kinds[0].columns[3].kind, ColumnType::Integer);
}

#[test]
fn broken_definitions_are_refused_with_a_sentence() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 14] = [
        (
            |crd| crd["metadata"]["name"] = json!("shirts.example.com"),
            "metadata.name: Invalid value: \"shirts.example.com\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            |crd| crd["spec"]["scope"] = json!("Galaxy"),
            "spec.scope: Unsupported value: \"Galaxy\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (|crd| crd["spec"]["group"] = json!(""), "spec.group: Required value"),
        (
            |crd| crd["spec"]["group"] = json!("example"),
            "spec.group: Invalid value: \"example\": should be a domain with at least one dot",
        ),
        (
            |crd| crd["spec"]["group"] = json!("x.k8s.io"),
            "metadata.annotations[api-approved.kubernetes.io]: Required value: groups under k8s.io and kubernetes.io need the address of their approval",
        ),
        (
            |crd| crd["spec"]["versions"][1]["storage"] = json!(true),
            "spec.versions: Invalid value: [\"v1\",\"v1beta1\",\"v1alpha1\"]: must have exactly one version marked as storage version",
        ),
        (|crd| crd["spec"]["versions"][1]["name"] = json!("v1"), "spec.versions[1].name: Duplicate value: \"v1\""),
        (
            |crd| crd["spec"]["versions"][0]["schema"] = json!({}),
            "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
        ),
        (
            |crd| crd["spec"]["versions"][0]["additionalPrinterColumns"][0]["type"] = json!("colour"),
            "spec.versions[0].additionalPrinterColumns[0].type: Unsupported value: \"colour\": supported values: \"boolean\", \"date\", \"integer\", \"number\", \"string\"",
        ),
        (
            |crd| crd["spec"]["versions"][0]["additionalPrinterColumns"][0]["jsonPath"] = json!("spec"),
            "spec.versions[0].additionalPrinterColumns[0].jsonPath: Invalid value: \"spec\": must be a JSON path that starts with '.'",
        ),
        (
            |crd| crd["spec"]["versions"][0]["subresources"]["scale"]["specReplicasPath"] = json!(".status.n"),
            "spec.versions[0].subresources.scale.specReplicasPath: Invalid value: \".status.n\": should be a json path under .spec.",
        ),
        (
            |crd| crd["spec"]["conversion"] = json!({"strategy": "Webhook"}),
            "spec.conversion.webhook: Required value: required when strategy is set to Webhook",
        ),
        (
            |crd| crd["spec"]["versions"] = json!([]),
            "spec.versions: Required value: must have exactly one version marked as storage version",
        ),
        (
            |crd| crd["spec"]["names"]["listKind"] = json!("Shirt"),
            "spec.names.listKind: Invalid value: \"Shirt\": kind and listKind may not be the same",
        ),
    ];
    for (change, sentence) in cases {
        let mut crd = shirts();
        change(&mut crd);
        let found = sentences(&from_crd(&crd).unwrap_err());
        assert!(found.iter().any(|found| found == sentence), "expected {sentence:?} in {found:#?}");
    }
}

#[test]
fn established_names_and_stored_versions_stay() {
    let mut old = shirts();
    hooks::crd::prepare(Strategy::Create, &mut old, None).unwrap();
    assert_eq!(old["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(old["status"]["conditions"][1]["type"], "Established");
    assert_eq!(old["status"]["conditions"][1]["lastTransitionTime"], "2026-01-01T00:00:00Z");

    let mut new = old.clone();
    new["spec"]["versions"][0]["storage"] = json!(false);
    new["spec"]["versions"][1]["storage"] = json!(true);
    hooks::crd::prepare(Strategy::Update, &mut new, Some(&old)).unwrap();
    assert_eq!(new["status"]["storedVersions"], json!(["v1", "v1beta1"]));
    assert_eq!(hooks::crd::validate(Strategy::Update, &new, Some(&old)), []);

    new["spec"]["versions"].as_array_mut().unwrap().remove(0);
    new["spec"]["names"]["kind"] = json!("Blouse");
    let found = sentences(&hooks::crd::validate(Strategy::Update, &new, Some(&old)));
    assert_eq!(
        found,
        [
            "spec.names.kind: Invalid value: \"Blouse\": field is immutable",
            "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; objects may still be stored in it",
        ]
    );
}

#[test]
fn bundled_definitions_are_valid_and_look_like_argo_cds() {
    let crds = bundled_crds();
    assert_eq!(crds.len(), 3);
    let kinds: Vec<Kind> = crds
        .into_iter()
        .flat_map(|mut crd| {
            hooks::crd::default(&mut crd);
            from_crd(&crd).expect("a valid definition")
        })
        .collect();
    let summary: Vec<_> = kinds.iter().map(|kind| (&*kind.plural, kind.short_names.join(","), kind.status)).collect();
    assert_eq!(
        summary,
        [
            ("applications", "app,apps".to_owned(), false),
            ("appprojects", "appproj,appprojs".to_owned(), false),
            ("applicationsets", "appset,appsets".to_owned(), true),
        ]
    );
    let columns: Vec<_> = kinds[0].columns.iter().map(|column| (&*column.name, column.priority)).collect();
    assert_eq!(columns, [("Name", 0), ("Sync Status", 0), ("Health Status", 0), ("Revision", 10), ("Project", 10)]);
}
