//! A file of values and arguments of `--set` and its relatives, separated by NUL bytes: values or one error.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lotse_render::{
    MemoryTree,
    helm::{Chart, Offline, Options, files_of_arguments, render_files},
};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|byte| *byte == 0);
    let file = parts.next().unwrap_or_default().to_vec();
    let mut options = Options::default();
    options.values.files.push(("values.yaml".to_owned(), file));
    for (index, part) in parts.enumerate() {
        let argument = String::from_utf8_lossy(part).into_owned();
        match index % 5 {
            0 => options.values.set.push(argument),
            1 => options.values.set_string.push(argument),
            2 => options.values.set_json.push(argument),
            3 => options.values.set_literal.push(argument),
            _ => drop(files_of_arguments(&[argument])),
        }
    }
    let mut tree = MemoryTree::default();
    tree.insert("Chart.yaml", "apiVersion: v2\nname: fuzz\nversion: 1.0.0\n").expect("the path is plain");
    let chart = Chart::load(&tree, "").expect("the chart is well formed");
    let _ = render_files(&chart, &options, &Offline);
});
