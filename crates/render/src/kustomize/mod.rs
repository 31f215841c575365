//! Kustomize, as version 5.5 does it: the same objects in the same order, printed byte for byte alike.
//!
//! A kustomization's own directory limits which files it may read; other kustomizations may lie anywhere in the tree. Nothing
//! is fetched and nothing is run: bases elsewhere and plugins are errors that name them.

mod accumulate;
mod charts;
mod configure;
mod crds;
mod field_spec;
mod generators;
mod hash;
mod images;
mod json_patch;
mod kustomization;
mod loader;
mod merge;
mod merge_list;
mod name_reference;
mod options;
mod output;
mod plugins;
mod remote;
mod replacements;
mod resource;
mod schema;
mod selector;
mod sort;
mod transformers;
mod vars;

use crate::{
    Error, Manifest, Tree,
    goyaml::{self, EmitStyle, Value},
};
use accumulate::Accumulator;
pub use charts::{ChartRenderer, ChartRequest};
use loader::Loader;
pub use options::{Limits, Options, Overrides, PatchOverride};
pub use remote::{Remote, Remotes};
use resource::Resource;
use transformers::{Action, Transformer};

/// What a build gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Build {
    /// The bytes that `kustomize build` prints.
    pub text: Vec<u8>,
    /// The same objects, in the same order.
    pub objects: Vec<Value>,
    path: String,
}

// === impl Build ===

impl Build {
    /// The objects as delivery takes them. Their path is the kustomization's directory, their document the position in the
    /// output.
    pub fn manifests(&self) -> Vec<Manifest> {
        let manifest =
            |(document, object)| Manifest { path: self.path.clone(), document, object: goyaml::to_json_value(object) };
        self.objects.iter().enumerate().map(manifest).collect()
    }
}

/// Builds the kustomization in a directory of the tree, as `kustomize build` does.
///
/// Nothing is fetched ([`Error::Remote`] names what is missing) and nothing is run (plugins are refused by name).
pub fn build(tree: &dyn Tree, directory: &str, options: &Options<'_>) -> Result<Build, Error> {
    let loader = Loader::new(tree, directory, *options)?;
    let mut kustomization = loader.kustomization()?;
    if let Some(overrides) = options.overrides {
        kustomization.add(&loader, overrides).map_err(|error| loader.error(error))?;
    }
    let build_metadata = kustomization.build_metadata.clone();
    let sort_options = kustomization.sort_options.clone();
    let mut accumulator = Accumulator::default();
    accumulator.accumulate(&loader, kustomization, &build_metadata)?;
    let resources = accumulator.finish(&loader)?;
    let resources = finish(&loader, resources, &build_metadata, sort_options.as_ref())?;
    let mut build = Build { text: Vec::new(), objects: Vec::with_capacity(resources.len()), path: loader.root.clone() };
    for resource in &resources {
        let value = output::to_value(&resource.node)
            .map_err(|error| loader.error(format!("{}: {error}", resource.id().describe())))?;
        if !build.text.is_empty() {
            build.text.extend_from_slice(b"---\n");
        }
        goyaml::emit_onto(&mut build.text, &value, EmitStyle::V2);
        build.objects.push(value);
        if build.text.len() > options.limits.output_bytes {
            return Err(Error::Limit {
                path: loader.root,
                what: "size of the output in bytes",
                limit: options.limits.output_bytes as u64,
            });
        }
    }
    Ok(build)
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
        let action = Action::Labels(label, vec![field_spec::FieldSpec::new("metadata/labels", true)].into());
        Transformer::new(action)
            .apply(&mut resources, &schema::Schema::built_in())
            .map_err(|error| loader.error(error))?;
    }
    let (origins, transformations) = (has("originAnnotations"), has("transformerAnnotations"));
    for resource in &mut resources {
        if !origins && !transformations && resource.node.at(&["metadata", "annotations"]).is_none() {
            continue;
        }
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
        set("config.kubernetes.io/origin", resource.origin.as_deref(), origins);
        set("alpha.config.kubernetes.io/transformations", Some(&resource.transformations), transformations);
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
