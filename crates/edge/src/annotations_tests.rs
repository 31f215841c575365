#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

fn parse(rows: &[(&str, &str)]) -> (Policy, Vec<Warning>) {
    let annotations = rows.iter().map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned())).collect();
    Policy::parse(&annotations)
}

#[test]
fn defaults_are_those_of_ingress_nginx() {
    let (policy, warnings) = parse(&[]);
    assert_eq!(warnings, []);
    assert_eq!(policy.body_size, Some(1024 * 1024));
    assert_eq!(policy.connect_timeout, Duration::from_secs(5));
    assert_eq!(policy.read_timeout, Duration::from_secs(60));
    assert!(policy.ssl_redirect && !policy.force_ssl_redirect && policy.blocked.is_none());
}

#[test]
fn values_become_typed() {
    let (policy, warnings) = parse(&[
        ("ssl-redirect", "false"),
        ("rewrite-target", "/$2"),
        ("use-regex", "true"),
        ("proxy-body-size", "8m"),
        ("proxy-read-timeout", "30"),
        ("proxy-connect-timeout", "2s"),
        ("backend-protocol", "grpc"),
        ("whitelist-source-range", "10.0.0.0/8, 192.0.2.1"),
        ("limit-rps", "5"),
        ("limit-connections", "0"),
        ("proxy-next-upstream", "error http_503 non_idempotent"),
        ("permanent-redirect", "https://example.org/x"),
        ("permanent-redirect-code", "308"),
        ("upstream-hash-by", "$http_x_user"),
        ("cors-allow-origin", "https://a.org"),
        ("enable-cors", "true"),
        ("server-alias", "b.org, c.org"),
        ("proxy-buffering", "on"),
    ]);
    assert_eq!(warnings, []);
    assert!(!policy.ssl_redirect && policy.use_regex);
    assert_eq!(policy.rewrite_target.as_deref(), Some("/$2"));
    assert_eq!(policy.body_size, Some(8 << 20));
    assert_eq!(policy.read_timeout, Duration::from_secs(30));
    assert_eq!(policy.connect_timeout, Duration::from_secs(2));
    assert_eq!(policy.protocol, Protocol::Grpc);
    assert_eq!(policy.allow.len(), 2);
    assert_eq!((policy.requests_per_second, policy.connections), (Some(5), None));
    assert!(policy.next_upstream.error && !policy.next_upstream.timeout && policy.next_upstream.non_idempotent);
    assert!(policy.next_upstream.on_status(StatusCode::SERVICE_UNAVAILABLE));
    assert!(!policy.next_upstream.on_status(StatusCode::BAD_GATEWAY));
    assert_eq!(policy.redirect.unwrap().0, StatusCode::PERMANENT_REDIRECT);
    assert_eq!(policy.hash_by, Some(HashBy::Header(HeaderName::from_static("x-user"))));
    assert_eq!(policy.cors.unwrap().origins, ["https://a.org"]);
    assert_eq!(policy.aliases, ["b.org", "c.org"]);
}

#[test]
fn malformed_values_are_reported_and_have_no_effect() {
    for (name, value) in [
        ("ssl-redirect", "yes"),
        ("proxy-body-size", "big"),
        ("proxy-body-size", "99999999999999999999g"),
        ("proxy-read-timeout", "-1"),
        ("proxy-read-timeout", "0"),
        ("backend-protocol", "FCGI"),
        ("proxy-next-upstream", "error; return 200"),
        ("permanent-redirect", "javascript:alert(1)"),
        ("permanent-redirect", "https://a.org/\r\nSet-Cookie: x=1"),
        ("app-root", "/a\nb"),
        ("rewrite-target", "/$1;\n}"),
        ("server-alias", "a.org; return 200"),
        ("upstream-hash-by", "$request_uri; evil"),
        ("session-cookie-name", "a=b; Path=/"),
        ("auth-realm", "a\" , Bearer"),
        ("configuration-snippet", "return 200;"),
        ("server-snippet", "location / { }"),
        ("no-such-annotation", "x"),
    ] {
        let (policy, warnings) = parse(&[(name, value)]);
        assert_eq!(warnings.len(), 1, "{name}: {value}");
        assert_eq!(policy, Policy::default(), "{name}: {value}");
    }
}

#[test]
fn what_restricts_access_closes_when_it_cannot_be_honoured() {
    for (name, value) in [
        ("whitelist-source-range", "10.0.0.0/33"),
        ("whitelist-source-range", ""),
        ("denylist-source-range", "everyone"),
        ("auth-type", "digest"),
        ("auth-type", "basic"),
        ("auth-secret", "other-namespace/users"),
        ("auth-url", "http://auth.example.org"),
        ("auth-tls-secret", "default/ca"),
        ("auth-tls-verify-client", "on"),
    ] {
        let (policy, warnings) = parse(&[(name, value)]);
        assert!(policy.blocked.is_some(), "{name}: {value}");
        assert_eq!(warnings.len(), 1, "{name}: {value}");
    }
}

proptest! {
    #[test]
    fn no_value_panics_or_reaches_a_header_unchecked(row in 0..ROWS.len(), value in r"[ -~\r\n\x00é$;{}]{0,40}") {
        let (policy, _) = parse(&[(ROWS[row].0, &value)]);
        for text in [policy.app_root, policy.redirect.map(|(_, location)| location), policy.upstream_host, policy.forwarded_prefix] {
            let clean = text.is_none_or(|text| !text.as_bytes().iter().any(|byte| *byte < 0x20 && *byte != b'\t'));
            prop_assert!(clean);
        }
        prop_assert!(!policy.auth_realm.contains(['"', '\\', '\n']));
        prop_assert!(!policy.affinity_cookie.contains([';', '=', ' ']));
    }
}
