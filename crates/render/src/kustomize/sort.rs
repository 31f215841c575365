//! The order of the output.

use std::collections::HashMap;

use super::{kustomization::SortOptions, resource::Resource};

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

fn legacy(resources: &mut [Resource], first: &[&str], last: &[&str]) {
    let mut ranks: HashMap<&str, i64> = HashMap::new();
    let before = i64::try_from(first.len()).unwrap_or(i64::MAX);
    for (index, kind) in (0..).zip(first) {
        ranks.insert(kind, index - before);
    }
    for (index, kind) in (1..).zip(last) {
        ranks.insert(kind, index);
    }
    let or = |text: &str, absent: &str| if text.is_empty() { absent.to_owned() } else { text.to_owned() };
    resources.sort_by_cached_key(|resource| {
        let gvk = resource.gvk();
        let rank = ranks.get(gvk.kind.as_str()).copied().unwrap_or(0);
        let kind = format!("{}_{}_{}", or(&gvk.group, "~G"), or(&gvk.version, "~V"), or(&gvk.kind, "~K"));
        let name = format!("{}|{}", or(resource.namespace(), "~X"), or(resource.name(), "~N"));
        (rank, kind, name)
    });
}
