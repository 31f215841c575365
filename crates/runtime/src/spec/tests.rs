#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::collections::BTreeMap;

use oci_spec::runtime::Spec;

use super::*;
use crate::{QosClass, Security};

fn pod() -> PodSpec {
    PodSpec {
        uid: "u-1".into(),
        namespace: "default".into(),
        name: "web".into(),
        hostname: "web".into(),
        network_namespace: None,
        host_pid: false,
        host_ipc: false,
        share_process_namespace: false,
        sysctls: BTreeMap::new(),
        qos: QosClass::Burstable,
        resources: Resources::default(),
    }
}

fn container() -> ContainerSpec {
    ContainerSpec {
        name: "app".into(),
        attempt: 0,
        image: "x".into(),
        command: vec![],
        args: vec![],
        working_dir: None,
        env: vec![],
        mounts: vec![],
        security: Security::default(),
        resources: Resources::default(),
        stdin: false,
        stdin_once: false,
        tty: false,
        stop_signal: None,
        process_namespace_of: None,
        log_path: "/var/log/x.log".into(),
        labels: BTreeMap::new(),
    }
}

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: Some(vec!["/entry".into()]),
        cmd: Some(vec!["serve".into()]),
        env: Some(vec!["A=1".into(), "B=2".into(), "broken".into()]),
        ..ImageConfig::default()
    }
}

fn built(pod: &PodSpec, container: &ContainerSpec, mounts: &[(Mount, PathBuf)]) -> Result<Value, Error> {
    build(&Input {
        pod,
        container,
        image: &image(),
        user: &User { uid: 1, gid: 2, additional_gids: vec![3] },
        host: Host { bounding: Capabilities::from_bits(u64::MAX), least_oom_score_adj: 0, unified: false },
        rootfs: Path::new("/r"),
        cgroup: "/p/c",
        shared_memory: Path::new("/shm"),
        mounts,
        pid_namespace: None,
        cgroup_directories: &[],
    })
}

#[test]
fn the_default_configuration_is_as_expected() {
    let value = built(&pod(), &container(), &[]).unwrap();
    let names: Vec<String> = [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SYS_CHROOT",
        "MKNOD",
        "AUDIT_WRITE",
        "SETFCAP",
    ]
    .map(|name| format!("CAP_{name}"))
    .to_vec();
    assert_eq!(
        value["process"],
        json!({
            "terminal": false,
            "user": {"uid": 1, "gid": 2, "additionalGids": [3]},
            "args": ["/entry", "serve"],
            "env": ["HOSTNAME=web", "A=1", "B=2", DEFAULT_PATH],
            "cwd": "/",
            "capabilities": {"bounding": names, "effective": names, "permitted": names, "inheritable": [], "ambient": []},
            "oomScoreAdj": 0,
        })
    );
    assert_eq!(value["linux"]["namespaces"], json!([{"type": "mount"}, {"type": "pid"}]));
    assert_eq!(
        value["linux"]["resources"],
        json!({"cpu": {"shares": 2}, "devices": [{"allow": false, "access": "rwm"}]})
    );
    assert_eq!(value["linux"]["maskedPaths"].as_array().unwrap().len(), MASKED.len());
    assert_eq!(value["root"], json!({"path": "/r", "readonly": false}));
    let destinations: Vec<&str> =
        value["mounts"].as_array().unwrap().iter().map(|mount| mount["destination"].as_str().unwrap()).collect();
    assert_eq!(destinations, ["/proc", "/dev", "/dev/pts", "/dev/mqueue", "/sys", "/sys/fs/cgroup", "/dev/shm"]);
    let spec: Spec = serde_json::from_value(value).unwrap();
    assert_eq!(spec.process().as_ref().unwrap().no_new_privileges(), None);
}

#[test]
fn commands_combine_like_in_kubernetes() {
    let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for (own_command, own_args, expected) in [
        (list(&[]), list(&[]), list(&["/entry", "serve"])),
        (list(&[]), list(&["x"]), list(&["/entry", "x"])),
        (list(&["sh"]), list(&[]), list(&["sh"])),
        (list(&["sh"]), list(&["-c"]), list(&["sh", "-c"])),
    ] {
        let spec = ContainerSpec { command: own_command, args: own_args, ..container() };
        assert_eq!(command(&spec, &image()).unwrap(), expected);
    }
    assert!(command(&container(), &ImageConfig::default()).unwrap_err().to_string().contains("no command specified"));
    let null = ContainerSpec { command: vec!["a\0b".into()], ..container() };
    assert!(command(&null, &image()).is_err());
}

#[test]
fn the_pods_environment_wins() {
    let own = ContainerSpec {
        env: vec![("B".into(), "3".into()), ("PATH".into(), "/x".into()), ("BAD=".into(), "x".into())],
        ..container()
    };
    assert_eq!(environment(&pod(), &own, &image()), ["HOSTNAME=web", "A=1", "B=3", "PATH=/x"]);
}

#[test]
fn privileged_containers_see_everything() {
    let privileged = ContainerSpec { security: Security { privileged: true, ..Security::default() }, ..container() };
    let value = built(&pod(), &privileged, &[]).unwrap();
    assert!(value["linux"].get("maskedPaths").is_none());
    assert_eq!(value["linux"]["resources"]["devices"], json!([{"allow": true, "access": "rwm"}]));
    assert!(value["linux"]["devices"].as_array().unwrap().iter().any(|device| device["path"] == "/dev/null"));
    assert_eq!(value["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 41);
    serde_json::from_value::<Spec>(value).unwrap();
}

#[test]
fn limits_and_restrictions_are_passed_on() {
    let limited = ContainerSpec {
        resources: Resources {
            cpu_request_millis: Some(250),
            cpu_limit_millis: Some(500),
            memory_limit_bytes: Some(1 << 20),
            pids_limit: Some(7),
            oom_score_adj: -997,
        },
        security: Security { no_new_privileges: true, read_only_root: true, ..Security::default() },
        ..container()
    };
    let value = built(&pod(), &limited, &[]).unwrap();
    assert_eq!(value["linux"]["resources"]["cpu"], json!({"shares": 256, "quota": 50_000, "period": 100_000}));
    assert_eq!(value["linux"]["resources"]["memory"], json!({"limit": 1 << 20}));
    assert_eq!(value["linux"]["resources"]["pids"], json!({"limit": 7}));
    assert_eq!(value["process"]["oomScoreAdj"], 0, "clamped to what may be set");
    assert_eq!(value["process"]["noNewPrivileges"], true);
    assert_eq!(value["root"]["readonly"], true);
}

#[test]
fn mounts_follow_in_order_and_replace_ours() {
    let bind = |destination: &str, propagation| Mount {
        destination: destination.into(),
        source: MountSource::Bind { path: "/h".into(), sub_path: None, propagation },
        read_only: true,
    };
    let memory =
        Mount { destination: "/dev/shm".into(), source: MountSource::Tmpfs { size_bytes: Some(9) }, read_only: false };
    let mounts = [(bind("/a", Propagation::HostToContainer), PathBuf::from("/h")), (memory, PathBuf::new())];
    let value = built(&pod(), &container(), &mounts).unwrap();
    let list = value["mounts"].as_array().unwrap();
    assert_eq!(list.iter().filter(|mount| mount["destination"] == "/dev/shm").count(), 1);
    assert_eq!(
        list[list.len() - 2],
        json!({"destination": "/a", "type": "bind", "source": "/h", "options": ["rbind", "rslave", "ro"]})
    );
    assert_eq!(value["linux"]["rootfsPropagation"], "slave");
}

#[test]
fn working_directories_stay_inside() {
    for bad in ["relative", "/a/../..", "/proc/self/fd/7", "/proc"] {
        let own = ContainerSpec { working_dir: Some(bad.into()), ..container() };
        assert!(working_directory(&own, &image()).is_err(), "{bad}");
    }
    let own = ContainerSpec { working_dir: Some("/srv".into()), ..container() };
    assert_eq!(working_directory(&own, &image()).unwrap(), "/srv");
}

#[test]
fn exec_runs_as_the_containers_user() {
    let config = built(&pod(), &container(), &[]).unwrap();
    let process = exec_process(&config, &["ls".into()], true).unwrap();
    assert_eq!(process["user"], config["process"]["user"]);
    assert_eq!(process["capabilities"], config["process"]["capabilities"]);
    assert_eq!(process["args"], json!(["ls"]));
    assert_eq!(process["terminal"], true);
    assert!(exec_process(&config, &[], false).is_err());
}
