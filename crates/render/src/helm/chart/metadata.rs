//! `Chart.yaml` and `requirements.yaml`.

use serde::Deserialize;
use std::collections::BTreeMap;

use crate::{
    Error,
    goyaml::{self, Dialect},
    helm::semver::{Constraints, Version},
};

/// `Chart.yaml`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// `v1` (Helm 2) or `v2`.
    pub api_version: String,
    /// The chart's name.
    pub name: String,
    /// The chart's version.
    pub version: String,
    /// Constraint on the cluster's version.
    pub kube_version: String,
    /// One sentence.
    pub description: String,
    /// `application` (also when empty) or `library`.
    #[serde(rename = "type")]
    pub chart_type: String,
    /// Words to find it by.
    pub keywords: Vec<String>,
    /// Project page.
    pub home: String,
    /// Where its source is.
    pub sources: Vec<String>,
    /// Charts that belong to it.
    pub dependencies: Vec<Dependency>,
    /// Who keeps it.
    pub maintainers: Vec<Maintainer>,
    /// URL of a picture.
    pub icon: String,
    /// Version of what it installs.
    pub app_version: String,
    /// Not to be used any more.
    pub deprecated: bool,
    /// Anything else.
    pub annotations: BTreeMap<String, String>,
    /// Helm 2: condition of the whole chart.
    pub condition: String,
    /// Helm 2: tags of the whole chart.
    pub tags: String,
}

/// Somebody who keeps a chart.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Maintainer {
    /// Name.
    pub name: String,
    /// Address.
    pub email: String,
    /// Page.
    pub url: String,
}

/// A chart that this one wants.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "kebab-case")]
pub struct Dependency {
    /// Its name; the alias, once dependencies have been processed.
    pub name: String,
    /// Constraint on its version.
    pub version: String,
    /// Where it can be fetched.
    pub repository: String,
    /// Paths of values that switch it on or off, separated by commas; the first that is a boolean decides.
    pub condition: String,
    /// Names below `tags` that switch it on or off.
    pub tags: Vec<String>,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Values of it that the parent sees: `exports` names, or `child` and `parent` paths.
    pub import_values: Vec<serde_json::Value>,
    /// Another name for it.
    pub alias: String,
}

impl Metadata {
    pub(super) fn parse(path: &str, text: &[u8]) -> Result<Self, Error> {
        let mut metadata: Self = decode(path, text)?;
        if metadata.api_version.is_empty() {
            "v1".clone_into(&mut metadata.api_version);
        }
        Ok(metadata)
    }

    /// A library has no manifests of its own.
    pub fn is_library(&self) -> bool {
        self.chart_type.eq_ignore_ascii_case("library")
    }

    pub(super) fn check(&self, path: &str) -> Result<(), Error> {
        let refuse = |message: String| Err(Error::Chart { path: path.to_owned(), message });
        if self.name.is_empty() {
            return refuse("name is missing".to_owned());
        }
        if self.name.contains(['/', '\\']) || self.name == "." || self.name == ".." {
            return refuse(format!("name {:?} must not be a path", self.name));
        }
        if self.version.is_empty() {
            return refuse("version is missing".to_owned());
        }
        if Version::parse(&self.version).is_none() {
            return refuse(format!("version {:?} is no semantic version such as 1.2.3", self.version));
        }
        if !matches!(self.chart_type.as_str(), "" | "application" | "library") {
            return refuse(format!("type {:?} must be application or library", self.chart_type));
        }
        let mut names = std::collections::BTreeSet::new();
        for dependency in &self.dependencies {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            if !dependency.alias.bytes().all(is_word) {
                return refuse(format!("dependency {:?} has an alias with disallowed characters", dependency.name));
            }
            let name = if dependency.alias.is_empty() { &dependency.name } else { &dependency.alias };
            if !names.insert(name) {
                return refuse(format!("more than one dependency with name or alias {name:?}"));
            }
        }
        Ok(())
    }
}

/// The dependencies that `requirements.yaml` of Helm 2 lists.
pub(super) fn requirements(path: &str, text: &[u8]) -> Result<Vec<Dependency>, Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Requirements {
        dependencies: Vec<Dependency>,
    }
    decode::<Requirements>(path, text).map(|requirements| requirements.dependencies)
}

/// Whether a version satisfies a constraint; what cannot be read satisfies nothing.
pub(in crate::helm) fn is_compatible(constraint: &str, version: &str) -> bool {
    match (Constraints::parse(constraint), Version::parse(version)) {
        (Some(constraint), Some(version)) => constraint.check(&version),
        _ => false,
    }
}

fn decode<T: Default + for<'de> Deserialize<'de>>(path: &str, text: &[u8]) -> Result<T, Error> {
    let document = goyaml::parse_first(text, Dialect::V2).map_err(|error| Error::Yaml {
        path: path.to_owned(),
        line: error.line,
        column: error.column,
        message: error.message,
    })?;
    let Some(document) = document.filter(|document| !document.is_null()) else { return Ok(T::default()) };
    let json = words(goyaml::to_json_value(&document));
    serde_json::from_value(json).map_err(|error| Error::Chart { path: path.to_owned(), message: error.to_string() })
}

/// Go drops nulls where a field is no pointer, and reads numbers as text where text is wanted: `appVersion: 1.10`.
fn words(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(fields) => Value::Object(
            fields.into_iter().filter(|(_, field)| !field.is_null()).map(|(key, field)| (key, words(field))).collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().filter(|item| !item.is_null()).map(words).collect()),
        Value::Number(number) => Value::String(number.to_string()),
        other => other,
    }
}
