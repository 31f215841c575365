//! The StorageClasses every cluster starts with.

use k8s_openapi::api::storage::v1::StorageClass;
use kube::{Api, core::ObjectMeta};
use lotse_client::Key;

use super::PROVISIONER;
use crate::Context;

pub(super) const IS_DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";

/// One of our classes.
struct Class {
    name: &'static str,
    /// Claims without a class get it.
    default: bool,
    /// `hostpath` keeps what it holds: on one machine a volume is often the only copy.
    reclaim_policy: &'static str,
    binding_mode: &'static str,
}

const CLASSES: [Class; 3] = [
    Class { name: "standard", default: true, reclaim_policy: "Delete", binding_mode: "Immediate" },
    Class { name: "hostpath", default: false, reclaim_policy: "Retain", binding_mode: "Immediate" },
    Class { name: "local-path", default: false, reclaim_policy: "Delete", binding_mode: "WaitForFirstConsumer" },
];

/// Creates what is missing. What is there is the user's: it is never changed, and a default class of the user's keeps
/// ours from being one.
pub(super) async fn ensure(context: &Context) {
    let cache = context.cache::<StorageClass>();
    let others_default = !cache.filter(is_default).is_empty();
    for Class { name, default, reclaim_policy, binding_mode } in CLASSES {
        if cache.get(&Key::cluster(name)).is_some() {
            continue;
        }
        let class = StorageClass {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                annotations: (default && !others_default).then(|| [(IS_DEFAULT.to_owned(), "true".to_owned())].into()),
                ..ObjectMeta::default()
            },
            provisioner: PROVISIONER.to_owned(),
            reclaim_policy: Some(reclaim_policy.to_owned()),
            volume_binding_mode: Some(binding_mode.to_owned()),
            allow_volume_expansion: Some(true),
            ..StorageClass::default()
        };
        match context.create_with(Api::all(context.client()), "volumes", &class).await {
            Ok(_) => {}
            Err(error) if error.is_already_exists() => {}
            Err(error) => tracing::warn!(class = name, error = %error.user_message(), "storage class not created"),
        }
    }
}

/// Whether a class is marked as the default.
pub(super) fn is_default(class: &StorageClass) -> bool {
    class.metadata.annotations.as_ref().and_then(|all| all.get(IS_DEFAULT)).is_some_and(|value| value == "true")
}
