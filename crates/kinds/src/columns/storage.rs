//! Volumes, claims and group storage.k8s.io.

use serde_json::Value;

use super::{NONE, age, column, field, field_or, name, text};
use crate::{Column, ColumnType, json::View};

fn access_modes(modes: &[Value]) -> String {
    let short = modes.iter().filter_map(Value::as_str).map(|mode| match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    });
    short.collect::<Vec<_>>().join(",")
}

fn spec(object: &Value) -> &Value {
    object.at("spec").unwrap_or(&Value::Null)
}

fn text_at(object: &Value, path: &[&str]) -> String {
    object.path(path).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A volume or claim that is being deleted says so.
fn phase(object: &Value) -> String {
    let terminating = object.path(&["metadata", "deletionTimestamp"]).is_some();
    if terminating { "Terminating".to_owned() } else { text_at(object, &["status", "phase"]) }
}

pub(crate) fn volume() -> Vec<Column> {
    vec![
        name(),
        text("Capacity", "Size of the volume.", |object| text_at(object, &["spec", "capacity", "storage"])),
        text("Access Modes", "How the volume can be mounted.", |object| {
            access_modes(spec(object).items("accessModes"))
        }),
        field("Reclaim Policy", "What happens once the claim is gone.", "/spec/persistentVolumeReclaimPolicy"),
        text("Status", "State of the volume.", phase),
        text("Claim", "Claim that the volume is bound to.", |object| match spec(object).at("claimRef") {
            None => String::new(),
            Some(claim) => {
                format!("{}/{}", claim.text("namespace").unwrap_or_default(), claim.text("name").unwrap_or_default())
            }
        }),
        field("StorageClass", "Class of the volume.", "/spec/storageClassName"),
        field_or(
            "VolumeAttributesClass",
            "Class of the volume's attributes.",
            "/spec/volumeAttributesClassName",
            "<unset>",
        ),
        field("Reason", "Why the volume is in its state.", "/status/reason"),
        age(),
        field_or("VolumeMode", "File system or block device.", "/spec/volumeMode", "<unset>").wide(),
    ]
}

pub(crate) fn claim() -> Vec<Column> {
    vec![
        name(),
        text("Status", "State of the claim.", phase),
        field("Volume", "Volume that the claim is bound to.", "/spec/volumeName"),
        text("Capacity", "Size of the volume.", |object| {
            if spec(object).filled("volumeName").is_some() {
                text_at(object, &["status", "capacity", "storage"])
            } else {
                String::new()
            }
        }),
        text("Access Modes", "How the volume can be mounted.", |object| {
            let bound = spec(object).filled("volumeName").is_some();
            let modes = object.at("status").filter(|_| bound).map_or(&[][..], |status| status.items("accessModes"));
            access_modes(modes)
        }),
        field("StorageClass", "Class of the volume.", "/spec/storageClassName"),
        field_or(
            "VolumeAttributesClass",
            "Class of the volume's attributes.",
            "/spec/volumeAttributesClassName",
            "<unset>",
        ),
        age(),
        field_or("VolumeMode", "File system or block device.", "/spec/volumeMode", "<unset>").wide(),
    ]
}

pub(crate) fn class() -> Vec<Column> {
    let mut name = name();
    name.cell = std::sync::Arc::new(|object, _| {
        let annotations =
            ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
        let name = text_at(object, &["metadata", "name"]);
        let is_default = annotations
            .iter()
            .any(|key| object.path(&["metadata", "annotations", key]).is_some_and(|value| value == "true"));
        if is_default { format!("{name} (default)").into() } else { name.into() }
    });
    vec![
        name,
        field("Provisioner", "Who makes the volumes.", "/provisioner"),
        field_or("ReclaimPolicy", "What happens to volumes once their claim is gone.", "/reclaimPolicy", "Delete"),
        field_or("VolumeBindingMode", "When volumes are made.", "/volumeBindingMode", "Immediate"),
        field_or("AllowVolumeExpansion", "Whether claims can grow.", "/allowVolumeExpansion", "false"),
        age(),
    ]
}

pub(crate) fn attributes_class() -> Vec<Column> {
    vec![name(), field("DriverName", "Driver that knows the attributes.", "/driverName"), age()]
}

pub(crate) fn attachment() -> Vec<Column> {
    vec![
        name(),
        field("Attacher", "Driver that attaches the volume.", "/spec/attacher"),
        field("PV", "The volume.", "/spec/source/persistentVolumeName"),
        field("Node", "Node that the volume is attached to.", "/spec/nodeName"),
        column("Attached", ColumnType::Boolean, "Whether the volume is attached.", |object, _| {
            object.path(&["status", "attached"]).and_then(Value::as_bool).unwrap_or(false).into()
        }),
        age(),
    ]
}

pub(crate) fn csi_node() -> Vec<Column> {
    vec![
        name(),
        column("Drivers", ColumnType::Integer, "Drivers on the node.", |object, _| {
            spec(object).items("drivers").len().into()
        }),
        age(),
    ]
}

pub(crate) fn csi_driver() -> Vec<Column> {
    let flag = |name: &'static str, description: &'static str, key: &'static str, absent: bool| {
        column(name, ColumnType::Boolean, description, move |object, _| {
            spec(object).at(key).and_then(Value::as_bool).unwrap_or(absent).into()
        })
    };
    let list = |object: &Value, list: &str, key: Option<&str>| {
        let items = spec(object).items(list).iter();
        let texts: Vec<_> = items.filter_map(|item| key.map_or(Some(item), |key| item.at(key))?.as_str()).collect();
        texts.join(",")
    };
    vec![
        name(),
        flag("AttachRequired", "Whether volumes are attached before they are mounted.", "attachRequired", true),
        flag("PodInfoOnMount", "Whether the driver is told about the pod.", "podInfoOnMount", false),
        flag("StorageCapacity", "Whether the scheduler considers the driver's capacity.", "storageCapacity", false),
        column(
            "TokenRequests",
            ColumnType::String,
            "Audiences of the tokens that the driver gets.",
            move |object, _| {
                let audiences = list(object, "tokenRequests", Some("audience"));
                if audiences.is_empty() { "<unset>".into() } else { audiences.into() }
            },
        ),
        flag("RequiresRepublish", "Whether mounts are renewed.", "requiresRepublish", false),
        column("Modes", ColumnType::String, "Life cycles of the volumes.", move |object, _| {
            let modes = list(object, "volumeLifecycleModes", None);
            if modes.is_empty() { NONE.into() } else { modes.into() }
        }),
        age(),
    ]
}

pub(crate) fn csi_storage_capacity() -> Vec<Column> {
    vec![
        name(),
        field("StorageClassName", "Class of the volumes.", "/storageClassName"),
        field("Capacity", "Room for volumes.", "/capacity"),
        age(),
    ]
}
