//! CustomResourceDefinitions: the same [`Kind`] as a built-in row, made at run time.

mod bundled;
mod columns;
mod validate;

use std::{borrow::Cow, sync::Arc};

use lotse_schema::{Cause, Schema};
use serde_json::Value;

use crate::{Hooks, Kind, ScalePaths, Storage, StoredAs, findings::Path, json::View, jsonpath::JsonPath};

pub use bundled::bundled_crds;
pub(crate) use validate::{validate, validate_update};

/// The kinds of a CustomResourceDefinition (`apiextensions.k8s.io/v1`), one for each served version, the stored version included
/// where it is served. The definition is expected after defaulting; it is validated here as well, so that one which was stored by
/// an older program and is no longer accepted yields findings rather than a broken kind.
///
/// # Errors
/// The findings about the definition, schemas included.
pub fn from_crd(crd: &Value) -> Result<Vec<Kind>, Vec<Cause>> {
    let findings = validate(crd);
    if !findings.is_empty() {
        return Err(findings);
    }
    let spec = crd.at("spec").unwrap_or(&Value::Null);
    let names = spec.at("names").unwrap_or(&Value::Null);
    let stored =
        spec.items("versions").iter().find(|version| version.flag("storage")).and_then(|version| version.text("name"));
    let served = spec.items("versions").iter().enumerate().filter(|(_, version)| version.flag("served"));
    served.map(|(index, version)| version_kind(spec, names, stored.unwrap_or_default(), index, version)).collect()
}

fn version_kind(spec: &Value, names: &Value, stored: &str, index: usize, version: &Value) -> Result<Kind, Vec<Cause>> {
    let text = |value: &Value, key: &str| Cow::Owned(value.text(key).unwrap_or_default().to_owned());
    let all =
        |key: &str| names.items(key).iter().filter_map(Value::as_str).map(|name| Cow::Owned(name.to_owned())).collect();
    let kind: Cow<'static, str> = text(names, "kind");
    let group: Cow<'static, str> = text(spec, "group");
    let name: Cow<'static, str> = text(version, "name");

    let open_api = version.path(&["schema", "openAPIV3Schema"]).unwrap_or(&Value::Null);
    let schema = Schema::from_crd(open_api).map_err(|causes| under_version(index, causes))?;

    Ok(Kind {
        singular: names.filled("singular").map_or_else(|| kind.to_lowercase(), str::to_owned).into(),
        list_kind: names.filled("listKind").map_or_else(|| format!("{kind}List"), str::to_owned).into(),
        plural: text(names, "plural"),
        short_names: all("shortNames"),
        categories: all("categories"),
        namespaced: spec.text("scope") == Some("Namespaced"),
        status: version.path(&["subresources", "status"]).is_some(),
        scale: version.path(&["subresources", "scale"]).and_then(scale_paths),
        endpoints: Vec::new(),
        storage: Storage::Stored,
        stored_as: (spec.items("versions").len() > 1).then(|| StoredAs {
            group: group.clone(),
            version: Cow::Owned(stored.to_owned()),
            kind: kind.clone(),
            to_stored: None,
            from_stored: None,
            webhook: spec.path(&["conversion", "strategy"]).is_some_and(|strategy| strategy == "Webhook"),
        }),
        columns: columns::columns(version),
        selectable_fields: version.items("selectableFields").iter().filter_map(selectable_field).collect(),
        schema: Arc::new(move || Arc::clone(&schema)),
        definitions: None,
        hooks: Hooks::default(),
        custom: true,
        group,
        version: name,
        kind,
    })
}

/// Findings about a schema name fields within it; in the definition they stand deeper.
fn under_version(index: usize, causes: Vec<Cause>) -> Vec<Cause> {
    let spec = Path::new("spec");
    let versions = spec.field("versions");
    let version = versions.index(index);
    let schema = version.field("schema");
    let prefix = schema.field("openAPIV3Schema");
    causes
        .into_iter()
        .map(|mut cause| {
            let within = cause.field.trim_start_matches('.');
            let within = within.strip_prefix("openAPIV3Schema").unwrap_or(within).trim_start_matches('.');
            cause.field = match within {
                "" => prefix.to_string(),
                within if within.starts_with('[') => format!("{prefix}{within}"),
                within => format!("{prefix}.{within}"),
            };
            cause
        })
        .collect()
}

fn scale_paths(scale: &Value) -> Option<ScalePaths> {
    let pointer = |key: &str| scale.filled(key).and_then(|path| JsonPath::parse(path).ok()?.pointer()).map(Cow::Owned);
    Some(ScalePaths {
        spec_replicas: pointer("specReplicasPath")?,
        status_replicas: pointer("statusReplicasPath")?,
        selector: pointer("labelSelectorPath"),
    })
}

fn selectable_field(field: &Value) -> Option<(Cow<'static, str>, Cow<'static, str>)> {
    let path = field.filled("jsonPath")?;
    let pointer = JsonPath::parse(path).ok()?.pointer()?;
    Some((Cow::Owned(path.trim_start_matches('.').to_owned()), Cow::Owned(pointer)))
}

#[cfg(test)]
mod tests;
