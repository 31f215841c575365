//! `spec.source.kustomize`: kustomizations in the repository.

use std::collections::BTreeMap;

use lotse_render::{
    Manifest, Tree,
    helm::{InflateCharts, Options as HelmOptions},
    kustomize::{Options, Overrides, PatchOverride},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Context, helm::seed};
use crate::{
    Error,
    application::{Source, is_false},
    remotes::Session,
};

/// `spec.source.kustomize`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct KustomizeSource {
    /// Before every name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name_prefix: String,
    /// After every name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name_suffix: String,
    /// Namespace of all objects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `[old=]name[:tag|@digest]`
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Replica counts by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<Replica>,
    /// Labels on everything, selectors included.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub common_labels: BTreeMap<String, String>,
    /// Also where the kustomization has others.
    #[serde(skip_serializing_if = "is_false")]
    pub force_common_labels: bool,
    /// Labels not on selectors.
    #[serde(skip_serializing_if = "is_false")]
    pub label_without_selector: bool,
    /// Labels on templates, with `labelWithoutSelector`.
    #[serde(skip_serializing_if = "is_false")]
    pub label_include_templates: bool,
    /// Annotations on everything.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub common_annotations: BTreeMap<String, String>,
    /// Also where the kustomization has others.
    #[serde(skip_serializing_if = "is_false")]
    pub force_common_annotations: bool,
    /// Replace `${NAME}` in annotations.
    #[serde(skip_serializing_if = "is_false")]
    pub common_annotations_envsubst: bool,
    /// Patches over those of the kustomization.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patches: Vec<Patch>,
    /// More components.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// Components that do not exist are no error.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_missing_components: bool,
    /// The version of Kustomize wanted; there is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// One replica count.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct Replica {
    /// Name of the workload.
    pub name: String,
    /// A number, or a number as text.
    pub count: Value,
}

/// One patch.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(default)]
pub struct Patch {
    /// A file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The patch itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub patch: String,
    /// Which objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<BTreeMap<String, String>>,
    /// `allowNameChange`, `allowKindChange`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, bool>,
}

/// The objects of a kustomization in the repository.
pub(super) fn render(
    tree: &dyn Tree,
    source: &Source,
    context: &Context,
    secret: &[u8; 32],
    session: &Session,
) -> Result<Vec<Manifest>, Error> {
    let overrides = overrides(source.kustomize.clone().unwrap_or_default())?;
    let charts = InflateCharts {
        options: HelmOptions {
            capabilities: context.capabilities(),
            seed: seed(source, context, secret),
            now: context.now,
            ..HelmOptions::default()
        },
    };
    let options = Options { overrides: Some(&overrides), charts: Some(&charts), ..Options::default() };
    Ok(session.build(tree, &source.path, &options)?.manifests())
}

fn overrides(given: KustomizeSource) -> Result<Overrides, Error> {
    let count = |replica: &Replica| {
        let number = replica.count.as_i64().or_else(|| replica.count.as_str()?.parse().ok());
        number.map(|number| (replica.name.clone(), number)).ok_or_else(|| Error::InvalidSpec {
            field: "spec.source.kustomize.replicas",
            message: format!("count of {:?} must be a number", replica.name),
        })
    };
    let patch = |patch: Patch| PatchOverride {
        path: patch.path,
        patch: patch.patch,
        target: patch.target,
        options: patch.options,
    };
    Ok(Overrides {
        replicas: given.replicas.iter().map(count).collect::<Result<_, _>>()?,
        patches: given.patches.into_iter().map(patch).collect(),
        name_prefix: given.name_prefix,
        name_suffix: given.name_suffix,
        namespace: given.namespace,
        images: given.images,
        common_labels: given.common_labels,
        force_common_labels: given.force_common_labels,
        label_without_selector: given.label_without_selector,
        label_include_templates: given.label_include_templates,
        common_annotations: given.common_annotations,
        force_common_annotations: given.force_common_annotations,
        common_annotations_envsubst: given.common_annotations_envsubst,
        components: given.components,
        ignore_missing_components: given.ignore_missing_components,
    })
}
