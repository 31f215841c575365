//! What sources want from elsewhere: repositories, files and charts behind real servers on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod setup;

use std::{path::Path, sync::Arc, time::Duration};

use lotse_delivery::{
    git::Credentials,
    remotes::{CredentialsOf, Origin, Remotes, Session},
};
use lotse_render::{
    MemoryTree,
    helm::{Chart, InflateCharts, Offline, render},
    kustomize::Options,
};
use setup::{
    config_map, git,
    server::{Answer, Site, chart, packed, serve, sha256},
};
use tempfile::TempDir;

/// Where copies are kept, and how a source is rendered with them.
struct Bench {
    directory: TempDir,
    remotes: Remotes,
    credentials: CredentialsOf,
}

impl Bench {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = TempDir::new().unwrap();
        let remotes = Remotes::new(directory.path().join("remotes"), Duration::ZERO);
        Self { directory, remotes, credentials: Arc::new(|_| None) }
    }

    /// The same with a password for URLs below this one.
    fn with_password(url: &str) -> Self {
        let url = url.to_owned();
        let password = || Credentials::Password { username: "me".to_owned(), password: "canary".to_owned() };
        Self { credentials: Arc::new(move |of| of.starts_with(&url).then(password)), ..Self::new() }
    }

    async fn with<T: Send + 'static>(&self, work: impl FnOnce(&Session) -> T + Send + 'static) -> T {
        self.with_origin(Origin::Elsewhere, work).await
    }

    async fn with_origin<T: Send + 'static>(
        &self,
        origin: Origin,
        work: impl FnOnce(&Session) -> T + Send + 'static,
    ) -> T {
        let (remotes, credentials) = (self.remotes.clone(), self.credentials.clone());
        tokio::task::spawn_blocking(move || work(&remotes.session(origin, credentials))).await.unwrap()
    }

    /// The text of a kustomization, or why there is none.
    async fn build(&self, files: &[(&str, &str)]) -> Result<String, String> {
        self.build_from(Origin::Elsewhere, files).await
    }

    async fn build_from(&self, origin: Origin, files: &[(&str, &str)]) -> Result<String, String> {
        let tree = tree(files);
        self.with_origin(origin, move |session| {
            let charts = InflateCharts::default();
            let options = Options { charts: Some(&charts), ..Options::default() };
            let build = session.build(&tree, "", &options).map_err(|error| error.to_string())?;
            Ok(String::from_utf8(build.text).unwrap())
        })
        .await
    }

    /// What a chart with its dependencies prints, or why it does not.
    async fn template(&self, files: &[(&str, &str)], directory: &'static str) -> Result<String, String> {
        let tree = tree(files);
        self.with(move |session| {
            let mut chart = Chart::load(&tree, directory).map_err(|error| error.to_string())?;
            session.complete(&mut chart, &tree, directory).map_err(|error| error.to_string())?;
            let rendered = render(&chart, &lotse_render::helm::Options::default(), &Offline).unwrap();
            Ok(rendered.files.values().map(|text| String::from_utf8_lossy(text)).collect())
        })
        .await
    }

    async fn chart(&self, repository: &str, name: &'static str, constraint: &'static str) -> Result<String, String> {
        let repository = repository.to_owned();
        self.with(move |session| {
            let found = session.chart(&repository, name, constraint);
            found.map(|chart| chart.version).map_err(|error| error.to_string())
        })
        .await
    }
}

fn tree(files: &[(&str, &str)]) -> MemoryTree {
    let mut tree = MemoryTree::default();
    for (path, content) in files {
        tree.insert(path, *content).unwrap();
    }
    tree
}

/// A repository with these files below `root`.
fn repository(root: &Path, name: &str, files: &[(&str, &str)]) {
    let path = root.join(name);
    for (file, content) in files {
        let file = path.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }
    if !path.join(".git").exists() {
        git(&path, &["init", "--quiet", "--initial-branch=main"]);
    }
    setup::commit(&path, "files");
}

const MULTI: &str = "resources:\n- ../base\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bases_of_other_repositories_are_fetched_with_what_they_refer_to_themselves() {
    let bench = Bench::new();
    let root = bench.directory.path();
    repository(
        root,
        "platform",
        &[
            ("overlay/kustomization.yaml", MULTI),
            ("base/kustomization.yaml", "resources: [map.yaml]\n"),
            ("base/map.yaml", &config_map("platform", "one")),
        ],
    );
    git(&root.join("platform"), &["tag", "v1"]);
    let (url, requests) = serve(root, None).await;
    let entry = |reference: &str| format!("namePrefix: my-\nresources:\n- {url}/platform/.git//overlay{reference}\n");
    let build = async |reference: &str| bench.build(&[("kustomization.yaml", &entry(reference))]).await;
    assert!(build("").await.unwrap().contains("name: my-platform"));
    repository(root, "platform", &[("base/map.yaml", &config_map("platform", "two"))]);
    assert!(build("?ref=main").await.unwrap().contains("key: two"));
    assert!(build("?ref=v1").await.unwrap().contains("key: one"));
    let head =
        std::process::Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root.join("platform")).output();
    let head = String::from_utf8(head.unwrap().stdout).unwrap();
    let before = requests.load(std::sync::atomic::Ordering::SeqCst);
    assert!(build(&format!("?ref={}", head.trim())).await.unwrap().contains("key: two"));
    assert_eq!(requests.load(std::sync::atomic::Ordering::SeqCst), before, "a commit that is here was asked for");
    let error = build("?ref=v9").await.unwrap_err();
    assert!(error.starts_with(".: repository ") && error.contains("revision \"v9\" does not exist"), "{error}");
    let error = bench.build(&[("kustomization.yaml", "resources: ['git://127.0.0.1/x//y']\n")]).await.unwrap_err();
    assert!(error.contains("scheme that is not supported"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_network_what_was_kept_has_to_do() {
    let (bench, site) = (Bench::new(), Site::new().await);
    let root = bench.directory.path();
    repository(
        root,
        "platform",
        &[("kustomization.yaml", "resources: [map.yaml]\n"), ("map.yaml", &config_map("p", "one"))],
    );
    git(&root.join("platform"), &["branch", "--quiet", "-m", "trunk"]);
    site.content("/a.yaml", config_map("a", "one"));
    site.publish(&[("web", "1.2.0", &chart("web", "1.2.0", ""))]);
    let (url, requests) = serve(root, None).await;
    let kustomization = format!(
        "resources: ['{url}/platform/.git', '{0}/a.yaml']\nhelmCharts: [{{name: web, repo: '{0}/charts', version: 1.2.0}}]\n",
        site.url
    );
    let files = [("kustomization.yaml", kustomization.as_str())];
    let offline = Bench { remotes: Remotes::for_command(root.join("remotes"), true), ..Bench::new() };
    let error = offline.build(&files).await.unwrap_err();
    assert!(error.contains("has not been kept by an earlier run"), "{error}");
    let online = bench.build(&files).await.unwrap();
    let asked = || (requests.load(std::sync::atomic::Ordering::SeqCst), site.requests.lock().unwrap().len());
    let before = asked();
    assert_eq!(offline.build(&files).await.unwrap(), online);
    assert_eq!(asked(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetched_repository_reads_nothing_of_this_machine() {
    let bench = Bench::new();
    let root = bench.directory.path();
    repository(
        root,
        "secret",
        &[("kustomization.yaml", "resources: [map.yaml]\n"), ("map.yaml", &config_map("secret", "canary"))],
    );
    let local = format!("resources: ['file://{}/secret']\n", root.display());
    // Who may name this machine's repositories is a source on this machine, and nobody that it trusts.
    assert!(bench.build_from(Origin::Local, &[("kustomization.yaml", &local)]).await.unwrap().contains("canary"));
    let error = bench.build(&[("kustomization.yaml", &local)]).await.unwrap_err();
    assert!(error.contains("is a path of this machine") && !error.contains("canary"), "{error}");
    let by_path = format!("resources: ['git::{}/secret/.git//']\n", root.display());
    repository(root, "evil", &[("a/kustomization.yaml", &local), ("b/kustomization.yaml", &by_path)]);
    std::os::unix::fs::symlink("/etc/passwd", root.join("evil/a/passwd")).unwrap();
    repository(root, "evil", &[("c/kustomization.yaml", "resources: [../../../secret]\n")]);
    repository(root, "evil", &[("d/kustomization.yaml", "resources: [../a/passwd]\n")]);
    let (url, _) = serve(root, None).await;
    for directory in ["a", "b", "c", "d"] {
        let entry = format!("resources: ['{url}/evil/.git//{directory}']\n");
        let error = bench.build_from(Origin::Local, &[("kustomization.yaml", &entry)]).await.unwrap_err();
        assert!(!error.contains("canary") && !error.contains("root:"), "{error}");
    }
    // Also when a trusted kustomization has brought it in already.
    let both = format!("resources: ['file://{}/secret', '{url}/evil/.git//a']\n", root.display());
    let error = bench.build_from(Origin::Local, &[("kustomization.yaml", &both)]).await.unwrap_err();
    assert!(error.contains("is a path of this machine"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_behind_urls_are_read_again_only_when_they_have_changed() {
    let (bench, site) = (Bench::new(), Site::new().await);
    site.content("/x/install.yaml", config_map("remote", "one"));
    let kustomization = format!("resources: ['{}/x/install.yaml']\n", site.url);
    let files = [("kustomization.yaml", kustomization.as_str())];
    assert!(bench.build(&files).await.unwrap().contains("key: one"));
    assert!(bench.build(&files).await.unwrap().contains("key: one"));
    site.content("/x/install.yaml", config_map("remote", "two"));
    assert!(bench.build(&files).await.unwrap().contains("key: two"));
    assert_eq!(site.count("/x/install.yaml"), 3);
    site.put("/moved.yaml", Answer::Redirect("/x/install.yaml".to_owned()));
    let moved = format!("resources: ['{}/moved.yaml']\n", site.url);
    assert!(bench.build(&[("kustomization.yaml", &moved)]).await.unwrap().contains("key: two"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_servers_get_a_clear_error_and_nothing_else() {
    let (bench, site) = (Bench::new(), Site::new().await);
    site.put("/endless.yaml", Answer::Endless);
    site.put("/metadata.yaml", Answer::Redirect("http://169.254.169.254/latest/x.yaml".to_owned()));
    site.put("/decimal.yaml", Answer::Redirect("http://2852039166/x.yaml".to_owned()));
    site.put("/file.yaml", Answer::Redirect("file:///etc/passwd".to_owned()));
    site.put("/loop.yaml", Answer::Redirect("/loop.yaml".to_owned()));
    site.put("/error.yaml", Answer::Status(503, "x-a", "b".to_owned()));
    site.put("/private.yaml", Answer::Status(401, "www-authenticate", "Basic".to_owned()));
    for (path, expected) in [
        ("/endless.yaml", "longer than 16777216 bytes"),
        ("/metadata.yaml", "metadata address 169.254.169.254"),
        ("/decimal.yaml", "metadata address 169.254.169.254"),
        ("/file.yaml", "scheme \"file\" is not supported"),
        ("/loop.yaml", "redirects more than 5 times"),
        ("/error.yaml", "503"),
        ("/nothing.yaml", "404"),
        ("/private.yaml", "refuses access"),
    ] {
        let kustomization = format!("resources: ['{}{path}']\n", site.url);
        let error = bench.build(&[("kustomization.yaml", &kustomization)]).await.unwrap_err();
        assert!(error.contains(expected) && error.contains(path), "{error}");
    }
    // A Git server that redirects there, and bases that name it themselves.
    site.put(
        "/repo.git/info/refs?service=git-upload-pack",
        Answer::Redirect("http://169.254.169.254/x/info/refs?service=git-upload-pack".to_owned()),
    );
    for url in [format!("{}/repo.git//x", site.url), "http://169.254.169.254/a/b.git//x".to_owned()] {
        let error = bench.build(&[("kustomization.yaml", &format!("resources: ['{url}']\n"))]).await.unwrap_err();
        assert!(error.contains("metadata address"), "{error}");
    }
    // Ever more needs.
    let many: String = (0..70).map(|n| format!("- {}/n{n}.yaml\n", site.url)).collect();
    (0..70).for_each(|n| site.content(&format!("/n{n}.yaml"), config_map(&format!("n{n}"), "x")));
    let error = bench.build(&[("kustomization.yaml", &format!("resources:\n{many}"))]).await.unwrap_err();
    assert!(error.contains("one source may want 64 things"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charts_of_a_kustomization_are_fetched_by_version_and_constraint() {
    let (bench, site) = (Bench::new(), Site::new().await);
    let (first, second) = (chart("web", "1.2.0", ""), chart("web", "1.10.0", ""));
    site.publish(&[("web", "1.2.0", &first), ("web", "1.10.0", &second)]);
    let entry = |version: &str| {
        format!("helmCharts:\n- name: web\n  repo: {}/charts\n  releaseName: x\n  version: '{version}'\n", site.url)
    };
    for (version, key) in [("1.2.0", "1.2.0"), ("", "1.10.0"), ("1.*", "1.10.0")] {
        let text = bench.build(&[("kustomization.yaml", &entry(version))]).await.unwrap();
        assert!(text.contains(&format!("key: {key}")), "{version}: {text}");
    }
    let error = bench.build(&[("kustomization.yaml", &entry("9"))]).await.unwrap_err();
    assert!(error.contains("has no version of web 9; it has 1.2.0, 1.10.0"), "{error}");
    assert_eq!(site.count("/charts/web-1.10.0.tgz"), 1, "a version is fetched once");
}

const PARENT: &str = "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies:\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_dependencies_of_charts_are_fetched_as_helm_would() {
    let (bench, site) = (Bench::new(), Site::new().await);
    let nested = format!("dependencies: [{{name: leaf, version: 1.x, repository: '{}/charts'}}]\n", site.url);
    let (old, new) = (chart("db", "1.0.0", ""), chart("db", "1.5.0", &nested));
    let leaf = chart("leaf", "1.0.1", "");
    site.publish(&[("db", "1.0.0", &old), ("db", "1.5.0", &new), ("leaf", "1.0.1", &leaf)]);
    let parent = format!(
        "{PARENT}- {{name: db, version: 1.x, repository: '{}/charts/', alias: store}}\n- {{name: common, version: '>=2', repository: 'file://../common'}}\n",
        site.url
    );
    let common = "apiVersion: v2\nname: common\nversion: 2.0.0\n";
    let template = "kind: {{ .Chart.Name }}\n";
    let files = [
        ("charts/shop/Chart.yaml", parent.as_str()),
        ("charts/common/Chart.yaml", common),
        ("charts/common/templates/x.yaml", template),
    ];
    let text = bench.template(&files, "charts/shop").await.unwrap();
    assert!(text.contains("\"1.5.0\"") && text.contains("name: leaf") && text.contains("kind: common"), "{text}");
    // A lock that still fits decides; one that does not is passed over.
    let lock = |version: &str| {
        format!(
            "dependencies:\n- {{name: db, repository: '{}/charts', version: {version}}}\n- {{name: common, repository: 'file://../common', version: 2.0.0}}\ndigest: sha256:0\n",
            site.url
        )
    };
    for (version, expected) in [("1.0.0", "\"1.0.0\""), ("0.9.0", "\"1.5.0\"")] {
        let lock = lock(version);
        let mut files = files.to_vec();
        files.push(("charts/shop/Chart.lock", &lock));
        let text = bench.template(&files, "charts/shop").await.unwrap();
        assert!(text.contains(expected), "{version}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dependencies_that_cannot_be_had_are_named_with_what_to_change() {
    let (bench, site) = (Bench::new(), Site::new().await);
    site.publish(&[("db", "1.0.0", &chart("db", "1.0.0", "")), ("wrong", "1.0.0", &chart("other", "1.0.0", ""))]);
    let unreachable = "http://127.0.0.1:9";
    for (dependency, expected) in [
        ("name: db, version: 1, repository: '@stable'".to_owned(), "write its URL"),
        ("name: db, version: 1, repository: 'alias:stable'".to_owned(), "write its URL"),
        ("name: db, version: 1".to_owned(), "names no repository"),
        ("name: db, version: 1, repository: 'file:///etc'".to_owned(), "absolute path"),
        ("name: db, version: 1, repository: 'file://../../..'".to_owned(), "leaves the repository"),
        (format!("name: db, version: 2, repository: '{}/charts'", site.url), "has no version of db 2; it has 1.0.0"),
        (format!("name: wrong, version: 1, repository: '{}/charts'", site.url), "is called \"other\""),
        (format!("name: db, version: newest, repository: '{}/charts'", site.url), "no version and no constraint"),
        (format!("name: db, version: 1, repository: '{}/none'", site.url), "404"),
        (format!("name: db, version: 1, repository: {unreachable}"), "Connection refused"),
        ("name: db, version: 1, repository: 'http://169.254.169.254/x'".to_owned(), "metadata address"),
        ("name: db, version: 1, repository: 'ftp://x/y'".to_owned(), "no chart repository"),
        (format!("name: ../db, version: 1, repository: '{}/charts'", site.url), "no name of a chart"),
    ] {
        let parent = format!("{PARENT}- {{{dependency}}}\n");
        let error = bench.template(&[("shop/Chart.yaml", &parent)], "shop").await.unwrap_err();
        assert!(error.contains(expected) && error.contains("chart shop: dependency"), "{dependency}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archives_that_are_not_what_the_index_says_are_refused() {
    let (bench, site) = (Bench::new(), Site::new().await);
    let url = format!("{}/charts", site.url);
    let good = chart("web", "1.0.0", "");
    let index = |digest: &str, place: &str| {
        format!("entries: {{web: [{{version: 1.0.0, digest: '{digest}', urls: ['{place}']}}]}}")
    };
    site.content("/charts/web.tgz", good.clone());
    site.content("/charts/bad.tgz", packed("web", &[("../../evil", "x")].map(|_| ("x", "y"))));
    site.content("/charts/plain.tgz", "no archive");
    site.put("/charts/huge.tgz", Answer::Endless);
    let right = sha256(&good);
    for (content, expected) in [
        (index(&"0".repeat(64), "web.tgz"), "is not the one of the index"),
        (index("", "file:///etc/passwd"), "scheme \"file\""),
        (index("", "../../../../etc/passwd"), "404"),
        (index("", "http://169.254.169.254/web.tgz"), "metadata address"),
        (index("", "huge.tgz"), "longer than 67108864 bytes"),
        (index("", "plain.tgz"), "no gzipped archive"),
        (index("", ""), "names no URL"),
        ("entries: {web: [{version: 1.0.0}]}".to_owned(), "names no URL"),
        ("entries: [".to_owned(), "index.yaml cannot be read"),
        (format!("entries: {{web: {}{}}}", "[".repeat(5000), "]".repeat(5000)), "index.yaml cannot be read"),
    ] {
        site.content("/charts/index.yaml", content.clone());
        let error = bench.chart(&url, "web", "1.0.0").await.unwrap_err();
        assert!(error.contains(expected) && !error.contains("root:"), "{}: {error}", &content[..60]);
    }
    site.put("/charts/index.yaml", Answer::Endless);
    let error = bench.chart(&url, "web", "1.0.0").await.unwrap_err();
    assert!(error.contains("longer than 67108864 bytes"), "{error}");
    site.content("/charts/index.yaml", index(&right, "web.tgz"));
    assert_eq!(bench.chart(&url, "web", "1.0.0").await.unwrap(), "1.0.0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_go_to_their_repository_and_to_no_other_host() {
    let (site, other) = (Site::new().await, Site::new().await);
    let basic = "Basic bWU6Y2FuYXJ5";
    let packed = chart("web", "1.0.0", "");
    other.content("/web-1.0.0.tgz", packed.clone());
    other.content("/stolen.yaml", config_map("x", "y"));
    let index = format!("entries: {{web: [{{version: 1.0.0, urls: ['{}/web-1.0.0.tgz']}}]}}", other.url);
    site.put("/charts/index.yaml", Answer::Guarded(basic, index.into_bytes(), "Basic realm=x".to_owned()));
    site.put("/away.yaml", Answer::Redirect(format!("{}/stolen.yaml", other.url)));
    let bench = Bench::with_password(&site.url);
    assert_eq!(bench.chart(&format!("{}/charts", site.url), "web", "").await.unwrap(), "1.0.0");
    let kustomization = format!("resources: ['{}/away.yaml']\n", site.url);
    bench.build(&[("kustomization.yaml", &kustomization)]).await.unwrap();
    assert_eq!(site.authorizations("/charts/index.yaml"), [basic]);
    assert_eq!(site.authorizations("/away.yaml"), [basic]);
    for path in ["/web-1.0.0.tgz", "/stolen.yaml"] {
        assert_eq!(other.authorizations(path), [""], "{path}");
    }
    // What one was authorised to read, others do not get from the copies.
    let anonymous = Bench { credentials: Arc::new(|_| None), ..bench };
    let error = anonymous.chart(&format!("{}/charts", site.url), "web", "1.0.0").await.unwrap_err();
    assert!(error.contains("refuses access") && !error.contains("canary"), "{error}");
}

/// An OCI registry with one chart.
fn registry(site: &Site, name: &str, versions: &[&str]) {
    let tags: Vec<String> = versions.iter().map(|version| version.replace('+', "_")).collect();
    for (version, tag) in versions.iter().zip(&tags) {
        let packed = chart(name, version, "");
        let digest = format!("sha256:{}", sha256(&packed));
        site.content(&format!("/v2/team/{name}/blobs/{digest}"), packed.clone());
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": format!("sha256:{}", "0".repeat(64)), "size": 2},
            "layers": [{"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "digest": digest, "size": packed.len()}],
        });
        site.content(&format!("/v2/team/{name}/manifests/{tag}"), manifest.to_string());
    }
    // The list has two pages, and the second is asked for here whatever host the first one names.
    let list = format!("/v2/team/{name}/tags/list");
    let link = format!("<http://169.254.169.254{list}?n=1000&last=x>; rel=\"next\"");
    site.put(&format!("{list}?n=1000"), Answer::Linked(r#"{"tags": ["latest"]}"#.into(), link));
    site.content(&format!("{list}?n=1000&last=x"), serde_json::json!({"tags": tags}).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charts_of_oci_registries_are_fetched_with_tokens_for_the_registry_alone() {
    let site = Site::new().await;
    let host = site.url.strip_prefix("http://").unwrap().to_owned();
    registry(&site, "web", &["1.0.0", "1.4.0+build.1", "2.0.0-rc.1"]);
    let bench = Bench::new();
    let url = format!("oci://{host}/team");
    assert_eq!(bench.chart(&url, "web", "1.0.0").await.unwrap(), "1.0.0");
    assert_eq!(bench.chart(&url, "web", "^1").await.unwrap(), "1.4.0+build.1");
    assert_eq!(bench.chart(&url, "web", "").await.unwrap(), "1.4.0+build.1");
    assert_eq!(bench.chart(&url, "web", "1.0.0").await.unwrap(), "1.0.0");
    assert_eq!(site.count("/v2/team/web/manifests/1.0.0"), 1);
    let error = bench.chart(&url, "web", "7.0.0").await.unwrap_err();
    assert!(error.contains("has no version 7.0.0"), "{error}");
    // A registry that sends something else.
    let manifest = r#"{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:0","size":1},"layers":[{"mediaType":"application/tar+gzip","digest":"sha256:DIGEST","size":4}]}"#;
    let manifest = manifest.replace("DIGEST", &"1".repeat(64));
    site.content("/v2/team/web/manifests/3.0.0", manifest);
    site.content(&format!("/v2/team/web/blobs/sha256:{}", "1".repeat(64)), "evil");
    let error = bench.chart(&url, "web", "3.0.0").await.unwrap_err();
    assert!(error.contains("what the registry sent"), "{error}");
    for (repository, name) in [("oci://charts", "web"), (url.as_str(), "UPPER"), ("oci://169.254.169.254/x", "web")] {
        assert!(bench.chart(repository, name, "1.0.0").await.is_err(), "{repository}/{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_servers_elsewhere_never_see_a_password() {
    let (site, thief) = (Site::new().await, Site::new().await);
    let host = site.url.strip_prefix("http://").unwrap().to_owned();
    let url = format!("oci://{host}/team");
    let packed = chart("web", "1.0.0", "");
    let digest = format!("sha256:{}", sha256(&packed));
    let manifest = serde_json::json!({"schemaVersion": 2,
        "config": {"mediaType": "x", "digest": digest, "size": 2},
        "layers": [{"mediaType": "application/tar+gzip", "digest": digest, "size": packed.len()}]});
    let guarded = |realm: &str, content: Vec<u8>| {
        Answer::Guarded("Bearer t0ken", content, format!("Bearer realm=\"{realm}/token\",service=\"s\""))
    };
    let token = "/token?scope=repository%3Ateam%2Fweb%3Apull&service=s";
    thief.content(token, r#"{"token": "x"}"#);
    site.put("/v2/team/web/manifests/1.0.0", guarded(&thief.url, manifest.to_string().into_bytes()));
    let bench = Bench::with_password(&url);
    assert!(bench.chart(&url, "web", "1.0.0").await.is_err());
    assert_eq!(thief.authorizations(token), [""]);
    // The registry's own one does.
    site.put("/v2/team/web/manifests/1.0.0", guarded(&site.url, manifest.to_string().into_bytes()));
    site.put(&format!("/v2/team/web/blobs/{digest}"), guarded(&site.url, packed));
    site.content(token, r#"{"access_token": "t0ken"}"#);
    assert_eq!(bench.chart(&url, "web", "1.0.0").await.unwrap(), "1.0.0");
    assert_eq!(site.authorizations(token), ["Basic bWU6Y2FuYXJ5"]);
    // A metadata service is no token server.
    site.put("/v2/team/web/manifests/1.0.1", guarded("http://169.254.169.254", Vec::new()));
    let error = bench.chart(&url, "web", "1.0.1").await.unwrap_err();
    assert!(error.contains("metadata address"), "{error}");
}
