//! A packed chart of any bytes, and a chart directory whose files are separated by NUL bytes: a chart or one error.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lotse_render::{MemoryTree, helm::Chart};

/// Files of a chart that are more than text.
const PATHS: [&str; 7] = [
    "Chart.yaml",
    "values.yaml",
    "requirements.yaml",
    ".helmignore",
    "values.schema.json",
    "charts/below/Chart.yaml",
    "charts/packed.tgz",
];

fuzz_target!(|data: &[u8]| {
    let _ = Chart::from_archive("fuzz.tgz", data);
    let mut tree = MemoryTree::default();
    for (path, content) in PATHS.iter().zip(data.split(|byte| *byte == 0)) {
        tree.insert(path, content).expect("the paths are plain");
    }
    let _ = Chart::load(&tree, "");
});
