//! What a request asks for, read once from its path, method and query; everything after works on this and never looks at
//! the path again.
//!
//! A path means one thing or nothing: empty segments, `.` and `..`, encoded slashes and control characters are refused, and
//! letters are never folded, so that authorisation and storage cannot understand a path differently.

use http::{Method, Uri};

use crate::status::{Error, Result};

/// What is done, in RBAC's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

/// A request for an API resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourceRequest {
    /// What is done.
    pub(crate) verb: Verb,
    /// API group, empty for core.
    pub(crate) group: String,
    /// API version.
    pub(crate) version: String,
    /// Namespace in the path, empty for none.
    pub(crate) namespace: String,
    /// Plural resource name.
    pub(crate) resource: String,
    /// Object name, empty for collections.
    pub(crate) name: String,
    /// Subresource, empty for none.
    pub(crate) subresource: String,
    /// What follows the subresource (`proxy` only), raw, without the leading slash.
    pub(crate) rest: Option<String>,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An API resource.
    Resource(ResourceRequest),
    /// Anything else: discovery, health, metrics. The path is normalised already; `verb` is RBAC's lower-case method.
    Path {
        /// As requested.
        path: String,
        /// `get`, `post`, …
        verb: String,
    },
}

/// The query parameters; the last value of a repeated parameter counts, except where all are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

// === impl Verb ===

impl Verb {
    /// RBAC's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

// === impl Query ===

impl Query {
    /// Reads `a=b&c=d`.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self> {
        let mut pairs = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(key, true)?, decode(value, true)?));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter, `None` if absent or empty.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(k, v)| k == key && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    /// Every value of a parameter.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Whether the parameter is there, with or without a value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }

    /// A boolean as Go clients write it; a parameter without value is true.
    pub(crate) fn flag(&self, key: &str) -> Result<bool> {
        match self.0.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v.as_str()) {
            None => Ok(false),
            Some("" | "true" | "1" | "True" | "TRUE" | "t" | "T") => Ok(true),
            Some("false" | "0" | "False" | "FALSE" | "f" | "F") => Ok(false),
            Some(other) => Err(Error::bad_request(format!("invalid value {other:?} for query parameter {key}"))),
        }
    }

    /// A whole number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<i64>> {
        self.get(key)
            .map(|value| {
                value.parse().map_err(|_| {
                    Error::bad_request(format!("invalid value {value:?} for query parameter {key}: not a number"))
                })
            })
            .transpose()
    }

    /// `dryRun=All`; anything else is refused.
    pub(crate) fn dry_run(&self) -> Result<bool> {
        match self.get("dryRun") {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => Err(Error::bad_request(format!(
                "invalid dryRun: Unsupported value: {other:?}: supported values: \"All\""
            ))),
        }
    }
}

/// Undoes percent encoding. `plus` reads `+` as a space, as in queries.
fn decode(text: &str, plus: bool) -> Result<String> {
    if !text.contains(['%', '+']) {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
                match (digit(rest.next()), digit(rest.next())) {
                    (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
                    _ => return Err(Error::bad_request("the URL has an invalid percent encoding")),
                }
            }
            b'+' if plus => bytes.push(b' '),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::bad_request("the URL is not UTF-8"))
}

/// A path segment, decoded once; what could be read as more or less than one segment is refused.
fn segment(raw: &str) -> Result<String> {
    let text = decode(raw, false)?;
    if text.is_empty()
        || text == "."
        || text == ".."
        || text.contains(['/', '\\', '%'])
        || text.chars().any(char::is_control)
    {
        return Err(Error::NoSuchPath);
    }
    Ok(text)
}

/// Subresources of a namespace, which look like resources inside it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl Target {
    /// Reads method and URI.
    pub(crate) fn parse(method: &Method, uri: &Uri, query: &Query) -> Result<Self> {
        let path = uri.path();
        let mut raw = path.strip_prefix('/').ok_or(Error::NoSuchPath)?.split('/');
        let root = raw.next().unwrap_or_default();
        let group = match root {
            "api" => String::new(),
            "apis" => match raw.next() {
                Some(group) if !group.is_empty() => segment(group)?,
                _ => return Self::other(method, path),
            },
            _ => return Self::other(method, path),
        };
        let version = match raw.next() {
            Some(version) if !version.is_empty() => segment(version)?,
            _ => return Self::other(method, path),
        };
        // A namespace can be at most one level; everything after a proxied object belongs to the backend and stays raw.
        let parts: Vec<&str> = raw.collect();
        if parts.is_empty() {
            return Self::other(method, path);
        }
        let mut watch = query.flag("watch")?;
        let mut parts = parts.as_slice();
        if let ["watch", more @ ..] = parts
            && !more.is_empty()
        {
            watch = true;
            parts = more;
        }
        let (namespace, parts) = match parts {
            ["namespaces", namespace, resource, rest @ ..] if !NAMESPACE_SUBRESOURCES.contains(resource) => {
                let mut parts = vec![*resource];
                parts.extend_from_slice(rest);
                (segment(namespace)?, parts)
            }
            other => (String::new(), other.to_vec()),
        };
        let (resource, name, subresource, rest) = match parts.as_slice() {
            [resource] => (segment(resource)?, String::new(), String::new(), None),
            [resource, name] => (segment(resource)?, segment(name)?, String::new(), None),
            [resource, name, subresource] => (segment(resource)?, segment(name)?, segment(subresource)?, None),
            [resource, name, "proxy", rest @ ..] => {
                (segment(resource)?, segment(name)?, "proxy".to_owned(), Some(rest.join("/")))
            }
            _ => return Err(Error::NoSuchPath),
        };
        let verb = match *method {
            Method::GET | Method::HEAD if name.is_empty() && watch => Verb::Watch,
            Method::GET | Method::HEAD if name.is_empty() => Verb::List,
            Method::GET | Method::HEAD if watch && subresource.is_empty() => Verb::Watch,
            Method::GET | Method::HEAD => Verb::Get,
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE if name.is_empty() => Verb::DeleteCollection,
            Method::DELETE => Verb::Delete,
            _ => return Err(Error::MethodNotAllowed),
        };
        Ok(Self::Resource(ResourceRequest { verb, group, version, namespace, resource, name, subresource, rest }))
    }

    fn other(method: &Method, path: &str) -> Result<Self> {
        let inner = path.trim_start_matches('/');
        if path.starts_with("//") || inner.contains("//") || inner.split('/').any(|part| part == "." || part == "..") {
            return Err(Error::NoSuchPath);
        }
        if path.contains('%') {
            return Err(Error::NoSuchPath);
        }
        Ok(Self::Path { path: path.to_owned(), verb: method.as_str().to_ascii_lowercase() })
    }
}

impl ResourceRequest {
    /// The namespace that authorisation looks at: a namespace object belongs to itself.
    pub(crate) fn authorization_namespace(&self) -> &str {
        if self.namespace.is_empty() && self.group.is_empty() && self.resource == "namespaces" {
            &self.name
        } else {
            &self.namespace
        }
    }

    /// `deployments` or `deployments/scale`.
    pub(crate) fn resource_with_subresource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn parse(method: Method, uri: &str) -> Result<Target> {
        let uri: Uri = uri.parse().unwrap();
        let query = Query::parse(uri.query())?;
        Target::parse(&method, &uri, &query)
    }

    fn describe(method: Method, uri: &str) -> String {
        match parse(method, uri) {
            Ok(Target::Resource(r)) => format!(
                "{} {}|{}|{}|{}|{}|{}|{}",
                r.verb.as_str(),
                r.group,
                r.version,
                r.namespace,
                r.resource,
                r.name,
                r.subresource,
                r.rest.unwrap_or_default()
            ),
            Ok(Target::Path { path, verb }) => format!("{verb} {path}"),
            Err(error) => format!("error {}", error.status()["code"]),
        }
    }

    #[test]
    fn a_path_means_one_thing_or_nothing() {
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/pods", "list |v1||pods|||"),
            (Method::GET, "/api/v1/pods?watch=1", "watch |v1||pods|||"),
            (Method::GET, "/api/v1/watch/pods", "watch |v1||pods|||"),
            (Method::GET, "/api/v1/namespaces/a/pods/b", "get |v1|a|pods|b||"),
            (Method::GET, "/api/v1/namespaces/a/pods/b/log", "get |v1|a|pods|b|log|"),
            (Method::GET, "/api/v1/namespaces/a", "get |v1||namespaces|a||"),
            (Method::PUT, "/api/v1/namespaces/a/finalize", "update |v1||namespaces|a|finalize|"),
            (Method::POST, "/apis/apps/v1/namespaces/a/deployments", "create apps|v1|a|deployments|||"),
            (Method::DELETE, "/apis/apps/v1/namespaces/a/deployments", "deletecollection apps|v1|a|deployments|||"),
            (Method::GET, "/api/v1/namespaces/a/services/b:80/proxy/x//y", "get |v1|a|services|b:80|proxy|x//y"),
            (
                Method::GET,
                "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
                "get rbac.authorization.k8s.io|v1||clusterroles|system:node||",
            ),
            (Method::GET, "/api", "get /api"),
            (Method::GET, "/apis/apps", "get /apis/apps"),
            (Method::GET, "/apis/apps/v1", "get /apis/apps/v1"),
            (Method::GET, "/healthz", "get /healthz"),
            (Method::GET, "/healthz/../api/v1/secrets", "error 404"),
            (Method::GET, "/api/v1/namespaces/a%2Fsecrets", "error 404"),
            (Method::GET, "/api/v1/namespaces/a/pods/b%2flog", "error 404"),
            (Method::GET, "/api/v1/namespaces/a/pods/%2e%2e", "error 404"),
            (Method::GET, "/api/v1/namespaces/a/pods/b%252flog", "error 404"),
            (Method::GET, "/api/v1/namespaces/a//pods", "error 404"),
            (Method::GET, "/api/v1//pods", "error 404"),
            (Method::GET, "//api/v1/pods", "error 404"),
            (Method::GET, "/api/v1/pods/", "error 404"),
            (Method::GET, "/api/v1/pods/%00", "error 404"),
            (Method::GET, "/API/v1/pods", "get /API/v1/pods"),
            (Method::GET, "/apis/a/v1/x/y/z/w", "error 404"),
            (Method::GET, "/%61pi/v1/pods", "error 404"),
            (Method::TRACE, "/api/v1/pods", "error 405"),
        ] {
            assert_eq!(describe(method, uri), expected, "{uri}");
        }
    }
}
