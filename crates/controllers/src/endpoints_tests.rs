#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;

fn service(spec: Value) -> Service {
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "s"}, "spec": spec})).unwrap()
}

fn pod(name: &str, ip: Option<&str>, ready: bool, extra: Value) -> Arc<Pod> {
    let status = if ready { "True" } else { "False" };
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "n", "uid": name},
        "spec": {"nodeName": "node", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": status}]},
    });
    for (path, value) in extra.as_object().unwrap() {
        let (section, field) = path.split_once('.').unwrap();
        pod[section][field] = value.clone();
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn conditions(groups: &Groups) -> Vec<(String, bool, bool, bool)> {
    let all = groups.values().flatten().map(|endpoint| {
        let conditions = endpoint.conditions.as_ref().unwrap();
        let flag = |value: Option<bool>| value.unwrap();
        (endpoint.addresses[0].clone(), flag(conditions.ready), flag(conditions.serving), flag(conditions.terminating))
    });
    all.collect()
}

#[test]
fn endpoints_say_who_is_ready_serving_and_going() {
    let pods = [
        pod("a", Some("10.0.0.1"), true, json!({})),
        pod("b", Some("10.0.0.2"), false, json!({})),
        pod("c", Some("10.0.0.3"), true, json!({"metadata.deletionTimestamp": "2026-01-01T00:00:00Z"})),
        pod("d", None, true, json!({})),
        pod("e", Some("10.0.0.5"), true, json!({"status.phase": "Succeeded"})),
    ];
    let ports = json!([{"port": 80, "targetPort": "http"}]);
    let plain = service(json!({"ports": ports, "clusterIP": "10.1.0.1"}));
    let groups = from_pods(&plain, &pods);
    assert_eq!(
        conditions(&groups),
        [
            ("10.0.0.1".to_owned(), true, true, false),
            ("10.0.0.2".to_owned(), false, false, false),
            ("10.0.0.3".to_owned(), false, true, true),
        ]
    );
    let slices = slices_of(&plain, groups.clone());
    assert_eq!(slices.len(), 1);
    assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(8080));
    assert_eq!(slices, slices_of(&plain, groups.clone()), "names must be stable");
    let endpoints = endpoints_of(&plain, &groups);
    let subset = &endpoints.subsets.unwrap()[0];
    assert_eq!(subset.addresses.as_ref().unwrap().len(), 1);
    assert_eq!(subset.not_ready_addresses.as_ref().unwrap().len(), 1);

    let publishing = service(json!({"ports": ports, "clusterIP": "None", "publishNotReadyAddresses": true}));
    let groups = from_pods(&publishing, &pods);
    assert!(conditions(&groups).iter().all(|(_, ready, ..)| *ready));
    let slices = slices_of(&publishing, groups);
    assert!(slices[0].labels().contains_key(HEADLESS));
}

#[test]
fn a_named_port_may_be_another_number_in_each_pod() {
    let other = json!([{"name": "c", "ports": [{"name": "http", "containerPort": 9090}]}]);
    let none = json!([{"name": "c"}]);
    let pods = [
        pod("a", Some("10.0.0.1"), true, json!({})),
        pod("b", Some("10.0.0.2"), true, json!({"spec.containers": other})),
        pod("c", Some("10.0.0.3"), true, json!({"spec.containers": none})),
    ];
    let service = service(json!({"ports": [{"port": 80, "targetPort": "http"}]}));
    let slices = slices_of(&service, from_pods(&service, &pods));
    let ports: Vec<_> = slices.iter().map(|slice| slice.ports.as_ref().unwrap()[0].port.unwrap()).collect();
    assert_eq!(ports, [8080, 9090]);
}

#[test]
fn pods_of_the_subdomain_keep_their_hostname() {
    let named = json!({"spec.hostname": "db-0", "spec.subdomain": "web"});
    let foreign = json!({"spec.hostname": "db-1", "spec.subdomain": "other"});
    let pods = [pod("a", Some("10.0.0.1"), true, named), pod("b", Some("10.0.0.2"), true, foreign)];
    let groups = from_pods(&service(json!({"clusterIP": "None"})), &pods);
    let hostnames: Vec<_> = groups.values().flatten().map(|endpoint| endpoint.hostname.as_deref()).collect();
    assert_eq!(hostnames, [Some("db-0"), None]);
}

#[test]
fn many_endpoints_are_split_and_none_still_make_a_slice() {
    let pods: Vec<_> = (0..250)
        .map(|n| pod(&format!("p{n}"), Some(&format!("10.0.{}.{}", n / 250, n % 250)), true, json!({})))
        .collect();
    let service = service(json!({"ports": [{"port": 80}]}));
    let sizes: Vec<_> =
        slices_of(&service, from_pods(&service, &pods)).iter().map(|s| s.endpoints.as_ref().unwrap().len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert_eq!(slices_of(&service, Groups::new()).len(), 1);
}

#[test]
fn endpoints_written_by_others_are_mirrored_unless_they_are_records() {
    let endpoints: Endpoints = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "subsets": [{"addresses": [{"ip": "10.9.0.1"}], "ports": [{"port": 5432, "name": "pg"}]}],
    }))
    .unwrap();
    assert!(wants_mirror(&endpoints));
    let slices = slices_of(&service(json!({})), from_endpoints(&endpoints));
    assert_eq!(slices[0].endpoints.as_ref().unwrap()[0].addresses, ["10.9.0.1"]);
    assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(5432));
    let mut record = endpoints;
    record.annotations_mut().insert(LEADER.to_owned(), "{}".to_owned());
    assert!(!wants_mirror(&record));
}
