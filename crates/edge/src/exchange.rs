//! A request's way through as many endpoints as it needs.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request::Parts,
    uri::PathAndQuery,
};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    annotations::{HashBy, Policy},
    body::{Progress, RequestBody},
    proxy::{Client, Gateway, endpoints_of, too_large},
    respond::{self, Refusal},
    table::{Backend, Endpoints, Route},
    upstream::{ConnectError, Endpoint, Lease, Need, SendError},
};

/// A request goes out this often at the most, whatever the annotations say.
const ATTEMPTS_MAX: usize = 16;

/// When every endpoint refused, the table may be a moment behind the cluster: it is looked at again after these pauses.
const SECOND_LOOKS: [Duration; 4] =
    [Duration::from_millis(10), Duration::from_millis(40), Duration::from_millis(150), Duration::from_millis(300)];

/// What routes a request and what retries need to know of it.
pub(crate) struct Target<'a> {
    pub(crate) route: Arc<Route>,
    pub(crate) host: &'a str,
    pub(crate) key: &'a str,
}

/// One request on its way through as many endpoints as it needs.
pub(crate) struct Exchange<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) target: Target<'a>,
    pub(crate) policy: &'a Policy,
    pub(crate) need: Need,
    /// The request again, when it may be sent twice.
    pub(crate) copy: Option<Head>,
    pub(crate) progress: Option<Arc<Progress>>,
    pub(crate) pin: Option<u64>,
    pub(crate) sticky: Option<String>,
}

/// The response, the connection it comes from, the affinity cookie to set.
pub(crate) type Exchanged = (Response<Incoming>, Lease, Option<HeaderValue>);

// === impl Exchange ===

impl Exchange<'_> {
    pub(crate) async fn run(
        mut self,
        endpoints: &Endpoints,
        mut request: Request<RequestBody>,
    ) -> Result<Exchanged, Refusal> {
        let mut tried: Vec<SocketAddr> = Vec::new();
        let mut newer: Option<Arc<Route>> = None;
        let mut looks = SECOND_LOOKS.iter();
        let tries = if self.policy.tries == 0 { ATTEMPTS_MAX } else { self.policy.tries };
        let (mut sent, mut refused_only) = (0, true);
        for attempt in 0..ATTEMPTS_MAX {
            if attempt > 0 {
                self.target.route.metrics.count_retry();
            }
            let endpoints = newer.as_ref().and_then(|route| endpoints_of(route).ok()).unwrap_or(endpoints);
            let Some(endpoint) = self.pick(endpoints, &tried).cloned() else {
                let Some(pause) = looks.next().filter(|_| refused_only) else { break };
                sleep(*pause).await;
                newer = self.look_again().or(newer);
                tried.clear();
                continue;
            };
            let mut lease = match endpoint.lease(self.need, self.policy.connect_timeout).await {
                Ok(lease) => lease,
                Err(error) => {
                    refused_only &= matches!(error, ConnectError::Connect(_));
                    tracing::debug!(ingress = %self.target.route.ingress, endpoint = %endpoint.address, %error, "cannot connect");
                    tried.push(endpoint.address);
                    continue;
                }
            };
            lease.progress.clone_from(&self.progress);
            let reused = lease.reused;
            match self.send(&mut lease, request).await {
                Ok(response) => {
                    let again = self.policy.next_upstream.on_status(response.status()) && sent + 1 < tries;
                    if let (true, Some(copy)) = (again, &self.copy) {
                        tried.push(endpoint.address);
                        if self.pick(endpoints, &tried).is_some() {
                            request = copy.request();
                            sent += 1;
                            continue;
                        }
                    }
                    let chosen = self.affinity(&endpoint);
                    return Ok((response, lease, chosen));
                }
                Err(Failed::Unsent(unsent)) => request = *unsent,
                Err(Failed::Sent) => {
                    if self.progress.as_ref().is_some_and(|progress| progress.is_too_large()) {
                        return Err(too_large(self.policy.body_size.unwrap_or_default()));
                    }
                    let again = reused || (self.policy.next_upstream.error && sent + 1 < tries);
                    let Some(copy) = self.copy.as_ref().filter(|_| again) else {
                        return Err(respond::plain(
                            StatusCode::BAD_GATEWAY,
                            "the backend closed the connection before it answered",
                        ));
                    };
                    request = copy.request();
                    if !reused {
                        sent += 1;
                        refused_only = true;
                        tried.push(endpoint.address);
                    }
                }
                Err(Failed::TimedOut) => {
                    tried.push(endpoint.address);
                    sent += 1;
                    refused_only = false;
                    let again = self.policy.next_upstream.timeout && sent < tries;
                    let Some(copy) = self.copy.as_ref().filter(|_| again) else {
                        return Err(respond::plain(StatusCode::GATEWAY_TIMEOUT, "the backend did not answer in time"));
                    };
                    request = copy.request();
                }
            }
            // A connection that turned out closed says the same of its siblings.
            if reused && self.need == Need::Any {
                self.need = Need::Fresh;
            } else if reused {
                self.need = Need::Own;
            }
        }
        match (refused_only, sent) {
            (false, 1..) => Err(respond::plain(StatusCode::GATEWAY_TIMEOUT, "no backend answered in time")),
            _ => Err(respond::plain(StatusCode::BAD_GATEWAY, "no backend accepted the connection")),
        }
    }

    fn pick<'e>(&self, endpoints: &'e Endpoints, tried: &[SocketAddr]) -> Option<&'e Arc<Endpoint>> {
        let sticky = self.sticky.as_ref().and_then(|wanted| {
            let mut list = endpoints.list().iter();
            list.find(|endpoint| {
                !tried.contains(&endpoint.address) && !endpoint.is_down() && *wanted == affinity_id(endpoint)
            })
        });
        sticky.or_else(|| match self.pin {
            Some(hash) => endpoints.pick_by_hash(hash, tried),
            None => endpoints.pick(tried),
        })
    }

    /// The same route in the table that is served now.
    fn look_again(&self) -> Option<Arc<Route>> {
        let route = self.gateway.served.load().find(self.target.host, self.target.key).cloned()?;
        let same = route.ingress == self.target.route.ingress && route.policy.protocol == self.policy.protocol;
        (same && matches!(route.backend, Backend::Endpoints(_))).then_some(route)
    }

    /// Waits for the response's head: the time counts from the last byte of the body that went out.
    async fn send(&self, lease: &mut Lease, request: Request<RequestBody>) -> Result<Response<Incoming>, Failed> {
        let limit = self.policy.read_timeout;
        let sending = lease.send(request);
        let outcome = match &self.progress {
            None => timeout(limit, sending).await.map_err(|_| Failed::TimedOut)?,
            Some(progress) => {
                tokio::pin!(sending);
                loop {
                    let deadline = progress.last() + limit.max(self.policy.send_timeout);
                    tokio::select! {
                        outcome = &mut sending => break outcome,
                        () = tokio::time::sleep_until(deadline) => {
                            if progress.last() + limit <= Instant::now() {
                                return Err(Failed::TimedOut);
                            }
                        }
                    }
                }
            }
        };
        outcome.map_err(|SendError { request, error }| {
            if let Some(error) = error {
                tracing::debug!(ingress = %self.target.route.ingress, %error, "no response");
            }
            request.map_or(Failed::Sent, Failed::Unsent)
        })
    }

    fn affinity(&self, endpoint: &Endpoint) -> Option<HeaderValue> {
        if !self.policy.affinity {
            return None;
        }
        let id = affinity_id(endpoint);
        if self.sticky.as_ref() == Some(&id) {
            return None;
        }
        let age = self.policy.affinity_max_age.map(|age| format!("; Max-Age={age}")).unwrap_or_default();
        let value = format!("{}={id}; Path=/; HttpOnly; SameSite=Lax{age}", self.policy.affinity_cookie);
        HeaderValue::try_from(value).ok()
    }
}

enum Failed {
    /// Nothing of it went out.
    Unsent(Box<Request<RequestBody>>),
    /// The connection ended after some of it went out and before a response.
    Sent,
    TimedOut,
}

/// A request without body, to be sent again.
pub(crate) struct Head {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

// === impl Head ===

impl Head {
    pub(crate) fn of(parts: &Parts) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            version: parts.version,
            headers: parts.headers.clone(),
        }
    }

    fn request(&self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// `upstream-hash-by`: what requests that meet the same endpoint have in common.
pub(crate) struct Pin;

impl Pin {
    pub(crate) fn of(policy: &Policy, client: Client, host: &HeaderValue, parts: &Parts) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        match policy.hash_by.as_ref()? {
            HashBy::Address => client.address.hash(&mut hasher),
            HashBy::RequestUri => parts.uri.path_and_query().map(PathAndQuery::as_str).hash(&mut hasher),
            HashBy::Host => host.as_bytes().hash(&mut hasher),
            HashBy::Header(name) => parts.headers.get(name)?.as_bytes().hash(&mut hasher),
            HashBy::Argument(name) => argument(parts.uri.query()?, name)?.hash(&mut hasher),
            HashBy::Cookie(name) => cookie(&parts.headers, name)?.hash(&mut hasher),
        }
        Some(hasher.finish())
    }
}

fn argument<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|value| value.split(';'))
        .find_map(|pair| Some(pair.trim().strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

fn affinity_id(endpoint: &Endpoint) -> String {
    let mut hasher = DefaultHasher::new();
    endpoint.address.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
