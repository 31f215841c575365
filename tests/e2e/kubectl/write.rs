//! Changing objects: apply, diff, edit, patch, create, label, taint.

use std::ffi::OsStr;

use serde_json::{Value, json};

use super::{IDLE, Named, Space, workload};

pub(super) const TRIALS: &[Named] = &[
    ("client_side_apply_merges_three_ways", client_side_apply),
    ("server_side_apply_knows_who_owns_a_field", server_side_apply),
    ("diff_shows_what_apply_would_change", diff),
    ("edit_saves_what_the_editor_writes", edit),
    ("patch_knows_three_kinds", patch),
    ("dry_run_changes_nothing", dry_run),
    ("create_has_a_generator_for_every_kind", generators),
    ("labels_and_annotations_come_and_go", labels),
    ("replace_needs_the_current_version", replace),
    ("a_secret_that_is_not_base64_is_refused_by_key", secrets),
];

fn settings(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data})
}

fn client_side_apply(space: &Space<'_>) {
    let apply = |object: &Value| space.kubectl(&["apply", "-f", "-"], &object.to_string()).ok().out;
    assert!(apply(&settings(json!({"a": "1", "b": "2"}))).contains("created"));
    assert!(apply(&settings(json!({"a": "1", "b": "2"}))).contains("unchanged"));
    space.kubectl(&["patch", "configmap", "settings", "--type=merge", "-p", r#"{"data":{"other":"kept"}}"#], "").ok();
    assert!(apply(&settings(json!({"a": "1"}))).contains("configured"));
    assert_eq!(space.get("configmap settings")["data"], json!({"a": "1", "other": "kept"}));
    // A list is merged by its key: what somebody else added stays.
    let mut web = workload("Deployment", "web", 0, IDLE);
    space.apply(&[web.clone()]);
    let sidecar = r#"{"spec":{"template":{"spec":{"containers":[{"name":"other","image":"busybox:1"}]}}}}"#;
    space.kubectl(&["patch", "deployment", "web", "-p", sidecar], "").ok();
    web["spec"]["template"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}]);
    space.apply(&[web]);
    let containers = space.get("deployment web")["spec"]["template"]["spec"]["containers"].clone();
    assert_eq!(containers.as_array().map(Vec::len), Some(2), "{containers}");
    assert!(space.k("apply view-last-applied configmap/settings").ok().out.contains("a: \"1\""));
    let pruned = json!({"apiVersion": "v1", "kind": "List", "items": []});
    space.kubectl(&["apply", "-f", "-"], &pruned.to_string());
}

fn server_side_apply(space: &Space<'_>) {
    let apply = |manager: &str, data: Value, more: &[&str]| {
        let manager = format!("--field-manager={manager}");
        space.kubectl(&[&["apply", "--server-side", &manager, "-f", "-"], more].concat(), &settings(data).to_string())
    };
    assert!(apply("one", json!({"a": "1"}), &[]).ok().out.contains("serverside-applied"));
    apply("two", json!({"b": "2"}), &[]).ok();
    apply("two", json!({"a": "2", "b": "2"}), &[]).fails_with("conflict with \"one\": .data.a");
    apply("two", json!({"a": "2", "b": "2"}), &["--force-conflicts"]).ok();
    assert_eq!(space.get("configmap settings")["data"], json!({"a": "2", "b": "2"}));
    // Nobody wants b any more.
    apply("two", json!({"a": "2"}), &[]).ok();
    assert_eq!(space.get("configmap settings")["data"], json!({"a": "2"}));
    let managed = space.k("get configmap settings -o json --show-managed-fields").ok().json();
    let managers: Vec<&str> = managed["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["manager"].as_str())
        .collect();
    assert!(managers.contains(&"two"), "{managers:?}");
}

fn diff(space: &Space<'_>) {
    let object = settings(json!({"a": "1"})).to_string();
    space.kubectl(&["apply", "-f", "-"], &object).ok();
    assert_eq!(space.kubectl(&["diff", "-f", "-"], &object).code, 0);
    let changed = space.kubectl(&["diff", "-f", "-"], &settings(json!({"a": "2"})).to_string());
    assert_eq!(changed.code, 1, "{changed:?}");
    assert!(changed.out.contains("-  a: \"1\"") && changed.out.contains("+  a: \"2\""), "{}", changed.out);
    let side = space
        .kubectl(&["diff", "--server-side", "--force-conflicts", "-f", "-"], &settings(json!({"a": "3"})).to_string());
    assert!(side.out.contains("+  a: \"3\""), "{side:?}");
    assert_eq!(space.get("configmap settings")["data"]["a"], "1");
}

fn edit(space: &Space<'_>) {
    space.kubectl(&["apply", "-f", "-"], &settings(json!({"a": "old"})).to_string()).ok();
    let edit = |script: &str| {
        let editor = space.cluster.kubectl_environment();
        let mut environment: Vec<(&str, &OsStr)> =
            editor.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
        environment.push(("KUBE_EDITOR", OsStr::new(script)));
        lotse_e2e::run("kubectl", ["-n", &space.namespace, "edit", "configmap", "settings"], "", &environment)
    };
    assert!(edit("sed -i s/old/new/").ok().out.contains("edited"));
    assert_eq!(space.get("configmap settings")["data"]["a"], "new");
    assert!(edit("true").err.contains("Edit cancelled"));
}

fn patch(space: &Space<'_>) {
    space.apply(&[workload("Deployment", "web", 0, IDLE)]);
    let patch = |kind: &str, text: &str| {
        space.kubectl(&["patch", "deployment", "web", &format!("--type={kind}"), "-p", text], "")
    };
    let containers = || space.get("deployment web")["spec"]["template"]["spec"]["containers"].clone();
    let container = |name: &str| {
        format!(r#"{{"spec":{{"template":{{"spec":{{"containers":[{{"name":"{name}","image":"busybox:1"}}]}}}}}}}}"#)
    };
    patch("strategic", &container("added")).ok();
    assert_eq!(containers().as_array().map(Vec::len), Some(2));
    patch("strategic", r#"{"spec":{"template":{"spec":{"containers":[{"name":"added","$patch":"delete"}]}}}}"#).ok();
    assert_eq!(containers().as_array().map(Vec::len), Some(1));
    patch("merge", &container("instead")).ok();
    assert_eq!((containers().as_array().map(Vec::len), containers()[0]["name"].as_str()), (Some(1), Some("instead")));
    patch(
        "json",
        r#"[{"op":"test","path":"/spec/replicas","value":0},{"op":"replace","path":"/spec/paused","value":true}]"#,
    )
    .fails_with("paused");
    patch("json", r#"[{"op":"add","path":"/spec/paused","value":true}]"#).ok();
    patch("json", r#"[{"op":"test","path":"/spec/replicas","value":7}]"#).fails_with("test");
    assert_eq!(space.get("deployment web")["spec"]["paused"], true);
    space
        .kubectl(
            &["patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", r#"{"spec":{"replicas":1}}"#],
            "",
        )
        .ok();
    assert_eq!(space.get("deployment web")["spec"]["replicas"], 1);
}

fn dry_run(space: &Space<'_>) {
    let answer =
        space.kubectl(&["apply", "--dry-run=server", "-f", "-"], &settings(json!({"a": "1"})).to_string()).ok();
    assert!(answer.out.contains("(server dry run)"), "{}", answer.out);
    assert_eq!(space.get("configmap settings"), Value::Null);
    let text = space.k("create deployment web --image=busybox:1 --dry-run=client -o yaml").ok().out;
    assert!(text.contains("kind: Deployment"));
    space.k("run web --image=busybox:1 --dry-run=server").ok();
    assert_eq!(space.get("pod web"), Value::Null);
}

fn generators(space: &Space<'_>) {
    let namespace = &space.namespace;
    let lines = [
        "deployment web --image=busybox:1 --replicas=0 --port=80",
        "configmap literal --from-literal=a=1",
        "configmap file --from-file=/etc/hostname",
        "secret generic generic --from-literal=a=1",
        "secret docker-registry registry --docker-server=localhost:1 --docker-username=u --docker-password=p",
        "job once --image=busybox:1 -- true",
        "cronjob nightly --image=busybox:1 --schedule=0\\x203\\x20*\\x20*\\x20*",
        "ingress web --rule=web.test/*=web:80",
        "ingress tls --rule=web.test/path=web:80,tls=certificate --class=nginx",
        "role reader --verb=get,list --resource=pods",
        "rolebinding reader --role=reader --user=somebody",
        "serviceaccount robot",
        "quota small --hard=pods=100,configmaps=50",
        "poddisruptionbudget web --selector=app=web --min-available=1",
        "service clusterip plain --tcp=80:8080",
        "service nodeport node --tcp=80:8080",
        "service loadbalancer balancer --tcp=80:8080",
        "service externalname elsewhere --external-name=example.org",
    ];
    for line in lines {
        // Spaces inside an argument are written as \x20.
        let arguments: Vec<String> = line.split(' ').map(|argument| argument.replace("\\x20", " ")).collect();
        let arguments: Vec<&str> = ["create"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        let answer = space.kubectl(&arguments, "").ok();
        assert!(answer.out.contains("created"), "{line}: {}", answer.out);
    }
    assert!(space.k("create token robot").ok().out.split('.').count() == 3);
    let cluster_wide = [
        format!("clusterrole {namespace}-r --verb=get --resource=nodes"),
        format!("clusterrolebinding {namespace}-b --clusterrole={namespace}-r --serviceaccount={namespace}:robot"),
        format!("priorityclass {namespace}-p --value=100"),
        format!("namespace {namespace}-n"),
    ];
    for line in cluster_wide {
        space.k(&format!("create {line}")).ok();
    }
    space.k(&format!("delete clusterrole/{namespace}-r clusterrolebinding/{namespace}-b priorityclass/{namespace}-p namespace/{namespace}-n")).ok();
    let table = space.k("get quota,pdb,cronjobs,ingresses,services").ok().out;
    for part in ["small", "nightly", "0 3 * * *", "web.test", "LoadBalancer", "example.org"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    space.k("create deployment web --image=busybox:1").fails_with("already exists");
    space.k("create configmap Wrong_Name --from-literal=a=1").fails_with("Invalid value: \"Wrong_Name\"");
}

fn labels(space: &Space<'_>) {
    space.kubectl(&["apply", "-f", "-"], &settings(json!({})).to_string()).ok();
    space.k("label configmap settings colour=red size=1").ok();
    space.k("label configmap settings colour=blue").fails_with("already has a value");
    space.k("label configmap settings colour=blue size- --overwrite").ok();
    space.k("annotate configmap settings note=text").ok();
    let metadata = space.get("configmap settings")["metadata"].clone();
    assert_eq!(metadata["labels"], json!({"colour": "blue"}));
    assert_eq!(metadata["annotations"]["note"], "text");
    space.k("annotate configmap settings note-").ok();
    space.k("label configmap settings colour=not/valid/at-all --overwrite").fails_with("label");
    space.k("label configmap --all seen=yes").ok();
    assert_eq!(space.k("get configmaps -l seen=yes -o name").ok().out.lines().count(), 2);
}

fn replace(space: &Space<'_>) {
    space.kubectl(&["create", "-f", "-"], &settings(json!({"a": "1"})).to_string()).ok();
    let old = space.get("configmap settings");
    space.kubectl(&["replace", "-f", "-"], &settings(json!({"a": "2"})).to_string()).ok();
    space.kubectl(&["replace", "-f", "-"], &old.to_string()).fails_with("the object has been modified");
    space.kubectl(&["replace", "--force", "-f", "-"], &settings(json!({"a": "3"})).to_string()).ok();
    assert_eq!(space.get("configmap settings")["data"]["a"], "3");
}

fn secrets(space: &Space<'_>) {
    let secret = |data: Value| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "data": data}).to_string()
    };
    let refused = space.kubectl(&["apply", "-f", "-"], &secret(json!({"good": "Zm9v", "db_password": "not base64!"})));
    refused.fails_with("db_password");
    assert_eq!(space.get("secret keys"), Value::Null);
    space.kubectl(&["apply", "-f", "-"], &secret(json!({"good": "Zm9v"}))).ok();
    let bad = space.kubectl(&["patch", "secret", "keys", "--type=merge", "-p", r#"{"data":{"second":"%%%"}}"#], "");
    bad.fails_with("second");
    assert_eq!(space.get("secret keys")["data"], json!({"good": "Zm9v"}));
}
