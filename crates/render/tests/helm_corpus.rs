//! Every case of the corpus gives what Helm's engine gave, byte for byte.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use common::load;
use lotse_render::{
    Error, MemoryTree,
    helm::{Chart, Hook, KubeVersion, Offline, Options, Rendered, render, render_files},
};
use serde_json::{Value, json};

/// How many differences are shown in full.
const SHOWN: usize = 8;

/// Cases in which this differs from the original on purpose, with the reason.
const DELIBERATE: [(&str, &str); 0] = [];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/helm")
}

#[derive(Default)]
struct Tally {
    counts: BTreeMap<String, (usize, usize)>,
    failures: Vec<(String, String)>,
}

impl Tally {
    fn add(&mut self, category: &str, id: &str, failure: Option<String>) {
        let count = self.counts.entry(category.to_owned()).or_default();
        count.1 += 1;
        match failure {
            None => count.0 += 1,
            Some(_) if DELIBERATE.iter().any(|(case, _)| *case == id) => count.0 += 1,
            Some(failure) => self.failures.push((id.to_owned(), failure)),
        }
    }

    fn finish(self) {
        for (name, reason) in DELIBERATE {
            println!("differs on purpose: {name}: {reason}");
        }
        let (passed, total) = self.counts.values().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        for (category, (passed, total)) in &self.counts {
            println!("{category:24} {passed:4} / {total}");
        }
        println!("all                      {passed:4} / {total}");
        let shown = if std::env::var("CASE").is_ok() { 100 } else { SHOWN };
        for (id, failure) in self.failures.iter().take(shown) {
            println!("{id}\n{failure}");
        }
        let names: Vec<&str> = self.failures.iter().map(|(id, _)| id.as_str()).collect();
        assert!(names.is_empty(), "{} cases differ: {names:?}", names.len());
    }
}

fn wanted(id: &str) -> bool {
    std::env::var("CASE").map_or(true, |only| id.starts_with(&only))
}

fn words(case: &Value, key: &str) -> Vec<String> {
    let items = case[key].as_array().into_iter().flatten();
    items.map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// Options of a case; `read` gives the content of files that values refer to.
fn options(case: &Value, read: impl Fn(&str) -> Option<Vec<u8>>) -> Result<Options, String> {
    let mut options = Options::default();
    options.release.name = "rel".to_owned();
    options.release.namespace = "ns".to_owned();
    let release = &case["release"];
    if let Some(name) = release["name"].as_str() {
        options.release.name = name.to_owned();
    }
    if let Some(namespace) = release["namespace"].as_str() {
        options.release.namespace = namespace.to_owned();
    }
    options.release.is_upgrade = release["isUpgrade"].as_bool().unwrap_or(false);
    options.release.revision = release["revision"].as_i64().unwrap_or(1);
    if let Some(version) = case["kubeVersion"].as_str() {
        options.capabilities.kube_version = KubeVersion::parse(version).ok_or("kube-version")?;
    }
    options.capabilities.api_versions.extend(words(case, "apiVersions"));
    options.values.files.extend(words(case, "valuesFiles").into_iter().map(|name| {
        let content = read(&name).unwrap();
        (name, content)
    }));
    options.values.set_json = words(case, "setJson");
    options.values.set = words(case, "set");
    options.values.set_string = words(case, "setString");
    options.values.set_file = words(case, "setFile");
    options.values.set_literal = words(case, "setLiteral");
    let paths = lotse_render::helm::files_of_arguments(&options.values.set_file).map_err(|error| error.to_string())?;
    options.values.file_contents = paths
        .into_iter()
        .filter_map(|path| {
            let content = read(&path)?;
            Some((path, content))
        })
        .collect();
    options.skip_schema_validation = case["skipSchema"].as_bool().unwrap_or(false);
    options.render_subchart_notes = case["renderSubchartNotes"].as_bool().unwrap_or(false);
    Ok(options)
}

fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}

#[test]
fn one_line_cases_print_what_helm_prints() {
    let mut tally = Tally::default();
    let mut paths: Vec<PathBuf> =
        fs::read_dir(corpus().join("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let category = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let id = case["id"].as_str().unwrap().to_owned();
            if wanted(&id) {
                tally.add(&category, &id, one_line(&case));
            }
        }
    }
    tally.finish();
}

fn one_line(case: &Value) -> Option<String> {
    let mut tree = MemoryTree::default();
    let description =
        "apiVersion: v2\nname: corpus\nversion: 1.2.3\nappVersion: \"4.5.6\"\ndescription: one-line cases\n";
    tree.insert("Chart.yaml", description).unwrap();
    tree.insert("templates/case.txt", case["template"].as_str().unwrap()).unwrap();
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, content) in case["files"].as_object().into_iter().flatten() {
        files.insert(name.clone(), content.as_str().unwrap().into());
    }
    for (name, content) in case["files_b64"].as_object().into_iter().flatten() {
        files.insert(name.clone(), STANDARD.decode(content.as_str().unwrap()).unwrap());
    }
    for (name, content) in &files {
        tree.insert(name, content.clone()).unwrap();
    }
    let outcome = options(case, |path| files.get(path).cloned()).and_then(|mut options| {
        if let Some(values) = case["values"].as_str() {
            options.values.files.push(("values".to_owned(), values.into()));
        }
        let chart = Chart::load(&tree, "").map_err(|error| error.to_string())?;
        let rendered = render_files(&chart, &options, &Offline).map_err(|error| error.to_string())?;
        Ok(rendered.files.get("corpus/templates/case.txt").cloned().unwrap_or_default())
    });
    let template = case["template"].as_str().unwrap();
    let is_error_text = case["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == "engine-error-text"));
    let expected = match (case["expect"].as_str(), case["expect_b64"].as_str()) {
        (Some(text), _) => Some(text.as_bytes().to_vec()),
        (None, Some(encoded)) => Some(STANDARD.decode(encoded).unwrap()),
        (None, None) => None,
    };
    match (expected, outcome) {
        (Some(_), Ok(_)) if is_error_text => None,
        (Some(expected), Ok(found)) if expected == found => None,
        (Some(expected), Ok(found)) => {
            Some(format!("  {template}\n    - {}\n    + {}", shown(&expected), shown(&found)))
        }
        (Some(expected), Err(error)) => Some(format!("  {template}\n    - {}\n    failed: {error}", shown(&expected))),
        (None, Ok(found)) => {
            let message = case["message"].as_str().unwrap_or_default();
            Some(format!("  {template}\n    must fail: {message}\n    + {}", shown(&found)))
        }
        (None, Err(_)) => None,
    }
}

#[test]
fn charts_render_to_what_helm_renders() {
    let mut tally = Tally::default();
    let mut charts: Vec<PathBuf> =
        fs::read_dir(corpus().join("charts")).unwrap().map(|entry| entry.unwrap().path()).collect();
    charts.sort();
    for directory in charts {
        let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
        let mut cases: Vec<PathBuf> =
            fs::read_dir(directory.join("cases")).unwrap().map(|entry| entry.unwrap().path()).collect();
        cases.sort();
        for case in cases {
            let id = format!("{name}/{}", case.file_name().unwrap().to_str().unwrap());
            if wanted(&id) {
                tally.add(&name, &id, whole_chart(&directory.join("chart"), &case));
            }
        }
    }
    tally.finish();
}

fn whole_chart(chart: &Path, case: &Path) -> Option<String> {
    let mut tree = MemoryTree::default();
    load(chart, "", &mut tree);
    let arguments = fs::read(case.join("args.json")).map_or(json!({}), |text| serde_json::from_slice(&text).unwrap());
    let read = |path: &str| fs::read(case.join(path)).ok();
    let outcome = options(&arguments, read).and_then(|options| {
        let chart = Chart::load(&tree, "").map_err(|error| error.to_string())?;
        let rendered = render_files(&chart, &options, &Offline).map_err(|error| error.to_string())?;
        Ok((rendered, render(&chart, &options, &Offline)))
    });
    let must_fail = fs::read_to_string(case.join("expected-error.json")).ok();
    match (must_fail, outcome) {
        (Some(_), Err(_)) => None,
        (Some(expected), Ok(_)) => Some(format!("  must fail: {expected}")),
        (None, Err(error)) => Some(format!("  failed: {error}")),
        (None, Ok((printed, sorted))) => compare(&case.join("expected"), &arguments, printed, sorted),
    }
}

fn compare(expected: &Path, arguments: &Value, printed: Rendered, sorted: Result<Rendered, Error>) -> Option<String> {
    let mut files = MemoryTree::default();
    load(&expected.join("files"), "", &mut files);
    let mut problems = String::new();
    let mut check = |what: &str, expected: &[u8], found: &[u8]| {
        if expected != found {
            problems.push_str(&difference(what, &String::from_utf8_lossy(expected), &String::from_utf8_lossy(found)));
        }
    };
    let names = lotse_render::Tree::files(&files, "").unwrap_or_default();
    let found: Vec<&String> = printed.files.keys().collect();
    check(
        "names",
        names.join("\n").as_bytes(),
        found.iter().map(|name| name.as_str()).collect::<Vec<_>>().join("\n").as_bytes(),
    );
    for name in &names {
        let content = lotse_render::Tree::read(&files, name).unwrap();
        check(name, &content, printed.files.get(name).map_or(b"", Vec::as_slice));
    }
    let values: Value = serde_json::from_slice(&fs::read(expected.join("values.json")).unwrap()).unwrap();
    let pretty = |value: &Value| serde_json::to_string_pretty(&normal(value)).unwrap();
    check("values.json", pretty(&values).as_bytes(), pretty(&printed.values).as_bytes());
    let text = |name: &str| fs::read(expected.join(name)).unwrap_or_default();
    match sorted {
        Err(error) if expected.join("manifest.yaml").exists() => {
            check("manifest.yaml", b"", error.to_string().as_bytes())
        }
        Err(_) => {}
        Ok(_) if !expected.join("manifest.yaml").exists() => {
            check("manifest", &text("manifest-error.json"), b"no error")
        }
        Ok(sorted) => {
            let mut manifest = Vec::new();
            let mut document = |path: &str, content: &[u8]| {
                manifest.extend_from_slice(format!("---\n# Source: {path}\n").as_bytes());
                manifest.extend_from_slice(content);
                manifest.push(b'\n');
            };
            if arguments["includeCrds"] == true {
                sorted.crds.iter().for_each(|(path, content)| document(path, content));
            }
            sorted.documents.iter().for_each(|one| document(&one.path, &one.content));
            check("manifest.yaml", &text("manifest.yaml"), &manifest);
            let hooks: Value = serde_json::from_slice(&text("hooks.json")).unwrap_or(json!([]));
            let found: Vec<Value> = sorted.hooks.iter().map(describe).collect();
            check(
                "hooks.json",
                pretty(&without_empty(hooks)).as_bytes(),
                pretty(&without_empty(found.into())).as_bytes(),
            );
            check("notes.txt", &text("notes.txt"), &sorted.notes);
            let names: String = sorted.crds.iter().map(|(name, _)| format!("{name}\n")).collect();
            check("crds.txt", &text("crds.txt"), names.as_bytes());
        }
    }
    (!problems.is_empty()).then_some(problems)
}

fn describe(hook: &Hook) -> Value {
    json!({
        "name": hook.name,
        "kind": hook.kind,
        "path": hook.path,
        "events": hook.events,
        "weight": hook.weight,
        "deletePolicies": hook.delete_policies,
        "manifest": String::from_utf8_lossy(&hook.manifest),
    })
}

/// Empty lists count as absent.
fn without_empty(mut hooks: Value) -> Value {
    for hook in hooks.as_array_mut().into_iter().flatten() {
        hook.as_object_mut().unwrap().retain(|_, field| !field.is_null() && *field != json!([]));
    }
    hooks
}

/// Numbers compare by value.
fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(fields) => fields.iter().map(|(key, field)| (key.clone(), normal(field))).collect(),
        other => other.clone(),
    }
}

fn difference(what: &str, expected: &str, found: &str) -> String {
    let (expected, found): (Vec<_>, Vec<_>) = (expected.split('\n').collect(), found.split('\n').collect());
    let at = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let show = |lines: &[&str], sign: &str| {
        lines.iter().skip(at).take(6).map(|line| format!("    {sign} {line:?}\n")).collect::<String>()
    };
    format!("  {what}, line {}:\n{}{}", at + 1, show(&expected, "-"), show(&found, "+"))
}
