//! `helmCharts`: which chart with which values; rendering it is the caller's.

use serde::Deserialize;

use super::{
    kustomization::Kustomization,
    loader::{self, Loader},
    remote::Remote,
    resource::Resource,
};
use crate::{
    Error, Tree,
    goyaml::{self, EmitStyle},
    join,
};

/// A chart to be rendered.
pub struct ChartRequest<'a> {
    /// Where the chart is.
    pub tree: &'a dyn Tree,
    /// The chart's directory within `tree`.
    pub directory: String,
    /// `.Release.Name`.
    pub release_name: String,
    /// `.Release.Namespace`; empty means the default.
    pub namespace: String,
    /// YAML texts, later ones win, as `-f` does.
    pub values: Vec<Vec<u8>>,
    /// Also the objects of `crds/`.
    pub include_crds: bool,
    /// Leave hooks out.
    pub skip_hooks: bool,
    /// Leave tests out.
    pub skip_tests: bool,
    /// `.Capabilities.APIVersions` besides the built-in ones.
    pub api_versions: Vec<String>,
    /// `.Capabilities.KubeVersion`; empty means the default.
    pub kube_version: String,
}

/// Renders the charts of `helmCharts`.
pub trait ChartRenderer {
    /// The objects as one YAML text, as `helm template` prints them.
    fn render(&self, request: &ChartRequest<'_>) -> Result<Vec<u8>, Error>;
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Chart {
    name: String,
    version: String,
    repo: String,
    release_name: String,
    namespace: String,
    values_file: String,
    additional_values_files: Vec<String>,
    values_inline: Option<serde_json::Value>,
    values_merge: String,
    #[serde(rename = "includeCRDs")]
    include_crds: bool,
    skip_hooks: bool,
    skip_tests: bool,
    api_versions: Vec<String>,
    kube_version: String,
    name_template: String,
    debug: bool,
    devel: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Globals {
    chart_home: String,
    config_home: String,
}

/// The objects of all charts of a kustomization.
pub(super) fn charts(loader: &Loader<'_>, kustomization: &Kustomization) -> Result<Vec<Resource>, Error> {
    if !kustomization.helm_chart_inflation_generator.is_empty() {
        return Err(loader.error("helmChartInflationGenerator is not supported; write helmCharts"));
    }
    let refuse = |error: serde_json::Error| loader.error(format!("helmCharts: {error}"));
    let globals: Globals = match &kustomization.helm_globals {
        Some(globals) => serde_json::from_value(globals.clone()).map_err(refuse)?,
        None => Globals::default(),
    };
    let mut found = Vec::new();
    for chart in &kustomization.helm_charts {
        let chart: Chart = serde_json::from_value(chart.clone()).map_err(refuse)?;
        found.extend(render(loader, &chart, &globals)?);
    }
    Ok(found)
}

fn render(loader: &Loader<'_>, chart: &Chart, globals: &Globals) -> Result<Vec<Resource>, Error> {
    if chart.name.is_empty() {
        return Err(loader.error("helmCharts: an entry has no name"));
    }
    if !chart.name_template.is_empty() {
        return Err(loader.error(format!("helmCharts: {}: nameTemplate is not supported; set releaseName", chart.name)));
    }
    let Some(renderer) = loader.options.charts else {
        return Err(loader.error(format!(
            "helmCharts: {}: charts inside a kustomization are not rendered here; render the chart by itself",
            chart.name
        )));
    };
    let (tree, directory) = locate(loader, chart, globals)?;
    let request = ChartRequest {
        tree,
        directory,
        release_name: if chart.release_name.is_empty() {
            "release-name".to_owned()
        } else {
            chart.release_name.clone()
        },
        namespace: chart.namespace.clone(),
        values: values(loader, chart)?,
        include_crds: chart.include_crds,
        skip_hooks: chart.skip_hooks,
        skip_tests: chart.skip_tests,
        api_versions: chart.api_versions.clone(),
        kube_version: chart.kube_version.clone(),
    };
    loader::resources(&format!("helmCharts: {}", chart.name), &renderer.render(&request)?)
}

/// The chart in `chartHome`, else what the caller has fetched.
fn locate<'a>(loader: &Loader<'a>, chart: &Chart, globals: &Globals) -> Result<(&'a dyn Tree, String), Error> {
    let home = if globals.chart_home.is_empty() { "charts" } else { &globals.chart_home };
    let mut places = vec![join(home, &chart.name)];
    if !chart.version.is_empty() && !chart.repo.is_empty() {
        places.insert(0, format!("{home}/{}-{}/{}", chart.name, chart.version, chart.name));
    }
    for place in &places {
        let directory = loader.resolve(place)?;
        if loader.tree.is_directory(&directory) {
            return Ok((loader.tree, directory));
        }
    }
    if chart.repo.is_empty() {
        return Err(
            loader.error(format!("helmCharts: there is no chart {:?}, and no repo is given", places.join(", ")))
        );
    }
    let remote = Remote::Chart {
        repository: chart.repo.clone(),
        name: chart.name.clone(),
        version: Some(chart.version.clone()).filter(|version| !version.is_empty()),
    };
    Ok((loader.fetched(&chart.repo, remote)?, String::new()))
}

/// The values in the order in which later ones win. The chart's own come first by themselves.
fn values(loader: &Loader<'_>, chart: &Chart) -> Result<Vec<Vec<u8>>, Error> {
    let mut files = Vec::new();
    if !chart.values_file.is_empty() {
        files.push(loader.file(&chart.values_file)?.into_owned());
    }
    let mut inline = Vec::new();
    if let Some(given) = &chart.values_inline {
        let value: goyaml::Value =
            decode_value(given).map_err(|error| loader.error(format!("helmCharts: valuesInline: {error}")))?;
        inline.push(goyaml::emit(&value, EmitStyle::V2));
    }
    let mut values = match chart.values_merge.as_str() {
        "" | "override" => [files, inline].concat(),
        "merge" => [inline, files].concat(),
        "replace" if !inline.is_empty() => inline,
        "replace" => files,
        other => {
            return Err(loader.error(format!("helmCharts: valuesMerge {other:?} is not merge, override or replace")));
        }
    };
    for path in &chart.additional_values_files {
        values.push(loader.file(path)?.into_owned());
    }
    Ok(values)
}

/// JSON is YAML.
fn decode_value(given: &serde_json::Value) -> Result<goyaml::Value, String> {
    let documents = goyaml::parse_documents(given.to_string().as_bytes(), goyaml::Dialect::V2)
        .map_err(|error| error.to_string())?;
    documents.into_iter().next().ok_or_else(|| "is empty".to_owned())
}
