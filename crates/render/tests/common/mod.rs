//! What tests share.

use std::{fs, path::Path};

use lotse_render::MemoryTree;

/// Adds all files of a directory to a tree, below `prefix`.
pub(crate) fn load(directory: &Path, prefix: &str, tree: &mut MemoryTree) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            load(&entry.path(), &path, tree);
        } else {
            tree.insert(&path, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}
