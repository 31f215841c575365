//! Plain directories of YAML and JSON files, as Argo CD's directory source reads them.

use globset::{Glob, GlobMatcher};
use serde_json::Value;

use crate::{Error, Manifest, Tree, normalize, yaml};

/// `spec.source.directory` of an Application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectoryOptions {
    /// Also read the directories below.
    pub recurse: bool,
    /// Only files whose path (relative to the directory) matches; `*` also matches `/`, `{a,b}` are alternatives.
    pub include: Option<String>,
    /// Not the files whose path matches; wins over `include`.
    pub exclude: Option<String>,
}

/// Most objects of one source.
const MAX_OBJECTS: usize = 50_000;

/// The objects of all `.yaml`, `.yml` and `.json` files of `directory`, in order of path and position. `List` objects are
/// replaced by their items.
pub fn render_directory(tree: &dyn Tree, directory: &str, options: &DirectoryOptions) -> Result<Vec<Manifest>, Error> {
    let directory = normalize(directory)?;
    let include = options.include.as_deref().filter(|pattern| !pattern.is_empty()).map(matcher).transpose()?;
    let exclude = options.exclude.as_deref().filter(|pattern| !pattern.is_empty()).map(matcher).transpose()?;
    let mut manifests = Vec::new();
    for path in tree.files(&directory)? {
        let relative = path.strip_prefix(&directory).unwrap_or(&path).trim_start_matches('/');
        let wanted = is_manifest(relative)
            && (options.recurse || !relative.contains('/'))
            && include.as_ref().is_none_or(|include| include.is_match(relative))
            && !exclude.as_ref().is_some_and(|exclude| exclude.is_match(relative));
        if !wanted {
            continue;
        }
        for (document, value) in yaml::documents(&path, &tree.read(&path)?)?.into_iter().enumerate() {
            if value.is_null() {
                continue;
            }
            collect(&path, document, value, &mut manifests)?;
        }
        if manifests.len() > MAX_OBJECTS {
            return Err(Error::Limit { path: directory, what: "number of objects", limit: MAX_OBJECTS as u64 });
        }
    }
    Ok(manifests)
}

fn is_manifest(path: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|ending| path.ends_with(ending))
}

fn matcher(pattern: &str) -> Result<GlobMatcher, Error> {
    Glob::new(pattern)
        .map(|glob| glob.compile_matcher())
        .map_err(|error| Error::Pattern { pattern: pattern.to_owned(), message: error.kind().to_string() })
}

/// Adds one document, or the items of a `List`.
pub(crate) fn collect(
    path: &str,
    document: usize,
    mut value: Value,
    manifests: &mut Vec<Manifest>,
) -> Result<(), Error> {
    let refuse = |message: String| Err(Error::NotAnObject { path: path.to_owned(), document: document + 1, message });
    if !value.is_object() {
        return refuse("is not a mapping with apiVersion and kind".to_owned());
    }
    for field in ["apiVersion", "kind"] {
        if value.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
            return refuse(format!("{field} is missing"));
        }
    }
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
    if is_list && let Some(Value::Array(items)) = value.get_mut("items").map(Value::take) {
        for item in items {
            collect(path, document, item, manifests)?;
        }
        return Ok(());
    }
    let metadata = &value["metadata"];
    let named =
        ["name", "generateName"].iter().any(|field| metadata[field].as_str().is_some_and(|name| !name.is_empty()));
    if !named {
        return refuse(format!("{} has no metadata.name", value["kind"].as_str().unwrap_or("object")));
    }
    manifests.push(Manifest { path: path.to_owned(), document, object: value });
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::MemoryTree;

    fn tree(files: &[(&str, &str)]) -> MemoryTree {
        let mut tree = MemoryTree::default();
        for (path, content) in files {
            tree.insert(path, *content).unwrap();
        }
        tree
    }

    fn config_map(name: &str) -> String {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
    }

    fn names(tree: &MemoryTree, options: &DirectoryOptions) -> Vec<String> {
        let manifests = render_directory(tree, "deploy", options).unwrap();
        manifests.iter().map(|manifest| manifest.object["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn recursion_and_globs_choose_files_as_argo_cd_does() {
        let (a, b, c, d) = (config_map("a"), config_map("b"), config_map("c"), config_map("d"));
        let tree = tree(&[
            ("deploy/a.yaml", &a),
            ("deploy/sub/b.yml", &b),
            ("deploy/sub/c.json", "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c\"}}"),
            ("deploy/notes.txt", &c),
            ("other/d.yaml", &d),
        ]);
        let options = |recurse, include: &str, exclude: &str| DirectoryOptions {
            recurse,
            include: Some(include.to_owned()),
            exclude: Some(exclude.to_owned()),
        };
        assert_eq!(names(&tree, &DirectoryOptions::default()), ["a"]);
        assert_eq!(names(&tree, &options(true, "", "")), ["a", "b", "c"]);
        assert_eq!(names(&tree, &options(true, "*.yaml", "")), ["a"]);
        assert_eq!(names(&tree, &options(true, "{*.yaml,sub/*.json}", "")), ["a", "c"]);
        assert_eq!(names(&tree, &options(true, "*", "sub/b*")), ["a", "c"]);
        assert!(render_directory(&tree, "deploy", &options(true, "{", "")).is_err());
        assert!(render_directory(&tree, "../etc", &DirectoryOptions::default()).is_err());
        assert!(render_directory(&tree, "nothing", &DirectoryOptions::default()).is_err());
    }

    #[test]
    fn lists_are_flattened_and_what_is_no_object_is_named() {
        let list = format!(
            "apiVersion: v1\nkind: List\nitems:\n- {{{}}}\n",
            "apiVersion: v1, kind: Secret, metadata: {name: s}"
        );
        assert_eq!(names(&tree(&[("deploy/l.yaml", &list)]), &DirectoryOptions::default()), ["s"]);
        for (text, expected) in [
            ("- 1", "deploy/x.yaml, document 1: is not a mapping"),
            ("a: 1", "deploy/x.yaml, document 1: apiVersion is missing"),
            ("apiVersion: v1\nkind: Pod\n---\n", "deploy/x.yaml, document 1: Pod has no metadata.name"),
        ] {
            let error = render_directory(&tree(&[("deploy/x.yaml", text)]), "deploy", &DirectoryOptions::default());
            assert!(error.as_ref().is_err_and(|error| error.to_string().starts_with(expected)), "{error:?}");
        }
    }
}
