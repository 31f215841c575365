//! The verbs, each written once for every kind.

mod collection;
mod delete;
mod metadata;
mod patch;
mod read;
mod scale;
mod watch;
mod write;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use lotse_kinds::Storage;
use serde::Deserialize;
use serde_json::Value;

pub(crate) use self::{
    delete::{DeleteOptions, delete_one},
    patch::PatchType,
    write::{Change, Write, put, remove, store_error},
};
use crate::{
    authn::User,
    endpoints,
    negotiate::{Accept, Shape},
    registry::{Registry, Resource},
    request::{Query, ResourceRequest, Verb},
    server::Server,
    status::{Error, Result},
    table,
};

/// An authorised request for an API resource.
pub(crate) struct Call {
    /// What is asked for.
    pub(crate) target: ResourceRequest,
    /// Query parameters.
    pub(crate) query: Query,
    /// Who asks.
    pub(crate) user: Arc<User>,
    /// Headers and upgrade.
    pub(crate) request: http::Request<()>,
    /// The body, until somebody reads it. In a lock only because bodies cannot be shared between threads otherwise.
    pub(crate) body: Mutex<Body>,
    /// The kinds at the time of the request.
    pub(crate) registry: Arc<Registry>,
    /// The kind asked for.
    pub(crate) resource: Arc<Resource>,
}

impl Call {
    /// What shape and encoding the client wants.
    pub(crate) fn accept(&self) -> Result<Accept> {
        Accept::of(self.request.headers(), self.query.flag("pretty")?)
    }

    /// The `Content-Type`, empty if absent.
    pub(crate) fn content_type(&self) -> &str {
        self.request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// Takes the body, up to the configured limit.
    pub(crate) async fn body(&mut self, server: &Server) -> Result<bytes::Bytes> {
        let body = std::mem::take(self.body.get_mut().unwrap_or_else(PoisonError::into_inner));
        crate::body::read(body, server.config.max_request_bytes).await
    }
}

/// Serves an authorised request.
pub(crate) async fn serve(server: &Arc<Server>, mut call: Call) -> Result<Response> {
    let kind = call.resource.kind.clone();
    let target = &call.target;
    if target.namespace.is_empty() {
        // Across namespaces one can only look.
        let across = target.name.is_empty() && matches!(target.verb, Verb::List | Verb::Watch);
        let review = kind.storage == Storage::Review;
        if kind.namespaced && !across && !review {
            return Err(if target.name.is_empty() { Error::MethodNotAllowed } else { Error::NoSuchPath });
        }
    } else if !kind.namespaced {
        return Err(Error::NoSuchPath);
    }
    if !target.subresource.is_empty() {
        return subresource(server, call).await;
    }
    if kind.storage == Storage::Review {
        let endpoint = endpoints::find(&kind.group, &kind.plural, "").ok_or(Error::NoSuchPath)?;
        if target.verb != Verb::Create {
            return Err(Error::MethodNotAllowed);
        }
        return (endpoint.run)(server.clone(), call).await;
    }
    match target.verb {
        Verb::Get => read::get(server, &call),
        Verb::List => collection::list(server, &call),
        Verb::Watch => watch::watch(server, &call),
        Verb::Create if target.name.is_empty() => write::create(server, &mut call).await,
        Verb::Create => Err(Error::MethodNotAllowed),
        Verb::Update if !target.name.is_empty() => write::update(server, &mut call).await,
        Verb::Patch if !target.name.is_empty() => patch::patch(server, &mut call).await,
        Verb::Update | Verb::Patch => Err(Error::MethodNotAllowed),
        Verb::Delete => delete::delete(server, &mut call).await,
        Verb::DeleteCollection => delete::delete_collection(server, &mut call).await,
    }
}

async fn subresource(server: &Arc<Server>, mut call: Call) -> Result<Response> {
    let kind = call.resource.kind.clone();
    let name = call.target.subresource.clone();
    if name == "status" && kind.status {
        return match call.target.verb {
            Verb::Get => read::get(server, &call),
            Verb::Update => write::update(server, &mut call).await,
            Verb::Patch => patch::patch(server, &mut call).await,
            _ => Err(Error::MethodNotAllowed),
        };
    }
    if name == "scale" && kind.scale.is_some() {
        return scale::serve(server, &mut call).await;
    }
    if !kind.endpoints.iter().any(|endpoint| *endpoint == name) {
        return Err(Error::NoSuchPath);
    }
    let endpoint = endpoints::find(&kind.group, &kind.plural, &name).ok_or(Error::NoSuchPath)?;
    (endpoint.run)(server.clone(), call).await
}

/// Answers with one object in the shape the client wants.
pub(crate) fn object_response(call: &Call, code: StatusCode, bytes: bytes::Bytes) -> Result<Response> {
    let accept = call.accept()?;
    match accept.shape {
        Shape::Object => accept.json(code, bytes),
        Shape::Table => {
            let object = crate::object::parse(&bytes)?;
            let include = table::Include::parse(call.query.get("includeObject"))?;
            let metadata = serde_json::json!({"resourceVersion": crate::object::meta(&object, "resourceVersion")});
            accept.value(code, &table::table(&call.resource.kind, vec![object], metadata, include, true))
        }
        Shape::Metadata => accept.value(code, &table::metadata_only(crate::object::parse(&bytes)?)),
    }
}

/// Adds `Warning` headers.
pub(crate) fn with_warnings(mut response: Response, warnings: &[String]) -> Response {
    for warning in warnings.iter().take(64) {
        let text: String = warning.chars().filter(|c| !c.is_control()).take(512).collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

/// Stored bytes as the requested version shows them.
pub(crate) fn view(resource: &Resource, bytes: &bytes::Bytes) -> Result<bytes::Bytes> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(rename = "apiVersion", borrow)]
        api_version: Cow<'a, str>,
    }

    if resource.kind.stored_as.is_none()
        || serde_json::from_slice::<Typed<'_>>(bytes).is_ok_and(|typed| resource.kind.is_kept_as(&typed.api_version))
    {
        return Ok(bytes.clone());
    }
    let object = view_value(resource, bytes)?;
    serde_json::to_vec(&object).map(Into::into).map_err(|source| Error::internal("converting an object", source))
}

/// Stored bytes as a value of the requested version.
pub(crate) fn view_value(resource: &Resource, bytes: &[u8]) -> Result<Value> {
    let mut object = crate::object::parse(bytes)?;
    resource.kind.from_stored(&mut object).map_err(Error::Unconverted)?;
    Ok(object)
}

/// [`view_value`] where only metadata matters: what cannot be converted is taken as it is stored.
pub(crate) fn view_metadata(resource: &Resource, bytes: &[u8]) -> Result<Value> {
    let mut object = crate::object::parse(bytes)?;
    let _ = resource.kind.from_stored(&mut object);
    Ok(object)
}
