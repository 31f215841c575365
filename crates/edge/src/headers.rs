//! Header hygiene: what may cross the edge (RFC 9110, section 7.6.1), and what the edge itself says of the client.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Version,
    header::{self, Entry},
};

/// Fields that belong to one connection and never cross.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// Requests only: what a client must not tell the backend about itself, and what the edge answers itself.
const NOT_FROM_CLIENTS: [HeaderName; 5] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-scheme"),
    // CGI programs read it as the environment's HTTP_PROXY (CVE-2016-5385).
    HeaderName::from_static("proxy"),
    header::EXPECT,
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What the edge tells the backend about the client.
#[derive(Debug)]
pub(crate) struct Forwarded<'a> {
    pub(crate) address: IpAddr,
    pub(crate) host: &'a HeaderValue,
    pub(crate) https: bool,
    pub(crate) port: u16,
    pub(crate) prefix: Option<&'a HeaderValue>,
}

/// The protocol that an HTTP/1.1 request asks to change to, when that may be passed on: only without a body, so that
/// nothing can follow the head before the backend agreed, and never to HTTP/2, which would carry requests past the
/// routing.
pub(crate) fn requested_upgrade(
    headers: &HeaderMap,
    method: &Method,
    version: Version,
    has_body: bool,
) -> Option<HeaderValue> {
    if version != Version::HTTP_11 || *method != Method::GET || has_body {
        return None;
    }
    let upgrade = headers.get(header::UPGRADE)?;
    let named = connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let protocol = upgrade.to_str().ok()?;
    let single = headers.get_all(header::UPGRADE).iter().count() == 1 && !protocol.contains(',');
    let http2 = protocol.trim().get(..2).is_some_and(|start| start.eq_ignore_ascii_case("h2"));
    (named && single && !http2).then(|| upgrade.clone())
}

/// Turns the client's fields into what the backend gets.
pub(crate) fn prepare_request(headers: &mut HeaderMap, forwarded: &Forwarded<'_>) {
    let trailers = headers.get_all(header::TE).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
    });
    strip_hop_by_hop(headers);
    for name in &NOT_FROM_CLIENTS {
        headers.remove(name);
    }
    // Fields with an underscore look like the ones with a hyphen to CGI and WSGI programs.
    let refused: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-forwarded-") || name.as_str().contains('_'))
        .cloned()
        .collect();
    for name in refused {
        headers.remove(name);
    }
    join_cookies(headers);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    // Only now: no field that the client named in Connection can remove these.
    let scheme = HeaderValue::from_static(if forwarded.https { "https" } else { "http" });
    if let Ok(address) = HeaderValue::from_str(&forwarded.address.to_string()) {
        headers.insert(X_FORWARDED_FOR, address.clone());
        headers.insert(X_REAL_IP, address);
    }
    headers.insert(X_FORWARDED_HOST, forwarded.host.clone());
    headers.insert(X_FORWARDED_PORT, HeaderValue::from(forwarded.port));
    headers.insert(X_FORWARDED_PROTO, scheme.clone());
    headers.insert(X_FORWARDED_SCHEME, scheme);
    if let Some(prefix) = forwarded.prefix {
        headers.insert(X_FORWARDED_PREFIX, prefix.clone());
    }
}

/// Turns the backend's fields into what the client gets.
pub(crate) fn prepare_response(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = connection_options(headers)
            .filter_map(|option| HeaderName::try_from(option).ok())
            // What frames and addresses the message is not the sender's to remove.
            .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|option| !option.is_empty())
}

/// HTTP/2 clients may split cookies into several fields; HTTP/1.1 servers expect one (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let Entry::Occupied(mut entry) = headers.entry(header::COOKIE) else { return };
    if entry.iter().count() < 2 {
        return;
    }
    let joined = entry.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(b"; ".as_slice());
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        entry.insert(joined);
    }
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
