//! `/healthz`, `/livez`, `/readyz`.

use std::{fmt::Write, sync::Arc};

use axum::response::Response;
use http::StatusCode;

use crate::{
    request::Query,
    server::Server,
    status::{Error, Result, bytes_response},
};

type Check = (&'static str, fn(&Server) -> bool);

const CHECKS: [Check; 3] = [
    ("ping", |_| true),
    ("store", |server| server.store.count("core/namespaces/") > 0),
    ("shutdown", |server| !server.shutdown.is_cancelled()),
];

/// `ok`, or which check failed; one line for each check with `?verbose`.
pub(super) fn serve(server: &Arc<Server>, parts: &[&str], query: &Query) -> Result<Response> {
    let (endpoint, only) = match parts {
        [endpoint] => (*endpoint, None),
        [endpoint, check] => (*endpoint, Some(*check)),
        _ => return Err(Error::NoSuchPath),
    };
    if only.is_some_and(|only| !CHECKS.iter().any(|(name, _)| *name == only)) {
        return Err(Error::NoSuchPath);
    }
    let mut report = String::new();
    let mut healthy = true;
    for (name, check) in &CHECKS {
        // A server that is going down is alive but takes nothing new.
        let matters = endpoint == "readyz" || *name != "shutdown";
        if only.is_some_and(|only| only != *name) || !matters || query.all("exclude").any(|e| e == *name) {
            continue;
        }
        let good = check(server);
        healthy &= good;
        let _ = writeln!(report, "[{}]{name} {}", if good { '+' } else { '-' }, if good { "ok" } else { "failed" });
    }
    let (code, verdict) =
        if healthy { (StatusCode::OK, "passed") } else { (StatusCode::INTERNAL_SERVER_ERROR, "failed") };
    let text = if healthy && !query.has("verbose") {
        "ok".to_owned()
    } else {
        format!("{report}{endpoint} check {verdict}\n")
    };
    Ok(bytes_response(code, "text/plain; charset=utf-8", text.into()))
}
