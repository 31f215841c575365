//! From a kustomization, and those that it refers to, to objects.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    charts, configure, crds,
    field_spec::Specs,
    kustomization::{COMPONENT, Kustomization, Var, decode},
    loader::{self, Loader},
    name_reference,
    resource::{Behavior, Id, Resource, merge_words, new_key},
    schema::Schema,
    transformers::{self, Transformer},
    vars,
};
use crate::{
    Error,
    goyaml::{self, Node, ScalarStyle},
    join,
};

/// Objects and what is known about them so far.
pub(super) struct Accumulator {
    pub(super) resources: Vec<Resource>,
    /// Ids of the objects, when nothing has changed them since.
    ids: Option<HashSet<Box<str>>>,
    /// Paths of the transformers; none before the first kustomization added its own.
    specs: Option<Arc<Specs>>,
    vars: Vec<Var>,
    /// Schema for strategic merges.
    pub(super) schema: Arc<Schema>,
}

// === impl Accumulator ===

impl Default for Accumulator {
    fn default() -> Self {
        Self { resources: Vec::new(), ids: None, specs: None, vars: Vec::new(), schema: Schema::built_in() }
    }
}

impl Accumulator {
    /// Adds all that a kustomization says.
    pub(super) fn accumulate(
        &mut self,
        loader: &Loader<'_>,
        kustomization: Kustomization,
        build_metadata: &[String],
    ) -> Result<(), Error> {
        if let Some(schema) = openapi(loader, &kustomization)? {
            self.schema = schema;
        }
        for path in &kustomization.resources {
            self.add_entry(loader, path, build_metadata)?;
        }
        self.configure(loader, &kustomization)?;
        for resource in configure::generators(loader, &kustomization, build_metadata)? {
            self.absorb(resource).map_err(|error| loader.error(error))?;
        }
        for resource in charts::charts(loader, &kustomization)? {
            self.absorb(resource).map_err(|error| loader.error(error))?;
        }
        self.ids = None;
        for path in &kustomization.components {
            let directory = loader.directory(path)?;
            let component = directory.kustomization()?;
            if component.kind != COMPONENT.1 {
                return Err(loader.error(format!("components: {path:?} is a {}, not a Component", component.kind)));
            }
            self.accumulate(&directory, component, build_metadata)?;
            if let Some(specs) = self.specs.take() {
                self.merge_specs(specs).map_err(|error| loader.error(error))?;
            }
        }
        self.ids = None;
        let specs = self.specs();
        for transformer in configure::transformers(loader, &kustomization, &specs, build_metadata)? {
            self.apply(loader, &transformer)?;
        }
        vars::note(&mut self.resources, &kustomization.vars).map_err(|error| loader.error(error))?;
        self.merge_vars(kustomization.vars).map_err(|error| loader.error(error))
    }

    fn apply(&mut self, loader: &Loader<'_>, transformer: &Transformer<'_>) -> Result<(), Error> {
        self.ids = None;
        transformer.apply(&mut self.resources, &self.schema).map_err(|error| loader.error(error))
    }

    /// An entry of `resources`: a file or a directory.
    pub(super) fn add_entry(
        &mut self,
        loader: &Loader<'_>,
        path: &str,
        build_metadata: &[String],
    ) -> Result<(), Error> {
        if loader.is_file(path) {
            let full = loader.resolve(path)?;
            let mut found = loader::resources(&full, &loader.file(path)?)?;
            if build_metadata.iter().any(|option| option == "originAnnotations") {
                let origin = format!("path: {}\n", loader.relative(&full));
                found.iter_mut().for_each(|resource| resource.origin = Some(origin.clone()));
            }
            return self.append(loader, found);
        }
        if let Some(content) = loader.remote_file(path)? {
            return self.append(loader, loader::resources(path, &content)?);
        }
        let directory = loader.directory(path)?;
        let kustomization = directory.kustomization()?;
        if kustomization.kind == COMPONENT.1 {
            return Err(loader.error(format!("resources: {path:?} is a Component; list it under components")));
        }
        let mut below = Self { schema: self.schema.clone(), ..Self::default() };
        below.accumulate(&directory, kustomization, build_metadata)?;
        self.schema = below.schema;
        if let Some(specs) = below.specs {
            self.merge_specs(specs).map_err(|error| loader.error(error))?;
        }
        self.merge_vars(below.vars).map_err(|error| loader.error(error))?;
        self.append(loader, below.resources)
    }

    pub(super) fn append(&mut self, loader: &Loader<'_>, more: Vec<Resource>) -> Result<(), Error> {
        let ids = self.ids.get_or_insert_with(|| self.resources.iter().map(one_word).collect());
        for resource in more {
            if !ids.insert(one_word(&resource)) {
                let id = resource.id();
                return Err(loader.error(format!("{} is there already; an id may be there only once", id.describe())));
            }
            self.resources.push(resource);
        }
        if self.resources.len() > loader.options.limits.objects {
            return Err(Error::Limit {
                path: loader.root.clone(),
                what: "number of objects",
                limit: loader.options.limits.objects as u64,
            });
        }
        Ok(())
    }

    /// Adds a generated object, or merges it into the one that it is for.
    fn absorb(&mut self, mut new: Resource) -> Result<(), String> {
        let id = new.id().into_owned();
        let mut matching = self
            .resources
            .iter_mut()
            .filter(|resource| resource.is_or_was_called(&id.name) && resource.ids().any(|own| own.matches(&id)));
        let (first, second) = (matching.next(), matching.next().is_some());
        match (first, second, new.behavior) {
            (_, true, _) => Err(format!("several objects could be what {} is to be merged with", id.describe())),
            (None, _, Behavior::Create) => {
                self.resources.push(new);
                Ok(())
            }
            (None, ..) => Err(format!("{} does not exist, so nothing can be merged or replaced", id.describe())),
            (Some(_), _, Behavior::Create) => {
                Err(format!("{} exists already; behavior must be merge or replace", id.describe()))
            }
            (Some(old), _, behavior) => {
                for field in ["labels", "annotations"] {
                    new.set_words(field, merge_words(old.words(field), new.words(field)));
                }
                new.set_name(old.name());
                new.set_namespace(old.namespace());
                if behavior == Behavior::Merge {
                    merge_data(old, &mut new);
                    new.origin.clone_from(&old.origin);
                }
                new.previous.clone_from(&old.previous);
                new.prefixes.clone_from(&old.prefixes);
                new.suffixes.clone_from(&old.suffixes);
                new.needs_hash &= old.needs_hash;
                new.vars.clone_from(&old.vars);
                new.behavior = old.behavior;
                new.transformations.clone_from(&old.transformations);
                *old = new;
                Ok(())
            }
        }
    }

    /// `configurations` and `crds`.
    fn configure(&mut self, loader: &Loader<'_>, kustomization: &Kustomization) -> Result<(), Error> {
        let mut own = Specs::built_in();
        let mut more = Specs::default();
        for path in &kustomization.configurations {
            let refuse = |error: String| loader.error(format!("configurations: {path}: {error}"));
            let content = loader.file(path)?;
            for document in loader::values(&join(&loader.root, path), &content)?.iter().filter(|value| !value.is_null())
            {
                more.merge(decode(document).map_err(refuse)?).map_err(refuse)?;
            }
        }
        if !kustomization.configurations.is_empty() {
            Arc::make_mut(&mut own).merge(more).map_err(|error| loader.error(format!("configurations: {error}")))?;
        }
        self.merge_specs(own).map_err(|error| loader.error(format!("configurations: {error}")))?;
        for path in &kustomization.crds {
            let refuse = |error: String| loader.error(format!("crds: {path}: {error}"));
            let specs = crds::specs(&loader.file(path)?).map_err(refuse)?;
            self.merge_specs(Arc::new(specs)).map_err(refuse)?;
        }
        Ok(())
    }

    fn specs(&self) -> Arc<Specs> {
        self.specs.clone().unwrap_or_else(Specs::built_in)
    }

    fn merge_specs(&mut self, more: Arc<Specs>) -> Result<(), String> {
        match &mut self.specs {
            None if Arc::ptr_eq(&more, &Specs::built_in()) => self.specs = Some(more),
            None => self.specs = Some(Arc::new(Arc::unwrap_or_clone(more).taken_over()?)),
            Some(own) if Arc::ptr_eq(own, &more) => {}
            Some(own) => Arc::make_mut(own).merge(Arc::unwrap_or_clone(more))?,
        }
        Ok(())
    }

    fn merge_vars(&mut self, more: Vec<Var>) -> Result<(), String> {
        for var in more {
            if self.vars.iter().any(|known| known.name == var.name) {
                return Err(format!("var {:?} is defined twice", var.name));
            }
            self.vars.push(var);
        }
        Ok(())
    }

    /// What happens once, at the root: hashes, references, variables, and objects that are not meant for the cluster.
    pub(super) fn finish(mut self, loader: &Loader<'_>) -> Result<Vec<Resource>, Error> {
        let refuse = |error: String| loader.error(error);
        let specs = self.specs();
        self.resources.iter_mut().try_for_each(transformers::add_hash).map_err(refuse)?;
        name_reference::fix_references(&mut self.resources, &specs).map_err(refuse)?;
        vars::resolve(&mut self.resources, &self.vars, &specs.var_reference).map_err(refuse)?;
        transformers::unique(&self.resources).map_err(|id| {
            loader.error(format!("there are two objects {} in the end; an id may be there only once", id.describe()))
        })?;
        self.resources.retain(|resource| {
            let local = resource.node.at(&["metadata", "annotations", "config.kubernetes.io/local-config"]);
            local.and_then(Node::text).is_none_or(|value| value == "false")
        });
        Ok(self.resources)
    }
}

/// An object's id in one piece; alike for ids that match.
fn one_word(resource: &Resource) -> Box<str> {
    let id = resource.id();
    let Id { gvk, name, namespace } = id.key();
    [gvk.group, "\0", gvk.version, "\0", gvk.kind, "\0", namespace, "\0", name].concat().into()
}

/// The schema of `openapi`, if there is one.
fn openapi(loader: &Loader<'_>, kustomization: &Kustomization) -> Result<Option<Arc<Schema>>, Error> {
    let (path, version) = (kustomization.openapi.get("path"), kustomization.openapi.get("version"));
    if path.is_some() && version.is_some() {
        return Err(loader.error("openapi: path and version exclude each other"));
    }
    if let Some(version) = version.filter(|version| !version.is_empty() && *version != "v1.21.2" && *version != "v1212")
    {
        return Err(loader.error(format!("openapi: there is no built-in schema {version:?}, only v1.21.2")));
    }
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(None) };
    let documents = loader::values(&join(&loader.root, path), &loader.file(path)?)?;
    let document = documents.first().map(goyaml::to_json_value).unwrap_or_default();
    Ok(Some(Arc::new(Schema::from_openapi(&document))))
}

/// Keys of the old object that the new one does not have are kept, sorted by name.
fn merge_data(old: &Resource, new: &mut Resource) {
    for field in ["data", "binaryData"] {
        let mut merged: HashMap<String, Node> = HashMap::new();
        for resource in [old, &*new] {
            for (key, value) in resource.node.get(field).map(Node::entries).unwrap_or_default() {
                merged.insert(key.value.to_string(), value.clone());
            }
        }
        let mut entries: Vec<_> = merged.into_iter().collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        if entries.is_empty() {
            new.node.remove(field);
            continue;
        }
        let entries = entries.into_iter().map(|(key, value)| (new_key(&key), as_text(value))).collect();
        new.node.set(field, Node::Map(entries));
    }
}

/// Merged values are words, whatever they were before.
fn as_text(value: Node) -> Node {
    let text = value.text().unwrap_or_default().to_owned();
    match Node::string(text) {
        Node::Scalar(mut scalar) => {
            if scalar.value.contains('\n') {
                scalar.style = ScalarStyle::Literal;
            }
            Node::Scalar(scalar)
        }
        other => other,
    }
}
