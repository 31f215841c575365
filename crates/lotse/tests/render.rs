//! `lotse render` as people call it, beside the tools that it takes the place of.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::HashMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../render/tests/corpus")
}

fn render(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lotse"));
    command.arg("render").args(arguments).current_dir(directory).env("XDG_CACHE_HOME", directory.join(".cache"));
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
fn a_kustomization_prints_what_kustomize_build_prints() {
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
        let recorded = fs::read_to_string(case.join("expected.yaml")).unwrap();
        assert_eq!(printed(&case, &[root.trim()]), recorded, "{name}");
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

/// A server of these files on loopback, for as long as the test runs.
fn serve(files: HashMap<String, Vec<u8>>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            lines.map_while(Result::ok).find(String::is_empty);
            let path = first.split(' ').nth(1).unwrap_or_default();
            let (status, body) = match files.get(path) {
                Some(body) => ("200 OK", body.clone()),
                None => ("404 Not Found", Vec::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.into_bytes(), body].concat());
        }
    });
    url
}

/// A chart repository with one chart.
fn chart_repository(root: &TempDir) -> String {
    write(
        root,
        &[
            ("published/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.4.0\n"),
            (
                "published/web/templates/map.yaml",
                "kind: ConfigMap\napiVersion: v1\nmetadata: {name: web-of-{{ .Release.Name }}}\n",
            ),
        ],
    );
    let directory = root.path().join("published");
    let packed = Command::new("tar").args(["-czf", "web.tgz", "web"]).current_dir(&directory).status().unwrap();
    assert!(packed.success());
    let packed = fs::read(directory.join("web.tgz")).unwrap();
    let index =
        "entries:\n  web:\n  - {version: 1.4.0, urls: [web-1.4.0.tgz]}\n  - {version: 1.3.0, urls: [gone.tgz]}\n";
    serve(HashMap::from([
        ("/charts/index.yaml".to_owned(), index.into()),
        ("/charts/web-1.4.0.tgz".to_owned(), packed),
        ("/map.yaml".to_owned(), "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: elsewhere\n".into()),
    ]))
}

#[test]
fn charts_are_fetched_by_repository_and_by_url_as_helm_template_takes_them() {
    let root = TempDir::new().unwrap();
    let url = chart_repository(&root);
    let repository = format!("{url}/charts");
    let text = printed(root.path(), &["web", "--repo", &repository, "--version", "1.*", "--name", "x"]);
    assert!(text.contains("name: web-of-x") && text.contains("# Source: web/templates/map.yaml"), "{text}");
    let again = ["web", "--repo", &repository, "--version", "1.4.0", "--name", "x"];
    assert_eq!(printed(root.path(), &again), text);
    assert_eq!(printed(root.path(), &[&again[..], &["--offline"]].concat()), text);
    assert_eq!(printed(root.path(), &[&format!("{repository}/web-1.4.0.tgz"), "--name", "x"]), text);
    let error = refused(root.path(), &["web", "--repo", &repository, "--version", "2.0.0"], 1);
    assert!(error.contains("has no version of web 2.0.0; it has 1.4.0, 1.3.0"), "{error}");
    let error = refused(root.path(), &["web", "--repo", &repository, "--version", "1.3.0", "--offline"], 1);
    assert!(error.contains("--offline asks nobody"), "{error}");
    let error = refused(root.path(), &[".", "--version", "1"], 2);
    assert!(error.contains("--version"), "{error}");
    let error = refused(root.path(), &["oci://127.0.0.1:9/charts/web", "--version", "1.0.0"], 1);
    assert!(error.contains("oci://127.0.0.1:9/charts/web") && error.contains("Connection refused"), "{error}");
}

#[test]
fn dependencies_are_fetched_only_when_that_is_wanted() {
    let root = TempDir::new().unwrap();
    let url = chart_repository(&root);
    let parent = format!(
        "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies:\n- {{name: web, version: ^1.0.0, repository: '{url}/charts'}}\n"
    );
    write(&root, &[("shop/Chart.yaml", &parent)]);
    let error = refused(root.path(), &["shop"], 1);
    assert!(error.contains("dependency web is not in charts/") && error.contains("--dependency-update"), "{error}");
    let text = printed(root.path(), &["shop", "--dependency-update"]);
    assert!(text.contains("# Source: shop/charts/web/templates/map.yaml"), "{text}");
    assert!(!root.path().join("shop/charts").exists(), "nothing is written into the chart");
    assert_eq!(printed(root.path(), &["shop", "--dependency-update", "--offline"]), text);
}

#[test]
fn remote_bases_are_fetched_as_kustomize_build_does() {
    let root = TempDir::new().unwrap();
    let url = chart_repository(&root);
    write(
        &root,
        &[
            ("base/d/kustomization.yaml", "resources: [map.yaml]\n"),
            ("base/d/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: base\n"),
        ],
    );
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"];
        let directory = root.path().join("base");
        assert!(Command::new("git").args(identity).args(arguments).current_dir(directory).status().unwrap().success());
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "-A"]);
    git(&["commit", "--quiet", "-m", "base"]);
    git(&["tag", "v1"]);
    let kustomization =
        format!("namePrefix: my-\nresources:\n- file://{}/base//d?ref=v1\n- {url}/map.yaml\n", root.path().display());
    write(&root, &[("overlay/kustomization.yaml", &kustomization)]);
    let error = refused(root.path(), &["overlay", "--offline"], 1);
    assert!(error.contains("overlay: ") && error.contains("--offline asks nobody"), "{error}");
    let text = printed(root.path(), &["overlay"]);
    assert!(text.contains("name: my-base") && text.contains("name: my-elsewhere"), "{text}");
    assert_eq!(printed(root.path(), &["overlay", "--offline"]), text);
    // A whole repository by its URL is a source on this machine too.
    let repository = format!("file://{}/base", root.path().display());
    assert!(printed(root.path(), &[&repository, "--path", "d", "--revision", "v1"]).contains("name: base"));
}
