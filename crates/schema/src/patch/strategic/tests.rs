#![allow(clippy::unwrap_used, clippy::expect_used)]
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, core::v1::Service, policy::v1::PodDisruptionBudget};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn pod(target: Value, patch: Value) -> Value {
    merged::<Pod>(target, patch)
}

fn merged<K: schemars::JsonSchema + k8s_openapi::Resource>(mut target: Value, patch: Value) -> Value {
    strategic_merge(&mut target, &patch, &Schema::of::<K>()).unwrap();
    target
}

#[test]
fn lists_with_a_merge_key_merge_and_others_are_replaced() {
    let live = json!({"spec": {"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b"}]}});
    let patch = json!({"spec": {"containers": [{"name": "a", "image": "2", "args": ["y"]}]}});
    let expected = json!({"spec": {"containers": [{"name": "a", "image": "2", "args": ["y"]}, {"name": "b"}]}});
    assert_eq!(pod(live, patch), expected);
}

#[test]
fn a_new_item_comes_first_as_in_kubectl_patch() {
    let live = json!({"spec": {"containers": [{"name": "a"}]}});
    let patch = json!({"spec": {"containers": [{"name": "b"}]}});
    assert_eq!(pod(live, patch), json!({"spec": {"containers": [{"name": "b"}, {"name": "a"}]}}));
}

#[test]
fn directives_delete_and_replace() {
    let live = || json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}], "securityContext": {"runAsUser": 1, "fsGroup": 2}}});
    let delete =
        json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}], "securityContext": {"$patch": "delete"}}});
    assert_eq!(pod(live(), delete), json!({"spec": {"containers": [{"name": "b"}]}}));
    let replace = json!({"spec": {"containers": [{"name": "c"}, {"$patch": "replace"}], "securityContext": {"runAsUser": 3, "$patch": "replace"}}});
    assert_eq!(
        pod(live(), replace),
        json!({"spec": {"containers": [{"name": "c"}], "securityContext": {"runAsUser": 3}}})
    );
    let whole = json!({"$patch": "replace", "metadata": {"name": "x"}});
    assert_eq!(pod(live(), whole), json!({"metadata": {"name": "x"}}));
}

#[test]
fn retain_keys_drops_what_it_does_not_name() {
    let live = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(merged::<Deployment>(live, patch), json!({"spec": {"strategy": {"type": "Recreate"}}}));
    let live = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
    let patch =
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}});
    assert_eq!(pod(live, patch), json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}}));
}

#[test]
fn lists_of_plain_values_unite_where_the_kind_says_so() {
    let live = || json!({"metadata": {"finalizers": ["a/a", "b/b"]}});
    let patch = json!({"metadata": {"finalizers": ["c/c", "a/a"]}});
    let result = pod(live(), patch);
    assert_eq!(result, json!({"metadata": {"finalizers": ["c/c", "a/a", "b/b"]}}));
    let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/a"]}});
    assert_eq!(pod(live(), patch), json!({"metadata": {"finalizers": ["b/b"]}}));
}

#[test]
fn set_element_order_orders_and_keeps_what_only_the_server_has() {
    let live = json!({"spec": {"containers": [{"name": "a"}, {"name": "sidecar"}, {"name": "b"}]}});
    let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "image": "2"}]}});
    let expected = json!({"spec": {"containers": [{"name": "sidecar"}, {"name": "b", "image": "2"}, {"name": "a"}]}});
    let merged = pod(live, patch);
    let names = |value: &Value| {
        value["spec"]["containers"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&merged), names(&expected));
    assert_eq!(merged, expected);
}

#[test]
fn service_ports_merge_by_port_alone() {
    let live = json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}]}});
    let patch = json!({"spec": {"ports": [{"port": 80, "targetPort": 8080}], "selector": {"app": "x"}}});
    let merged = merged::<Service>(live, patch);
    assert_eq!(
        merged["spec"]["ports"],
        json!([{"port": 80, "protocol": "TCP", "nodePort": 30000, "targetPort": 8080}])
    );
}

#[test]
fn an_object_with_strategy_replace_is_replaced() {
    let live = json!({"spec": {"selector": {"matchLabels": {"a": "1"}}}});
    let patch = json!({"spec": {"selector": {"matchLabels": {"b": "2"}}}});
    assert_eq!(merged::<PodDisruptionBudget>(live, patch), json!({"spec": {"selector": {"matchLabels": {"b": "2"}}}}));
}

#[test]
fn null_removes_and_never_stays() {
    let live = json!({"metadata": {"labels": {"a": "1"}}});
    let patch = json!({"metadata": {"labels": {"a": null, "b": null}, "annotations": {"c": null, "d": "1"}}});
    assert_eq!(pod(live, patch), json!({"metadata": {"labels": {}, "annotations": {"d": "1"}}}));
}

#[test]
fn bad_directives_are_refused_and_change_nothing() {
    let live = json!({"spec": {"containers": [{"name": "a"}]}});
    for patch in [
        json!({"spec": {"$patch": "explode"}}),
        json!({"spec": {"containers": [{"image": "x"}]}}),
        json!({"spec": {"containers": ["x"]}}),
        json!({"spec": {"$retainKeys": "x"}}),
        json!({"spec": {"$retainKeys": ["a"], "b": 1}}),
        json!([]),
    ] {
        let mut target = live.clone();
        assert!(strategic_merge(&mut target, &patch, &Schema::of::<Pod>()).is_err(), "{patch}");
        assert_eq!(target, live);
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "spec",
        "metadata",
        "containers",
        "name",
        "env",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "finalizers",
        "$deleteFromPrimitiveList/finalizers",
        "labels",
        "ports",
        "containerPort",
        "a",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec!["delete", "replace", "merge", "a", "b", "name"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn patches_never_panic(target in any_value(), patch in any_value()) {
        let schema = Schema::of::<Pod>();
        let _ = strategic_merge(&mut target.clone(), &patch, &schema);
        let _ = crate::patch::json_patch(&mut target.clone(), &patch);
        crate::patch::merge_patch(&mut target.clone(), &patch);
        let _ = schema.validate(&target);
        let _ = schema.prune(&mut target.clone());
    }

    #[test]
    fn merging_an_object_with_itself_changes_nothing_but_nulls(target in any_value()) {
        let mut once = target.clone();
        crate::patch::merge_patch(&mut once, &target);
        let mut twice = once.clone();
        crate::patch::merge_patch(&mut twice, &target);
        prop_assert_eq!(once, twice);
    }
}
