//! `lotse render` as people call it, beside the tools that it takes the place of.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../render/tests/corpus")
}

fn render(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lotse"));
    command.arg("render").args(arguments).current_dir(directory);
    command.output().unwrap()
}

/// Standard output of a render that must work.
fn printed(directory: &Path, arguments: &[&str]) -> String {
    let output = render(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of a render that must fail with that exit code and print nothing.
fn refused(directory: &Path, arguments: &[&str], code: i32) -> String {
    let output = render(directory, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty(), "{arguments:?} printed {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn write(root: &TempDir, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

const CHART: [(&str, &str); 4] = [
    ("chart/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3\n"),
    ("chart/values.yaml", "greeting: hello\nimage: {tag: v1}\n"),
    (
        "chart/templates/config.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n  namespace: {{ .Release.Namespace }}\ndata:\n  greeting: {{ .Values.greeting | quote }}\n  tag: {{ .Values.image.tag | quote }}\n",
    ),
    (
        "chart/templates/test.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: try\n  annotations: {helm.sh/hook: test}\nspec:\n  containers: [{name: try, image: busybox}]\n",
    ),
];

#[test]
fn a_kustomization_prints_what_kubectl_kustomize_prints() {
    let cases = [
        "vars-into-args",
        "labels-fields",
        "anchors-merge",
        "components-images-labels",
        "real-shop-dev",
        "emit-crlf-file",
        "cmgen-options-merge",
        "replacements-regex-select",
    ];
    for name in cases {
        let case = corpus().join("kustomize").join(name);
        let root = fs::read_to_string(case.join("root")).unwrap();
        let kubectl = Command::new("kubectl").args(["kustomize", root.trim()]).current_dir(&case).output().unwrap();
        assert!(kubectl.status.success(), "{name}: {}", String::from_utf8_lossy(&kubectl.stderr));
        assert_eq!(printed(&case, &[root.trim()]), String::from_utf8(kubectl.stdout).unwrap(), "{name}");
    }
}

#[test]
fn a_chart_takes_the_options_of_helm_template() {
    let root = TempDir::new().unwrap();
    write(&root, &CHART);
    write(&root, &[("prod.yaml", "greeting: bonjour\n"), ("motd", "hi there")]);
    let text = printed(
        root.path(),
        &["chart", "--name", "web", "-n", "shop", "-f", "prod.yaml", "--set", "image.tag=v2", "--no-hooks"],
    );
    assert_eq!(
        text,
        "---\n# Source: shop/templates/config.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\n  namespace: shop\ndata:\n  greeting: \"bonjour\"\n  tag: \"v2\"\n"
    );
    let text = printed(
        root.path(),
        &[
            "chart",
            "--set-file",
            "greeting=motd",
            "--set-string",
            "image.tag=3",
            "--show-only",
            "templates/config.yaml",
        ],
    );
    assert!(
        text.contains("greeting: \"hi there\"") && text.contains("tag: \"3\"") && !text.contains("kind: Pod"),
        "{text}"
    );
    let text = printed(root.path(), &["chart", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list["kind"], "List");
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    printed(root.path(), &["chart", "--output-dir", "out", "--raw"]);
    assert!(fs::read_to_string(root.path().join("out/shop/templates/config.yaml")).unwrap().starts_with("apiVersion"));
}

#[test]
fn show_only_means_the_same_for_text_objects_and_files() {
    let root = TempDir::new().unwrap();
    write(&root, &CHART);
    let only = ["chart", "--name", "x", "--show-only", "templates/conf*.yaml"];
    let text = printed(root.path(), &only);
    assert!(text.contains("kind: ConfigMap") && !text.contains("kind: Pod"), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&printed(root.path(), &[&only[..], &["-o", "json"]].concat())).unwrap();
    assert_eq!(json["items"].as_array().unwrap().len(), 1, "{json}");
    assert_eq!(json["items"][0]["kind"], "ConfigMap");
    printed(root.path(), &[&only[..], &["--output-dir", "out"]].concat());
    let written: Vec<_> = fs::read_dir(root.path().join("out/shop/templates")).unwrap().collect();
    assert_eq!(written.len(), 1, "{written:?}");
    assert_eq!(fs::read_to_string(root.path().join("out/shop/templates/config.yaml")).unwrap(), text);
    for more in [&[][..], &["-o", "json"], &["--output-dir", "none"]] {
        let wrong = [&["chart", "--name", "x", "--show-only", "templates/nothing.yaml"][..], more].concat();
        let message = refused(root.path(), &wrong, 1);
        assert!(message.contains("templates/nothing.yaml"), "{more:?}: {message}");
    }
    assert!(!root.path().join("none").exists(), "nothing is written of a render that failed");
}

#[test]
fn a_packed_chart_renders_like_its_directory() {
    let root = TempDir::new().unwrap();
    write(&root, &CHART);
    let packed = Command::new("tar").args(["-czf", "shop.tgz", "chart"]).current_dir(root.path()).status().unwrap();
    assert!(packed.success());
    assert_eq!(printed(root.path(), &["shop.tgz"]), printed(root.path(), &["chart"]));
}

#[test]
fn a_revision_is_read_from_git_and_the_files_on_disk_do_not_matter() {
    let root = TempDir::new().unwrap();
    write(&root, &CHART);
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        let status = Command::new("git").args(identity).args(arguments).current_dir(root.path()).status().unwrap();
        assert!(status.success());
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "first"]);
    git(&["tag", "v1"]);
    write(&root, &[("chart/values.yaml", "greeting: changed\nimage: {tag: v9}\n")]);
    assert!(printed(root.path(), &["chart"]).contains("changed"));
    assert!(printed(root.path(), &["chart", "--revision", "v1"]).contains("hello"));
    let url = format!("file://{}", root.path().display());
    assert!(printed(root.path(), &[&url, "--path", "chart", "--revision", "main"]).contains("hello"));
    assert!(refused(root.path(), &["chart", "--revision", "nope"], 1).contains("nope"));
}

#[test]
fn failures_name_file_line_and_value_and_print_nothing() {
    let root = TempDir::new().unwrap();
    write(&root, &CHART);
    write(&root, &[("chart/templates/broken.yaml", "a: 1\nb: {{ required \"set host\" .Values.host }}\n")]);
    let error = refused(root.path(), &["chart"], 1);
    assert!(error.contains("shop/templates/broken.yaml:2:") && error.contains("set host"), "{error}");
    assert!(error.contains("2 | b: {{ required"), "{error}");
    write(&root, &[("chart/templates/broken.yaml", "b: {{ .Values.nothing.there }}\n")]);
    let error = refused(root.path(), &["chart"], 1);
    assert!(error.contains(".Values.nothing.there") && error.contains("nil pointer"), "{error}");
    assert!(refused(root.path(), &["chart", "--set", "a[b]=1"], 1).contains("--set"));
    assert!(refused(root.path(), &["nothing-here"], 4).contains("nothing-here"));
    refused(root.path(), &["chart", "--no-such-option"], 2);
}

#[test]
fn validation_says_what_the_api_would_refuse() {
    let root = TempDir::new().unwrap();
    let good = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n";
    write(&root, &[("plain/service.yaml", good)]);
    printed(root.path(), &["plain", "--validate"]);
    let bad =
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80000}], selecter: {a: b}}\n";
    write(&root, &[("plain/service.yaml", bad)]);
    let error = refused(root.path(), &["plain", "--validate"], 1);
    assert!(error.contains("plain/service.yaml: Service web"), "{error}");
    assert!(error.contains("spec.selecter") && error.contains("spec.ports[0].port"), "{error}");
}
