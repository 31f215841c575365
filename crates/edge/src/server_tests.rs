//! The whole edge on loopback sockets, with pods that are hyper servers and clients that are curl, raw sockets and
//! tungstenite.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{convert::Infallible, sync::atomic::AtomicUsize};

use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    sync::watch,
};

use super::*;
use crate::build::{build, tests as objects};

/// A pod: answers with what it received.
struct Pod {
    address: SocketAddr,
    hits: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Pod {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (hits, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let (counter, token) = (hits.clone(), stop.clone());
        tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = token.cancelled() => return,
                };
                let (counter, token) = (counter.clone(), token.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| echo(request, counter.clone()));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades();
                    // A stopped pod is gone at once, with whatever it was doing.
                    tokio::select! { _ = connection => {} () = token.cancelled() => {} }
                });
            }
        });
        Self { address, hits, stop }
    }

    fn hits(&self) -> usize {
        self.hits.load(Relaxed)
    }
}

async fn echo(request: Request<Incoming>, hits: Arc<AtomicUsize>) -> Result<Response<Full<Bytes>>, Infallible> {
    hits.fetch_add(1, Relaxed);
    if request.headers().contains_key("upgrade") {
        let key = request.headers().get("sec-websocket-key").map(|key| key.as_bytes().to_vec());
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(&key.unwrap_or_default());
        if request.uri().path() == "/refuse" {
            return Ok(Response::builder().status(403).body(Full::default()).unwrap());
        }
        tokio::spawn(async move {
            let io = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
            let role = tokio_tungstenite::tungstenite::protocol::Role::Server;
            let mut socket = tokio_tungstenite::WebSocketStream::from_raw_socket(io, role, None).await;
            while let Some(Ok(message)) = socket.next().await {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
        });
        let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "websocket");
        return Ok(response.header("sec-websocket-accept", accept).body(Full::default()).unwrap());
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(Response::builder().status(400).body(Full::default()).unwrap());
    };
    let mut text = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap_or("?")));
    }
    text.push_str(&format!("body {}\n", body.to_bytes().len()));
    Ok(Response::new(Full::from(text)))
}

/// The edge on ports of its own, serving a cluster of objects.
struct Running {
    http: SocketAddr,
    https: SocketAddr,
    config: Config,
    served: Arc<Served>,
    registry: Arc<Registry>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Running {
    async fn start(cluster: &[Value]) -> Self {
        Self::configured(cluster, |_| {}).await
    }

    async fn configured(cluster: &[Value], adjust: impl FnOnce(&mut Config)) -> Self {
        let loopback = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::new(loopback, Some(loopback));
        config.loopback_endpoints = true;
        adjust(&mut config);
        let edge = Edge::bind(config.clone()).unwrap();
        let (http, https) = (edge.http_addresses()[0], edge.https_addresses()[0]);
        let registry = Arc::new(Registry::new(edge.metrics()).unwrap());
        let (served, shutdown) = (Arc::new(Served::default()), CancellationToken::new());
        let task = tokio::spawn(edge.serve(served.clone(), registry.clone(), shutdown.clone()));
        let running = Self { http, https, config, served, registry, shutdown, task };
        running.apply(cluster);
        running
    }

    fn apply(&self, cluster: &[Value]) {
        self.served.swap(build(&objects::observed(cluster), &self.config, &self.registry).0);
    }

    /// What the edge answers to `bytes` before it closes the connection or two seconds pass.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(2), stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(&self, path: &str) -> String {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n").as_bytes()).await
    }
}

/// An Ingress for a.org at `/` and the Service `x` behind it.
fn cluster(annotations: Value, pods: &[&Pod]) -> Vec<Value> {
    let mut all = vec![objects::ingress("a", annotations, &[("a.org", "/", "Prefix", "x")])];
    let [service, _] = objects::service("x", &[], 0);
    all.push(service);
    for (index, pod) in pods.iter().enumerate() {
        let [_, mut slice] = objects::service("x", &["127.0.0.1"], pod.address.port());
        slice["metadata"]["name"] = json!(format!("x-{index}"));
        all.push(slice);
    }
    all
}

fn annotation(name: &str, value: &str) -> Value {
    json!({ format!("nginx.ingress.kubernetes.io/{name}"): value })
}

async fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl").args(["-sS", "--max-time", "10"]).args(arguments).output().await.unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn requests_reach_the_pod_with_what_the_edge_knows_of_the_client() {
    let pod = Pod::start().await;
    let edge = Running::start(&cluster(json!({}), &[&pod])).await;
    let answer = curl(&[
        "-H",
        "Host: a.org",
        "-H",
        "X-Forwarded-For: 10.9.9.9",
        "-H",
        "Connection: X-Real-IP",
        &format!("http://{}/x/%2e%2e/y?q=1", edge.http),
        "--path-as-is",
    ])
    .await;
    for line in
        ["GET /y?q=1", "host: a.org", "x-forwarded-for: 127.0.0.1", "x-real-ip: 127.0.0.1", "x-forwarded-proto: http"]
    {
        assert!(answer.lines().any(|found| found == line), "{line} in {answer}");
    }
    assert!(edge.get("/").await.starts_with("HTTP/1.1 200"));
    let unknown = edge.raw(b"GET / HTTP/1.1\r\nHost: b.org\r\nConnection: close\r\n\r\n").await;
    assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
    assert_eq!(edge.registry.metrics.ingress("default/a").statuses()[1], 2);
}

#[tokio::test]
async fn https_speaks_http2_and_http1_and_redirects_to_itself_where_a_certificate_is() {
    let pod = Pod::start().await;
    let mut all = cluster(json!({}), &[&pod]);
    all[0]["spec"]["tls"] = json!([{ "hosts": ["a.org"], "secretName": "cert" }]);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["a.org".to_owned()]).unwrap().self_signed(&key).unwrap();
    let encode = |text: String| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    all.push(json!({ "kind": "Secret", "metadata": { "name": "cert" },
        "data": { "tls.crt": encode(certificate.pem()), "tls.key": encode(key.serialize_pem()) } }));
    let edge = Running::start(&all).await;
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, certificate.pem()).unwrap();
    let url = format!("https://a.org:{}/x", edge.https.port());
    let resolve = format!("a.org:{}:127.0.0.1", edge.https.port());
    for (version, expected) in [("--http2", "2 200"), ("--http1.1", "1.1 200")] {
        let answer = curl(&[
            version,
            "--cacert",
            ca.to_str().unwrap(),
            "--resolve",
            &resolve,
            "-w",
            "%{http_version} %{http_code}",
            "-H",
            "Cookie: a=1",
            &url,
        ])
        .await;
        assert!(answer.ends_with(expected) && answer.contains("x-forwarded-proto: https"), "{answer}");
    }
    let redirect = edge.get("/x?y=1").await;
    assert!(redirect.starts_with("HTTP/1.1 308"), "{redirect}");
    assert!(redirect.contains(&format!("location: https://a.org:{}/x?y=1\r\n", edge.https.port())), "{redirect}");
    assert!(edge.get("/.well-known/acme-challenge/x").await.starts_with("HTTP/1.1 200"));
    // Any other name gets the default certificate.
    let answer = curl(&["-k", "-H", "Host: a.org", &format!("https://{}/", edge.https)]).await;
    assert!(answer.contains("GET /"), "{answer}");
}

#[tokio::test]
async fn plain_http2_is_served_with_prior_knowledge() {
    let pod = Pod::start().await;
    let edge = Running::start(&cluster(json!({}), &[&pod])).await;
    let url = format!("http://{}/", edge.http);
    let answer = curl(&["--http2-prior-knowledge", "-H", "Host: a.org", "-w", "%{http_version}", &url]).await;
    assert!(answer.contains("GET /") && answer.ends_with('2'), "{answer}");
}

#[tokio::test]
async fn bodies_stream_both_ways_and_are_limited() {
    let pod = Pod::start().await;
    let edge = Running::start(&cluster(json!({}), &[&pod])).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("body");
    std::fs::write(&file, vec![b'x'; 3 << 20]).unwrap();
    let data = format!("@{}", file.display());
    let url = format!("http://{}/", edge.http);
    let post = |chunked: bool| {
        let (data, url) = (data.clone(), url.clone());
        async move {
            let framing = if chunked { "Transfer-Encoding: chunked" } else { "X-None: 1" };
            curl(&[
                "-H",
                "Host: a.org",
                "-H",
                framing,
                "-H",
                "Expect:",
                "--data-binary",
                &data,
                "-w",
                " %{http_code}",
                &url,
            ])
            .await
        }
    };
    for chunked in [false, true] {
        let answer = post(chunked).await;
        assert!(answer.contains("413"), "chunked {chunked}: {answer}");
    }
    edge.apply(&cluster(annotation("proxy-body-size", "8m"), &[&pod]));
    for chunked in [false, true] {
        let answer = post(chunked).await;
        assert!(answer.contains("body 3145728") && answer.ends_with("200"), "chunked {chunked}: {answer}");
    }
}

#[tokio::test]
async fn no_request_fails_while_pods_die_and_come() {
    let mut pods = [Pod::start().await, Pod::start().await];
    let edge = Running::start(&cluster(json!({}), &pods.iter().collect::<Vec<_>>())).await;
    let (stop, stopped) = watch::channel(false);
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (address, stopped) = (edge.http, stopped.clone());
            tokio::spawn(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                let mut count = 0;
                while !*stopped.borrow() {
                    let request = Request::get("/").header("host", "a.org").body(Full::default()).unwrap();
                    sender.ready().await.unwrap();
                    let response = sender.send_request(request).await.unwrap();
                    let status = response.status();
                    let body = response.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(status, StatusCode::OK, "{body:?}");
                    count += 1;
                }
                count
            })
        })
        .collect();
    for _ in 0..12 {
        sleep(Duration::from_millis(60)).await;
        let fresh = Pod::start().await;
        let old = std::mem::replace(&mut pods[0], fresh);
        // The pod dies before the edge hears of it, as after a crash.
        old.stop.cancel();
        sleep(Duration::from_millis(20)).await;
        pods.swap(0, 1);
        edge.apply(&cluster(json!({}), &pods.iter().collect::<Vec<_>>()));
    }
    stop.send(true).unwrap();
    let mut total = 0;
    for client in clients {
        total += client.await.expect("no request failed");
    }
    assert!(total > 500, "{total} requests");
}

#[tokio::test]
async fn without_pods_the_answer_names_the_reason() {
    let edge = Running::start(&cluster(json!({}), &[])).await;
    let answer = edge.get("/").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("no ready endpoints"), "{answer}");
    let pod = Pod::start().await;
    pod.stop.cancel();
    sleep(Duration::from_millis(20)).await;
    edge.apply(&cluster(json!({}), &[&pod]));
    let answer = edge.get("/").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test]
async fn websockets_pass_and_a_refused_upgrade_closes_its_connection() {
    let pod = Pod::start().await;
    let edge = Running::start(&cluster(json!({}), &[&pod])).await;
    let stream = TcpStream::connect(edge.http).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async("ws://a.org/chat", stream).await.unwrap();
    for text in ["one", "two"] {
        socket.send(text.into()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), text);
    }
    socket.close(None).await.unwrap();
    let stream = TcpStream::connect(edge.http).await.unwrap();
    assert!(tokio_tungstenite::client_async("ws://a.org/refuse", stream).await.is_err());
    assert!(edge.get("/").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn smuggled_requests_never_reach_a_pod() {
    let pod = Pod::start().await;
    let edge = Running::start(&cluster(json!({}), &[&pod])).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.org\r\n\r\n";
    for (name, request) in [
        (
            "two lengths",
            format!("POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n{smuggled}"),
        ),
        ("length list", format!("POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 0, 44\r\n\r\n{smuggled}")),
        ("signed length", format!("POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: +0\r\n\r\n{smuggled}")),
        (
            "TE in 1.0",
            format!("POST / HTTP/1.0\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        ("TE not chunked", format!("POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: identity\r\n\r\n{smuggled}")),
        (
            "TE chunked first",
            format!("POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "space before colon",
            format!("POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        ),
        (
            "folded header",
            format!("POST / HTTP/1.1\r\nHost: a.org\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n{smuggled}"),
        ),
        (
            "bad chunk size",
            format!("POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{smuggled}"),
        ),
        ("two hosts", format!("GET / HTTP/1.1\r\nHost: a.org\r\nHost: b.org\r\nConnection: close\r\n\r\n{smuggled}")),
        (
            "target and host differ",
            format!("GET http://b.org/ HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n{smuggled}"),
        ),
        ("CONNECT", format!("CONNECT a.org:80 HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n{smuggled}")),
        (
            "CL then TE",
            format!(
                "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "TE then CL",
            format!(
                "POST / HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
    ] {
        let answer = edge.raw(request.as_bytes()).await;
        assert!(!answer.contains("GET /smuggled"), "{name}: {answer}");
        assert!(answer.matches("HTTP/1.").count() <= 1, "{name}: {answer}");
    }
}

#[tokio::test]
async fn a_premature_upgrade_is_an_ordinary_request() {
    let pod = Pod::start().await;
    let edge = Running::start(&cluster(json!({}), &[&pod])).await;
    let answer = edge
        .raw(b"POST / HTTP/1.1\r\nHost: a.org\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("upgrade: "), "{answer}");
}

#[tokio::test]
async fn slow_clients_are_cut_off_and_fast_ones_are_not() {
    let pod = Pod::start().await;
    let edge = Running::configured(&cluster(json!({}), &[&pod]), |config| {
        config.header_timeout = Duration::from_millis(300);
        config.idle_timeout = Duration::from_millis(900);
        config.client_timeout = Duration::from_millis(500);
    })
    .await;
    // Nothing at all; a head that trickles; a body that stops.
    for start in ["", "GET / HT", "POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 10\r\n\r\nab"] {
        let mut stream = TcpStream::connect(edge.http).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        timeout(Duration::from_secs(3), stream.read_to_end(&mut rest)).await.expect("the edge closes it").ok();
    }
    // A second head that trickles, after a first request in order.
    let mut stream = TcpStream::connect(edge.http).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.org\r\n\r\n").await.unwrap();
    let mut buffer = [0; 4096];
    assert!(stream.read(&mut buffer).await.unwrap() > 0);
    sleep(Duration::from_millis(500)).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.org\r\n\r\n").await.unwrap();
    assert!(stream.read(&mut buffer).await.unwrap() > 0, "idle is not slow");
    let began = tokio::time::Instant::now();
    stream.write_all(b"GET").await.unwrap();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(3), stream.read_to_end(&mut rest)).await.expect("the edge closes it").ok();
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
}

#[tokio::test]
async fn shutdown_lets_requests_end_and_accepts_no_more() {
    let pod = Pod::start().await;
    let edge = Running::start(&cluster(json!({}), &[&pod])).await;
    let mut stream = TcpStream::connect(edge.http).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a.org\r\nContent-Length: 4\r\n\r\nab").await.unwrap();
    sleep(Duration::from_millis(50)).await;
    edge.shutdown.cancel();
    sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(edge.http).await.is_err());
    stream.write_all(b"cd").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("body 4"), "{answer}");
    timeout(Duration::from_secs(3), edge.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn annotations_act_on_requests() {
    let pod = Pod::start().await;
    let edge = Running::start(&[]).await;
    for (name, value, path, expected) in [
        ("whitelist-source-range", "10.0.0.0/8", "/", "HTTP/1.1 403"),
        ("denylist-source-range", "127.0.0.0/8", "/", "HTTP/1.1 403"),
        ("app-root", "/app", "/", "HTTP/1.1 302"),
        ("permanent-redirect", "https://b.org/", "/x", "HTTP/1.1 301"),
        ("force-ssl-redirect", "true", "/x", "HTTP/1.1 308"),
        ("auth-url", "http://auth/", "/", "HTTP/1.1 503"),
        ("rewrite-target", "/new", "/old", "GET /new"),
        ("upstream-vhost", "inner.example", "/", "host: inner.example"),
        ("affinity", "cookie", "/", "set-cookie: INGRESSCOOKIE="),
        ("limit-rps", "100", "/", "HTTP/1.1 200"),
    ] {
        edge.apply(&cluster(annotation(name, value), &[&pod]));
        let answer = edge.get(path).await;
        assert!(answer.contains(expected), "{name}: {value}: {answer}");
    }
    edge.apply(&cluster(annotation("limit-rpm", "1"), &[&pod]));
    let before = pod.hits();
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(edge.get("/").await.starts_with("HTTP/1.1 503"));
    }
    assert!(answers.iter().any(|limited| *limited) && !answers[0], "{answers:?}");
    assert!(pod.hits() - before < 10);
}

#[tokio::test]
async fn passwords_are_asked_for_and_checked() {
    let pod = Pod::start().await;
    let annotations = json!({
        "nginx.ingress.kubernetes.io/auth-type": "basic",
        "nginx.ingress.kubernetes.io/auth-secret": "users",
        "nginx.ingress.kubernetes.io/auth-realm": "the harbour",
    });
    let mut all = cluster(annotations, &[&pod]);
    let line = format!("ann:{}\n", bcrypt::hash("secret", 4).unwrap());
    let auth = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, line);
    all.push(json!({ "kind": "Secret", "metadata": { "name": "users" }, "data": { "auth": auth } }));
    let edge = Running::start(&all).await;
    let answer = edge.get("/").await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("Basic realm=\"the harbour\""), "{answer}");
    let url = format!("http://{}/", edge.http);
    for (user, expected) in [("ann:secret", "200"), ("ann:wrong", "401"), ("eve:secret", "401")] {
        let answer = curl(&["-u", user, "-H", "Host: a.org", "-o", "/dev/null", "-w", "%{http_code}", &url]).await;
        assert_eq!(answer, expected, "{user}");
    }
    assert_eq!(pod.hits(), 1);
    all.pop();
    edge.apply(&all);
    assert!(edge.get("/").await.starts_with("HTTP/1.1 503"), "without the secret nobody passes");
}

#[tokio::test]
async fn grpc_reaches_a_pod_over_http2_with_its_trailers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|request: Request<Incoming>| async move {
                assert_eq!(request.version(), http::Version::HTTP_2);
                assert_eq!(request.uri().authority().unwrap(), "a.org");
                assert_eq!(request.headers()["te"], "trailers");
                let sent = request.into_body().collect().await.unwrap().to_bytes();
                let mut trailers = http::HeaderMap::new();
                trailers.insert("grpc-status", "0".parse().unwrap());
                let frames = [Ok::<_, Infallible>(Frame::data(sent)), Ok(Frame::trailers(trailers))];
                Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            tokio::spawn(
                hyper::server::conn::http2::Builder::new(executor).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    let mut all = cluster(annotation("backend-protocol", "GRPC"), &[]);
    let [_, slice] = objects::service("x", &["127.0.0.1"], port);
    all.push(slice);
    let edge = Running::start(&all).await;
    let stream = TcpStream::connect(edge.http).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::post("http://a.org/pkg.Service/Call").header("te", "trailers");
        let request = request.body(Full::new(Bytes::from_static(b"message"))).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(body.to_bytes(), "message");
    }
}

#[tokio::test]
async fn a_silent_pod_is_a_timeout_and_the_next_one_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let annotations = json!({
        "nginx.ingress.kubernetes.io/proxy-read-timeout": "1",
        "nginx.ingress.kubernetes.io/proxy-next-upstream-tries": "2",
    });
    let mut all = cluster(annotations, &[]);
    let [_, slice] = objects::service("x", &["127.0.0.1"], silent.local_addr().unwrap().port());
    all.push(slice);
    let edge = Running::start(&all).await;
    let url = format!("http://{}/", edge.http);
    let ask = |method: &'static str| {
        let url = url.clone();
        async move { curl(&["-X", method, "-H", "Host: a.org", "-o", "/dev/null", "-w", "%{http_code}", &url]).await }
    };
    assert_eq!(ask("GET").await, "504");
    let pod = Pod::start().await;
    let [_, mut slice] = objects::service("x", &["127.0.0.1"], pod.address.port());
    slice["metadata"]["name"] = json!("x-2");
    all.push(slice);
    edge.apply(&all);
    for _ in 0..2 {
        assert_eq!(ask("GET").await, "200", "what can be repeated is repeated");
    }
    let mut answers = [ask("POST").await, ask("POST").await];
    answers.sort();
    assert_eq!(answers, ["200", "504"], "what cannot be repeated is not");
}

#[tokio::test]
async fn a_taken_port_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = Edge::bind(Config::new(address, None)).unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

/// A cluster API of one Ingress, whose watches never say anything but may be made to.
fn fake_api(
    cluster: Vec<Value>,
    written: Arc<std::sync::Mutex<Vec<(String, Value)>>>,
    late: watch::Receiver<Option<Value>>,
) -> kube::Client {
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (cluster, written, late) = (cluster.clone(), written.clone(), late.clone());
        async move {
            let (parts, body) = request.into_parts();
            let path = parts.uri.path().to_owned();
            if parts.method != http::Method::GET {
                let body: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
                written.lock().unwrap().push((path, body));
                let answer = cluster[0].to_string();
                let body = Full::<Bytes>::from(answer).map_err(|never: Infallible| match never {}).boxed();
                return Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::new(body));
            }
            let plural = path.rsplit('/').next().unwrap_or_default().to_owned();
            let is_kind = move |object: &Value| {
                let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
                plural == format!("{kind}s") || plural == format!("{kind}es")
            };
            if parts.uri.query().is_some_and(|query| query.contains("watch=true")) {
                let events = stream::unfold((late, is_kind), |(mut late, is_kind)| async move {
                    loop {
                        if late.changed().await.is_err() {
                            std::future::pending::<()>().await;
                        }
                        let object = late.borrow().clone().unwrap_or_default();
                        if is_kind(&object) {
                            let line = format!("{}\n", json!({ "type": "MODIFIED", "object": object }));
                            return Some((Ok(Frame::data(Bytes::from(line))), (late, is_kind)));
                        }
                    }
                });
                return Ok(Response::new(BodyExt::boxed(StreamBody::new(
                    Box::pin(events).map(|event: Result<_, Infallible>| event.map_err(|never| match never {})),
                ))));
            }
            let items: Vec<Value> = cluster.into_iter().filter(is_kind).collect();
            let list =
                json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": items });
            let body = Full::<Bytes>::from(list.to_string()).map_err(|never: Infallible| match never {}).boxed();
            Ok(Response::new(body))
        }
    });
    kube::Client::new(service, "default")
}

#[tokio::test]
async fn the_cluster_is_served_its_changes_too_and_the_status_is_written() {
    let (first, second) = (Pod::start().await, Pod::start().await);
    let mut all = cluster(annotation("ssl-redirect", "perhaps"), &[&first]);
    for (index, object) in all.iter_mut().enumerate() {
        object["metadata"]["namespace"] = json!("default");
        object["metadata"]["resourceVersion"] = json!((index + 1).to_string());
    }
    let mut flipped = all[2].clone();
    flipped["ports"][0]["port"] = json!(second.address.port());
    flipped["metadata"]["resourceVersion"] = json!("9");
    let (flip, late) = watch::channel(None);
    let written = Arc::default();
    let informers = Informers::new(fake_api(all, Arc::clone(&written), late));
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), None);
    config.loopback_endpoints = true;
    let edge = Edge::bind(config).unwrap();
    let address = edge.http_addresses()[0];
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(edge.run(informers, shutdown.clone()));
    let get = || async { curl(&["-H", "Host: a.org", &format!("http://{address}/")]).await };
    assert!(get().await.contains("GET /"));
    assert_eq!((first.hits(), second.hits()), (1, 0));
    flip.send(Some(flipped)).unwrap();
    sleep(Duration::from_millis(50)).await;
    assert!(get().await.contains("GET /"));
    assert_eq!((first.hits(), second.hits()), (1, 1));
    sleep(Duration::from_millis(200)).await;
    {
        let written = written.lock().unwrap();
        let status =
            written.iter().find(|(path, _)| path.ends_with("/ingresses/a/status")).expect("a status was written");
        assert_eq!(status.1["status"]["loadBalancer"]["ingress"][0]["hostname"], "localhost");
        let event = written.iter().find(|(path, _)| path.ends_with("/events")).expect("an event was written");
        assert_eq!(event.1["reason"], "InvalidAnnotation");
    }
    shutdown.cancel();
    timeout(Duration::from_secs(3), task).await.unwrap().unwrap().unwrap();
}
