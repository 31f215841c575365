//! Group apps, and ReplicationController.

use serde_json::Value;

use super::{NONE, age, column, field_or, integer, name, text};
use crate::{Column, ColumnType, json::View};

/// Names of a template's containers.
pub(crate) fn containers(template: Option<&Value>) -> String {
    each(template, "name")
}

/// Images of a template's containers.
pub(crate) fn images(template: Option<&Value>) -> String {
    each(template, "image")
}

fn each(template: Option<&Value>, key: &str) -> String {
    let spec = template.and_then(|template| template.at("spec"));
    let values: Vec<_> = spec
        .map_or(&[][..], |spec| spec.items("containers"))
        .iter()
        .filter_map(|container| container.text(key))
        .collect();
    values.join(",")
}

/// A map of labels: `a=b,c=d`.
pub(crate) fn labels(labels: Option<&Value>) -> String {
    let pairs = labels.and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<_> = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if pairs.is_empty() { NONE.to_owned() } else { pairs.join(",") }
}

/// A label selector as it is written on the command line; a plain map of labels counts as one.
pub(crate) fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return NONE.to_owned() };
    if selector.at("matchLabels").is_none() && selector.at("matchExpressions").is_none() {
        return labels(Some(selector));
    }
    let mut terms: Vec<_> = selector
        .entries("matchLabels")
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    for expression in selector.items("matchExpressions") {
        let key = expression.text("key").unwrap_or_default();
        let values: Vec<_> = expression.items("values").iter().filter_map(Value::as_str).collect();
        let values = values.join(",");
        terms.push(match expression.text("operator") {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    if terms.is_empty() { NONE.to_owned() } else { terms.join(",") }
}

/// Containers, images and selector of a workload, for `-o wide`.
pub(super) fn wide() -> [Column; 3] {
    [
        text("Containers", "Names of the containers.", |object: &Value| containers(object.path(&["spec", "template"])))
            .wide(),
        text("Images", "Images of the containers.", |object: &Value| images(object.path(&["spec", "template"]))).wide(),
        text("Selector", "Which pods belong to the object.", |object: &Value| {
            selector(object.path(&["spec", "selector"]))
        })
        .wide(),
    ]
}

/// `2/3`: observed of desired.
pub(super) fn fraction(object: &Value, observed: &str, desired: &str) -> String {
    let count = |parent: &str, key: &str| object.path(&[parent, key]).and_then(Value::as_i64).unwrap_or(0);
    format!("{}/{}", count("status", observed), count("spec", desired))
}

pub(crate) fn deployment() -> Vec<Column> {
    let mut columns = vec![
        name(),
        text("Ready", "Ready replicas of those desired.", |object| fraction(object, "readyReplicas", "replicas")),
        integer("Up-to-date", "Replicas made from the newest template.", "/status/updatedReplicas"),
        integer("Available", "Replicas that have been ready for the minimum time.", "/status/availableReplicas"),
        age(),
    ];
    columns.extend(wide());
    columns
}

pub(crate) fn replica_set() -> Vec<Column> {
    let mut columns = vec![
        name(),
        integer("Desired", "Replicas that should exist.", "/spec/replicas"),
        integer("Current", "Replicas that exist.", "/status/replicas"),
        integer("Ready", "Replicas that are ready.", "/status/readyReplicas"),
        age(),
    ];
    columns.extend(wide());
    columns
}

pub(crate) fn stateful_set() -> Vec<Column> {
    let [containers, images, _] = wide();
    vec![
        name(),
        text("Ready", "Ready replicas of those desired.", |object| fraction(object, "readyReplicas", "replicas")),
        age(),
        containers,
        images,
    ]
}

pub(crate) fn daemon_set() -> Vec<Column> {
    let mut columns = vec![
        name(),
        integer("Desired", "Nodes that should run the pod.", "/status/desiredNumberScheduled"),
        integer("Current", "Nodes that run the pod.", "/status/currentNumberScheduled"),
        integer("Ready", "Pods that are ready.", "/status/numberReady"),
        integer("Up-to-date", "Pods made from the newest template.", "/status/updatedNumberScheduled"),
        integer("Available", "Pods that have been ready for the minimum time.", "/status/numberAvailable"),
        text("Node Selector", "Labels of the nodes that run the pod.", |object| {
            labels(object.path(&["spec", "template", "spec", "nodeSelector"]))
        }),
        age(),
    ];
    columns.extend(wide());
    columns
}

pub(crate) fn controller_revision() -> Vec<Column> {
    vec![
        name(),
        column("Controller", ColumnType::String, "Object whose state this is.", |object, _| {
            let owners = object.at("metadata").map_or(&[][..], |metadata| metadata.items("ownerReferences"));
            let Some(owner) = owners.iter().find(|owner| owner.flag("controller")) else { return NONE.into() };
            let version = owner.text("apiVersion").unwrap_or_default();
            let kind = owner.text("kind").unwrap_or_default().to_lowercase();
            let group = version.split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
            format!("{kind}{group}/{}", owner.text("name").unwrap_or_default()).into()
        }),
        field_or("Revision", "Number of the revision.", "/revision", "0"),
        age(),
    ]
}
