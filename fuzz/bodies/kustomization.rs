//! What the target does with an input; the crate's tests run it over the corpus.

use lotse_render::{
    MemoryTree,
    kustomize::{Limits, Options, build},
};

/// A kustomization, a file of objects and a patch, separated by NUL bytes: no panic, and the same outcome twice.
pub(crate) fn run(data: &[u8]) {
    let mut tree = MemoryTree::default();
    for (path, content) in ["kustomization.yaml", "a.yaml", "patch.yaml"].iter().zip(data.split(|byte| *byte == 0)) {
        tree.insert(path, content).expect("the paths are plain");
    }
    let limits = Limits { objects: 1000, output_bytes: 1 << 20, input_bytes: 1 << 20, kustomizations: 100 };
    let options = Options { limits, ..Options::default() };
    let first = build(&tree, "", &options);
    assert_eq!(first, build(&tree, "", &options), "two builds of one tree must be alike");
}
