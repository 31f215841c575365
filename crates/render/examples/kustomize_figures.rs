//! How long builds take: `kustomize_figures DIRECTORY ROOT` for a tree on disk, or `kustomize_figures COUNT` for a generated
//! kustomization of so many resources.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use lotse_render::{
    MemoryTree,
    kustomize::{Options, build},
};

/// A build is repeated for so long, and at least so often.
const MEASURED: Duration = Duration::from_millis(500);
const LEAST_RUNS: usize = 7;

fn load(directory: &Path, prefix: &str, tree: &mut MemoryTree) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type().unwrap().is_dir() {
            load(&entry.path(), &path, tree);
        } else {
            tree.insert(&path, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

fn generated(count: usize) -> MemoryTree {
    let mut tree = MemoryTree::default();
    let mut base = String::new();
    for index in 0..count {
        base.push_str(&format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: app-{index}\nspec:\n  replicas: 2\n  selector:\n    matchLabels: {{app: app-{index}}}\n  template:\n    metadata:\n      labels: {{app: app-{index}}}\n    spec:\n      containers:\n        - name: main\n          image: registry.example.test/app:1\n          envFrom:\n            - configMapRef: {{name: settings}}\n          ports:\n            - containerPort: 8080\n---\n"
        ));
    }
    let overlay = "namespace: prod\nnamePrefix: p-\ncommonLabels: {team: x}\nresources: [base]\nconfigMapGenerator: [{name: settings, literals: [a=b]}]\nimages: [{name: registry.example.test/app, newTag: \"2\"}]\npatches:\n  - target: {kind: Deployment}\n    patch: |-\n      apiVersion: apps/v1\n      kind: Deployment\n      metadata: {name: any}\n      spec: {template: {spec: {containers: [{name: main, resources: {limits: {cpu: 1}}}]}}}\n";
    tree.insert("base/all.yaml", base).unwrap();
    tree.insert("base/kustomization.yaml", "resources: [all.yaml]\n").unwrap();
    tree.insert("kustomization.yaml", overlay).unwrap();
    tree
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (tree, root) = match arguments.as_slice() {
        [count] => (generated(count.parse().unwrap()), String::new()),
        [directory, root] => {
            let mut tree = MemoryTree::default();
            load(Path::new(directory), "", &mut tree);
            (tree, root.clone())
        }
        _ => panic!("arguments: COUNT, or DIRECTORY ROOT"),
    };
    let (first, mut times, mut bytes) = (Instant::now(), Vec::new(), 0);
    while times.len() < LEAST_RUNS || first.elapsed() < MEASURED {
        let begun = Instant::now();
        bytes = build(&tree, &root, &Options::default()).unwrap().text.len();
        times.push(begun.elapsed());
    }
    let cold = times[0];
    times.sort();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{bytes} bytes in {:.3} ms (median of {}; the first took {:.3} ms)",
        milliseconds(times[times.len() / 2]),
        times.len(),
        milliseconds(cold),
    );
}
