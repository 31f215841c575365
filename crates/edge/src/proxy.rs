//! One request: whose it is, whether it may pass, and its way to a pod and back.

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tokio::time::Instant;

use crate::{
    access::{self, Passage},
    annotations::{Policy, Protocol},
    body::{EdgeBody, RequestBody},
    connection::Activity,
    cors,
    exchange::{Exchange, Head, Pin, Target, cookie},
    headers::{self, Forwarded},
    path::{self, NormalPath},
    registry::Registry,
    respond::{self, Refusal},
    table::{Backend, Endpoints, Route, Served},
    tunnel::Tunnels,
    upstream::{Lease, Need},
};

/// Certificate authorities ask here over plain HTTP (RFC 8555, section 8.3).
const ACME: &str = "/.well-known/acme-challenge/";

/// Serves requests from the table that is current when they come.
pub(crate) struct Gateway {
    pub(crate) served: Arc<Served>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) tunnels: Tunnels,
    /// The port that redirects name; `None` without HTTPS.
    pub(crate) https_port: Option<u16>,
    /// How long a client may pause within a body.
    pub(crate) client_timeout: Duration,
}

/// The other end of a client connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    pub(crate) https: bool,
    /// The port it connected to.
    pub(crate) port: u16,
}

// === impl Gateway ===

impl Gateway {
    /// The response to `request`.
    pub(crate) async fn serve(
        &self,
        client: Client,
        activity: Activity,
        request: Request<Incoming>,
    ) -> Response<EdgeBody> {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let mut passage = None;
        let mut route = None;
        let response = match self.handle(client, parts, body, &mut route, &mut passage).await {
            Ok(response) => response,
            Err(refusal) => *refusal,
        };
        let metrics = route.as_ref().map_or(self.registry.metrics.unrouted(), |route: &Arc<Route>| &route.metrics);
        metrics.count(response.status(), began.elapsed());
        response.map(|body| body.hold(activity, passage))
    }

    async fn handle(
        &self,
        client: Client,
        parts: Parts,
        body: Incoming,
        found: &mut Option<Arc<Route>>,
        passage: &mut Option<Passage>,
    ) -> Result<Response<EdgeBody>, Refusal> {
        if matches!(parts.method, Method::CONNECT | Method::TRACE) {
            return Err(respond::plain(StatusCode::METHOD_NOT_ALLOWED, "this method is not served here"));
        }
        let host_value = host_of(&parts)?;
        let host = host_name(host_value.as_bytes())?;
        let uri = parts.uri.clone();
        let path = path::normalise(uri.path())
            .map_err(|reason| respond::plain(StatusCode::BAD_REQUEST, &reason.to_string()))?;
        let route = self.served.load().find(&host, &path.key).cloned();
        let Some(route) = route else {
            return Err(respond::plain(StatusCode::NOT_FOUND, "no Ingress has a rule for this host and path"));
        };
        *found = Some(route.clone());
        let policy = &*route.policy;
        self.admit(client, &route, &host, &path, &parts)?;
        if let Some(limiter) = &route.limiter {
            let refused = || respond::plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests from this address");
            *passage = Some(limiter.pass(client.address).ok_or_else(refused)?);
        }
        let origin = policy.cors.as_ref().and_then(|cors| cors::admitted(cors, &parts.headers));
        if let Some(cors) = &policy.cors
            && let Some(answer) = cors::preflight(cors, &parts.method, &parts.headers, origin.as_ref())
        {
            return Ok(answer);
        }
        self.authenticate(&route, &parts.headers).await?;
        redirected(policy, &path)?;
        let target = Target { route: route.clone(), host: &host, key: &path.key };
        let mut response = self.forward(client, target, &path, &host_value, parts, body).await?;
        if let (Some(cors), Some(origin)) = (&policy.cors, &origin) {
            cors::decorate(cors, origin, response.headers_mut());
        }
        Ok(response)
    }

    /// What is decided from the request alone.
    fn admit(
        &self,
        client: Client,
        route: &Route,
        host: &str,
        path: &NormalPath<'_>,
        parts: &Parts,
    ) -> Result<(), Refusal> {
        let policy = &*route.policy;
        if let Some(reason) = &policy.blocked {
            let text = format!("the Ingress {} is closed: {reason}", route.ingress);
            return Err(respond::plain(StatusCode::SERVICE_UNAVAILABLE, &text));
        }
        if !access::admits(policy, client.address) {
            return Err(respond::plain(StatusCode::FORBIDDEN, "this address may not come here"));
        }
        let secure = policy.force_ssl_redirect || (policy.ssl_redirect && route.tls);
        if let (false, true, Some(port)) = (client.https, secure && !path.key.starts_with(ACME), self.https_port) {
            let port = if port == 443 { String::new() } else { format!(":{port}") };
            let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            let location = HeaderValue::try_from(format!("https://{host}{port}{}{query}", path.forward));
            let refused = |_| respond::plain(StatusCode::BAD_REQUEST, "this path cannot be redirected");
            return Err(respond::redirect(StatusCode::PERMANENT_REDIRECT, location.map_err(refused)?));
        }
        Ok(())
    }

    async fn authenticate(&self, route: &Route, headers: &HeaderMap) -> Result<(), Refusal> {
        if !route.policy.basic_auth {
            return Ok(());
        }
        let authorization = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        let admitted = match &route.users {
            Some(users) => users.admit(authorization).await,
            None => false,
        };
        if admitted {
            return Ok(());
        }
        let mut response = respond::plain(StatusCode::UNAUTHORIZED, "user and password are required");
        if let Ok(challenge) = HeaderValue::try_from(format!("Basic realm=\"{}\"", route.policy.auth_realm)) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        Err(response)
    }

    async fn forward(
        &self,
        client: Client,
        target: Target<'_>,
        path: &NormalPath<'_>,
        host: &HeaderValue,
        mut parts: Parts,
        body: Incoming,
    ) -> Result<Response<EdgeBody>, Refusal> {
        let route = target.route.clone();
        let policy = &*route.policy;
        let endpoints = endpoints_of(&route)?;
        let has_body = !body.is_end_stream();
        if let (Some(limit), Some(length)) = (policy.body_size, body.size_hint().exact())
            && length > limit
        {
            return Err(too_large(limit));
        }
        let upgrade = headers::requested_upgrade(&parts.headers, &parts.method, parts.version, has_body);
        let on_upgrade = parts.extensions.remove::<OnUpgrade>().filter(|_| upgrade.is_some());
        let pin = Pin::of(policy, client, host, &parts);
        let sticky = policy.affinity.then(|| cookie(&parts.headers, &policy.affinity_cookie)).flatten();
        let idempotent = policy.next_upstream.non_idempotent || parts.method.is_idempotent();

        parts.uri = self.upstream_uri(&route, path, &parts, host)?;
        let forwarded = Forwarded {
            address: client.address,
            host,
            https: client.https,
            port: client.port,
            prefix: policy.forwarded_prefix.as_ref(),
        };
        headers::prepare_request(&mut parts.headers, &forwarded);
        finish_head(&mut parts, policy, host, upgrade.as_ref());
        let copy = (idempotent && !has_body && upgrade.is_none()).then(|| Head::of(&parts));
        let (body, progress) = if has_body {
            let (body, progress) = RequestBody::streamed(body, policy.body_size, self.client_timeout);
            (body, Some(progress))
        } else {
            (RequestBody::empty(), None)
        };
        let need = match (&upgrade, &copy) {
            (Some(_), _) => Need::Own,
            (None, Some(_)) => Need::Any,
            (None, None) => Need::Fresh,
        };
        let exchange = Exchange { gateway: self, target, policy, need, copy, progress, pin, sticky };
        let (mut response, lease, chosen) =
            exchange.run(endpoints, Request::from_parts(strip_extensions(parts), body)).await?;

        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.tunnel(response, lease, on_upgrade, policy.read_timeout);
        }
        headers::prepare_response(response.headers_mut());
        if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        if let Some(value) = chosen {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
        *response.version_mut() = Version::default();
        let read_timeout = policy.read_timeout;
        Ok(response.map(|incoming| EdgeBody::upstream(incoming, lease, read_timeout)))
    }

    /// Where the request goes at the backend: the normal path, or what `rewrite-target` makes of it.
    fn upstream_uri(
        &self,
        route: &Route,
        path: &NormalPath<'_>,
        parts: &Parts,
        host: &HeaderValue,
    ) -> Result<Uri, Refusal> {
        let refused = |reason: String| respond::plain(StatusCode::BAD_REQUEST, &reason);
        let forward = route.rewrite(path).map_err(|reason| refused(format!("rewritten, {reason}")))?;
        let target = match parts.uri.path_and_query() {
            Some(same) if *forward == *parts.uri.path() => same.clone(),
            _ => {
                let text = match parts.uri.query() {
                    // A rewrite target may bring a query of its own.
                    Some(query) => Cow::Owned(format!("{forward}?{query}")),
                    None => forward,
                };
                PathAndQuery::try_from(text.as_ref()).map_err(|_| refused("the path is malformed".to_owned()))?
            }
        };
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(target);
        if is_http2(route.policy.protocol) {
            let host = route.policy.upstream_host.as_ref().unwrap_or(host);
            let authority = Authority::try_from(host.as_bytes());
            uri.authority = Some(authority.map_err(|_| refused("the Host field is malformed".to_owned()))?);
            uri.scheme = Some(if route.policy.protocol == Protocol::Grpcs { Scheme::HTTPS } else { Scheme::HTTP });
        }
        Uri::from_parts(uri).map_err(|_| refused("the path is malformed".to_owned()))
    }

    /// Connects both ends after the backend agreed to change the protocol.
    fn tunnel(
        &self,
        mut response: Response<Incoming>,
        lease: Lease,
        client: Option<OnUpgrade>,
        idle: Duration,
    ) -> Result<Response<EdgeBody>, Refusal> {
        let Some(client) = client else {
            return Err(respond::plain(StatusCode::BAD_GATEWAY, "the backend changed the protocol unasked"));
        };
        let backend = hyper::upgrade::on(&mut response);
        let protocol = response.headers().get(header::UPGRADE).cloned();
        headers::prepare_response(response.headers_mut());
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(protocol) = protocol {
            response.headers_mut().insert(header::UPGRADE, protocol);
        }
        self.tunnels.spawn(client, backend, lease, idle);
        Ok(response.map(|_| EdgeBody::empty()))
    }
}

pub(crate) fn endpoints_of(route: &Route) -> Result<&Endpoints, Refusal> {
    match &route.backend {
        Backend::Endpoints(endpoints) => Ok(endpoints),
        Backend::Unavailable(reason) => {
            let text = format!("no backend for Ingress {}: {reason}", route.ingress);
            Err(respond::plain(StatusCode::SERVICE_UNAVAILABLE, &text))
        }
    }
}

fn redirected(policy: &Policy, path: &NormalPath<'_>) -> Result<(), Refusal> {
    if let Some((status, location)) = &policy.redirect {
        return Err(respond::redirect(*status, location.clone()));
    }
    match &policy.app_root {
        Some(root) if path.key == "/" => Err(respond::redirect(StatusCode::FOUND, root.clone())),
        _ => Ok(()),
    }
}

pub(crate) fn too_large(limit: u64) -> Refusal {
    respond::plain(StatusCode::PAYLOAD_TOO_LARGE, &format!("the request body is larger than {limit} bytes"))
}

/// The fields that frame and address the request at the backend.
fn finish_head(parts: &mut Parts, policy: &Policy, host: &HeaderValue, upgrade: Option<&HeaderValue>) {
    parts.version = if is_http2(policy.protocol) { Version::HTTP_2 } else { Version::HTTP_11 };
    if is_http2(policy.protocol) {
        parts.headers.remove(header::HOST);
        return;
    }
    parts.headers.insert(header::HOST, policy.upstream_host.as_ref().unwrap_or(host).clone());
    if let Some(protocol) = upgrade {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, protocol.clone());
    }
}

/// What the server side attached to the request does not concern the client side.
fn strip_extensions(mut parts: Parts) -> Parts {
    parts.extensions.clear();
    parts
}

fn is_http2(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Grpc | Protocol::Grpcs)
}

/// The one host that a request names (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
fn host_of(parts: &Parts) -> Result<HeaderValue, Refusal> {
    let refused = |reason: &str| respond::plain(StatusCode::BAD_REQUEST, reason);
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let (field, second) = (fields.next(), fields.next());
    if second.is_some() {
        return Err(refused("there is more than one Host field"));
    }
    if let Some(authority) = parts.uri.authority() {
        let same = field.is_none_or(|field| field.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()));
        if !same {
            return Err(refused("the Host field and the request target name different hosts"));
        }
        return HeaderValue::from_str(authority.as_str()).map_err(|_| refused("the host is malformed"));
    }
    match field {
        Some(field) => Ok(field.clone()),
        None if parts.version <= Version::HTTP_10 => Ok(HeaderValue::from_static("")),
        None => Err(refused("the Host field is missing")),
    }
}

/// The host without port, in lower case.
fn host_name(value: &[u8]) -> Result<Cow<'_, str>, Refusal> {
    let refused = || respond::plain(StatusCode::BAD_REQUEST, "the Host field is malformed");
    let text = std::str::from_utf8(value).map_err(|_| refused())?;
    let end = if text.starts_with('[') { text.find(']').map(|end| end + 1) } else { text.find(':') };
    let (name, port) = text.split_at(end.unwrap_or(text.len()));
    let name = name.strip_suffix('.').unwrap_or(name);
    let port = port.strip_prefix(':').unwrap_or(port);
    let valid = name.len() <= 255
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte))
        && port.len() <= 5
        && port.bytes().all(|byte| byte.is_ascii_digit());
    if !valid {
        return Err(refused());
    }
    let lower = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_host_is_compared_without_port_case_and_root_dot() {
        for (value, name) in [
            ("example.org", "example.org"),
            ("Example.ORG:8080", "example.org"),
            ("example.org.", "example.org"),
            ("[::1]:80", "[::1]"),
            ("127.0.0.1", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(host_name(value.as_bytes()).unwrap(), name, "{value}");
        }
        for value in ["a b", "user@host", "a/b", "host:http", "host:123456", "a\"b", "a,b"] {
            assert!(host_name(value.as_bytes()).is_err(), "{value}");
        }
    }
}
