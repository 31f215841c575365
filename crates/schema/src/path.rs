//! Paths of fields as the API prints them, built on the stack while a value is walked.

use std::fmt;

/// How deep an object may nest. `kubectl` and the API's own decoder refuse deeper input, so this bounds recursion only.
pub(crate) const MAX_DEPTH: usize = 120;

/// One step below the parent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Field(&'a str),
    Index(usize),
    /// An entry of a map that the schema does not name, printed `[key]`.
    Entry(&'a str),
}

/// A path from the root of an object: `spec.containers[0].name`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Option<Step<'a>>,
    depth: usize,
}

// === impl Path ===

impl<'a> Path<'a> {
    pub(crate) const ROOT: Path<'static> = Path { parent: None, step: None, depth: 0 };

    pub(crate) fn field(&'a self, name: &'a str) -> Path<'a> {
        self.child(Step::Field(name))
    }

    pub(crate) fn index(&'a self, index: usize) -> Path<'a> {
        self.child(Step::Index(index))
    }

    pub(crate) fn entry(&'a self, key: &'a str) -> Path<'a> {
        self.child(Step::Entry(key))
    }

    /// Whether the walk has to stop here.
    pub(crate) fn too_deep(&self) -> bool {
        self.depth >= MAX_DEPTH
    }

    pub(crate) fn is_root(&self) -> bool {
        self.depth == 0
    }

    fn child(&'a self, step: Step<'a>) -> Path<'a> {
        Path { parent: Some(self), step: Some(step), depth: self.depth + 1 }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            None => Ok(()),
            Some(Step::Index(index)) => write!(f, "[{index}]"),
            Some(Step::Entry(key)) => write!(f, "[{key}]"),
            Some(Step::Field(name)) if self.depth == 1 => f.write_str(name),
            Some(Step::Field(name)) => write!(f, ".{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prints_as_the_api_prints_it() {
        let (spec, containers, first) = (Path::ROOT.field("spec"), "containers", 0);
        let containers = spec.field(containers);
        let item = containers.index(first);
        let limits = item.field("limits");
        assert_eq!(limits.entry("cpu").to_string(), "spec.containers[0].limits[cpu]");
        assert_eq!(Path::ROOT.to_string(), "");
    }
}
