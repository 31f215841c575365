//! `list`: consistent, in pages, in the shape the client wants, streamed in pieces.

use std::{collections::VecDeque, sync::Arc};

use axum::{body::Body, response::Response};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use futures::stream;
use http::{HeaderValue, StatusCode, header};
use lotse_store::{Entry, ListOptions, Revision};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Call, view, view_metadata, view_value, write::store_error};
use crate::{
    negotiate::Shape,
    selector::Selection,
    server::Server,
    status::{Error, Result},
    table::{self, Include},
};

/// Bytes of a streamed list handed out at once.
const PIECE: usize = 64 * 1024;

/// Entries read from the store at once when a selector thins them out.
const PAGE: usize = 500;

/// Where a list goes on. Opaque to clients.
#[derive(Debug, Serialize, Deserialize)]
struct Continue {
    #[serde(rename = "rv")]
    revision: Revision,
    after: String,
}

/// The entries of one page.
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    pub(super) revision: Revision,
    next: Option<String>,
    remaining: Option<usize>,
}

/// The selection of a list, watch or deletecollection; a name in the path is a selection too.
pub(super) fn selection(call: &Call) -> Result<Selection> {
    Selection::parse(call.query.get("labelSelector"), call.query.get("fieldSelector"), &call.resource)
}

/// The entries that `limit`, `continue`, `resourceVersion` and the selectors ask for.
pub(super) fn page(server: &Server, call: &Call, selection: &Selection) -> Result<Page> {
    let query = &call.query;
    let limit = match query.number("limit")? {
        Some(limit) if limit < 0 => {
            return Err(Error::bad_request("limit: Invalid value: must be greater than or equal to 0"));
        }
        Some(0) | None => None,
        Some(limit) => usize::try_from(limit).ok(),
    };
    let revision = match query.get("resourceVersion") {
        None | Some("0") => None,
        Some(text) => Some(
            text.parse::<Revision>()
                .map_err(|_| Error::bad_request(format!("Invalid value: {text:?}: resourceVersion is not a number")))?,
        ),
    };
    let mut after: Option<String> = None;
    let mut at = None;
    let expired = |_| {
        Error::Expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
             the continue parameter."
                .to_owned(),
        )
    };
    if let Some(token) = query.get("continue") {
        if query.get("resourceVersion").is_some_and(|v| v != "0") {
            return Err(Error::bad_request("specifying resource version is not allowed when using continue"));
        }
        let bad = || Error::bad_request("continue key is not valid");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
        let token: Continue = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        // The token is the client's: it must not lead out of the collection.
        if !token.after.starts_with(&call.resource.scope(&call.target.namespace)) {
            return Err(bad());
        }
        at = Some(token.revision);
        after = Some(token.after);
    } else {
        match (query.get("resourceVersionMatch"), revision) {
            (None | Some("NotOlderThan"), Some(revision)) => {
                let newest = server.store.revision();
                if revision > newest {
                    return Err(Error::FutureRevision { requested: revision, newest });
                }
            }
            (Some("Exact"), Some(revision)) => at = Some(revision),
            (Some("Exact"), None) => {
                return Err(Error::bad_request(
                    "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\" or unset",
                ));
            }
            (Some("NotOlderThan"), None) if query.get("resourceVersion").is_none() => {
                return Err(Error::bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided"));
            }
            (None | Some("NotOlderThan"), None) => {}
            (Some(other), _) => {
                return Err(Error::bad_request(format!("resourceVersionMatch: Unsupported value: {other:?}")));
            }
        }
    }
    let continued = query.get("continue").is_some();
    let fail = |error| if continued { expired(error) } else { store_error(error) };

    if let Some(name) = selection.only_name()
        && !call.target.namespace.is_empty() | !call.resource.kind.namespaced
        && at.is_none()
    {
        let revision = server.store.revision();
        let entries = server.store.get(&call.resource.key(&call.target.namespace, name));
        let entries = entries.into_iter().filter(|e| selection.matches(&call.resource, &e.value)).collect();
        return Ok(Page { entries, revision, next: None, remaining: None });
    }

    let prefix = call.resource.scope(&call.target.namespace);
    if selection.is_empty() {
        let list = server.store.list(&prefix, ListOptions { at, after: after.as_deref(), limit }).map_err(fail)?;
        let next = (list.remaining > 0).then(|| list.entries.last().map(|e| e.key.to_string())).flatten();
        let remaining = (list.remaining > 0).then_some(list.remaining);
        return Ok(Page { entries: list.entries, revision: list.revision, next, remaining });
    }
    let mut entries = Vec::new();
    loop {
        let list = server
            .store
            .list(&prefix, ListOptions { at, after: after.as_deref(), limit: limit.map(|_| PAGE) })
            .map_err(fail)?;
        at = Some(list.revision);
        let last = list.entries.last().map(|e| e.key.to_string());
        for entry in list.entries {
            if selection.matches(&call.resource, &entry.value) {
                entries.push(entry);
                if limit.is_some_and(|limit| entries.len() >= limit) {
                    let next = entries.last().map(|e| e.key.to_string());
                    let next = next.filter(|next| list.remaining > 0 || last.as_ref() != Some(next));
                    return Ok(Page { entries, revision: list.revision, next, remaining: None });
                }
            }
        }
        if list.remaining == 0 || last.is_none() {
            return Ok(Page { entries, revision: list.revision, next: None, remaining: None });
        }
        after = last;
    }
}

impl Page {
    fn metadata(&self) -> Value {
        let mut metadata = json!({"resourceVersion": self.revision.to_string()});
        if let (Some(next), Some(object)) = (&self.next, metadata.as_object_mut()) {
            let token = Continue { revision: self.revision, after: next.clone() };
            if let Ok(bytes) = serde_json::to_vec(&token) {
                object.insert("continue".to_owned(), URL_SAFE_NO_PAD.encode(bytes).into());
            }
            if let Some(remaining) = self.remaining {
                object.insert("remainingItemCount".to_owned(), remaining.into());
            }
        }
        metadata
    }
}

/// `GET` of a collection.
pub(super) fn list(server: &Arc<Server>, call: &Call) -> Result<Response> {
    let accept = call.accept()?;
    let page = page(server, call, &selection(call)?)?;
    let resource = &call.resource;
    let metadata = page.metadata();
    let values = |page: Page| -> Result<Vec<Value>> {
        page.entries.iter().map(|entry| view_value(resource, &entry.value)).collect()
    };
    match accept.shape {
        Shape::Table => {
            let include = Include::parse(call.query.get("includeObject"))?;
            accept.value(StatusCode::OK, &table::table(&resource.kind, values(page)?, metadata, include, true))
        }
        Shape::Metadata => {
            let values = page.entries.iter().map(|entry| view_metadata(resource, &entry.value));
            let items: Vec<Value> = values.map(|value| value.map(table::metadata_only)).collect::<Result<_>>()?;
            let list = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items,
            });
            accept.value(StatusCode::OK, &list)
        }
        Shape::Object if accept.raw() => {
            let head = format!(
                "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
                resource.kind.list_kind, resource.api_version
            );
            let mut items = VecDeque::with_capacity(page.entries.len());
            for entry in page.entries {
                items.push_back(view(resource, &entry.value)?);
            }
            Ok(stream_list(head, items))
        }
        Shape::Object => {
            let list = json!({
                "kind": resource.kind.list_kind, "apiVersion": resource.api_version, "metadata": metadata, "items": values(page)?,
            });
            accept.value(StatusCode::OK, &list)
        }
    }
}

/// The list as a body: what is stored goes out as it is, copied piece by piece and never as a whole.
fn stream_list(head: String, mut items: VecDeque<Bytes>) -> Response {
    let size: usize = head.len() + items.iter().map(|item| item.len() + 1).sum::<usize>() + 2;
    let mut first = true;
    let mut next = move |mut piece: BytesMut| {
        while piece.len() < PIECE {
            let Some(item) = items.pop_front() else {
                piece.extend_from_slice(b"]}");
                return (piece.freeze(), true);
            };
            if !std::mem::take(&mut first) {
                piece.extend_from_slice(b",");
            }
            piece.extend_from_slice(&item);
        }
        (piece.freeze(), false)
    };
    let body = if size <= PIECE {
        let mut buffer = BytesMut::with_capacity(size);
        buffer.extend_from_slice(head.as_bytes());
        Body::from(next(buffer).0)
    } else {
        let start = Some(BytesMut::from(head.as_bytes()));
        Body::from_stream(stream::unfold((next, start), |(mut next, buffer)| async move {
            let (piece, last) = next(buffer?);
            Some((
                Ok::<Bytes, std::convert::Infallible>(piece),
                (next, (!last).then(|| BytesMut::with_capacity(PIECE))),
            ))
        }))
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
