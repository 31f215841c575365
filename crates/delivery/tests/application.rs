//! Applications against the real API server, in-process, and real Git repositories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{path::Path, time::Duration};

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

mod setup;

use setup::*;

/// The definition of `Widget (example.org/v1)`.
fn definition() -> serde_json::Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}}]},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_delivered_drift_is_healed_and_what_is_gone_is_pruned() {
    let setup = Setup::new().await;
    let repository = setup.repository();
    write(&repository, "a.yaml", &config_map("a", "one"));
    write(&repository, "b.yaml", &config_map("b", "one"));
    commit(&repository, "first");
    setup.create(&repository, json!({})).await;
    setup.wait("first sync", async || setup.status().await == ("Synced".to_owned(), "Healthy".to_owned())).await;
    assert_eq!(setup.value_of("a").await.as_deref(), Some("one"));

    write(&repository, "a.yaml", &config_map("a", "two"));
    commit(&repository, "second");
    let took = setup.wait("commit", async || setup.value_of("a").await.as_deref() == Some("two")).await;
    assert!(took < Duration::from_secs(2), "a commit took {took:?}");

    let patch = json!({"data": {"key": "drift"}});
    setup.config_maps().patch("a", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    let took = setup.wait("healing", async || setup.value_of("a").await.as_deref() == Some("two")).await;
    assert!(took < Duration::from_secs(2), "healing took {took:?}");

    setup.config_maps().delete("b", &DeleteParams::default()).await.unwrap();
    setup.wait("deleted object", async || setup.value_of("b").await.is_some()).await;

    std::fs::remove_file(repository.join("deploy/b.yaml")).unwrap();
    commit(&repository, "third");
    setup.wait("pruning", async || setup.value_of("b").await.is_none()).await;

    setup
        .wait("the history", async || {
            let status = setup.applications().get("site").await.unwrap().status.unwrap();
            status.history.len() == 3 && status.operation_state.is_some_and(|state| state.phase == "Succeeded")
        })
        .await;
    let status = setup.applications().get("site").await.unwrap().status.unwrap();
    let times = [status.reconciled_at, status.history[2].deployed_at, status.operation_state.unwrap().finished_at];
    for time in times.map(Option::unwrap) {
        assert_eq!(time.subsec_nanosecond(), 0, "{time}: times of objects are whole seconds");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_an_application_deletes_its_objects_but_not_those_marked_prune_false() {
    let setup = Setup::new().await;
    let repository = setup.repository();
    write(&repository, "a.yaml", &config_map("a", "one"));
    let keep = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: keep\n  annotations:\n    argocd.argoproj.io/sync-options: Prune=false\ndata:\n  key: one\n";
    write(&repository, "keep.yaml", keep);
    commit(&repository, "first");
    setup.create(&repository, json!({})).await;
    setup.wait("first sync", async || setup.status().await.0 == "Synced").await;
    setup.applications().delete("site", &DeleteParams::default()).await.unwrap();
    setup.wait("deletion", async || setup.applications().get_opt("site").await.unwrap().is_none()).await;
    assert_eq!(setup.value_of("a").await, None);
    assert_eq!(setup.value_of("keep").await.as_deref(), Some("one"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn causes_of_trouble_stand_in_the_conditions() {
    let setup = Setup::new().await;
    let repository = setup.repository();
    write(&repository, "a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\nunknown: 1\n");
    commit(&repository, "unknown field");
    setup.create(&repository, json!({})).await;
    setup.wait("unknown field", async || setup.condition().await.contains("SyncError")).await;
    let condition = setup.condition().await;
    assert!(condition.contains("unknown") && condition.contains("deploy/a.yaml"), "{condition}");

    write(&repository, "a.yaml", "a: 1\na: 2\n");
    commit(&repository, "duplicate key");
    setup.wait("duplicate key", async || setup.condition().await.contains("deploy/a.yaml:2")).await;

    write(&repository, "a.yaml", "apiVersion: rbac.authorization.k8s.io/v1beta1\nkind: Role\nmetadata:\n  name: r\n");
    commit(&repository, "version of old");
    setup.wait("version of old", async || setup.condition().await.contains("as rbac.authorization.k8s.io/v1")).await;

    write(&repository, "a.yaml", &config_map("a", "good"));
    commit(&repository, "repaired");
    setup.wait("repair", async || setup.status().await == ("Synced".to_owned(), "Healthy".to_owned())).await;
    assert_eq!(setup.condition().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kinds_that_nobody_defines_are_named_and_the_rest_is_delivered() {
    let setup = Setup::new().await;
    let repository = setup.repository();
    let widget = |name: &str| format!("apiVersion: example.org/v1\nkind: Widget\nmetadata:\n  name: {name}\n");
    write(&repository, "a.yaml", &config_map("a", "one"));
    write(&repository, "w.yaml", &format!("{}---\n{}", widget("w"), widget("v")));
    commit(&repository, "unknown kind");
    setup.create(&repository, json!({})).await;
    setup.wait("the rest", async || setup.value_of("a").await.as_deref() == Some("one")).await;
    setup.wait("the cause", async || setup.condition().await.contains("2 of 3 objects could not be synced")).await;
    let condition = setup.condition().await;
    let wanted = "Widget (example.org/v1) is not known to the cluster: install its CustomResourceDefinition";
    assert!(condition.contains(wanted) && condition.contains("deploy/w.yaml"), "{condition}");
    assert_eq!(setup.status().await.0, "OutOfSync");
    // What was delivered before stays, and the kind that is defined later is delivered then.
    write(&repository, "b.yaml", &definition().to_string());
    commit(&repository, "the definition");
    setup.wait("sync", async || setup.status().await == ("Synced".to_owned(), "Healthy".to_owned())).await;
    assert_eq!(setup.condition().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_does_not_exist_is_named() {
    let setup = Setup::new().await;
    setup.create(Path::new("/no/such/repository"), json!({})).await;
    setup
        .wait("missing repository", async || setup.condition().await.contains("/no/such/repository: does not exist"))
        .await;
    assert_eq!(setup.status().await.0, "Unknown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_and_its_objects_arrive_in_one_sync_and_waves_are_kept() {
    let setup = Setup::new().await;
    let repository = setup.repository();
    write(&repository, "z-definition.json", &definition().to_string());
    write(
        &repository,
        "a-widget.yaml",
        "apiVersion: example.org/v1\nkind: Widget\nmetadata:\n  name: w\n  annotations:\n    argocd.argoproj.io/sync-wave: '2'\nspec:\n  size: 3\n",
    );
    commit(&repository, "first");
    setup.create(&repository, json!({})).await;
    setup.wait("sync", async || setup.status().await == ("Synced".to_owned(), "Healthy".to_owned())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_automation_nothing_happens_until_a_sync_is_asked_for() {
    let setup = Setup::new().await;
    let repository = setup.repository();
    write(&repository, "a.yaml", &config_map("a", "one"));
    commit(&repository, "first");
    setup.create(&repository, json!({"spec": {"syncPolicy": {"automated": null}}})).await;
    setup.wait("comparison", async || setup.status().await.0 == "OutOfSync").await;
    assert_eq!(setup.value_of("a").await, None);
    let operation = json!({"operation": {"sync": {}, "initiatedBy": {"username": "me"}}});
    setup.applications().patch("site", &PatchParams::default(), &Patch::Merge(&operation)).await.unwrap();
    setup.wait("sync", async || setup.status().await.0 == "Synced").await;
    assert_eq!(setup.value_of("a").await.as_deref(), Some("one"));
    assert!(setup.applications().get("site").await.unwrap().operation.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_directory_is_delivered_as_it_is() {
    let setup = Setup::new().await;
    let directory = setup.directory.path().join("plain");
    std::fs::create_dir_all(directory.join("deploy")).unwrap();
    write(&directory, "a.yaml", &config_map("a", "one"));
    setup.create(&directory, json!({})).await;
    setup.wait("sync", async || setup.value_of("a").await.as_deref() == Some("one")).await;
    write(&directory, "a.yaml", &config_map("a", "two"));
    let took = setup.wait("change", async || setup.value_of("a").await.as_deref() == Some("two")).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
}
