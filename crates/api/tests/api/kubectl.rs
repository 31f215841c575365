//! What people type.

use crate::support::Cluster;

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1.27
        ports: [{containerPort: 80}]
"#;

macro_rules! says {
    ($text:expr, $($part:expr),+) => {{
        let text = $text;
        $(assert!(text.contains($part), "{:?} is missing in:\n{text}", $part);)+
        text
    }};
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_shown_changed_and_removed() {
    let cluster = Cluster::start().await;
    let kubectl = cluster.kubectl().await;

    says!(kubectl.run(&["get", "namespaces"]).await, "NAME", "STATUS", "kube-system", "Active");
    says!(kubectl.run_with(&["apply", "-f", "-"], DEPLOYMENT).await, "deployment.apps/web created");
    says!(kubectl.run_with(&["apply", "-f", "-"], DEPLOYMENT).await, "deployment.apps/web unchanged");
    says!(kubectl.run(&["get", "deploy", "-o", "wide"]).await, "READY", "UP-TO-DATE", "0/2", "nginx:1.27", "app=web");
    says!(
        kubectl.run(&["get", "deploy", "web", "-o", "jsonpath={.spec.strategy.rollingUpdate.maxSurge}"]).await,
        "25%"
    );
    says!(kubectl.run(&["scale", "deploy/web", "--replicas=3"]).await, "scaled");
    says!(kubectl.run(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]).await, "3");

    let changed = DEPLOYMENT.replace("nginx:1.27", "nginx:1.28");
    let diff = kubectl.outcome(&["diff", "-f", "-"], &changed).await;
    assert_eq!(diff.status.code(), Some(1), "{}", String::from_utf8_lossy(&diff.stderr));
    says!(
        String::from_utf8_lossy(&diff.stdout).into_owned(),
        "-      - image: nginx:1.27",
        "+      - image: nginx:1.28"
    );
    let diff = kubectl.outcome(&["diff", "--server-side", "--force-conflicts", "-f", "-"], &changed).await;
    assert_eq!(diff.status.code(), Some(1), "{}", String::from_utf8_lossy(&diff.stderr));

    for (kind, patch) in [
        ("strategic", r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"a"}]}}}}"#),
        ("merge", r#"{"metadata":{"labels":{"x":"y"}}}"#),
        ("json", r#"[{"op":"replace","path":"/spec/replicas","value":5}]"#),
    ] {
        says!(kubectl.run(&["patch", "deploy", "web", "--type", kind, "-p", patch]).await, "patched");
    }
    let shown = kubectl.run(&["get", "deploy", "web", "-o", "yaml"]).await;
    says!(shown, "image: a", "containerPort: 80", "x: \"y\"", "replicas: 5");

    says!(kubectl.run(&["label", "deploy/web", "tier=front"]).await, "labeled");
    says!(kubectl.run(&["annotate", "deploy/web", "note=hello"]).await, "annotated");
    says!(kubectl.run(&["get", "deploy", "-l", "tier in (front)", "--show-labels"]).await, "tier=front");
    says!(kubectl.run(&["get", "deploy", "-l", "tier!=front"]).await, "No resources found");
    says!(kubectl.run(&["edit", "deploy/web"]).await, "edited");
    says!(kubectl.run(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]).await, "4");
    says!(kubectl.run(&["set", "image", "deploy/web", "web=nginx:9"]).await, "image updated");
    says!(kubectl.run(&["rollout", "restart", "deploy/web"]).await, "restarted");
    says!(kubectl.run(&["describe", "deploy/web"]).await, "nginx:9", "Replicas:");
    says!(kubectl.run(&["delete", "deploy/web"]).await, "deleted");
    says!(kubectl.refused(&["get", "deploy", "web"], "").await, "deployments.apps \"web\" not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_owns_fields() {
    let cluster = Cluster::start().await;
    let kubectl = cluster.kubectl().await;
    says!(kubectl.run_with(&["apply", "--server-side", "-f", "-"], DEPLOYMENT).await, "serverside-applied");
    let other = DEPLOYMENT.replace("replicas: 2", "replicas: 7");
    let refused = kubectl.refused(&["apply", "--server-side", "--field-manager=other", "-f", "-"], &other).await;
    says!(refused, "conflict", ".spec.replicas");
    let forced = ["apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-"];
    says!(kubectl.run_with(&forced, &other).await, "serverside-applied");
    says!(
        kubectl.run(&["get", "deploy", "web", "--show-managed-fields", "-o", "yaml"]).await,
        "manager: other",
        "replicas: 7"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_explains_itself() {
    let cluster = Cluster::start().await;
    let kubectl = cluster.kubectl().await;
    says!(
        kubectl.run(&["api-resources"]).await,
        "deployments",
        "deploy",
        "apps/v1",
        "applications",
        "argoproj.io/v1alpha1"
    );
    says!(kubectl.run(&["api-versions"]).await, "apps/v1", "batch/v1", "rbac.authorization.k8s.io/v1");
    says!(kubectl.run(&["explain", "deployment.spec.replicas"]).await, "FIELD: replicas", "<integer>");
    says!(kubectl.run(&["explain", "pod.spec.containers.ports"]).await, "containerPort");
    says!(kubectl.run(&["explain", "applications.argoproj.io.spec"]).await, "KIND:", "Application");
    says!(kubectl.run(&["version"]).await, "Server Version");
    says!(kubectl.run(&["cluster-info"]).await, "is running at");
    says!(kubectl.run(&["get", "--raw", "/readyz?verbose"]).await, "[+]store ok", "readyz check passed");
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_asked_for_and_given() {
    let cluster = Cluster::start().await;
    let kubectl = cluster.kubectl().await;
    says!(kubectl.run(&["auth", "can-i", "delete", "nodes"]).await, "yes");
    says!(kubectl.run(&["auth", "whoami"]).await, "admin", "system:masters");
    let refused = kubectl.outcome(&["auth", "can-i", "get", "pods", "--as", "eve"], "").await;
    says!(String::from_utf8_lossy(&refused.stdout).into_owned(), "no");
    says!(kubectl.run(&["create", "rolebinding", "eve", "--clusterrole=view", "--user=eve"]).await, "created");
    says!(kubectl.run(&["auth", "can-i", "get", "pods", "--as", "eve"]).await, "yes");
    says!(kubectl.run(&["auth", "can-i", "--list", "--as", "eve"]).await, "pods", "[get list watch]");
    says!(
        kubectl.refused(&["get", "secrets", "--as", "eve"], "").await,
        "secrets is forbidden: User \"eve\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\""
    );

    says!(kubectl.run(&["create", "serviceaccount", "robot"]).await, "created");
    let token = kubectl.run(&["create", "token", "robot", "--duration=1h"]).await;
    let identity = kubectl.run(&["auth", "whoami", "--token", token.trim()]).await;
    // The certificate of the kubeconfig comes with the connection, and names the caller before any token does.
    says!(identity, "admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_named() {
    let cluster = Cluster::start().await;
    let kubectl = cluster.kubectl().await;
    let unknown = DEPLOYMENT.replace("replicas: 2", "replica: 2");
    says!(kubectl.refused(&["apply", "-f", "-"], &unknown).await, "unknown field \"spec.replica\"");
    says!(
        kubectl.run_with(&["apply", "--validate=warn", "-f", "-"], &unknown).await,
        "unknown field \"spec.replica\"",
        "created"
    );
    let wrong = DEPLOYMENT.replace("name: web, labels", "name: Web_1, labels");
    says!(kubectl.refused(&["apply", "-f", "-"], &wrong).await, "Invalid value", "metadata.name");
    let selector = DEPLOYMENT
        .replace("name: web, labels", "name: other, labels")
        .replace("matchLabels: {app: web}", "matchLabels: {app: x}");
    says!(kubectl.refused(&["apply", "-f", "-"], &selector).await, "selector");
    says!(
        kubectl.refused(&["create", "configmap", "x", "-n", "nowhere"], "").await,
        "namespaces \"nowhere\" not found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_kinds_like_others() {
    let cluster = Cluster::start().await;
    let kubectl = cluster.kubectl().await;
    let definition = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.shop.example.com}
spec:
  group: shop.example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wg]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [colour]
            properties:
              size: {type: integer, default: 3, minimum: 1}
              colour: {type: string, description: Which colour it has.}
          status: {type: object, properties: {size: {type: integer}}}
"#;
    says!(kubectl.run_with(&["apply", "-f", "-"], definition).await, "created");
    kubectl.run(&["wait", "--for=condition=Established", "crd/widgets.shop.example.com", "--timeout=10s"]).await;
    let widget = "apiVersion: shop.example.com/v1\nkind: Widget\nmetadata: {name: a}\nspec: {colour: red}\n";
    says!(kubectl.run_with(&["apply", "-f", "-"], widget).await, "widget.shop.example.com/a created");
    says!(kubectl.run(&["get", "wg"]).await, "SIZE", "3");
    says!(kubectl.run(&["explain", "widget.spec.colour"]).await, "Which colour it has.");
    says!(kubectl.run(&["scale", "wg/a", "--replicas=5"]).await, "scaled");
    says!(kubectl.run(&["get", "wg", "a", "-o", "jsonpath={.spec.size}"]).await, "5");
    let bad = widget.replace("colour: red", "size: 0, colour: red");
    says!(kubectl.refused(&["apply", "-f", "-"], &bad).await, "spec.size", "greater than or equal to 1");
    says!(kubectl.run(&["delete", "crd", "widgets.shop.example.com", "--timeout=20s"]).await, "deleted");
    says!(kubectl.refused(&["get", "widgets"], "").await, "the server");
}
