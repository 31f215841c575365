//! Hooks meet whatever JSON there is.

use jiff::Timestamp;
use lotse_kinds::{Strategy, builtin, from_crd};
use proptest::{prelude::*, strategy::Strategy as _};
use serde_json::{Map, Value, json};

/// Keys that hooks look at, so that arbitrary objects reach them.
const KEYS: [&str; 40] = [
    "metadata",
    "spec",
    "status",
    "data",
    "stringData",
    "type",
    "name",
    "template",
    "selector",
    "matchLabels",
    "containers",
    "initContainers",
    "ports",
    "port",
    "resources",
    "limits",
    "requests",
    "cpu",
    "volumes",
    "volumeMounts",
    "env",
    "valueFrom",
    "livenessProbe",
    "httpGet",
    "replicas",
    "strategy",
    "rollingUpdate",
    "maxSurge",
    "rules",
    "subjects",
    "roleRef",
    "metrics",
    "clusterIP",
    "schedule",
    "labels",
    "annotations",
    "conditions",
    "versions",
    "names",
    "image",
];

fn arbitrary_json() -> impl proptest::strategy::Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        proptest::num::f64::NORMAL.prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("Always")),
        Just(json!("25%")),
        Just(json!("1Gi")),
    ];
    leaf.prop_recursive(6, 96, 8, |inner| {
        let key = prop_oneof![proptest::sample::select(&KEYS[..]).prop_map(str::to_owned), "[a-z]{1,4}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn hooks_never_panic(object in arbitrary_json(), old in arbitrary_json()) {
        let now = Timestamp::UNIX_EPOCH;
        for kind in builtin() {
            for strategy in [Strategy::Create, Strategy::Update, Strategy::Subresource] {
                let old = (strategy != Strategy::Create).then_some(&old);
                let mut new = object.clone();
                kind.hooks.default.into_iter().for_each(|default| default(&mut new));
                let _ = kind.hooks.prepare.map(|prepare| prepare(strategy, &mut new, old));
                kind.hooks.validate.into_iter().for_each(|validate| drop(validate(strategy, &new, old)));
            }
            kind.columns.iter().for_each(|column| drop((column.cell)(&object, now)));
            let mut converted = object.clone();
            kind.to_stored(&mut converted).unwrap();
            kind.from_stored(&mut converted).unwrap();
        }
        let _ = from_crd(&object);
    }

    #[test]
    fn defaults_are_idempotent(object in arbitrary_json()) {
        for kind in builtin() {
            let Some(default) = kind.hooks.default else { continue };
            let mut once = object.clone();
            default(&mut once);
            let mut twice = once.clone();
            default(&mut twice);
            prop_assert_eq!(&once, &twice, "{:?}", kind);
        }
    }
}
