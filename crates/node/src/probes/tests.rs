#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::sync::Mutex;

use axum::{Router, http::StatusCode, response::Redirect, routing::get};
use serde_json::json;

use super::*;
use crate::testing::FakeRuntime;

async fn server() -> u16 {
    let router = Router::new()
        .route("/ok", get(|| async { "fine" }))
        .route("/bad", get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "broken") }))
        .route("/away", get(|| async { Redirect::temporary("http://192.0.2.1:9/secret") }))
        .route("/moved", get(|| async { Redirect::temporary("/bad") }))
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(30)).await }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

fn target(container: serde_json::Value) -> Target {
    Target {
        runtime: Arc::new(FakeRuntime::default()),
        pod_uid: "u".into(),
        container_id: "c".into(),
        pod_ip: Some("127.0.0.1".parse().unwrap()),
        container: Arc::new(serde_json::from_value(container).unwrap()),
    }
}

async fn check(probe: serde_json::Value, port: u16) -> Result<(), String> {
    let target = target(json!({"name": "c", "ports": [{"name": "web", "containerPort": port}]}));
    check_of(&serde_json::from_value(probe).unwrap()).unwrap().check(&target).await
}

#[tokio::test]
async fn http_answers_are_judged_and_redirects_stay_on_the_host() {
    let port = server().await;
    let path = |path: &str| json!({"httpGet": {"path": path, "port": "web"}});
    assert_eq!(check(path("/ok"), port).await, Ok(()));
    assert_eq!(check(path("ok"), port).await, Ok(()));
    assert_eq!(check(path("/away"), port).await, Ok(()), "counts as alive, nothing is sent there");
    let bad = check(path("/bad"), port).await.unwrap_err();
    assert_eq!(bad, "HTTP probe failed with statuscode: 500: broken");
    assert!(check(path("/moved"), port).await.unwrap_err().contains("500"));
    assert!(check(path("/loop"), port).await.unwrap_err().contains("redirects"));
    let unknown = check(json!({"httpGet": {"path": "/", "port": "nope"}}), port).await.unwrap_err();
    assert!(unknown.contains("nope"), "{unknown}");
}

#[tokio::test]
async fn tcp_succeeds_when_something_listens() {
    let port = server().await;
    assert_eq!(check(json!({"tcpSocket": {"port": port}}), port).await, Ok(()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap().port();
    drop(listener);
    assert!(check(json!({"tcpSocket": {"port": closed}}), port).await.is_err());
}

#[tokio::test]
async fn readiness_waits_for_the_startup_probe_and_liveness_ends_in_a_restart() {
    let port = server().await;
    let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
    let target = target(json!({"name": "c",
        "startupProbe": {"httpGet": {"path": "/ok", "port": port}},
        "readinessProbe": {"httpGet": {"path": "/ok", "port": port}},
        "livenessProbe": {"httpGet": {"path": "/bad", "port": port}, "failureThreshold": 1,
            "terminationGracePeriodSeconds": 7}}));
    let sink = reports.clone();
    let task = tokio::spawn(async move {
        run(target, Timestamp::now(), None, move |report| sink.lock().unwrap().push(report)).await;
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    task.abort();
    let reports = reports.lock().unwrap().clone();
    assert_eq!(reports.first(), Some(&Report::Started), "{reports:?}");
    assert!(reports.contains(&Report::Ready(true)));
    assert!(reports.contains(&Report::Failed {
        message: "Container c failed liveness probe, will be restarted".into(),
        grace: Some(Duration::from_secs(7))
    }));
}

#[tokio::test]
async fn a_probe_that_does_not_answer_fails_in_time() {
    let port = server().await;
    let reports: Arc<Mutex<Vec<Report>>> = Arc::default();
    let target = target(json!({"name": "c", "readinessProbe": {"httpGet": {"path": "/slow", "port": port}}}));
    let sink = reports.clone();
    let task = tokio::spawn(async move {
        run(target, Timestamp::now(), Some(true), move |report| sink.lock().unwrap().push(report)).await;
    });
    tokio::time::sleep(Duration::from_millis(1400)).await;
    task.abort();
    let reports = reports.lock().unwrap().clone();
    assert_eq!(reports, [Report::Unhealthy("Readiness probe failed: no answer within 1 s".into())]);
}
