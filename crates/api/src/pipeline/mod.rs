//! The way of every request, written once. The order is part of the design:
//!
//! 1. *panics* outermost, so that whatever breaks below becomes one failed request and no more;
//! 2. *limits* before any work is done for the client;
//! 3. *reading the path* once, so that everything below decides on the same reading of it;
//! 4. *authentication*, then *impersonation*, which needs to know who asks;
//! 5. *authorisation* before it is looked up whether anything exists, so that answers tell strangers nothing;
//! 6. *dispatch*; decoding, defaulting, admission, validation and storing stand in `handlers`.

mod compress;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::{HeaderValue, Request};

use crate::{
    authn::{self, ConnectionIdentity},
    authz, discovery, endpoints,
    handlers::{self, Call},
    request::{Query, Target, Verb},
    server::Server,
    status::{Error, Result},
};

/// Longest time for an answer to begin, watches and upgraded connections excepted.
const DEADLINE: Duration = Duration::from_secs(60);

/// Longest wait for a place when many requests are served at once.
const WAIT_FOR_PLACE: Duration = Duration::from_secs(5);

/// Longest query that is read.
const MAX_QUERY: usize = 16 * 1024;

/// Serves a request.
pub(crate) async fn serve(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let started = Instant::now();
    let encoding = compress::wanted(request.headers());
    let id = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string());
    let mut verb = "other";
    let outcome = AssertUnwindSafe(limited(&server, request, &mut verb)).catch_unwind().await;
    let mut response = match outcome {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => error.into_response(),
        Err(panic) => {
            let what = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Error::internal("a request could not be served", what).into_response()
        }
    };
    if let Ok(id) = id {
        response.headers_mut().insert("audit-id", id);
    }
    response.headers_mut().entry(http::header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
    server.metrics.answered(verb, response.status().as_u16(), started.elapsed());
    if encoding && verb != "watch" { compress::compress(response) } else { response }
}

async fn limited(server: &Arc<Server>, request: Request<Body>, verb: &mut &'static str) -> Result<Response> {
    if request.uri().query().is_some_and(|query| query.len() > MAX_QUERY) {
        return Err(Error::bad_request(format!("the query is longer than {MAX_QUERY} bytes")));
    }
    if let Some(length) =
        request.headers().get(http::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok())
        && server.config.max_request_bytes < length
    {
        return Err(Error::TooLarge { limit: server.config.max_request_bytes });
    }
    let query = Query::parse(request.uri().query())?;
    let target = Target::parse(request.method(), request.uri(), &query)?;
    let long = match &target {
        Target::Resource(resource) => {
            *verb = resource.verb.as_str();
            resource.verb == Verb::Watch || endpoints::is_long_running(&resource.subresource)
        }
        Target::Path { .. } => false,
    };
    if long {
        return authorised(server, request, target, query).await;
    }
    let place = tokio::time::timeout(WAIT_FOR_PLACE, server.in_flight.acquire()).await;
    let Ok(Ok(_place)) = place else {
        return Err(Error::TooManyRequests {
            message: "Too many requests, please try again later.".to_owned(),
            retry_after: 1,
        });
    };
    match tokio::time::timeout(DEADLINE, authorised(server, request, target, query)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Timeout),
    }
}

async fn authorised(server: &Arc<Server>, request: Request<Body>, target: Target, query: Query) -> Result<Response> {
    let connection = request.extensions().get::<ConnectionIdentity>();
    let mut user = authn::authenticate(server, request.headers(), connection)?;
    if let Some(other) = authn::impersonation(request.headers())? {
        authz::authorize_impersonation(server, &user, &other)?;
        user = Arc::new(other);
    }
    authz::authorize(server, &user, &target)?;
    match target {
        Target::Path { path, .. } => discovery::serve(server, &path, &query, &request),
        Target::Resource(target) => {
            let registry = server.registry.get();
            let resource = registry.find(&target.group, &target.version, &target.resource)?.clone();
            let (head, body) = request.into_parts();
            let request = Request::from_parts(head, ());
            let call = Call { target, query, user, request, body: body.into(), registry, resource };
            handlers::serve(server, call).await
        }
    }
}
