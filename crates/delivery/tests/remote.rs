//! Remote repositories: fetched over HTTP from a real Git server, with credentials, and looked at when a push is announced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod setup;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Response, StatusCode},
};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use setup::*;
use tokio::io::AsyncWriteExt;
use tower::ServiceExt;

/// What the server needs to know.
#[derive(Clone)]
struct Git {
    root: PathBuf,
    /// `Basic …`, when a password is asked for.
    authorization: Option<String>,
    requests: Arc<AtomicUsize>,
}

/// Serves the repositories below `root` with `git http-backend`.
async fn serve(root: &Path, authorization: Option<&str>) -> (String, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let state =
        Git { root: root.to_owned(), authorization: authorization.map(str::to_owned), requests: requests.clone() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(backend).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, requests)
}

async fn backend(State(git): State<Git>, request: Request) -> Response<Body> {
    git.requests.fetch_add(1, Ordering::SeqCst);
    let (request, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let header =
        |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if git.authorization.is_some() && git.authorization.as_deref() != Some(header("authorization").as_str()) {
        let response =
            Response::builder().status(StatusCode::UNAUTHORIZED).header("www-authenticate", "Basic realm=git");
        return response.body(Body::empty()).unwrap();
    }
    let mut command = tokio::process::Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &git.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("REQUEST_METHOD", request.method.as_str())
        .env("PATH_INFO", request.uri.path())
        .env("QUERY_STRING", request.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.env("CONTENT_LENGTH", body.len().to_string()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&body).await.unwrap();
    let output = child.wait_with_output().await.unwrap().stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").expect("a header");
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value.split(' ').next().unwrap().parse::<u16>().unwrap()),
            _ => response.header(name, value),
        };
    }
    response.body(Body::from(Bytes::copy_from_slice(&output[end + 4..]))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_to_a_remote_repository_is_noticed_by_polling() {
    let setup = Setup::new().await;
    let repository = setup.repository();
    write(&repository, "a.yaml", &config_map("a", "one"));
    commit(&repository, "first");
    let (url, _) = serve(setup.directory.path(), None).await;
    setup.create(format!("{url}/repository/.git"), json!({})).await;
    setup.wait("first sync", async || setup.value_of("a").await.as_deref() == Some("one")).await;
    write(&repository, "a.yaml", &config_map("a", "two"));
    commit(&repository, "second");
    let took = setup.wait("second sync", async || setup.value_of("a").await.as_deref() == Some("two")).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    // A tag, and a commit by its hash, mean what they say.
    git(&repository, &["tag", "v1", "HEAD~1"]);
    let patch = json!({"spec": {"source": {"targetRevision": "v1"}}});
    setup.patch_application(&patch).await;
    setup.wait("the tag", async || setup.value_of("a").await.as_deref() == Some("one")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_notification_makes_lotse_look_at_once_and_a_forged_one_does_not() {
    let setup = Setup::with_poll(Duration::from_secs(3600)).await;
    let secrets: Api<Secret> = Api::namespaced(setup.client.clone(), "argocd");
    let secret = json!({"metadata": {"name": "argocd-secret"}, "stringData": {"webhook.gitlab.secret": "s3cret"}});
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let repository = setup.repository();
    write(&repository, "a.yaml", &config_map("a", "one"));
    commit(&repository, "first");
    let (url, requests) = serve(setup.directory.path(), None).await;
    let url = format!("{url}/repository/.git");
    setup.create(&url, json!({})).await;
    setup.wait("first sync", async || setup.status().await.0 == "Synced").await;
    write(&repository, "a.yaml", &config_map("a", "two"));
    commit(&repository, "second");
    let before = requests.load(Ordering::SeqCst);
    let notify = async |token: &str, body: &Value| {
        let request = axum::http::Request::post("/api/webhook").header("x-gitlab-token", token);
        let request = request.body(Body::from(body.to_string())).unwrap();
        setup.webhook.clone().oneshot(request).await.unwrap().status()
    };
    let payload = json!({"project": {"git_http_url": url}});
    assert_eq!(notify("wrong", &payload).await, StatusCode::UNAUTHORIZED);
    assert_eq!(notify("s3cret", &json!({"x": "y".repeat(2 << 20)})).await, StatusCode::PAYLOAD_TOO_LARGE);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(requests.load(Ordering::SeqCst), before, "a forged notification caused a request");
    assert_eq!(notify("s3cret", &payload).await, StatusCode::OK);
    let took = setup.wait("second sync", async || setup.value_of("a").await.as_deref() == Some("two")).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_are_found_but_never_sent_in_clear_text_nor_shown() {
    let setup = Setup::new().await;
    let repository = setup.repository();
    write(&repository, "a.yaml", &config_map("a", "one"));
    commit(&repository, "first");
    // me:canary
    let (url, _) = serve(setup.directory.path(), Some("Basic bWU6Y2FuYXJ5")).await;
    let secret = json!({
        "metadata": {"name": "creds", "labels": {"argocd.argoproj.io/secret-type": "repo-creds"}},
        "stringData": {"url": url, "username": "me", "password": "canary"},
    });
    let secrets: Api<Secret> = Api::namespaced(setup.client.clone(), "argocd");
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    setup.create(format!("{url}/repository/.git"), json!({})).await;
    setup.wait("refusal", async || setup.condition().await.contains("clear text")).await;
    let application = setup.applications().get("site").await.unwrap();
    assert!(!serde_json::to_string(&application).unwrap().contains("canary"));
    assert_eq!(setup.value_of("a").await, None);
}

/// An ssh server for one key, on loopback; it ends with the value.
struct SshServer {
    process: std::process::Child,
    port: u16,
    key: String,
}

impl SshServer {
    fn start(directory: &Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for name in ["host", "user"] {
            let path = directory.join(name).display().to_string();
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-f", &path];
            assert!(std::process::Command::new("ssh-keygen").args(arguments).status().unwrap().success());
        }
        std::fs::create_dir_all("/run/sshd").unwrap();
        let directory = directory.display();
        let options = [
            format!("HostKey={directory}/host"),
            format!("AuthorizedKeysFile={directory}/user.pub"),
            format!("Port={port}"),
            "ListenAddress=127.0.0.1".to_owned(),
            "PermitRootLogin=prohibit-password".to_owned(),
            "PasswordAuthentication=no".to_owned(),
            "StrictModes=no".to_owned(),
            "UsePAM=no".to_owned(),
            "PidFile=none".to_owned(),
        ];
        let mut command = std::process::Command::new("/usr/sbin/sshd");
        command.args(["-D", "-f", "/dev/null"]).stderr(Stdio::null());
        for option in &options {
            command.args(["-o", option]);
        }
        let process = command.spawn().unwrap();
        let key = std::fs::read_to_string(format!("{directory}/user")).unwrap();
        Self { process, port, key }
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_repositories_are_read_with_the_key_of_a_secret_and_not_without() {
    let setup = Setup::new().await;
    let repository = setup.repository();
    write(&repository, "a.yaml", &config_map("a", "one"));
    commit(&repository, "first");
    let server = SshServer::start(setup.directory.path());
    let url = format!("ssh://root@127.0.0.1:{}{}", server.port, repository.display());
    setup.create(&url, json!({})).await;
    setup.wait("refusal", async || setup.condition().await.contains("ComparisonError")).await;
    let secret = json!({
        "metadata": {"name": "key", "labels": {"argocd.argoproj.io/secret-type": "repository"}},
        "stringData": {"url": url, "sshPrivateKey": server.key},
    });
    let secrets: Api<Secret> = Api::namespaced(setup.client.clone(), "argocd");
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    setup.wait("sync", async || setup.value_of("a").await.as_deref() == Some("one")).await;
}
