//! `watch`: every change from a revision on, without gaps or duplicates, as JSON lines.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, stream};
use http::{HeaderValue, header};
use lotse_store::{Entry, EventKind, ListOptions, Revision, Watch};
use ring::rand::SecureRandom;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Call, collection, view, view_metadata, view_value, write::store_error};
use crate::{
    negotiate::{Accept, Shape},
    registry::Resource,
    selector::Selection,
    server::Server,
    status::{Error, Result},
    table::{self, Include},
};

/// Time between bookmarks.
const BOOKMARK: Duration = Duration::from_secs(60);

/// Bytes handed out at once.
const PIECE: usize = 32 * 1024;

/// Turns store events into lines for one client.
struct Lines {
    resource: Arc<Resource>,
    selection: Selection,
    accept: Accept,
    include: Include,
    /// Column definitions go out with the first table only.
    columns_sent: bool,
}

struct Running {
    lines: Lines,
    initial: VecDeque<Entry>,
    initial_revision: Revision,
    announce_initial_end: bool,
    watch: Box<dyn Watch>,
    bookmarks: bool,
    bookmark_at: Instant,
    bookmarked: Revision,
    end: Instant,
    shutdown: tokio_util::sync::CancellationToken,
    over: bool,
    _gauge: crate::metrics::Gauge,
}

/// `GET ?watch=true`.
pub(super) fn watch(server: &Arc<Server>, call: &Call) -> Result<Response> {
    let query = &call.query;
    let mut selection = collection::selection(call)?;
    if !call.target.name.is_empty() {
        let name = format!("metadata.name={}", call.target.name);
        selection = Selection::parse(query.get("labelSelector"), Some(&name), &call.resource)?;
    }
    let prefix = call.resource.scope(&call.target.namespace);
    let bookmarks = query.flag("allowWatchBookmarks")?;
    let send_initial = query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents")).transpose()?;
    if send_initial.is_some() && query.get("resourceVersionMatch") != Some("NotOlderThan") {
        return Err(Error::Invalid {
            group: "meta.k8s.io".to_owned(),
            kind: "ListOptions".to_owned(),
            name: String::new(),
            causes: vec![lotse_schema::Cause {
                reason: lotse_schema::Reason::FieldValueForbidden,
                message: "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
                    .to_owned(),
                field: "resourceVersionMatch".to_owned(),
            }],
        });
    }
    let revision: Option<Revision> = match query.get("resourceVersion") {
        None | Some("0") => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| Error::bad_request(format!("Invalid value: {text:?}: resourceVersion is not a number")))?,
        ),
    };
    let newest = server.store.revision();
    if let Some(revision) = revision
        && revision > newest
    {
        return Err(Error::FutureRevision { requested: revision, newest });
    }
    let with_state = send_initial.unwrap_or(revision.is_none());
    let (initial, after) = if with_state {
        let list = server.store.list(&prefix, ListOptions::default()).map_err(store_error)?;
        let selected = list.entries.into_iter().filter(|e| selection.matches(&call.resource, &e.value)).collect();
        (selected, list.revision)
    } else {
        (VecDeque::new(), revision.unwrap_or(newest))
    };
    let accept = call.accept()?;
    let watch = match server.store.watch(&prefix, after) {
        Ok(watch) => watch,
        // Clients of the watch protocol expect this inside the stream.
        Err(error) => return Ok(respond(Body::from(error_line(&store_error(error))), &accept)),
    };
    let seconds = match query.number("timeoutSeconds")? {
        Some(seconds) if seconds > 0 => u64::try_from(seconds).unwrap_or(1800),
        _ => {
            let mut byte = [0_u8];
            let _ = ring::rand::SystemRandom::new().fill(&mut byte);
            1800 + 7 * u64::from(byte[0])
        }
    };
    let now = Instant::now();
    let running = Running {
        lines: Lines {
            resource: call.resource.clone(),
            selection,
            accept,
            include: Include::parse(query.get("includeObject"))?,
            columns_sent: false,
        },
        initial,
        initial_revision: after,
        announce_initial_end: send_initial == Some(true) && bookmarks,
        watch,
        bookmarks,
        bookmark_at: now + BOOKMARK,
        bookmarked: after,
        end: now + Duration::from_secs(seconds),
        shutdown: server.shutdown.clone(),
        over: false,
        _gauge: server.metrics.watch(),
    };
    let body = Body::from_stream(stream::unfold(running, |mut running| async move {
        let piece = running.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(piece), running))
    }));
    Ok(respond(body, &accept))
}

fn respond(body: Body, _accept: &Accept) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn error_line(error: &Error) -> Bytes {
    line("ERROR", &error.status())
}

fn line(kind: &str, object: &Value) -> Bytes {
    let mut text = json!({"type": kind, "object": object}).to_string();
    text.push('\n');
    text.into()
}

// === impl Running ===

impl Running {
    /// The next piece of the stream; `None` ends it.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let mut piece = BytesMut::new();
        while let Some(entry) = self.initial.pop_front() {
            self.lines.write(&mut piece, "ADDED", &entry.value);
            if piece.len() >= PIECE {
                return Some(piece.freeze());
            }
        }
        if std::mem::take(&mut self.announce_initial_end) {
            let revision = self.initial_revision;
            self.lines.bookmark(&mut piece, revision, true);
        }
        if !piece.is_empty() {
            return Some(piece.freeze());
        }
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return None,
                event = self.watch.next() => match event {
                    Ok(event) => self.lines.event(&mut piece, &event),
                    Err(error) => {
                        self.over = true;
                        return match error {
                            lotse_store::Error::Closed => None,
                            error => Some(error_line(&store_error(error))),
                        };
                    }
                },
                () = tokio::time::sleep_until(self.end) => {
                    self.over = true;
                    if !self.bookmarks || self.watch.position() == self.bookmarked {
                        return None;
                    }
                    self.bookmark(&mut piece);
                    return Some(piece.freeze());
                }
                () = tokio::time::sleep_until(self.bookmark_at), if self.bookmarks => {
                    self.bookmark(&mut piece);
                    return Some(piece.freeze());
                }
            }
            // Whatever else is there already goes into the same piece.
            while piece.len() < PIECE {
                match self.watch.next().now_or_never() {
                    Some(Ok(event)) => self.lines.event(&mut piece, &event),
                    // An error comes again with the next call.
                    Some(Err(_)) | None => break,
                }
            }
            if !piece.is_empty() {
                return Some(piece.freeze());
            }
        }
    }

    fn bookmark(&mut self, piece: &mut BytesMut) {
        self.bookmark_at = Instant::now() + BOOKMARK;
        self.bookmarked = self.watch.position().max(self.initial_revision);
        self.lines.bookmark(piece, self.bookmarked, false);
    }
}

// === impl Lines ===

impl Lines {
    /// One store event: objects that enter or leave the selection are added or deleted for this client.
    fn event(&mut self, piece: &mut BytesMut, event: &lotse_store::Event) {
        let is = event.kind != EventKind::Deleted && self.selection.matches(&self.resource, &event.entry.value);
        let was = event.previous.as_ref().is_some_and(|p| self.selection.matches(&self.resource, &p.value));
        match (was, is) {
            (false, true) => self.write(piece, "ADDED", &event.entry.value),
            (true, true) => self.write(piece, "MODIFIED", &event.entry.value),
            (true, false) if event.kind == EventKind::Deleted => self.write(piece, "DELETED", &event.entry.value),
            (true, false) => {
                // The last state that the client was shown, at the revision of the change.
                let last = event.previous.as_ref().and_then(|p| crate::object::parse(&p.value).ok());
                let encoded = last.and_then(|last| crate::object::Encoded::new(&last).ok());
                if let Some(encoded) = encoded {
                    self.write(piece, "DELETED", &encoded.finish(event.entry.revision));
                }
            }
            (false, false) => {}
        }
    }

    fn write(&mut self, piece: &mut BytesMut, kind: &str, bytes: &Bytes) {
        if self.accept.shape == Shape::Object {
            match view(&self.resource, bytes) {
                Ok(bytes) => wrap(piece, kind, &bytes),
                Err(error) => wrap(piece, "ERROR", error.status().to_string().as_bytes()),
            }
            return;
        }
        let viewed = match self.accept.shape {
            Shape::Metadata => view_metadata(&self.resource, bytes),
            _ => view_value(&self.resource, bytes),
        };
        let object = match viewed {
            Ok(object) if self.accept.shape == Shape::Metadata => table::metadata_only(object),
            Ok(object) => {
                let metadata = json!({"resourceVersion": crate::object::meta(&object, "resourceVersion")});
                let columns = !std::mem::replace(&mut self.columns_sent, true);
                table::table(&self.resource.kind, vec![object], metadata, self.include, columns)
            }
            Err(error) => error.status(),
        };
        wrap(piece, kind, object.to_string().as_bytes());
    }

    fn bookmark(&mut self, piece: &mut BytesMut, revision: Revision, initial_end: bool) {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end && let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("annotations".to_owned(), json!({"k8s.io/initial-events-end": "true"}));
        }
        let object = match self.accept.shape {
            Shape::Object => {
                json!({"kind": self.resource.kind.kind, "apiVersion": self.resource.api_version, "metadata": metadata})
            }
            Shape::Metadata => table::metadata_only(json!({"metadata": metadata})),
            Shape::Table => {
                let columns = !std::mem::replace(&mut self.columns_sent, true);
                let mut table = table::table(
                    &self.resource.kind,
                    Vec::new(),
                    json!({"resourceVersion": revision.to_string()}),
                    self.include,
                    columns,
                );
                if let Some(table) = table.as_object_mut() {
                    table.insert(
                        "rows".to_owned(),
                        json!([{"cells": [], "object": {
                            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                        }}]),
                    );
                }
                table
            }
        };
        wrap(piece, "BOOKMARK", object.to_string().as_bytes());
    }
}

fn wrap(piece: &mut BytesMut, kind: &str, object: &[u8]) {
    piece.reserve(object.len() + 40);
    piece.extend_from_slice(b"{\"type\":\"");
    piece.extend_from_slice(kind.as_bytes());
    piece.extend_from_slice(b"\",\"object\":");
    piece.extend_from_slice(object);
    piece.extend_from_slice(b"}\n");
}
