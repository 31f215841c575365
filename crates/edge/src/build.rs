//! From objects to the table: a pure function of what is observed, but for what the registry remembers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{Secret, Service},
    discovery::v1::EndpointSlice,
    networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressClass, IngressTLS},
};
use kube::ResourceExt;
use lotse_client::Key;

use crate::{
    access::Limits,
    annotations::{PREFIX, Policy},
    config::Config,
    htpasswd::{self, Users},
    path,
    registry::Registry,
    table::{Backend, Endpoints, Route, Table},
    tls,
    upstream::Endpoint,
};

/// What the table is built from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) ingresses: Vec<Arc<Ingress>>,
    pub(crate) classes: Vec<Arc<IngressClass>>,
    pub(crate) services: HashMap<Key, Arc<Service>>,
    /// By the Service they belong to.
    pub(crate) slices: HashMap<Key, Vec<Arc<EndpointSlice>>>,
    pub(crate) secrets: HashMap<Key, Arc<Secret>>,
}

/// What of an Ingress could not be honoured; becomes Events.
pub(crate) type Problems = BTreeMap<Key, BTreeSet<Problem>>;

/// One thing that could not be honoured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// The Event's reason, in CamelCase.
    pub(crate) reason: &'static str,
    /// Names the field and the fix.
    pub(crate) message: String,
}

/// The table for `observed`, and what of it could not be honoured.
pub(crate) fn build(observed: &Observed, config: &Config, registry: &Registry) -> (Table, Problems) {
    let mut ingresses: Vec<&Ingress> = observed
        .ingresses
        .iter()
        .map(Arc::as_ref)
        .filter(|ingress| ingress.metadata.deletion_timestamp.is_none() && is_ours(ingress, &observed.classes, config))
        .collect();
    // The oldest Ingress keeps a path that two of them claim; so nobody can take over what is served.
    ingresses.sort_by_cached_key(|ingress| {
        (ingress.metadata.creation_timestamp.as_ref().map(|time| time.0), ingress.namespace(), ingress.name_any())
    });
    let mut table = Table::default();
    let mut problems = Problems::new();
    let mut owners: HashMap<String, String> = HashMap::new();
    for ingress in ingresses {
        let mut builder = Builder::new(ingress, observed, config, registry);
        builder.add(&mut table, &mut owners);
        if !builder.problems.is_empty() {
            problems.insert(Key::of(ingress), builder.problems);
        }
    }
    (table, problems)
}

/// Whether this edge serves `ingress`.
pub(crate) fn is_ours(ingress: &Ingress, classes: &[Arc<IngressClass>], config: &Config) -> bool {
    let controller = |class: &IngressClass| class.spec.as_ref().and_then(|spec| spec.controller.clone());
    let own = |class: &IngressClass| controller(class).is_some_and(|name| config.controllers.contains(&name));
    let named = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref());
    match named.or_else(|| ingress.annotations().get("kubernetes.io/ingress.class").map(String::as_str)) {
        Some(name) => match classes.iter().find(|class| class.metadata.name.as_deref() == Some(name)) {
            Some(class) => own(class),
            None => config.ingress_classes.iter().any(|class| class == name),
        },
        None => {
            let is_default = |class: &&Arc<IngressClass>| {
                class.annotations().get("ingressclass.kubernetes.io/is-default-class").is_some_and(|v| v == "true")
            };
            let mut defaults = classes.iter().filter(is_default).peekable();
            defaults.peek().is_none() || defaults.any(|class| own(class))
        }
    }
}

/// Builds the routes of one Ingress. Everything it looks up is in the Ingress's own namespace.
struct Builder<'a> {
    ingress: &'a Ingress,
    namespace: String,
    name: Arc<str>,
    observed: &'a Observed,
    config: &'a Config,
    registry: &'a Registry,
    policy: Arc<Policy>,
    users: Option<Arc<Users>>,
    problems: BTreeSet<Problem>,
}

// === impl Builder ===

impl<'a> Builder<'a> {
    fn new(ingress: &'a Ingress, observed: &'a Observed, config: &'a Config, registry: &'a Registry) -> Self {
        let (mut policy, warnings) = Policy::parse(ingress.annotations());
        let namespace = ingress.namespace().unwrap_or_default();
        let name: Arc<str> = format!("{namespace}/{}", ingress.name_any()).into();
        let mut builder = Self {
            ingress,
            namespace,
            name,
            observed,
            config,
            registry,
            policy: Arc::default(),
            users: None,
            problems: BTreeSet::new(),
        };
        for warning in warnings {
            let message = format!("annotation {PREFIX}{}: {}", warning.annotation, warning.message);
            builder.problem("InvalidAnnotation", message);
        }
        if policy.basic_auth && policy.blocked.is_none() {
            match builder.load_users(&policy) {
                Ok(users) => builder.users = Some(Arc::new(users)),
                Err(message) => {
                    // No password can be right when nobody knows them: closed, not open.
                    policy.blocked = Some("its passwords are not available".to_owned());
                    builder.problem("AuthSecretMissing", message);
                }
            }
        }
        builder.policy = Arc::new(policy);
        builder
    }

    fn add(&mut self, table: &mut Table, owners: &mut HashMap<String, String>) {
        let Some(spec) = &self.ingress.spec else { return };
        let tls_hosts = self.add_certificates(spec.tls.as_deref().unwrap_or_default(), table);
        let fallback = spec.default_backend.as_ref().map(|backend| self.backend(backend));
        let rules = spec.rules.as_deref().unwrap_or_default();
        if let (Some(backend), true) = (&fallback, rules.is_empty()) {
            let route = self.route("/", backend.clone(), None, tls_hosts.contains(""));
            table.fallback.get_or_insert(route);
        }
        for rule in rules {
            let host = rule.host.as_deref().unwrap_or_default().to_ascii_lowercase();
            // An alias never takes a host away from the Ingress that names it in a rule.
            let aliases = self.policy.aliases.iter().filter(|alias| !self.is_claimed(alias)).cloned();
            let hosts: Vec<String> = [host].into_iter().chain(aliases).collect();
            for host in &hosts {
                let secure = covers(&tls_hosts, host);
                if let Some(backend) = &fallback {
                    table.host(host).set_fallback(self.route("/", backend.clone(), None, secure));
                }
                for path in rule.http.iter().flat_map(|http| &http.paths) {
                    self.add_path(host, secure, path, table, owners);
                }
            }
        }
    }

    fn is_claimed(&self, host: &str) -> bool {
        let rules = |ingress: &'a Ingress| ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
        let others =
            self.observed.ingresses.iter().map(Arc::as_ref).filter(|other| !std::ptr::eq(*other, self.ingress));
        let mut hosts = others.flat_map(rules).filter_map(|rule| rule.host.as_deref());
        hosts.any(|claimed| claimed.eq_ignore_ascii_case(host))
    }

    fn add_path(
        &mut self,
        host: &str,
        secure: bool,
        rule: &HTTPIngressPath,
        table: &mut Table,
        owners: &mut HashMap<String, String>,
    ) {
        let text = rule.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
        let backend = self.backend(&rule.backend);
        let exact = rule.path_type == "Exact";
        let expression = !exact && (self.policy.use_regex || self.policy.rewrite_target.is_some());
        let compiled = if expression {
            match self.registry.expression(&pattern(text, &rule.path_type)) {
                Ok(expression) => Some(expression),
                Err(reason) => {
                    let first = reason.lines().last().unwrap_or_default();
                    return self.problem(
                        "InvalidPath",
                        format!("path {text:?} of host {host:?} is no valid expression: {first}"),
                    );
                }
            }
        } else {
            None
        };
        let route = self.route(text, backend, compiled, secure);
        let added = if expression {
            table.host(host).add_expression(route)
        } else {
            match path::normalise(text) {
                Ok(normal) if exact => table.host(host).add_exact(&normal.key, route),
                Ok(normal) => table.host(host).add_prefix(&normal.key, route),
                Err(reason) => return self.problem("InvalidPath", format!("path {text:?} of host {host:?}: {reason}")),
            }
        };
        let claim = format!("{host} {} {text}", if exact { "Exact" } else { "Prefix" });
        if added {
            owners.insert(claim, self.name.to_string());
        } else {
            let owner = owners.get(&claim).map_or("an older ingress", String::as_str).to_owned();
            self.problem(
                "PathConflict",
                format!("path {text:?} of host {host:?} is already served by {owner}; it keeps it"),
            );
        }
    }

    fn route(
        &self,
        path: &str,
        backend: Result<Vec<Arc<Endpoint>>, String>,
        expression: Option<Arc<regex::Regex>>,
        tls: bool,
    ) -> Arc<Route> {
        let backend = match backend.map(Endpoints::new) {
            Ok(Some(endpoints)) => Backend::Endpoints(endpoints),
            Ok(None) => Backend::Unavailable("the service has no ready endpoints".into()),
            Err(reason) => Backend::Unavailable(reason.into()),
        };
        Arc::new(Route {
            ingress: self.name.clone(),
            path: path.into(),
            policy: self.policy.clone(),
            backend,
            expression,
            tls,
            limiter: Limits::of(&self.policy).map(|limits| self.registry.limiter(&self.name, limits)),
            users: self.users.clone(),
            metrics: self.registry.metrics.ingress(&self.name),
        })
    }

    /// The ready endpoints behind `backend`, or why it cannot have any.
    fn backend(&mut self, backend: &IngressBackend) -> Result<Vec<Arc<Endpoint>>, String> {
        let Some(wanted) = &backend.service else {
            self.problem("UnsupportedBackend", "a backend is a resource; only services are supported".to_owned());
            return Err("the backend is not a service".to_owned());
        };
        let key = Key::namespaced(&self.namespace, &wanted.name);
        let Some(service) = self.observed.services.get(&key) else {
            self.problem(
                "ServiceNotFound",
                format!("service {:?} does not exist in namespace {}", wanted.name, self.namespace),
            );
            return Err(format!("service {} does not exist", wanted.name));
        };
        let spec = service.spec.as_ref();
        if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
            let message = format!("service {:?} is of type ExternalName, which the edge does not follow", wanted.name);
            self.problem("ExternalName", message);
            return Err(format!("service {} is of type ExternalName", wanted.name));
        }
        let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
        let number = wanted.port.as_ref().and_then(|port| port.number);
        let name = wanted.port.as_ref().and_then(|port| port.name.as_deref());
        let port = ports.iter().find(|port| match (name, number) {
            (Some(name), _) => port.name.as_deref() == Some(name),
            (None, number) => Some(port.port) == number,
        });
        let Some(port) = port else {
            let wanted_port = name.map(str::to_owned).or_else(|| number.map(|number| number.to_string()));
            let message = format!("service {:?} has no port {}", wanted.name, wanted_port.unwrap_or_default());
            self.problem("ServicePortNotFound", message.clone());
            return Err(message);
        };
        // A slice names its ports as the Service does; the nameless port has no name or an empty one.
        let port_name = port.name.as_deref().unwrap_or_default();
        Ok(self.endpoints(&key, port_name))
    }

    fn endpoints(&self, service: &Key, port_name: &str) -> Vec<Arc<Endpoint>> {
        let slices = self.observed.slices.get(service).map(Vec::as_slice).unwrap_or_default();
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for slice in slices {
            let named =
                slice.ports.iter().flatten().filter(|port| port.name.as_deref().unwrap_or_default() == port_name);
            for port in named.filter_map(|port| port.port.and_then(|port| u16::try_from(port).ok())) {
                let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
                    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
                });
                let parsed =
                    ready.flat_map(|endpoint| endpoint.addresses.first()).filter_map(|ip| ip.parse::<IpAddr>().ok());
                addresses.extend(
                    parsed
                        .filter(|ip| may_be_endpoint(*ip, self.config.loopback_endpoints))
                        .map(|ip| SocketAddr::new(ip, port)),
                );
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        addresses.into_iter().map(|address| self.registry.endpoint(address, self.policy.protocol)).collect()
    }

    /// Serves the certificates of `spec.tls`; the hosts that redirect to HTTPS, empty for all.
    fn add_certificates(&mut self, sections: &[IngressTLS], table: &mut Table) -> BTreeSet<String> {
        let mut hosts = BTreeSet::new();
        for section in sections {
            let named: Vec<String> = section.hosts.iter().flatten().map(|host| host.to_ascii_lowercase()).collect();
            match named.is_empty() {
                true => drop(hosts.insert(String::new())),
                false => hosts.extend(named.iter().cloned()),
            }
            // Without a secret name the default certificate serves the hosts.
            let Some(secret) = section.secret_name.as_deref().filter(|name| !name.is_empty()) else { continue };
            match self.certificate(secret) {
                Ok(certificate) => {
                    let rules = self.ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
                    let all: Vec<String> = match named.is_empty() {
                        true => rules.filter_map(|rule| rule.host.as_deref()).map(str::to_ascii_lowercase).collect(),
                        false => named,
                    };
                    all.iter().for_each(|host| table.certificates.add(host, &certificate));
                }
                Err(message) => self.problem("InvalidCertificate", message),
            }
        }
        hosts
    }

    fn certificate(&self, name: &str) -> Result<Arc<rustls::sign::CertifiedKey>, String> {
        let secret = self.secret(name)?;
        let revision = secret.metadata.resource_version.clone().unwrap_or_default();
        let field = |field: &str| {
            let data = secret.data.as_ref().and_then(|data| data.get(field));
            data.map(|data| data.0.as_slice()).ok_or_else(|| format!("secret {name:?} has no {field}"))
        };
        let (certificate, key) = (field("tls.crt")?, field("tls.key")?);
        let path = format!("{}/{name}/{}", self.namespace, secret.metadata.uid.as_deref().unwrap_or_default());
        self.registry
            .certificate(&path, &revision, || tls::certified_key(certificate, key))
            .map_err(|reason| format!("secret {name:?}: {reason}"))
    }

    fn secret(&self, name: &str) -> Result<&'a Secret, String> {
        let secret = self.observed.secrets.get(&Key::namespaced(&self.namespace, name));
        secret.map(Arc::as_ref).ok_or_else(|| format!("secret {name:?} does not exist in namespace {}", self.namespace))
    }

    fn load_users(&mut self, policy: &Policy) -> Result<Users, String> {
        let name = policy.auth_secret.as_deref().unwrap_or_default();
        let secret = self.secret(name)?;
        let data = secret.data.as_ref();
        let texts: Vec<(&str, &str)> = data
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str(), std::str::from_utf8(&value.0).ok()?)))
            .collect();
        let (users, problems) = if policy.auth_map {
            Users::parse(texts.into_iter())
        } else {
            let (_, file) = texts
                .into_iter()
                .find(|(key, _)| *key == "auth")
                .ok_or_else(|| format!("secret {name:?} has no key \"auth\" with htpasswd lines"))?;
            Users::parse(htpasswd::lines(file))
        };
        for problem in problems {
            self.problem("InvalidAuthSecret", format!("secret {name:?}: {problem}"));
        }
        Ok(users)
    }

    fn problem(&mut self, reason: &'static str, message: String) {
        self.problems.insert(Problem { reason, message });
    }
}

/// Whether an address may be a pod's: somebody who may write EndpointSlices must not reach this host's own services
/// or the cloud's metadata service through the edge (CVE-2021-25740 and its like).
fn may_be_endpoint(ip: IpAddr, loopback: bool) -> bool {
    if ip.to_canonical().is_loopback() {
        return loopback;
    }
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_link_local() || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()),
    }
}

fn covers(tls_hosts: &BTreeSet<String>, host: &str) -> bool {
    let wildcard = || host.split_once('.').is_some_and(|(_, suffix)| tls_hosts.contains(&format!("*.{suffix}")));
    tls_hosts.contains("") || (!host.is_empty() && (tls_hosts.contains(host) || wildcard()))
}

/// The expression of a path: anchored at its beginning and without regard to case, as nginx' `~*`. A plain `Prefix`
/// still ends where an element ends.
fn pattern(path: &str, path_type: &str) -> String {
    let plain = regex::escape(path) == path;
    match plain && path_type == "Prefix" && !path.ends_with('/') {
        true => format!("(?i)^{path}(?:/|$)"),
        false => format!("(?i)^{}", path.strip_prefix('^').unwrap_or(path)),
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
pub(crate) mod tests;
