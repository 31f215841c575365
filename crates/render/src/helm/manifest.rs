//! What templates printed, split into documents: manifests in the order of installation, hooks, notes.

use std::sync::OnceLock;

use regex::bytes::Regex;

use super::{
    engine::{Files, base_name},
    values::not_in_json,
};
use crate::{
    Error,
    goyaml::{self, Dialect, Value},
};

/// A document that is to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The template that printed it: `chart/templates/file.yaml`.
    pub path: String,
    /// `kind`, empty when there is none.
    pub kind: String,
    /// The text, as printed.
    pub content: Vec<u8>,
}

/// An object that is applied at certain moments of a release instead of with everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `metadata.name`
    pub name: String,
    /// `kind`
    pub kind: String,
    /// The template that printed it.
    pub path: String,
    /// The moments: `pre-install`, `post-upgrade`, `test`, …
    pub events: Vec<String>,
    /// Hooks of one moment run in the order of their weights.
    pub weight: i64,
    /// When it is deleted: `before-hook-creation`, `hook-succeeded`, `hook-failed`.
    pub delete_policies: Vec<String>,
    /// The text, as printed.
    pub manifest: Vec<u8>,
}

/// A chart that prints more is refused.
const MAX_DOCUMENTS: usize = 100_000;

/// Kinds in the order of installation, what others refer to first; kinds that are not listed follow in the order of their names.
pub const INSTALL_ORDER: [&str; 38] = [
    "PriorityClass",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// The moments at which hooks run, and another name of one.
const EVENTS: [(&str, &str); 10] = [
    ("pre-install", "pre-install"),
    ("post-install", "post-install"),
    ("pre-delete", "pre-delete"),
    ("post-delete", "post-delete"),
    ("pre-upgrade", "pre-upgrade"),
    ("post-upgrade", "post-upgrade"),
    ("pre-rollback", "pre-rollback"),
    ("post-rollback", "post-rollback"),
    ("test", "test"),
    ("test-success", "test"),
];

const NOTES: &str = "NOTES.txt";

/// Takes the notes out of what was printed: those of the chart, or of all charts in it.
pub(super) fn notes(files: &Files, chart: &str, of_subcharts: bool) -> Vec<u8> {
    let own = format!("{chart}/templates/{NOTES}");
    let mut notes = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(NOTES)) {
        if of_subcharts || *name == own {
            if !notes.is_empty() {
                notes.push(b'\n');
            }
            notes.extend_from_slice(text);
        }
    }
    notes
}

/// Splits what was printed, and sorts it.
pub(super) fn sort(files: &Files) -> Result<(Vec<Document>, Vec<Hook>), Error> {
    let (mut documents, mut hooks) = (Vec::new(), Vec::new());
    for (path, text) in files {
        if base_name(path).starts_with('_') || path.ends_with(NOTES) {
            continue;
        }
        for content in split(text) {
            if documents.len() + hooks.len() >= MAX_DOCUMENTS {
                let message = format!("more than {MAX_DOCUMENTS} documents");
                return Err(Error::Manifest { path: path.clone(), message });
            }
            let head = Head::read(content).map_err(|message| Error::Manifest { path: path.clone(), message })?;
            let Some(moments) = head.annotation("helm.sh/hook") else {
                documents.push(Document { path: path.clone(), kind: head.kind, content: content.to_vec() });
                continue;
            };
            let events: Option<Vec<String>> = moments.split(',').map(event).collect();
            // A hook for a moment that Helm does not know is dropped, as by Helm.
            let Some(events) = events else { continue };
            let policies = head.annotation("helm.sh/hook-delete-policy").unwrap_or_default();
            let policies = policies.split(',').map(|policy| policy.trim().to_lowercase());
            hooks.push(Hook {
                weight: head.annotation("helm.sh/hook-weight").and_then(|weight| weight.parse().ok()).unwrap_or(0),
                delete_policies: policies.filter(|policy| !policy.is_empty()).collect(),
                name: head.name,
                kind: head.kind,
                path: path.clone(),
                events,
                manifest: content.to_vec(),
            });
        }
    }
    documents.sort_by(|left, right| rank(&left.kind).cmp(&rank(&right.kind)));
    hooks.sort_by(|left, right| rank(&left.kind).cmp(&rank(&right.kind)));
    Ok((documents, hooks))
}

fn event(word: &str) -> Option<String> {
    let word = word.trim().to_lowercase();
    EVENTS.iter().find(|(name, _)| *name == word).map(|(_, event)| (*event).to_owned())
}

fn rank(kind: &str) -> (usize, &str) {
    match INSTALL_ORDER.iter().position(|known| *known == kind) {
        Some(position) => (position, ""),
        None => (INSTALL_ORDER.len(), kind),
    }
}

/// The documents of a text, without blanks around them.
pub(super) fn split(text: &[u8]) -> Vec<&[u8]> {
    static SEPARATOR: OnceLock<Option<Regex>> = OnceLock::new();
    let text = trim(text);
    match SEPARATOR.get_or_init(|| Regex::new(r"(?-u)(?:^|[\t\n\x0c\r ]*\n)---[\t\n\x0c\r ]*").ok()) {
        Some(separator) => separator.split(text).filter(|document| !document.is_empty()).map(trim).collect(),
        None => vec![text],
    }
}

/// `strings.TrimSpace`
fn trim(text: &[u8]) -> &[u8] {
    super::functions::trim(text)
}

/// As much of an object as hooks and the order need.
#[derive(Default)]
struct Head {
    kind: String,
    name: String,
    annotations: Vec<(String, String)>,
}

impl Head {
    fn read(content: &[u8]) -> Result<Self, String> {
        let object = goyaml::parse_first(content, Dialect::V2)
            .map_err(|error| format!("error converting YAML to JSON: yaml: {error}"))?
            .unwrap_or_default();
        if let Some(found) = not_in_json(&object) {
            return Err(format!("error converting YAML to JSON: json: unsupported value: {found}"));
        }
        let fields = table(&object, "the document")?;
        let Some(fields) = fields else { return Ok(Self::default()) };
        let field = |name: &str| fields.get(name.as_bytes()).unwrap_or(&Value::Null);
        word(field("apiVersion"), "apiVersion")?;
        let mut head = Self { kind: word(field("kind"), "kind")?, ..Self::default() };
        let Some(metadata) = table(field("metadata"), "metadata")? else { return Ok(head) };
        head.name = word(metadata.get(b"name".as_slice()).unwrap_or(&Value::Null), "metadata.name")?;
        let annotations = metadata.get(b"annotations".as_slice()).unwrap_or(&Value::Null);
        for (key, value) in table(annotations, "metadata.annotations")?.into_iter().flatten() {
            let key = String::from_utf8_lossy(key).into_owned();
            let value = word(value, &format!("metadata.annotations[{key}]"))?;
            head.annotations.push((key, value));
        }
        Ok(head)
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn table<'v>(value: &'v Value, what: &str) -> Result<Option<&'v goyaml::Map>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Map(map) => Ok(Some(map)),
        _ => Err(format!("{what} must be a mapping")),
    }
}

/// Text; numbers and booleans are taken for text, as `sigs.k8s.io/yaml` does where text is wanted.
fn word(value: &Value, what: &str) -> Result<String, String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(content) => Ok(String::from_utf8_lossy(content).into_owned()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Int(number) => Ok(number.to_string()),
        Value::Uint(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::List(_) | Value::Map(_) => Err(format!("{what} must be a string")),
    }
}
