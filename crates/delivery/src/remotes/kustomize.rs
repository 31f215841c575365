//! Kustomizations that want something from elsewhere: built, fetched for, and built again.

use lotse_render::{
    Error as RenderError, MemoryTree, Tree,
    kustomize::{Build, Options, Remote, Remotes, build},
};

use super::session::{Question, Session};
use crate::Error;

/// Longer files are refused.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What has been fetched for one build.
#[derive(Default)]
struct Fetched(Vec<(Remote, Box<dyn Tree>)>);

impl Remotes for Fetched {
    fn tree(&self, remote: &Remote) -> Option<&dyn Tree> {
        self.0.iter().find(|(known, _)| known == remote).map(|(_, tree)| &**tree)
    }
}

impl Session {
    /// Builds a kustomization; what it wants from elsewhere is fetched.
    pub fn build(&self, tree: &dyn Tree, directory: &str, options: &Options<'_>) -> Result<Build, Error> {
        let mut fetched = Fetched::default();
        loop {
            let options = Options { remotes: Some(&fetched), ..*options };
            match build(tree, directory, &options) {
                Err(RenderError::Remote { path, url, need }) => {
                    let place = if path.is_empty() { ".".to_owned() } else { path };
                    let wanted_by = |error| Error::Wanted { wanted_by: place, source: Box::new(error) };
                    let tree = self.need(&url).and_then(|()| self.fetch_need(&need)).map_err(wanted_by)?;
                    fetched.0.push((*need, tree));
                }
                done => return Ok(done?),
            }
        }
    }

    fn fetch_need(&self, need: &Remote) -> Result<Box<dyn Tree>, Error> {
        match need {
            Remote::Git { repository, reference, .. } => {
                Ok(Box::new(self.repository(repository, reference.as_deref())?))
            }
            Remote::File { url } => {
                let (hash, content) = self.document(url, MAX_FILE_BYTES)?;
                self.pin(Question::Document { url: url.clone() }, hash);
                let mut tree = MemoryTree::default();
                tree.insert("file.yaml", content)?;
                Ok(Box::new(tree))
            }
            Remote::Chart { repository, name, version } => {
                let chart = self.chart(repository, name, version.as_deref().unwrap_or_default())?;
                Ok(Box::new(chart.tree(name)?))
            }
            // The renderer may learn to name more than can be fetched.
            other => Err(Error::Repository {
                url: format!("{other:?}"),
                message: "cannot be fetched; copy it into the repository".to_owned(),
            }),
        }
    }
}
