//! What the caller wants of a build besides what the kustomization says.

use std::collections::BTreeMap;

use super::{
    charts::ChartRenderer,
    kustomization::{Image, Kustomization, Label, Patch, Replica, Selector},
    loader::Loader,
    remote::Remotes,
};

/// Everything that a build depends on besides the tree.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// Changes to the kustomization; none by default.
    pub overrides: Option<&'a Overrides>,
    /// How much a build may take.
    pub limits: Limits,
    /// Renders `helmCharts`; without it they are an error.
    pub charts: Option<&'a dyn ChartRenderer>,
    /// What has been fetched of other repositories; without it they are an [`crate::Error::Remote`].
    pub remotes: Option<&'a dyn Remotes>,
}

/// How much a build may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Objects.
    pub objects: usize,
    /// Bytes of output.
    pub output_bytes: usize,
    /// Bytes read from the tree, counted each time that a file is read.
    pub input_bytes: usize,
    /// Kustomizations read, counted each time; bounds trees in which every base has two bases.
    pub kustomizations: usize,
}

/// `spec.source.kustomize` of an Application: each is like the field of that name in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Before every name; instead of the file's.
    pub name_prefix: String,
    /// After every name; instead of the file's.
    pub name_suffix: String,
    /// Namespace of every object that has one; instead of the file's.
    pub namespace: String,
    /// `[old=]name[:tag|@digest]` each; `*` keeps what the file says.
    pub images: Vec<String>,
    /// Labels on objects, templates and selectors. A label that the file sets too is an error, unless it is forced.
    pub common_labels: BTreeMap<String, String>,
    /// Labels win over the file's.
    pub force_common_labels: bool,
    /// Leave selectors alone.
    pub label_without_selector: bool,
    /// Labels on templates too, with `label_without_selector`.
    pub label_include_templates: bool,
    /// Annotations on objects and templates. One that the file sets too is an error, unless it is forced.
    pub common_annotations: BTreeMap<String, String>,
    /// Annotations win over the file's.
    pub force_common_annotations: bool,
    /// Refused when set with annotations: rendering knows no environment; the caller substitutes before.
    pub common_annotations_envsubst: bool,
    /// Replica counts by name.
    pub replicas: Vec<(String, i64)>,
    /// Patches after those of the file.
    pub patches: Vec<PatchOverride>,
    /// Components by path, relative to the kustomization.
    pub components: Vec<String>,
    /// Leave out those of `components` that do not exist.
    pub ignore_missing_components: bool,
}

/// A patch of the caller: `path` or `patch`, and which objects it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchOverride {
    /// File, relative to the kustomization.
    pub path: String,
    /// The patch itself.
    pub patch: String,
    /// Regular expressions and label selectors, by the names that the file uses (`kind`, `name`, `labelSelector`, …).
    pub target: Option<BTreeMap<String, String>>,
    /// `allowNameChange`, `allowKindChange`.
    pub options: BTreeMap<String, bool>,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        const MEBI: usize = 1024 * 1024;
        Self { objects: 50_000, output_bytes: 256 * MEBI, input_bytes: 256 * MEBI, kustomizations: 5_000 }
    }
}

// === impl Kustomization ===

impl Kustomization {
    /// Adds what the caller wants, as `kustomize edit` would write it into the file.
    pub(super) fn add(&mut self, loader: &Loader<'_>, overrides: &Overrides) -> Result<(), String> {
        for (own, given) in [
            (&mut self.name_prefix, &overrides.name_prefix),
            (&mut self.name_suffix, &overrides.name_suffix),
            (&mut self.namespace, &overrides.namespace),
        ] {
            if !given.is_empty() {
                own.clone_from(given);
            }
        }
        self.add_images(&overrides.images)?;
        self.add_words(overrides)?;
        for (name, count) in &overrides.replicas {
            self.replicas.retain(|known| known.name != *name);
            self.replicas.push(Replica { name: name.clone(), count: *count });
        }
        for patch in &overrides.patches {
            let target = patch.target.as_ref().map(selector).transpose()?;
            self.patches.push(Patch {
                path: patch.path.clone(),
                patch: patch.patch.clone(),
                target,
                options: patch.options.clone(),
            });
        }
        for path in &overrides.components {
            // What has not been fetched yet is not missing: building names it.
            let is_there = || matches!(loader.directory(path), Ok(_) | Err(crate::Error::Remote { .. }));
            if !overrides.ignore_missing_components || is_there() {
                self.components.push(path.clone());
            }
        }
        Ok(())
    }

    fn add_images(&mut self, images: &[String]) -> Result<(), String> {
        for text in images {
            let mut image = Image::parse(text).ok_or_else(|| {
                format!("images: {text:?} is not [old=]name[:tag|@digest]; write e.g. web=shop/web:2")
            })?;
            let known = self.images.iter().find(|known| known.name == image.name).cloned().unwrap_or_default();
            for (own, old) in [
                (&mut image.new_name, known.new_name),
                (&mut image.new_tag, known.new_tag),
                (&mut image.digest, known.digest),
            ] {
                if own == "*" {
                    *own = old;
                }
            }
            self.images.retain(|known| known.name != image.name);
            self.images.push(image);
        }
        if !images.is_empty() {
            self.images.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(())
    }

    fn add_words(&mut self, overrides: &Overrides) -> Result<(), String> {
        if overrides.common_annotations_envsubst && !overrides.common_annotations.is_empty() {
            return Err(
                "commonAnnotationsEnvsubst is not done while rendering; substitute the values before".to_owned()
            );
        }
        let clash = |field: &str, known: &BTreeMap<String, String>, given: &BTreeMap<String, String>, force: &str| {
            given.keys().find(|key| known.contains_key(*key)).map_or(Ok(()), |key| {
                Err(format!("{field}: {key:?} is in the kustomization already; remove it there or set {force}"))
            })
        };
        if !overrides.force_common_annotations {
            let known = &self.common_annotations;
            clash("commonAnnotations", known, &overrides.common_annotations, "forceCommonAnnotations")?;
        }
        self.common_annotations.extend(overrides.common_annotations.clone());
        let labels = &overrides.common_labels;
        if labels.is_empty() {
            return Ok(());
        }
        if !overrides.force_common_labels {
            clash("commonLabels", &self.common_labels, labels, "forceCommonLabels")?;
        }
        if overrides.label_without_selector {
            self.labels.push(Label {
                pairs: labels.clone(),
                include_templates: overrides.label_include_templates,
                ..Label::default()
            });
        } else {
            self.common_labels.extend(labels.clone());
        }
        Ok(())
    }
}

fn selector(fields: &BTreeMap<String, String>) -> Result<Selector, String> {
    serde_json::to_value(fields).and_then(serde_json::from_value).map_err(|error| format!("patches: target: {error}"))
}
