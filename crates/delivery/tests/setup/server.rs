//! Servers on loopback: Git behind http, a chart repository, an OCI registry.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Response, StatusCode},
};
use http_body_util::BodyExt;
use sha2::Digest as _;
use tokio::io::AsyncWriteExt;

/// What the server needs to know.
#[derive(Clone)]
struct Git {
    root: PathBuf,
    /// `Basic …`, when a password is asked for.
    authorization: Option<String>,
    requests: Arc<AtomicUsize>,
}

/// Serves the repositories below `root` over TLS; returns the URL and the certificate (PEM) of its authority.
pub(crate) async fn serve_tls(root: &Path) -> (String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
        .unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
    let listener = Tls { tcp, acceptor: Arc::new(config).into() };
    let state = Git { root: root.to_owned(), authorization: None, requests: Arc::default() };
    let router = Router::new().fallback(backend).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, pem)
}

struct Tls {
    tcp: tokio::net::TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            // Who does not trust the server goes away in the middle of the handshake.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// Serves the repositories below `root` with `git http-backend`.
pub(crate) async fn serve(root: &Path, authorization: Option<&str>) -> (String, Arc<AtomicUsize>) {
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

/// A server of fixed answers, which can be changed.
#[derive(Clone, Default)]
pub(crate) struct Site {
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    /// Each request: path with query, and `Authorization`.
    pub(crate) requests: Arc<Mutex<Vec<(String, String)>>>,
    pub(crate) url: String,
}

/// What the server says for a path.
#[derive(Clone)]
pub(crate) enum Answer {
    Content(Vec<u8>),
    /// Content with a `Link`.
    Linked(Vec<u8>, String),
    Redirect(String),
    /// A body without end and without length.
    Endless,
    /// A status with a header.
    Status(u16, &'static str, String),
    /// The content for who is authorised so, else a status with a header.
    Guarded(&'static str, Vec<u8>, String),
}

impl Site {
    pub(crate) async fn new() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site = Self { url: format!("http://{}", listener.local_addr().unwrap()), ..Self::default() };
        let router = Router::new().fallback(answer).with_state(site.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        site
    }

    pub(crate) fn put(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub(crate) fn content(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.put(path, Answer::Content(content.into()));
    }

    /// How often a path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|(of, _)| of == path).count()
    }

    pub(crate) fn authorizations(&self, path: &str) -> Vec<String> {
        let requests = self.requests.lock().unwrap();
        requests.iter().filter(|(of, _)| of == path).map(|(_, authorization)| authorization.clone()).collect()
    }

    /// Publishes charts below `/charts`: name, version, packed.
    pub(crate) fn publish(&self, charts: &[(&str, &str, &[u8])]) {
        let mut index = "apiVersion: v1\nentries:\n".to_owned();
        let mut names: Vec<&str> = charts.iter().map(|(name, ..)| *name).collect();
        names.dedup();
        for name in names {
            index.push_str(&format!("  {name}:\n"));
            for (_, version, packed) in charts.iter().filter(|(of, ..)| *of == name) {
                let file = format!("{name}-{version}.tgz");
                index.push_str(&format!(
                    "  - name: {name}\n    version: {version}\n    digest: {}\n    urls: [{file}]\n",
                    sha256(packed)
                ));
                self.content(&format!("/charts/{file}"), *packed);
            }
        }
        self.content("/charts/index.yaml", index);
    }
}

async fn answer(State(site): State<Site>, request: Request) -> Response<Body> {
    let path = request.uri().path_and_query().unwrap().as_str().to_owned();
    let header =
        |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    site.requests.lock().unwrap().push((path.clone(), header("authorization")));
    let found = site.answers.lock().unwrap().get(&path).cloned();
    let response = Response::builder();
    match found {
        None => response.status(404).body(Body::from("nothing here")).unwrap(),
        Some(Answer::Content(content)) => {
            let etag = format!("\"{}\"", sha256(&content));
            if header("if-none-match") == etag {
                return response.status(304).body(Body::empty()).unwrap();
            }
            response.header("etag", etag).body(Body::from(content)).unwrap()
        }
        Some(Answer::Linked(content, link)) => response.header("link", link).body(Body::from(content)).unwrap(),
        Some(Answer::Redirect(to)) => response.status(302).header("location", to).body(Body::empty()).unwrap(),
        Some(Answer::Endless) => {
            let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'#'; 65536]));
            response.body(Body::from_stream(futures::stream::repeat_with(chunk))).unwrap()
        }
        Some(Answer::Status(status, name, value)) => {
            response.status(status).header(name, value).body(Body::empty()).unwrap()
        }
        Some(Answer::Guarded(wanted, content, challenge)) => match header("authorization") == wanted {
            true => response.body(Body::from(content)).unwrap(),
            false => response.status(401).header("www-authenticate", challenge).body(Body::empty()).unwrap(),
        },
    }
}

pub(crate) fn sha256(content: &[u8]) -> String {
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A packed chart of these files, made by `tar`.
pub(crate) fn packed(name: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let directory = tempfile::TempDir::new().unwrap();
    for (file, content) in files {
        let path = directory.path().join(name).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let mut command = std::process::Command::new("tar");
    let output = command.args(["-czf", "-", name]).current_dir(directory.path()).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// A chart with one ConfigMap, whose value is the chart's version.
pub(crate) fn chart(name: &str, version: &str, more: &str) -> Vec<u8> {
    let description = format!("apiVersion: v2\nname: {name}\nversion: {version}\n{more}");
    let template = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  key: {{{{ .Chart.Version | quote }}}}\n"
    );
    packed(name, &[("Chart.yaml", &description), ("templates/map.yaml", &template)])
}
