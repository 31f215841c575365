//! The order of the output.

use std::collections::HashMap;

use super::{
    kustomization::SortOptions,
    resource::{Gvk, Id, Resource},
};

const FIRST: [&str; 22] = [
    "Namespace",
    "ResourceQuota",
    "StorageClass",
    "CustomResourceDefinition",
    "ServiceAccount",
    "PodSecurityPolicy",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "ConfigMap",
    "Secret",
    "Endpoints",
    "Service",
    "LimitRange",
    "PriorityClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Deployment",
    "StatefulSet",
    "CronJob",
    "PodDisruptionBudget",
];

const LAST: [&str; 2] = ["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"];

fn or<'a>(text: &'a str, absent: &'a str) -> &'a str {
    if text.is_empty() { absent } else { text }
}

/// Orders objects as the options say; without any in the legacy order.
pub(super) fn sort(resources: &mut [Resource], options: Option<&SortOptions>) -> Result<(), String> {
    let order = options.map_or("legacy", |options| options.order.as_str());
    let custom = options.and_then(|options| options.legacy_sort_options.as_ref());
    match order {
        "fifo" if custom.is_some() => Err("sortOptions: legacySortOptions belongs to order legacy".to_owned()),
        "fifo" => Ok(()),
        "legacy" => {
            let first: Vec<&str> =
                custom.map_or_else(|| FIRST.to_vec(), |custom| custom.order_first.iter().map(String::as_str).collect());
            let last: Vec<&str> =
                custom.map_or_else(|| LAST.to_vec(), |custom| custom.order_last.iter().map(String::as_str).collect());
            legacy(resources, &first, &last);
            Ok(())
        }
        other => Err(format!("sortOptions: order {other:?} is unknown; it is legacy or fifo")),
    }
}

/// What kinds of the same rank are ordered by.
pub(super) fn kind_key(gvk: &Gvk<&str>) -> String {
    [or(gvk.group, "~G"), "_", or(gvk.version, "~V"), "_", or(gvk.kind, "~K")].concat()
}

/// Where a kind stands in the legacy order: those that come early below zero, those that come late above.
pub(super) fn rank(kind: &str) -> i64 {
    let place = |list: &[&str]| (0..).zip(list).find(|(_, other)| **other == kind).map(|(index, _): (i64, _)| index);
    let before = i64::try_from(FIRST.len()).unwrap_or(i64::MAX);
    place(&FIRST).map(|index| index - before).or_else(|| place(&LAST).map(|index| index + 1)).unwrap_or(0)
}

fn legacy(resources: &mut [Resource], first: &[&str], last: &[&str]) {
    let mut ranks: HashMap<&str, i64> = HashMap::new();
    let before = i64::try_from(first.len()).unwrap_or(i64::MAX);
    for (index, kind) in (0..).zip(first) {
        ranks.insert(kind, index - before);
    }
    for (index, kind) in (1..).zip(last) {
        ranks.insert(kind, index);
    }
    resources.sort_by_cached_key(|resource| {
        let Id { gvk, name, namespace } = resource.id();
        let rank = ranks.get(gvk.kind).copied().unwrap_or(0);
        (rank, kind_key(&gvk), [or(namespace, "~X"), "|", or(name, "~N")].concat())
    });
}
