//! Watches see everything, once, in order.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::Cluster;

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_leave_no_gap_and_no_duplicate() {
    let cluster = std::sync::Arc::new(Cluster::start().await);
    let (_, list) = cluster.admin_asks("GET", CONFIGMAPS, &Value::Null).await;
    let start = revision(&list);
    let watch = {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            cluster
                .lines(&format!(
                    "{CONFIGMAPS}?watch=1&resourceVersion={start}&timeoutSeconds=4&allowWatchBookmarks=true"
                ))
                .await
        })
    };
    let writers = (0..8).map(|writer| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            for n in 0..25 {
                let name = format!("w{writer}-{n}");
                let (code, _) = cluster
                    .admin_asks("POST", CONFIGMAPS, &json!({"metadata": {"name": name}, "data": {"v": "0"}}))
                    .await;
                assert_eq!(code, 201);
                let patch = json!({"data": {"v": "1"}}).to_string();
                let path = format!("{CONFIGMAPS}/{name}");
                let answer = cluster
                    .ask("admin", &["system:masters"], "PATCH", &path, "application/merge-patch+json", patch)
                    .await;
                assert_eq!(answer.0, 200);
                if n % 2 == 0 {
                    assert_eq!(cluster.admin_asks("DELETE", &path, &Value::Null).await.0, 200);
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let events = watch.await.unwrap();
    let mut last = start;
    let mut state: HashMap<String, Value> = HashMap::new();
    for event in &events {
        let object = &event["object"];
        let now = revision(object);
        if event["type"] == "BOOKMARK" {
            assert!(now >= last);
            continue;
        }
        assert!(now > last, "{now} after {last}");
        last = now;
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        match event["type"].as_str().unwrap() {
            "ADDED" => assert!(state.insert(name, object.clone()).is_none()),
            "MODIFIED" => assert!(state.insert(name, object.clone()).is_some()),
            "DELETED" => assert!(state.remove(&name).is_some()),
            other => panic!("{other}"),
        }
    }
    let (_, list) = cluster.admin_asks("GET", CONFIGMAPS, &Value::Null).await;
    let items = list["items"].as_array().unwrap();
    assert_eq!(items.len(), 8 * 12);
    assert_eq!(state.len(), items.len());
    for item in items {
        assert_eq!(state[item["metadata"]["name"].as_str().unwrap()], *item);
    }
}

#[tokio::test]
async fn objects_enter_and_leave_a_selection() {
    let cluster = Cluster::start().await;
    let (_, list) = cluster.admin_asks("GET", CONFIGMAPS, &Value::Null).await;
    let start = revision(&list);
    assert_eq!(cluster.admin_asks("POST", CONFIGMAPS, &json!({"metadata": {"name": "a"}})).await.0, 201);
    for label in [json!("in"), json!("in"), json!("out"), json!("in"), Value::Null] {
        let patch = json!({"metadata": {"labels": {"l": label}}, "data": {"x": label}}).to_string();
        let path = format!("{CONFIGMAPS}/a");
        cluster.ask("admin", &["system:masters"], "PATCH", &path, "application/merge-patch+json", patch).await;
    }
    let path = format!("{CONFIGMAPS}?watch=1&resourceVersion={start}&timeoutSeconds=1&labelSelector=l%3Din");
    let types: Vec<Value> = cluster.lines(&path).await.into_iter().map(|mut e| e["type"].take()).collect();
    assert_eq!(types, ["ADDED", "DELETED", "ADDED", "DELETED"]);
}

#[tokio::test]
async fn initial_events_end_with_a_marked_bookmark() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.admin_asks("POST", CONFIGMAPS, &json!({"metadata": {"name": "a"}})).await.0, 201);
    let path = format!(
        "{CONFIGMAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    );
    let events = cluster.lines(&path).await;
    assert_eq!(events[0]["type"], "ADDED");
    assert_eq!(events[1]["type"], "BOOKMARK");
    assert_eq!(events[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn pages_are_of_one_moment() {
    let cluster = Cluster::start().await;
    for n in 0..10 {
        cluster.admin_asks("POST", CONFIGMAPS, &json!({"metadata": {"name": format!("c{n}")}})).await;
    }
    let (_, first) = cluster.admin_asks("GET", &format!("{CONFIGMAPS}?limit=4"), &Value::Null).await;
    assert_eq!(first["metadata"]["remainingItemCount"], 6);
    cluster.admin_asks("DELETE", &format!("{CONFIGMAPS}/c5"), &Value::Null).await;
    let mut names: Vec<String> = Vec::new();
    let mut page = first;
    loop {
        names.extend(
            page["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].as_str().unwrap().to_owned()),
        );
        let Some(token) = page["metadata"]["continue"].as_str().map(str::to_owned) else { break };
        let (code, next) =
            cluster.admin_asks("GET", &format!("{CONFIGMAPS}?limit=4&continue={token}"), &Value::Null).await;
        assert_eq!(code, 200, "{next}");
        page = next;
    }
    assert_eq!(names, (0..10).map(|n| format!("c{n}")).collect::<Vec<_>>());
}
