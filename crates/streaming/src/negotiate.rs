//! Which transport and protocol a request asks for, and the answer to one that cannot be served.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Kubernetes' header for the protocol inside SPDY streams.
const PROTOCOL_VERSION: &str = "x-stream-protocol-version";
/// Kubernetes' header for what the server would have accepted.
const ACCEPTED_VERSIONS: &str = "x-accepted-stream-protocol-versions";
/// The value of `Upgrade` for SPDY.
const SPDY: &str = "SPDY/3.1";
/// Browsers put their bearer token into the list of subprotocols; it is not a protocol.
const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// The protocols that an endpoint speaks, by transport. The client's order of preference decides.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) web_socket: &'static [&'static str],
    pub(crate) spdy: &'static [&'static str],
}

/// What has been agreed upon.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Agreement {
    /// RFC 6455. `protocol` is `None` when the client named none.
    WebSocket { key: String, protocol: Option<&'static str> },
    /// SPDY/3.1.
    Spdy { protocol: &'static str },
}

/// The answer to a request that cannot be upgraded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
    accepted: &'static [&'static str],
}

// === impl Refusal ===

impl Refusal {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), accepted: &[] }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.message).into_response();
        for protocol in self.accepted {
            response.headers_mut().append(ACCEPTED_VERSIONS, HeaderValue::from_static(protocol));
        }
        response
    }
}

// === impl Agreement ===

impl Agreement {
    /// The `101 Switching Protocols` that seals it.
    pub(crate) fn response(&self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        match self {
            Self::WebSocket { key, protocol } => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                // Base64, always a legal header value.
                if let Ok(accept) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
                    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
                }
                if let Some(protocol) = protocol {
                    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
                }
            }
            Self::Spdy { protocol } => {
                headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
                headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(protocol));
            }
        }
        response
    }
}

/// The comma-separated values of all headers called `name`.
fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let all = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).map(str::trim).filter(|value| !value.is_empty())
}

fn has_token(headers: &HeaderMap, name: &str, token: &str) -> bool {
    values(headers, name).any(|value| value.eq_ignore_ascii_case(token))
}

fn first_common(wanted: &[&str], offered: &'static [&'static str]) -> Option<&'static str> {
    wanted.iter().find_map(|wanted| offered.iter().find(|offered| *offered == wanted)).copied()
}

/// Reads the request's headers.
pub(crate) fn negotiate(headers: &HeaderMap, offer: &Offer) -> Result<Agreement, Refusal> {
    if !has_token(headers, "connection", "upgrade") {
        return Err(Refusal::bad_request("unable to upgrade: the request has no \"Connection: Upgrade\" header"));
    }
    if has_token(headers, "upgrade", "websocket") {
        return web_socket(headers, offer);
    }
    if has_token(headers, "upgrade", SPDY) {
        return spdy(headers, offer);
    }
    Err(Refusal::bad_request("unable to upgrade: the Upgrade header names neither websocket nor SPDY/3.1"))
}

fn web_socket(headers: &HeaderMap, offer: &Offer) -> Result<Agreement, Refusal> {
    if !has_token(headers, "sec-websocket-version", "13") {
        return Err(Refusal::bad_request("unable to upgrade: Sec-WebSocket-Version must be 13"));
    }
    let key = values(headers, "sec-websocket-key").next().map(str::to_owned);
    let key = key.ok_or_else(|| Refusal::bad_request("unable to upgrade: Sec-WebSocket-Key is missing"))?;
    let wanted: Vec<&str> =
        values(headers, "sec-websocket-protocol").filter(|name| !name.starts_with(BEARER_PROTOCOL)).collect();
    let protocol = first_common(&wanted, offer.web_socket);
    if protocol.is_none() && !wanted.is_empty() {
        let message = format!(
            "unable to upgrade: none of the requested WebSocket subprotocols {wanted:?} is supported, only {:?}",
            offer.web_socket
        );
        return Err(Refusal { status: StatusCode::FORBIDDEN, message, accepted: &[] });
    }
    Ok(Agreement::WebSocket { key, protocol })
}

fn spdy(headers: &HeaderMap, offer: &Offer) -> Result<Agreement, Refusal> {
    let wanted: Vec<&str> = values(headers, PROTOCOL_VERSION).collect();
    if wanted.is_empty() {
        return Err(Refusal::bad_request("unable to upgrade: the X-Stream-Protocol-Version header is required"));
    }
    match first_common(&wanted, offer.spdy) {
        Some(protocol) => Ok(Agreement::Spdy { protocol }),
        None => {
            let message = format!(
                "unable to upgrade: unable to negotiate protocol: client supports {wanted:?}, server accepts {:?}",
                offer.spdy
            );
            Err(Refusal { status: StatusCode::FORBIDDEN, message, accepted: offer.spdy })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use http::{HeaderName, HeaderValue};

    use super::*;

    const OFFER: Offer = Offer { web_socket: &["v5.x", "v4.x"], spdy: &["v4.x", "v3.x"] };

    fn check(headers: &[(&'static str, &'static str)]) -> Result<Agreement, (u16, String)> {
        let pairs = headers.iter();
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        negotiate(&map, &OFFER).map_err(|refusal| (refusal.status.as_u16(), refusal.message))
    }

    #[test]
    fn the_clients_order_of_preference_decides() {
        let agreed = check(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "a2V5"),
            ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0, v9.x, v4.x, v5.x"),
        ]);
        assert_eq!(agreed, Ok(Agreement::WebSocket { key: "a2V5".into(), protocol: Some("v4.x") }));
        let headers = [
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v5.x"),
            ("x-stream-protocol-version", "v3.x"),
            ("x-stream-protocol-version", "v4.x"),
        ];
        assert_eq!(check(&headers), Ok(Agreement::Spdy { protocol: "v3.x" }));
    }

    #[test]
    fn what_cannot_be_upgraded_is_refused_with_a_sentence() {
        let websocket = [("connection", "upgrade"), ("upgrade", "websocket")];
        let with = |more: &[(&'static str, &'static str)]| check(&[&websocket[..], more].concat());
        let cases = [
            (check(&[]), 400, "Connection: Upgrade"),
            (check(&[("connection", "upgrade"), ("upgrade", "h2c")]), 400, "neither websocket nor SPDY"),
            (with(&[("sec-websocket-version", "8")]), 400, "must be 13"),
            (with(&[("sec-websocket-version", "13")]), 400, "Key is missing"),
            (
                with(&[
                    ("sec-websocket-version", "13"),
                    ("sec-websocket-key", "a"),
                    ("sec-websocket-protocol", "chat"),
                ]),
                403,
                "chat",
            ),
            (check(&[("connection", "upgrade"), ("upgrade", "spdy/3.1")]), 400, "Version header is required"),
            (
                check(&[("connection", "upgrade"), ("upgrade", "spdy/3.1"), ("x-stream-protocol-version", "v9")]),
                403,
                "unable to negotiate",
            ),
        ];
        for (answer, status, part) in cases {
            let (actual, message) = answer.unwrap_err();
            assert_eq!(actual, status, "{message}");
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }

    #[test]
    fn a_web_socket_without_subprotocol_is_served_and_the_key_is_confirmed() {
        let agreed = check(&[
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
        let response = agreed.unwrap().response();
        // The example of RFC 6455, section 1.3.
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(!response.headers().contains_key("sec-websocket-protocol"));
    }
}
