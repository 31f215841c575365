//! The edge's own answers: short, plain, naming the reason.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::body::EdgeBody;

/// An answer that ends a request before it reaches a backend. Boxed, because it is the rare case of many results.
pub(crate) type Refusal = Box<Response<EdgeBody>>;

/// `status` with one line of text.
pub(crate) fn plain(status: StatusCode, reason: &str) -> Refusal {
    let mut response = Response::new(EdgeBody::full(Bytes::from(format!("{} {reason}\n", status.as_u16()))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Box::new(response)
}

/// An answer without body.
pub(crate) fn empty(status: StatusCode) -> Response<EdgeBody> {
    let mut response = Response::new(EdgeBody::empty());
    *response.status_mut() = status;
    response
}

/// A redirect to `location`.
pub(crate) fn redirect(status: StatusCode, location: HeaderValue) -> Refusal {
    let mut response = empty(status);
    response.headers_mut().insert(header::LOCATION, location);
    Box::new(response)
}
