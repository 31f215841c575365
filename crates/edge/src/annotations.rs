//! `nginx.ingress.kubernetes.io/*` as typed values: one row per annotation, one small function per form of value.
//!
//! Nothing here is ever written into a configuration file or evaluated. A value that cannot be parsed is reported and
//! has no effect, except where having no effect would open what the author meant to close: then the Ingress answers 503
//! until the annotation is repaired ([`Policy::blocked`]).

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, Uri};
use ipnet::IpNet;

/// All annotations with effect share this prefix.
pub(crate) const PREFIX: &str = "nginx.ingress.kubernetes.io/";

/// What the annotations of one Ingress ask for; the defaults are ingress-nginx'.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    pub(crate) ssl_redirect: bool,
    pub(crate) force_ssl_redirect: bool,
    pub(crate) rewrite_target: Option<String>,
    pub(crate) use_regex: bool,
    /// Where `GET /` is sent.
    pub(crate) app_root: Option<HeaderValue>,
    /// Every request is answered with this redirect.
    pub(crate) redirect: Option<(StatusCode, HeaderValue)>,
    pub(crate) redirect_code: Option<StatusCode>,
    /// Largest request body in bytes; `None` is unlimited.
    pub(crate) body_size: Option<u64>,
    pub(crate) connect_timeout: Duration,
    pub(crate) read_timeout: Duration,
    pub(crate) send_timeout: Duration,
    pub(crate) next_upstream: NextUpstream,
    /// How many endpoints may be tried for one request; 0 is all of them.
    pub(crate) tries: usize,
    pub(crate) protocol: Protocol,
    /// The `Host` that the backend sees instead of the client's.
    pub(crate) upstream_host: Option<HeaderValue>,
    pub(crate) forwarded_prefix: Option<HeaderValue>,
    /// Sources that may pass; empty is everybody.
    pub(crate) allow: Vec<IpNet>,
    /// Sources that may not pass.
    pub(crate) deny: Vec<IpNet>,
    pub(crate) basic_auth: bool,
    /// Secret of the Ingress's own namespace.
    pub(crate) auth_secret: Option<String>,
    /// `auth-map`: each key of the secret is a user, instead of one key `auth` with a htpasswd file.
    pub(crate) auth_map: bool,
    pub(crate) auth_realm: String,
    pub(crate) cors: Option<Cors>,
    pub(crate) cors_values: Cors,
    /// Requests per second and source address.
    pub(crate) requests_per_second: Option<u32>,
    /// Requests per minute and source address.
    pub(crate) requests_per_minute: Option<u32>,
    /// Burst as a multiple of the rate.
    pub(crate) burst_multiplier: u32,
    /// Requests in flight per source address.
    pub(crate) connections: Option<u32>,
    pub(crate) aliases: Vec<String>,
    pub(crate) affinity: bool,
    pub(crate) affinity_cookie: String,
    /// `Max-Age` of the affinity cookie in seconds; `None` is a session cookie.
    pub(crate) affinity_max_age: Option<u64>,
    pub(crate) hash_by: Option<HashBy>,
    /// Why no request may pass.
    pub(crate) blocked: Option<String>,
}

/// How the backend is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Http,
    Https,
    /// HTTP/2 without TLS.
    Grpc,
    /// HTTP/2 with TLS.
    Grpcs,
}

/// When a request goes to the next endpoint besides when no connection could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NextUpstream {
    /// The connection failed before the response began.
    pub(crate) error: bool,
    /// The endpoint did not answer in time.
    pub(crate) timeout: bool,
    /// Bits of the statuses 500, 502, 503, 504, 403, 404, 429.
    statuses: u8,
    /// Also for methods that may have had an effect already.
    pub(crate) non_idempotent: bool,
}

/// What chooses the endpoint when requests that look alike must meet the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HashBy {
    Address,
    RequestUri,
    Host,
    Header(HeaderName),
    Argument(String),
    Cookie(String),
}

/// `enable-cors` and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cors {
    /// `*`, or origins that may have a wildcard in front of the host (`https://*.example.org`).
    pub(crate) origins: Vec<String>,
    pub(crate) methods: HeaderValue,
    pub(crate) headers: HeaderValue,
    pub(crate) expose: Option<HeaderValue>,
    pub(crate) credentials: bool,
    /// Seconds.
    pub(crate) max_age: u64,
}

/// One annotation that could not be honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    /// Without [`PREFIX`].
    pub(crate) annotation: String,
    pub(crate) message: String,
}

type Set = fn(&mut Policy, &str) -> Result<(), String>;

/// What to do when a value is malformed.
#[derive(Clone, Copy, PartialEq)]
enum Failure {
    /// The default stays.
    Ignore,
    /// Ignoring would let requests pass that the author meant to stop.
    Close,
}

use Failure::{Close, Ignore};

/// Annotation, what a malformed value means, what a value does.
const ROWS: &[(&str, Failure, Set)] = &[
    ("ssl-redirect", Ignore, |p, v| assign(&mut p.ssl_redirect, flag(v))),
    ("force-ssl-redirect", Ignore, |p, v| assign(&mut p.force_ssl_redirect, flag(v))),
    ("rewrite-target", Ignore, |p, v| assign(&mut p.rewrite_target, path(v).map(Some))),
    ("use-regex", Ignore, |p, v| assign(&mut p.use_regex, flag(v))),
    ("app-root", Ignore, |p, v| assign(&mut p.app_root, path(v).and_then(|v| header(&v)).map(Some))),
    ("temporal-redirect", Ignore, |p, v| redirect(p, StatusCode::FOUND, v)),
    ("permanent-redirect", Ignore, |p, v| redirect(p, StatusCode::MOVED_PERMANENTLY, v)),
    ("permanent-redirect-code", Ignore, |p, v| assign(&mut p.redirect_code, redirect_code(v).map(Some))),
    ("temporal-redirect-code", Ignore, |p, v| assign(&mut p.redirect_code, redirect_code(v).map(Some))),
    ("proxy-body-size", Ignore, |p, v| assign(&mut p.body_size, size(v))),
    ("proxy-connect-timeout", Ignore, |p, v| assign(&mut p.connect_timeout, seconds(v))),
    ("proxy-read-timeout", Ignore, |p, v| assign(&mut p.read_timeout, seconds(v))),
    ("proxy-send-timeout", Ignore, |p, v| assign(&mut p.send_timeout, seconds(v))),
    ("proxy-next-upstream", Ignore, |p, v| assign(&mut p.next_upstream, next_upstream(v))),
    ("proxy-next-upstream-tries", Ignore, |p, v| assign(&mut p.tries, number(v))),
    ("backend-protocol", Ignore, |p, v| assign(&mut p.protocol, protocol(v))),
    ("upstream-vhost", Ignore, |p, v| assign(&mut p.upstream_host, host(v).and_then(|v| header(&v)).map(Some))),
    ("x-forwarded-prefix", Ignore, |p, v| assign(&mut p.forwarded_prefix, header(v).map(Some))),
    ("whitelist-source-range", Close, |p, v| networks(v).map(|v| p.allow.extend(v))),
    ("allowlist-source-range", Close, |p, v| networks(v).map(|v| p.allow.extend(v))),
    ("denylist-source-range", Close, |p, v| networks(v).map(|v| p.deny.extend(v))),
    ("auth-type", Close, |p, v| assign(&mut p.basic_auth, auth_type(v))),
    ("auth-secret", Close, |p, v| assign(&mut p.auth_secret, secret_name(v).map(Some))),
    ("auth-secret-type", Close, |p, v| assign(&mut p.auth_map, auth_secret_type(v))),
    ("auth-realm", Ignore, |p, v| assign(&mut p.auth_realm, quotable(v))),
    ("enable-cors", Ignore, |p, v| flag(v).map(|on| p.cors = on.then(|| p.cors_values.clone()))),
    ("cors-allow-origin", Close, |p, v| assign(&mut p.cors_values.origins, origins(v))),
    ("cors-allow-methods", Ignore, |p, v| assign(&mut p.cors_values.methods, tokens(v))),
    ("cors-allow-headers", Ignore, |p, v| assign(&mut p.cors_values.headers, tokens(v))),
    ("cors-expose-headers", Ignore, |p, v| assign(&mut p.cors_values.expose, tokens(v).map(Some))),
    ("cors-allow-credentials", Ignore, |p, v| assign(&mut p.cors_values.credentials, flag(v))),
    ("cors-max-age", Ignore, |p, v| assign(&mut p.cors_values.max_age, number(v))),
    ("limit-rps", Ignore, |p, v| assign(&mut p.requests_per_second, rate(v))),
    ("limit-rpm", Ignore, |p, v| assign(&mut p.requests_per_minute, rate(v))),
    ("limit-burst-multiplier", Ignore, |p, v| assign(&mut p.burst_multiplier, number(v))),
    ("limit-connections", Ignore, |p, v| assign(&mut p.connections, rate(v))),
    ("server-alias", Ignore, |p, v| assign(&mut p.aliases, list(v).map(host).collect())),
    ("affinity", Ignore, |p, v| assign(&mut p.affinity, one_of(v, "cookie"))),
    ("session-cookie-name", Ignore, |p, v| assign(&mut p.affinity_cookie, token(v))),
    ("session-cookie-max-age", Ignore, |p, v| assign(&mut p.affinity_max_age, number(v).map(Some))),
    ("upstream-hash-by", Ignore, |p, v| assign(&mut p.hash_by, hash_by(v).map(Some))),
    ("configuration-snippet", Ignore, |_, _| Err(SNIPPET.to_owned())),
    ("server-snippet", Ignore, |_, _| Err(SNIPPET.to_owned())),
    ("stream-snippet", Ignore, |_, _| Err(SNIPPET.to_owned())),
    ("auth-snippet", Close, |_, _| Err(SNIPPET.to_owned())),
    ("modsecurity-snippet", Close, |_, _| Err(SNIPPET.to_owned())),
    ("enable-modsecurity", Close, |_, v| no_effect_if_off(v, "there is no web application firewall here")),
    ("auth-url", Close, |_, _| Err("external authentication is not supported".to_owned())),
    ("auth-tls-secret", Close, |_, _| Err("client certificates are not supported".to_owned())),
    ("auth-tls-verify-client", Close, |_, v| no_effect_if_off(v, "client certificates are not supported")),
    ("satisfy", Close, |_, v| one_of(v, "all").map(drop)),
];

/// Annotations that tune nginx' own machinery and have no counterpart here; accepted in silence.
const WITHOUT_EFFECT: &[&str] = &[
    "enable-access-log",
    "enable-rewrite-log",
    "http2-push-preload",
    "preserve-trailing-slash",
    "proxy-buffer-size",
    "proxy-buffering",
    "proxy-buffers-number",
    "proxy-http-version",
    "proxy-max-temp-file-size",
    "proxy-next-upstream-timeout",
    "proxy-request-buffering",
    "proxy-ssl-protocols",
    "proxy-ssl-server-name",
    "service-upstream",
    "client-body-buffer-size",
    "affinity-mode",
    "session-cookie-path",
    "session-cookie-expires",
    "session-cookie-samesite",
    "session-cookie-secure",
    "ssl-prefer-server-ciphers",
    "websocket-services",
];

const SNIPPET: &str = "snippets are never evaluated; remove it, or use the annotation for what it does";

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self {
            ssl_redirect: true,
            force_ssl_redirect: false,
            rewrite_target: None,
            use_regex: false,
            app_root: None,
            redirect: None,
            redirect_code: None,
            body_size: Some(1 << 20),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(60),
            next_upstream: NextUpstream { error: true, timeout: true, statuses: 0, non_idempotent: false },
            tries: 3,
            protocol: Protocol::Http,
            upstream_host: None,
            forwarded_prefix: None,
            allow: Vec::new(),
            deny: Vec::new(),
            basic_auth: false,
            auth_secret: None,
            auth_map: false,
            auth_realm: "Authentication Required".to_owned(),
            cors: None,
            cors_values: Cors::default(),
            requests_per_second: None,
            requests_per_minute: None,
            burst_multiplier: 5,
            connections: None,
            aliases: Vec::new(),
            affinity: false,
            affinity_cookie: "INGRESSCOOKIE".to_owned(),
            affinity_max_age: None,
            hash_by: None,
            blocked: None,
        }
    }
}

impl Policy {
    /// What `annotations` ask for, and what of it could not be honoured.
    pub(crate) fn parse(annotations: &BTreeMap<String, String>) -> (Self, Vec<Warning>) {
        let (mut policy, mut warnings) = (Self::default(), Vec::new());
        for (name, value) in annotations {
            let Some(name) = name.strip_prefix(PREFIX) else { continue };
            if WITHOUT_EFFECT.contains(&name) {
                continue;
            }
            let Some((_, failure, set)) = ROWS.iter().find(|(row, ..)| *row == name) else {
                warnings.push(Warning { annotation: name.to_owned(), message: "unknown, ignored".to_owned() });
                continue;
            };
            if let Err(reason) = set(&mut policy, value.trim()) {
                let consequence =
                    if *failure == Close { "every request is refused until it is repaired" } else { "ignored" };
                if *failure == Close {
                    policy.blocked = Some(format!("annotation {name} cannot be honoured"));
                }
                warnings.push(Warning { annotation: name.to_owned(), message: format!("{reason}; {consequence}") });
            }
        }
        policy.complete(&mut warnings);
        (policy, warnings)
    }

    /// What depends on more than one annotation, in whatever order they came.
    fn complete(&mut self, warnings: &mut Vec<Warning>) {
        if self.cors.is_some() {
            self.cors = Some(self.cors_values.clone());
        }
        if let (Some(code), Some((status, _))) = (self.redirect_code, self.redirect.as_mut()) {
            *status = code;
        }
        if self.basic_auth && self.auth_secret.is_none() {
            self.blocked = Some("auth-type is basic but auth-secret is missing".to_owned());
            warnings.push(Warning {
                annotation: "auth-secret".to_owned(),
                message: "missing although auth-type is basic; every request is refused until it is there".to_owned(),
            });
        }
    }
}

// === impl NextUpstream ===

const STATUSES: [(&str, u16); 7] = [
    ("http_500", 500),
    ("http_502", 502),
    ("http_503", 503),
    ("http_504", 504),
    ("http_403", 403),
    ("http_404", 404),
    ("http_429", 429),
];

impl NextUpstream {
    /// Whether a response with `status` sends the request to the next endpoint.
    pub(crate) fn on_status(self, status: StatusCode) -> bool {
        self.statuses != 0
            && STATUSES.iter().enumerate().any(|(bit, (_, code))| *code == status && self.statuses & (1 << bit) != 0)
    }
}

// === impl Cors ===

impl Default for Cors {
    fn default() -> Self {
        Self {
            origins: vec!["*".to_owned()],
            methods: HeaderValue::from_static("GET, PUT, POST, DELETE, PATCH, OPTIONS"),
            headers: HeaderValue::from_static(
                "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,\
                 Authorization",
            ),
            expose: None,
            credentials: true,
            max_age: 1_728_000,
        }
    }
}

// === Forms of values ===

fn assign<T>(field: &mut T, value: Result<T, String>) -> Result<(), String> {
    *field = value?;
    Ok(())
}

fn flag(value: &str) -> Result<bool, String> {
    value.parse().map_err(|_| format!("{value:?} is neither \"true\" nor \"false\""))
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{value:?} is not a number in range"))
}

/// A limit, where nginx reads 0 as none.
fn rate(value: &str) -> Result<Option<u32>, String> {
    number(value).map(|rate: u32| (rate > 0).then_some(rate))
}

/// Whole seconds, with or without `s`; at most a day.
fn seconds(value: &str) -> Result<Duration, String> {
    match value.strip_suffix('s').unwrap_or(value).parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{value:?} is not a number of seconds from 1 to 86400")),
    }
}

/// nginx' sizes: bytes, or with k, m, g; 0 is unlimited.
fn size(value: &str) -> Result<Option<u64>, String> {
    let (digits, shift) = match value.as_bytes().last() {
        Some(b'k' | b'K') => (value.get(..value.len() - 1), 10),
        Some(b'm' | b'M') => (value.get(..value.len() - 1), 20),
        Some(b'g' | b'G') => (value.get(..value.len() - 1), 30),
        _ => (Some(value), 0),
    };
    let bytes: Option<u64> = digits.and_then(|digits| digits.parse().ok());
    match bytes.and_then(|bytes| bytes.checked_mul(1 << shift)) {
        Some(0) => Ok(None),
        Some(bytes) => Ok(Some(bytes)),
        None => Err(format!("{value:?} is not a size such as 512k, 8m, 1g or 0 for unlimited")),
    }
}

fn header(value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(value).map_err(|_| format!("{value:?} has characters that no header may have"))
}

fn path(value: &str) -> Result<String, String> {
    // ingress-nginx accepts a rewrite target without leading slash.
    let value = if value.starts_with('/') { value.to_owned() } else { format!("/{value}") };
    match value.bytes().all(|byte| (0x21..0x7f).contains(&byte)) && value.len() <= 2048 {
        true => Ok(value),
        false => Err(format!("{value:?} is not a path of printable ASCII characters")),
    }
}

fn host(value: &str) -> Result<String, String> {
    let value = value.to_ascii_lowercase();
    let name = value.strip_prefix("*.").unwrap_or(&value);
    let valid = !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        });
    if valid { Ok(value) } else { Err(format!("{value:?} is not a host name")) }
}

fn redirect(policy: &mut Policy, status: StatusCode, value: &str) -> Result<(), String> {
    let valid = value.starts_with('/')
        || value.parse::<Uri>().is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    if !valid {
        return Err(format!("{value:?} is neither a path nor an http(s) URL"));
    }
    // A temporal redirect wins over a permanent one.
    if policy.redirect.is_none() || status == StatusCode::FOUND {
        policy.redirect = Some((status, header(value)?));
    }
    Ok(())
}

fn redirect_code(value: &str) -> Result<StatusCode, String> {
    match value.parse().ok().and_then(|code: u16| StatusCode::from_u16(code).ok()) {
        Some(status) if status.is_redirection() => Ok(status),
        _ => Err(format!("{value:?} is not a status from 300 to 399")),
    }
}

fn next_upstream(value: &str) -> Result<NextUpstream, String> {
    let mut next = NextUpstream { error: false, timeout: false, statuses: 0, non_idempotent: false };
    for word in value.split_ascii_whitespace() {
        match word {
            "off" => return Ok(NextUpstream { error: false, timeout: false, statuses: 0, non_idempotent: false }),
            "error" | "invalid_header" => next.error = true,
            "timeout" => next.timeout = true,
            "non_idempotent" => next.non_idempotent = true,
            _ => {
                let bit = STATUSES.iter().position(|(name, _)| *name == word);
                next.statuses |= 1 << bit.ok_or_else(|| format!("{word:?} is not a condition"))?;
            }
        }
    }
    Ok(next)
}

fn protocol(value: &str) -> Result<Protocol, String> {
    match value.to_ascii_uppercase().as_str() {
        "HTTP" | "AUTO_HTTP" => Ok(Protocol::Http),
        "HTTPS" => Ok(Protocol::Https),
        "GRPC" => Ok(Protocol::Grpc),
        "GRPCS" => Ok(Protocol::Grpcs),
        _ => Err(format!("{value:?} is not one of HTTP, HTTPS, GRPC, GRPCS")),
    }
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn networks(value: &str) -> Result<Vec<IpNet>, String> {
    let networks: Vec<IpNet> = list(value)
        .map(|part| {
            part.parse::<IpNet>()
                .or_else(|_| part.parse::<std::net::IpAddr>().map(IpNet::from))
                .map_err(|_| format!("{part:?} is neither an address nor a network in CIDR notation"))
        })
        .collect::<Result<_, _>>()?;
    if networks.is_empty() { Err("it names no network".to_owned()) } else { Ok(networks) }
}

fn auth_type(value: &str) -> Result<bool, String> {
    match value {
        "basic" => Ok(true),
        "" => Ok(false),
        _ => Err(format!("{value:?} is not supported, only basic is")),
    }
}

fn auth_secret_type(value: &str) -> Result<bool, String> {
    match value {
        "auth-file" => Ok(false),
        "auth-map" => Ok(true),
        _ => Err(format!("{value:?} is neither auth-file nor auth-map")),
    }
}

/// A Secret in the Ingress's own namespace; a name with a namespace would reach into another one.
fn secret_name(value: &str) -> Result<String, String> {
    let valid = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    match valid {
        true => Ok(value.to_owned()),
        false => Err(format!("{value:?} is not the name of a Secret in this namespace")),
    }
}

fn quotable(value: &str) -> Result<String, String> {
    let valid = value.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\');
    if valid { Ok(value.to_owned()) } else { Err(format!("{value:?} cannot be quoted in a header")) }
}

fn origins(value: &str) -> Result<Vec<String>, String> {
    list(value)
        .map(|origin| {
            let valid = origin == "*"
                || origin.split_once("://").is_some_and(|(scheme, rest)| {
                    let (name, port) = rest.split_once(':').unwrap_or((rest, "0"));
                    scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
                        && host(name).is_ok()
                        && number::<u16>(port).is_ok()
                });
            if valid { Ok(origin.to_ascii_lowercase()) } else { Err(format!("{origin:?} is not an origin")) }
        })
        .collect()
}

fn tokens(value: &str) -> Result<HeaderValue, String> {
    let names: Vec<String> = list(value)
        .map(|name| if name == "*" { Ok(name.to_owned()) } else { token(name) })
        .collect::<Result<_, _>>()?;
    header(&names.join(", "))
}

/// An RFC 9110 token.
fn token(value: &str) -> Result<String, String> {
    let valid = !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if valid { Ok(value.to_owned()) } else { Err(format!("{value:?} is not a name of letters, digits and -_.")) }
}

fn one_of(value: &str, only: &str) -> Result<bool, String> {
    if value == only { Ok(true) } else { Err(format!("{value:?} is not supported, only {only:?} is")) }
}

fn no_effect_if_off(value: &str, otherwise: &str) -> Result<(), String> {
    if matches!(value, "false" | "off") { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// One nginx variable; texts of several are refused, not evaluated.
fn hash_by(value: &str) -> Result<HashBy, String> {
    let refused =
        || format!("{value:?} is not a single supported variable such as $binary_remote_addr or $request_uri");
    let name = value.strip_prefix('$').ok_or_else(refused)?;
    let name = name.strip_prefix('{').and_then(|name| name.strip_suffix('}')).unwrap_or(name);
    match name {
        "remote_addr" | "binary_remote_addr" => Ok(HashBy::Address),
        "request_uri" | "uri" => Ok(HashBy::RequestUri),
        "host" => Ok(HashBy::Host),
        _ => {
            if let Some(header) = name.strip_prefix("http_") {
                return HeaderName::try_from(header.replace('_', "-")).map(HashBy::Header).map_err(|_| refused());
            }
            if let Some(argument) = name.strip_prefix("arg_") {
                return token(argument).map(HashBy::Argument);
            }
            let cookie = name.strip_prefix("cookie_").ok_or_else(refused)?;
            token(cookie).map(HashBy::Cookie)
        }
    }
}

#[cfg(test)]
#[path = "annotations_tests.rs"]
mod tests;
