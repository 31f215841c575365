//! From the fields of a kustomization to generators and transformers, in the order in which they run.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    field_spec::{FieldSpec, Specs, merge_specs},
    generators,
    kustomization::{Kustomization, Patch, ReplacementField, Selector, decode},
    loader::{self, Loader},
    plugins,
    resource::{Gvk, Id, Resource},
    transformers::{Action, PatchText, Subjects, Transformer, parse_patch},
};
use crate::{Error, join};

/// The objects of all generators.
pub(super) fn generators(
    loader: &Loader<'_>,
    kustomization: &Kustomization,
    build_metadata: &[String],
) -> Result<Vec<Resource>, Error> {
    let is_wanted = |note: &str| build_metadata.iter().any(|option| option == note);
    let mut found = Vec::new();
    for (kind, list) in
        [("ConfigMap", &kustomization.config_map_generator), ("Secret", &kustomization.secret_generator)]
    {
        for generator in list {
            let mut resource = generators::generate(loader, kind, generator, &kustomization.generator_options)?;
            if is_wanted("originAnnotations") {
                resource.origin = Some(built_in_origin(loader, &format!("{kind}Generator"), ""));
            }
            found.push(resource);
        }
    }
    for resource in plugins::load(loader, "generators", &kustomization.generators, build_metadata)? {
        let mut generated = plugins::generator(loader, &resource)?;
        generated.origin = plugins::origin(&resource, "").filter(|_| is_wanted("originAnnotations"));
        found.push(generated);
    }
    Ok(found)
}

/// What the annotations say about something that a kustomization file configures; `indent` for entries of a list.
fn built_in_origin(loader: &Loader<'_>, kind: &str, indent: &str) -> String {
    let file = loader.kustomization_file().unwrap_or("kustomization.yaml");
    let path = loader.relative(&join(&loader.root, file));
    let first = if indent.is_empty() { "" } else { "- " };
    format!(
        "{first}configuredIn: {path}\n{indent}configuredBy:\n{indent}  apiVersion: builtin\n{indent}  kind: {kind}\n"
    )
}

/// All transformers of a kustomization.
pub(super) fn transformers<'a>(
    loader: &Loader<'_>,
    kustomization: &Kustomization,
    specs: &'a Specs,
    build_metadata: &[String],
) -> Result<Vec<Transformer<'a>>, Error> {
    let mut steps: Vec<(&str, Action<'a>)> = Vec::new();
    if !kustomization.patches_strategic_merge.is_empty() {
        let patches = strategic_patches(loader, &kustomization.patches_strategic_merge)?;
        steps.push(("PatchStrategicMergeTransformer", Action::StrategicMerge(patches)));
    }
    for patch in &kustomization.patches {
        steps.push(("PatchTransformer", self::patch(loader, patch)?));
    }
    if !kustomization.namespace.is_empty() {
        let action = Action::Namespace {
            namespace: kustomization.namespace.clone(),
            specs: Cow::from(&specs.namespace),
            subjects: Subjects::DefaultOnly,
            unset_only: false,
        };
        steps.push(("NamespaceTransformer", action));
    }
    if !kustomization.name_prefix.is_empty() {
        steps.push((
            "PrefixTransformer",
            Action::Prefix(kustomization.name_prefix.clone(), Cow::from(&specs.name_prefix)),
        ));
    }
    if !kustomization.name_suffix.is_empty() {
        steps.push((
            "SuffixTransformer",
            Action::Suffix(kustomization.name_suffix.clone(), Cow::from(&specs.name_suffix)),
        ));
    }
    for label in &kustomization.labels {
        let paths = label_specs(label, specs).map_err(|error| loader.error(format!("labels: {error}")))?;
        steps.push(("LabelTransformer", Action::Labels(words(&label.pairs), paths.into())));
    }
    if !(kustomization.common_labels.is_empty() && kustomization.labels.is_empty()) {
        let action = Action::Labels(words(&kustomization.common_labels), Cow::from(&specs.common_labels));
        steps.push(("LabelTransformer", action));
    }
    if !kustomization.common_annotations.is_empty() {
        let action =
            Action::Annotations(words(&kustomization.common_annotations), Cow::from(&specs.common_annotations));
        steps.push(("AnnotationsTransformer", action));
    }
    for patch in &kustomization.patches_json_6902 {
        steps.push(("PatchJson6902Transformer", json_patch(loader, patch)?));
    }
    for replica in &kustomization.replicas {
        steps.push(("ReplicaCountTransformer", Action::Replicas(replica.clone(), Cow::from(&specs.replicas))));
    }
    for image in &kustomization.images {
        steps.push(("ImageTagTransformer", Action::Image(image.clone(), Cow::from(&specs.images))));
    }
    if !kustomization.replacements.is_empty() {
        let list = replacements(loader, &kustomization.replacements)?;
        steps.push(("ReplacementTransformer", Action::Replacements(list)));
    }
    let notes = build_metadata.iter().any(|option| option == "transformerAnnotations");
    let mut found: Vec<Transformer<'a>> = steps
        .into_iter()
        .map(|(kind, action)| Transformer {
            action,
            origin: notes.then(|| built_in_origin(loader, kind, "  ")),
            only_checks: false,
        })
        .collect();
    for resource in plugins::load(loader, "transformers", &kustomization.transformers, build_metadata)? {
        let origin = plugins::origin(&resource, "  ").filter(|_| notes);
        found.push(Transformer { origin, ..plugins::transformer(loader, &resource)? });
    }
    for resource in plugins::load(loader, "validators", &kustomization.validators, build_metadata)? {
        found.push(Transformer { only_checks: true, ..plugins::transformer(loader, &resource)? });
    }
    Ok(found)
}

fn words(words: &BTreeMap<String, String>) -> Vec<(String, String)> {
    words.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn label_specs(label: &super::kustomization::Label, specs: &Specs) -> Result<Vec<FieldSpec>, String> {
    let mut paths = label.field_specs.clone();
    if label.include_selectors {
        merge_specs(&mut paths, specs.common_labels.clone())?;
    } else {
        if label.include_templates {
            merge_specs(&mut paths, specs.template_labels.clone())?;
        }
        merge_specs(&mut paths, vec![FieldSpec::new("metadata/labels", true)])?;
    }
    merge_specs(&mut paths, specs.labels.clone())?;
    Ok(paths)
}

/// Entries of `patchesStrategicMerge`: files, or the patches themselves.
pub(super) fn strategic_patches(loader: &Loader<'_>, entries: &[String]) -> Result<Vec<Resource>, Error> {
    let mut patches = Vec::new();
    for entry in entries {
        let inline = entry.contains('\n') || entry.contains(": ");
        let found = if loader.is_file(entry) || !inline {
            loader::resources(&join(&loader.root, entry), &loader.file(entry)?)?
        } else {
            loader::resources("inline patch", entry.as_bytes())?
        };
        patches.extend(found);
    }
    Ok(patches)
}

/// An entry of `patches`.
pub(super) fn patch(loader: &Loader<'_>, patch: &Patch) -> Result<Action<'static>, Error> {
    let (name, text) = patch_text(loader, patch)?;
    let parsed = parse_patch(&name, &text).map_err(|error| loader.error(format!("patches: {name}: {error}")))?;
    let option = |name: &str| patch.options.get(name).copied().unwrap_or_default();
    match (parsed, &patch.target) {
        (PatchText::Strategic(mut patches), target) => {
            for own in &mut patches {
                own.allow_name_change = option("allowNameChange");
                own.allow_kind_change = option("allowKindChange");
            }
            Ok(match target {
                Some(target) => Action::Targeted(patches, target.clone()),
                None => Action::StrategicMerge(patches),
            })
        }
        (PatchText::Json(operations), Some(target)) => Ok(Action::JsonPatch(operations, target.clone())),
        (PatchText::Json(_), None) => {
            Err(loader
                .error(format!("patches: {name} is a JSON patch and has no target; add target with kind and name")))
        }
    }
}

fn patch_text<'a>(loader: &Loader<'a>, patch: &'a Patch) -> Result<(String, Cow<'a, [u8]>), Error> {
    let (path, text) = (patch.path.trim(), patch.patch.trim());
    match (path.is_empty(), text.is_empty()) {
        (false, true) => Ok((path.to_owned(), loader.file(path)?)),
        (true, false) => Ok(("inline patch".to_owned(), Cow::from(text.as_bytes()))),
        (true, true) => Err(loader.error("patches: an entry has neither path nor patch; give one of them")),
        (false, false) => Err(loader.error("patches: an entry has both path and patch; remove one")),
    }
}

/// An entry of `patchesJson6902`: the target is one object, by its id.
pub(super) fn json_patch(loader: &Loader<'_>, patch: &Patch) -> Result<Action<'static>, Error> {
    let (name, text) = patch_text(loader, patch)?;
    let Some(target) = &patch.target else {
        return Err(loader.error(format!("patchesJson6902: {name} has no target")));
    };
    match parse_patch(&name, &text).map_err(|error| loader.error(format!("patchesJson6902: {name}: {error}")))? {
        PatchText::Json(operations) => Ok(Action::JsonPatchById(operations, target_id(target))),
        PatchText::Strategic(_) => Err(loader.error(format!("patchesJson6902: {name} is no list of operations"))),
    }
}

fn target_id(target: &Selector) -> Id {
    let gvk = Gvk { group: target.group.clone(), version: target.version.clone(), kind: target.kind.clone() };
    Id { gvk, name: target.name.clone(), namespace: target.namespace.clone() }
}

/// Entries of `replacements`; those with `path` are read from there.
pub(super) fn replacements(loader: &Loader<'_>, entries: &[ReplacementField]) -> Result<Vec<ReplacementField>, Error> {
    let mut found = Vec::new();
    for entry in entries {
        if entry.path.is_empty() {
            found.push(entry.clone());
            continue;
        }
        if entry.source.is_some() || !entry.targets.is_empty() {
            return Err(loader.error("replacements: an entry has both path and source or targets"));
        }
        let documents = loader::values(&join(&loader.root, &entry.path), &loader.file(&entry.path)?)?;
        let Some(document) = documents.first() else { continue };
        let one;
        let list = match document.as_list() {
            Some(list) => list,
            None => {
                one = [document.clone()];
                &one[..]
            }
        };
        for value in list {
            found.push(decode(value).map_err(|error| loader.error(format!("replacements: {}: {error}", entry.path)))?);
        }
    }
    Ok(found)
}
