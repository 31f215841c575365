//! Built-in generators and transformers that are configured by files of their own.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    accumulate::Accumulator,
    configure,
    field_spec::FieldSpec,
    generators,
    kustomization::{Generator, GeneratorOptions, Image, Patch, ReplacementField, Replica, Selector, decode},
    loader::{self, Loader},
    output,
    resource::Resource,
    transformers::{Action, Subjects, Transformer},
};
use crate::{
    Error,
    goyaml::{self, Node},
    join,
};

/// The configurations of a list of files, directories or inline texts.
pub(super) fn load(
    loader: &Loader<'_>,
    field: &str,
    entries: &[String],
    build_metadata: &[String],
) -> Result<Vec<Resource>, Error> {
    let file = join(&loader.root, loader.kustomization_file().unwrap_or_default());
    let noted = if build_metadata.is_empty() { Vec::new() } else { vec!["originAnnotations".to_owned()] };
    let mut inline = Accumulator::default();
    let mut paths = Vec::new();
    for entry in entries {
        match loader::resources(field, entry.as_bytes()) {
            Ok(mut found) => {
                if !noted.is_empty() {
                    let origin = format!("path: {}\n", loader.relative(&file));
                    found.iter_mut().for_each(|resource| resource.origin = Some(origin.clone()));
                }
                inline.append(loader, found)?;
            }
            Err(error) if entry.contains('\n') => return Err(error),
            Err(_) => paths.push(entry),
        }
    }
    // What is written in the kustomization itself comes first.
    for path in paths {
        inline.add_entry(loader, path, &noted)?;
    }
    let found = inline.resources;
    if let Some(foreign) = found.iter().find(|resource| resource.api_version() != "builtin") {
        return Err(loader.error(format!(
            "{field}: {} {} is a plugin of {}; plugins are programs and are not run, only those of apiVersion builtin are known",
            foreign.kind(),
            foreign.name(),
            foreign.api_version(),
        )));
    }
    Ok(found)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct GeneratorConfig {
    metadata: Metadata,
    name: String,
    namespace: String,
    behavior: String,
    #[serde(rename = "type")]
    secret_type: String,
    literals: Vec<String>,
    files: Vec<String>,
    envs: Vec<String>,
    env: String,
    options: Option<GeneratorOptions>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    metadata: Metadata,
    field_specs: Vec<FieldSpec>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    prefix: String,
    suffix: String,
    image_tag: Image,
    replica: Replica,
    replacements: Vec<ReplacementField>,
    path: String,
    patch: String,
    json_op: String,
    target: Option<Selector>,
    options: BTreeMap<String, bool>,
    paths: Vec<String>,
    patches: String,
    unset_only: bool,
    set_role_binding_subjects: String,
}

fn read<T: DeserializeOwned>(loader: &Loader<'_>, resource: &Resource) -> Result<T, Error> {
    output::to_value(&resource.node)
        .and_then(|value: goyaml::Value| decode(&value))
        .map_err(|error| loader.error(format!("{} {}: {error}", resource.kind(), resource.name())))
}

/// What the annotations say about something that a file of its own configures; `indent` for entries of a list.
pub(super) fn origin(resource: &Resource, indent: &str) -> Option<String> {
    let path = resource.origin.as_deref()?.strip_prefix("path: ")?;
    let first = if indent.is_empty() { "" } else { "- " };
    let mut text = format!("{first}configuredIn: {path}{indent}configuredBy:\n");
    let (api_version, kind, name, namespace) =
        (resource.api_version(), resource.kind(), resource.name(), resource.namespace());
    for (field, value) in [("apiVersion", api_version), ("kind", kind), ("name", name), ("namespace", namespace)] {
        if !value.is_empty() {
            text.push_str(&format!("{indent}  {field}: {value}\n"));
        }
    }
    Some(text)
}

/// The object of a generator.
pub(super) fn generator(loader: &Loader<'_>, resource: &Resource) -> Result<Resource, Error> {
    let kind = match resource.kind() {
        "ConfigMapGenerator" => "ConfigMap",
        "SecretGenerator" => "Secret",
        "IAMPolicyGenerator" => return service_account(loader, resource),
        other => return Err(loader.error(format!("generators: {other} is no generator that is built in"))),
    };
    let config: GeneratorConfig = read(loader, resource)?;
    let mut envs = config.envs;
    envs.extend(Some(config.env).filter(|env| !env.is_empty()));
    let generator = Generator {
        name: or(config.name, config.metadata.name),
        namespace: or(config.namespace, config.metadata.namespace),
        behavior: config.behavior,
        secret_type: config.secret_type,
        literals: config.literals,
        files: config.files,
        envs,
        env: String::new(),
        options: config.options,
    };
    generators::generate(loader, kind, &generator, &GeneratorOptions::default())
}

fn or(text: String, otherwise: String) -> String {
    if text.is_empty() { otherwise } else { text }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PolicyConfig {
    cloud: String,
    kubernetes_service: Metadata,
    service_account: CloudAccount,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CloudAccount {
    name: String,
    project_id: String,
}

/// A ServiceAccount that stands for an account of the Google cloud.
fn service_account(loader: &Loader<'_>, resource: &Resource) -> Result<Resource, Error> {
    let config: PolicyConfig = read(loader, resource)?;
    if config.cloud != "gke" {
        return Err(loader.error(format!(
            "IAMPolicyGenerator {}: cloud is {:?}, only gke is known",
            resource.name(),
            config.cloud
        )));
    }
    let mut node = Node::map();
    node.set("apiVersion", Node::string("v1"));
    node.set("kind", Node::string("ServiceAccount"));
    let mut account = Resource::new(node);
    let CloudAccount { name, project_id } = config.service_account;
    let email = format!("{name}@{project_id}.iam.gserviceaccount.com");
    account.set_words("annotations", vec![("iam.gke.io/gcp-service-account".to_owned(), email)]);
    account.set_name(&config.kubernetes_service.name);
    account.set_namespace(&config.kubernetes_service.namespace);
    Ok(account)
}

/// A transformer.
pub(super) fn transformer(loader: &Loader<'_>, resource: &Resource) -> Result<Transformer<'static>, Error> {
    let config: Config = read(loader, resource)?;
    let specs = Cow::from(config.field_specs);
    let words = |words: BTreeMap<String, String>| words.into_iter().collect::<Vec<_>>();
    if matches!(resource.kind(), "PrefixTransformer" | "SuffixTransformer" | "PrefixSuffixTransformer")
        && specs.is_empty()
    {
        return Err(loader.error(format!("{} {} has no fieldSpecs", resource.kind(), resource.name())));
    }
    let patch = Patch { path: config.path, patch: config.patch, target: config.target, options: config.options };
    let action = match resource.kind() {
        "AnnotationsTransformer" => Action::Annotations(words(config.annotations), specs),
        "LabelTransformer" => Action::Labels(words(config.labels), specs),
        "PrefixTransformer" => Action::Prefix(config.prefix, specs),
        "SuffixTransformer" => Action::Suffix(config.suffix, specs),
        "PrefixSuffixTransformer" => {
            Action::All(vec![Action::Prefix(config.prefix, specs.clone()), Action::Suffix(config.suffix, specs)])
        }
        "NamespaceTransformer" if config.metadata.namespace.is_empty() => Action::All(Vec::new()),
        "NamespaceTransformer" => Action::Namespace {
            namespace: config.metadata.namespace,
            specs,
            subjects: match config.set_role_binding_subjects.as_str() {
                "" | "defaultOnly" => Subjects::DefaultOnly,
                "allServiceAccounts" => Subjects::AllServiceAccounts,
                "none" => Subjects::None,
                other => return Err(loader.error(format!("setRoleBindingSubjects {other:?} is unknown"))),
            },
            unset_only: config.unset_only,
        },
        "ImageTagTransformer" => Action::Image(config.image_tag, specs),
        "ReplicaCountTransformer" => Action::Replicas(config.replica, specs),
        "ReplacementTransformer" => Action::Replacements(configure::replacements(loader, &config.replacements)?),
        "PatchTransformer" => configure::patch(loader, &patch)?,
        "PatchJson6902Transformer" => {
            let patch = if patch.patch.is_empty() { Patch { patch: config.json_op, ..patch } } else { patch };
            configure::json_patch(loader, &patch)?
        }
        "PatchStrategicMergeTransformer" => {
            let mut patches = configure::strategic_patches(loader, &config.paths)?;
            if !config.patches.is_empty() {
                patches.extend(loader::resources("patches", config.patches.as_bytes())?);
            }
            Action::StrategicMerge(patches)
        }
        "HashTransformer" => Action::Hash,
        other => return Err(loader.error(format!("{other} is no transformer that is built in"))),
    };
    Ok(Transformer::new(action))
}
