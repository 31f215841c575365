//! What configMap, secret, downwardAPI and projected volumes share: keys become files.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Secret};

use super::{
    Context,
    atomic_writer::{File, Payload, valid_path},
};
use crate::{containers::fields, error::Result};

/// Kubernetes' default mode of such files.
pub(super) const DEFAULT_MODE: i32 = 0o644;

/// A mode of the API as permission bits.
pub(super) fn mode(value: Option<i32>, default: i32) -> u32 {
    u32::try_from(value.unwrap_or(default)).unwrap_or(0) & 0o777
}

/// Data and binary data of a ConfigMap.
pub(super) fn of_config_map(map: &ConfigMap) -> BTreeMap<&str, &[u8]> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    text.chain(map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()))).collect()
}

/// Data of a Secret.
pub(super) fn of_secret(secret: &Secret) -> BTreeMap<&str, &[u8]> {
    secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice())).collect()
}

/// Adds one file after checking its path.
pub(super) fn add(context: &Context<'_>, payload: &mut Payload, path: &str, file: File) -> Result<()> {
    if !valid_path(path) {
        return Err(context.error(format!("path {path:?} must be relative, without .. and not start with ..")));
    }
    payload.insert(path.to_owned(), file);
    Ok(())
}

/// All keys as files, or only those that `items` selects.
pub(super) fn add_keys(
    context: &Context<'_>,
    payload: &mut Payload,
    data: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    default_mode: i32,
    optional: bool,
) -> Result<()> {
    let file = |data: &[u8], mode: u32| File { data: data.to_vec(), mode, user: None };
    match items.filter(|items| !items.is_empty()) {
        None => {
            for (key, value) in data {
                add(context, payload, key, file(value, mode(None, default_mode)))?;
            }
        }
        Some(items) => {
            for item in items {
                match data.get(item.key.as_str()) {
                    Some(value) => add(context, payload, &item.path, file(value, mode(item.mode, default_mode)))?,
                    None if optional => {}
                    None => return Err(context.error(format!("references non-existent config key: {}", item.key))),
                }
            }
        }
    }
    Ok(())
}

/// Files with values of the pod itself.
pub(super) fn add_fields(
    context: &Context<'_>,
    payload: &mut Payload,
    items: &[DownwardAPIVolumeFile],
    default_mode: i32,
) -> Result<()> {
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => fields::field(context.pod, context.addresses, &field.field_path)
                .ok_or_else(|| context.error(format!("fieldRef.fieldPath: {} is not supported", field.field_path)))?,
            (None, Some(selector)) => {
                let containers = context.pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
                let Some(container) = containers.first() else { continue };
                fields::resource(context.pod, container, selector, context.capacity)?
            }
            (None, None) => continue,
        };
        let file = File { data: text.into_bytes(), mode: mode(item.mode, default_mode), user: None };
        add(context, payload, &item.path, file)?;
    }
    Ok(())
}
