//! The systems of this repository, rendered as their Applications say.
//!
//! `golden/students` is what `kubectl kustomize` (1.32) prints for `systems/students/deploy` and its overlays; record it again
//! with `kubectl kustomize systems/students/deploy/overlays/NAME > crates/render/tests/golden/students/NAME.yaml`.
//! `golden/musicevents` is what this crate printed when the chart was last read through; `RECORD=1` writes it again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use common::load;
use lotse_render::{
    DirectoryOptions, Error, MemoryTree, SourceType, Tree, detect,
    helm::{self, Chart, Offline, PrintOptions, Rendered},
    kustomize, render_directory, yaml,
};
use serde_json::{Value, json};

/// The repository as far as Applications refer to it.
static REPOSITORY: LazyLock<MemoryTree> = LazyLock::new(|| {
    let mut tree = MemoryTree::default();
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systems"), "systems", &mut tree);
    tree
});

/// Secrets that no Application delivers.
const SECRETS: [&str; 4] = ["app-secrets", "harbor-pull", "musicevents-database", "ticketmaster"];

const CHART: &str = "systems/musicevents/deploy/chart";

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

/// Fails at the first line that differs.
fn assert_golden(path: &str, found: &[u8]) {
    let expected = fs::read_to_string(golden(path)).unwrap();
    let found = String::from_utf8(found.to_vec()).unwrap();
    for (number, (expected, found)) in expected.split('\n').zip(found.split('\n')).enumerate() {
        assert_eq!(found, expected, "{path}:{}", number + 1);
    }
    assert_eq!(found.len(), expected.len(), "{path}: one goes on where the other ends");
}

/// The Application in a file.
fn application(path: &str) -> Value {
    let mut documents = yaml::documents(path, &REPOSITORY.read(path).unwrap()).unwrap();
    assert_eq!((documents.len(), &documents[0]["kind"]), (1, &json!("Application")), "{path}");
    documents.remove(0)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer} of {value}"))
}

/// `Kind/name`, sorted.
fn names(objects: &[Value]) -> Vec<String> {
    let name = |object: &Value| format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"));
    let mut names: Vec<String> = objects.iter().map(name).collect();
    names.sort();
    names
}

fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let wanted = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(wanted).unwrap_or_else(|| panic!("no {kind} {name} in {:?}", names(objects)))
}

fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn includes(labels: &Value, selector: &Value) -> bool {
    let selector = selector.as_object().expect("a selector");
    !selector.is_empty() && selector.iter().all(|(key, value)| labels[key] == *value)
}

/// All values of fields of this name, at any depth.
fn fields<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| fields(item, name, found)),
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            if key == name {
                found.push(value);
            }
            fields(value, name, found);
        }),
        _ => {}
    }
}

/// Everything that an object names is delivered with it, or is one of [`SECRETS`]: a wrong name would show in the cluster only,
/// as a pod that waits.
fn assert_complete(objects: &[Value]) {
    let unique: BTreeSet<String> = names(objects).into_iter().collect();
    assert_eq!(unique.len(), objects.len(), "an object is there twice");
    let has = |kind: &str, name: &Value| unique.contains(&format!("{kind}/{}", name.as_str().unwrap_or("")));
    let pods: Vec<&Value> = objects.iter().filter_map(|object| object.pointer("/spec/template")).collect();
    let all = |name: &str| {
        let mut found = Vec::new();
        objects.iter().for_each(|object| fields(object, name, &mut found));
        found
    };
    for workload in objects.iter().filter(|object| object["spec"]["template"].is_object()) {
        let (labels, selector) = (&workload["spec"]["template"]["metadata"]["labels"], &workload["spec"]["selector"]);
        assert!(includes(labels, &selector["matchLabels"]), "{workload}");
        let headless = &workload["spec"]["serviceName"];
        assert!(headless.is_null() || has("Service", headless), "{headless}");
    }
    for reference in all("configMapRef").into_iter().chain(all("configMapKeyRef")).chain(all("configMap")) {
        assert!(has("ConfigMap", &reference["name"]), "{reference}");
    }
    for claim in all("claimName") {
        assert!(has("PersistentVolumeClaim", claim), "{claim}");
    }
    let mounted = all("secretName").into_iter();
    let named =
        all("secretKeyRef").into_iter().chain(all("imagePullSecrets").into_iter().flat_map(|list| items(list, "")));
    for secret in mounted.chain(named.map(|reference| &reference["name"])) {
        assert!(SECRETS.iter().any(|name| secret == name), "{secret}");
    }
    for service in objects.iter().filter(|object| object["kind"] == "Service") {
        let selected: Vec<_> =
            pods.iter().filter(|pod| includes(&pod["metadata"]["labels"], &service["spec"]["selector"])).collect();
        assert_eq!(selected.len(), 1, "{service}");
        for port in items(service, "/spec/ports") {
            let target = &port["targetPort"];
            let open = |port: &Value| port["name"] == *target || port["containerPort"] == *target;
            let containers = items(selected[0], "/spec/containers").iter();
            assert!(containers.flat_map(|container| items(container, "/ports")).any(open), "{service}");
        }
    }
    for ingress in objects.iter().filter(|object| object["kind"] == "Ingress") {
        for path in items(ingress, "/spec/rules").iter().flat_map(|rule| items(rule, "/http/paths")) {
            let backend = &path["backend"]["service"];
            let service = object(objects, "Service", text(backend, "/name"));
            let port = &backend["port"];
            let fits = |one: &Value| one["port"] == port["number"] || one["name"] == port["name"];
            assert!(items(service, "/spec/ports").iter().any(fits), "{backend}");
        }
    }
}

/// What every pod of the systems has to be: not root, without capabilities, limited.
fn assert_restricted(objects: &[Value]) {
    for pod in objects.iter().filter_map(|object| object.pointer("/spec/template/spec")) {
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{pod}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{pod}");
        for container in items(pod, "/containers") {
            assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false, "{container}");
            assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]), "{container}");
            for resource in ["cpu", "memory"] {
                assert!(!container["resources"]["limits"][resource].is_null(), "{container}");
            }
        }
    }
}

// Students

const STUDENTS: &str = "systems/students/deploy";

/// The objects of a build, read back from the text that it prints.
fn build(directory: &str) -> Vec<Value> {
    let built = kustomize::build(&*REPOSITORY, directory, &kustomize::Options::default()).unwrap();
    let objects = yaml::documents(directory, &built.text).unwrap();
    assert_eq!(objects, built.manifests().into_iter().map(|manifest| manifest.object).collect::<Vec<_>>());
    objects
}

#[test]
fn the_directory_source_delivers_what_the_base_has_and_no_kustomization() {
    let application = application("systems/students/application.yaml");
    let source = &application["spec"]["source"];
    let options = DirectoryOptions {
        recurse: source["directory"]["recurse"] == true,
        include: Some(text(source, "/directory/include").to_owned()),
        exclude: Some(text(source, "/directory/exclude").to_owned()),
    };
    let delivered = render_directory(&*REPOSITORY, text(source, "/path"), &options).unwrap();
    let mut delivered: Vec<Value> = delivered.into_iter().map(|manifest| manifest.object).collect();
    let expected = [
        "ConfigMap/app-config",
        "ConfigMap/backup-script",
        "Deployment/backup-daemon",
        "Deployment/manifest-app",
        "Ingress/manifest-app",
        "PersistentVolumeClaim/backup-data",
        "PersistentVolumeClaim/postgres-data",
        "Service/manifest-app",
        "Service/postgres-headless",
        "Service/postgres-service",
        "StatefulSet/postgres",
    ];
    assert_eq!(names(&delivered), expected);
    let mut base = build(STUDENTS);
    let key = |object: &Value| (object["kind"].to_string(), object["metadata"]["name"].to_string());
    delivered.sort_by_key(key);
    base.sort_by_key(key);
    assert_eq!(delivered, base);
    assert_complete(&delivered);
    assert_restricted(&delivered);
}

#[test]
fn base_and_overlays_are_built_as_kubectl_builds_them() {
    let build =
        |directory: &str| kustomize::build(&*REPOSITORY, directory, &kustomize::Options::default()).unwrap().text;
    assert_golden("students/base.yaml", &build(STUDENTS));
    for environment in ["development", "staging", "production"] {
        assert_golden(&format!("students/{environment}.yaml"), &build(&format!("{STUDENTS}/overlays/{environment}")));
    }
}

#[test]
fn each_environment_has_its_own_namespace_replicas_host_image_and_backups() {
    let tag = |tag: &str| format!("localhost:30002/studenten/manifest-app:{tag}");
    for (environment, replicas, host, image, backup, claims) in [
        ("development", 2, "dev", tag("v1-20261120-161502"), ("21600", "3"), ("1Gi", "1Gi")),
        ("staging", 3, "staging", tag("v1-20261118-093047"), ("3600", "5"), ("10Gi", "5Gi")),
        ("production", 5, "production", tag("v1-20261110-140725"), ("1800", "10"), ("10Gi", "5Gi")),
    ] {
        let application = application(&format!("systems/students/applications/{environment}.yaml"));
        assert_eq!(text(&application, "/metadata/name"), format!("students-{environment}"));
        let path = text(&application, "/spec/source/path");
        assert_eq!(detect(&*REPOSITORY, path).unwrap(), SourceType::Kustomize);
        let objects = build(path);
        assert_eq!(objects.len(), 12);
        assert_complete(&objects);
        assert_restricted(&objects);

        let namespace = text(&application, "/spec/destination/namespace");
        assert_eq!(namespace, format!("studenten-{environment}"));
        for object in &objects {
            assert_eq!(object["metadata"]["namespace"], namespace, "{object}");
            assert_eq!(object["metadata"]["labels"]["environment"], environment, "{object}");
        }
        let app = object(&objects, "Deployment", "manifest-app");
        assert_eq!(app["spec"]["replicas"], replicas, "{environment}");
        assert_eq!(app["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"], 0, "{environment}");
        assert_eq!(app["spec"]["template"]["spec"]["containers"][0]["image"], image);
        // The label of the environment tells pods apart in a list; selectors cannot change and stay without it.
        assert_eq!(app["spec"]["template"]["metadata"]["labels"]["environment"], environment);
        assert_eq!(app["spec"]["selector"]["matchLabels"], json!({"app": "manifest-app"}));
        let ingress = object(&objects, "Ingress", "manifest-app");
        assert_eq!(ingress["spec"]["rules"][0]["host"], format!("{host}.students.localhost"));

        let backups = object(&objects, "Deployment", "backup-daemon");
        let settings = text(backups, "/spec/template/spec/containers/0/envFrom/1/configMapRef/name");
        assert!(settings.starts_with("backup-settings-"), "{settings}");
        let settings = &object(&objects, "ConfigMap", settings)["data"];
        assert_eq!(*settings, json!({"BACKUP_INTERVAL_SECONDS": backup.0, "BACKUP_KEEP": backup.1}), "{environment}");
        for (name, size) in [("postgres-data", claims.0), ("backup-data", claims.1)] {
            let claim = object(&objects, "PersistentVolumeClaim", name);
            assert_eq!(claim["spec"]["resources"]["requests"]["storage"], size, "{environment}: {name}");
            assert_eq!(claim["metadata"]["annotations"]["argocd.argoproj.io/sync-options"], "Prune=false");
        }
    }
}

// Music events

/// Renders the chart for a release, with files of values that lie in the chart and `--set` arguments.
fn render(release: &str, files: &[&str], set: &[&str]) -> Result<Rendered, Error> {
    let mut options = helm::Options::default();
    options.release.name = release.to_owned();
    options.release.namespace = "musicevents".to_owned();
    for file in files {
        let content = REPOSITORY.read(&format!("{CHART}/{file}")).unwrap().into_owned();
        options.values.files.push(((*file).to_owned(), content));
    }
    options.values.set = set.iter().map(|argument| (*argument).to_owned()).collect();
    helm::render(&Chart::load(&*REPOSITORY, CHART).unwrap(), &options, &Offline)
}

fn objects(rendered: &Rendered) -> Vec<Value> {
    assert!(rendered.hooks.is_empty() && rendered.crds.is_empty());
    let read = |document: &helm::Document| yaml::documents(&document.path, &document.content).unwrap();
    rendered.documents.iter().flat_map(read).collect()
}

/// What the chart is made of, with a name in front.
fn expected_names(prefix: &str) -> Vec<String> {
    let suffixed = |kind: &str, suffix: &str| format!("{kind}/{prefix}{suffix}");
    vec![
        suffixed("ConfigMap", "-api"),
        suffixed("Deployment", "-api"),
        suffixed("Deployment", "-database"),
        suffixed("Ingress", ""),
        suffixed("PersistentVolumeClaim", "-database"),
        suffixed("Service", "-api"),
        suffixed("Service", "-database"),
    ]
}

#[test]
fn the_chart_prints_the_recorded_text() {
    let rendered = render("musicevents", &[], &[]).unwrap();
    let printed = helm::print(&rendered, &PrintOptions::default()).unwrap();
    for (path, found) in [("musicevents/default.yaml", &printed), ("musicevents/notes.txt", &rendered.notes)] {
        if std::env::var_os("RECORD").is_some() {
            fs::create_dir_all(golden(path).parent().unwrap()).unwrap();
            fs::write(golden(path), found).unwrap();
        }
        assert_golden(path, found);
    }
}

#[test]
fn the_chart_has_all_objects_of_the_system_with_its_defaults() {
    let objects = objects(&render("musicevents", &[], &[]).unwrap());
    assert_eq!(names(&objects), expected_names("musicevents"));
    assert_complete(&objects);
    assert_restricted(&objects);
    let ingress = object(&objects, "Ingress", "musicevents");
    assert_eq!(ingress["spec"]["rules"][0]["host"], "musiceventfinder.local");
    assert_eq!(ingress["spec"]["ingressClassName"], "nginx");
    assert!(ingress["spec"]["tls"].is_null());
    for name in ["musicevents-api", "musicevents-database"] {
        let pod = &object(&objects, "Deployment", name)["spec"]["template"]["spec"];
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "harbor-pull"}]), "{name}");
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            assert!(pod["containers"][0][probe].is_object(), "{name}: {probe}");
        }
    }
    let api = &object(&objects, "Deployment", "musicevents-api")["spec"];
    assert_eq!(api["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let container = &api["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "localhost:30002/musicevents/musiceventfinder:0.1.0");
    assert_eq!(container["ports"], json!([{"name": "http", "containerPort": 5000}]));
    let key = json!({"secretKeyRef": {"name": "ticketmaster", "key": "TICKETMASTER_API_KEY"}});
    let environment = items(container, "/env");
    assert_eq!(environment[0], json!({"name": "TICKETMASTER_API_KEY", "valueFrom": key}));
    // Variables in a value are put in only where they stand before it.
    let order: Vec<&str> = environment.iter().map(|variable| text(variable, "/name")).collect();
    assert_eq!(order[1..], ["DATABASE_USER", "DATABASE_PASSWORD", "DATABASE_URI"]);
    let uri = "mysql://$(DATABASE_USER):$(DATABASE_PASSWORD)@musicevents-database:3306/musicevents";
    assert_eq!(environment[3]["value"], uri);
    let config = &object(&objects, "ConfigMap", "musicevents-api")["data"];
    let url = "https://app.ticketmaster.com/discovery/v2";
    assert_eq!(*config, json!({"PORT": "5000", "LOG_LEVEL": "info", "TICKETMASTER_URL": url}));
    let claim = object(&objects, "PersistentVolumeClaim", "musicevents-database");
    assert_eq!(claim["metadata"]["annotations"]["argocd.argoproj.io/sync-options"], "Prune=false");
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "10Gi");
    let service = &object(&objects, "Service", "musicevents-api")["spec"];
    assert_eq!(service["ports"], json!([{"name": "http", "port": 80, "targetPort": "http"}]));
}

#[test]
fn the_application_of_music_events_delivers_the_chart_with_the_values_of_production() {
    let application = application("systems/musicevents/application.yaml");
    let source = &application["spec"]["source"];
    assert_eq!(text(source, "/path"), CHART);
    assert_eq!(detect(&*REPOSITORY, CHART).unwrap(), SourceType::Helm);
    let files: Vec<&str> = items(source, "/helm/valueFiles").iter().map(|file| file.as_str().unwrap()).collect();
    assert_eq!(files, ["values-production.yaml"]);
    let release = text(source, "/helm/releaseName");
    let objects = objects(&render(release, &files, &[]).unwrap());
    assert_eq!(names(&objects), expected_names("musicevents"));
    assert_complete(&objects);
    assert_restricted(&objects);
    let api = &object(&objects, "Deployment", "musicevents-api")["spec"];
    assert_eq!(api["replicas"], 3);
    let pod = &api["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "localhost:30002/musicevents/musiceventfinder:v1-20261110-140725");
    assert_eq!(pod["containers"][0]["resources"]["limits"], json!({"cpu": "1", "memory": "256Mi"}));
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "harbor-pull"}]));
    let term = "/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm";
    let term = pod.pointer(term).unwrap();
    assert!(includes(&api["template"]["metadata"]["labels"], &term["labelSelector"]["matchLabels"]));
    // A file changes what it names and leaves its neighbours.
    let config = &object(&objects, "ConfigMap", "musicevents-api")["data"];
    assert_eq!((&config["LOG_LEVEL"], config["TICKETMASTER_URL"].is_string()), (&json!("warn"), true));
    let claim = &object(&objects, "PersistentVolumeClaim", "musicevents-database")["spec"];
    assert_eq!(
        (&claim["storageClassName"], &claim["resources"]["requests"]["storage"]),
        (&json!("hostpath"), &json!("50Gi"))
    );
    let ingress = object(&objects, "Ingress", "musicevents");
    assert_eq!(ingress["spec"]["rules"][0]["host"], "musiceventfinder.local");
    assert_eq!(ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"], "30");
}

#[test]
fn names_follow_the_release_and_stay_short_enough() {
    assert_eq!(names(&objects(&render("team-a", &[], &[]).unwrap())), expected_names("team-a-musicevents"));
    assert_eq!(names(&objects(&render("x", &[], &["fullnameOverride=events"]).unwrap())), expected_names("events"));
    let long = objects(&render(&"r".repeat(53), &[], &[]).unwrap());
    assert_complete(&long);
    for object in &long {
        assert!(text(object, "/metadata/name").len() < 64, "{object}");
    }
}

#[test]
fn a_change_of_the_configuration_rolls_the_api_and_not_the_database() {
    let pods = |set: &[&str]| {
        let objects = objects(&render("musicevents", &[], set).unwrap());
        ["musicevents-api", "musicevents-database"]
            .map(|name| object(&objects, "Deployment", name)["spec"]["template"].clone())
    };
    let ([api, database], [changed_api, changed_database]) = (pods(&[]), pods(&["api.config.LOG_LEVEL=debug"]));
    assert_ne!(api["metadata"]["annotations"], changed_api["metadata"]["annotations"]);
    assert_eq!(api["spec"], changed_api["spec"]);
    assert_eq!(database, changed_database);
}

#[test]
fn a_database_elsewhere_takes_the_place_of_the_one_in_the_chart() {
    let elsewhere = ["database.enabled=false", "database.host=db.example.org", "database.port=3307"];
    let found = objects(&render("musicevents", &[], &elsewhere).unwrap());
    let own = |name: &String| !name.ends_with("-database");
    assert_eq!(names(&found), expected_names("musicevents").into_iter().filter(own).collect::<Vec<_>>());
    let uri = object(&found, "Deployment", "musicevents-api").pointer("/spec/template/spec/containers/0/env/3/value");
    let uri = uri.and_then(Value::as_str).unwrap();
    assert!(uri.ends_with("@db.example.org:3307/musicevents"), "{uri}");
    let error = render("musicevents", &[], &["database.enabled=false"]).unwrap_err();
    assert!(error.to_string().contains("database.host is needed"), "{error}");
}

#[test]
fn the_ingress_can_have_a_certificate_or_be_left_out_and_the_notes_say_so() {
    let notes = |rendered: &Rendered| String::from_utf8(rendered.notes.clone()).unwrap();
    let rendered = render("musicevents", &[], &["ingress.tlsSecretName=tls"]).unwrap();
    let tls = object(&objects(&rendered), "Ingress", "musicevents")["spec"]["tls"].clone();
    assert_eq!(tls, json!([{"secretName": "tls", "hosts": ["musiceventfinder.local"]}]));
    assert!(notes(&rendered).contains("https://musiceventfinder.local/"), "{}", notes(&rendered));
    let rendered = render("musicevents", &[], &["ingress.enabled=false"]).unwrap();
    assert!(!names(&objects(&rendered)).iter().any(|name| name.starts_with("Ingress/")));
    assert!(notes(&rendered).contains("port-forward service/musicevents-api 8080:80"), "{}", notes(&rendered));
}

#[test]
fn values_that_do_not_fit_are_refused_by_name() {
    for (argument, problem) in [
        ("api.replicaCount=three", "at '/api/replicaCount': "),
        ("api.replicaCount=-1", "at '/api/replicaCount': "),
        ("api.image.pullPolicy=Sometimes", "at '/api/image/pullPolicy': "),
        ("api.port=80", "at '/api/port': "),
        ("api.config.PORT=yes", "at '/api/config': "),
        ("api.config.RETRIES=1000000", "at '/api/config/RETRIES': "),
        ("api.service.type=External", "at '/api/service/type': "),
        ("api.resources.limits.memory=lots", "at '/api/resources/limits/memory': "),
        ("api.replicas=3", "'replicas'"),
        ("database.enabled=maybe", "at '/database/enabled': "),
        ("database.name=a/b", "at '/database/name': "),
        ("database.secretName=", "at '/database/secretName': "),
        ("database.persistence.size=big", "at '/database/persistence/size': "),
        ("ingress.host=Not A Host", "at '/ingress/host': "),
        ("imagePullSecrets[0]=harbor-pull", "at '/imagePullSecrets/0': "),
        ("databse.enabled=false", "'databse'"),
    ] {
        let error = render("musicevents", &[], &[argument]).err().unwrap_or_else(|| panic!("{argument} is taken"));
        assert!(matches!(error, Error::Schema { .. }), "{argument}: {error}");
        assert!(error.to_string().contains(problem), "{argument}: {error}");
    }
}
