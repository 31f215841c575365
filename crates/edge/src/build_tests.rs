#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;
use crate::metrics::Metrics;

/// A cluster of objects written as JSON.
pub(crate) fn observed(objects: &[Value]) -> Observed {
    let mut observed = Observed::default();
    for object in objects {
        let kind = object["kind"].as_str().unwrap();
        let mut object = object.clone();
        if object["metadata"]["namespace"].is_null() && kind != "IngressClass" {
            object["metadata"]["namespace"] = json!("default");
        }
        let key = Key {
            namespace: object["metadata"]["namespace"].as_str().map(str::to_owned),
            name: object["metadata"]["name"].as_str().unwrap().to_owned(),
        };
        match kind {
            "Ingress" => observed.ingresses.push(Arc::new(serde_json::from_value(object).unwrap())),
            "IngressClass" => observed.classes.push(Arc::new(serde_json::from_value(object).unwrap())),
            "Service" => drop(observed.services.insert(key, Arc::new(serde_json::from_value(object).unwrap()))),
            "Secret" => drop(observed.secrets.insert(key, Arc::new(serde_json::from_value(object).unwrap()))),
            _ => {
                let service = object["metadata"]["labels"]["kubernetes.io/service-name"].as_str().unwrap().to_owned();
                let key = Key { name: service, ..key };
                observed.slices.entry(key).or_default().push(Arc::new(serde_json::from_value(object).unwrap()));
            }
        }
    }
    observed
}

/// A Service with port 80 (`http`) and its slice.
pub(crate) fn service(name: &str, endpoints: &[&str], port: u16) -> [Value; 2] {
    let endpoints: Vec<Value> =
        endpoints.iter().map(|ip| json!({ "addresses": [ip], "conditions": { "ready": true } })).collect();
    [
        json!({ "kind": "Service", "apiVersion": "v1", "metadata": { "name": name },
            "spec": { "ports": [{ "name": "http", "port": 80, "targetPort": "web" }] } }),
        json!({ "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
            "metadata": { "name": format!("{name}-1"), "labels": { "kubernetes.io/service-name": name } },
            "addressType": "IPv4", "ports": [{ "name": "http", "port": port }], "endpoints": endpoints }),
    ]
}

/// An Ingress of rules `(host, path, type, service)`.
pub(crate) fn ingress(name: &str, annotations: Value, rules: &[(&str, &str, &str, &str)]) -> Value {
    let rules: Vec<Value> = rules
        .iter()
        .map(|(host, path, path_type, service)| {
            let backend = json!({ "service": { "name": service, "port": { "number": 80 } } });
            let mut rule =
                json!({ "http": { "paths": [{ "path": path, "pathType": path_type, "backend": backend }] } });
            if !host.is_empty() {
                rule["host"] = json!(host);
            }
            rule
        })
        .collect();
    json!({ "kind": "Ingress", "apiVersion": "networking.k8s.io/v1",
        "metadata": { "name": name, "annotations": annotations }, "spec": { "rules": rules } })
}

pub(crate) fn config() -> Config {
    Config::new("127.0.0.1:0".parse().unwrap(), None)
}

fn built(objects: &[Value]) -> (Table, Problems) {
    build(&observed(objects), &config(), &Registry::new(Metrics::default()).unwrap())
}

/// Which path of which Ingress serves a request.
fn found(table: &Table, host: &str, path: &str) -> String {
    let normal = path::normalise(path).unwrap();
    table.find(host, &normal.key).map_or("none".to_owned(), |route| format!("{} {}", route.ingress, route.path))
}

fn reasons(problems: &Problems, name: &str) -> Vec<&'static str> {
    problems.get(&Key::namespaced("default", name)).into_iter().flatten().map(|problem| problem.reason).collect()
}

#[test]
fn the_most_specific_rule_serves() {
    let (table, problems) = built(&[
        ingress(
            "a",
            json!({}),
            &[
                ("a.org", "/", "Prefix", "x"),
                ("a.org", "/foo", "Prefix", "x"),
                ("a.org", "/foo/bar/", "Prefix", "x"),
                ("a.org", "/foo", "Exact", "x"),
                ("*.a.org", "/", "Prefix", "x"),
                ("b.org", "/only", "ImplementationSpecific", "x"),
            ],
        ),
        ingress("any", json!({}), &[("", "/any", "Prefix", "x")]),
    ]);
    assert_eq!(reasons(&problems, "a"), ["ServiceNotFound"]);
    for (host, path, expected) in [
        ("a.org", "/", "default/a /"),
        ("a.org", "/foo", "default/a /foo"),
        ("a.org", "/foo/", "default/a /foo"),
        ("a.org", "/foo/x", "default/a /foo"),
        ("a.org", "/foobar", "default/a /"),
        ("a.org", "/foo/bar", "default/a /foo/bar/"),
        ("a.org", "/foo/bar/baz", "default/a /foo/bar/"),
        ("a.org", "/x/../foo/y", "default/a /foo"),
        ("a.org", "/%66oo/y", "default/a /foo"),
        ("a.org", "//foo//y", "default/a /foo"),
        ("a.org", "/foo%2Fy", "default/a /foo"),
        ("x.a.org", "/foo", "default/a /"),
        ("y.x.a.org", "/any", "default/any /any"),
        ("b.org", "/only/x", "default/a /only"),
        ("b.org", "/any", "none"),
        ("c.org", "/any/x", "default/any /any"),
        ("c.org", "/", "none"),
    ] {
        assert_eq!(found(&table, host, path), expected, "{host}{path}");
    }
    let exact = table.find("a.org", "/foo").unwrap();
    assert!(!Arc::ptr_eq(exact, table.find("a.org", "/foo/").unwrap()), "Exact is before Prefix");
}

#[test]
fn the_oldest_ingress_keeps_a_contested_path() {
    let aged = |name: &str, time: &str| {
        let mut ingress = ingress(name, json!({}), &[("a.org", "/", "Prefix", "x")]);
        ingress["metadata"]["creationTimestamp"] = json!(time);
        ingress
    };
    let (table, problems) = built(&[aged("a-young", "2026-02-01T00:00:00Z"), aged("z-old", "2026-01-01T00:00:00Z")]);
    assert_eq!(found(&table, "a.org", "/"), "default/z-old /");
    assert!(reasons(&problems, "a-young").contains(&"PathConflict"));
    assert!(!reasons(&problems, "z-old").contains(&"PathConflict"));
}

#[test]
fn expressions_rewrite_with_what_they_captured() {
    let (table, _) = built(&[ingress(
        "a",
        json!({ "nginx.ingress.kubernetes.io/rewrite-target": "/v2/$2" }),
        &[("a.org", "/api(/|$)(.*)", "ImplementationSpecific", "x"), ("a.org", "/plain", "Prefix", "x")],
    )]);
    for (path, expected) in [
        ("/api", Some("/v2/")),
        ("/api/users/1", Some("/v2/users/1")),
        ("/API/users", Some("/v2/users")),
        ("/api/a%20b%3Fc", Some("/v2/a%20b%3Fc")),
        ("/api/caf%C3%A9", Some("/v2/caf%C3%A9")),
        ("/apiary", None),
        ("/plain", Some("/v2/")),
        ("/plainer", None),
    ] {
        let normal = path::normalise(path).unwrap();
        let route = table.find("a.org", &normal.key);
        let forward = route.map(|route| route.rewrite(&normal).unwrap().into_owned());
        assert_eq!(forward.as_deref(), expected, "{path}");
    }
}

#[test]
fn a_broken_expression_harms_only_its_own_path() {
    let (table, problems) = built(&[ingress(
        "a",
        json!({ "nginx.ingress.kubernetes.io/use-regex": "true" }),
        &[("a.org", "/(", "ImplementationSpecific", "x"), ("a.org", "/ok/[0-9]+", "ImplementationSpecific", "x")],
    )]);
    assert!(reasons(&problems, "a").contains(&"InvalidPath"));
    assert_eq!(found(&table, "a.org", "/ok/12"), "default/a /ok/[0-9]+");
    assert_eq!(found(&table, "a.org", "/ok/x"), "none");
}

#[test]
fn only_ready_endpoints_of_the_named_port_are_used() {
    let [service, mut slice] = service("x", &["10.0.0.1", "10.0.0.2"], 8080);
    slice["endpoints"][1]["conditions"]["ready"] = json!(false);
    slice["endpoints"].as_array_mut().unwrap().push(json!({ "addresses": ["127.0.0.1"] }));
    slice["endpoints"].as_array_mut().unwrap().push(json!({ "addresses": ["169.254.169.254"] }));
    slice["endpoints"].as_array_mut().unwrap().push(json!({ "addresses": ["10.0.0.3"] }));
    let rules = ingress("a", json!({}), &[("a.org", "/", "Prefix", "x")]);
    let (table, problems) = built(&[rules, service, slice]);
    assert_eq!(problems, Problems::new());
    let Backend::Endpoints(endpoints) = &table.find("a.org", "/").unwrap().backend else { panic!("no endpoints") };
    let addresses: Vec<String> = endpoints.list().iter().map(|endpoint| endpoint.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.1:8080", "10.0.0.3:8080"], "not what this host keeps to itself");
}

#[test]
fn what_leads_nowhere_says_why() {
    let [mut external, _] = service("ext", &[], 80);
    external["spec"] = json!({ "type": "ExternalName", "externalName": "metadata.google.internal" });
    let [other, other_slice] = service("other", &["10.0.0.9"], 80).map(|mut object| {
        object["metadata"]["namespace"] = json!("secret");
        object
    });
    let [empty, empty_slice] = service("empty", &[], 80);
    let mut wrong_port = ingress("port", json!({}), &[("p.org", "/", "Prefix", "empty")]);
    wrong_port["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"] = json!({ "name": "grpc" });
    let (table, problems) = built(&[
        ingress(
            "a",
            json!({}),
            &[("e.org", "/", "Prefix", "ext"), ("o.org", "/", "Prefix", "other"), ("n.org", "/", "Prefix", "empty")],
        ),
        wrong_port,
        external,
        other,
        other_slice,
        empty,
        empty_slice,
    ]);
    assert_eq!(reasons(&problems, "a"), ["ExternalName", "ServiceNotFound"]);
    assert_eq!(reasons(&problems, "port"), ["ServicePortNotFound"]);
    for (host, text) in [
        ("e.org", "ExternalName"),
        ("o.org", "does not exist"),
        ("n.org", "no ready endpoints"),
        ("p.org", "no port grpc"),
    ] {
        let Backend::Unavailable(reason) = &table.find(host, "/").unwrap().backend else {
            panic!("{host} has endpoints")
        };
        assert!(reason.contains(text), "{host}: {reason}");
    }
}

#[test]
fn classes_decide_whose_an_ingress_is() {
    let class = |name: &str, controller: &str, default: bool| {
        json!({ "kind": "IngressClass", "metadata": { "name": name,
            "annotations": { "ingressclass.kubernetes.io/is-default-class": default.to_string() } },
            "spec": { "controller": controller } })
    };
    let foreign = class("traefik", "traefik.io/ingress-controller", false);
    let foreign_default = class("traefik", "traefik.io/ingress-controller", true);
    let own = class("public", "lotse.dev/ingress-controller", false);
    let stolen = class("nginx", "nginx.org/ingress-controller", false);
    for (named, annotated, classes, expected) in [
        (None, None, vec![], true),
        (None, None, vec![foreign.clone()], true),
        (None, None, vec![foreign_default], false),
        (Some("nginx"), None, vec![], true),
        (Some("lotse"), None, vec![], true),
        (Some("nginx"), None, vec![stolen], false),
        (Some("traefik"), None, vec![foreign], false),
        (Some("haproxy"), None, vec![], false),
        (Some("public"), None, vec![own], true),
        (None, Some("nginx"), vec![], true),
        (None, Some("traefik"), vec![], false),
    ] {
        let mut object = ingress("a", json!({}), &[]);
        if let Some(named) = named {
            object["spec"]["ingressClassName"] = json!(named);
        }
        if let Some(annotated) = annotated {
            object["metadata"]["annotations"]["kubernetes.io/ingress.class"] = json!(annotated);
        }
        let observed = observed(&[vec![object], classes.clone()].concat());
        assert_eq!(
            is_ours(&observed.ingresses[0], &observed.classes, &config()),
            expected,
            "{named:?} {annotated:?} {classes:?}"
        );
    }
}

#[test]
fn passwords_that_are_missing_close_the_ingress() {
    let annotations = json!({
        "nginx.ingress.kubernetes.io/auth-type": "basic",
        "nginx.ingress.kubernetes.io/auth-secret": "users",
    });
    let rules = ingress("a", annotations, &[("a.org", "/", "Prefix", "x")]);
    let foreign =
        json!({ "kind": "Secret", "metadata": { "name": "users", "namespace": "other" }, "data": { "auth": "" } });
    let (table, problems) = built(&[rules, foreign]);
    assert!(reasons(&problems, "a").contains(&"AuthSecretMissing"));
    assert!(table.find("a.org", "/").unwrap().policy.blocked.is_some());
}

#[test]
fn default_backends_serve_what_no_path_matches() {
    let mut own = ingress("own", json!({}), &[("a.org", "/x", "Exact", "x")]);
    own["spec"]["defaultBackend"] = json!({ "service": { "name": "x", "port": { "number": 80 } } });
    let mut global = ingress("global", json!({}), &[]);
    global["spec"] = json!({ "defaultBackend": { "service": { "name": "x", "port": { "number": 80 } } } });
    let (table, _) = built(&[own, global]);
    assert_eq!(found(&table, "a.org", "/x"), "default/own /x");
    assert_eq!(found(&table, "a.org", "/y"), "default/own /");
    assert_eq!(found(&table, "b.org", "/y"), "default/global /");
}

#[test]
fn an_alias_does_not_take_a_host_that_another_ingress_names() {
    let alias = json!({ "nginx.ingress.kubernetes.io/server-alias": "bank.org, free.org" });
    let (table, _) = built(&[
        ingress("a-thief", alias, &[("a.org", "/", "Prefix", "x")]),
        ingress("bank", json!({}), &[("bank.org", "/login", "Prefix", "x")]),
    ]);
    assert_eq!(found(&table, "bank.org", "/login"), "default/bank /login");
    assert_eq!(found(&table, "bank.org", "/"), "none");
    assert_eq!(found(&table, "free.org", "/"), "default/a-thief /");
}
