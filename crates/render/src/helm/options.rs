//! What the caller decides: the release, the cluster's capabilities, values, limits.

use std::time::Duration;

use serde_json::Value;

/// The release that a chart is rendered for: `.Release`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `.Release.Name`
    pub name: String,
    /// `.Release.Namespace`
    pub namespace: String,
    /// `.Release.Revision`, from 1.
    pub revision: i64,
    /// `.Release.IsUpgrade`; `.Release.IsInstall` is the opposite.
    pub is_upgrade: bool,
}

impl Default for Release {
    /// What `helm template` uses when nothing is said.
    fn default() -> Self {
        Self { name: "release-name".to_owned(), namespace: "default".to_owned(), revision: 1, is_upgrade: false }
    }
}

/// What the cluster can do: `.Capabilities`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The version of Kubernetes.
    pub kube_version: KubeVersion,
    /// Groups and versions (`apps/v1`), and with the kind (`apps/v1/Deployment`) where that is known.
    pub api_versions: Vec<String>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            kube_version: KubeVersion::default(),
            api_versions: DEFAULT_API_VERSIONS.iter().map(|version| (*version).to_owned()).collect(),
        }
    }
}

/// Groups and versions that are assumed without a cluster.
const DEFAULT_API_VERSIONS: [&str; 19] = [
    "v1",
    "apps/v1",
    "batch/v1",
    "networking.k8s.io/v1",
    "rbac.authorization.k8s.io/v1",
    "policy/v1",
    "autoscaling/v2",
    "autoscaling/v1",
    "apiextensions.k8s.io/v1",
    "admissionregistration.k8s.io/v1",
    "storage.k8s.io/v1",
    "coordination.k8s.io/v1",
    "scheduling.k8s.io/v1",
    "discovery.k8s.io/v1",
    "events.k8s.io/v1",
    "certificates.k8s.io/v1",
    "authentication.k8s.io/v1",
    "authorization.k8s.io/v1",
    "node.k8s.io/v1",
];

/// A version of Kubernetes as charts see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeVersion {
    /// `v1.32.0`
    pub version: String,
    /// `1`
    pub major: String,
    /// `32`
    pub minor: String,
}

// === impl KubeVersion ===

impl KubeVersion {
    /// Reads `--kube-version` as Kubernetes reads its own versions: `1.32`, `v1.32.3`, `v1.32.3-eks-1`. What follows the numbers is
    /// left out. `None` when it is no version.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_start();
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
        let numbers = text.get(..end)?.trim_end_matches('.');
        let number = |part: &str| if part.len() > 1 && part.starts_with('0') { None } else { part.parse().ok() };
        let parts: Option<Vec<u64>> = numbers.split('.').map(number).collect();
        match parts?.as_slice() {
            [major, minor, ..] => {
                Some(Self { version: format!("v{numbers}"), major: major.to_string(), minor: minor.to_string() })
            }
            _ => None,
        }
    }
}

impl Default for KubeVersion {
    fn default() -> Self {
        Self { version: "v1.32.0".to_owned(), major: "1".to_owned(), minor: "32".to_owned() }
    }
}

/// Where the templates' function `lookup` finds objects.
pub trait Lookup: Send + Sync {
    /// The object, or with an empty `name` the list; `None` when there is none. An error ends the render.
    fn lookup(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Result<Option<Value>, String>;
}

/// Without a cluster, nothing is found: as in `helm template`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

impl Lookup for Offline {
    fn lookup(&self, _: &str, _: &str, _: &str, _: &str) -> Result<Option<Value>, String> {
        Ok(None)
    }
}

/// What one render may cost. Charts are programs; these are the bounds that make them safe to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nodes evaluated, elements visited and so on, over all templates.
    pub steps: u64,
    /// Templates inside each other.
    pub depth: usize,
    /// Bytes of one text that a function makes.
    pub text: usize,
    /// Bytes of all texts that templates and functions make, those that are thrown away again included.
    pub bytes: u64,
    /// Bytes that lists and maps take at one time, without the texts in them.
    pub values: usize,
    /// Bytes that one template prints, and that all files have together.
    pub output: usize,
    /// Time for all templates together.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 50_000_000,
            depth: 1_000,
            text: 16 << 20,
            bytes: 320 << 20,
            values: 96 << 20,
            output: 64 << 20,
            time: Duration::from_secs(60),
        }
    }
}

/// Values that the caller adds to the chart's, in the order in which they win: each kind over those above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// `-f`: name for messages and YAML text; a later file wins.
    pub files: Vec<(String, Vec<u8>)>,
    /// `--set-json`: `key=json,…`, or one JSON object.
    pub set_json: Vec<String>,
    /// `--set`: `key=value,…`; numbers, booleans and null are recognised.
    pub set: Vec<String>,
    /// `--set-string`: every value is text.
    pub set_string: Vec<String>,
    /// `--set-file`: `key=path,…`; the content of the file is the value. Paths are looked up in [`Values::file_contents`].
    pub set_file: Vec<String>,
    /// `--set-literal`: one `key=value` each; nothing in the value is special.
    pub set_literal: Vec<String>,
    /// Contents of the files that `set_file` names.
    pub file_contents: Vec<(String, Vec<u8>)>,
}

/// Everything that decides what a chart renders to.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// For which release.
    pub release: Release,
    /// For which cluster.
    pub capabilities: Capabilities,
    /// Values over those of the chart.
    pub values: Values,
    /// Do not check values against `values.schema.json`.
    pub skip_schema_validation: bool,
    /// Collect the notes of subcharts too.
    pub render_subchart_notes: bool,
    /// What random functions draw from: the same seed gives the same output.
    pub seed: [u8; 32],
    /// What `now` gives: seconds since 1970.
    pub now: i64,
    /// What the render may cost.
    pub limits: Limits,
}
