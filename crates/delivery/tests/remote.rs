//! Remote repositories: fetched over HTTP from a real Git server, with credentials, and looked at when a push is announced.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod setup;

use std::{path::Path, process::Stdio, sync::atomic::Ordering, time::Duration};

use axum::{body::Body, http::StatusCode};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};
use setup::{
    server::{serve, serve_tls},
    *,
};
use tower::ServiceExt;

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
async fn an_authority_of_ones_own_counts_for_its_host_alone() {
    let setup = Setup::new().await;
    let repository = setup.repository();
    write(&repository, "kustomization.yaml", "resources: [../base]\n");
    std::fs::create_dir_all(repository.join("base")).unwrap();
    std::fs::write(repository.join("base/a.yaml"), config_map("a", "one")).unwrap();
    std::fs::write(repository.join("base/kustomization.yaml"), "resources: [a.yaml]\n").unwrap();
    commit(&repository, "first");
    let (url, authority) = serve_tls(setup.directory.path()).await;
    setup.create(format!("{url}/repository/.git"), json!({})).await;
    setup.wait("a refusal", async || setup.condition().await.contains("UnknownIssuer")).await;

    let maps: Api<ConfigMap> = Api::namespaced(setup.client.clone(), "argocd");
    let map = |host: &str, pem: &str| -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "argocd-tls-certs-cm"}, "data": {host: pem}})).unwrap()
    };
    maps.create(&PostParams::default(), &map("git.example.org", &authority)).await.unwrap();
    maps.replace("argocd-tls-certs-cm", &PostParams::default(), &map("localhost", "nonsense")).await.unwrap();
    setup
        .wait("nonsense", async || setup.condition().await.contains("localhost in ConfigMap argocd-tls-certs-cm"))
        .await;
    maps.replace("argocd-tls-certs-cm", &PostParams::default(), &map("localhost", &authority)).await.unwrap();
    setup.wait("sync", async || setup.value_of("a").await.as_deref() == Some("one")).await;

    // What a kustomization wants from there is fetched in the same way.
    write(
        &repository,
        "kustomization.yaml",
        &format!("resources: [\"git::{url}/repository/.git//base?ref=HEAD\"]\nnamePrefix: far-\n"),
    );
    commit(&repository, "a base elsewhere");
    setup.wait("the base", async || setup.value_of("far-a").await.as_deref() == Some("one")).await;
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
