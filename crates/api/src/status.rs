//! What went wrong with a request, and the `Status` object that tells the client.
//!
//! Every variant is one outcome a client can act on; the sentences are those that clients of Kubernetes know and, in part,
//! compare. Details of internal failures go to the log, never to the client.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use lotse_schema::Cause;
use serde_json::{Map, Value, json};

/// The result of everything that serves a request.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// The outcome of a request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such object.
    #[error("{} \"{name}\" not found", qualified(resource, group))]
    NotFound {
        /// API group.
        group: String,
        /// Plural resource name.
        resource: String,
        /// Object name.
        name: String,
    },
    /// No such path.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// An object with the name exists.
    #[error("{} \"{name}\" already exists", qualified(resource, group))]
    AlreadyExists {
        /// API group.
        group: String,
        /// Plural resource name.
        resource: String,
        /// Object name.
        name: String,
    },
    /// The write lost against another one or a precondition did not hold.
    #[error("Operation cannot be fulfilled on {} \"{name}\": {message}", qualified(resource, group))]
    Conflict {
        /// API group.
        group: String,
        /// Plural resource name.
        resource: String,
        /// Object name.
        name: String,
        /// Why.
        message: String,
    },
    /// Other managers own fields that an apply wants to set.
    #[error("{message}")]
    ApplyConflict {
        /// The sentence.
        message: String,
        /// One cause for each field.
        causes: Vec<Cause>,
    },
    /// The object is not acceptable.
    #[error("{} \"{name}\" is invalid: {}", qualified(kind, group), sentence(causes))]
    Invalid {
        /// API group.
        group: String,
        /// Kind.
        kind: String,
        /// Object name.
        name: String,
        /// Every finding.
        causes: Vec<Cause>,
    },
    /// The request cannot be understood.
    #[error("{0}")]
    BadRequest(String),
    /// Who asks is not known.
    #[error("Unauthorized")]
    Unauthorized,
    /// Who asks may not do it; the sentence is complete.
    #[error("{message}")]
    Forbidden {
        /// API group.
        group: String,
        /// Plural resource name.
        resource: String,
        /// Object name, may be empty.
        name: String,
        /// The sentence.
        message: String,
    },
    /// Something is to be created in a namespace that is going; controllers recognise it by its cause and stop trying.
    #[error("{message}")]
    NamespaceTerminating {
        /// API group.
        group: String,
        /// Plural resource name.
        resource: String,
        /// Object name, may be empty.
        name: String,
        /// The namespace.
        namespace: String,
        /// The sentence.
        message: String,
    },
    /// The resource does not have the verb.
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    /// No representation fits `Accept`.
    #[error("only the following media types are accepted: {0}")]
    NotAcceptable(&'static str),
    /// The body's `Content-Type` cannot be read.
    #[error("the body of the request was in an unknown format - accepted media types include: {0}")]
    UnsupportedMediaType(&'static str),
    /// The body is larger than the limit.
    #[error("Request entity too large: limit is {limit}")]
    TooLarge {
        /// In bytes.
        limit: usize,
    },
    /// The revision is no longer known: list again.
    #[error("{0}")]
    Expired(String),
    /// The revision has not been reached.
    #[error("Timeout: Too large resource version: {requested}, current: {newest}")]
    FutureRevision {
        /// Asked for.
        requested: u64,
        /// What there is.
        newest: u64,
    },
    /// A budget refuses an eviction now. When it will allow one is not known, so no time is named: clients would wait for it.
    #[error("Cannot evict pod as it would violate the pod's disruption budget.")]
    DisruptionBudget {
        /// Name of the budget.
        budget: String,
        /// Pods that it wants.
        desired: i64,
        /// Pods that are healthy.
        healthy: i64,
    },
    /// Too much at once.
    #[error("{message}")]
    TooManyRequests {
        /// The sentence.
        message: String,
        /// Seconds after which trying again makes sense.
        retry_after: u32,
    },
    /// The deadline of the request passed.
    #[error("Timeout: request did not complete within the allotted timeout")]
    Timeout,
    /// A part that the request needs is not running.
    #[error("{0}")]
    Unavailable(String),
    /// The object is kept in a version that only a webhook could translate.
    #[error(transparent)]
    Unconverted(lotse_kinds::NoConversion),
    /// A failure of the server; the source is logged, the step is told.
    #[error("Internal error occurred: {step}")]
    Internal {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn sentence(causes: &[Cause]) -> String {
    let one = |cause: &Cause| {
        if cause.field.is_empty() { cause.message.clone() } else { format!("{}: {}", cause.field, cause.message) }
    };
    match causes {
        [] => "invalid".to_owned(),
        [cause] => one(cause),
        many => format!("[{}]", many.iter().map(one).collect::<Vec<_>>().join(", ")),
    }
}

// === impl Error ===

impl Error {
    /// A failure of the server in one step.
    pub fn internal(step: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal { step, source: Some(source.into()) }
    }

    /// A request that cannot be understood.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::BadRequest(message.into())
    }

    /// HTTP code and `Status.reason`.
    fn code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound { .. } | Self::NoSuchPath => (StatusCode::NOT_FOUND, "NotFound"),
            Self::AlreadyExists { .. } => (StatusCode::CONFLICT, "AlreadyExists"),
            Self::Conflict { .. } | Self::ApplyConflict { .. } => (StatusCode::CONFLICT, "Conflict"),
            Self::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Unauthorized"),
            Self::Forbidden { .. } | Self::NamespaceTerminating { .. } => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
            Self::NotAcceptable(_) => (StatusCode::NOT_ACCEPTABLE, "NotAcceptable"),
            Self::UnsupportedMediaType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
            Self::Expired(_) => (StatusCode::GONE, "Expired"),
            Self::FutureRevision { .. } | Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
            Self::TooManyRequests { .. } | Self::DisruptionBudget { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests")
            }
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            Self::Internal { .. } | Self::Unconverted(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        }
    }

    fn details(&self) -> Option<Value> {
        let mut details = Map::new();
        let mut put = |key: &str, value: &str| {
            if !value.is_empty() {
                details.insert(key.to_owned(), value.into());
            }
        };
        match self {
            Self::NotFound { group, resource, name }
            | Self::AlreadyExists { group, resource, name }
            | Self::Conflict { group, resource, name, .. }
            | Self::Forbidden { group, resource, name, .. } => {
                put("name", name);
                put("group", group);
                put("kind", resource);
            }
            Self::NamespaceTerminating { group, resource, name, namespace, .. } => {
                put("name", name);
                put("group", group);
                put("kind", resource);
                let cause = json!({
                    "reason": "NamespaceTerminating",
                    "message": format!("namespace {namespace} is being terminated"),
                    "field": "metadata.namespace",
                });
                details.insert("causes".to_owned(), json!([cause]));
            }
            Self::Invalid { group, kind, name, causes } => {
                put("name", name);
                put("group", group);
                put("kind", kind);
                details.insert("causes".to_owned(), causes_value(causes));
            }
            Self::ApplyConflict { causes, .. } => {
                details.insert("causes".to_owned(), causes_value(causes));
            }
            Self::TooManyRequests { retry_after, .. } => {
                details.insert("retryAfterSeconds".to_owned(), (*retry_after).into());
            }
            Self::DisruptionBudget { budget, desired, healthy } => {
                let message =
                    format!("The disruption budget {budget} needs {desired} healthy pods and has {healthy} currently");
                details.insert("causes".to_owned(), json!([{"reason": "DisruptionBudget", "message": message}]));
            }
            Self::FutureRevision { .. } => {
                details.insert("retryAfterSeconds".to_owned(), 1.into());
                details.insert(
                    "causes".to_owned(),
                    json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]),
                );
            }
            _ => return None,
        }
        Some(Value::Object(details))
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let (code, reason) = self.code();
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
            "reason": reason,
            "code": code.as_u16(),
        });
        if let (Some(details), Some(status)) = (self.details(), status.as_object_mut()) {
            status.insert("details".to_owned(), details);
        }
        status
    }
}

fn causes_value(causes: &[Cause]) -> Value {
    serde_json::to_value(causes).unwrap_or_else(|_| Value::Array(Vec::new()))
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if let Self::Internal { step, source } = &self {
            tracing::error!(step, error = source.as_ref().map(|s| s.to_string()).unwrap_or_default(), "request failed");
        }
        let (code, _) = self.code();
        let mut response = json_response(code, &self.status());
        match &self {
            Self::TooManyRequests { retry_after, .. } => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*retry_after));
            }
            Self::FutureRevision { .. } => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Unauthorized => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

/// A JSON response.
pub(crate) fn json_response(code: StatusCode, value: &Value) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes_response(code, "application/json", bytes.into()),
        Err(_) => code.into_response(),
    }
}

/// A response of bytes that are ready.
pub(crate) fn bytes_response(code: StatusCode, content_type: &'static str, bytes: Bytes) -> Response {
    let mut response = Response::new(axum::body::Body::from(bytes));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The `Status` of a success, as deletes answer it.
pub(crate) fn success(group: &str, resource: &str, name: &str, uid: &str) -> Value {
    let mut details = Map::new();
    for (key, value) in [("name", name), ("group", group), ("kind", resource), ("uid", uid)] {
        if !value.is_empty() {
            details.insert(key.to_owned(), value.into());
        }
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

#[cfg(test)]
mod tests {
    use lotse_schema::Reason;

    use super::*;

    #[test]
    fn sentences_are_those_of_kubernetes() {
        let not_found = Error::NotFound { group: "apps".into(), resource: "deployments".into(), name: "x".into() };
        assert_eq!(not_found.to_string(), "deployments.apps \"x\" not found");
        let cause = |field: &str| Cause {
            reason: Reason::FieldValueRequired,
            message: "Required value".into(),
            field: field.into(),
        };
        let invalid =
            |causes| Error::Invalid { group: "apps".into(), kind: "Deployment".into(), name: "x".into(), causes };
        assert_eq!(
            invalid(vec![cause("spec.selector")]).to_string(),
            "Deployment.apps \"x\" is invalid: spec.selector: Required value"
        );
        assert_eq!(
            invalid(vec![cause("a"), cause("b")]).to_string(),
            "Deployment.apps \"x\" is invalid: [a: Required value, b: Required value]"
        );
        assert_eq!(invalid(vec![cause("a")]).status()["details"]["causes"][0]["field"], "a");
    }
}
