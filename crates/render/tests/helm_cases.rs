//! Small charts, each about what widely used charts do and the corpus does not: printed as Helm prints them, byte for byte.
//!
//! `helm_cases/NAME/chart` is a chart of our own; `values.yaml` beside it is given with `-f`, each line of `set.txt` with `--set`.
//! `expected.yaml` is what `helm template rel chart -n ns --kube-version v1.32.0` prints; where there is
//! `expected-error.txt` instead, it fails. Recorded with Helm 3.10, and the same in Helm 4.2 as far as that was asked; import-values are
//! those of 4.2, since 3.10 lost some.
//!
//! Each line of `helm_cases/lines.jsonl` is a template, with the values of [`VALUES`], and its text or that it fails.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use common::load;
use lotse_render::{
    Error, MemoryTree,
    helm::{Chart, Offline, Options, PrintOptions, print, render, render_files},
};
use serde_json::Value;

fn printed(case: &Path) -> Result<Vec<u8>, Error> {
    let mut tree = MemoryTree::default();
    load(&case.join("chart"), "", &mut tree);
    let mut options = Options::default();
    options.release.name = "rel".to_owned();
    options.release.namespace = "ns".to_owned();
    if let Ok(values) = fs::read(case.join("values.yaml")) {
        options.values.files.push(("values.yaml".to_owned(), values));
    }
    if let Ok(set) = fs::read_to_string(case.join("set.txt")) {
        options.values.set = set.lines().map(str::to_owned).collect();
    }
    let rendered = render(&Chart::load(&tree, "")?, &options, &Offline)?;
    print(&rendered, &PrintOptions::default())
}

const VALUES: &str = "a: 1\nm: {k: v, num: 2}\nl: [c, a, b]\nbig: 1e19\n";

fn line(template: &str) -> Result<Vec<u8>, Error> {
    let mut tree = MemoryTree::default();
    tree.insert("Chart.yaml", "apiVersion: v2\nname: line\nversion: 1.0.0\n")?;
    tree.insert("values.yaml", VALUES)?;
    tree.insert("templates/_line.tpl", template)?;
    // Included, since what is missing vanishes from the output of a file.
    tree.insert("templates/line.txt", "{{ include \"line/templates/_line.tpl\" . | b64enc }}")?;
    let rendered = render_files(&Chart::load(&tree, "")?, &Options::default(), &Offline)?;
    Ok(STANDARD.decode(&rendered.files["line/templates/line.txt"]).unwrap())
}

#[test]
fn every_line_prints_what_helm_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/helm_cases/lines.jsonl");
    let lines: Vec<Value> =
        fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 73, "{} lines", lines.len());
    for case in &lines {
        let template = case["template"].as_str().unwrap();
        match (line(template), case["expect"].as_str()) {
            (Ok(found), Some(expected)) => assert_eq!(String::from_utf8_lossy(&found), expected, "{template}"),
            (Err(_), None) => assert_eq!(case["error"], true, "{template}"),
            (found, expected) => panic!("{template}: {found:?} instead of {expected:?}"),
        }
    }
}

/// The first line that differs.
fn difference(expected: &str, found: &str) -> String {
    let mut lines = expected.split('\n').zip(found.split('\n')).enumerate();
    match lines.find(|(_, (expected, found))| expected != found) {
        Some((index, (expected, found))) => format!("line {}:\n    - {expected:?}\n    + {found:?}", index + 1),
        None => format!("{} bytes instead of {}", found.len(), expected.len()),
    }
}

#[test]
fn every_case_prints_what_helm_prints() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/helm_cases");
    let mut cases: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    assert!(cases.len() >= 27, "{} cases", cases.len());
    let mut problems = Vec::new();
    for case in &cases {
        let name = case.file_name().unwrap().to_string_lossy();
        let must_fail = case.join("expected-error.txt").exists();
        match (printed(case), must_fail) {
            (Err(_), true) => {}
            (Ok(_), true) => problems.push(format!("{name}: must fail")),
            (Err(error), false) => problems.push(format!("{name}: {error}")),
            (Ok(found), false) => {
                let expected = fs::read(case.join("expected.yaml")).unwrap();
                if expected != found {
                    let (expected, found) = (String::from_utf8_lossy(&expected), String::from_utf8_lossy(&found));
                    problems.push(format!("{name}: {}", difference(&expected, &found)));
                }
            }
        }
    }
    assert!(problems.is_empty(), "{} of {} cases:\n{}", problems.len(), cases.len(), problems.join("\n"));
}
