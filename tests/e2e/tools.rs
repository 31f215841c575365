//! Kustomizations and charts delivered from Git into a running cluster.

use libtest_mimic::Trial;
use lotse_e2e::{Cluster, Options, Repository, Shared, project};

use crate::claim;

static CLUSTER: Shared<Cluster> = Shared::new(|| {
    let cluster = Cluster::start("tools", &Options::default());
    cluster.import("students", "demo:v1");
    cluster
});

/// Takes the cluster down.
pub(crate) fn finish() {
    CLUSTER.finish();
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        claim("tools::a_kustomization_is_delivered_and_a_changed_base_reaches_it", || CLUSTER.with(kustomization)),
        claim("tools::overrides_of_an_application_reach_the_objects", || CLUSTER.with(overrides)),
        claim("tools::a_chart_is_delivered_with_its_values_and_runs", || CLUSTER.with(chart)),
        claim("tools::generated_passwords_stay_the_same_from_sync_to_sync", || CLUSTER.with(passwords)),
        claim("tools::the_environments_of_students_are_delivered_side_by_side", || CLUSTER.with(environments)),
        claim("tools::the_chart_of_music_events_is_delivered", || CLUSTER.with(music_events)),
        claim("tools::a_broken_template_is_shown_with_its_place", || {
            CLUSTER.with(broken);
            finish();
        }),
    ]
}

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: demo:v1
        imagePullPolicy: Never
        command: [/bin/busybox, sleep, '1000']
        envFrom: [{configMapRef: {name: settings}}]
";

fn apply(cluster: &Cluster, repository: &Repository, name: &str, path: &str, more: &str) {
    let url = format!("file://{}", repository.path().display());
    let manifest = format!(
        "apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {{name: {name}, namespace: argocd}}
spec:
  project: default
  source: {{repoURL: '{url}', targetRevision: HEAD, path: {path}{more}}}
  destination: {{server: 'https://kubernetes.default.svc', namespace: {name}}}
  syncPolicy: {{automated: {{prune: true, selfHeal: true}}, syncOptions: [CreateNamespace=true]}}
"
    );
    cluster.apply(&manifest).ok();
}

fn synced(cluster: &Cluster, name: &str, health: &str) {
    cluster.wait(&format!("{name} is Synced and {health}"), 60, |cluster| {
        let status = &cluster.get(&["application", name, "-n", "argocd"])["status"];
        status["sync"]["status"] == "Synced" && (health.is_empty() || status["health"]["status"] == health)
    });
}

fn kustomization(cluster: &Cluster) {
    let repository = Repository::new();
    repository.write("base/web.yaml", DEPLOYMENT);
    repository.write(
        "base/kustomization.yaml",
        "resources: [web.yaml]\nconfigMapGenerator:\n- {name: settings, literals: [LEVEL=info]}\n",
    );
    repository.write(
        "prod/kustomization.yaml",
        "resources: [../base]\nnamePrefix: prod-\nreplicas: [{name: web, count: 2}]\n",
    );
    repository.commit("first");
    apply(cluster, &repository, "kustomized", "prod", "");
    synced(cluster, "kustomized", "Healthy");
    let status = cluster.get(&["application", "kustomized", "-n", "argocd"]);
    assert_eq!(status["status"]["sourceType"], "Kustomize");
    let deployment = || cluster.get(&["deployment", "prod-web", "-n", "kustomized"]);
    assert_eq!(deployment()["status"]["readyReplicas"], 2);
    let reference = |object: &serde_json::Value| {
        object["spec"]["template"]["spec"]["containers"][0]["envFrom"][0]["configMapRef"]["name"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let before = reference(&deployment());
    repository.write(
        "base/kustomization.yaml",
        "resources: [web.yaml]\nconfigMapGenerator:\n- {name: settings, literals: [LEVEL=debug]}\n",
    );
    repository.commit("the base changes");
    cluster.wait("the generated name has changed", 30, |_| reference(&deployment()) != before);
    // The old ConfigMap is pruned.
    cluster.wait("one ConfigMap is left", 30, |cluster| {
        let all = cluster.get(&["configmaps", "-n", "kustomized"]);
        let names = all["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap());
        names.filter(|name| name.starts_with("prod-settings")).count() == 1
    });
}

fn overrides(cluster: &Cluster) {
    let repository = Repository::new();
    repository.write(
        "app/kustomization.yaml",
        "configMapGenerator:\n- {name: settings, literals: [A=1], options: {disableNameSuffixHash: true}}\n",
    );
    repository.commit("first");
    let more = ", kustomize: {namePrefix: my-, commonLabels: {team: blue}, commonAnnotations: {note: hello}}";
    apply(cluster, &repository, "overridden", "app", more);
    synced(cluster, "overridden", "");
    let object = cluster.get(&["configmap", "my-settings", "-n", "overridden"]);
    assert_eq!(object["metadata"]["labels"]["team"], "blue");
    assert_eq!(object["metadata"]["annotations"]["note"], "hello");
}

fn write_chart(repository: &Repository) {
    repository.write("chart/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\n");
    repository.write("chart/values.yaml", "replicas: 1\nlevel: info\n");
    let template = format!(
        "{}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata:\n  LEVEL: {{{{ .Values.level | quote }}}}\n  RELEASE: {{{{ .Release.Name }}}}/{{{{ .Release.Namespace }}}}\n  PASSWORD: {{{{ randAlphaNum 20 | quote }}}}\n  HAS: {{{{ .Capabilities.APIVersions.Has \"apps/v1/Deployment\" | quote }}}}\n",
        DEPLOYMENT.replace("spec:\n  selector", "spec:\n  replicas: {{ .Values.replicas }}\n  selector")
    );
    repository.write("chart/templates/all.yaml", &template);
    repository.write("chart/values-prod.yaml", "replicas: 2\n");
}

fn chart(cluster: &Cluster) {
    let repository = Repository::new();
    write_chart(&repository);
    repository.commit("first");
    let more = ", helm: {valueFiles: [values-prod.yaml], parameters: [{name: level, value: 'a,b'}], releaseName: rel}";
    apply(cluster, &repository, "charted", "chart", more);
    synced(cluster, "charted", "Healthy");
    let status = cluster.get(&["application", "charted", "-n", "argocd"]);
    assert_eq!(status["status"]["sourceType"], "Helm");
    assert_eq!(cluster.get(&["deployment", "web", "-n", "charted"])["status"]["readyReplicas"], 2);
    let data = &cluster.get(&["configmap", "settings", "-n", "charted"])["data"];
    assert_eq!(
        (&data["LEVEL"], &data["RELEASE"], &data["HAS"]),
        (&"a,b".into(), &"rel/charted".into(), &"true".into())
    );
}

fn passwords(cluster: &Cluster) {
    let repository = Repository::new();
    write_chart(&repository);
    repository.commit("first");
    apply(cluster, &repository, "secretive", "chart", ", helm: {parameters: [{name: replicas, value: '0'}]}");
    synced(cluster, "secretive", "");
    let data = |key: &str| {
        cluster.get(&["configmap", "settings", "-n", "secretive"])["data"][key].as_str().unwrap_or_default().to_owned()
    };
    let before = data("PASSWORD");
    assert_eq!(before.len(), 20);
    repository.write("chart/values.yaml", "replicas: 1\nlevel: debug\n");
    repository.commit("another level");
    cluster.wait("the new level is there", 30, |_| data("LEVEL") == "debug");
    assert_eq!(data("PASSWORD"), before);
    // Another Application of the same chart has another password.
    apply(cluster, &repository, "secretive-too", "chart", ", helm: {parameters: [{name: replicas, value: '0'}]}");
    synced(cluster, "secretive-too", "");
    let other = cluster.get(&["configmap", "settings", "-n", "secretive-too"])["data"]["PASSWORD"].clone();
    assert_ne!(other.as_str(), Some(before.as_str()));
}

fn environments(cluster: &Cluster) {
    let repository = Repository::new();
    repository.copy(&project().join("systems/students/deploy"), "systems/students/deploy");
    repository.commit("The Students system");
    let url = format!("file://{}", repository.path().display());
    let expected = [("development", 2, "dev"), ("staging", 3, "staging"), ("production", 5, "production")];
    for (name, ..) in expected {
        let path = project().join(format!("systems/students/applications/{name}.yaml"));
        cluster.apply(&std::fs::read_to_string(path).unwrap().replace("REPOSITORY", &url)).ok();
    }
    for (name, replicas, host) in expected {
        synced(cluster, &format!("students-{name}"), "");
        let namespace = format!("studenten-{name}");
        let deployment = cluster.get(&["deployment", "manifest-app", "-n", &namespace]);
        assert_eq!(deployment["spec"]["replicas"], replicas, "{name}");
        let ingress = cluster.get(&["ingress", "manifest-app", "-n", &namespace]);
        assert_eq!(ingress["spec"]["rules"][0]["host"], format!("{host}.students.localhost"), "{name}");
        cluster.lotse(&["app", "delete", &format!("students-{name}")]).ok();
    }
}

fn music_events(cluster: &Cluster) {
    let repository = Repository::new();
    repository.copy(&project().join("systems/musicevents/deploy"), "systems/musicevents/deploy");
    repository.commit("Music events");
    let url = format!("file://{}", repository.path().display());
    let path = project().join("systems/musicevents/application.yaml");
    cluster.apply(&std::fs::read_to_string(path).unwrap().replace("REPOSITORY", &url)).ok();
    synced(cluster, "musicevents", "");
    let ingresses = cluster.get(&["ingresses", "-n", "musicevents"]);
    assert_eq!(ingresses["items"].as_array().map(Vec::len), Some(1), "{ingresses}");
    cluster.lotse(&["app", "delete", "musicevents"]).ok();
}

fn broken(cluster: &Cluster) {
    let repository = Repository::new();
    write_chart(&repository);
    repository.write("chart/templates/bad.yaml", "a: 1\nb: {{ .Values.nothing.there }}\n");
    repository.commit("broken");
    apply(cluster, &repository, "broken", "chart", "");
    cluster.wait("the condition names the place", 30, |cluster| {
        let status = cluster.get(&["application", "broken", "-n", "argocd"])["status"].to_string();
        status.contains("ComparisonError") && status.contains("shop/templates/bad.yaml:2:")
    });
}
