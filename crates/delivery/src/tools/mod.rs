//! The tools that make objects of a directory: plain YAML, Kustomize, Helm.

mod helm;
mod kustomize;

pub use helm::HelmSource;
pub use kustomize::KustomizeSource;

use jiff::Timestamp;
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
    /// What `now` is in charts, in seconds since 1970; see [`clock`].
    pub now: i64,
}

/// How often charts see a new date.
const CLOCK_STEP: i64 = 30 * 24 * 60 * 60;

/// The time that charts of an Application see: its creation, and from then on a step every 30 days. Certificates and dates that a
/// chart makes of `now` would otherwise differ at every render and the Application would never be in sync; certificates of
/// the usual year are renewed long before their end.
pub(crate) fn clock(created: Option<Timestamp>, now: Timestamp) -> i64 {
    let created = created.unwrap_or(Timestamp::UNIX_EPOCH).as_second();
    let age = now.as_second().saturating_sub(created).max(0);
    created + age - age % CLOCK_STEP
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_charts_stands_still_for_thirty_days() {
        let day = 24 * 60 * 60;
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let created = 1_700_000_123;
        let table = [(-5, 0), (0, 0), (29 * day, 0), (30 * day - 1, 0), (30 * day, 30 * day), (95 * day, 90 * day)];
        for (age, expected) in table {
            assert_eq!(clock(Some(at(created)), at(created + age)), created + expected, "after {age} seconds");
        }
        assert_eq!(clock(None, at(31 * day)), 30 * day, "an Application without a creation time");
    }
}
