#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::catalog::tests::{catalog, service, slice};

fn zone() -> Zone {
    Zone::new("cluster.local", vec!["10.222.0.0/16".parse().unwrap(), "10.223.0.0/16".parse().unwrap()]).unwrap()
}

fn cluster() -> Catalog {
    catalog(&[
        service(
            "web",
            json!({"clusterIP": "10.223.0.5", "ports": [
            {"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]}),
        ),
        slice("web", json!([{"name": "http", "port": 8080}]), json!([{"addresses": ["10.222.0.9"]}])),
        service("db", json!({"clusterIP": "None", "ports": [{"name": "pg", "port": 5432}]})),
        slice(
            "db",
            json!([{"name": "pg", "port": 5432, "protocol": "TCP"}]),
            json!([
                {"addresses": ["10.222.0.2"], "hostname": "db-0"},
                {"addresses": ["10.222.0.3"], "hostname": "db-1"},
                {"addresses": ["10.222.0.4"], "hostname": "db-2", "conditions": {"ready": false}},
                {"addresses": ["10.222.0.5"]},
            ]),
        ),
        service("empty", json!({"clusterIP": "None"})),
        service("idle", json!({"clusterIP": "10.223.0.6", "ports": [{"port": 1}]})),
        service("outside", json!({"type": "ExternalName", "externalName": "db.example.org"})),
        service("inside", json!({"type": "ExternalName", "externalName": "web.default.svc.cluster.local"})),
        service("ring", json!({"type": "ExternalName", "externalName": "ring.default.svc.cluster.local"})),
    ])
}

/// The answer as one line: code, then data of answers.
fn ask(kind: RecordType, name: &str) -> String {
    let query = Query::query(Name::from_ascii(name).unwrap(), kind);
    match zone().answer(Some(&cluster()), &query, 0) {
        Answer::Here(message) => {
            let records: Vec<_> = message.answers.iter().map(|record| record.data.to_string()).collect();
            let soa = if message.authorities.is_empty() { "" } else { " SOA" };
            format!("{:?}{soa} {}", message.metadata.response_code, records.join(" | ")).trim().to_owned()
        }
        Answer::Alias { answers, target } => format!("Alias {} {target}", answers.len()),
        Answer::Elsewhere => "Elsewhere".to_owned(),
    }
}

#[test]
fn names_of_services_and_pods_are_answered_as_the_specification_says() {
    use RecordType::{A, AAAA, CNAME, MX, PTR, SOA, SRV, TXT};
    let cases = [
        (A, "web.default.svc.cluster.local.", "NoError 10.223.0.5"),
        (A, "WEB.Default.SVC.Cluster.Local.", "NoError 10.223.0.5"),
        (AAAA, "web.default.svc.cluster.local.", "NoError SOA"),
        (MX, "web.default.svc.cluster.local.", "NoError SOA"),
        (A, "idle.default.svc.cluster.local.", "NoError 10.223.0.6"),
        (A, "nope.default.svc.cluster.local.", "NXDomain SOA"),
        (AAAA, "nope.default.svc.cluster.local.", "NXDomain SOA"),
        (A, "web.other.svc.cluster.local.", "NXDomain SOA"),
        (SRV, "_http._tcp.web.default.svc.cluster.local.", "NoError 0 100 80 web.default.svc.cluster.local."),
        (SRV, "_dns._udp.web.default.svc.cluster.local.", "NoError 0 100 53 web.default.svc.cluster.local."),
        (SRV, "_dns._tcp.web.default.svc.cluster.local.", "NXDomain SOA"),
        (SRV, "_nope._tcp.web.default.svc.cluster.local.", "NXDomain SOA"),
        (A, "_http._tcp.web.default.svc.cluster.local.", "NoError SOA"),
        (A, "_tcp.web.default.svc.cluster.local.", "NoError SOA"),
        (A, "10-222-0-9.web.default.svc.cluster.local.", "NoError 10.222.0.9"),
        (A, "db.default.svc.cluster.local.", "NoError 10.222.0.2 | 10.222.0.3 | 10.222.0.5"),
        (A, "db-0.db.default.svc.cluster.local.", "NoError 10.222.0.2"),
        (A, "db-2.db.default.svc.cluster.local.", "NXDomain SOA"),
        (A, "10-222-0-5.db.default.svc.cluster.local.", "NoError 10.222.0.5"),
        (
            SRV,
            "_pg._tcp.db.default.svc.cluster.local.",
            "NoError 0 100 5432 db-0.db.default.svc.cluster.local. | 0 100 5432 db-1.db.default.svc.cluster.local. | \
             0 100 5432 10-222-0-5.db.default.svc.cluster.local.",
        ),
        (A, "empty.default.svc.cluster.local.", "NXDomain SOA"),
        (A, "outside.default.svc.cluster.local.", "Alias 1 db.example.org."),
        (CNAME, "outside.default.svc.cluster.local.", "NoError db.example.org."),
        (A, "inside.default.svc.cluster.local.", "NoError web.default.svc.cluster.local. | 10.223.0.5"),
        (A, "ring.default.svc.cluster.local.", "ServFail"),
        (A, "10-222-0-9.default.pod.cluster.local.", "NoError 10.222.0.9"),
        (A, "8-8-8-8.default.pod.cluster.local.", "NXDomain SOA"),
        (A, "x.default.pod.cluster.local.", "NXDomain SOA"),
        (A, "cluster.local.", "NoError SOA"),
        (SOA, "cluster.local.", "NoError ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"),
        (A, "svc.cluster.local.", "NoError SOA"),
        (A, "default.svc.cluster.local.", "NoError SOA"),
        (A, "other.svc.cluster.local.", "NXDomain SOA"),
        (A, "x.cluster.local.", "NXDomain SOA"),
        (TXT, "dns-version.cluster.local.", "NoError 1.1.0"),
        (PTR, "5.0.223.10.in-addr.arpa.", "NoError web.default.svc.cluster.local."),
        (PTR, "2.0.222.10.in-addr.arpa.", "NoError db-0.db.default.svc.cluster.local."),
        (PTR, "77.0.222.10.in-addr.arpa.", "NXDomain SOA"),
        (PTR, "1.2.0.192.in-addr.arpa.", "Elsewhere"),
        (A, "example.org.", "Elsewhere"),
        (A, "xcluster.local.", "Elsewhere"),
        (A, ".", "Elsewhere"),
    ];
    for (kind, name, expected) in cases {
        assert_eq!(ask(kind, name), expected, "{kind} {name}");
    }
}

#[test]
fn answers_rotate_and_carry_a_short_time_to_live() {
    let query = Query::query(Name::from_ascii("db.default.svc.cluster.local.").unwrap(), RecordType::A);
    let first = |rotation| match zone().answer(Some(&cluster()), &query, rotation) {
        Answer::Here(message) => {
            assert!(message.answers.iter().all(|record| record.ttl == TTL));
            message.answers[0].data.to_string()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!([first(0), first(1), first(2), first(3)], ["10.222.0.2", "10.222.0.3", "10.222.0.5", "10.222.0.2"]);
}

#[test]
fn before_the_caches_are_filled_nothing_is_denied() {
    let query = Query::query(Name::from_ascii("web.default.svc.cluster.local.").unwrap(), RecordType::A);
    let Answer::Here(message) = zone().answer(None, &query, 0) else { panic!("forwarded") };
    assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn a_domain_that_is_none_is_refused() {
    for domain in ["", ".", "a..b", &"x".repeat(300)] {
        assert!(Zone::new(domain, Vec::new()).is_err(), "{domain:?}");
    }
}

proptest! {
    #[test]
    fn any_name_under_the_domain_is_answered_without_panic(labels in proptest::collection::vec("[_a-z0-9-]{1,12}|svc|pod|default|web|db", 0..8)) {
        let name = Name::from_ascii(format!("{}.cluster.local.", labels.join("."))).or_else(|_| Name::from_ascii("cluster.local."));
        let query = Query::query(name.unwrap(), RecordType::SRV);
        let answered = matches!(zone().answer(Some(&cluster()), &query, 3), Answer::Here(_) | Answer::Alias { .. });
        prop_assert!(answered);
    }
}
