//! `spec.source.helm`: charts in the repository.

use lotse_render::{
    Manifest, Tree,
    helm::{Chart, KubeVersion, Limits, Offline, Options, PrintOptions, Release, Values, files_of_arguments},
    normalize,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Context;
use crate::{
    Error,
    application::{Source, is_false},
    remotes::Session,
};

/// `spec.source.helm`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct HelmSource {
    /// Files of values, relative to the chart; with a leading `/` relative to the repository.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub value_files: Vec<String>,
    /// Value files that do not exist are no error.
    #[serde(skip_serializing_if = "is_false")]
    pub ignore_missing_value_files: bool,
    /// Values as YAML text; over the files.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub values: String,
    /// Values; over everything above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values_object: Option<Value>,
    /// Single values, as `--set`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<Parameter>,
    /// Values that are contents of files, as `--set-file`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub file_parameters: Vec<FileParameter>,
    /// `.Release.Name`; the Application's name when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub release_name: String,
    /// `.Release.Namespace`; the destination's when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `.Capabilities.KubeVersion`; the cluster's when empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kube_version: String,
    /// `.Capabilities.APIVersions`; the cluster's when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_versions: Vec<String>,
    /// Leave the objects of `crds/` out.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_crds: bool,
    /// Do not check values against `values.schema.json`.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_schema_validation: bool,
    /// Leave tests out. They are left out in any case; see `docs/gaps.md`.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_tests: bool,
    /// `v3` or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Send a repository's credentials to other hosts too. Never done; see `docs/gaps.md`.
    #[serde(skip_serializing_if = "is_false")]
    pub pass_credentials: bool,
}

/// One `--set`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Parameter {
    /// Path of keys: `image.tag`.
    pub name: String,
    /// The value.
    pub value: String,
    /// Text, whatever it looks like.
    #[serde(skip_serializing_if = "is_false")]
    pub force_string: bool,
}

/// One `--set-file`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct FileParameter {
    /// Path of keys.
    pub name: String,
    /// The file, relative to the chart.
    pub path: String,
}

/// The objects of a chart in the repository, its `crds/` and hooks included.
pub(super) fn render(
    tree: &dyn Tree,
    source: &Source,
    context: &Context,
    secret: &[u8; 32],
    session: &Session,
) -> Result<Vec<Manifest>, Error> {
    let helm = source.helm.clone().unwrap_or_default();
    let mut chart = Chart::load(tree, &source.path)?;
    session.complete(&mut chart, tree, &source.path)?;
    let options = options(tree, source, &helm, context, secret)?;
    let rendered = lotse_render::helm::render(&chart, &options, &Offline)?;
    Ok(rendered.manifests(&PrintOptions {
        include_crds: !helm.skip_crds,
        skip_tests: true,
        ..PrintOptions::default()
    })?)
}

fn options(
    tree: &dyn Tree,
    source: &Source,
    helm: &HelmSource,
    context: &Context,
    secret: &[u8; 32],
) -> Result<Options, Error> {
    let or = |given: &str, default: &str| if given.is_empty() { default.to_owned() } else { given.to_owned() };
    let mut capabilities = context.capabilities();
    if !helm.kube_version.is_empty() {
        capabilities.kube_version = KubeVersion::parse(&helm.kube_version).ok_or_else(|| Error::InvalidSpec {
            field: "spec.source.helm.kubeVersion",
            message: format!("{:?} is no version such as 1.32", helm.kube_version),
        })?;
    }
    if !helm.api_versions.is_empty() {
        capabilities.api_versions.clone_from(&helm.api_versions);
    }
    Ok(Options {
        release: Release {
            name: or(&helm.release_name, &context.name),
            namespace: or(&helm.namespace, &or(&context.destination, "default")),
            ..Release::default()
        },
        capabilities,
        values: values(tree, source, helm)?,
        skip_schema_validation: helm.skip_schema_validation,
        render_subchart_notes: false,
        seed: seed(source, context, secret),
        now: context.now,
        limits: Limits::default(),
    })
}

/// What chance is for this Application: the same at every render, so that generated passwords stay, and known to nobody else.
pub(super) fn seed(source: &Source, context: &Context, secret: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(secret);
    let chart = source.chart.clone().unwrap_or_default();
    let place = if chart.is_empty() { &source.path } else { &chart };
    for part in [&context.namespace, &context.name, &source.repo_url, place] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

fn values(tree: &dyn Tree, source: &Source, helm: &HelmSource) -> Result<Values, Error> {
    let mut values = Values::default();
    for name in &helm.value_files {
        let path = locate(source, name)?;
        if !tree.exists(&path) && helm.ignore_missing_value_files {
            continue;
        }
        values.files.push((path.clone(), tree.read(&path)?.into_owned()));
    }
    if !helm.values.is_empty() {
        values.files.push(("spec.source.helm.values".to_owned(), helm.values.clone().into_bytes()));
    }
    if let Some(object) = &helm.values_object {
        values.files.push(("spec.source.helm.valuesObject".to_owned(), object.to_string().into_bytes()));
    }
    for parameter in &helm.parameters {
        let argument = format!("{}={}", parameter.name, escaped(&parameter.value));
        if parameter.force_string { &mut values.set_string } else { &mut values.set }.push(argument);
    }
    for parameter in &helm.file_parameters {
        values.set_file.push(format!("{}={}", parameter.name, parameter.path));
    }
    for name in files_of_arguments(&values.set_file)? {
        let content = tree.read(&locate(source, &name)?)?.into_owned();
        values.file_contents.push((name, content));
    }
    Ok(values)
}

/// A file that the spec names, within the repository.
fn locate(source: &Source, name: &str) -> Result<String, Error> {
    if name.contains("://") || name.starts_with('$') {
        return Err(Error::InvalidSpec {
            field: "spec.source.helm.valueFiles",
            message: format!("{name:?} is not in this repository; only files of the source's own repository are read"),
        });
    }
    Ok(match name.strip_prefix('/') {
        Some(from_root) => normalize(from_root)?,
        None => normalize(&format!("{}/{name}", source.path))?,
    })
}

/// Commas of a parameter belong to its value; `{a,b}` stays a list.
fn escaped(value: &str) -> String {
    if value.starts_with('{') && value.ends_with('}') {
        return value.to_owned();
    }
    let mut out = String::with_capacity(value.len());
    let mut previous = ' ';
    for character in value.chars() {
        if character == ',' && previous != '\\' {
            out.push('\\');
        }
        out.push(character);
        previous = character;
    }
    out
}
