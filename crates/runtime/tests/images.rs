//! Importing, pulling and removing images. Needs root (overlay mounts).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use base64::Engine;
use lotse_runtime::*;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use support::Machine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// An image of three layers on top of busybox; the second hides a file of the first.
struct Sample {
    config: Vec<u8>,
    layers: Vec<Vec<u8>>,
}

impl Sample {
    fn new() -> Self {
        let base = fs::read(support::rootfs()).unwrap();
        let layers = vec![
            base,
            layer(&[("data/a", "one"), ("data/b", "two")]),
            layer(&[("data/.wh.a", ""), ("data/b", "changed"), ("bin/../etc/x", "")][..2]),
            layer(&[("data/c", "three")]),
        ];
        let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
        let config = json!({
            "architecture": architecture(), "os": "linux",
            "config": {"Cmd": ["sh", "-c", "cat /data/*; ls /data"], "User": "app"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        Self { config: config.to_string().into_bytes(), layers }
    }

    fn blobs(&self) -> Vec<Vec<u8>> {
        let mut kinds =
            [gzip as fn(&[u8]) -> Vec<u8>, |bytes| zstd::encode_all(bytes, 1).unwrap(), |bytes| bytes.to_vec()]
                .into_iter()
                .cycle();
        self.layers.iter().map(|layer| kinds.next().unwrap()(layer)).collect()
    }

    fn manifest(&self, blobs: &[Vec<u8>]) -> Vec<u8> {
        let describe =
            |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
        let layers: Vec<Value> =
            blobs.iter().map(|blob| describe("application/vnd.oci.image.layer.v1.tar", blob)).collect();
        json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": describe("application/vnd.oci.image.config.v1+json", &self.config), "layers": layers,
        })
        .to_string()
        .into_bytes()
    }

    fn index(manifest: &[u8], annotations: Value) -> Vec<u8> {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": MANIFEST, "digest": digest(b"another"), "size": 3, "platform": {"os": "linux", "architecture": "s390x"}, "annotations": annotations},
            {"mediaType": MANIFEST, "digest": digest(manifest), "size": manifest.len(), "annotations": annotations,
                "platform": {"os": "linux", "architecture": architecture()}},
        ]})
        .to_string()
        .into_bytes()
    }
}

fn write_tar(path: &Path, members: &[(String, Vec<u8>)]) {
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.finish().unwrap();
}

fn blob_name(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", &digest(bytes)[7..])
}

async fn run(machine: &Machine, image: &str) -> String {
    let runtime = machine.runtime();
    runtime.start_pod(&support::pod("p")).await.unwrap();
    let mut spec = machine.shell("c", "");
    spec.command = vec![];
    spec.image = image.into();
    let status = runtime.start_container("p", &spec).await.unwrap();
    machine.wait("p", &status.id).await;
    let log = machine.log(&spec);
    fs::remove_file(&spec.log_path).unwrap();
    runtime.remove_pod("p").await.unwrap();
    log
}

const EXPECTED: &str = "changedthree";

#[tokio::test(flavor = "multi_thread")]
async fn archives_of_both_kinds_are_imported_and_run() {
    let machine = Machine::new().await;
    let runtime = machine.runtime();
    let sample = Sample::new();
    let blobs = sample.blobs();
    let manifest = sample.manifest(&blobs);
    let mut members = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        (
            "index.json".to_owned(),
            Sample::index(&manifest, json!({"io.containerd.image.name": "docker.io/library/sample:1"})),
        ),
        (blob_name(&manifest), manifest.clone()),
        (blob_name(&sample.config), sample.config.clone()),
    ];
    members.extend(blobs.iter().map(|blob| (blob_name(blob), blob.clone())));
    let layout = machine.directory.path().join("layout.tar");
    write_tar(&layout, &members);
    let image = runtime.import(&layout, None, None).await.unwrap().remove(0);
    assert_eq!(
        (image.id.as_str(), image.names.as_slice(), image.user.as_str()),
        (digest(&sample.config).as_str(), &["docker.io/library/sample:1".to_owned()][..], "app")
    );
    let log = run(&machine, "sample:1").await;
    assert!(log.starts_with(EXPECTED) && log.ends_with("b\nc\n"), "{log}");

    let mut members = vec![
        ("manifest.json".to_owned(), json!([{"Config": "c.json", "RepoTags": ["saved:2"], "Layers": ["0/layer.tar", "1/layer.tar", "2/layer.tar", "3/layer.tar"]}]).to_string().into_bytes()),
        ("c.json".to_owned(), sample.config.clone()),
    ];
    members
        .extend(sample.layers.iter().enumerate().map(|(number, layer)| (format!("{number}/layer.tar"), layer.clone())));
    let saved = machine.directory.path().join("saved.tar");
    write_tar(&saved, &members);
    let compressed = machine.directory.path().join("saved.tar.gz");
    fs::write(&compressed, gzip(&fs::read(&saved).unwrap())).unwrap();
    let image = runtime.import(&compressed, None, None).await.unwrap().remove(0);
    assert_eq!(image.names, ["docker.io/library/sample:1", "docker.io/library/saved:2"], "it is the same image");
    let renamed = runtime.import(&saved, Some("other:3"), None).await.unwrap().remove(0);
    assert!(renamed.names.contains(&"docker.io/library/other:3".to_owned()));

    for name in ["sample:1", "saved:2", "other:3"] {
        runtime.remove_image(name).await.unwrap();
    }
    assert!(runtime.image("sample:1").is_none() && runtime.image(&image.id).is_none());
    assert!(runtime.image(support::IMAGE).is_some(), "the layer that both share stays");
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_that_lie_are_refused_and_leave_nothing() {
    let machine = Machine::new().await;
    let runtime = machine.runtime();
    let sample = Sample::new();
    let path = machine.directory.path().join("bad.tar");
    let saved = |config: &[u8], layers: &[Vec<u8>]| {
        let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}.tar")).collect();
        let mut members = vec![
            (
                "manifest.json".to_owned(),
                json!([{"Config": "c.json", "RepoTags": ["bad:1"], "Layers": names}]).to_string().into_bytes(),
            ),
            ("c.json".to_owned(), config.to_vec()),
        ];
        members.extend(names.into_iter().zip(layers.iter().cloned()));
        write_tar(&path, &members);
    };
    let mut wrong = sample.layers.clone();
    wrong[1] = layer(&[("evil", "x")]);
    let mut other_platform: Value = serde_json::from_slice(&sample.config).unwrap();
    other_platform["architecture"] = json!("s390x");
    let other_platform = other_platform.to_string().into_bytes();
    for (config, layers, expected) in [
        (&sample.config, &wrong, "but the image configuration says"),
        (&sample.config, &sample.layers[..2].to_vec(), "lists 2 layers"),
        (&other_platform, &sample.layers, "linux/s390x"),
    ] {
        saved(config, layers);
        let error = runtime.import(&path, None, None).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    fs::write(&path, b"not a tar archive at all").unwrap();
    assert!(runtime.import(&path, Some("x:1"), None).await.is_err());
    let error = runtime.import(support::rootfs(), None, None).await.unwrap_err().to_string();
    assert!(error.contains("needs a name"), "{error}");
    assert!(runtime.image("bad:1").is_none());
    assert_eq!(fs::read_dir(machine.config.root.join("images/tmp")).unwrap().count(), 0);
    // busybox' layer and the empty one.
    assert_eq!(fs::read_dir(machine.config.root.join("images/layers")).unwrap().count(), 2);
    machine.finish().await;
}

/// A registry of one repository, in memory.
#[derive(Default)]
struct Registry {
    content: BTreeMap<String, (String, Vec<u8>)>,
    password: Option<String>,
    requests: Vec<String>,
}

async fn serve(registry: Arc<Mutex<Registry>>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let registry = Arc::clone(&registry);
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0; 1];
                    if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                        return;
                    }
                    request.push(byte[0]);
                }
                let request = String::from_utf8(request).unwrap();
                let path = request.split(' ').nth(1).unwrap().to_owned();
                let (head, body) = {
                    let mut registry = registry.lock().unwrap();
                    registry.requests.push(path.clone());
                    let wanted = registry.password.as_ref().map(|password| {
                        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("user:{password}"));
                        format!("basic {encoded}")
                    });
                    let denied = wanted.is_some_and(|wanted| {
                        !request.lines().any(|line| {
                            line.to_ascii_lowercase().trim_end()
                                == format!("authorization: {wanted}").to_ascii_lowercase()
                        })
                    });
                    if denied {
                        (
                            "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"".to_owned(),
                            b"{\"errors\":[]}".to_vec(),
                        )
                    } else if path == "/v2/" {
                        ("200 OK".to_owned(), Vec::new())
                    } else {
                        match registry.content.get(path.rsplit('/').next().unwrap()) {
                            Some((kind, body)) => (
                                format!("200 OK\r\nContent-Type: {kind}\r\nDocker-Content-Digest: {}", digest(body)),
                                body.clone(),
                            ),
                            None => (
                                "404 Not Found".to_owned(),
                                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#.to_vec(),
                            ),
                        }
                    }
                };
                let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).await;
                let _ = stream.write_all(&body).await;
            });
        }
    });
    port
}

fn fill(registry: &mut Registry, sample: &Sample) -> String {
    let blobs = sample.blobs();
    let manifest = sample.manifest(&blobs);
    let index = Sample::index(&manifest, json!({}));
    let octets = "application/octet-stream".to_owned();
    for blob in blobs.iter().chain([&sample.config]) {
        registry.content.insert(digest(blob), (octets.clone(), blob.clone()));
    }
    registry.content.insert(digest(&manifest), (MANIFEST.into(), manifest));
    registry.content.insert("v1".into(), (INDEX.into(), index.clone()));
    let top = digest(&index);
    registry.content.insert(top.clone(), (INDEX.into(), index));
    top
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_pulled_by_tag_and_by_digest() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let machine = Machine::new().await;
    let runtime = machine.runtime();
    let registry = Arc::new(Mutex::new(Registry::default()));
    let sample = Sample::new();
    let top = fill(&mut registry.lock().unwrap(), &sample);
    registry.lock().unwrap().password = Some("secret".into());
    let port = serve(Arc::clone(&registry)).await;
    let name = format!("localhost:{port}/team/sample");

    let error = runtime.pull(&format!("{name}:v1"), &[]).await.unwrap_err().to_string();
    assert!(error.contains("refuses access") && error.contains(&name), "{error}");
    let wrong = PullCredentials { username: "user".into(), password: "wrong".into() };
    let right = PullCredentials { username: "user".into(), password: "secret".into() };
    let image = runtime.pull(&format!("{name}:v1"), &[wrong, right.clone()]).await.unwrap();
    assert_eq!(image.names, [format!("{name}:v1")]);
    assert!(image.digests.contains(&format!("{name}@{top}")), "{:?}", image.digests);
    assert!(run(&machine, &format!("{name}:v1")).await.starts_with(EXPECTED));
    assert!(runtime.image(&format!("{name}@{top}")).is_some());

    let before = registry.lock().unwrap().requests.len();
    runtime.pull(&format!("{name}@{top}"), std::slice::from_ref(&right)).await.unwrap();
    let since = registry.lock().unwrap().requests[before..].to_vec();
    assert!(!since.iter().any(|path| path.contains("/blobs/")), "nothing is downloaded twice: {since:?}");

    let error = runtime.pull(&format!("{name}:absent"), std::slice::from_ref(&right)).await.unwrap_err().to_string();
    assert!(error.contains(":absent"), "{error}");
    runtime.remove_image(&image.id).await.unwrap();

    // A registry that sends something else than it promised.
    let victim = sample.blobs()[1].clone();
    registry.lock().unwrap().content.get_mut(&digest(&victim)).unwrap().1[40] ^= 1;
    assert!(runtime.pull(&format!("{name}:v1"), &[right]).await.is_err());
    assert!(runtime.image(&format!("{name}:v1")).is_none());
    assert_eq!(fs::read_dir(machine.config.root.join("images/tmp")).unwrap().count(), 0);
    machine.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_is_cleared_away() {
    let mut machine = Machine::new().await;
    machine.runtime = None;
    let images = machine.config.root.join("images");
    let left: Vec<PathBuf> = ["tmp/x/merged", "layers/99/a"].map(|path| images.join(path)).to_vec();
    for path in &left {
        fs::create_dir_all(path).unwrap();
    }
    fs::write(images.join("blobs/sha256/feed"), "x").unwrap();
    nix::mount::mount(Some("tmpfs"), &left[0], Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
    machine.restart().await;
    assert!(
        !images.join("tmp/x").exists()
            && !images.join("layers/99").exists()
            && !images.join("blobs/sha256/feed").exists()
    );
    assert!(machine.runtime().image(support::IMAGE).is_some());
    machine.finish().await;
}
