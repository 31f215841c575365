//! Applications of chart repositories, and Applications that depend on something elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod setup;

use std::time::Duration;

use serde_json::json;
use setup::{
    server::{Site, chart},
    *,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chart_of_a_repository_is_delivered_in_its_newest_version() {
    let (setup, site) = (Setup::new().await, Site::new().await);
    let (first, second) = (chart("shop", "1.2.0", ""), chart("shop", "1.3.0", ""));
    site.publish(&[("shop", "1.2.0", &first)]);
    let url = format!("{}/charts", site.url);
    let source = json!({"chart": "shop", "targetRevision": "1.*", "path": ""});
    setup.create(&url, json!({"spec": {"source": source}})).await;
    setup.wait("first version", async || setup.value_of("shop").await.as_deref() == Some("1.2.0")).await;
    setup.wait("status", async || setup.status().await.0 == "Synced").await;
    let status = setup.applications().get("site").await.unwrap().status.unwrap();
    assert_eq!((status.sync.revision.as_str(), status.source_type.as_str()), ("1.2.0", "Helm"));
    assert_eq!(status.history.last().unwrap().revision, "1.2.0");
    site.publish(&[("shop", "1.3.0", &second), ("shop", "1.2.0", &first)]);
    setup.wait("next version", async || setup.value_of("shop").await.as_deref() == Some("1.3.0")).await;
    setup
        .wait("history", async || {
            let status = setup.applications().get("site").await.unwrap().status.unwrap_or_default();
            status.sync.revision == "1.3.0" && status.history.last().is_some_and(|entry| entry.revision == "1.3.0")
        })
        .await;
    // One version and no constraint: nobody is asked again.
    setup.patch_application(&json!({"spec": {"source": {"targetRevision": "1.2.0"}}})).await;
    setup.wait("the version", async || setup.value_of("shop").await.as_deref() == Some("1.2.0")).await;
    let before = site.requests.lock().unwrap().len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(site.requests.lock().unwrap().len(), before);
    setup.patch_application(&json!({"spec": {"source": {"targetRevision": "9.*"}}})).await;
    let expected = "has no version of shop 9.*; it has 1.3.0, 1.2.0";
    setup.wait("refusal", async || setup.condition().await.contains(expected)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_what_a_source_depends_on_elsewhere_is_noticed_by_polling() {
    let (setup, site) = (Setup::new().await, Site::new().await);
    site.content("/map.yaml", config_map("elsewhere", "one"));
    let repository = setup.repository();
    write(&repository, "kustomization.yaml", &format!("resources: ['{}/map.yaml']\n", site.url));
    commit(&repository, "first");
    setup.create(&repository, json!({})).await;
    setup.wait("first", async || setup.value_of("elsewhere").await.as_deref() == Some("one")).await;
    site.content("/map.yaml", config_map("elsewhere", "two"));
    let took = setup.wait("second", async || setup.value_of("elsewhere").await.as_deref() == Some("two")).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    // The status says what cannot be had.
    write(&repository, "kustomization.yaml", "resources: ['http://127.0.0.1:9/map.yaml']\n");
    commit(&repository, "unreachable");
    setup
        .wait("error", async || setup.condition().await.contains("deploy: repository http://127.0.0.1:9/map.yaml"))
        .await;
    assert!(setup.condition().await.starts_with("ComparisonError"));
}
