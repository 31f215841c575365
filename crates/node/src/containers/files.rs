//! `/etc/hosts`, `/etc/resolv.conf` and `/etc/hostname`, which the node manages for every pod.

use std::{fmt::Write, net::IpAddr};

use k8s_openapi::api::core::v1::{Pod, PodSpec};

/// Longest host name that the kernel takes.
const HOSTNAME_MAX: usize = 63;

/// Kubernetes' limits of a resolver configuration (`k8s.io/kubernetes/pkg/apis/core/validation`).
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

/// `spec.hostname`, or the pod's name cut to what a host name may be.
pub(crate) fn hostname(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let own = spec
        .and_then(|spec| spec.hostname_override.as_deref().or(spec.hostname.as_deref()))
        .filter(|name| !name.is_empty());
    let name = own.or(pod.metadata.name.as_deref()).unwrap_or("localhost");
    let mut end = name.len().min(HOSTNAME_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].trim_end_matches(['-', '.']).to_owned()
}

/// `<hostname>.<subdomain>.<namespace>.svc.<cluster domain>` for a pod with a subdomain.
fn fully_qualified(pod: &Pod, cluster_domain: &str) -> Option<String> {
    let subdomain = pod.spec.as_ref()?.subdomain.as_deref().filter(|name| !name.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Some(format!("{}.{subdomain}.{namespace}.svc.{cluster_domain}", hostname(pod)))
}

/// The name inside the UTS namespace.
pub(crate) fn uts_hostname(pod: &Pod, cluster_domain: &str) -> String {
    let as_fqdn = pod.spec.as_ref().and_then(|spec| spec.set_hostname_as_fqdn) == Some(true);
    let long = as_fqdn.then(|| fully_qualified(pod, cluster_domain)).flatten();
    long.filter(|name| name.len() <= HOSTNAME_MAX + 1).unwrap_or_else(|| hostname(pod))
}

/// The managed hosts file. Host aliases are written one line each; values cannot start lines of their own.
pub(crate) fn hosts(pod: &Pod, pod_ip: Option<&str>, cluster_domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    if let Some(ip) = pod_ip {
        match fully_qualified(pod, cluster_domain) {
            Some(long) => {
                let _ = writeln!(text, "{ip}\t{long}\t{}", hostname(pod));
            }
            None => {
                let _ = writeln!(text, "{ip}\t{}", hostname(pod));
            }
        }
    }
    text.push_str(&aliases(pod));
    text
}

/// The lines of `spec.hostAliases`.
pub(crate) fn aliases(pod: &Pod) -> String {
    let mut text = String::new();
    let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let names: Vec<String> = alias.hostnames.iter().flatten().map(|name| one_word(name)).collect();
        let _ = writeln!(text, "{}\t{}", one_word(&alias.ip), names.join("\t"));
    }
    text
}

/// What a resolver configuration consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    pub(crate) nameservers: Vec<String>,
    pub(crate) searches: Vec<String>,
    pub(crate) options: Vec<String>,
}

// === impl Resolver ===

impl Resolver {
    /// Reads the lines that matter of a `resolv.conf(5)`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut result = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => result.nameservers.extend(words.next().map(str::to_owned)),
                Some("search") => result.searches = words.map(str::to_owned).collect(),
                Some("options") => result.options = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        result
    }

    /// The file's text.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        let join = |words: &[String]| words.iter().map(|word| one_word(word)).collect::<Vec<_>>().join(" ");
        for server in self.nameservers.iter().take(MAX_NAMESERVERS) {
            let _ = writeln!(text, "nameserver {}", one_word(server));
        }
        if !self.searches.is_empty() {
            let kept = self.searches.get(..self.searches.len().min(MAX_SEARCHES)).unwrap_or_default();
            let _ = writeln!(text, "search {}", join(kept));
        }
        if !self.options.is_empty() {
            let _ = writeln!(text, "options {}", join(&self.options));
        }
        text
    }
}

/// `dnsPolicy` and `dnsConfig` (https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/).
pub(crate) fn resolver(
    spec: &PodSpec,
    namespace: &str,
    cluster_dns: IpAddr,
    cluster_domain: &str,
    host: &Resolver,
) -> Resolver {
    let host_network = spec.host_network == Some(true);
    let mut result = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "None" => Resolver::default(),
        "Default" => host.clone(),
        "ClusterFirst" if host_network => host.clone(),
        _ => Resolver {
            nameservers: vec![cluster_dns.to_string()],
            searches: [
                format!("{namespace}.svc.{cluster_domain}"),
                format!("svc.{cluster_domain}"),
                cluster_domain.to_owned(),
            ]
            .into_iter()
            .chain(host.searches.iter().cloned())
            .collect(),
            options: vec!["ndots:5".into()],
        },
    };
    let Some(config) = &spec.dns_config else { return result };
    let push = |list: &mut Vec<String>, value: &String| {
        if !list.contains(value) {
            list.push(value.clone());
        }
    };
    config.nameservers.iter().flatten().for_each(|server| push(&mut result.nameservers, server));
    config.searches.iter().flatten().for_each(|search| push(&mut result.searches, search));
    for option in config.options.iter().flatten() {
        let Some(name) = &option.name else { continue };
        result.options.retain(|old| old.split(':').next() != Some(name));
        result.options.push(match option.value.as_deref().filter(|value| !value.is_empty()) {
            Some(value) => format!("{name}:{value}"),
            None => name.clone(),
        });
    }
    result
}

/// A value that cannot break out of its line.
fn one_word(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "n"}, "spec": spec})).unwrap()
    }

    #[test]
    fn the_hosts_file_names_the_pod_and_its_aliases() {
        let pod = pod(json!({"subdomain": "web", "containers": [],
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["foo", "bar\n6.6.6.6 evil"]}]}));
        let text = hosts(&pod, Some("10.0.0.3"), "cluster.local");
        assert!(text.contains("10.0.0.3\tweb-0.web.n.svc.cluster.local\tweb-0\n"), "{text}");
        assert!(text.ends_with("1.2.3.4\tfoo\tbar6.6.6.6evil\n"), "{text}");
    }

    #[test]
    fn the_resolver_follows_policy_and_config() {
        let host = Resolver::parse("nameserver 9.9.9.9\nsearch lan\n# x\noptions edns0\n");
        let render = |spec| {
            let pod = pod(spec);
            let dns = "10.43.0.10".parse().unwrap();
            resolver(pod.spec.as_ref().unwrap(), "n", dns, "cluster.local", &host).render()
        };
        assert_eq!(
            render(json!({"containers": []})),
            "nameserver 10.43.0.10\nsearch n.svc.cluster.local svc.cluster.local cluster.local lan\noptions ndots:5\n"
        );
        assert_eq!(
            render(json!({"containers": [], "hostNetwork": true})),
            "nameserver 9.9.9.9\nsearch lan\noptions edns0\n"
        );
        assert_eq!(
            render(json!({"containers": [], "dnsPolicy": "None",
                "dnsConfig": {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]}})),
            "nameserver 1.1.1.1\noptions ndots:2\n"
        );
        assert!(
            render(json!({"containers": [], "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}}))
                .ends_with("options ndots:1\n")
        );
    }

    #[test]
    fn a_long_name_becomes_a_valid_host_name() {
        let mut pod = pod(json!({"containers": []}));
        pod.metadata.name = Some(format!("{}-{}", "a".repeat(62), "b"));
        assert_eq!(hostname(&pod), "a".repeat(62));
    }
}
