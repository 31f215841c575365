//! The tools that make objects of a directory: plain YAML, Kustomize, Helm.

mod helm;
mod kustomize;

pub use helm::HelmSource;
pub use kustomize::KustomizeSource;

use lotse_render::{DirectoryOptions, Manifest, SourceType, Tree, helm::Capabilities};
use serde::Serialize;

use crate::{Error, application::Source, remotes::Session};

/// For which Application and cluster a source is rendered.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Context {
    /// The Application's name: the default release name of charts.
    pub name: String,
    /// The Application's namespace.
    pub namespace: String,
    /// `spec.destination.namespace`.
    pub destination: String,
    /// Version of the cluster: `v1.37.0`.
    pub kube_version: String,
    /// What the cluster serves: `apps/v1`, `apps/v1/Deployment`.
    pub api_versions: Vec<String>,
}

impl Context {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        if let Some(version) = lotse_render::helm::KubeVersion::parse(&self.kube_version) {
            capabilities.kube_version = version;
        }
        if !self.api_versions.is_empty() {
            capabilities.api_versions.clone_from(&self.api_versions);
        }
        capabilities
    }
}

/// What the spec says, or what the directory holds.
pub(crate) fn source_type(tree: &dyn Tree, source: &Source) -> Result<SourceType, Error> {
    let explicit = [
        (source.directory.is_some(), SourceType::Directory),
        (source.helm.is_some(), SourceType::Helm),
        (source.kustomize.is_some(), SourceType::Kustomize),
    ];
    let mut chosen = explicit.iter().filter(|(given, _)| *given).map(|(_, kind)| *kind);
    match (chosen.next(), chosen.next()) {
        (Some(kind), None) => Ok(kind),
        (None, _) => Ok(lotse_render::detect(tree, &source.path)?),
        (Some(_), Some(_)) => Err(Error::InvalidSpec {
            field: "spec.source",
            message: "has options of several tools: keep one of directory, helm and kustomize".to_owned(),
        }),
    }
}

/// The objects of a source. `secret` is what random functions of charts are drawn from; `session` fetches what lies elsewhere.
pub(crate) fn render(
    tree: &dyn Tree,
    source: &Source,
    kind: SourceType,
    context: &Context,
    secret: &[u8; 32],
    session: &Session,
) -> Result<Vec<Manifest>, Error> {
    match kind {
        SourceType::Directory => {
            let directory = source.directory.clone().unwrap_or_default();
            let options =
                DirectoryOptions { recurse: directory.recurse, include: directory.include, exclude: directory.exclude };
            Ok(lotse_render::render_directory(tree, &source.path, &options)?)
        }
        SourceType::Kustomize => kustomize::render(tree, source, context, secret, session),
        SourceType::Helm => helm::render(tree, source, context, secret, session),
    }
}
