//! Every row of the table holds together.

use std::collections::HashSet;

use jiff::Timestamp;
use lotse_kinds::{Storage, builtin};
use serde_json::json;

#[test]
fn names_are_unique_within_a_group_and_version() {
    let (mut kinds, mut plurals, mut short) = (HashSet::new(), HashSet::new(), HashSet::new());
    for kind in builtin() {
        let version = kind.api_version();
        assert!(kinds.insert((version.clone(), kind.kind.clone())), "{kind:?} twice");
        assert!(plurals.insert((version.clone(), kind.plural.clone())), "{} twice in {version}", kind.plural);
        for name in &kind.short_names {
            assert!(short.insert((version.clone(), name.clone())), "{name} twice in {version}");
        }
    }
}

#[test]
fn short_names_mean_one_resource_across_groups() {
    let mut owners = std::collections::HashMap::new();
    for kind in builtin() {
        for name in &kind.short_names {
            let owner = owners.entry(name.clone()).or_insert_with(|| kind.plural.clone());
            assert_eq!(*owner, kind.plural, "short name {name}");
        }
    }
    for (name, plural) in
        [("po", "pods"), ("svc", "services"), ("deploy", "deployments"), ("sts", "statefulsets"), ("cj", "cronjobs")]
    {
        assert_eq!(owners.get(name).map(|owner| &**owner), Some(plural), "{name}");
    }
}

#[test]
fn plurals_are_lower_case_and_lists_are_named_after_their_kind() {
    for kind in builtin() {
        assert!(kind.plural.chars().all(|c| c.is_ascii_lowercase()), "{kind:?}: {}", kind.plural);
        assert_eq!(kind.singular, kind.kind.to_lowercase(), "{kind:?}");
        assert_eq!(kind.list_kind, format!("{}List", kind.kind), "{kind:?}");
        assert!(!kind.custom, "{kind:?}");
    }
}

#[test]
fn schemas_know_what_every_object_has() {
    for kind in builtin() {
        let schema = (kind.schema)();
        let object = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "x"}});
        assert_eq!(schema.unknown_fields(&object), Vec::<String>::new(), "{kind:?}");
        assert!(!schema.unknown_fields(&json!({"nonsense": 1})).is_empty(), "{kind:?} accepts anything");
        assert!(std::sync::Arc::ptr_eq(&schema, &(kind.schema)()), "{kind:?}: the schema is made once");
    }
}

#[test]
fn pointers_of_scales_and_field_selectors_are_known_to_the_schema() {
    for kind in builtin() {
        let schema = (kind.schema)();
        let scale = kind
            .scale
            .iter()
            .flat_map(|scale| [Some(&scale.spec_replicas), Some(&scale.status_replicas), scale.selector.as_ref()]);
        let pointers = scale.flatten().chain(kind.selectable_fields.iter().map(|(_, pointer)| pointer));
        for pointer in pointers {
            let object = pointer
                .rsplit('/')
                .filter(|part| !part.is_empty())
                .fold(json!(null), |inner, part| json!({part: inner}));
            assert_eq!(schema.unknown_fields(&object), Vec::<String>::new(), "{kind:?}: {pointer}");
        }
    }
}

#[test]
fn kinds_with_a_status_have_one_in_their_schema() {
    for kind in builtin().iter().filter(|kind| kind.status) {
        assert_eq!((kind.schema)().unknown_fields(&json!({"status": {}})), Vec::<String>::new(), "{kind:?}");
    }
}

#[test]
fn cells_exist_for_an_empty_object() {
    for kind in builtin() {
        assert!(kind.columns.iter().any(|column| column.name == "Name"), "{kind:?} has no name column");
        let headings: HashSet<_> = kind.columns.iter().map(|column| &column.name).collect();
        assert_eq!(headings.len(), kind.columns.len(), "{kind:?}: headings are unique");
        for object in [json!({}), json!(null), json!({"metadata": [], "spec": 1, "status": "x"})] {
            for column in &kind.columns {
                let cell = (column.cell)(&object, Timestamp::UNIX_EPOCH);
                assert!(!cell.is_object() && !cell.is_array(), "{kind:?} {}: {cell}", column.name);
            }
        }
    }
}

#[test]
fn stored_kinds_exist() {
    for kind in builtin() {
        let (group, version, name) = kind.storage_kind();
        let stored =
            builtin().iter().find(|kind| (&*kind.group, &*kind.version, &*kind.kind) == (group, version, name));
        assert!(stored.is_some_and(|stored| stored.stored_as.is_none() && stored.storage == kind.storage), "{kind:?}");
        assert!(kind.storage == Storage::Stored || !kind.status, "{kind:?}: a review has no status subresource");
    }
}

#[test]
fn the_kinds_of_the_issue_are_there() {
    let groups: HashSet<_> = builtin().iter().map(|kind| kind.api_version()).collect();
    for version in [
        "v1",
        "apps/v1",
        "batch/v1",
        "networking.k8s.io/v1",
        "rbac.authorization.k8s.io/v1",
        "storage.k8s.io/v1",
        "coordination.k8s.io/v1",
        "discovery.k8s.io/v1",
        "policy/v1",
        "autoscaling/v1",
        "autoscaling/v2",
        "scheduling.k8s.io/v1",
        "apiextensions.k8s.io/v1",
        "apiregistration.k8s.io/v1",
        "events.k8s.io/v1",
        "authentication.k8s.io/v1",
        "authorization.k8s.io/v1",
        "admissionregistration.k8s.io/v1",
        "node.k8s.io/v1",
        "certificates.k8s.io/v1",
    ] {
        assert!(groups.contains(version), "{version}");
    }
}
