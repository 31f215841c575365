//! `metadata.managedFields`: who owns what.

use serde_json::{Map, Value, json};

use super::Manager;
use crate::fields::Set;

/// More managers that only update than this are summed up as one (`--max-update-managers` of the API machinery).
const MAX_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// One manager's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) operation: Operation,
    /// RFC 3339, seconds.
    pub(super) time: Option<String>,
    pub(super) manager: String,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) fields: Set,
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(manager: &Manager<'_>, operation: Operation) -> Self {
        Self {
            operation,
            time: Some(time(manager)),
            manager: manager.name.to_owned(),
            api_version: manager.api_version.to_owned(),
            subresource: manager.subresource.unwrap_or_default().to_owned(),
            fields: Set::default(),
        }
    }

    /// Whether it is this manager's: an applier has one entry whatever version it speaks.
    pub(super) fn is_of(&self, manager: &Manager<'_>, operation: Operation) -> bool {
        self.operation == operation
            && self.manager == manager.name
            && self.subresource == manager.subresource.unwrap_or_default()
            && (operation == Operation::Apply || self.api_version == manager.api_version)
    }

    /// `"kubectl" using apps/v1`, as conflicts name it.
    pub(super) fn title(&self) -> String {
        let mut title = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            title.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            title.push_str(&format!(" using {}", self.api_version));
        }
        title
    }

    fn emit(&self) -> Value {
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut entry = Map::new();
        entry.insert("apiVersion".to_owned(), json!(self.api_version));
        entry.insert("fieldsType".to_owned(), json!("FieldsV1"));
        entry.insert("fieldsV1".to_owned(), self.fields.emit());
        entry.insert("manager".to_owned(), json!(self.manager));
        entry.insert("operation".to_owned(), json!(operation));
        if !self.subresource.is_empty() {
            entry.insert("subresource".to_owned(), json!(self.subresource));
        }
        if let Some(time) = &self.time {
            entry.insert("time".to_owned(), json!(time));
        }
        Value::Object(entry)
    }
}

pub(super) fn time(manager: &Manager<'_>) -> String {
    manager.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What an object says about its managers.
pub(super) enum Stated {
    Entries(Vec<Entry>),
    /// Nothing, or nothing readable: clients that do not know the field must not destroy it.
    Nothing,
    /// `[{}]`: forget all managers.
    Reset,
}

/// Reads the field of an object.
pub(super) fn read(object: Option<&Value>) -> Stated {
    let Some(Value::Array(list)) = object.and_then(|object| object.pointer("/metadata/managedFields")) else {
        return Stated::Nothing;
    };
    if let [Value::Object(only)] = list.as_slice()
        && only.is_empty()
    {
        return Stated::Reset;
    }
    let entries: Option<Vec<Entry>> = list.iter().map(parse).collect();
    match entries {
        Some(entries) if !entries.is_empty() => Stated::Entries(entries),
        _ => Stated::Nothing,
    }
}

fn parse(value: &Value) -> Option<Entry> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    Some(Entry {
        operation: match text("operation")? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        },
        time: text("time").map(str::to_owned),
        manager: text("manager").unwrap_or_default().to_owned(),
        api_version: text("apiVersion")?.to_owned(),
        subresource: text("subresource").unwrap_or_default().to_owned(),
        fields: match value.get("fieldsV1") {
            None | Some(Value::Null) => Set::default(),
            Some(fields) => Set::parse(fields).ok()?,
        },
    })
}

/// Writes the field into an object, sorted as the API server sorts it; entries without fields vanish.
pub(super) fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    cap(&mut entries);
    entries.sort_by(|a, b| {
        (a.operation, &a.time, &a.manager, &a.api_version, &a.subresource).cmp(&(
            b.operation,
            &b.time,
            &b.manager,
            &b.api_version,
            &b.subresource,
        ))
    });
    let Value::Object(fields) = object else { return };
    let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    if metadata.is_null() {
        *metadata = Value::Object(Map::new());
    }
    let Value::Object(metadata) = metadata else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), entries.iter().map(Entry::emit).collect());
    }
}

/// Sums up the oldest updaters.
fn cap(entries: &mut Vec<Entry>) {
    let mut updaters: Vec<usize> =
        (0..entries.len()).filter(|at| entries[*at].operation == Operation::Update).collect();
    if updaters.len() <= MAX_UPDATERS {
        return;
    }
    updaters.sort_by(|a, b| (&entries[*a].time, &entries[*a].manager).cmp(&(&entries[*b].time, &entries[*b].manager)));
    updaters.truncate(updaters.len() - MAX_UPDATERS + 1);
    let mut ancient: Vec<Entry> = Vec::new();
    for at in &updaters {
        let old = &entries[*at];
        let same = |entry: &&mut Entry| entry.api_version == old.api_version && entry.subresource == old.subresource;
        match ancient.iter_mut().find(same) {
            Some(entry) => {
                entry.fields.union(&old.fields);
                entry.time.clone_from(&old.time);
            }
            None => ancient.push(Entry { manager: ANCIENT.to_owned(), ..old.clone() }),
        }
    }
    let mut at = 0;
    entries.retain(|_| {
        at += 1;
        !updaters.contains(&(at - 1))
    });
    entries.extend(ancient);
}
