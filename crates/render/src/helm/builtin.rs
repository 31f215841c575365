//! The objects that every template sees: `.Chart`, `.Files`, `.Capabilities`, `.Release`.

use std::{rc::Rc, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    chart::{File, Metadata},
    failure::Failure,
    functions::{Parameter, from_yaml, words_as_yaml},
    glob,
    object::{Object, Signature, Struct},
    options::{Capabilities, Release},
    value::{Element, Entries, Kind, Map, Text, Value, text},
};
use crate::goyaml;

/// The Helm whose behaviour this is: `.Capabilities.HelmVersion.Version`.
const HELM_VERSION: &str = "v3.21.4";

/// `.Release`
pub(super) fn release(release: &Release) -> Value {
    let entries = [
        ("Name", Value::string(&release.name)),
        ("Namespace", Value::string(&release.namespace)),
        ("IsUpgrade", Value::Bool(release.is_upgrade)),
        ("IsInstall", Value::Bool(!release.is_upgrade)),
        ("Revision", Value::Int(release.revision)),
        ("Service", Value::string("Helm")),
    ];
    Value::map(entries.into_iter().map(|(name, value)| (text(name), value)).collect::<Entries>())
}

/// `.Chart`
pub(super) fn chart(metadata: &Metadata, is_root: bool) -> Value {
    let words =
        |words: &[String]| if words.is_empty() { Value::nil_list(Element::String) } else { Value::strings(words) };
    let maintainers = metadata.maintainers.iter().map(|maintainer| {
        let fields = vec![
            ("Name", "name", Value::string(&maintainer.name)),
            ("Email", "email", Value::string(&maintainer.email)),
            ("URL", "url", Value::string(&maintainer.url)),
        ];
        Struct::pointer("*chart.Maintainer", fields)
    });
    let dependencies = metadata.dependencies.iter().map(|dependency| {
        let imports = dependency.import_values.iter().map(|import| from_json(import)).collect();
        let fields = vec![
            ("Name", "name", Value::string(&dependency.name)),
            ("Version", "version", Value::string(&dependency.version)),
            ("Repository", "repository", Value::string(&dependency.repository)),
            ("Condition", "condition", Value::string(&dependency.condition)),
            ("Tags", "tags", words(&dependency.tags)),
            ("Enabled", "enabled", Value::Bool(dependency.enabled)),
            ("ImportValues", "import-values", Value::list(imports)),
            ("Alias", "alias", Value::string(&dependency.alias)),
        ];
        Struct::pointer("*chart.Dependency", fields)
    });
    let annotations: Entries =
        metadata.annotations.iter().map(|(key, value)| (text(key), Value::string(value))).collect();
    let annotations = if annotations.is_empty() { Map::nil() } else { Map::typed(Element::String, annotations) };
    let fields = vec![
        ("Name", "name", Value::string(&metadata.name)),
        ("Home", "home", Value::string(&metadata.home)),
        ("Sources", "sources", words(&metadata.sources)),
        ("Version", "version", Value::string(&metadata.version)),
        ("Description", "description", Value::string(&metadata.description)),
        ("Keywords", "keywords", words(&metadata.keywords)),
        ("Maintainers", "maintainers", Value::list(maintainers.collect())),
        ("Icon", "icon", Value::string(&metadata.icon)),
        ("APIVersion", "apiVersion", Value::string(&metadata.api_version)),
        ("Condition", "condition", Value::string(&metadata.condition)),
        ("Tags", "tags", Value::string(&metadata.tags)),
        ("AppVersion", "appVersion", Value::string(&metadata.app_version)),
        ("Deprecated", "deprecated", Value::Bool(metadata.deprecated)),
        ("Annotations", "annotations", Value::Map(annotations)),
        ("KubeVersion", "kubeVersion", Value::string(&metadata.kube_version)),
        ("Dependencies", "dependencies", Value::list(dependencies.collect())),
        ("Type", "type", Value::string(&metadata.chart_type)),
        ("IsRoot", "IsRoot", Value::Bool(is_root)),
    ];
    Struct::value("struct { chart.Metadata; IsRoot bool }", fields)
}

fn from_json(value: &serde_json::Value) -> Value {
    from_yaml(&goyaml::from_json_value(value))
}

/// `.Capabilities`
pub(super) fn capabilities(capabilities: &Capabilities) -> Value {
    let version = &capabilities.kube_version;
    let kube_version = Struct {
        type_name: "chartutil.KubeVersion",
        pointer: false,
        fields: vec![
            ("Version", "Version", Value::string(&version.version)),
            ("Major", "Major", Value::string(&version.major)),
            ("Minor", "Minor", Value::string(&version.minor)),
        ],
        string: Some(text(&version.version)),
        getters: vec![("GitVersion", Value::string(&version.version))],
    };
    let helm_version = Struct::value(
        "version.BuildInfo",
        vec![
            ("Version", "version", Value::string(HELM_VERSION)),
            ("GitCommit", "git_commit", Value::string("")),
            ("GitTreeState", "git_tree_state", Value::string("")),
            ("GoVersion", "go_version", Value::string("")),
        ],
    );
    let fields = vec![
        ("KubeVersion", "KubeVersion", Value::Object(Rc::new(kube_version))),
        ("APIVersions", "APIVersions", Value::Object(Rc::new(VersionSet(capabilities.api_versions.clone())))),
        ("HelmVersion", "HelmVersion", helm_version),
    ];
    Struct::pointer("*chartutil.Capabilities", fields)
}

/// `.Capabilities.APIVersions`
struct VersionSet(Vec<String>);

impl Object for VersionSet {
    fn type_name(&self) -> &'static str {
        "chartutil.VersionSet"
    }

    fn kind(&self) -> Kind {
        Kind::Slice
    }

    fn truth(&self) -> bool {
        !self.0.is_empty()
    }

    fn method(&self, name: &[u8]) -> Option<Signature> {
        (name == b"Has").then_some(Signature { parameters: &[Parameter::String] })
    }

    fn call(&self, _: &[u8], arguments: &[Value]) -> Result<Value, Failure> {
        let wanted = arguments.first().and_then(Value::as_bytes).unwrap_or_default();
        Ok(Value::Bool(self.0.iter().any(|version| version.as_bytes() == wanted)))
    }

    fn items(&self) -> Option<Vec<Value>> {
        Some(self.0.iter().map(Value::string).collect())
    }
}

/// `.Files`
pub(super) fn files(files: &Arc<Vec<File>>) -> Value {
    let all: Vec<usize> = (0..files.len()).collect();
    Files { files: Arc::clone(files), chosen: all }.value()
}

struct Files {
    files: Arc<Vec<File>>,
    /// Which of them, in the order of their names.
    chosen: Vec<usize>,
}

impl Files {
    fn value(mut self) -> Value {
        let files = &self.files;
        self.chosen.sort_by_key(|index| files.get(*index).map(|file| &file.name));
        Value::Object(Rc::new(self))
    }

    fn iter(&self) -> impl Iterator<Item = &File> {
        self.chosen.iter().filter_map(|index| self.files.get(*index))
    }

    fn get(&self, name: &[u8]) -> Option<&File> {
        self.iter().find(|file| file.name.as_bytes() == name)
    }

    /// Contents by the last part of the name; of equal ones the last by full name wins.
    fn by_base(&self, content: impl Fn(&File) -> Text) -> Result<Value, Failure> {
        let base = |file: &File| text(file.name.rsplit('/').next().unwrap_or(&file.name));
        words_as_yaml(self.iter().map(|file| (base(file), goyaml::Value::String(content(file)))).collect())
    }
}

impl Object for Files {
    fn type_name(&self) -> &'static str {
        "engine.files"
    }

    fn kind(&self) -> Kind {
        Kind::Map
    }

    fn truth(&self) -> bool {
        !self.chosen.is_empty()
    }

    fn field(&self, name: &[u8]) -> Option<Value> {
        Some(self.get(name).map_or_else(|| Value::Bytes(text("")), |file| Value::Bytes(Text::clone(&file.data))))
    }

    fn method(&self, name: &[u8]) -> Option<Signature> {
        let parameters: &'static [Parameter] = match name {
            b"Get" | b"GetBytes" | b"Glob" | b"Lines" => &[Parameter::String],
            b"AsConfig" | b"AsSecrets" => &[],
            _ => return None,
        };
        Some(Signature { parameters })
    }

    fn call(&self, name: &[u8], arguments: &[Value]) -> Result<Value, Failure> {
        let argument = arguments.first().and_then(Value::as_bytes).unwrap_or_default();
        let content = |file: Option<&File>| file.map_or_else(|| text(""), |file| Text::clone(&file.data));
        Ok(match name {
            b"Get" => Value::String(content(self.get(argument))),
            b"GetBytes" => Value::Bytes(content(self.get(argument))),
            b"Lines" => {
                let content = content(self.get(argument));
                match content.strip_suffix(b"\n").unwrap_or(&content) {
                    _ if content.is_empty() => Value::strings(Vec::<&[u8]>::new()),
                    lines => Value::strings(lines.split(|byte| *byte == b'\n')),
                }
            }
            b"Glob" => {
                // A malformed pattern is one that matches everything, in Helm.
                let pattern = glob::file_pattern(&String::from_utf8_lossy(argument));
                let is_wanted = |index: &usize| {
                    let file = self.files.get(*index);
                    let name = file.map(|file| file.name.as_bytes()).unwrap_or_default();
                    pattern.as_ref().is_none_or(|pattern| pattern.is_match(name))
                };
                let chosen = self.chosen.iter().copied().filter(is_wanted).collect();
                Files { files: Arc::clone(&self.files), chosen }.value()
            }
            b"AsConfig" => self.by_base(|file| Text::clone(&file.data))?,
            _ => self.by_base(|file| text(STANDARD.encode(&file.data)))?,
        })
    }

    fn members(&self) -> Vec<(Text, Text, Value)> {
        let member = |file: &File| (text(&file.name), text(&file.name), Value::Bytes(Text::clone(&file.data)));
        self.iter().map(member).collect()
    }
}
