//! `AppProject`: what the Applications of a project may read and write.
//!
//! The rules are evaluated on the objects as they will be applied, after rendering and after the namespace is known.

use globset::Glob;
use serde_json::Value;

use crate::application::{ApplicationSpec, Source};

/// The project that always exists and allows everything.
pub const DEFAULT: &str = "default";

/// What an object is, as far as a project cares.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// API group.
    pub group: &'a str,
    /// Kind.
    pub kind: &'a str,
    /// Namespace; `None` for cluster-scoped kinds.
    pub namespace: Option<&'a str>,
}

/// Why the source or the destination is not allowed by `project`, if it is not.
pub fn refuse_spec(project: &Value, spec: &ApplicationSpec) -> Option<String> {
    let name = project["metadata"]["name"].as_str().unwrap_or_default();
    let allowed = |source: &&Source| permits_repository(project, &source.repo_url);
    if let Some(source) = spec.all_sources().into_iter().find(|source| !allowed(source)) {
        return Some(format!("repository {} is not permitted in project {name}", source.repo_url));
    }
    refuse_destination(project, spec, &spec.destination.namespace)
}

/// Whether Applications of `project` may read a repository.
pub fn permits_repository(project: &Value, url: &str) -> bool {
    permits(&strings(&project["spec"]["sourceRepos"]), url)
}

/// Why objects may not go to `namespace`, if they may not.
fn refuse_destination(project: &Value, spec: &ApplicationSpec, namespace: &str) -> Option<String> {
    let name = project["metadata"]["name"].as_str().unwrap_or_default();
    let destinations = project["spec"]["destinations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let matches = |destination: &Value| {
        let server = destination["server"].as_str().unwrap_or_default();
        let cluster = destination["name"].as_str().unwrap_or_default();
        let server_ok = (!server.is_empty() && matches_glob(server, server_of(spec)))
            || (!cluster.is_empty() && matches_glob(cluster, cluster_of(spec)));
        server_ok && matches_glob(destination["namespace"].as_str().unwrap_or_default(), namespace)
    };
    if destinations.iter().any(matches) {
        return None;
    }
    Some(format!("destination namespace {namespace:?} is not permitted in project {name}"))
}

/// Why one object is not allowed, if it is not.
pub fn refuse_object(project: &Value, spec: &ApplicationSpec, target: Target<'_>) -> Option<String> {
    let name = project["metadata"]["name"].as_str().unwrap_or_default();
    let listed = |list: &str| {
        project["spec"][list].as_array().map(|entries| {
            entries.iter().any(|entry| {
                matches_glob(entry["group"].as_str().unwrap_or_default(), target.group)
                    && matches_glob(entry["kind"].as_str().unwrap_or_default(), target.kind)
            })
        })
    };
    let allowed = match target.namespace {
        // Cluster-scoped kinds must be listed; namespaced kinds are allowed unless a whitelist leaves them out.
        None => listed("clusterResourceWhitelist") == Some(true) && listed("clusterResourceBlacklist") != Some(true),
        Some(_) => {
            listed("namespaceResourceWhitelist") != Some(false) && listed("namespaceResourceBlacklist") != Some(true)
        }
    };
    if !allowed {
        let group = if target.group.is_empty() { "core" } else { target.group };
        return Some(format!("{} ({group}) is not permitted in project {name}", target.kind));
    }
    refuse_destination(project, spec, target.namespace?)
}

fn server_of(spec: &ApplicationSpec) -> &str {
    if spec.destination.server.is_empty() { "https://kubernetes.default.svc" } else { &spec.destination.server }
}

fn cluster_of(spec: &ApplicationSpec) -> &str {
    if spec.destination.name.is_empty() { "in-cluster" } else { &spec.destination.name }
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Some pattern matches and no pattern that begins with `!` does.
fn permits(patterns: &[&str], value: &str) -> bool {
    let denied =
        patterns.iter().filter_map(|pattern| pattern.strip_prefix('!')).any(|pattern| matches_glob(pattern, value));
    !denied && patterns.iter().filter(|pattern| !pattern.starts_with('!')).any(|pattern| matches_glob(pattern, value))
}

/// An invalid pattern matches nothing.
fn matches_glob(pattern: &str, value: &str) -> bool {
    pattern == value || Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::application::Destination;

    fn spec(repository: &str, namespace: &str) -> ApplicationSpec {
        ApplicationSpec {
            source: Some(Source { repo_url: repository.to_owned(), ..Source::default() }),
            destination: Destination { namespace: namespace.to_owned(), ..Destination::default() },
            ..ApplicationSpec::default()
        }
    }

    #[test]
    fn sources_and_destinations_are_confined() {
        let project = json!({"metadata": {"name": "team"}, "spec": {
            "sourceRepos": ["https://git.example.org/team/*", "!https://git.example.org/team/secret"],
            "destinations": [{"server": "https://kubernetes.default.svc", "namespace": "team-*"}]}});
        for (repository, namespace, allowed) in [
            ("https://git.example.org/team/app", "team-a", true),
            ("https://git.example.org/team/secret", "team-a", false),
            ("https://git.example.org/other/app", "team-a", false),
            ("https://git.example.org/team/app", "kube-system", false),
        ] {
            let refused = refuse_spec(&project, &spec(repository, namespace));
            assert_eq!(refused.is_none(), allowed, "{repository} {namespace}: {refused:?}");
        }
        assert!(refuse_spec(&json!({"metadata": {"name": "empty"}, "spec": {}}), &spec("x", "y")).is_some());
    }

    #[test]
    fn objects_are_judged_by_where_they_really_go() {
        let project = json!({"metadata": {"name": "team"}, "spec": {"sourceRepos": ["*"],
            "destinations": [{"server": "*", "namespace": "team"}],
            "namespaceResourceBlacklist": [{"group": "", "kind": "ResourceQuota"}]}});
        let spec = spec("x", "team");
        let target = |group, kind, namespace| Target { group, kind, namespace };
        assert!(refuse_object(&project, &spec, target("apps", "Deployment", Some("team"))).is_none());
        assert!(refuse_object(&project, &spec, target("apps", "Deployment", Some("kube-system"))).is_some());
        assert!(refuse_object(&project, &spec, target("", "ResourceQuota", Some("team"))).is_some());
        assert!(refuse_object(&project, &spec, target("rbac.authorization.k8s.io", "ClusterRole", None)).is_some());
    }
}
