//! `httpGet` probes and hooks: success is a status from 200 to 399.
//!
//! A redirect is followed on the same host only; one that leads elsewhere counts as success, as in Kubernetes, but no
//! request is sent there.

use std::sync::{Arc, OnceLock};

use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{BoxFuture, Check, Target};

const MAX_REDIRECTS: usize = 10;
const MAX_BODY: usize = 10 * 1024;

pub(super) fn of(probe: &Probe) -> Option<Box<dyn Check>> {
    probe.http_get.clone().map(|action| Box::new(Http(action)) as _)
}

struct Http(HTTPGetAction);

impl Check for Http {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(get(target, &self.0))
    }
}

/// Sends the request and judges the answer.
pub(crate) async fn get(target: &Target, action: &HTTPGetAction) -> Result<(), String> {
    let (host, port) = (target.host(action.host.as_deref())?, target.port(&action.port)?);
    let tls = action.scheme.as_deref() == Some("HTTPS");
    let path = action.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
    let mut path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    for _ in 0..=MAX_REDIRECTS {
        let (status, location, body) = send(action, &host, port, tls, &path).await?;
        match status {
            301 | 302 | 303 | 307 | 308 => match location.and_then(|location| same_host(&location, &host, port, tls)) {
                Some(next) => path = next,
                None => return Ok(()),
            },
            200..400 => return Ok(()),
            _ => return Err(format!("HTTP probe failed with statuscode: {status}{body}")),
        }
    }
    Err(format!("stopped after {MAX_REDIRECTS} redirects"))
}

/// Path and query of a redirect that stays where it is.
fn same_host(location: &str, host: &str, port: u16, tls: bool) -> Option<String> {
    let uri: Uri = location.parse().ok()?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let Some(authority) = uri.authority() else { return path.starts_with('/').then_some(path) };
    let scheme_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let same_scheme = (uri.scheme_str() == Some("https")) == tls;
    let same = authority.host().trim_matches(['[', ']']) == host && authority.port_u16().unwrap_or(scheme_port) == port;
    (same && same_scheme).then_some(path)
}

async fn send(
    action: &HTTPGetAction,
    host: &str,
    port: u16,
    tls: bool,
    path: &str,
) -> Result<(u16, Option<String>, String), String> {
    let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut request = Request::get(path);
    let mut own_host = false;
    for header in action.http_headers.iter().flatten() {
        own_host |= header.name.eq_ignore_ascii_case("host");
        request = request.header(&header.name, &header.value);
    }
    if !own_host {
        request = request.header(header::HOST, &authority);
    }
    let given = |name: &str| action.http_headers.iter().flatten().any(|header| header.name.eq_ignore_ascii_case(name));
    if !given("user-agent") {
        request = request.header(header::USER_AGENT, "kube-probe/1.37");
    }
    if !given("accept") {
        request = request.header(header::ACCEPT, "*/*");
    }
    let request = request
        .header(header::CONNECTION, "close")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| format!("the probe's request is not valid: {error}"))?;
    let failed = |error: &dyn std::fmt::Display| format!("Get \"{path}\" from {authority}: {error}");
    let stream = TcpStream::connect((host, port)).await.map_err(|error| failed(&error))?;
    if tls {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(&error))?;
        let connector = tokio_rustls::TlsConnector::from(insecure());
        let stream = connector.connect(name, stream).await.map_err(|error| failed(&error))?;
        exchange(stream, request).await.map_err(|error| failed(&error))
    } else {
        exchange(stream, request).await.map_err(|error| failed(&error))
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<bytes::Bytes>>,
) -> Result<(u16, Option<String>, String), hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let talk = async {
        let response = sender.send_request(request).await?;
        let location =
            response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let body = match status {
            400.. => Limited::new(response.into_body(), MAX_BODY).collect().await.map(|body| body.to_bytes()).ok(),
            _ => None,
        };
        let body = body.filter(|body| !body.is_empty());
        let body = body.map_or(String::new(), |body| format!(": {}", String::from_utf8_lossy(&body).trim_end()));
        Ok((status, location, body))
    };
    // The connection runs inside this future: a timeout of the probe closes it too. When it ends first, the sender says why.
    tokio::pin!(talk);
    tokio::select! {
        answer = &mut talk => return answer,
        _ = connection => {}
    }
    talk.await
}

/// Probes ask whether something answers, not who: Kubernetes does not verify certificates here either.
fn insecure() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let schemes = provider.signature_verification_algorithms.supported_schemes();
            let builder = ClientConfig::builder_with_provider(provider);
            let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
            let config = match builder.with_protocol_versions(&versions) {
                Ok(builder) => builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(AnyCertificate(schemes)))
                    .with_no_client_auth(),
                // The ring provider supports both versions.
                Err(error) => unreachable!("TLS versions: {error}"),
            };
            Arc::new(config)
        })
        .clone()
}

#[derive(Debug)]
struct AnyCertificate(Vec<SignatureScheme>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
