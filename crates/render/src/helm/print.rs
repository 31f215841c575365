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

/// The documents of a render as `helm template` prints them.
pub fn print(rendered: &Rendered, options: &PrintOptions) -> Result<Vec<u8>, Error> {
    let mut manifest = Vec::new();
    let document = |out: &mut Vec<u8>, path: &str, content: &[u8]| {
        out.extend_from_slice(format!("---\n# Source: {path}\n").as_bytes());
        out.extend_from_slice(content);
        out.push(b'\n');
    };
    if options.include_crds {
        rendered.crds.iter().for_each(|(path, content)| document(&mut manifest, path, content));
    }
    rendered.documents.iter().for_each(|one| document(&mut manifest, &one.path, &one.content));
    let mut out = super::functions::trim(&manifest).to_vec();
    out.push(b'\n');
    if !options.no_hooks {
        let is_test = |events: &[String]| events.iter().any(|event| event == "test");
        let hooks = rendered.hooks.iter().filter(|hook| !(options.skip_tests && is_test(&hook.events)));
        hooks.for_each(|hook| document(&mut out, &hook.path, &hook.manifest));
    }
    if options.show_only.is_empty() {
        return Ok(out);
    }
    only(&out, &options.show_only)
}

fn only(printed: &[u8], wanted: &[String]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for pattern in wanted {
        let mut found = false;
        for document in manifest::split(printed) {
            let Some(path) = source(document) else { continue };
            if glob::matches(pattern, &path) == Some(true) {
                found = true;
                out.extend_from_slice(b"---\n");
                out.extend_from_slice(document);
                out.push(b'\n');
            }
        }
        if !found {
            return Err(Error::Chart { path: pattern.clone(), message: "could not find template in chart".to_owned() });
        }
    }
    Ok(out)
}

/// The template that printed a document, by its first comment, without the name of the chart.
fn source(document: &[u8]) -> Option<String> {
    let start = memchr::memmem::find(document, b"# Source: ")?;
    let line = document.get(start + b"# Source: ".len()..)?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    line.split_once('/').map(|(_, path)| path.to_owned())
}
