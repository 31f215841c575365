//! A server for one test.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::Arc,
};

use lotse_api::{ApiServer, Config, ConnectionIdentity, User};
use lotse_store::{History, MemoryStore};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

/// A server on a store of its own.
pub(crate) struct Cluster {
    pub(crate) api: ApiServer,
    pub(crate) dir: TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let store = MemoryStore::new(History::default()).unwrap();
        let mut config = Config::new(dir.path().join("pki"));
        config.admin_token = Some("admin-token-of-the-test".to_owned());
        let api = ApiServer::new(Arc::new(store), config).await.unwrap();
        let cluster = Self { api, dir };
        // What the service account controller does in a whole cluster.
        let accounts = kube::Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(cluster.admin(), "default");
        let account = serde_json::from_value(serde_json::json!({"metadata": {"name": "default"}})).unwrap();
        accounts.create(&Default::default(), &account).await.unwrap();
        cluster
    }

    /// A client of the administrator.
    pub(crate) fn admin(&self) -> kube::Client {
        self.api.client("admin", &["system:masters"])
    }

    /// One request through the whole pipeline; the answer as code and JSON (null if it is none).
    pub(crate) async fn ask(
        &self,
        user: &str,
        groups: &[&str],
        method: &str,
        path: &str,
        content: &str,
        body: impl Into<Vec<u8>>,
    ) -> (u16, Value) {
        let mut request = http::Request::builder().method(method).uri(path);
        if !content.is_empty() {
            request = request.header("content-type", content);
        }
        let mut request = request.body(axum::body::Body::from(body.into())).unwrap();
        if !user.is_empty() {
            request.extensions_mut().insert(ConnectionIdentity(Arc::new(User::new(user, groups.iter().copied()))));
        }
        let response = self.api.router().oneshot(request).await.unwrap();
        let code = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 64 << 20).await.unwrap();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// One request of the administrator with JSON.
    pub(crate) async fn admin_asks(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.ask("admin", &["system:masters"], method, path, "application/json", body).await
    }

    /// Serves HTTPS; returns the address.
    pub(crate) async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let api = self.api.clone();
        tokio::spawn(async move { api.serve(listener).await });
        url
    }

    /// A kubectl with the administrator's credentials.
    pub(crate) async fn kubectl(&self) -> Kubectl {
        let url = self.listen().await;
        let config = self.dir.path().join("kubeconfig");
        std::fs::write(&config, self.api.kubeconfig("test", &url)).unwrap();
        Kubectl { config, home: self.dir.path().to_owned() }
    }
}

/// The real kubectl.
#[derive(Clone)]
pub(crate) struct Kubectl {
    config: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    /// Runs it with a text on its standard input, whatever comes of it.
    pub(crate) async fn outcome(&self, arguments: &[&str], input: &str) -> Output {
        let (this, input) = (self.clone(), input.to_owned());
        let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            let mut child = Command::new("kubectl")
                .args(&arguments)
                .env("KUBECONFIG", &this.config)
                .env("HOME", &this.home)
                .env("KUBE_EDITOR", "sed -i s/replicas:.*/replicas:\\ 4/")
                .env("KUBECTL_EXTERNAL_DIFF", "diff -u -N")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        })
        .await
        .unwrap()
    }

    /// Runs it, and expects success.
    pub(crate) async fn run_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.outcome(arguments, input).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments:?}: {out}{err}");
        format!("{out}{err}")
    }

    /// Runs it without input, and expects success.
    pub(crate) async fn run(&self, arguments: &[&str]) -> String {
        self.run_with(arguments, "").await
    }

    /// Runs it, and expects failure; returns what it says.
    pub(crate) async fn refused(&self, arguments: &[&str], input: &str) -> String {
        let output = self.outcome(arguments, input).await;
        assert!(
            !output.status.success(),
            "kubectl {arguments:?} succeeded: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

impl Cluster {
    /// Everything that a watch says until it ends by itself.
    pub(crate) async fn lines(&self, path: &str) -> Vec<Value> {
        let mut request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectionIdentity(Arc::new(User::new("admin", ["system:masters"]))));
        let response = self.api.router().oneshot(request).await.unwrap();
        let bytes = axum::body::to_bytes(response.into_body(), 64 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
