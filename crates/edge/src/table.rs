//! The immutable answer to «who serves this request?».

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::{ArcSwap, Guard};
use regex::Regex;

use crate::{
    access::Limiter,
    annotations::Policy,
    htpasswd::Users,
    metrics::IngressMetrics,
    path::{self, NormalPath, PathError},
    tls::Certificates,
    upstream::Endpoint,
};

/// The table that is served now.
#[derive(Debug, Default)]
pub(crate) struct Served(ArcSwap<Table>);

/// Everything that decides about requests. Never changes; a new one takes its place.
#[derive(Debug, Default)]
pub(crate) struct Table {
    hosts: HashMap<Box<str>, Host>,
    /// Keyed by what follows `*.`.
    wildcards: HashMap<Box<str>, Host>,
    any: Option<Host>,
    /// For requests that no rule matches.
    pub(crate) fallback: Option<Arc<Route>>,
    pub(crate) certificates: Certificates,
}

/// The rules of one host name.
#[derive(Debug, Default)]
pub(crate) struct Host {
    exact: HashMap<Box<str>, Arc<Route>>,
    /// Without the slash at the end, except the root itself.
    prefixes: HashMap<Box<str>, Arc<Route>>,
    /// Longest pattern first.
    expressions: Vec<Arc<Route>>,
    fallback: Option<Arc<Route>>,
}

/// One path of one Ingress.
pub(crate) struct Route {
    /// `namespace/name` of the Ingress.
    pub(crate) ingress: Arc<str>,
    /// As written in the Ingress.
    pub(crate) path: Box<str>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) backend: Backend,
    /// The whole path as an expression, when it is one.
    pub(crate) expression: Option<Arc<Regex>>,
    /// The Ingress has a certificate for this host.
    pub(crate) tls: bool,
    pub(crate) limiter: Option<Arc<Limiter>>,
    pub(crate) users: Option<Arc<Users>>,
    pub(crate) metrics: Arc<IngressMetrics>,
}

/// Where a route leads.
pub(crate) enum Backend {
    /// Ready endpoints, at least one.
    Endpoints(Endpoints),
    /// Why there are none, for the 503.
    Unavailable(Box<str>),
}

/// Ready endpoints of one Service port.
pub(crate) struct Endpoints {
    list: Box<[Arc<Endpoint>]>,
    next: AtomicUsize,
}

// === impl Served ===

impl Served {
    pub(crate) fn load(&self) -> Guard<Arc<Table>> {
        self.0.load()
    }

    /// Serves `table` from the next request on.
    pub(crate) fn swap(&self, table: Table) {
        self.0.store(Arc::new(table));
    }
}

// === impl Table ===

impl Table {
    /// The route for `host` (lower case, without port) and a path's key.
    pub(crate) fn find(&self, host: &str, key: &str) -> Option<&Arc<Route>> {
        let wildcard = || host.split_once('.').and_then(|(_, suffix)| self.wildcards.get(suffix));
        let rules = self.hosts.get(host).or_else(wildcard).or(self.any.as_ref());
        rules.and_then(|rules| rules.find(key)).or(self.fallback.as_ref())
    }

    /// The rules of `host`, created when absent; `*.` for wildcards, empty for any host.
    pub(crate) fn host(&mut self, host: &str) -> &mut Host {
        match host.strip_prefix("*.") {
            _ if host.is_empty() => self.any.get_or_insert_default(),
            Some(suffix) => self.wildcards.entry(suffix.into()).or_default(),
            None => self.hosts.entry(host.into()).or_default(),
        }
    }

    /// Every route, for questions about the whole.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        let hosts = self.hosts.values().chain(self.wildcards.values()).chain(&self.any);
        hosts
            .flat_map(|host| {
                host.exact.values().chain(host.prefixes.values()).chain(&host.expressions).chain(&host.fallback)
            })
            .chain(&self.fallback)
    }
}

// === impl Host ===

impl Host {
    /// Exact before everything, then the longest of prefixes and expressions, then the Ingress's default backend.
    fn find(&self, key: &str) -> Option<&Arc<Route>> {
        if let Some(route) = self.exact.get(key) {
            return Some(route);
        }
        let prefix = self.find_prefix(key);
        let expression =
            self.expressions.iter().find(|route| route.expression.as_ref().is_some_and(|regex| regex.is_match(key)));
        let longest = match (prefix, expression) {
            (Some(prefix), Some(expression)) if prefix.path.len() > expression.path.len() => Some(prefix),
            (prefix, expression) => expression.or(prefix),
        };
        longest.or(self.fallback.as_ref())
    }

    /// Prefixes end where an element ends: `/a` matches `/a` and `/a/b`, not `/ab`.
    fn find_prefix(&self, key: &str) -> Option<&Arc<Route>> {
        if self.prefixes.is_empty() {
            return None;
        }
        let mut rest = key.strip_suffix('/').unwrap_or(key);
        while !rest.is_empty() {
            if let Some(route) = self.prefixes.get(rest) {
                return Some(route);
            }
            rest = rest.rfind('/').and_then(|slash| rest.get(..slash)).unwrap_or_default();
        }
        self.prefixes.get("/")
    }

    /// Adds an exact path; `false` when there is one already, which stays.
    pub(crate) fn add_exact(&mut self, key: &str, route: Arc<Route>) -> bool {
        add(&mut self.exact, key, route)
    }

    /// Adds a prefix; `false` when there is one already, which stays.
    pub(crate) fn add_prefix(&mut self, key: &str, route: Arc<Route>) -> bool {
        let key = key.strip_suffix('/').filter(|key| !key.is_empty()).unwrap_or(key);
        add(&mut self.prefixes, key, route)
    }

    /// Adds an expression; `false` when the same one is there already, which stays.
    pub(crate) fn add_expression(&mut self, route: Arc<Route>) -> bool {
        if self.expressions.iter().any(|known| known.path == route.path) {
            return false;
        }
        let at = self.expressions.partition_point(|known| known.path.len() >= route.path.len());
        self.expressions.insert(at, route);
        true
    }

    /// Where requests go that no path matches; the first one stays.
    pub(crate) fn set_fallback(&mut self, route: Arc<Route>) {
        self.fallback.get_or_insert(route);
    }
}

fn add(map: &mut HashMap<Box<str>, Arc<Route>>, key: &str, route: Arc<Route>) -> bool {
    let free = !map.contains_key(key);
    if free {
        map.insert(key.into(), route);
    }
    free
}

// === impl Route ===

impl Route {
    /// The path that the backend receives for `path`: itself, or what `rewrite-target` makes of it.
    ///
    /// # Errors
    /// When the rewritten path is not one.
    pub(crate) fn rewrite<'a>(&self, path: &'a NormalPath<'_>) -> Result<Cow<'a, str>, PathError> {
        let Some(target) = &self.policy.rewrite_target else { return Ok(Cow::Borrowed(&path.forward)) };
        let captures = self.expression.as_ref().and_then(|regex| regex.captures(&path.key));
        let mut out = String::with_capacity(target.len() + path.key.len());
        let mut rest = target.as_str();
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let (digit, skip) = match after.as_bytes() {
                [b'{', digit @ b'0'..=b'9', b'}', ..] => (Some(*digit), 3),
                [digit @ b'0'..=b'9', ..] => (Some(*digit), 1),
                _ => (None, 0),
            };
            match digit {
                Some(digit) => {
                    let group = captures.as_ref().and_then(|captures| captures.get(usize::from(digit - b'0')));
                    out.push_str(group.map_or("", |group| group.as_str()));
                }
                None => out.push('$'),
            }
            rest = after.get(skip..).unwrap_or_default();
        }
        out.push_str(rest);
        let encoded = path::encode(&out);
        let forward = path::normalise(&encoded)?.forward.into_owned();
        Ok(Cow::Owned(forward))
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("ingress", &self.ingress).field("path", &self.path).finish_non_exhaustive()
    }
}

// === impl Endpoints ===

impl Endpoints {
    /// `None` when `list` is empty.
    pub(crate) fn new(list: Vec<Arc<Endpoint>>) -> Option<Self> {
        (!list.is_empty()).then(|| Self { list: list.into(), next: AtomicUsize::new(0) })
    }

    pub(crate) fn list(&self) -> &[Arc<Endpoint>] {
        &self.list
    }

    /// The next endpoint in turn, or its neighbour when that has less to do; not one of `tried`, and one that refused a
    /// connection a moment ago only if there is no other.
    pub(crate) fn pick(&self, tried: &[std::net::SocketAddr]) -> Option<&Arc<Endpoint>> {
        let count = self.list.len();
        let start = self.next.fetch_add(1, Relaxed);
        let in_turn = || (0..count).filter_map(move |step| self.list.get((start.wrapping_add(step)) % count));
        let fresh = |endpoint: &&Arc<Endpoint>| !tried.contains(&endpoint.address);
        let mut up = in_turn().filter(fresh).filter(|endpoint| !endpoint.is_down());
        let Some(first) = up.next() else { return in_turn().find(fresh) };
        match up.next() {
            Some(second) if second.pending() < first.pending() => Some(second),
            _ => Some(first),
        }
    }

    /// The endpoint that `hash` always meets while the set stays the same, and mostly when it changes (rendezvous
    /// hashing).
    pub(crate) fn pick_by_hash(&self, hash: u64, tried: &[std::net::SocketAddr]) -> Option<&Arc<Endpoint>> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let fresh = self.list.iter().filter(|endpoint| !tried.contains(&endpoint.address));
        fresh.max_by_key(|endpoint| {
            let mut hasher = DefaultHasher::new();
            (hash, endpoint.address).hash(&mut hasher);
            (!endpoint.is_down(), hasher.finish())
        })
    }
}
