//! Server-side apply (KEP-555) with the semantics of structured-merge-diff: every field has owners, a configuration takes
//! over the fields it sets, and what its manager no longer sets and nobody else owns is removed.
//!
//! Two rules are the caller's: fields that a request may not write (`status` of the main resource, everything else of a
//! `status` subresource) are taken from the live object, or left out of the configuration, before they come here; and
//! the configuration names the kind and version of the schema.

mod managed;
mod typed;

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use serde_json::{Value, json};

use crate::{Cause, Reason, Schema, fields::Set, path::Path};
use managed::{Entry, Operation, Stated};
use typed::Place;

/// Owns what was there before the first apply, where nobody was recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub struct Manager<'a> {
    /// `fieldManager` of the request, or what stands before the `/` of its user agent.
    pub name: &'a str,
    /// The version that the request speaks: `apps/v1`.
    pub api_version: &'a str,
    /// `status`, `scale`; absent for the main resource.
    pub subresource: Option<&'a str>,
    /// The time of the request.
    pub now: jiff::Timestamp,
}

/// A field that another manager owns with another value.
///
/// Displays as kubectl prints it: `conflict with "kubectl" using apps/v1: .spec.replicas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The owner, as in `"kubectl" using apps/v1`.
    pub manager: String,
    /// `.spec.replicas`, for `causes[].field`.
    pub field: String,
    /// `conflict with "kubectl" using apps/v1`, for `causes[].message`.
    pub message: String,
}

/// Why an apply was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// Other managers own fields with other values (`409 Conflict`; the text is the status message).
    Conflicts(Vec<Conflict>),
    /// The configuration is malformed.
    Invalid(Vec<Cause>),
}

// === impl Conflict ===

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.message, self.field)
    }
}

// === impl ApplyError ===

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflicts(conflicts) => match conflicts.as_slice() {
                [only] => write!(f, "Apply failed with 1 conflict: {only}"),
                _ => {
                    write!(f, "Apply failed with {} conflicts: ", conflicts.len())?;
                    let mut by_manager: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
                    for conflict in conflicts {
                        by_manager.entry(&conflict.manager).or_default().push(&conflict.field);
                    }
                    let mut lines = Vec::new();
                    for (manager, fields) in by_manager {
                        lines.push(format!("conflicts with {manager}:"));
                        lines.extend(fields.into_iter().map(|field| format!("- {field}")));
                    }
                    f.write_str(&lines.join("\n"))
                }
            },
            Self::Invalid(causes) => {
                let causes: Vec<String> =
                    causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
                write!(f, "the applied configuration is invalid: {}", causes.join(", "))
            }
        }
    }
}

impl std::error::Error for ApplyError {}

/// Applies a configuration, and records its manager. The result is `live` itself, time stamps included, when nothing
/// changes.
///
/// # Errors
/// When other managers own fields with other values and `force` is not set, and when items of the configuration cannot be told
/// apart, fields are unknown to the schema, or it brings `managedFields` of its own.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    manager: &Manager<'_>,
    force: bool,
    schema: &Schema,
) -> Result<Value, ApplyError> {
    let place = Place::root(schema);
    check(config, schema, &place)?;
    let mut entries = match (managed::read(live), live) {
        (Stated::Entries(entries), _) => entries,
        (_, None) => Vec::new(),
        (_, Some(live)) => before_first_apply(live, manager, &place),
    };
    let before = entries.clone();
    let base = without_managed_fields(live);

    let own = entries.iter().position(|entry| entry.is_of(manager, Operation::Apply));
    let last = own.map(|at| entries.remove(at));
    let mut wanted = Entry::new(manager, Operation::Apply);
    wanted.fields = place.fields_of(config);

    let mut merged = place.merge(Some(base.clone()), config);
    if let Some(last) = last.as_ref().filter(|last| !last.fields.difference(&wanted.fields).is_empty()) {
        merged = prune(&place, &merged, &last.fields, &wanted.fields, &entries);
    }
    let difference = place.compare(Some(&base), Some(&merged));

    let taken = difference.taken();
    let mut conflicts = Vec::new();
    for entry in &mut entries {
        let contested = entry.fields.intersection(&taken);
        if !force {
            conflicts.extend(contested.paths().into_iter().map(|field| {
                let manager = entry.title();
                Conflict { message: format!("conflict with {manager}"), manager, field }
            }));
        }
        entry.fields = entry.fields.difference(&contested).difference(&difference.removed);
    }
    if !conflicts.is_empty() {
        return Err(ApplyError::Conflicts(conflicts));
    }

    strip_never_owned(&mut wanted.fields);
    if let Some(last) = last
        && last.fields == wanted.fields
        && last.api_version == wanted.api_version
        && difference.is_empty()
    {
        wanted.time = last.time;
    }
    entries.push(wanted);
    if difference.is_empty() && same(&before, &entries) {
        return Ok(live.cloned().unwrap_or(merged));
    }
    managed::write(&mut merged, entries);
    Ok(merged)
}

/// Records ownership after a create, update or patch: changed fields go to `manager` with operation `Update`, removed ones
/// leave everybody. A write that changes nothing leaves the record as it is.
pub fn track_update(old: Option<&Value>, new: &mut Value, manager: &Manager<'_>, schema: &Schema) {
    let mut entries = match (managed::read(Some(new)), managed::read(old)) {
        (Stated::Reset, _) => return managed::write(new, Vec::new()),
        (Stated::Entries(entries), _) | (Stated::Nothing, Stated::Entries(entries)) => entries,
        // Someone erased the record; it starts again with the next apply.
        (Stated::Nothing, _) if old.is_some() => return managed::write(new, Vec::new()),
        (Stated::Nothing, _) => Vec::new(),
    };
    let place = Place::root(schema);
    let nothing = json!({});
    let mut difference = place.compare(Some(old.unwrap_or(&nothing)), Some(new));
    for set in [&mut difference.added, &mut difference.modified, &mut difference.removed] {
        strip_never_owned(set);
    }
    let taken = difference.taken();
    for entry in &mut entries {
        entry.fields = entry.fields.difference(&taken).difference(&difference.removed);
    }
    if !taken.is_empty() {
        let at = entries.iter().position(|entry| entry.is_of(manager, Operation::Update));
        match at.and_then(|at| entries.get_mut(at)) {
            Some(entry) => {
                entry.fields.union(&taken);
                entry.time = Some(managed::time(manager));
            }
            None => entries.push(Entry { fields: taken, ..Entry::new(manager, Operation::Update) }),
        }
    }
    managed::write(new, entries);
}

fn check(config: &Value, schema: &Schema, place: &Place<'_>) -> Result<(), ApplyError> {
    let mut causes = Vec::new();
    if !config.is_object() {
        let message = "Invalid value: an applied configuration is an object".to_owned();
        causes.push(Cause { reason: Reason::FieldValueTypeInvalid, message, field: String::new() });
    }
    if config.pointer("/metadata/managedFields").is_some_and(|fields| !fields.is_null()) {
        let message = "Invalid value: metadata.managedFields must be nil".to_owned();
        causes.push(Cause { reason: Reason::FieldValueInvalid, message, field: "metadata.managedFields".to_owned() });
    }
    causes.extend(schema.unknown_fields(config).into_iter().map(|field| Cause {
        reason: Reason::FieldValueInvalid,
        message: "field not declared in schema".to_owned(),
        field: format!(".{field}"),
    }));
    if causes.is_empty() {
        place.check(config, &Path::ROOT, &mut causes);
    }
    if causes.is_empty() { Ok(()) } else { Err(ApplyError::Invalid(causes)) }
}

/// Takes out what the manager set last and does not set any more, unless another owner is left.
fn prune(place: &Place<'_>, merged: &Value, last: &Set, wanted: &Set, others: &[Entry]) -> Value {
    let last = place.with_named_fields(last);
    let mut owned = wanted.clone();
    for entry in others {
        owned.union(&entry.fields);
    }
    owned.union(&NEVER_OWNED);
    let owned = place.with_named_fields(&owned);
    let fields_of = |value: &Value| place.with_named_fields(&place.fields_of(value));
    let empty = || json!({});

    let all = fields_of(merged);
    let without_last = place.remove(merged, &last).unwrap_or_else(empty);
    // Back comes what somebody owns …
    let gone = all.difference(&fields_of(&without_last)).difference(&owned);
    let without_gone = place.remove(merged, &gone).unwrap_or_else(empty);
    // … and what went along without having been the manager's.
    let gone = all.difference(&fields_of(&without_gone)).intersection(&last);
    place.remove(merged, &gone).unwrap_or_else(empty)
}

fn before_first_apply(live: &Value, manager: &Manager<'_>, place: &Place<'_>) -> Vec<Entry> {
    let api_version = live.get("apiVersion").and_then(Value::as_str).unwrap_or(manager.api_version);
    let owner = Manager { name: BEFORE_FIRST_APPLY, api_version, subresource: None, now: manager.now };
    let mut fields = place.fields_of(&without_managed_fields(Some(live)));
    strip_never_owned(&mut fields);
    vec![Entry { fields, ..Entry::new(&owner, Operation::Update) }]
}

/// The same entries, whatever their order.
fn same(before: &[Entry], after: &[Entry]) -> bool {
    let after: Vec<&Entry> = after.iter().filter(|entry| !entry.fields.is_empty()).collect();
    before.len() == after.len() && before.iter().all(|entry| after.contains(&entry))
}

fn without_managed_fields(object: Option<&Value>) -> Value {
    let mut object = object.cloned().unwrap_or_else(|| json!({}));
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("managedFields");
    }
    object
}

/// Fields that belong to the server or name the object; nobody owns them.
static NEVER_OWNED: LazyLock<Set> = LazyLock::new(|| {
    let mut set = Set::default();
    set.insert("f:apiVersion");
    set.insert("f:kind");
    set.insert("f:metadata");
    let mut metadata = Set::default();
    for name in [
        "clusterName",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    ] {
        metadata.insert(&format!("f:{name}"));
    }
    set.graft("f:metadata", metadata);
    set
});

fn strip_never_owned(set: &mut Set) {
    for (element, _, below) in NEVER_OWNED.iter() {
        set.edit(element, |nested| {
            for (element, ..) in below.iter() {
                nested.remove(element, true);
            }
        });
        set.remove(element, element != "f:metadata");
    }
}

#[cfg(test)]
mod tests;
