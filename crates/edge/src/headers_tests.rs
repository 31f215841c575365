#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    headers
}

fn prepared(fields: &[(&str, &str)]) -> HeaderMap {
    let mut headers = map(fields);
    let host = HeaderValue::from_static("example.org");
    let address = "192.0.2.7".parse().unwrap();
    prepare_request(&mut headers, &Forwarded { address, host: &host, https: true, port: 443, prefix: None });
    headers
}

#[test]
fn the_backend_learns_the_client_from_the_edge_alone() {
    let headers = prepared(&[
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-user", "root"),
        ("x_forwarded_for", "10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("proxy", "http://evil.example"),
    ]);
    for (name, value) in [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-real-ip", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "example.org"),
        ("x-forwarded-port", "443"),
    ] {
        assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
    }
    for name in ["x-forwarded-user", "x_forwarded_for", "forwarded", "proxy"] {
        assert!(!headers.contains_key(name), "{name}");
    }
}

#[test]
fn connection_cannot_strip_what_the_edge_sets() {
    let headers = prepared(&[
        ("connection", "x-forwarded-for, X-Real-IP, x-secret, host, content-length, close"),
        ("x-secret", "1"),
        ("host", "example.org"),
        ("content-length", "3"),
    ]);
    for (name, kept) in [
        ("x-forwarded-for", true),
        ("x-real-ip", true),
        ("host", true),
        ("content-length", true),
        ("x-secret", false),
        ("connection", false),
    ] {
        assert_eq!(headers.contains_key(name), kept, "{name}");
    }
}

#[test]
fn hop_by_hop_fields_do_not_cross_and_trailers_are_still_announced() {
    let headers = prepared(&[
        ("keep-alive", "timeout=5"),
        ("te", "gzip, trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "x"),
        ("proxy-authorization", "Basic x"),
        ("authorization", "Basic y"),
    ]);
    for name in ["keep-alive", "transfer-encoding", "upgrade", "http2-settings", "proxy-authorization"] {
        assert!(!headers.contains_key(name), "{name}");
    }
    assert_eq!(headers["te"], "trailers");
    assert!(headers.contains_key("authorization"));
}

#[test]
fn split_cookies_become_one() {
    assert_eq!(prepared(&[("cookie", "a=1"), ("cookie", "b=2")])["cookie"], "a=1; b=2");
}

#[test]
fn only_a_bodyless_get_may_ask_for_another_protocol_and_never_for_http2() {
    let websocket = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
    let asked = |fields: &[(&str, &str)], method: &Method, body| {
        requested_upgrade(&map(fields), method, Version::HTTP_11, body).is_some()
    };
    assert!(asked(&websocket, &Method::GET, false));
    assert!(!asked(&websocket, &Method::GET, true));
    assert!(!asked(&websocket, &Method::POST, false));
    assert!(!asked(&[("upgrade", "websocket")], &Method::GET, false));
    assert!(!asked(&[("connection", "upgrade"), ("upgrade", "h2c")], &Method::GET, false));
    assert!(!asked(&[("connection", "upgrade"), ("upgrade", "websocket, h2c")], &Method::GET, false));
    assert!(!asked(&[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")], &Method::GET, false));
}
