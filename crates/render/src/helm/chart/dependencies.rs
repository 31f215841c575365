//! Which subcharts take part, under which names, and what the parent sees of their values.

use serde_json::Value as Json;

use super::{
    Chart,
    metadata::{Dependency, is_compatible},
};
use crate::{
    goyaml::Bytes,
    helm::values::{
        Tree, Value,
        coalesce::{Nulls, coalesce, tables},
        leaf, table,
    },
};

/// Charts that take part in a render: aliases may make many of one, at every level anew.
const MAX_CHARTS: usize = 5_000;

impl Chart {
    /// Leaves out what is switched off by condition or tags, applies aliases, and takes over exported values.
    pub(in crate::helm) fn process_dependencies(&mut self, values: &Tree) -> Result<(), String> {
        self.switch(values, "", &mut 0)?;
        self.import_values()
    }

    /// `count` is how many charts take part so far.
    fn switch(&mut self, values: &Tree, path: &str, count: &mut usize) -> Result<(), String> {
        *count += 1;
        if *count > MAX_CHARTS {
            return Err(format!("there are more than {MAX_CHARTS} charts, aliases counted"));
        }
        if self.metadata.dependencies.is_empty() {
            return Ok(());
        }
        let is_wanted = |chart: &Chart, wanted: &Dependency| {
            chart.metadata.name == wanted.name && is_compatible(&wanted.version, &chart.metadata.version)
        };
        // What is there but not listed always takes part.
        let listed = |chart: &Chart| self.metadata.dependencies.iter().any(|wanted| is_wanted(chart, wanted));
        let mut charts: Vec<Chart> = self.dependencies.iter().filter(|chart| !listed(chart)).cloned().collect();
        for wanted in &mut self.metadata.dependencies {
            if let Some(chart) = self.dependencies.iter().find(|chart| is_wanted(chart, wanted)) {
                let mut chart = chart.clone();
                if !wanted.alias.is_empty() {
                    chart.metadata.name.clone_from(&wanted.alias);
                }
                charts.push(chart);
            }
            if !wanted.alias.is_empty() {
                wanted.name.clone_from(&wanted.alias);
            }
            wanted.enabled = true;
        }
        self.dependencies = charts;
        let values = coalesce(self, values, Nulls::Remove)?;
        for wanted in &mut self.metadata.dependencies {
            by_tags(wanted, &values);
            by_conditions(wanted, &values, path);
        }
        let listed = &mut self.metadata.dependencies;
        self.dependencies
            .retain(|chart| !listed.iter().any(|wanted| !wanted.enabled && wanted.name == chart.metadata.name));
        let off: Vec<String> =
            listed.iter().filter(|wanted| !wanted.enabled).map(|wanted| wanted.name.clone()).collect();
        listed.retain(|wanted| !off.contains(&wanted.name));
        for chart in &mut self.dependencies {
            let path = format!("{path}{}.", chart.metadata.name);
            chart.switch(&values, &path, count)?;
        }
        Ok(())
    }

    fn import_values(&mut self) -> Result<(), String> {
        for chart in &mut self.dependencies {
            chart.import_values()?;
        }
        if self.metadata.dependencies.is_empty() {
            return Ok(());
        }
        let mut values = coalesce(self, &Tree::new(), Nulls::Keep)?;
        let mut imported = Tree::new();
        for wanted in &self.metadata.dependencies {
            for import in &wanted.import_values {
                let (child, parent) = match import {
                    Json::String(name) => (format!("exports.{name}"), ".".to_owned()),
                    Json::Object(paths) => (word(paths.get("child")), word(paths.get("parent"))),
                    _ => continue,
                };
                // As in Helm, what does not exist is no error.
                if let Some(found) = table(&values, &format!("{}.{child}", wanted.name)) {
                    tables(&mut imported, &nested(&parent, found.clone()), Nulls::Keep);
                }
            }
        }
        tables(&mut values, &imported, Nulls::Keep);
        self.values = values;
        Ok(())
    }
}

fn word(value: Option<&Json>) -> String {
    match value {
        Some(Json::String(word)) => word.clone(),
        Some(other) => other.to_string(),
        None => "<nil>".to_owned(),
    }
}

/// The table below a path of keys; `.` is the top.
fn nested(path: &str, content: Tree) -> Tree {
    if path == "." {
        return content;
    }
    path.rsplit('.').fold(content, |inner, key| Tree::from_iter([(Bytes::from(key.as_bytes()), Value::Map(inner))]))
}

fn by_tags(wanted: &mut Dependency, values: &Tree) {
    let Some(tags) = table(values, "tags") else { return };
    let set = |on| wanted.tags.iter().any(|tag| tags.get(tag.as_bytes()) == Some(&Value::Bool(on)));
    wanted.enabled = set(true) || !set(false);
}

fn by_conditions(wanted: &mut Dependency, values: &Tree, path: &str) {
    let conditions = wanted.condition.trim().split(',').filter(|condition| !condition.is_empty());
    let decided = conditions.into_iter().find_map(|condition| match leaf(values, &format!("{path}{condition}")) {
        Some(Value::Bool(on)) => Some(*on),
        _ => None,
    });
    if let Some(on) = decided {
        wanted.enabled = on;
    }
}
