//! The recorded cases of Kustomize.

use std::{
    fs,
    path::{Path, PathBuf},
};

use lotse_render::MemoryTree;

use crate::common::load;

/// A recorded case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    pub(crate) tree: MemoryTree,
    /// The directory to build.
    pub(crate) root: String,
}

/// All cases, by name.
pub(crate) fn all() -> Vec<Case> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/kustomize");
    let mut names: Vec<String> = fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let directory = corpus.join(&name);
            let mut tree = MemoryTree::default();
            load(&directory, "", &mut tree);
            let root = fs::read_to_string(directory.join("root")).unwrap().trim().to_owned();
            Case { name, directory, tree, root }
        })
        .collect()
}
