//! `create` and `update`, and the one way by which every write of an object goes.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use lotse_kinds::Strategy;
use lotse_schema::{Cause, apply::Manager};
use lotse_store::{Change as StoreChange, Entry, Error as StoreError, Expect};
use serde_json::Value;

use super::{Call, metadata, object_response, view, view_value, with_warnings};
use crate::{
    admission,
    authn::User,
    body::{self, Decoded, Format},
    deletion,
    object::{self, Encoded, meta},
    registry::Resource,
    request::Query,
    server::Server,
    status::{Error, Result},
};

/// How often a write that names no revision is tried again after losing against another one.
const ATTEMPTS: usize = 50;

/// What happens with fields that the schema does not know, and with duplicate ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Everything about one write except the object.
pub(crate) struct Write {
    /// The kind.
    pub(crate) resource: Arc<Resource>,
    /// Namespace of the object, empty for cluster scope.
    pub(crate) namespace: String,
    /// Subresource, empty for the object itself.
    pub(crate) subresource: String,
    /// Who writes.
    pub(crate) user: Arc<User>,
    /// Name of the field manager.
    pub(crate) manager: String,
    /// Do everything but store.
    pub(crate) dry_run: bool,
    /// What the client should know besides the answer.
    pub(crate) warnings: Vec<String>,
    validation: FieldValidation,
    now: Timestamp,
}

/// What a change makes of the stored object.
pub(crate) enum Change {
    /// A new state; ownership of changed fields goes to the manager.
    Update(Value),
    /// A new state with ownership as a server-side apply settled it.
    Applied(Value),
}

/// The outcome of a write.
pub(crate) struct Written {
    /// The object in the requested version.
    pub(crate) bytes: Bytes,
    /// It was made by this write.
    pub(crate) created: bool,
}

// === impl Write ===

impl Write {
    /// The settings of a write from its request.
    pub(crate) fn new(call: &Call) -> Result<Self> {
        let agent = call.request.headers().get(http::header::USER_AGENT).and_then(|v| v.to_str().ok());
        Self::for_resource(call, call.resource.clone(), agent)
    }

    fn for_resource(call: &Call, resource: Arc<Resource>, agent: Option<&str>) -> Result<Self> {
        let query = &call.query;
        Ok(Self {
            resource,
            namespace: call.target.namespace.clone(),
            subresource: call.target.subresource.clone(),
            user: call.user.clone(),
            manager: field_manager(query, agent)?,
            dry_run: query.dry_run()?,
            warnings: Vec::new(),
            validation: match query.get("fieldValidation") {
                None | Some("Warn") => FieldValidation::Warn,
                Some("Ignore") => FieldValidation::Ignore,
                Some("Strict") => FieldValidation::Strict,
                Some(other) => {
                    return Err(Error::bad_request(format!(
                        "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
                    )));
                }
            },
            now: Timestamp::now(),
        })
    }

    /// A write that the server makes for itself.
    pub(crate) fn internal(resource: Arc<Resource>, namespace: &str, manager: &str) -> Self {
        Self {
            resource,
            namespace: namespace.to_owned(),
            subresource: String::new(),
            user: User::api_server(),
            manager: manager.to_owned(),
            dry_run: false,
            warnings: Vec::new(),
            validation: FieldValidation::Ignore,
            now: Timestamp::now(),
        }
    }

    /// Subresource for ownership records.
    pub(crate) fn manager(&self) -> Manager<'_> {
        Manager {
            name: &self.manager,
            api_version: &self.resource.api_version,
            subresource: Some(self.subresource.as_str()).filter(|s| !s.is_empty()),
            now: self.now,
        }
    }

    fn strategy(&self, old: Option<&Value>) -> Strategy {
        match old {
            None => Strategy::Create,
            Some(_) if self.subresource.is_empty() => Strategy::Update,
            Some(_) => Strategy::Subresource,
        }
    }

    /// Decodes a body that holds an object of the kind.
    pub(crate) fn decode(&mut self, bytes: &[u8], format: Format) -> Result<Value> {
        let Decoded { mut value, duplicates } = body::decode(bytes, format)?;
        self.check_type(&mut value)?;
        self.report(duplicates.iter().map(|path| format!("duplicate field {path:?}")))?;
        Ok(value)
    }

    fn check_type(&self, value: &mut Value) -> Result<()> {
        let expected = &self.resource.api_version;
        let kind = &self.resource.kind.kind;
        let object = value.as_object_mut().ok_or_else(|| Error::bad_request("the body is not a JSON object"))?;
        match object.get("kind") {
            None => {
                object.insert("kind".to_owned(), Value::String(kind.to_string()));
            }
            Some(Value::String(actual)) if actual == kind => {}
            Some(actual) => {
                return Err(Error::bad_request(format!(
                    "the kind in the data ({actual}) does not match the expected kind ({kind})"
                )));
            }
        }
        match object.get("apiVersion") {
            None => {
                object.insert("apiVersion".to_owned(), Value::String(expected.clone()));
            }
            Some(Value::String(actual)) if actual == expected => {}
            Some(actual) => {
                return Err(Error::bad_request(format!(
                    "the API version in the data ({actual}) does not match the expected API version ({expected})"
                )));
            }
        }
        Ok(())
    }

    /// Deals with findings about fields that would be lost.
    fn report(&mut self, findings: impl Iterator<Item = String>) -> Result<()> {
        match self.validation {
            FieldValidation::Ignore => Ok(()),
            FieldValidation::Warn => {
                self.warnings.extend(findings);
                Ok(())
            }
            FieldValidation::Strict => {
                let findings: Vec<String> = findings.collect();
                if findings.is_empty() {
                    return Ok(());
                }
                let kind = &self.resource.kind;
                Err(Error::bad_request(format!(
                    "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
                    kind.kind,
                    kind.version,
                    kind.kind,
                    findings.join(", ")
                )))
            }
        }
    }

    fn invalid(&self, object: &Value, causes: Vec<Cause>) -> Result<()> {
        if causes.is_empty() { Ok(()) } else { Err(self.resource.invalid(meta(object, "name"), causes)) }
    }

    /// Everything between decoding and storing: prune, default, admit, prepare, validate.
    fn settle(&mut self, server: &Server, new: &mut Value, old: Option<&Value>) -> Result<()> {
        let kind = self.resource.kind.clone();
        let schema = (kind.schema)();
        let unknown = schema.prune(new);
        self.report(unknown.into_iter().map(|path| format!("unknown field {path:?}")))?;
        schema.default(new);
        if let Some(default) = kind.hooks.default {
            default(new);
        }
        match old {
            None => metadata::prepare_create(self, new, self.now)?,
            Some(old) => metadata::prepare_update(self, new, old)?,
        }
        admission::admit(server, self, new, old)?;
        let strategy = self.strategy(old);
        if let Some(prepare) = kind.hooks.prepare
            && let Err(causes) = prepare(strategy, new, old)
        {
            self.invalid(new, causes)?;
        }
        if let Some(old) = old {
            metadata::count_generation(&kind, new, old)?;
        }
        let mut causes = metadata::validate(new, old);
        causes.extend(schema.validate(new));
        // The hook may rely on types being right.
        if causes.is_empty()
            && let Some(validate) = kind.hooks.validate
        {
            causes = validate(strategy, new, old);
        }
        self.invalid(new, causes)
    }

    /// Makes a new object.
    pub(crate) async fn create(&mut self, server: &Server, mut object: Value, applied: bool) -> Result<Written> {
        let generate = meta(&object, "name").is_empty();
        let _exclusive = admission::exclusive(server, &self.resource).await;
        self.settle(server, &mut object, None)?;
        let kind = self.resource.kind.clone();
        if !applied {
            lotse_schema::apply::track_update(None, &mut object, &self.manager(), &(kind.schema)());
        }
        if self.dry_run {
            if server.store.get(&self.resource.key(&self.namespace, meta(&object, "name"))).is_some() {
                return Err(self.already_exists(meta(&object, "name")));
            }
            return Ok(Written { bytes: serialise(&object)?, created: true });
        }
        kind.to_stored(&mut object).map_err(Error::Unconverted)?;
        for attempt in 0..ATTEMPTS {
            if generate && attempt > 0 {
                let name = object::generate_name(meta(&object, "generateName"));
                object::set_meta(&mut object, "name", Some(name.into()))?;
            }
            let key = self.resource.key(&self.namespace, meta(&object, "name"));
            match put(server, key, Expect::Absent, &object).await {
                Ok(entry) => return Ok(Written { bytes: view(&self.resource, &entry.value)?, created: true }),
                Err(StoreError::Conflict { .. }) if generate => {}
                Err(StoreError::Conflict { .. }) => return Err(self.already_exists(meta(&object, "name"))),
                Err(error) => return Err(store_error(error)),
            }
        }
        Err(self.already_exists(meta(&object, "name")))
    }

    fn already_exists(&self, name: &str) -> Error {
        Error::AlreadyExists {
            group: self.resource.kind.group.to_string(),
            resource: self.resource.kind.plural.to_string(),
            name: name.to_owned(),
        }
    }

    /// Changes an object: reads it, lets `change` make the new state, and stores that if nobody else wrote meanwhile; else
    /// again, unless the new state names the revision that it is for.
    pub(crate) async fn modify(
        &mut self,
        server: &Server,
        name: &str,
        mut change: impl FnMut(&mut Self, &Value) -> Result<Change>,
    ) -> Result<Written> {
        let key = self.resource.key(&self.namespace, name);
        let _exclusive = admission::exclusive(server, &self.resource).await;
        for _ in 0..ATTEMPTS {
            let entry = server.store.get(&key).ok_or_else(|| self.resource.not_found(name))?;
            let old = view_value(&self.resource, &entry.value)?;
            self.warnings.clear();
            let (mut new, applied) = match change(self, &old)? {
                Change::Update(new) => (new, false),
                Change::Applied(new) => (new, true),
            };
            let pinned = self.check_preconditions(name, &new, &old)?;
            self.settle(server, &mut new, Some(&old))?;
            let kind = self.resource.kind.clone();
            if metadata::same(&new, &old) {
                return Ok(Written { bytes: view(&self.resource, &entry.value)?, created: false });
            }
            if !applied {
                lotse_schema::apply::track_update(Some(&old), &mut new, &self.manager(), &(kind.schema)());
            }
            if self.dry_run {
                object::set_meta(&mut new, "resourceVersion", Some(entry.revision.to_string().into()))?;
                return Ok(Written { bytes: serialise(&new)?, created: false });
            }
            let gone = deletion::finished(&self.resource, &new);
            kind.to_stored(&mut new).map_err(Error::Unconverted)?;
            let expect = Expect::Revision(entry.revision);
            let outcome = if gone {
                remove(server, key.clone(), expect, &new).await
            } else {
                put(server, key.clone(), expect, &new).await
            };
            match outcome {
                Ok(entry) => return Ok(Written { bytes: view(&self.resource, &entry.value)?, created: false }),
                Err(StoreError::Conflict { .. }) if pinned => return Err(self.modified(name)),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(store_error(error)),
            }
        }
        Err(self.modified(name))
    }

    fn modified(&self, name: &str) -> Error {
        self.resource.conflict(
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// Whether the new state names its revision (`Err` if that is not the current one), and that it is the same object.
    fn check_preconditions(&self, name: &str, new: &Value, old: &Value) -> Result<bool> {
        let uid = meta(new, "uid");
        if !uid.is_empty() && uid != meta(old, "uid") {
            return Err(self.resource.conflict(
                name,
                format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", meta(old, "uid")),
            ));
        }
        let revision = meta(new, "resourceVersion");
        if revision.is_empty() || revision == "0" {
            return Ok(false);
        }
        if revision != meta(old, "resourceVersion") {
            return Err(self.modified(name));
        }
        Ok(true)
    }
}

fn field_manager(query: &Query, agent: Option<&str>) -> Result<String> {
    match query.get("fieldManager") {
        Some(name) if name.chars().count() > 128 => {
            Err(Error::bad_request("fieldManager: Too long: may not be more than 128 characters"))
        }
        Some(name) if name.chars().any(char::is_control) => {
            Err(Error::bad_request("fieldManager: Invalid value: should only contain printable characters"))
        }
        Some(name) => Ok(name.to_owned()),
        None => {
            let agent = agent.unwrap_or_default().split('/').next().unwrap_or_default();
            let name: String = agent.chars().filter(|c| !c.is_control()).take(128).collect();
            Ok(if name.is_empty() { "unknown".to_owned() } else { name })
        }
    }
}

fn serialise(object: &Value) -> Result<Bytes> {
    serde_json::to_vec(object).map(Into::into).map_err(|source| Error::internal("serialising an object", source))
}

/// Stores an object.
pub(crate) async fn put(server: &Server, key: String, expect: Expect, object: &Value) -> Result<Entry, StoreError> {
    let encoded = encode(object)?;
    let encode = Box::new(move |revision| encoded.finish(revision));
    server.store.commit(StoreChange::Put { key: key.into(), expect, encode }).await
}

/// Removes an object; watchers see this final state.
pub(crate) async fn remove(server: &Server, key: String, expect: Expect, object: &Value) -> Result<Entry, StoreError> {
    let encoded = encode(object)?;
    let encode = Box::new(move |revision| encoded.finish(revision));
    server.store.commit(StoreChange::Delete { key: key.into(), expect, encode }).await
}

fn encode(object: &Value) -> Result<Encoded, StoreError> {
    Encoded::new(object).map_err(|error| StoreError::Backend { operation: "encoding", source: Box::new(error) })
}

/// A failure of the store as the client sees it.
pub(crate) fn store_error(error: StoreError) -> Error {
    match error {
        StoreError::Compacted { requested, oldest } => {
            Error::Expired(format!("too old resource version: {requested} ({oldest})"))
        }
        StoreError::Future { requested, newest } => Error::FutureRevision { requested, newest },
        StoreError::Closed => Error::Unavailable("the server is shutting down".to_owned()),
        other => Error::internal("writing to the store", other),
    }
}

/// `POST` to a collection.
pub(crate) async fn create(server: &Arc<Server>, call: &mut Call) -> Result<Response> {
    let mut write = Write::new(call)?;
    let format = Format::of(Some(call.content_type()))?;
    let body = call.body(server).await?;
    let object = write.decode(&body, format)?;
    let written = write.create(server, object, false).await?;
    Ok(with_warnings(object_response(call, StatusCode::CREATED, written.bytes)?, &write.warnings))
}

/// `PUT` to an object or its status.
pub(crate) async fn update(server: &Arc<Server>, call: &mut Call) -> Result<Response> {
    let mut write = Write::new(call)?;
    let format = Format::of(Some(call.content_type()))?;
    let body = call.body(server).await?;
    let object = write.decode(&body, format)?;
    let warnings = std::mem::take(&mut write.warnings);
    let name = call.target.name.clone();
    let mut object = Some(object);
    let written = write
        .modify(server, &name, |_, _| {
            // A retry decodes again instead of keeping a copy for the rare case.
            let object = match object.take() {
                Some(object) => object,
                None => body::decode(&body, format)?.value,
            };
            Ok(Change::Update(object))
        })
        .await?;
    write.warnings.extend(warnings);
    Ok(with_warnings(object_response(call, StatusCode::OK, written.bytes)?, &write.warnings))
}
