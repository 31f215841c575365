//! `--validate`: what the API would refuse.

use std::sync::Arc;

use lotse_kinds::{Kind as ApiKind, Strategy};
use lotse_render::Manifest;
use serde_json::{Value, json};

use crate::exit::{Failure, Kind};

/// Checks the objects against built-in kinds and against the definitions among them; the failure lists every finding. Objects of
/// other kinds are named on standard error and left alone.
pub(super) fn check(manifests: &[Manifest]) -> Result<(), Failure> {
    let is_definition = |manifest: &&Manifest| manifest.object["kind"] == "CustomResourceDefinition";
    let custom: Vec<Arc<ApiKind>> = manifests
        .iter()
        .filter(is_definition)
        .map(|manifest| &manifest.object)
        .chain(&lotse_kinds::bundled_crds())
        .filter_map(|definition| lotse_kinds::from_crd(definition).ok())
        .flatten()
        .map(Arc::new)
        .collect();
    let mut findings = Vec::new();
    for manifest in manifests {
        let object = &manifest.object;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let about = format!("{}: {kind} {}", manifest.path, text(&object["metadata"]["name"]));
        let known = lotse_kinds::builtin().iter().chain(&custom);
        match known.into_iter().find(|known| known.api_version() == api_version && known.kind == kind) {
            Some(known) => {
                findings.extend(findings_of(known, object).into_iter().map(|found| format!("{about}: {found}")))
            }
            None => eprintln!("{about}: not checked: there is no definition of {kind} in {api_version} here"),
        }
    }
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Kind::Failed, format!("the API would refuse this:\n  {}", findings.join("\n  "))))
}

fn findings_of(kind: &ApiKind, object: &Value) -> Vec<String> {
    let schema = (kind.schema)();
    let mut object = object.clone();
    let mut found: Vec<String> =
        schema.prune(&mut object).into_iter().map(|path| format!("unknown field {path:?}")).collect();
    schema.default(&mut object);
    if let Some(default) = kind.hooks.default {
        default(&mut object);
    }
    // What the server would fill in.
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("uid".to_owned(), json!("00000000-0000-4000-8000-000000000000"));
        metadata.insert("creationTimestamp".to_owned(), json!("2000-01-01T00:00:00Z"));
        if kind.namespaced {
            metadata.entry("namespace").or_insert_with(|| json!("default"));
        }
    }
    let mut causes = Vec::new();
    if let Some(prepare) = kind.hooks.prepare
        && let Err(refused) = prepare(Strategy::Create, &mut object, None)
    {
        causes = refused;
    }
    causes.extend(schema.validate(&object));
    if causes.is_empty()
        && let Some(validate) = kind.hooks.validate
    {
        causes = validate(Strategy::Create, &object, None);
    }
    found.extend(causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)));
    found
}
