//! Files and directories of a kustomization, and which of them it may read.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{kustomization::Kustomization, options::Options, remote::Remote, resource::Resource};
use crate::{
    Error, KUSTOMIZATION_FILES, Tree,
    goyaml::{self, Dialect, Node},
    join, line_of, normalize,
};

/// A kustomization's directory, and those of the kustomizations that led to it.
#[derive(Clone)]
pub(super) struct Loader<'a> {
    pub(super) tree: &'a dyn Tree,
    /// Normalised; the root of the tree is empty.
    pub(super) root: String,
    /// Where the build began.
    base: String,
    /// The directories of this tree that led here.
    visited: Vec<String>,
    /// How many kustomizations led here, of any tree.
    depth: usize,
    /// Whether this tree was fetched from another machine: it may not name what lies on this one.
    foreign: bool,
    pub(super) options: Options<'a>,
    spent: Arc<Spent>,
}

/// What a build has used of its limits.
#[derive(Default)]
struct Spent {
    input_bytes: AtomicUsize,
    kustomizations: AtomicUsize,
}

/// Kustomizations that lead to one another.
const MAX_DEPTH: usize = 64;

// === impl Loader ===

impl<'a> Loader<'a> {
    pub(super) fn new(tree: &'a dyn Tree, path: &str, options: Options<'a>) -> Result<Self, Error> {
        let root = normalize(path)?;
        Ok(Self {
            tree,
            base: root.clone(),
            root,
            visited: Vec::new(),
            depth: 0,
            foreign: false,
            options,
            spent: Arc::default(),
        })
    }

    fn limit(&self, what: &'static str, limit: usize) -> Error {
        Error::Limit { path: self.root.clone(), what, limit: limit as u64 }
    }

    /// Reads a file of the tree, and counts it.
    fn read(&self, full: &str) -> Result<Cow<'a, [u8]>, Error> {
        let tree: &'a dyn Tree = self.tree;
        let content = tree.read(full)?;
        let limit = self.options.limits.input_bytes;
        let before = self.spent.input_bytes.fetch_add(content.len(), Ordering::Relaxed);
        if before.saturating_add(content.len()) > limit {
            return Err(self.limit("number of bytes read", limit));
        }
        Ok(content)
    }

    /// What the caller has fetched for a remote entry.
    pub(super) fn fetched(&self, url: &str, remote: Remote) -> Result<&'a dyn Tree, Error> {
        if self.foreign && remote.is_local() {
            return Err(self.error(format!(
                "{url:?} is a path of this machine, and this kustomization was fetched from another one; name a repository by its URL"
            )));
        }
        self.options.remotes.and_then(|remotes| remotes.tree(&remote)).ok_or_else(|| Error::Remote {
            path: self.root.clone(),
            url: url.to_owned(),
            need: Box::new(remote),
        })
    }

    /// The content of an entry that is a URL of one file.
    pub(super) fn remote_file(&self, entry: &str) -> Result<Option<Cow<'a, [u8]>>, Error> {
        let Some(remote @ Remote::File { .. }) = Remote::parse(entry) else { return Ok(None) };
        let tree = self.fetched(entry, remote)?;
        let only = tree.files("")?.into_iter().next();
        let path = only.ok_or_else(|| Error::NotFound { path: entry.to_owned(), what: "file" })?;
        Self { tree, ..self.clone() }.read(&path).map(Some)
    }

    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        let path = if self.root.is_empty() { ".".to_owned() } else { self.root.clone() };
        Error::Kustomization { path, message: message.into() }
    }

    /// A path of this kustomization within the tree.
    pub(super) fn resolve(&self, path: &str) -> Result<String, Error> {
        if path.starts_with('/') {
            return Err(self.error(format!("path {path:?} is absolute; paths are relative to the kustomization")));
        }
        normalize(&join(&self.root, path))
    }

    /// A path of the tree, as seen from where the build began.
    pub(super) fn relative(&self, full: &str) -> String {
        let base: Vec<&str> = self.base.split('/').filter(|part| !part.is_empty()).collect();
        let parts: Vec<&str> = full.split('/').collect();
        let common = base.iter().zip(&parts).take_while(|(a, b)| a == b).count();
        let up = std::iter::repeat_n("..", base.len() - common);
        up.chain(parts.into_iter().skip(common)).collect::<Vec<_>>().join("/")
    }

    /// A file, which has to lie in the kustomization's directory or below.
    pub(super) fn file(&self, path: &str) -> Result<Cow<'a, [u8]>, Error> {
        if !self.is_file(path) && Remote::parse(path).is_some() {
            return match self.remote_file(path)? {
                Some(content) => Ok(content),
                None => Err(self.error(format!("{path:?} is a repository where a file is wanted"))),
            };
        }
        let full = self.resolve(path)?;
        if !within(&full, &self.root) {
            return Err(self.error(format!("file {path:?} is not in or below the kustomization's directory")));
        }
        self.read(&full)
    }

    /// Whether a path is a file of the tree, wherever it lies.
    pub(super) fn is_file(&self, path: &str) -> bool {
        self.resolve(path).is_ok_and(|full| self.tree.exists(&full))
    }

    /// Another kustomization's directory.
    pub(super) fn directory(&self, path: &str) -> Result<Self, Error> {
        if self.depth >= MAX_DEPTH {
            return Err(self.limit("number of kustomizations that lead to one another", MAX_DEPTH));
        }
        let depth = self.depth + 1;
        if let Some(remote) = Remote::parse(path) {
            let root = match &remote {
                Remote::Git { directory, .. } => normalize(directory)?,
                _ => return Err(self.error(format!("{path:?} is a file where a directory is wanted"))),
            };
            let foreign = self.foreign || !remote.is_local();
            let tree = self.fetched(path, remote)?;
            return Ok(Self { tree, base: String::new(), root, visited: Vec::new(), depth, foreign, ..self.clone() });
        }
        let root = self.resolve(path)?;
        if !self.tree.is_directory(&root) {
            return Err(self.error(format!(
                "resource not found: {path:?} is neither a file nor a directory; paths are relative to the kustomization's directory"
            )));
        }
        if self.visited.iter().chain(std::iter::once(&self.root)).any(|visited| within(visited, &root)) {
            return Err(self.error(format!(
                "cycle: {path:?} is this kustomization, one that led to it, or a directory above them"
            )));
        }
        let mut visited = self.visited.clone();
        visited.push(self.root.clone());
        Ok(Self { root, visited, depth, ..self.clone() })
    }

    /// The kustomization of this directory.
    pub(super) fn kustomization(&self) -> Result<Kustomization, Error> {
        let limit = self.options.limits.kustomizations;
        if self.spent.kustomizations.fetch_add(1, Ordering::Relaxed) >= limit {
            return Err(self.limit("number of kustomizations read", limit));
        }
        let path = join(&self.root, self.kustomization_file()?);
        Kustomization::parse(&path, &self.read(&path)?)
    }

    /// The name of this directory's kustomization file.
    pub(super) fn kustomization_file(&self) -> Result<&'static str, Error> {
        let mut found = KUSTOMIZATION_FILES.into_iter().filter(|name| self.tree.exists(&join(&self.root, name)));
        let Some(name) = found.next() else {
            return Err(self.error(format!(
                "there is no kustomization file; it is called one of {}",
                KUSTOMIZATION_FILES.join(", ")
            )));
        };
        if let Some(other) = found.next() {
            return Err(self.error(format!("there are two kustomization files, {name} and {other}; remove one")));
        }
        Ok(name)
    }
}

fn within(path: &str, root: &str) -> bool {
    root.is_empty() || path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))
}

/// The objects of a text: lists are replaced by their items, empty documents are left out.
pub(super) fn resources(path: &str, content: &[u8]) -> Result<Vec<Resource>, Error> {
    let nodes = documents(path, content)?;
    let refuse = |document: usize, message: String| Error::NotAnObject {
        path: path.to_owned(),
        document: document + 1,
        message,
    };
    let mut found = Vec::new();
    // What is in a list comes after all that stands on its own, unless the list is the whole text.
    let nodes = match <[Node; 1]>::try_from(nodes) {
        Ok([only]) => unwrapped(only),
        Err(nodes) => nodes,
    };
    let mut waiting: VecDeque<(usize, Node)> = nodes.into_iter().enumerate().collect();
    let mut lists = 0;
    while let Some((document, node)) = waiting.pop_front() {
        match collect(node).map_err(|message| refuse(document, message))? {
            Collected::Nothing => {}
            Collected::Object(resource) => found.push(*resource),
            Collected::List(items) => {
                lists += 1;
                if lists > MAX_LISTS {
                    return Err(refuse(document, format!("there are more than {MAX_LISTS} lists of objects")));
                }
                waiting.extend(items.into_iter().flat_map(unwrapped).map(|item| (document, item)));
            }
        }
    }
    Ok(found)
}

/// The documents of a file that is no list of objects.
pub(super) fn values(path: &str, content: &[u8]) -> Result<Vec<goyaml::Value>, Error> {
    goyaml::parse_documents(content, Dialect::V2).map_err(|error| Error::yaml(path, content, error))
}

/// Documents as the original splits them: at lines that begin with `---`, before they are parsed.
pub(super) fn documents(path: &str, content: &[u8]) -> Result<Vec<Node>, Error> {
    let normalized;
    let mut content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    if memchr::memchr(b'\r', content).is_some() {
        normalized = replace_line_ends(content);
        content = &normalized;
    }
    let mut nodes = Vec::new();
    let mut line = 0;
    for part in split(content) {
        let part = part.map_err(|at| Error::Yaml {
            path: path.to_owned(),
            line: at,
            column: 1,
            message: format!(
                "a document separator is followed by something on its line; put that on a line of its own{}",
                line_of(content, at)
            ),
        })?;
        let (text, skipped) = part;
        line += skipped;
        // What follows the first document of a part is not even looked at.
        let parsed = goyaml::parse_first_node(text, Dialect::V3).map_err(|mut error| {
            if error.line > 0 {
                error.line += line;
            }
            Error::yaml(path, content, error)
        })?;
        line += text.iter().filter(|byte| **byte == b'\n').count() as u64;
        nodes.extend(parsed);
    }
    Ok(nodes)
}

fn replace_line_ends(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    let mut bytes = content.iter().peekable();
    while let Some(byte) = bytes.next() {
        if *byte == b'\r' && bytes.peek() == Some(&&b'\n') {
            continue;
        }
        out.push(*byte);
    }
    out
}

/// Parts between separators and how many lines each separator took; a separator with content is an error with its line.
fn split(content: &[u8]) -> Vec<Result<(&[u8], u64), u64>> {
    let mut parts = Vec::new();
    let (mut begin, mut at, mut lines) = (0, 0, 0);
    while let Some(offset) = content.get(at..).and_then(|rest| memchr::memmem::find(rest, b"\n---")) {
        let start = at + offset;
        let Some(length) = content.get(start + 1..).and_then(|rest| memchr::memchr(b'\n', rest)) else {
            break;
        };
        let end = start + 1 + length + 1;
        let rest = content.get(start + 4..end).unwrap_or_default().trim_ascii();
        if !rest.is_empty() && !rest.starts_with(b"#") {
            let line =
                content.get(..start + 1).unwrap_or_default().iter().filter(|byte| **byte == b'\n').count() as u64;
            parts.push(Err(line + 1));
            return parts;
        }
        parts.push(Ok((content.get(begin..start + 1).unwrap_or_default(), lines)));
        // The line end before a separator may begin another one.
        (begin, at, lines) = (end, end - 1, 1);
    }
    parts.push(Ok((content.get(begin..).unwrap_or_default(), lines)));
    parts
}

/// More lists of objects in one file are refused.
const MAX_LISTS: usize = 10_000;

/// What a document is.
enum Collected {
    Nothing,
    Object(Box<Resource>),
    List(Vec<Node>),
}

/// The items of a `List`, or what is no such list itself.
fn unwrapped(mut node: Node) -> Vec<Node> {
    let is_list = matches!(node.get("kind").and_then(Node::text), Some("List" | "ResourceList"));
    match if is_list { node.get_mut("items") } else { None } {
        Some(Node::List(items)) => std::mem::take(items),
        _ => vec![node],
    }
}

fn collect(node: Node) -> Result<Collected, String> {
    let is_empty = node.is_null()
        || matches!(&node, Node::Map(entries) if entries.is_empty())
        || matches!(&node, Node::List(items) if items.is_empty());
    if is_empty {
        return Ok(Collected::Nothing);
    }
    if !matches!(node, Node::Map(_)) {
        return Err("is not a mapping with apiVersion, kind and metadata.name".to_owned());
    }
    let resource = Resource::new(node);
    let kind = resource.kind().to_owned();
    if kind.is_empty() {
        return Err("kind is missing".to_owned());
    }
    if kind.ends_with("List") && resource.node.get("items").is_some() {
        let mut node = resource.node;
        return match node.remove("items") {
            Some(Node::List(items)) => Ok(Collected::List(items)),
            Some(items) if !items.is_null() => Err(format!("items of {kind} is no list")),
            _ => Ok(Collected::Nothing),
        };
    }
    if resource.name().is_empty() || resource.node.at(&["metadata", "name"]).is_none_or(Node::is_null) {
        return Err(format!("{kind} has no metadata.name"));
    }
    Ok(Collected::Object(Box::new(resource)))
}
