//! Volumes of every kind.

use serde_json::{Value, json};

use super::{IDLE, IMAGE, Named, Space, once, pod};

pub(super) const TRIALS: &[Named] = &[
    ("config_maps_and_secrets_are_files_that_follow_their_objects", maps),
    ("projected_and_downward_volumes_have_their_files", projected),
    ("empty_directories_live_as_long_as_their_pod", empty_dir),
    ("host_paths_are_checked_and_mounted", host_path),
    ("claims_keep_data_after_their_pod", claims),
    ("storage_classes_decide_what_happens_to_the_data", classes),
    ("a_missing_source_is_named", missing),
];

fn with_volume(mut pod: Value, volume: Value, mount: Value) -> Value {
    let mut volume = volume;
    volume["name"] = json!("data");
    let mut mount = mount;
    mount["name"] = json!("data");
    pod["spec"]["volumes"] = json!([volume]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([mount]);
    pod
}

fn maps(space: &Space<'_>) {
    space.k("create configmap settings --from-literal=a=one --from-literal=b=two").ok();
    space.k("create secret generic keys --from-literal=token=secret").ok();
    let map = with_volume(pod("map", IDLE), json!({"configMap": {"name": "settings"}}), json!({"mountPath": "/data"}));
    let secret = with_volume(
        pod("secret", IDLE),
        json!({"secret": {"secretName": "keys", "defaultMode": 256}}),
        json!({"mountPath": "/data"}),
    );
    let item = with_volume(
        pod("item", IDLE),
        json!({"configMap": {"name": "settings", "items": [{"key": "a", "path": "deep/renamed", "mode": 384}]}}),
        json!({"mountPath": "/data"}),
    );
    let file = with_volume(
        pod("file", IDLE),
        json!({"configMap": {"name": "settings"}}),
        json!({"mountPath": "/etc/settings", "subPath": "b"}),
    );
    space.run(&[map, secret, item, file]);
    assert_eq!(space.shell("map", "cat /data/a /data/b").ok().out, "onetwo");
    space.shell("map", "touch /data/new").fails_with("Read-only");
    assert_eq!(space.shell("secret", "cat /data/token; stat -Lc ' %a' /data/token").ok().out, "secret 400\n");
    assert_eq!(space.shell("secret", "stat -fc %T /data").ok().out.trim(), "tmpfs");
    assert_eq!(
        space.shell("item", "cat /data/deep/renamed; stat -Lc ' %a' /data/deep/renamed; ls /data").ok().out,
        "one 600\ndeep\n"
    );
    assert_eq!(space.shell("file", "cat /etc/settings").ok().out, "two");
    // A change arrives in the running pod, all keys at once; a subPath keeps what it had.
    space.kubectl(&["patch", "configmap", "settings", "-p", r#"{"data":{"a":"changed","b":"changed"}}"#], "").ok();
    space.kubectl(&["patch", "secret", "keys", "-p", r#"{"stringData":{"token":"changed"}}"#], "").ok();
    space.wait("the change is in the pods", 20, || {
        space.shell("map", "cat /data/a /data/b").out == "changedchanged"
            && space.shell("secret", "cat /data/token").out == "changed"
    });
    assert_eq!(space.shell("file", "cat /etc/settings").ok().out, "two");
}

fn projected(space: &Space<'_>) {
    space.k("create configmap settings --from-literal=a=one").ok();
    space.k("create secret generic keys --from-literal=token=secret").ok();
    let sources = json!({"projected": {"sources": [
        {"configMap": {"name": "settings"}},
        {"secret": {"name": "keys", "items": [{"key": "token", "path": "sub/token"}]}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": {"path": "jwt", "audience": "vault", "expirationSeconds": 600}},
    ]}});
    let pod = with_volume(pod("all", IDLE), sources, json!({"mountPath": "/data"}));
    space.run(&[pod]);
    assert_eq!(space.shell("all", "cat /data/a /data/sub/token /data/labels").ok().out.trim(), "onesecretapp=\"all\"");
    assert_eq!(space.shell("all", "tr -cd . < /data/jwt").ok().out, "..");
    space.k("label pod all colour=red").ok();
    space.wait("the label arrives", 20, || space.shell("all", "cat /data/labels").out.contains("colour=\"red\""));
    // The pod's own credentials work.
    let ask = "cd /var/run/secrets/kubernetes.io/serviceaccount; cat namespace; ls ca.crt token";
    let own = space.shell("all", ask).ok().out;
    assert!(own.starts_with(&space.namespace) && own.contains("ca.crt") && own.contains("token"), "{own}");
}

fn empty_dir(space: &Space<'_>) {
    let mut disk = with_volume(pod("disk", IDLE), json!({"emptyDir": {}}), json!({"mountPath": "/data"}));
    disk["spec"]["containers"].as_array_mut().unwrap().push(
        json!({"name": "other", "image": IMAGE, "command": ["sh", "-c", IDLE], "volumeMounts": [{"name": "data", "mountPath": "/shared", "readOnly": true}]}),
    );
    let memory = with_volume(
        pod("memory", IDLE),
        json!({"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}),
        json!({"mountPath": "/data"}),
    );
    space.run(&[disk, memory]);
    space.shell("disk", "echo hello > /data/file").ok();
    let other = |script: &str| space.kubectl(&["exec", "disk", "-c", "other", "--", "sh", "-c", script], "");
    assert_eq!(other("cat /shared/file").ok().out, "hello\n");
    other("touch /shared/new").fails_with("Read-only");
    assert_eq!(space.shell("memory", "stat -fc %T /data").ok().out.trim(), "tmpfs");
    space.shell("memory", "dd if=/dev/zero of=/data/large bs=1M count=2").fails_with("No space left");
    // The container dies, the directory stays.
    space.shell("disk", "kill 1").ok();
    space.wait("it is restarted", 30, || {
        let statuses = space.get("pod disk")["status"]["containerStatuses"].clone();
        statuses
            .as_array()
            .unwrap()
            .iter()
            .any(|status| status["name"] == "main" && status["restartCount"] == 1 && status["ready"] == true)
    });
    assert_eq!(space.shell("disk", "cat /data/file").ok().out, "hello\n");
}

fn host_path(space: &Space<'_>) {
    let directory = space.cluster.directory().join("host");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("file"), "from the host").unwrap();
    let path = directory.display().to_string();
    let volume = |path: &str, kind: &str| json!({"hostPath": {"path": path, "type": kind}});
    let pod = with_volume(
        once("reads", "cat /data/file; echo back > /data/answer"),
        volume(&path, "Directory"),
        json!({"mountPath": "/data"}),
    );
    assert_eq!(space.output_of(&pod).trim(), "from the host");
    assert_eq!(std::fs::read_to_string(directory.join("answer")).unwrap(), "back\n");
    let made = format!("{path}/made");
    space.output_of(&with_volume(
        once("makes", "true"),
        volume(&made, "DirectoryOrCreate"),
        json!({"mountPath": "/data"}),
    ));
    assert!(directory.join("made").is_dir());
    space.apply(&[with_volume(
        once("fails", "true"),
        volume(&format!("{path}/absent"), "Directory"),
        json!({"mountPath": "/data"}),
    )]);
    space.wait("the missing directory is named", 20, || space.k("describe pod fails").out.contains("FailedMount"));
}

fn claim(name: &str, class: Option<&str>, size: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": size}}}})
}

fn claims(space: &Space<'_>) {
    space.apply(&[claim("data", None, "20Mi")]);
    let using = |name: &str, script: &str| {
        with_volume(
            once(name, script),
            json!({"persistentVolumeClaim": {"claimName": "data"}}),
            json!({"mountPath": "/data"}),
        )
    };
    space.output_of(&using("writer", "echo kept > /data/file"));
    space.k("delete pod writer").ok();
    assert_eq!(space.output_of(&using("reader", "cat /data/file")), "kept\n");
    let bound = space.get("pvc data");
    assert_eq!(
        (bound["status"]["phase"].as_str(), bound["spec"]["storageClassName"].as_str()),
        (Some("Bound"), Some("standard"))
    );
    let row = space.k("get pvc data").ok().out;
    assert!(row.contains("Bound") && row.contains("20Mi") && row.contains("RWO"), "{row}");
    // In use: it waits for the pod.
    space.run(&[with_volume(
        pod("user", IDLE),
        json!({"persistentVolumeClaim": {"claimName": "data"}}),
        json!({"mountPath": "/data"}),
    )]);
    space.k("delete pvc data --wait=false").ok();
    assert!(space.k("get pvc data").ok().out.contains("Terminating"));
    space.k("delete pod user reader").ok();
    space.k("wait --for=delete pvc/data --timeout=20s").ok();
}

fn classes(space: &Space<'_>) {
    let listed = space.k("get storageclass").ok().out;
    for class in ["standard (default)", "hostpath", "local-path"] {
        assert!(listed.contains(class), "{listed}");
    }
    let using = |name: &str| {
        with_volume(
            once(name, "echo x > /data/file"),
            json!({"persistentVolumeClaim": {"claimName": name}}),
            json!({"mountPath": "/data"}),
        )
    };
    for class in ["hostpath", "local-path"] {
        space.apply(&[claim(class, Some(class), "5Mi")]);
        space.output_of(&using(class));
    }
    let volume = |claim: &str| space.get(&format!("pvc {claim}"))["spec"]["volumeName"].as_str().unwrap().to_owned();
    let (kept, deleted) = (volume("hostpath"), volume("local-path"));
    let policy = |volume: &str| space.get(&format!("pv {volume}"))["spec"]["persistentVolumeReclaimPolicy"].clone();
    assert_eq!((policy(&kept), policy(&deleted)), (json!("Retain"), json!("Delete")));
    let directory = space.get(&format!("pv {kept}"))["spec"]["hostPath"]["path"].as_str().unwrap().to_owned();
    space.k("delete pods --all").ok();
    space.k("delete pvc hostpath local-path").ok();
    space.wait("the volume is gone with its claim", 20, || space.get(&format!("pv {deleted}")).is_null());
    space.wait("the other is released, not deleted", 20, || {
        space.get(&format!("pv {kept}"))["status"]["phase"] == "Released"
    });
    assert_eq!(std::fs::read_to_string(format!("{directory}/file")).unwrap(), "x\n");
    space.k(&format!("delete pv {kept}")).ok();
}

fn missing(space: &Space<'_>) {
    let pods = [
        with_volume(pod("map", IDLE), json!({"configMap": {"name": "absent"}}), json!({"mountPath": "/data"})),
        with_volume(pod("secret", IDLE), json!({"secret": {"secretName": "absent"}}), json!({"mountPath": "/data"})),
        with_volume(
            pod("claim", IDLE),
            json!({"persistentVolumeClaim": {"claimName": "absent"}}),
            json!({"mountPath": "/data"}),
        ),
    ];
    space.apply(&pods);
    for (name, part) in [
        ("map", "configmap \"absent\" not found"),
        ("secret", "secret \"absent\" not found"),
        ("claim", "persistentvolumeclaim \"absent\" not found"),
    ] {
        space.wait(&format!("{name} names what is missing"), 20, || {
            space.k(&format!("describe pod {name}")).out.contains(part)
        });
    }
    // It starts by itself once the object is there.
    space.k("create configmap absent --from-literal=a=1").ok();
    space.ready("map");
}
