//! `pods/proxy` and `services/proxy`: a request handed on to a port of a pod, its answer streamed back.

use std::{net::IpAddr, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

/// Until the pod takes the connection, and then until it begins to answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);

/// Headers of one connection (RFC 9110, section 7.6.1), which say nothing about the next one.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Whether an address may be a pod's. Status is data: it must not lead to what listens on the machine for itself alone
/// (`k8s.io/kubernetes/pkg/proxy/util.IsProxyableIP`).
pub(crate) fn is_proxyable(address: IpAddr) -> bool {
    let local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
    };
    !(local || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

/// Sends the request to `address:port` under `target` (path and query).
///
/// # Errors
/// The status and one sentence when the pod cannot be asked. Protocol upgrades are not carried: 501.
pub(crate) async fn forward(
    address: IpAddr,
    port: u16,
    target: &str,
    request: Request,
) -> Result<Response, (StatusCode, String)> {
    let gateway = |what: String| (StatusCode::BAD_GATEWAY, what);
    if request.headers().contains_key(header::UPGRADE) {
        let sentence = "the proxy carries HTTP requests only; `kubectl port-forward` carries everything";
        return Err((StatusCode::NOT_IMPLEMENTED, sentence.to_owned()));
    }
    let (mut head, body) = request.into_parts();
    head.uri = target.parse::<Uri>().map_err(|_| (StatusCode::BAD_REQUEST, format!("{target:?} is not a path")))?;
    head.version = http::Version::HTTP_11;
    remove_hop_by_hop(&mut head.headers);
    let host = HeaderValue::from_str(&std::net::SocketAddr::new(address, port).to_string());
    head.headers.insert(header::HOST, host.map_err(|_| gateway(format!("{address} is not a host")))?);
    let failed = |error: &dyn std::error::Error| gateway(format!("{address}:{port}: {error}"));
    let stream = match timeout(CONNECT, TcpStream::connect((address, port))).await {
        Ok(connected) => connected.map_err(|error| failed(&error))?,
        Err(_) => return Err((StatusCode::GATEWAY_TIMEOUT, format!("{address}:{port} does not take the connection"))),
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    // Ends with the connection, which ends when both bodies are done or dropped.
    tokio::spawn(connection);
    let answer = timeout(ANSWER, sender.send_request(Request::from_parts(head, body))).await;
    let mut answer = match answer {
        Ok(answer) => answer.map_err(|error| failed(&error))?,
        Err(_) => return Err((StatusCode::GATEWAY_TIMEOUT, format!("{address}:{port} does not answer"))),
    };
    remove_hop_by_hop(answer.headers_mut());
    Ok(answer.map(Body::new).into_response())
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use axum::{Router, routing::any};
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn only_addresses_of_pods_are_asked() {
        for (address, allowed) in [
            ("10.42.0.7", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("0.0.0.0", false),
            ("224.0.0.1", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("fd00::7", true),
        ] {
            assert_eq!(is_proxyable(address.parse().unwrap()), allowed, "{address}");
        }
    }

    #[tokio::test]
    async fn request_and_answer_pass_without_the_headers_of_their_connections() {
        let echo = |request: Request| async move {
            let told = format!("{} {} {:?}", request.method(), request.uri(), request.headers().get("x-hop"));
            ([("connection", "close, x-gone"), ("x-gone", "1"), ("x-kept", "1")], told)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(echo))).await });
        let request = || Request::builder().method("PUT").header("connection", "x-hop").header("x-hop", "1");
        let answer = forward(address.ip(), address.port(), "/a/b?c=d", request().body(Body::empty()).unwrap());
        let answer = answer.await.unwrap();
        assert!(answer.headers().contains_key("x-kept") && !answer.headers().contains_key("x-gone"));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "PUT /a/b?c=d None");
        let upgrade = request().header("upgrade", "websocket").body(Body::empty()).unwrap();
        let refused = forward(address.ip(), address.port(), "/", upgrade).await.unwrap_err();
        assert_eq!(refused.0, StatusCode::NOT_IMPLEMENTED);
    }
}
