//! Every kind, every verb: the table walked.

use lotse_kinds::{Kind, Storage};
use serde_json::{Value, json};

use crate::support::Cluster;

fn collection(kind: &Kind) -> String {
    let root =
        if kind.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}/{}", kind.group, kind.version) };
    let scope = if kind.namespaced { "/namespaces/default" } else { "" };
    format!("{root}{scope}/{}", kind.plural)
}

/// What a kind needs beyond a name.
fn minimal(kind: &Kind) -> Value {
    let pod = json!({"containers": [{"name": "c", "image": "i"}]});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod});
    let selector = json!({"matchLabels": {"a": "b"}});
    let mut job = template.clone();
    job["spec"]["restartPolicy"] = "Never".into();
    let client = json!({"url": "https://hook.example.com/x", "caBundle": ""});
    let webhook = json!([{"name": "a.example.com", "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"]}]);
    let mut object = match &*kind.kind {
        "Pod" => json!({"spec": pod}),
        "PodTemplate" => json!({"template": template}),
        "ReplicationController" => json!({"spec": {"selector": {"a": "b"}, "template": template}}),
        "Deployment" | "ReplicaSet" | "DaemonSet" => json!({"spec": {"selector": selector, "template": template}}),
        "StatefulSet" => json!({"spec": {"selector": selector, "serviceName": "s", "template": template}}),
        "ControllerRevision" => json!({"revision": 1, "data": {}}),
        "Job" => json!({"spec": {"template": job}}),
        "CronJob" => json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": job}}}}),
        "Service" => json!({"spec": {"ports": [{"port": 80}]}}),
        "PersistentVolume" => json!({"spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}}),
        "PersistentVolumeClaim" => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
        }
        "Event" if kind.group.is_empty() => {
            json!({"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}})
        }
        "Event" => {
            json!({"regarding": {"kind": "Pod", "name": "p", "namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingController": "example.com/c", "reportingInstance": "i", "action": "A", "reason": "R", "type": "Normal"})
        }
        "LimitRange" => json!({"spec": {"limits": [{"type": "Container"}]}}),
        "EndpointSlice" => json!({"addressType": "IPv4", "endpoints": []}),
        "Ingress" => json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
        "IngressClass" => json!({"spec": {"controller": "example.com/c"}}),
        "IPAddress" => json!({"spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "default"}}}),
        "ServiceCIDR" => json!({"spec": {"cidrs": ["10.9.0.0/24"]}}),
        "NetworkPolicy" => json!({"spec": {"podSelector": {}}}),
        "PodDisruptionBudget" => json!({"spec": {"minAvailable": 1, "selector": selector}}),
        "HorizontalPodAutoscaler" => {
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}})
        }
        "PriorityClass" => json!({"value": 5}),
        "RuntimeClass" => json!({"handler": "h"}),
        "StorageClass" => json!({"provisioner": "example.com/p"}),
        "VolumeAttributesClass" => json!({"driverName": "example.com"}),
        "CSIDriver" => json!({"spec": {}}),
        "CSINode" => json!({"spec": {"drivers": []}}),
        "CSIStorageCapacity" => json!({"storageClassName": "s"}),
        "VolumeAttachment" => {
            json!({"spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "p"}}})
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}})
        }
        "CertificateSigningRequest" => json!({"spec": {"signerName": "example.com/s", "usages": ["client auth"],
            "request": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlHZQotLS0tLUVORCBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0K"}}),
        "CustomResourceDefinition" => json!({"metadata": {"name": "things.example.com"}, "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
        "APIService" => json!({"metadata": {"name": "v1.example.org"}, "spec": {
            "group": "example.org", "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10}}),
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => json!({"webhooks": webhook}),
        "ValidatingAdmissionPolicy" => json!({"spec": {"validations": [{"expression": "true"}], "matchConstraints": {
            "resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}]}}}),
        "ValidatingAdmissionPolicyBinding" => json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}}),
        _ => json!({}),
    };
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = Value::from(&*kind.kind);
    if object["metadata"]["name"].is_null() {
        // CSIDriver and the like take subdomains, everything takes this.
        let group = kind.group.split('.').next().unwrap_or_default();
        let name = if kind.kind == "IPAddress" { "10.9.0.7".to_owned() } else { format!("x{group}{}", kind.version) };
        object["metadata"] = json!({"name": name});
    }
    // Something to own.
    object["metadata"]["labels"] = json!({"made": "here"});
    object
}

/// Kinds for which this walk has no object that could be accepted; each needs another object or a whole setup of its own.
const NOT_WALKED: [&str; 3] = ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "Binding"];

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_has_every_verb() {
    let cluster = Cluster::start().await;
    let kinds =
        lotse_kinds::builtin().iter().filter(|k| k.storage == Storage::Stored && !NOT_WALKED.contains(&&*k.kind));
    let walks = kinds.map(|kind| {
        let cluster = &cluster;
        async move { walk(cluster, kind).await.err().map(|failure| format!("{kind:?}: {failure}")) }
    });
    let failures: Vec<String> = futures::future::join_all(walks).await.into_iter().flatten().collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

async fn walk(cluster: &Cluster, kind: &Kind) -> Result<(), String> {
    let path = collection(kind);
    let object = minimal(kind);
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let item = format!("{path}/{name}");
    let expect = |what: &str, wanted: u16, (code, answer): (u16, Value)| {
        if code == wanted { Ok(answer) } else { Err(format!("{what}: {code} {}", answer["message"])) }
    };
    let before = expect("list", 200, cluster.admin_asks("GET", &path, &Value::Null).await)?;
    let revision = before["metadata"]["resourceVersion"].as_str().unwrap().to_owned();

    // Do everything, keep nothing.
    expect("dry create", 201, cluster.admin_asks("POST", &format!("{path}?dryRun=All"), &object).await)?;
    expect("get after dry create", 404, cluster.admin_asks("GET", &item, &Value::Null).await)?;
    let made = expect("create", 201, cluster.admin_asks("POST", &path, &object).await)?;
    for field in ["uid", "creationTimestamp", "resourceVersion", "managedFields"] {
        if made["metadata"][field].is_null() {
            return Err(format!("create: metadata.{field} is missing"));
        }
    }
    expect("create again", 409, cluster.admin_asks("POST", &path, &object).await)?;
    let got = expect("get", 200, cluster.admin_asks("GET", &item, &Value::Null).await)?;
    if (&got["kind"], &got["apiVersion"]) != (&object["kind"], &object["apiVersion"]) {
        return Err(format!("get: is {} {}", got["apiVersion"], got["kind"]));
    }
    let table = cluster.table(&item).await;
    let columns = table["columnDefinitions"].as_array().map_or(0, Vec::len);
    if columns < 2
        || table["rows"][0]["cells"].as_array().map_or(0, Vec::len) != columns
        || table["rows"][0]["object"]["metadata"]["name"] != *name
    {
        return Err(format!("table: {table}"));
    }

    // Nothing changes: nothing is written.
    let same = expect("update", 200, cluster.admin_asks("PUT", &item, &got).await)?;
    let latest = expect("get", 200, cluster.admin_asks("GET", &item, &Value::Null).await)?;
    if same["metadata"]["resourceVersion"] != latest["metadata"]["resourceVersion"] {
        return Err("update without change: another revision".to_owned());
    }
    for (content, patch) in [
        ("application/merge-patch+json", json!({"metadata": {"labels": {"merge": "1"}}})),
        ("application/strategic-merge-patch+json", json!({"metadata": {"labels": {"strategic": "1"}}})),
        ("application/json-patch+json", json!([{"op": "add", "path": "/metadata/labels/json", "value": "1"}])),
        (
            "application/apply-patch+yaml",
            json!({"apiVersion": object["apiVersion"], "kind": object["kind"],
            "metadata": {"name": name, "labels": {"apply": "1"}}}),
        ),
    ] {
        let path = format!("{item}?fieldManager=test");
        let answer = cluster.ask("admin", &["system:masters"], "PATCH", &path, content, patch.to_string()).await;
        expect(content, 200, answer)?;
    }
    let labelled = format!("{path}?labelSelector=merge%3D1,strategic%3D1,json%3D1,apply%3D1");
    let list = expect("list by label", 200, cluster.admin_asks("GET", &labelled, &Value::Null).await)?;
    let named = |item: &&Value| item["metadata"]["name"] == *name;
    if list["items"].as_array().map_or(0, |items| items.iter().filter(named).count()) != 1
        || list["kind"] != *kind.list_kind
    {
        return Err(format!("list by label: {list}"));
    }
    if kind.status {
        let status = json!({"metadata": {"labels": {"not": "here"}}, "status": {}}).to_string();
        let path = format!("{item}/status");
        let answer =
            cluster.ask("admin", &["system:masters"], "PATCH", &path, "application/merge-patch+json", status).await;
        let answer = expect("patch status", 200, answer)?;
        if !answer["metadata"]["labels"]["not"].is_null() {
            return Err("patch status: changes labels".to_owned());
        }
    }
    if kind.scale.is_some() {
        let scale = expect("get scale", 200, cluster.admin_asks("GET", &format!("{item}/scale"), &Value::Null).await)?;
        if scale["kind"] != "Scale" {
            return Err(format!("get scale: {scale}"));
        }
    }
    // A strange name and a stranger.
    let answer = cluster.ask("eve", &[], "GET", &item, "", "").await;
    expect("get as a stranger", 403, answer)?;
    let wrong = json!({"apiVersion": object["apiVersion"], "kind": "Wrong", "metadata": {"name": "w"}});
    expect("create another kind", 400, cluster.admin_asks("POST", &path, &wrong).await)?;

    let events = cluster.watch_until_deleted(&path, &revision, &name, &item).await?;
    let kinds: Vec<&str> = events.iter().map(String::as_str).collect();
    if kinds.first() != Some(&"ADDED") || kinds.last() != Some(&"DELETED") || kinds.len() < 6 {
        return Err(format!("watch: {kinds:?}"));
    }
    expect("get after delete", 404, cluster.admin_asks("GET", &item, &Value::Null).await)?;
    Ok(())
}

impl Cluster {
    async fn table(&self, path: &str) -> Value {
        use tower::ServiceExt;
        let client =
            lotse_api::ConnectionIdentity(std::sync::Arc::new(lotse_api::User::new("admin", ["system:masters"])));
        let mut request = http::Request::get(path)
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
            .body(axum::body::Body::empty())
            .unwrap();
        request.extensions_mut().insert(client);
        let response = self.api.router().oneshot(request).await.unwrap();
        serde_json::from_slice(&axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap()
    }

    /// Deletes the object and reads all of its events.
    async fn watch_until_deleted(
        &self,
        path: &str,
        revision: &str,
        name: &str,
        item: &str,
    ) -> Result<Vec<String>, String> {
        let (code, answer) = self.admin_asks("DELETE", item, &Value::Null).await;
        if code != 200 {
            return Err(format!("delete: {code} {}", answer["message"]));
        }
        // A namespace and a definition wait for their finalizers.
        if self.admin_asks("GET", item, &Value::Null).await.0 == 200 && path.ends_with("/namespaces") {
            let (_, mut namespace) = self.admin_asks("GET", item, &Value::Null).await;
            namespace["spec"]["finalizers"] = json!([]);
            let (code, answer) = self.admin_asks("PUT", &format!("{item}/finalize"), &namespace).await;
            if code != 200 {
                return Err(format!("finalize: {code} {}", answer["message"]));
            }
        }
        for _ in 0..100 {
            if self.admin_asks("GET", item, &Value::Null).await.0 == 404 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let watch =
            format!("{path}?watch=1&resourceVersion={revision}&timeoutSeconds=1&fieldSelector=metadata.name%3D{name}");
        let events = self.lines(&watch).await;
        Ok(events.iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect())
    }
}
