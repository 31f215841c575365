//! `/openapi/v2` and `/openapi/v3`: made on demand from the kinds' definitions, kept compressed.
//!
//! The documents say what clients look for: definitions with their group, version and kind, and for every path which kind it
//! takes and which parameters (`kubectl` asks there whether `dryRun` and `fieldValidation` are understood).

mod protobuf;

use std::{
    collections::HashMap,
    io::{Read, Write},
    sync::{Arc, Mutex, PoisonError},
};

use axum::response::Response;
use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use lotse_kinds::Storage;
use lotse_schema::openapi::Definitions;
use lotse_store::Store;
use serde_json::{Map, Value, json};

use crate::{
    discovery::root,
    object::{self, meta},
    registry::{Registry, Resource, prefix},
    status::{Error, Result, bytes_response, json_response},
};

/// The Protobuf encoding of OpenAPI 2, as Kubernetes names it in answers.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// One document.
#[derive(Clone, Debug)]
struct Document {
    /// gzip.
    compressed: Bytes,
    /// Of the plain text, for `ETag` and the index.
    hash: String,
}

/// The documents made so far. Dropped as a whole when kinds change.
#[derive(Debug, Default)]
pub(crate) struct OpenApi {
    documents: Mutex<HashMap<String, Document>>,
}

impl OpenApi {
    /// Kinds have changed.
    pub(crate) fn forget(&self) {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn document(&self, key: &str, make: impl FnOnce() -> Value) -> Result<Document> {
        self.encoded(key, || {
            serde_json::to_vec(&make()).map_err(|source| Error::internal("writing an OpenAPI document", source))
        })
    }

    fn encoded(&self, key: &str, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Document> {
        if let Some(document) = self.documents.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Ok(document.clone());
        }
        let failed = |source: std::io::Error| Error::internal("compressing an OpenAPI document", source);
        let text = make()?;
        let digest = ring::digest::digest(&ring::digest::SHA256, &text);
        let hash = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
        encoder.write_all(&text).map_err(failed)?;
        let document = Document { compressed: encoder.finish().map_err(failed)?.into(), hash };
        self.documents.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), document.clone());
        Ok(document)
    }

    /// `/openapi/v3`: where the documents are. The hash in the address changes with the kinds, not with the text, so that the
    /// index costs nothing.
    pub(crate) fn v3_index(&self, registry: &Registry, store: &dyn Store) -> Result<Response> {
        let mut paths = Map::new();
        for group in registry.groups() {
            for version in registry.versions(group) {
                let address = root(group, version);
                let hash = fingerprint(registry, store, group, version);
                let url = format!("/openapi/v3{address}?hash={hash}");
                paths.insert(address.trim_start_matches('/').to_owned(), json!({"serverRelativeURL": url}));
            }
        }
        Ok(json_response(StatusCode::OK, &json!({"paths": paths})))
    }

    /// `/openapi/v3/apis/apps/v1`.
    pub(crate) fn v3(
        &self,
        registry: &Registry,
        store: &dyn Store,
        parts: &[&str],
        headers: &HeaderMap,
    ) -> Result<Response> {
        let (group, version) = match parts {
            ["api", version] => ("", *version),
            ["apis", group, version] => (*group, *version),
            _ => return Err(Error::NoSuchPath),
        };
        let resources = registry.group_version(group, version);
        if resources.is_empty() {
            return Err(Error::NoSuchPath);
        }
        let fingerprint = fingerprint(registry, store, group, version);
        let document = self.document(&format!("v3 {group}/{version} {fingerprint}"), || {
            let schemas = definitions(resources.iter(), store).into_v3();
            json!({
                "openapi": "3.0.0",
                "info": {"title": "Kubernetes", "version": "v1.37.0"},
                "paths": paths(resources.iter(), Dialect::V3),
                "components": {"schemas": schemas},
            })
        })?;
        respond(&document, headers, "application/json")
    }

    /// `/openapi/v2`: everything in one document, as JSON or in Protobuf for clients that take nothing else.
    pub(crate) fn v2(&self, registry: &Registry, store: &dyn Store, headers: &HeaderMap) -> Result<Response> {
        let wants_only_protobuf = headers.get_all(header::ACCEPT).iter().all(|v| {
            v.to_str().is_ok_and(|v| v.contains("protobuf") && !v.contains("application/json") && !v.contains("*/*"))
        });
        let in_protobuf = wants_only_protobuf && headers.contains_key(header::ACCEPT);
        let all: Vec<&Arc<Resource>> = registry.all().collect();
        let mut fingerprints = String::new();
        for resource in all.iter().filter(|r| r.kind.custom) {
            fingerprints.push_str(&fingerprint_of(resource, store));
        }
        let make = || {
            json!({
                "swagger": "2.0",
                "info": {"title": "Kubernetes", "version": "v1.37.0"},
                "paths": paths(all.iter().copied(), Dialect::V2),
                "definitions": definitions(all.iter().copied(), store).into_v2(),
            })
        };
        if in_protobuf {
            let document = self.encoded(&format!("v2 protobuf {fingerprints}"), || Ok(protobuf::encode(&make())))?;
            return respond(&document, headers, PROTOBUF);
        }
        let document = self.document(&format!("v2 {fingerprints}"), make)?;
        respond(&document, headers, "application/json")
    }
}

/// What a document of a group version depends on.
fn fingerprint(registry: &Registry, store: &dyn Store, group: &str, version: &str) -> String {
    let mut text = concat!(env!("CARGO_PKG_VERSION"), " ").to_owned();
    for resource in registry.group_version(group, version) {
        text.push_str(&fingerprint_of(resource, store));
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().take(16).map(|byte| format!("{byte:02X}")).collect()
}

fn fingerprint_of(resource: &Resource, store: &dyn Store) -> String {
    let generation = match resource.kind.custom {
        true => crd(resource, store).map(|crd| {
            crd.pointer("/metadata/generation").map(Value::to_string).unwrap_or_default() + meta(&crd, "uid")
        }),
        false => None,
    };
    format!("{}/{} {};", resource.api_version, resource.kind.plural, generation.unwrap_or_default())
}

fn crd(resource: &Resource, store: &dyn Store) -> Option<Value> {
    let key = format!(
        "{}{}.{}",
        prefix("apiextensions.k8s.io", "customresourcedefinitions"),
        resource.kind.plural,
        resource.kind.group
    );
    object::parse(&store.get(&key)?.value).ok()
}

fn definitions<'a>(resources: impl Iterator<Item = &'a Arc<Resource>>, store: &dyn Store) -> Definitions {
    let mut definitions = Definitions::new();
    definitions.add_type::<k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions>();
    definitions.add_type::<k8s_openapi::apimachinery::pkg::apis::meta::v1::Status>();
    for resource in resources {
        let kind = &resource.kind;
        if let Some(add) = kind.definitions {
            add(&mut definitions);
            continue;
        }
        let Some(crd) = crd(resource, store) else { continue };
        let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
        let same = |v: &&Value| v.get("name").and_then(Value::as_str) == Some(&kind.version);
        let schema = versions.into_iter().flatten().find(same).and_then(|v| v.pointer("/schema/openAPIV3Schema"));
        definitions.add_custom(&kind.group, &kind.version, &kind.kind, &kind.list_kind, schema.unwrap_or(&Value::Null));
    }
    definitions
}

fn respond(document: &Document, headers: &HeaderMap, content_type: &'static str) -> Result<Response> {
    let etag = format!("\"{}\"", document.hash);
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|v| v == etag);
    let zipped = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .any(|value| value.to_str().is_ok_and(|value| value.split(',').any(|c| c.trim().starts_with("gzip"))));
    let mut response = if known {
        bytes_response(StatusCode::NOT_MODIFIED, content_type, Bytes::new())
    } else if zipped {
        let mut response = bytes_response(StatusCode::OK, content_type, document.compressed.clone());
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        let mut text = Vec::new();
        GzDecoder::new(document.compressed.as_ref())
            .read_to_end(&mut text)
            .map_err(|source| Error::internal("reading an OpenAPI document", source))?;
        bytes_response(StatusCode::OK, content_type, text.into())
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
    Ok(response)
}

/// Which version of OpenAPI is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }

    fn parameter(self, name: &str, r#in: &str, r#type: &str, description: &str) -> Value {
        let mut parameter = json!({"name": name, "in": r#in, "description": description});
        if let Some(object) = parameter.as_object_mut() {
            match self {
                Self::V2 => object.insert("type".to_owned(), r#type.into()),
                Self::V3 => object.insert("schema".to_owned(), json!({"type": r#type})),
            };
            if r#in == "path" {
                object.insert("required".to_owned(), true.into());
            }
        }
        parameter
    }

    /// The request body.
    fn body(self, operation: &mut Map<String, Value>, content: &[&str], schema: Value) {
        match self {
            Self::V2 => {
                operation.insert("consumes".to_owned(), json!(content));
                let body = json!({"name": "body", "in": "body", "required": true, "schema": schema});
                if let Some(list) = operation.entry("parameters").or_insert_with(|| json!([])).as_array_mut() {
                    list.push(body);
                }
            }
            Self::V3 => {
                let content: Map<String, Value> =
                    content.iter().map(|c| ((*c).to_owned(), json!({"schema": schema}))).collect();
                operation.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
            }
        }
    }

    fn answer(self, schema: Value) -> Value {
        match self {
            Self::V2 => json!({"200": {"description": "OK", "schema": schema}}),
            Self::V3 => json!({"200": {"description": "OK", "content": {"application/json": {"schema": schema}}}}),
        }
    }
}

/// Parameters of writes.
const WRITE: [(&str, &str); 3] = [
    ("dryRun", "`All`: do everything but store."),
    ("fieldManager", "Name of the actor that the changes are recorded for."),
    ("fieldValidation", "What happens with unknown and duplicate fields: `Ignore`, `Warn` or `Strict`."),
];

/// Patches that every kind takes, and one that only built-in kinds do: kubectl looks here which one it may send.
const PATCHES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
    "application/strategic-merge-patch+json",
];

fn paths<'a>(resources: impl Iterator<Item = &'a Arc<Resource>>, dialect: Dialect) -> Map<String, Value> {
    let mut paths = Map::new();
    for resource in resources {
        let kind = &resource.kind;
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let base = format!("{}{scope}/{}", root(&kind.group, &kind.version), kind.plural);
        let schema = dialect.reference(&definition_name(resource));
        let mut common = Vec::new();
        if kind.namespaced {
            common.push(dialect.parameter("namespace", "path", "string", "Namespace of the object."));
        }
        let operation = |action: &str, id: &str| operation(resource, dialect, action, id);
        let mut collection = Map::new();
        let mut post = operation("post", "create");
        dialect.body(&mut post, &["application/json", "application/yaml"], schema.clone());
        collection.insert("post".to_owned(), post.into());
        if kind.storage == Storage::Review {
            collection.insert("parameters".to_owned(), common.into());
            paths.insert(base, collection.into());
            continue;
        }
        collection.insert("get".to_owned(), operation("list", "list").into());
        collection.insert("delete".to_owned(), operation("deletecollection", "deleteCollection").into());
        collection.insert("parameters".to_owned(), common.clone().into());
        paths.insert(base.clone(), collection.into());

        common.push(dialect.parameter("name", "path", "string", "Name of the object."));
        let mut item = Map::new();
        item.insert("get".to_owned(), operation("get", "read").into());
        let mut put = operation("put", "replace");
        dialect.body(&mut put, &["application/json", "application/yaml"], schema.clone());
        item.insert("put".to_owned(), put.into());
        let mut patch = operation("patch", "patch");
        let patches = if kind.custom { &PATCHES[..3] } else { &PATCHES };
        dialect.body(&mut patch, patches, json!({"type": "object"}));
        item.insert("patch".to_owned(), patch.into());
        let mut delete = operation("delete", "delete");
        let options = dialect.reference("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");
        dialect.body(&mut delete, &["application/json"], options);
        item.insert("delete".to_owned(), delete.into());
        item.insert("parameters".to_owned(), common.into());
        paths.insert(format!("{base}/{{name}}"), item.into());
    }
    paths
}

fn operation(resource: &Resource, dialect: Dialect, action: &str, id: &str) -> Map<String, Value> {
    let kind = &resource.kind;
    let mut parameters = Vec::new();
    if matches!(action, "post" | "put" | "patch") {
        parameters.extend(WRITE.iter().map(|(name, text)| dialect.parameter(name, "query", "string", text)));
    }
    if matches!(action, "delete" | "deletecollection") {
        parameters.push(dialect.parameter("dryRun", "query", "string", WRITE[0].1));
    }
    if action == "patch" {
        parameters.push(dialect.parameter(
            "force",
            "query",
            "boolean",
            "Take over fields that others own (apply only).",
        ));
    }
    if action == "list" {
        for (name, r#type, text) in [
            ("labelSelector", "string", "Which objects, by their labels."),
            ("fieldSelector", "string", "Which objects, by their fields."),
            ("limit", "integer", "At most so many objects."),
            ("continue", "string", "Where the list goes on."),
            ("resourceVersion", "string", "Which state."),
            ("resourceVersionMatch", "string", "How `resourceVersion` is meant."),
            ("watch", "boolean", "Report changes instead."),
            ("allowWatchBookmarks", "boolean", "Report progress as well."),
            ("sendInitialEvents", "boolean", "Begin with the present objects."),
            ("timeoutSeconds", "integer", "How long a watch lasts."),
        ] {
            parameters.push(dialect.parameter(name, "query", r#type, text));
        }
    }
    let version = version_name(&kind.group, &kind.version);
    let scope = if kind.namespaced { "Namespaced" } else { "" };
    let answer = match action {
        "delete" | "deletecollection" => dialect.reference("io.k8s.apimachinery.pkg.apis.meta.v1.Status"),
        "list" => json!({"type": "object"}),
        _ => dialect.reference(&definition_name(resource)),
    };
    let mut operation = Map::new();
    operation.insert("operationId".to_owned(), format!("{id}{version}{scope}{}", kind.kind).into());
    operation.insert("x-kubernetes-action".to_owned(), action.into());
    operation.insert(
        "x-kubernetes-group-version-kind".to_owned(),
        json!({"group": kind.group, "version": kind.version, "kind": kind.kind}),
    );
    operation.insert("parameters".to_owned(), parameters.into());
    operation.insert("responses".to_owned(), dialect.answer(answer));
    if dialect == Dialect::V2 {
        operation.insert("produces".to_owned(), json!(["application/json", "application/yaml"]));
    }
    operation
}

/// `AppsV1`.
fn version_name(group: &str, version: &str) -> String {
    let capital = |text: &str| {
        let mut chars = text.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    let group = group.split('.').next().unwrap_or_default();
    format!("{}{}", if group.is_empty() { "Core".to_owned() } else { capital(group) }, capital(version))
}

/// The name under which the kind's definition stands.
fn definition_name(resource: &Resource) -> String {
    let kind = &resource.kind;
    if kind.custom {
        let package: Vec<&str> = kind.group.split('.').rev().collect();
        return format!("{}.{}.{}", package.join("."), kind.version, kind.kind);
    }
    match &*kind.group {
        "apiextensions.k8s.io" => {
            format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{}.{}", kind.version, kind.kind)
        }
        "" => format!("io.k8s.api.core.{}.{}", kind.version, kind.kind),
        group => format!("io.k8s.api.{}.{}.{}", group.split('.').next().unwrap_or(group), kind.version, kind.kind),
    }
}
