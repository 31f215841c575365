//! HTTP clients as small as the measurement needs them: one connection each, kept alive, nothing pooled or retried.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use tokio::{net::TcpStream, sync::mpsc};
use tokio_rustls::TlsConnector;

use crate::Result;

/// Longest wait for any answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where the API of a cluster is, and who asks.
#[derive(Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// One kept-alive HTTP/1.1 connection over TLS.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
}

/// An event of a watch and the moment when it was read.
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) event: Value,
}

impl Seen {
    pub(crate) fn object(&self) -> &Value {
        &self.event["object"]
    }

    pub(crate) fn name(&self) -> &str {
        self.object()["metadata"]["name"].as_str().unwrap_or_default()
    }
}

// === impl Target ===

impl Target {
    /// The server, authority and client certificate of a kubeconfig file.
    pub(crate) fn from_kubeconfig(text: &str) -> Result<Self> {
        let config: Value = serde_saphyr::from_str(text)?;
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let pem = |value: &Value| -> Result<Vec<u8>> {
            Ok(STANDARD.decode(value.as_str().ok_or("a field of the kubeconfig is missing")?)?)
        };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem(&cluster["certificate-authority-data"])?)?)?;
        let certificate = CertificateDer::from_pem_slice(&pem(&user["client-certificate-data"])?)?;
        let key = PrivateKeyDer::from_pem_slice(&pem(&user["client-key-data"])?)?;
        let tls =
            ClientConfig::builder().with_root_certificates(roots).with_client_auth_cert(vec![certificate], key)?;
        let server = cluster["server"].as_str().ok_or("the kubeconfig names no server")?;
        let address = server.trim_start_matches("https://").parse()?;
        Ok(Self { address, tls: Arc::new(tls) })
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The connection's own error reaches whoever waits for an answer.
        tokio::spawn(connection);
        Ok(Connection { sender })
    }

    /// Events of a watch from now on, on a connection of its own. Returns when the server has begun to answer.
    pub(crate) async fn watch(&self, path: &str) -> Result<mpsc::UnboundedReceiver<Seen>> {
        let mut connection = self.connect().await?;
        let list = connection.get(&format!("{path}?limit=1")).await?;
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        connection.sender.ready().await?;
        let request = Request::get(format!("{path}?watch=true&resourceVersion={revision}"));
        let response =
            connection.sender.send_request(request.header(header::HOST, "lotse").body(Full::default())?).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("watch of {path}: {}", response.status()).into());
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let _connection = connection;
            let mut body = response.into_body();
            let mut buffer = BytesMut::new();
            while let Some(Ok(frame)) = body.frame().await {
                let at = Instant::now();
                buffer.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line = buffer.split_to(end + 1);
                    let Ok(event) = serde_json::from_slice(&line) else { return };
                    if sender.send(Seen { at, event }).is_err() {
                        return;
                    }
                }
            }
        });
        Ok(receiver)
    }
}

// === impl Connection ===

impl Connection {
    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "lotse")
            .header(header::USER_AGENT, "lotse-bench")
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::new(body))?;
        let answer = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        Ok(tokio::time::timeout(DEADLINE, answer).await??)
    }

    async fn succeed(&mut self, method: Method, path: &str, content_type: &str, body: Bytes) -> Result<Bytes> {
        let (status, bytes) = self.send(method.clone(), path, content_type, body).await?;
        if !status.is_success() {
            return Err(format!("{method} {path}: {status}: {}", String::from_utf8_lossy(&bytes)).into());
        }
        Ok(bytes)
    }

    /// GET; anything but success is an error.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.succeed(Method::GET, path, "", Bytes::new()).await?)?)
    }

    /// POST of an object; anything but success is an error.
    pub(crate) async fn create(&mut self, path: &str, object: Bytes) -> Result<()> {
        self.succeed(Method::POST, path, "application/json", object).await.map(drop)
    }

    /// JSON merge patch; anything but success is an error.
    pub(crate) async fn patch(&mut self, path: &str, patch: &Value) -> Result<()> {
        let body = serde_json::to_vec(patch)?.into();
        self.succeed(Method::PATCH, path, "application/merge-patch+json", body).await.map(drop)
    }

    /// DELETE at once, without grace; an object that is gone already is fine.
    pub(crate) async fn delete(&mut self, path: &str) -> Result<()> {
        let path = format!("{path}?gracePeriodSeconds=0");
        let (status, bytes) = self.send(Method::DELETE, &path, "", Bytes::new()).await?;
        if status.is_success() || status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        Err(format!("DELETE {path}: {status}: {}", String::from_utf8_lossy(&bytes)).into())
    }
}

/// One HTTP/2 connection for unary gRPC calls, without TLS.
pub(crate) struct Grpc {
    sender: http2::SendRequest<Full<Bytes>>,
    authority: String,
}

impl Grpc {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        // Answers of several megabytes arrive in one go, as with every gRPC library's own window growth.
        builder.initial_stream_window_size(16 << 20).initial_connection_window_size(16 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, authority: address.to_string() })
    }

    /// Calls a method with an encoded message; the encoded answer.
    pub(crate) async fn call(&mut self, method: &str, message: &[u8]) -> Result<Bytes> {
        let mut frame = BytesMut::with_capacity(message.len() + 5);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len())?);
        frame.put_slice(message);
        let request = Request::post(format!("http://{}{method}", self.authority))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Full::new(frame.freeze()))?;
        self.sender.ready().await?;
        let answer = async {
            let response = self.sender.send_request(request).await?;
            let headers = response.headers().clone();
            let collected = response.into_body().collect().await?;
            let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status"));
            let status = status.or_else(|| headers.get("grpc-status")).cloned();
            Ok::<_, hyper::Error>((status, collected.to_bytes()))
        };
        let (status, bytes) = tokio::time::timeout(DEADLINE, answer).await??;
        match status {
            Some(status) if status == "0" => Ok(bytes.slice(5.min(bytes.len())..)),
            status => Err(format!("{method}: gRPC status {status:?}").into()),
        }
    }
}
