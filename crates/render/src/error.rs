//! The crate's error type.

use crate::goyaml;

/// Why a tree could not be rendered. Every message names the file and what is wrong with it, and may show the line that it
/// is about or words of it. Whoever shows messages shows parts of the repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path has `..` that leaves the tree, is absolute, or is not valid.
    #[error("path {path:?} {problem}")]
    Path {
        /// As written.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no such file or directory in the tree.
    #[error("{path}: no such {what} in the repository")]
    NotFound {
        /// Path within the tree.
        path: String,
        /// `file` or `directory`.
        what: &'static str,
    },
    /// A file could not be read from where the tree keeps it.
    #[error("{path}: {message}")]
    Read {
        /// Path within the tree.
        path: String,
        /// Why.
        message: String,
    },
    /// A file is not valid YAML.
    #[error("{path}:{line}:{column}: {message}")]
    Yaml {
        /// Path within the tree.
        path: String,
        /// From 1; 0 when unknown.
        line: u64,
        /// From 1; 0 when unknown.
        column: u64,
        /// What is wrong.
        message: String,
    },
    /// A document is not a Kubernetes object.
    #[error("{path}, document {document}: {message}")]
    NotAnObject {
        /// Path within the tree.
        path: String,
        /// From 1.
        document: usize,
        /// What is missing.
        message: String,
    },
    /// An `include` or `exclude` pattern is malformed.
    #[error("pattern {pattern:?}: {message}")]
    Pattern {
        /// As written.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// A kustomization cannot be built.
    #[error("{path}: {message}")]
    Kustomization {
        /// The kustomization's directory or the file, within the tree; `.` is the root.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// A kustomization wants something that is not in the tree. The caller may fetch it and put it there.
    #[error(
        "{path}: {url:?} is not in this repository; remote bases are not fetched while rendering, copy it into the repository"
    )]
    Remote {
        /// The kustomization's directory within the tree.
        path: String,
        /// As written, with its `ref`.
        url: String,
        /// What to fetch.
        need: Box<crate::kustomize::Remote>,
    },
    /// A chart is not made as a chart must be.
    #[error("{path}: {message}")]
    Chart {
        /// The chart or the file, within the tree.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// Values that the caller gives are not understood.
    #[error("{option} {argument:?}: {message}")]
    Values {
        /// `--set` or one of its relatives.
        option: String,
        /// As given.
        argument: String,
        /// What is wrong.
        message: String,
    },
    /// Values do not fit a chart's `values.schema.json`.
    #[error("values don't meet the specifications of the schema(s) in the following chart(s):\n{problems}")]
    Schema {
        /// Chart by chart, a line for each problem.
        problems: String,
    },
    /// A template cannot be parsed or evaluated.
    #[error("{message}")]
    Template {
        /// `chart/templates/file.yaml`; empty when it is not known.
        path: String,
        /// From 1; 0 when unknown.
        line: u64,
        /// From 1; 0 when unknown.
        column: u64,
        /// What is wrong, with the place and the line of the template that it is about.
        message: String,
    },
    /// What a template printed is no manifest.
    #[error("YAML parse error on {path}: {message}")]
    Manifest {
        /// The template that printed it.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// A limit was exceeded.
    #[error("{path}: {what} exceeds the limit of {limit}")]
    Limit {
        /// Path within the tree.
        path: String,
        /// What is too large.
        what: &'static str,
        /// The limit, in the unit that `what` names.
        limit: u64,
    },
}

/// How many letters of a line are shown.
const SHOWN: usize = 200;

// === impl Error ===

impl Error {
    /// A text of a file that is no YAML, with the line that it is about.
    pub(crate) fn yaml(path: &str, content: &[u8], error: goyaml::Error) -> Self {
        let message = format!("{}{}", error.message, line_of(content, error.line));
        Self::Yaml { path: path.to_owned(), line: error.line, column: error.column, message }
    }
}

/// The line of a text, to be put below a message; for one that is empty or behind the end the last one before it with text.
pub(crate) fn line_of(content: &[u8], line: u64) -> String {
    let until = usize::try_from(line).unwrap_or(usize::MAX);
    let lines = (1..).zip(content.split(|byte| *byte == b'\n').take(until));
    let found: Option<(u64, &[u8])> = lines.filter(|(_, text)| !text.trim_ascii().is_empty()).last();
    let Some((line, text)) = found else { return String::new() };
    let text: String = String::from_utf8_lossy(text).trim_end().chars().take(SHOWN).collect();
    format!("\n  {line} | {text}")
}
