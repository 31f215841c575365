//! Helm charts, as version 3.21 renders them: the same bytes of every template, the same order.
//!
//! Charts are programs. They see nothing but their own files, the values and what the caller tells them about release, cluster,
//! time and chance; every render is bounded by [`Limits`].

mod builtin;
mod chart;
mod choose;
mod engine;
mod failure;
mod format;
mod functions;
mod glob;
mod held;
mod inflate;
mod manifest;
mod object;
mod options;
mod print;
mod quote;
mod semver;
mod template;
mod value;
mod values;

pub use chart::{Chart, Dependency, Maintainer, Metadata, unpack};
pub use choose::{choose_version, is_exact_version};
pub use inflate::InflateCharts;
pub use manifest::{Document, Hook, INSTALL_ORDER};
pub use options::{Capabilities, KubeVersion, Limits, Lookup, Offline, Options, Release, Values};
pub use print::{PrintOptions, Printed, print};
pub use values::files_of_arguments;

use std::collections::BTreeMap;

use crate::{Error, Manifest, directory, goyaml};
use values::coalesce::{Nulls, coalesce};

/// What a chart renders to.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    /// Exactly what each template printed, by full name (`chart/templates/file.yaml`); files whose name begins with `_` print
    /// nothing.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The values of the chart and all its subcharts, as JSON.
    pub values: serde_json::Value,
    /// Objects of `crds/` directories: full name and content.
    pub crds: Vec<(String, Vec<u8>)>,
    /// What `NOTES.txt` says.
    pub notes: Vec<u8>,
    /// Documents that are no hooks, in the order of installation.
    pub documents: Vec<Document>,
    /// Hooks, in the order of installation of their kinds; their weights order them at each moment.
    pub hooks: Vec<Hook>,
}

// === impl Rendered ===

impl Rendered {
    /// The objects of what `options` print, parsed as Helm's clients parse them: of a key given twice the last one counts.
    /// Lists are replaced by their items, empty documents are left out.
    pub fn manifests(&self, options: &PrintOptions) -> Result<Vec<Manifest>, Error> {
        let mut found = Vec::new();
        for Printed { path, content } in self.printed(options)? {
            let refuse = |error: goyaml::Error| Error::Manifest { path: path.to_owned(), message: error.to_string() };
            for document in goyaml::parse_documents(content, goyaml::Dialect::V2).map_err(refuse)? {
                if !document.is_null() {
                    directory::collect(path, found.len(), goyaml::to_json_value(&document), &mut found)?;
                }
            }
        }
        Ok(found)
    }
}

/// Renders a chart.
///
/// The chart's dependencies are switched on and off, values coalesced and checked against schemas, and the constraint on the
/// cluster's version is checked, before any template runs.
pub fn render(chart: &Chart, options: &Options, lookup: &dyn Lookup) -> Result<Rendered, Error> {
    let (mut rendered, notes_of) = print_templates(chart, options, lookup)?;
    rendered.notes = manifest::notes(&rendered.files, &notes_of, options.render_subchart_notes);
    (rendered.documents, rendered.hooks) = manifest::sort(&rendered.files)?;
    Ok(rendered)
}

/// Renders a chart without reading what it prints: [`Rendered::documents`], hooks and notes stay empty, and a template may print
/// anything.
pub fn render_files(chart: &Chart, options: &Options, lookup: &dyn Lookup) -> Result<Rendered, Error> {
    print_templates(chart, options, lookup).map(|(rendered, _)| rendered)
}

fn print_templates(chart: &Chart, options: &Options, lookup: &dyn Lookup) -> Result<(Rendered, String), Error> {
    let given = values::merge(&options.values)?;
    let mut chart = chart.clone();
    let name = chart.metadata.name.clone();
    let refuse = |message: String| Error::Chart { path: name.clone(), message };
    chart.process_dependencies(&given).map_err(refuse)?;
    let values = coalesce(&chart, &given, Nulls::Remove).map_err(refuse)?;
    if !options.skip_schema_validation {
        chart::validate(&chart, &values).map_err(|problems| Error::Schema { problems })?;
    }
    let (wanted, found) = (&chart.metadata.kube_version, &options.capabilities.kube_version.version);
    if !wanted.is_empty() && !chart::metadata::is_compatible(wanted, found) {
        return Err(refuse(format!(
            "chart requires kubeVersion: {wanted} which is incompatible with Kubernetes {found}"
        )));
    }
    let files = engine::render(&chart, &values, options, lookup)?;
    let mut crds = Vec::new();
    chart.crds(&name, &mut crds);
    let crds = crds.into_iter().map(|(name, data)| (name, data.to_vec())).collect();
    let values = crate::goyaml::to_json_value(&values::Value::Map(values));
    Ok((Rendered { files, values, crds, ..Rendered::default() }, name))
}
