//! Which lists a strategic merge patch merges, and by which keys.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use serde_json::Value;

/// The merge keys of an OpenAPI document.
#[derive(Debug, Default)]
pub(super) struct Schema {
    /// apiVersion, then kind, to a type.
    kinds: HashMap<String, HashMap<String, usize>>,
    types: Vec<Type>,
}

/// A type: an object with fields, a map with values of one type, or a list.
#[derive(Debug, Default)]
struct Type {
    fields: HashMap<String, usize>,
    values: Option<usize>,
    elements: Option<usize>,
    merge: Option<Merge>,
}

/// How the lists of a field merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Merge {
    /// Fields that identify an element; none for a list of words.
    pub(super) keys: Arc<[String]>,
}

/// A place in a schema.
pub(super) type TypeId = usize;

static BUILT_IN: LazyLock<Arc<Schema>> =
    LazyLock::new(|| Arc::new(Schema::from_table(include_str!("data/merge-keys.tsv"))));

// === impl Schema ===

impl Schema {
    /// Kubernetes 1.21, which Kustomize 5.5 has built in.
    pub(super) fn built_in() -> Arc<Self> {
        BUILT_IN.clone()
    }

    fn from_table(table: &str) -> Self {
        let mut schema = Self::default();
        let mut names: HashMap<&str, usize> = HashMap::new();
        for line in table.lines().filter(|line| !line.starts_with('#')) {
            let columns: Vec<&str> = line.split('\t').collect();
            match columns.as_slice() {
                ["kind", api_version, kind, name] => {
                    let id = schema.named(&mut names, name);
                    schema.add_kind((*api_version).to_owned(), kind, id);
                }
                ["field", owner, field, shape, child, keys] => {
                    let child = (*child != "-").then(|| schema.named(&mut names, child));
                    let id = match (*shape, child) {
                        (".", Some(child)) => child,
                        _ => {
                            let merge = match *keys {
                                "-" => None,
                                "=" => Some(Merge { keys: Arc::from([]) }),
                                keys => Some(Merge { keys: keys.split(',').map(str::to_owned).collect() }),
                            };
                            let of_map = *shape == "{}";
                            schema.add(Type {
                                values: child.filter(|_| of_map),
                                elements: child.filter(|_| !of_map),
                                merge,
                                ..Type::default()
                            })
                        }
                    };
                    let owner = schema.named(&mut names, owner);
                    if let Some(owner) = schema.types.get_mut(owner) {
                        owner.fields.insert((*field).to_owned(), id);
                    }
                }
                _ => {}
            }
        }
        schema
    }

    fn add(&mut self, kind: Type) -> usize {
        self.types.push(kind);
        self.types.len() - 1
    }

    fn add_kind(&mut self, api_version: String, kind: &str, id: usize) {
        self.kinds.entry(api_version).or_default().insert(kind.to_owned(), id);
    }

    fn named<'a>(&mut self, names: &mut HashMap<&'a str, usize>, name: &'a str) -> usize {
        *names.entry(name).or_insert_with(|| {
            self.types.push(Type::default());
            self.types.len() - 1
        })
    }

    /// Reads an OpenAPI 2 document.
    pub(super) fn from_openapi(document: &Value) -> Self {
        let mut schema = Self::default();
        let mut names = HashMap::new();
        let Some(definitions) = document.get("definitions").and_then(Value::as_object) else { return schema };
        for name in definitions.keys() {
            let id = schema.add(Type::default());
            names.insert(name.as_str(), id);
        }
        for (name, definition) in definitions {
            let built = schema.read(definition, &names, 0);
            if let (Some(&id), Some(built)) = (names.get(name.as_str()), built.and_then(|id| schema.types.get_mut(id)))
            {
                let built = std::mem::take(built);
                if let Some(slot) = schema.types.get_mut(id) {
                    *slot = built;
                }
            }
            let kinds = definition.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
            for kind in kinds.into_iter().flatten() {
                let part = |name: &str| kind.get(name).and_then(Value::as_str).unwrap_or_default();
                let (group, version) = (part("group"), part("version"));
                let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
                if let Some(&id) = names.get(name.as_str()) {
                    schema.add_kind(api_version, part("kind"), id);
                }
            }
        }
        schema
    }

    fn read(&mut self, definition: &Value, names: &HashMap<&str, usize>, depth: usize) -> Option<usize> {
        const MAX_DEPTH: usize = 64;
        if depth > MAX_DEPTH {
            return None;
        }
        if let Some(reference) = definition.get("$ref").and_then(Value::as_str) {
            return names.get(reference.trim_start_matches("#/definitions/")).copied();
        }
        let mut kind = Type::default();
        for (name, property) in definition.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if let Some(id) = self.read(property, names, depth + 1) {
                kind.fields.insert(name.clone(), id);
            }
        }
        kind.values = definition
            .get("additionalProperties")
            .filter(|values| values.is_object())
            .and_then(|values| self.read(values, names, depth + 1));
        kind.elements = definition.get("items").and_then(|items| self.read(items, names, depth + 1));
        let text = |name: &str| definition.get(name).and_then(Value::as_str);
        if text("x-kubernetes-patch-strategy").is_some_and(|strategy| strategy.contains("merge")) {
            let list = definition.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            let keys = match list {
                Some(keys) => keys.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                None => text("x-kubernetes-patch-merge-key").map(str::to_owned).into_iter().collect(),
            };
            kind.merge = Some(Merge { keys });
        }
        Some(self.add(kind))
    }

    pub(super) fn of_kind(&self, api_version: &str, kind: &str) -> Option<TypeId> {
        self.kinds.get(api_version)?.get(kind).copied()
    }

    pub(super) fn field(&self, of: TypeId, name: &str) -> Option<TypeId> {
        let of = self.types.get(of)?;
        of.fields.get(name).copied().or(of.values)
    }

    pub(super) fn elements(&self, of: TypeId) -> Option<TypeId> {
        self.types.get(of)?.elements
    }

    pub(super) fn merge(&self, of: TypeId) -> Option<&Merge> {
        self.types.get(of)?.merge.as_ref()
    }
}
