//! A template of any bytes, parsed and evaluated with a small budget: no panic, and the same bytes twice.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lotse_render::{
    MemoryTree,
    helm::{Chart, Limits, Offline, Options, render},
};

const VALUES: &str = "s: text\nn: 12\nf: 1.5\nb: true\nl: [a, {b: c}]\nm: {k: v}\nt: '{{ .Values.s }}'\n";

fuzz_target!(|data: &[u8]| {
    let mut tree = MemoryTree::default();
    for (path, content) in [
        ("Chart.yaml", b"apiVersion: v2\nname: fuzz\nversion: 1.0.0\n".as_slice()),
        ("values.yaml", VALUES.as_bytes()),
        ("templates/a.yaml", data),
    ] {
        tree.insert(path, content).expect("the paths are plain");
    }
    let chart = Chart::load(&tree, "").expect("the chart is well formed");
    let limits = Limits {
        steps: 200_000,
        depth: 100,
        text: 1 << 18,
        bytes: 8 << 20,
        output: 1 << 18,
        ..Limits::default()
    };
    let options = Options { limits, ..Options::default() };
    let files = |outcome: Result<lotse_render::helm::Rendered, lotse_render::Error>| match outcome {
        Ok(rendered) => Ok((rendered.files, rendered.documents, rendered.hooks)),
        Err(error) => Err(error.to_string()),
    };
    let first = files(render(&chart, &options, &Offline));
    assert_eq!(first, files(render(&chart, &options, &Offline)), "two renders of one chart must be alike");
});
