//! Builder for the rows of the table: a row says only where a kind differs from the plain case.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use lotse_schema::Schema;

use crate::{
    Column, Hooks, Kind, ScalePaths, Storage, StoredAs, columns,
    kind::{DefaultHook, PrepareHook, ValidateHook},
};

/// Scope of a kind, read from the type.
pub(crate) trait Scope {
    const NAMESPACED: bool;
}

impl Scope for k8s_openapi::NamespaceResourceScope {
    const NAMESPACED: bool = true;
}

impl Scope for k8s_openapi::ClusterResourceScope {
    const NAMESPACED: bool = false;
}

/// A plain stored kind with the names, scope and schema of the type.
pub(crate) fn row<K>() -> Row
where
    K: k8s_openapi::Resource + schemars::JsonSchema + 'static,
    K::Scope: Scope,
{
    let made = OnceLock::new();
    Row(Kind {
        group: Cow::Borrowed(K::GROUP),
        version: Cow::Borrowed(K::VERSION),
        kind: Cow::Borrowed(K::KIND),
        plural: Cow::Borrowed(K::URL_PATH_SEGMENT),
        singular: Cow::Owned(K::KIND.to_lowercase()),
        list_kind: Cow::Owned(format!("{}List", K::KIND)),
        short_names: Vec::new(),
        categories: Vec::new(),
        namespaced: K::Scope::NAMESPACED,
        status: false,
        scale: None,
        endpoints: Vec::new(),
        storage: Storage::Stored,
        stored_as: None,
        columns: columns::name_and_created_at(),
        selectable_fields: Vec::new(),
        schema: Arc::new(move || made.get_or_init(Schema::of::<K>).clone()),
        definitions: Some(lotse_schema::openapi::Definitions::add::<K>),
        hooks: Hooks::default(),
        custom: false,
    })
}

/// A row under construction.
pub(crate) struct Row(Kind);

impl From<Row> for Arc<Kind> {
    fn from(row: Row) -> Self {
        Arc::new(row.0)
    }
}

fn borrowed(names: &[&'static str]) -> Vec<Cow<'static, str>> {
    names.iter().map(|name| Cow::Borrowed(*name)).collect()
}

// === impl Row ===

impl Row {
    pub(crate) fn short(mut self, names: &[&'static str]) -> Self {
        self.0.short_names = borrowed(names);
        self
    }

    pub(crate) fn category(mut self, category: &'static str) -> Self {
        self.0.categories.push(Cow::Borrowed(category));
        self
    }

    pub(crate) fn status(mut self) -> Self {
        self.0.status = true;
        self
    }

    /// `/spec/replicas` and `/status/replicas`, with the pods' selector where there is one.
    pub(crate) fn scale(mut self, selector: &'static str) -> Self {
        self.0.scale = Some(ScalePaths {
            spec_replicas: Cow::Borrowed("/spec/replicas"),
            status_replicas: Cow::Borrowed("/status/replicas"),
            selector: Some(Cow::Borrowed(selector)),
        });
        self
    }

    pub(crate) fn endpoints(mut self, names: &[&'static str]) -> Self {
        self.0.endpoints = borrowed(names);
        self
    }

    pub(crate) fn review(mut self) -> Self {
        self.0.storage = Storage::Review;
        self
    }

    pub(crate) fn stored_as(mut self, stored_as: StoredAs) -> Self {
        self.0.stored_as = Some(stored_as);
        self
    }

    pub(crate) fn columns(mut self, columns: Vec<Column>) -> Self {
        self.0.columns = columns;
        self
    }

    /// Field selectors, named as their path: `spec.nodeName` is `/spec/nodeName`.
    pub(crate) fn selectable(mut self, fields: &[&'static str]) -> Self {
        let pairs =
            fields.iter().map(|field| (Cow::Borrowed(*field), Cow::Owned(format!("/{}", field.replace('.', "/")))));
        self.0.selectable_fields.extend(pairs);
        self
    }

    /// A field selector whose name is not its path.
    pub(crate) fn selectable_as(mut self, field: &'static str, pointer: &'static str) -> Self {
        self.0.selectable_fields.push((Cow::Borrowed(field), Cow::Borrowed(pointer)));
        self
    }

    pub(crate) fn default(mut self, hook: DefaultHook) -> Self {
        self.0.hooks.default = Some(hook);
        self
    }

    pub(crate) fn prepare(mut self, hook: PrepareHook) -> Self {
        self.0.hooks.prepare = Some(hook);
        self
    }

    pub(crate) fn validate(mut self, hook: ValidateHook) -> Self {
        self.0.hooks.validate = Some(hook);
        self
    }
}
