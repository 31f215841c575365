//! Charts: what is in them, and where they come from.

mod archive;
pub(super) mod dependencies;
mod ignore;
mod load;
pub(super) mod metadata;
mod schema;

use std::sync::{Arc, OnceLock};

use super::{
    template::{
        node::Template,
        parser::{self, ParseError},
    },
    value::Text,
    values::Tree,
};
use crate::Error;
pub use metadata::{Dependency, Maintainer, Metadata};
pub(super) use schema::validate;

/// A chart and the charts in it, read and checked for form. Templates are parsed at the first render and kept: rendering the same
/// chart again with other values is much cheaper.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// `Chart.yaml`, with what `requirements.yaml` adds.
    pub metadata: Metadata,
    /// `values.yaml`.
    pub(super) values: Tree,
    /// `values.schema.json`.
    pub(super) schema: Option<Arc<[u8]>>,
    pub(super) templates: Vec<Arc<TemplateFile>>,
    /// Everything else, for `.Files` and `crds/`.
    pub(super) files: Arc<Vec<File>>,
    /// The charts in `charts/`.
    pub(super) dependencies: Vec<Chart>,
}

/// A file of a chart.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// From the chart's root.
    pub(super) name: String,
    pub(super) data: Text,
}

/// A file of `templates/`, and what it says once it has been read.
#[derive(Debug)]
pub(super) struct TemplateFile {
    pub(super) file: File,
    parsed: OnceLock<(Text, Parsed)>,
}

type Parsed = Result<Vec<Arc<Template>>, ParseError>;

impl TemplateFile {
    fn new(file: File) -> Self {
        Self { file, parsed: OnceLock::new() }
    }

    /// The templates of the file, under the full name that it has in the chart that is rendered.
    pub(super) fn parsed(&self, name: &[u8]) -> Parsed {
        let parse = || parser::parse(name, &self.file.data).map(|all| all.into_iter().map(Arc::new).collect());
        let (kept_name, kept) = self.parsed.get_or_init(|| (name.into(), parse()));
        // The same subchart under two aliases has two names.
        if **kept_name == *name { kept.clone() } else { parse() }
    }
}

impl Chart {
    /// Objects of `crds/` of this chart and then of the charts in it: full name and content.
    pub(super) fn crds(&self, path: &str, found: &mut Vec<(String, Text)>) {
        let is_manifest = |name: &str| [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending));
        for file in self.files.iter().filter(|file| file.name.starts_with("crds/") && is_manifest(&file.name)) {
            found.push((format!("{path}/{}", file.name), Text::clone(&file.data)));
        }
        for subchart in &self.dependencies {
            subchart.crds(&format!("{path}/charts/{}", subchart.metadata.name), found);
        }
    }

    /// Puts a chart into this one, as if it were in `charts/`.
    pub fn add_dependency(&mut self, chart: Chart) {
        self.dependencies.push(chart);
    }

    /// The charts of the `dependencies` list that are not in `charts/`; `helm dependency build` puts them there.
    pub fn missing_dependencies(&self) -> Vec<&str> {
        let there = |name: &str| self.dependencies.iter().any(|chart| chart.metadata.name == name);
        self.metadata.dependencies.iter().map(|wanted| wanted.name.as_str()).filter(|name| !there(name)).collect()
    }
}

/// The files of a packed chart (`.tgz`), without the directory that holds them all. `name` is for messages.
pub fn unpack(name: &str, packed: &[u8]) -> Result<crate::MemoryTree, Error> {
    let mut tree = crate::MemoryTree::default();
    for file in archive::unpack(name, packed)? {
        tree.insert(&file.name, file.data.to_vec())?;
    }
    Ok(tree)
}

fn wrong(path: &str, message: impl Into<String>) -> Error {
    Error::Chart { path: path.to_owned(), message: message.into() }
}
