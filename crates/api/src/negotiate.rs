//! In which shape and encoding a client wants its answer.

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use crate::status::{Error, Result, bytes_response};

/// The shape of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The object itself.
    Object,
    /// A table for people.
    Table,
    /// Type and metadata only.
    Metadata,
}

/// What `Accept` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accept {
    /// Shape of the answer.
    pub(crate) shape: Shape,
    /// YAML instead of JSON.
    pub(crate) yaml: bool,
    /// Indented JSON.
    pub(crate) pretty: bool,
}

impl Accept {
    /// The first alternative of `Accept` that the server can produce. Protobuf and CBOR are skipped, as a server without them does.
    pub(crate) fn of(headers: &HeaderMap, pretty: bool) -> Result<Self> {
        let mut any = false;
        for value in headers.get_all(header::ACCEPT) {
            let Ok(value) = value.to_str() else { continue };
            for alternative in value.split(',') {
                any = true;
                let mut parts = alternative.split(';').map(str::trim);
                let yaml = match parts.next().unwrap_or_default() {
                    "application/json" | "*/*" | "application/*" => false,
                    "application/yaml" | "application/x-yaml" => true,
                    _ => continue,
                };
                let (mut shape, mut group, mut version) = (Some(Shape::Object), "meta.k8s.io", "v1");
                for parameter in parts {
                    match parameter.split_once('=') {
                        Some(("as", "Table")) => shape = Some(Shape::Table),
                        Some(("as", "PartialObjectMetadata" | "PartialObjectMetadataList")) => {
                            shape = Some(Shape::Metadata)
                        }
                        Some(("as", _)) => shape = None,
                        Some(("g", value)) => group = value,
                        Some(("v", value)) => version = value,
                        _ => {}
                    }
                }
                match shape {
                    Some(Shape::Object) => return Ok(Self { shape: Shape::Object, yaml, pretty }),
                    Some(shape) if group == "meta.k8s.io" && version == "v1" => {
                        return Ok(Self { shape, yaml, pretty });
                    }
                    _ => {}
                }
            }
        }
        if any {
            return Err(Error::NotAcceptable("application/json, application/yaml"));
        }
        Ok(Self { shape: Shape::Object, yaml: false, pretty })
    }

    /// Whether ready JSON bytes can go out as they are.
    pub(crate) fn raw(&self) -> bool {
        !self.yaml && !self.pretty
    }

    /// A response with this value.
    pub(crate) fn value(&self, code: StatusCode, value: &Value) -> Result<Response> {
        let failed = |source: serde_json::Error| Error::internal("serialising a response", source);
        if self.yaml {
            let text =
                serde_saphyr::to_string(value).map_err(|source| Error::internal("serialising a response", source))?;
            return Ok(bytes_response(code, "application/yaml", text.into()));
        }
        let bytes =
            if self.pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) }.map_err(failed)?;
        Ok(bytes_response(code, "application/json", bytes.into()))
    }

    /// A response with JSON that is ready.
    pub(crate) fn json(&self, code: StatusCode, bytes: Bytes) -> Result<Response> {
        if self.raw() {
            return Ok(bytes_response(code, "application/json", bytes));
        }
        let value = serde_json::from_slice(&bytes).map_err(|source| Error::internal("reading a response", source))?;
        self.value(code, &value)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_first_producible_alternative_is_taken() {
        for (accept, expected) in [
            ("", Some((Shape::Object, false))),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
                Some((Shape::Table, false)),
            ),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", Some((Shape::Object, false))),
            ("application/vnd.kubernetes.protobuf, application/json", Some((Shape::Object, false))),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Some((Shape::Metadata, false))),
            ("application/yaml", Some((Shape::Object, true))),
            ("*/*", Some((Shape::Object, false))),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            let got = Accept::of(&headers, false).ok().map(|a| (a.shape, a.yaml));
            assert_eq!(got, expected, "{accept}");
        }
    }
}
