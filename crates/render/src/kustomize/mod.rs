//! Kustomize, as version 5.5 does it: the same objects in the same order, printed byte for byte alike.
//!
//! A kustomization's own directory limits which files it may read; other kustomizations may lie anywhere in the tree. Nothing
//! is fetched and nothing is run: bases elsewhere and plugins are errors that name them.

mod accumulate;
mod configure;
mod crds;
mod field_spec;
mod generators;
mod hash;
mod json_patch;
mod kustomization;
mod loader;
mod merge;
mod name_reference;
mod output;
mod plugins;
mod replacements;
mod resource;
mod schema;
mod selector;
mod sort;
mod transformers;
mod vars;

use std::collections::BTreeMap;

use crate::{Error, Tree, goyaml::Value};
use accumulate::Accumulator;
use kustomization::Kustomization;
use loader::Loader;
use resource::Resource;
use transformers::{Action, Transformer};

/// What the caller adds to a kustomization, as the fields of that name would: `spec.source.kustomize` of an Application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildOptions {
    /// Before every name.
    pub name_prefix: String,
    /// After every name.
    pub name_suffix: String,
    /// Namespace of every object that has one.
    pub namespace: String,
    /// `[old=]name[:tag|@digest]` each.
    pub images: Vec<String>,
    /// Labels on objects, templates and selectors.
    pub common_labels: BTreeMap<String, String>,
    /// Leave selectors alone.
    pub label_without_selector: bool,
    /// Labels on templates too, with `label_without_selector`.
    pub label_include_templates: bool,
    /// Annotations on objects and templates.
    pub common_annotations: BTreeMap<String, String>,
    /// Replica counts by name.
    pub replicas: Vec<(String, i64)>,
    /// Components by path, relative to the kustomization.
    pub components: Vec<String>,
}

/// Most objects of one build.
const MAX_OBJECTS: usize = 50_000;

/// Most bytes of output.
const MAX_OUTPUT_BYTES: usize = 256 * 1024 * 1024;

/// Builds the kustomization in a directory: the text that `kustomize build` prints.
pub fn build(tree: &dyn Tree, path: &str, options: &BuildOptions) -> Result<Vec<u8>, Error> {
    let (loader, resources) = run(tree, path, options)?;
    let mut text = Vec::new();
    for resource in &resources {
        if !text.is_empty() {
            text.extend_from_slice(b"---\n");
        }
        let printed = output::print(&resource.node).map_err(|error| at(&loader, resource, &error))?;
        text.extend_from_slice(&printed);
        if text.len() > MAX_OUTPUT_BYTES {
            return Err(Error::Limit {
                path: loader.root,
                what: "size of the output in bytes",
                limit: MAX_OUTPUT_BYTES as u64,
            });
        }
    }
    Ok(text)
}

/// Builds the kustomization in a directory into objects.
pub fn build_objects(tree: &dyn Tree, path: &str, options: &BuildOptions) -> Result<Vec<Value>, Error> {
    let (loader, resources) = run(tree, path, options)?;
    resources
        .iter()
        .map(|resource| output::to_value(&resource.node).map_err(|error| at(&loader, resource, &error)))
        .collect()
}

fn at(loader: &Loader<'_>, resource: &Resource, error: &str) -> Error {
    loader.error(format!("{}: {error}", resource.id().describe()))
}

fn run<'a>(tree: &'a dyn Tree, path: &str, options: &BuildOptions) -> Result<(Loader<'a>, Vec<Resource>), Error> {
    let loader = Loader::new(tree, path)?;
    let (mut kustomization, _) = loader.kustomization()?;
    kustomization.add(options).map_err(|error| loader.error(error))?;
    let build_metadata = kustomization.build_metadata.clone();
    let sort_options = kustomization.sort_options.clone();
    let mut accumulator = Accumulator::default();
    accumulator.accumulate(&loader, kustomization, &build_metadata)?;
    let resources = accumulator.finish(&loader)?;
    let resources = finish(&loader, resources, &build_metadata, sort_options.as_ref())?;
    Ok((loader, resources))
}

/// Order, notes about the build, and what never leaves it.
fn finish(
    loader: &Loader<'_>,
    mut resources: Vec<Resource>,
    build_metadata: &[String],
    sort_options: Option<&kustomization::SortOptions>,
) -> Result<Vec<Resource>, Error> {
    sort::sort(&mut resources, sort_options).map_err(|error| loader.error(error))?;
    let has = |option: &str| build_metadata.iter().any(|wanted| wanted == option);
    if has("managedByLabel") {
        // A release build of the original writes its version here; the recorded one has none.
        let label = vec![("app.kubernetes.io/managed-by".to_owned(), "kustomize-(devel)".to_owned())];
        let action = Action::Labels(label, vec![field_spec::FieldSpec::new("metadata/labels", true)]);
        Transformer::new(action)
            .apply(&mut resources, &schema::Schema::built_in())
            .map_err(|error| loader.error(error))?;
    }
    for resource in &mut resources {
        let mut annotations = resource.words("annotations");
        annotations.retain(|(key, _)| !is_internal(key));
        let mut set = |key: &str, text: Option<&str>, wanted: bool| {
            if !wanted {
                annotations.retain(|(name, _)| name != key);
            }
            if let Some(text) = text.filter(|text| wanted && !text.is_empty()) {
                annotations.retain(|(name, _)| name != key);
                annotations.push((key.to_owned(), text.to_owned()));
            }
        };
        set("config.kubernetes.io/origin", resource.origin.as_deref(), has("originAnnotations"));
        set(
            "alpha.config.kubernetes.io/transformations",
            Some(&resource.transformations),
            has("transformerAnnotations"),
        );
        resource.set_words("annotations", annotations);
    }
    Ok(resources)
}

/// Annotations that the original uses for its own notes and removes in the end.
fn is_internal(key: &str) -> bool {
    const READER: [&str; 3] = ["config.kubernetes.io/index", "config.kubernetes.io/path", "config.k8s.io/id"];
    const NOTES: [&str; 14] = [
        "index",
        "path",
        "id",
        "seqindent",
        "previousKinds",
        "previousNames",
        "previousNamespaces",
        "prefixes",
        "suffixes",
        "allowNameChange",
        "allowKindChange",
        "refBy",
        "generatorBehavior",
        "needsHashSuffix",
    ];
    READER.contains(&key)
        || key.strip_prefix("internal.config.kubernetes.io/").is_some_and(|note| NOTES.contains(&note))
}

// === impl Kustomization ===

impl Kustomization {
    /// Adds what the caller wants, as `kustomize edit` would write it into the file.
    fn add(&mut self, options: &BuildOptions) -> Result<(), String> {
        for (own, given) in [
            (&mut self.name_prefix, &options.name_prefix),
            (&mut self.name_suffix, &options.name_suffix),
            (&mut self.namespace, &options.namespace),
        ] {
            if !given.is_empty() {
                own.clone_from(given);
            }
        }
        for image in &options.images {
            let image = kustomization::Image::parse(image)
                .ok_or_else(|| format!("image {image:?} is not [old=]name[:tag|@digest]"))?;
            self.images.retain(|known| known.name != image.name);
            self.images.push(image);
        }
        if options.label_without_selector {
            if !options.common_labels.is_empty() {
                self.labels.push(kustomization::Label {
                    pairs: options.common_labels.clone(),
                    include_templates: options.label_include_templates,
                    ..Default::default()
                });
            }
        } else {
            self.common_labels.extend(options.common_labels.clone());
        }
        self.common_annotations.extend(options.common_annotations.clone());
        for (name, count) in &options.replicas {
            self.replicas.retain(|known| known.name != *name);
            self.replicas.push(kustomization::Replica { name: name.clone(), count: *count });
        }
        self.components.extend(options.components.iter().cloned());
        Ok(())
    }
}
