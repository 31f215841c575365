//! What `helm template` prints.

use super::{Rendered, glob, manifest};
use crate::Error;

/// What is printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrintOptions {
    /// `--include-crds`: the objects of `crds/` first.
    pub include_crds: bool,
    /// `--no-hooks`: leave hooks out.
    pub no_hooks: bool,
    /// `--skip-tests`: leave hooks out that are tests.
    pub skip_tests: bool,
    /// `--show-only`: only what these templates printed, in this order. Paths are those in the chart (`templates/a.yaml`), with
    /// `*`, `?` and `[…]`.
    pub show_only: Vec<String>,
}

/// What one template printed, or one file of `crds/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printed<'a> {
    /// `chart/templates/file.yaml`
    pub path: &'a str,
    /// One document; of a file of `crds/` all of them.
    pub content: &'a [u8],
}

impl PrintOptions {
    /// Whether `--show-only` is not given or names the template.
    fn shows(&self, path: &str) -> bool {
        self.show_only.is_empty() || self.show_only.iter().any(|pattern| names(pattern, path))
    }
}

impl Rendered {
    /// What is printed, in the order of installation, hooks last. A pattern of `--show-only` that names nothing is an error.
    pub fn printed(&self, options: &PrintOptions) -> Result<Vec<Printed<'_>>, Error> {
        let (mut found, hooks) = self.all(options);
        found.extend(hooks);
        if let Some(missing) =
            options.show_only.iter().find(|pattern| !found.iter().any(|one| names(pattern, one.path)))
        {
            return Err(not_found(missing));
        }
        found.retain(|one| options.shows(one.path));
        Ok(found)
    }

    /// Manifests, and hooks.
    fn all(&self, options: &PrintOptions) -> (Vec<Printed<'_>>, Vec<Printed<'_>>) {
        let is_test = |events: &[String]| events.iter().any(|event| event == "test");
        let crds = self.crds.iter().filter(|_| options.include_crds).map(|(path, content)| Printed { path, content });
        let documents = self.documents.iter().map(|one| Printed { path: &one.path, content: &one.content });
        let hooks =
            self.hooks.iter().filter(|hook| !(options.no_hooks || (options.skip_tests && is_test(&hook.events))));
        let hooks = hooks.map(|hook| Printed { path: &hook.path, content: &hook.manifest });
        (crds.chain(documents).collect(), hooks.collect())
    }
}

impl Printed<'_> {
    /// Appends the document with the comment that says where it comes from.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("---\n# Source: {}\n", self.path).as_bytes());
        out.extend_from_slice(self.content);
        out.push(b'\n');
    }
}

/// Whether a pattern of `--show-only`, which does not have the name of the chart, names a template.
fn names(pattern: &str, path: &str) -> bool {
    path.split_once('/').is_some_and(|(_, own)| glob::matches(pattern, own) == Some(true))
}

fn not_found(pattern: &str) -> Error {
    Error::Chart { path: pattern.to_owned(), message: "could not find template in chart".to_owned() }
}

/// The documents of a render as `helm template` prints them.
pub fn print(rendered: &Rendered, options: &PrintOptions) -> Result<Vec<u8>, Error> {
    let (manifests, hooks) = rendered.all(options);
    let mut text = Vec::new();
    manifests.iter().for_each(|one| one.write(&mut text));
    // Helm trims what it has printed so far before it adds hooks.
    let mut out = super::functions::trim(&text).to_vec();
    out.push(b'\n');
    hooks.iter().for_each(|hook| hook.write(&mut out));
    if options.show_only.is_empty() {
        return Ok(out);
    }
    only(&out, &options.show_only)
}

/// Helm picks from its own text: by the comment of each document.
fn only(printed: &[u8], wanted: &[String]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for pattern in wanted {
        let mut found = false;
        for document in manifest::split(printed) {
            if source(document).is_some_and(|path| names(pattern, path)) {
                found = true;
                out.extend_from_slice(b"---\n");
                out.extend_from_slice(document);
                out.push(b'\n');
            }
        }
        if !found {
            return Err(not_found(pattern));
        }
    }
    Ok(out)
}

/// The template that printed a document, by its first comment.
fn source(document: &[u8]) -> Option<&str> {
    let start = memchr::memmem::find(document, b"# Source: ")?;
    let line = document.get(start + b"# Source: ".len()..)?.split(|byte| *byte == b'\n').next()?;
    std::str::from_utf8(line).ok()
}
