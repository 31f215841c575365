//! Charts inside kustomizations: `helmCharts`.

use super::{Chart, KubeVersion, Offline, Options, PrintOptions, Release, print, render};
use crate::{
    Error,
    kustomize::{ChartRenderer, ChartRequest},
};

/// Renders the charts of `helmCharts` with the capabilities, limits, seed and clock of these options; release and values are
/// the kustomization's.
#[derive(Clone, Debug, Default)]
pub struct InflateCharts {
    /// What is the same for all charts.
    pub options: Options,
}

impl ChartRenderer for InflateCharts {
    fn render(&self, request: &ChartRequest<'_>) -> Result<Vec<u8>, Error> {
        let chart = Chart::load(request.tree, &request.directory)?;
        let mut options = self.options.clone();
        let namespace = Some(&request.namespace).filter(|namespace| !namespace.is_empty());
        let default = Release::default();
        options.release = Release {
            name: Some(&request.release_name).filter(|name| !name.is_empty()).unwrap_or(&default.name).clone(),
            namespace: namespace.unwrap_or(&default.namespace).clone(),
            ..default
        };
        let values = request.values.iter().map(|text| ("values".to_owned(), text.clone()));
        options.values = super::Values { files: values.collect(), ..super::Values::default() };
        options.capabilities.api_versions.extend(request.api_versions.iter().cloned());
        if !request.kube_version.is_empty() {
            options.capabilities.kube_version =
                KubeVersion::parse(&request.kube_version).ok_or_else(|| Error::Values {
                    option: "kubeVersion".to_owned(),
                    argument: request.kube_version.clone(),
                    message: "is no version such as 1.32".to_owned(),
                })?;
        }
        let rendered = render(&chart, &options, &Offline)?;
        let options = PrintOptions {
            include_crds: request.include_crds,
            no_hooks: request.skip_hooks,
            skip_tests: request.skip_tests,
            show_only: Vec::new(),
        };
        print(&rendered, &options)
    }
}
