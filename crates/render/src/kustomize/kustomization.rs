//! The kustomization file.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};

use super::field_spec::FieldSpec;
use crate::{
    Error,
    goyaml::{self, Dialect, Value},
    line_of,
};

/// A `Kustomization` or `Component`, after its older spellings were made new.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Kustomization {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) metadata: Metadata,
    pub(super) openapi: BTreeMap<String, String>,
    pub(super) name_prefix: String,
    pub(super) name_suffix: String,
    pub(super) namespace: String,
    pub(super) common_labels: BTreeMap<String, String>,
    pub(super) labels: Vec<Label>,
    pub(super) common_annotations: BTreeMap<String, String>,
    pub(super) patches_strategic_merge: Vec<String>,
    #[serde(rename = "patchesJson6902")]
    pub(super) patches_json_6902: Vec<Patch>,
    pub(super) patches: Vec<Patch>,
    #[serde(alias = "imageTags")]
    pub(super) images: Vec<Image>,
    pub(super) replacements: Vec<ReplacementField>,
    pub(super) replicas: Vec<Replica>,
    pub(super) vars: Vec<Var>,
    pub(super) sort_options: Option<SortOptions>,
    pub(super) resources: Vec<String>,
    pub(super) components: Vec<String>,
    pub(super) crds: Vec<String>,
    pub(super) bases: Vec<String>,
    pub(super) config_map_generator: Vec<Generator>,
    pub(super) secret_generator: Vec<Generator>,
    pub(super) helm_globals: Option<serde_json::Value>,
    pub(super) helm_charts: Vec<serde_json::Value>,
    pub(super) helm_chart_inflation_generator: Vec<serde_json::Value>,
    pub(super) generator_options: GeneratorOptions,
    pub(super) configurations: Vec<String>,
    pub(super) generators: Vec<String>,
    pub(super) transformers: Vec<String>,
    pub(super) validators: Vec<String>,
    pub(super) build_metadata: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Label {
    pub(super) pairs: BTreeMap<String, String>,
    pub(super) include_selectors: bool,
    pub(super) include_templates: bool,
    #[serde(alias = "fields")]
    pub(super) field_specs: Vec<FieldSpec>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Patch {
    pub(super) path: String,
    pub(super) patch: String,
    pub(super) target: Option<Selector>,
    pub(super) options: BTreeMap<String, bool>,
}

/// Which objects are meant. Patterns are anchored regular expressions for patches and exact words for replacements.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Selector {
    pub(super) api_version: String,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) label_selector: String,
    pub(super) annotation_selector: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Image {
    pub(super) name: String,
    pub(super) new_name: String,
    pub(super) tag_suffix: String,
    pub(super) new_tag: String,
    pub(super) digest: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Replica {
    pub(super) name: String,
    pub(super) count: i64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReplacementField {
    pub(super) path: String,
    pub(super) source: Option<ReplacementSource>,
    pub(super) targets: Vec<ReplacementTarget>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ReplacementSource {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) field_path: String,
    pub(super) options: Option<FieldOptions>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ReplacementTarget {
    pub(super) select: Option<Selector>,
    pub(super) reject: Vec<Selector>,
    pub(super) field_paths: Vec<String>,
    pub(super) options: Option<FieldOptions>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FieldOptions {
    pub(super) delimiter: String,
    pub(super) index: i64,
    pub(super) encoding: String,
    pub(super) create: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Var {
    pub(super) name: String,
    pub(super) objref: VarTarget,
    pub(super) fieldref: VarField,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct VarTarget {
    pub(super) api_version: String,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) namespace: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct VarField {
    #[serde(alias = "fieldPath")]
    pub(super) fieldpath: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct SortOptions {
    pub(super) order: String,
    pub(super) legacy_sort_options: Option<LegacySortOptions>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct LegacySortOptions {
    pub(super) order_first: Vec<String>,
    pub(super) order_last: Vec<String>,
}

/// An entry of `configMapGenerator` or `secretGenerator`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Generator {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) behavior: String,
    /// Of a Secret.
    #[serde(rename = "type")]
    pub(super) secret_type: String,
    pub(super) literals: Vec<String>,
    pub(super) files: Vec<String>,
    pub(super) envs: Vec<String>,
    pub(super) env: String,
    pub(super) options: Option<GeneratorOptions>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct GeneratorOptions {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) disable_name_suffix_hash: bool,
    pub(super) immutable: bool,
}

pub(super) const KUSTOMIZATION: (&str, &str) = ("kustomize.config.k8s.io/v1beta1", "Kustomization");
pub(super) const COMPONENT: (&str, &str) = ("kustomize.config.k8s.io/v1alpha1", "Component");

// === impl Kustomization ===

impl Kustomization {
    /// Reads a kustomization file. `path` is for messages.
    pub(super) fn parse(path: &str, content: &[u8]) -> Result<Self, Error> {
        let refuse = |message: String| Error::Kustomization { path: path.to_owned(), message };
        let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
        let mut documents =
            goyaml::parse_documents(content, Dialect::V2).map_err(|error| Error::yaml(path, content, error))?;
        if documents.is_empty() {
            return Err(refuse("the kustomization file is empty".to_owned()));
        }
        let document = documents.swap_remove(0);
        if document.is_null() {
            return Err(refuse("the kustomization file is empty".to_owned()));
        }
        let mut kustomization: Self = decode(&document)
            .map_err(|message| refuse(format!("{message}{}", line_of(content, line_with_field(content, &message)))))?;
        let says_something = document.as_map().is_some_and(|map| {
            map.iter().any(|(key, value)| !value.is_null() && !matches!(&**key, b"apiVersion" | b"kind"))
        });
        if !says_something {
            return Err(refuse("the kustomization has no fields besides apiVersion and kind".to_owned()));
        }
        kustomization.make_new();
        kustomization.check().map_err(refuse)?;
        Ok(kustomization)
    }

    fn make_new(&mut self) {
        self.resources.append(&mut self.bases);
        if self.kind.is_empty() {
            KUSTOMIZATION.1.clone_into(&mut self.kind);
        }
        if self.api_version.is_empty() {
            let (api_version, _) = if self.kind == COMPONENT.1 { COMPONENT } else { KUSTOMIZATION };
            api_version.clone_into(&mut self.api_version);
        }
        for generator in self.config_map_generator.iter_mut().chain(&mut self.secret_generator) {
            if !generator.env.is_empty() {
                generator.envs.push(std::mem::take(&mut generator.env));
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let (api_version, kind) = if self.kind == COMPONENT.1 { COMPONENT } else { KUSTOMIZATION };
        if self.kind != kind {
            return Err(format!("kind is {:?}; it must be Kustomization or Component", self.kind));
        }
        if self.api_version != api_version {
            return Err(format!("apiVersion is {:?}; for kind {kind} it must be {api_version}", self.api_version));
        }
        Ok(())
    }
}

// === impl Image ===

impl Image {
    /// Reads `[old=]name[:tag|@digest]`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, new) = match text.split_once('=') {
            Some((old, new)) => (Some(old), new),
            None => (None, text),
        };
        let (rest, digest) = new.split_once('@').unwrap_or((new, ""));
        // A colon before the last slash belongs to the host.
        let (new_name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (rest, ""),
        };
        if new_name.is_empty() || name.is_some_and(str::is_empty) {
            return None;
        }
        Some(Self {
            name: name.unwrap_or(new_name).to_owned(),
            new_name: if name.is_some() { new_name.to_owned() } else { String::new() },
            new_tag: tag.to_owned(),
            digest: digest.to_owned(),
            tag_suffix: String::new(),
        })
    }
}

/// Reads a typed value; nulls count as absent, unknown fields are refused.
pub(super) fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    let mut json = goyaml::to_json_value(value);
    strip_nulls(&mut json);
    // The usual case is no error; only then is it worth finding out where.
    T::deserialize(&json).map_err(|error| match error.to_string() {
        message if message.starts_with("unknown field") => unknown_field(&message),
        message => match culprit::<T>(&json) {
            Some(field) => format!("{field}: {}", plain_words(&message)),
            None => plain_words(&message),
        },
    })
}

/// The field at the top without which the value could be read.
fn culprit<T: DeserializeOwned>(json: &serde_json::Value) -> Option<&str> {
    // More fields than there are names for are not worth the search.
    const MOST: usize = 64;
    let fields = json.as_object().filter(|fields| fields.len() <= MOST)?;
    let mut without = fields.clone();
    fields.keys().find_map(|name| {
        let value = without.remove(name)?;
        let reads = T::deserialize(serde_json::Value::Object(without.clone())).is_ok();
        without.insert(name.clone(), value);
        reads.then_some(name.as_str())
    })
}

/// Types by the names that YAML has for them.
fn plain_words(message: &str) -> String {
    message
        .replace("a sequence", "a list")
        .replace("sequence", "list")
        .replace("a map", "a mapping")
        .replace("map,", "mapping,")
}

/// Names the field that was probably meant.
fn unknown_field(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(given) = quoted.next() else { return message.to_owned() };
    let known: Vec<&str> = quoted.collect();
    let alike = known
        .iter()
        .find(|name| name.eq_ignore_ascii_case(given))
        .or_else(|| known.iter().filter(|name| distance(name, given) <= 2).min_by_key(|name| distance(name, given)));
    match alike {
        Some(name) => format!("unknown field {given:?}; did you mean {name:?}?"),
        None => format!("unknown field {given:?}; known are {}", known.join(", ")),
    }
}

/// How many letters differ (Levenshtein). Long words count as different.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 40;
    if a.len().max(b.len()) > LONGEST {
        return LONGEST;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (other, (diagonal, above)) in b.iter().zip(row.iter().zip(row.iter().skip(1))) {
            let left = next.last().copied().unwrap_or_default();
            next.push((diagonal + usize::from(*other != letter)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// The first line on which a message's field is a key; 0 when it names none that is there.
fn line_with_field(content: &[u8], message: &str) -> u64 {
    let quoted = message.split('"').nth(1).filter(|_| message.starts_with("unknown field"));
    let Some(name) = quoted.or_else(|| message.split(':').next()) else { return 0 };
    let is_key = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        let rest = line.trim_start_matches([' ', '-', '"']);
        rest.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', '"']))
    };
    (1..).zip(content.split(|byte| *byte == b'\n')).find(|(_, line)| is_key(line)).map_or(0, |(line, _)| line)
}

fn strip_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(strip_nulls);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}
