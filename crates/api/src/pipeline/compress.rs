//! gzip for big answers.

use std::{io::Write, pin::Pin};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;

/// Answers smaller than this are not worth it.
const MINIMUM: u64 = 128 * 1024;

/// Whether the client takes gzip.
pub(super) fn wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && parts.all(|p| p != "q=0")
    })
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>;

/// Compresses the body piece by piece, if it is big or of unknown size.
pub(super) fn compress(mut response: Response) -> Response {
    let hint = response.body().size_hint();
    let small = hint.exact().is_some_and(|size| size < MINIMUM);
    let json =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/json"));
    if small || !json || !response.status().is_success() || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let body = std::mem::take(response.body_mut());
    let pieces: Pieces = Box::pin(body.into_data_stream());
    let encoder = GzEncoder::new(Vec::with_capacity(32 * 1024), Compression::fast());
    let compressed = stream::unfold(Some((pieces, encoder)), |state| async move {
        let (mut pieces, mut encoder) = state?;
        loop {
            match pieces.next().await {
                Some(Ok(piece)) => {
                    if let Err(error) = encoder.write_all(&piece) {
                        return Some((Err(axum::Error::new(error)), None));
                    }
                    if encoder.get_ref().len() >= 16 * 1024 {
                        let out = std::mem::take(encoder.get_mut());
                        return Some((Ok(Bytes::from(out)), Some((pieces, encoder))));
                    }
                }
                Some(Err(error)) => return Some((Err(error), None)),
                None => return Some((encoder.finish().map(Bytes::from).map_err(axum::Error::new), None)),
            }
        }
    });
    *response.body_mut() = Body::from_stream(compressed);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
}
