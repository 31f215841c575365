//! Applications of chart repositories, and Applications that depend on something elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod setup;

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::PostParams};
use serde_json::json;
use setup::{
    server::{Answer, Site, chart},
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
async fn secrets_open_chart_repositories_that_the_project_permits_and_no_others() {
    let (setup, site) = (Setup::new().await, Site::new().await);
    let url = format!("{}/charts", site.url);
    site.publish(&[("db", "1.0.0", &chart("db", "1.0.0", ""))]);
    let index = format!("entries: {{db: [{{version: 1.0.0, urls: ['{url}/db-1.0.0.tgz']}}]}}");
    let basic = "Basic bWU6Y2FuYXJ5";
    site.put("/charts/index.yaml", Answer::Guarded(basic, index.into_bytes(), "Basic realm=x".to_owned()));
    let secret = json!({
        "metadata": {"name": "charts", "labels": {"argocd.argoproj.io/secret-type": "repository"}},
        "stringData": {"url": url, "type": "helm", "name": "charts", "username": "me", "password": "canary"},
    });
    let secrets: Api<Secret> = Api::namespaced(setup.client.clone(), "argocd");
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    let repository = setup.repository();
    let project = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject",
        "metadata": {"name": "team", "namespace": "argocd"},
        "spec": {"sourceRepos": [repository], "destinations": [{"server": "*", "namespace": "web"}]},
    });
    let kind = kube::api::ApiResource::from_gvk_with_plural(
        &kube::api::GroupVersionKind::gvk("argoproj.io", "v1alpha1", "AppProject"),
        "appprojects",
    );
    let projects: Api<kube::api::DynamicObject> = Api::namespaced_with(setup.client.clone(), "argocd", &kind);
    projects.create(&PostParams::default(), &serde_json::from_value(project).unwrap()).await.unwrap();
    let parent = "apiVersion: v2\nname: shop\nversion: 1.0.0\n";
    let dependency = format!("dependencies: [{{name: db, version: ^1.0.0, repository: '{url}'}}]\n");
    write(&repository, "Chart.yaml", &format!("{parent}{dependency}"));
    commit(&repository, "first");
    setup.create(&repository, json!({"spec": {"project": "team"}})).await;
    setup.wait("refusal", async || setup.condition().await.contains("the server refuses access")).await;
    assert!(setup.condition().await.contains("chart shop: dependency db ^1.0.0"), "{}", setup.condition().await);
    setup.patch_application(&json!({"spec": {"project": "default"}})).await;
    setup.wait("sync", async || setup.value_of("db").await.as_deref() == Some("1.0.0")).await;
    let application = setup.applications().get("site").await.unwrap();
    assert!(!serde_json::to_string(&application).unwrap().contains("canary"));
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
