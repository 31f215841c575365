//! What a render needs from elsewhere, kept below the directory of copies.

use std::sync::Arc;

pub(super) use lotse_delivery::remotes::Session;
use lotse_delivery::remotes::{Origin, Remotes};
use lotse_render::helm::Chart;

use super::{copies, failed, not_fetched};
use crate::{
    cli::Render,
    exit::{Failure, Kind},
};

/// Fetching for this command. Credentials are only those of URLs, and of the user's own ssh.
pub(super) fn session(arguments: &Render, origin: Origin) -> Result<Session, Failure> {
    let remotes = Remotes::for_command(copies()?.join("remotes"), arguments.offline);
    Ok(remotes.session(origin, Arc::new(|_| None)))
}

/// The chart, if a chart of a repository, a registry or a URL is named.
pub(super) fn chart(arguments: &Render) -> Result<Option<Chart>, Failure> {
    let (path, version) = (&arguments.path, arguments.chart.version.as_deref().unwrap_or_default());
    let is_http = path.starts_with("https://") || path.starts_with("http://");
    let fetched = if let Some(repository) = &arguments.chart.repo {
        session(arguments, Origin::Elsewhere)?.chart(repository, path, version)
    } else if path.starts_with("oci://")
        || (is_http && path.split('?').next().is_some_and(|path| path.ends_with(".tgz")))
    {
        session(arguments, Origin::Elsewhere)?.chart_at(path, version)
    } else if arguments.chart.version.is_some() {
        let what = "--version is for charts that are fetched; a directory and a Git repository have a --revision";
        return Err(Failure::new(Kind::Usage, what));
    } else {
        return Ok(None);
    };
    let fetched = fetched.map_err(not_fetched)?;
    let name = path.rsplit('/').next().unwrap_or(path);
    let mut chart = Chart::from_archive(name, &fetched.packed).map_err(failed)?;
    if arguments.chart.dependency_update {
        let session = session(arguments, Origin::Elsewhere)?;
        let tree = fetched.tree(name).map_err(not_fetched)?;
        session.complete(&mut chart, &tree, "").map_err(not_fetched)?;
    }
    Ok(Some(chart))
}
