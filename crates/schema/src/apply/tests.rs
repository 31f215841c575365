#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::sync::Arc;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap, core::v1::Pod, core::v1::Service};
use proptest::prelude::*;

use super::*;

fn manager(name: &str, second: i64) -> Manager<'_> {
    let now = jiff::Timestamp::from_second(1_700_000_000 + second).unwrap();
    Manager { name, api_version: "v1", subresource: None, now }
}

/// A small script: who applies or updates what.
struct Cluster {
    schema: Arc<Schema>,
    live: Option<Value>,
    clock: i64,
}

impl Cluster {
    fn new(schema: Arc<Schema>) -> Self {
        Self { schema, live: None, clock: 0 }
    }

    fn apply(&mut self, name: &str, config: Value) -> Result<(), ApplyError> {
        self.applied(name, config, false)
    }

    fn applied(&mut self, name: &str, config: Value, force: bool) -> Result<(), ApplyError> {
        self.clock += 1;
        self.live = Some(apply(self.live.as_ref(), &config, &manager(name, self.clock), force, &self.schema)?);
        Ok(())
    }

    fn update(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        self.clock += 1;
        let mut new = self.live.clone().unwrap_or_else(|| json!({}));
        change(&mut new);
        track_update(self.live.as_ref(), &mut new, &manager(name, self.clock), &self.schema);
        self.live = Some(new);
    }

    fn get(&self, pointer: &str) -> Value {
        self.live.as_ref().and_then(|live| live.pointer(pointer)).cloned().unwrap_or(Value::Null)
    }

    fn fields(&self, name: &str) -> Value {
        let entries = self.get("/metadata/managedFields");
        let entry =
            entries.as_array().and_then(|entries| entries.iter().find(|entry| entry["manager"] == name).cloned());
        entry.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
    }
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "d"}, "data": data})
}

fn conflicts(result: Result<(), ApplyError>) -> Vec<String> {
    match result {
        Err(ApplyError::Conflicts(conflicts)) => conflicts.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_applier_owns_what_it_sets_and_nothing_else() {
    let mut c = Cluster::new(Schema::of::<ConfigMap>());
    c.apply("a", map(json!({"x": "1"}))).unwrap();
    let entries = c.get("/metadata/managedFields");
    assert_eq!(
        entries,
        json!([{"manager": "a", "operation": "Apply", "apiVersion": "v1", "time": "2023-11-14T22:13:21Z", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:x": {}}}}])
    );
}

#[test]
fn the_same_apply_again_changes_nothing_at_all() {
    let mut c = Cluster::new(Schema::of::<ConfigMap>());
    c.apply("a", map(json!({"x": "1"}))).unwrap();
    let before = c.live.clone();
    c.apply("a", map(json!({"x": "1"}))).unwrap();
    assert_eq!(c.live, before);
}

#[test]
fn what_a_manager_drops_is_removed_unless_another_owns_it() {
    let mut c = Cluster::new(Schema::of::<ConfigMap>());
    c.apply("a", map(json!({"x": "1", "y": "1", "z": "1"}))).unwrap();
    c.apply("b", map(json!({"y": "1"}))).unwrap();
    c.apply("a", map(json!({"z": "1"}))).unwrap();
    assert_eq!(c.get("/data"), json!({"y": "1", "z": "1"}));
    c.apply("b", map(json!({}))).unwrap();
    c.apply("a", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})).unwrap();
    assert_eq!(c.get("/data"), Value::Null);
    assert_eq!(c.get("/metadata/name"), "c");
    assert_eq!(c.get("/metadata/namespace"), "d");
}

#[test]
fn another_value_is_a_conflict_until_forced() {
    let mut c = Cluster::new(Schema::of::<ConfigMap>());
    c.apply("a", map(json!({"x": "1"}))).unwrap();
    c.update("kubectl-edit", |live| live["data"]["y"] = json!("1"));
    assert_eq!(conflicts(c.apply("b", map(json!({"x": "2"})))), ["conflict with \"a\": .data.x"]);
    let both = c.apply("b", map(json!({"x": "2", "y": "2"})));
    assert_eq!(
        both.unwrap_err().to_string(),
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .data.x\nconflicts with \"kubectl-edit\" using v1:\n- .data.y"
    );
    let one = c.apply("b", map(json!({"y": "2"})));
    assert_eq!(
        one.unwrap_err().to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using v1: .data.y"
    );
    c.applied("b", map(json!({"x": "2"})), true).unwrap();
    assert_eq!(c.get("/data/x"), "2");
    assert_eq!(c.fields("a"), Value::Null);
    assert_eq!(c.fields("b"), json!({"f:data": {"f:x": {}}}));
}

#[test]
fn the_same_value_is_shared() {
    let mut c = Cluster::new(Schema::of::<ConfigMap>());
    c.apply("a", map(json!({"x": "1"}))).unwrap();
    c.apply("b", map(json!({"x": "1"}))).unwrap();
    assert_eq!(c.fields("a"), c.fields("b"));
    assert_eq!(conflicts(c.apply("a", map(json!({"x": "2"})))), ["conflict with \"b\": .data.x"]);
}

#[test]
fn an_update_takes_what_it_changes_from_everybody() {
    let mut c = Cluster::new(Schema::of::<ConfigMap>());
    c.apply("a", map(json!({"x": "1", "y": "1"}))).unwrap();
    c.update("e", |live| live["data"]["x"] = json!("2"));
    assert_eq!(c.fields("a"), json!({"f:data": {"f:y": {}}}));
    assert_eq!(c.fields("e"), json!({"f:data": {"f:x": {}}}));
    c.update("e", |live| drop(live["data"].as_object_mut().unwrap().remove("y")));
    assert_eq!(c.fields("a"), Value::Null);
    let before = c.live.clone();
    c.update("f", |_| ());
    assert_eq!(c.live, before);
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}}, "spec": spec})
}

#[test]
fn an_autoscaler_keeps_replicas_that_the_applier_does_not_set() {
    let mut c = Cluster::new(Schema::of::<Deployment>());
    let template = json!({"spec": {"containers": [{"name": "web", "image": "1"}]}});
    c.apply("gitops", deployment(json!({"replicas": 1, "template": template}))).unwrap();
    c.update("hpa", |live| live["spec"]["replicas"] = json!(5));
    assert_eq!(
        conflicts(c.apply("gitops", deployment(json!({"replicas": 1, "template": template})))),
        ["conflict with \"hpa\" using v1: .spec.replicas"]
    );
    c.apply("gitops", deployment(json!({"template": template}))).unwrap();
    assert_eq!(c.get("/spec/replicas"), 5);
}

#[test]
fn list_items_are_owned_by_their_keys() {
    let mut c = Cluster::new(Schema::of::<Deployment>());
    let config = |containers: Value| deployment(json!({"template": {"spec": {"containers": containers}}}));
    c.apply("a", config(json!([{"name": "web", "image": "1", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}]}]))).unwrap();
    let owned = c.fields("a");
    let item = owned.pointer("/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"web\"}").unwrap();
    assert_eq!(
        item,
        &json!({".": {}, "f:name": {}, "f:image": {}, "f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}},
            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}})
    );
    // The server's default of the key makes no second item.
    c.update("defaults", |live| {
        live["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"] = json!("TCP")
    });
    c.apply("inject", config(json!([{"name": "proxy", "image": "p"}]))).unwrap();
    let names = c.get("/spec/template/spec/containers");
    assert_eq!(names.as_array().unwrap().len(), 2);
    c.apply("a", config(json!([{"name": "web", "image": "2", "ports": [{"containerPort": 80, "protocol": "TCP"}]}])))
        .unwrap();
    let containers = c.get("/spec/template/spec/containers");
    assert_eq!(containers.as_array().unwrap().len(), 2);
    let web = containers.as_array().unwrap().iter().find(|item| item["name"] == "web").unwrap().clone();
    assert_eq!(web, json!({"name": "web", "image": "2", "ports": [{"containerPort": 80, "protocol": "TCP"}]}));
    c.apply("inject", config(json!([]))).unwrap();
    assert_eq!(c.get("/spec/template/spec/containers").as_array().unwrap().len(), 1);
    assert!(matches!(c.apply("a", config(json!([{"image": "x"}]))), Err(ApplyError::Invalid(_))));
    assert!(matches!(c.apply("a", config(json!([{"name": "x"}, {"name": "x"}]))), Err(ApplyError::Invalid(_))));
}

#[test]
fn one_port_number_with_two_protocols_is_two_items() {
    let mut c = Cluster::new(Schema::of::<Service>());
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns"}, "spec": {"ports": ports}});
    c.apply("a", service(json!([{"port": 53, "protocol": "UDP"}, {"port": 53}]))).unwrap();
    c.apply("a", service(json!([{"port": 53, "protocol": "TCP"}]))).unwrap();
    assert_eq!(c.get("/spec/ports").as_array().unwrap().len(), 1);
}

#[test]
fn sets_merge_and_atomic_values_do_not() {
    let mut c = Cluster::new(Schema::of::<Pod>());
    let pod = |finalizers: Value, command: Value, node: Value| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "finalizers": finalizers},
            "spec": {"nodeSelector": node, "containers": [{"name": "c", "command": command}]}})
    };
    c.apply("a", pod(json!(["x/a"]), json!(["run", "1"]), json!({"k": "1"}))).unwrap();
    c.apply("b", json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "finalizers": ["x/b"]}})).unwrap();
    assert_eq!(c.get("/metadata/finalizers").as_array().unwrap().len(), 2);
    assert_eq!(c.fields("b"), json!({"f:metadata": {"f:finalizers": {"v:\"x/b\"": {}}}}));
    let found = conflicts(c.apply("b", pod(json!(["x/b"]), json!(["run", "2"]), json!({"j": "1"}))));
    assert_eq!(
        found,
        ["conflict with \"a\": .spec.containers[name=\"c\"].command", "conflict with \"a\": .spec.nodeSelector"]
    );
    c.apply("a", pod(json!([]), json!(["run", "1"]), json!({"k": "1"}))).unwrap();
    assert_eq!(c.get("/metadata/finalizers"), json!(["x/b"]));
}

#[test]
fn what_was_there_before_the_first_apply_has_an_owner() {
    let mut c = Cluster::new(Schema::of::<ConfigMap>());
    c.live = Some(map(json!({"x": "1", "y": "1"})));
    assert_eq!(
        conflicts(c.apply("a", map(json!({"x": "2"})))),
        ["conflict with \"before-first-apply\" using v1: .data.x"]
    );
    c.applied("a", map(json!({"x": "2"})), true).unwrap();
    assert_eq!(c.fields("before-first-apply"), json!({"f:data": {"f:y": {}}}));
}

#[test]
fn the_record_survives_clients_that_do_not_know_it_and_can_be_reset() {
    let mut c = Cluster::new(Schema::of::<ConfigMap>());
    c.apply("a", map(json!({"x": "1"}))).unwrap();
    c.update("old-client", |live| drop(live["metadata"].as_object_mut().unwrap().remove("managedFields")));
    assert_eq!(c.fields("a"), json!({"f:data": {"f:x": {}}}));
    c.update("old-client", |live| live["metadata"]["managedFields"] = json!([]));
    assert_eq!(c.fields("a"), json!({"f:data": {"f:x": {}}}));
    c.update("reset", |live| live["metadata"]["managedFields"] = json!([{}]));
    assert_eq!(c.get("/metadata/managedFields"), Value::Null);
}

#[test]
fn a_configuration_must_not_bring_a_record_or_unknown_fields() {
    let mut c = Cluster::new(Schema::of::<ConfigMap>());
    let mut config = map(json!({}));
    config["metadata"]["managedFields"] = json!([]);
    assert!(matches!(c.apply("a", config), Err(ApplyError::Invalid(_))));
    let mut config = map(json!({}));
    config["dtaa"] = json!({});
    assert_eq!(
        c.apply("a", config).unwrap_err().to_string(),
        "the applied configuration is invalid: .dtaa: field not declared in schema"
    );
}

#[test]
fn subresources_and_operations_are_separate_owners() {
    let mut c = Cluster::new(Schema::of::<Deployment>());
    c.apply("a", deployment(json!({"replicas": 1}))).unwrap();
    let mut new = c.live.clone().unwrap();
    new["status"] = json!({"replicas": 1});
    track_update(c.live.as_ref(), &mut new, &Manager { subresource: Some("status"), ..manager("a", 9) }, &c.schema);
    let entries = new["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        (&entries[1]["subresource"], &entries[1]["fieldsV1"]),
        (&json!("status"), &json!({"f:status": {"f:replicas": {}}}))
    );
}

#[test]
fn many_updaters_are_summed_up() {
    let mut c = Cluster::new(Schema::of::<ConfigMap>());
    c.update("first", |live| *live = map(json!({})));
    for index in 0..15 {
        c.update(&format!("m{index}"), |live| live["data"][format!("k{index}")] = json!("1"));
    }
    let entries = c.get("/metadata/managedFields");
    assert_eq!(entries.as_array().unwrap().len(), 10);
    assert!(!c.fields("ancient-changes").is_null());
}

#[test]
fn custom_schemas_decide_about_their_lists() {
    let schema = Schema::from_crd(&json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "rules": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["host", "port"], "items": {"type": "object",
            "required": ["host"], "properties": {"host": {"type": "string"}, "port": {"type": "integer", "default": 80}, "to": {"type": "string"}}}},
        "plain": {"type": "array", "items": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    }}}}))
    .unwrap();
    let mut c = Cluster::new(schema);
    let config = |spec: Value| json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec});
    c.apply(
        "a",
        config(
            json!({"rules": [{"host": "h", "to": "1"}], "plain": ["1"], "free": {"p": {"q": 1}}, "whole": {"a": "1"}}),
        ),
    )
    .unwrap();
    c.apply("b", config(json!({"rules": [{"host": "h", "port": 81}], "free": {"p": {"r": 1}}}))).unwrap();
    assert_eq!(c.get("/spec/rules").as_array().unwrap().len(), 2);
    assert_eq!(c.get("/spec/free"), json!({"p": {"q": 1, "r": 1}}));
    assert_eq!(
        conflicts(c.apply("b", config(json!({"plain": ["2"], "whole": {"b": "2"}})))),
        ["conflict with \"a\": .spec.plain", "conflict with \"a\": .spec.whole"]
    );
    c.apply("a", config(json!({}))).unwrap();
    assert_eq!(c.get("/spec"), json!({"rules": [{"host": "h", "port": 81}], "free": {"p": {"r": 1}}}));
}

fn data() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec!["a", "b", "c", "d"]);
    let container = (name.clone(), prop::option::of("[xy]"), prop::collection::btree_map("[AB]", "[12]", 0..3))
        .prop_map(|(name, image, env)| {
            let env: Vec<Value> = env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            (name, json!({"name": name, "image": image, "env": env}))
        });
    (
        prop::collection::btree_map("[pqr]", "[12]", 0..4),
        prop::collection::vec(container, 0..4),
        prop::option::of(0..3),
        prop::collection::btree_set("[fg]/[hi]", 0..3),
    )
        .prop_map(|(labels, containers, priority, finalizers)| {
            let containers: std::collections::BTreeMap<_, _> = containers.into_iter().collect();
            let containers: Vec<Value> = containers.into_values().collect();
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels, "finalizers": finalizers},
                "spec": {"containers": containers, "priority": priority}})
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn applying_twice_is_applying_once(first in data(), second in data(), third in data()) {
        let mut c = Cluster::new(Schema::of::<Pod>());
        c.apply("a", first).unwrap();
        c.applied("b", second.clone(), true).unwrap();
        c.update("u", |live| { live["spec"]["priority"] = third["spec"]["priority"].clone(); });
        c.applied("b", second.clone(), true).unwrap();
        let once = c.live.clone();
        c.apply("b", second).unwrap();
        prop_assert_eq!(c.live, once);
    }

    #[test]
    fn a_lone_applier_gets_exactly_what_it_says(first in data(), second in data()) {
        let mut c = Cluster::new(Schema::of::<Pod>());
        c.apply("a", first).unwrap();
        c.apply("a", second.clone()).unwrap();
        let mut fresh = Cluster::new(Schema::of::<Pod>());
        fresh.apply("a", second).unwrap();
        prop_assert_eq!(c.fields("a"), fresh.fields("a"));
        prop_assert_eq!(c.get("/metadata/labels").as_object().filter(|map| !map.is_empty()).cloned(),
            fresh.get("/metadata/labels").as_object().filter(|map| !map.is_empty()).cloned());
        let sorted = |cluster: &Cluster| {
            let mut items: Vec<String> = cluster.get("/spec/containers").as_array().into_iter().flatten().map(|item| {
                let mut item = item.clone();
                if item["env"] == json!([]) { item.as_object_mut().unwrap().remove("env"); }
                crate::fields::canonical(&item)
            }).collect();
            items.sort();
            items
        };
        prop_assert_eq!(sorted(&c), sorted(&fresh));
    }
}
