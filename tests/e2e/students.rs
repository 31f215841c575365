//! The Students system (S1): delivered from Git, used through the edge, broken in every way of its disaster table.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use libtest_mimic::Trial;
use lotse_e2e::{Cluster, Options, Repository, Shared, project};
use serde_json::Value;

use crate::claim;

/// The system and the repository that it is delivered from; shared by the claims of this file, which run in order, and taken
/// down by the last one.
struct System {
    cluster: Cluster,
    repository: Repository,
}

static SYSTEM: Shared<System> = Shared::new(System::start);

fn with_system(test: impl FnOnce(&System)) {
    SYSTEM.with(test);
}

/// Takes the system down.
pub(crate) fn finish() {
    SYSTEM.finish();
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        claim("students::students_are_created_read_and_deleted_through_the_edge", || with_system(crud)),
        claim("students::data_survives_the_death_of_the_database_pod", || with_system(database_restart)),
        claim("students::a_rolling_restart_under_load_loses_no_request", || with_system(rolling_restart)),
        claim("students::drift_is_healed_within_two_seconds", || with_system(drift)),
        claim("students::a_commit_is_running_within_two_seconds_plus_container_start", || with_system(commit)),
        claim("students::deleted_deployments_come_back", || with_system(deleted_deployment)),
        claim("students::backup_now_list_and_restore_are_one_command_each", || with_system(backup)),
        claim("students::containers_outlive_the_daemon_and_are_adopted", || with_system(kill_daemon)),
        claim("students::down_and_up_brings_the_system_back_with_its_data", || with_system(down_and_up)),
        claim("students::a_reboot_brings_the_system_back_with_its_data", || with_system(reboot)),
        claim("students::deleting_the_application_keeps_the_claims_and_creating_it_again_finds_the_data", || {
            with_system(delete_application);
            // The last claim: the cluster goes with it.
            finish();
        }),
    ]
}

impl System {
    fn start() -> Self {
        let cluster = Cluster::start("students", &Options::default());
        cluster.import("postgres", "postgres:15-alpine");
        cluster.import("students", "localhost:30002/studenten/manifest-app:v1");
        let repository = Repository::new();
        repository.copy(&project().join("systems/students/deploy"), "systems/students/deploy");
        repository.commit("The Students system");
        cluster.kubectl(&["create", "namespace", "studenten"]).ok();
        let secret = ["-n", "studenten", "create", "secret"];
        let values =
            ["generic", "app-secrets", "--from-literal=db_user=studenten", "--from-literal=db_password=test-only"];
        cluster.kubectl(&[&secret[..], &values].concat()).ok();
        let pull = [
            "docker-registry",
            "harbor-pull",
            "--docker-server=localhost:30002",
            "--docker-username=u",
            "--docker-password=p",
        ];
        cluster.kubectl(&[&secret[..], &pull].concat()).ok();
        let system = Self { cluster, repository };
        system.create_application();
        system.wait_healthy();
        system
    }

    fn create_application(&self) {
        let manifest = std::fs::read_to_string(project().join("systems/students/application.yaml")).unwrap();
        let url = format!("file://{}", self.repository.path().display());
        self.cluster.apply(&manifest.replace("REPOSITORY", &url)).ok();
    }

    fn application(&self) -> Value {
        self.cluster.get(&["application", "students", "-n", "argocd"])
    }

    fn wait_healthy(&self) {
        self.cluster.wait("the application is synced and healthy and answers", 120, |cluster| {
            let status = &self.application()["status"];
            status["sync"]["status"] == "Synced"
                && status["health"]["status"] == "Healthy"
                && cluster.curl("/api/student", &[]).0 == 200
        });
    }

    fn pods(&self, label: &str) -> Vec<Value> {
        let list = self.cluster.get(&["pods", "-n", "studenten", "-l", label]);
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// After a start: an endpoint of before may answer first, and go until it is ready anew.
    fn wait_for_students(&self, before: &Value) {
        self.cluster.wait("the same students are there", 120, |cluster| {
            let (code, body) = cluster.curl("/api/student", &[]);
            code == 200 && serde_json::from_str::<Value>(&body).is_ok_and(|students| students == *before)
        });
        self.wait_healthy();
    }

    fn students(&self) -> Value {
        let (code, body) = self.cluster.curl("/api/student", &[]);
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    fn post(&self, name: &str) -> Value {
        let body = format!("{{\"name\":\"{name}\",\"age\":25}}");
        let (code, answer) = self.cluster.curl("/api/student", &["--json", &body]);
        assert_eq!(code, 201, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }
}

fn crud(system: &System) {
    let max = system.post("Max");
    assert_eq!((max["name"].as_str(), max["age"].as_i64()), (Some("Max"), Some(25)));
    let path = format!("/api/student/{}", max["id"]);
    assert_eq!(system.cluster.curl(&path, &[]).0, 200);
    let erika = system.post("Erika");
    let (code, head) = system.cluster.curl("/api/student", &["--include", "--json", "{\"name\":\"Ada\",\"age\":36}"]);
    assert_eq!(code, 201);
    assert!(head.to_lowercase().contains("location: /api/student/"), "{head}");
    assert_eq!(system.cluster.curl(&format!("/api/student/{}", erika["id"]), &["-X", "DELETE"]).0, 204);
    assert_eq!(system.cluster.curl(&format!("/api/student/{}", erika["id"]), &[]).0, 404);
    assert_eq!(system.cluster.curl("/api/student/99999", &[]).0, 404);
    assert_eq!(system.cluster.curl("/api/student", &["--json", "{\"name\":\"\",\"age\":1}"]).0, 400);
    assert_eq!(system.cluster.curl("/swagger/", &[]).0, 200);
    assert_eq!(system.students().as_array().map(Vec::len), Some(2));
}

fn database_restart(system: &System) {
    let before = system.students();
    assert_ne!(before.as_array().map(Vec::len), Some(0));
    let pod = &system.pods("app=postgres")[0];
    let uid = pod["metadata"]["uid"].clone();
    system.cluster.kubectl(&["-n", "studenten", "delete", "pod", "postgres-0"]).ok();
    system.cluster.wait("another database pod is ready", 60, |_| {
        let pods = system.pods("app=postgres");
        pods.first()
            .is_some_and(|pod| pod["metadata"]["uid"] != uid && pod["status"]["containerStatuses"][0]["ready"] == true)
    });
    system.cluster.wait("the data is there", 30, |cluster| cluster.curl("/api/student", &[]).0 == 200);
    assert_eq!(system.students(), before);
}

/// Requests at a steady rate from beside the test.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    failed: Arc<Mutex<Vec<String>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    /// 50 requests a second, a connection each.
    fn start(system: &System) -> Self {
        let url = format!("http://localhost:{}/api/student", system.cluster.http_port);
        let (stop, sent, failed) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
        let threads = (0..5)
            .map(|_| {
                let (stop, sent, failed, url) = (stop.clone(), sent.clone(), failed.clone(), url.clone());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let started = std::time::Instant::now();
                        let arguments = [
                            "--silent",
                            "--show-error",
                            "--max-time",
                            "10",
                            "--output",
                            "/dev/null",
                            "--write-out",
                            "%{http_code}",
                            &url,
                        ];
                        let answer = lotse_e2e::run("curl", arguments, "", &[]);
                        sent.fetch_add(1, Ordering::Relaxed);
                        if answer.out != "200" {
                            failed.lock().unwrap().push(format!("{} {}", answer.out, answer.err));
                        }
                        std::thread::park_timeout(Duration::from_millis(100).saturating_sub(started.elapsed()));
                    }
                })
            })
            .collect();
        Self { stop, sent, failed, threads }
    }

    fn finish(self) -> (u32, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let failed = self.failed.lock().unwrap().clone();
        (self.sent.load(Ordering::Relaxed), failed)
    }
}

fn rolling_restart(system: &System) {
    let load = Load::start(system);
    std::thread::park_timeout(Duration::from_secs(1));
    system.cluster.kubectl(&["-n", "studenten", "rollout", "restart", "deployment/manifest-app"]).ok();
    system.cluster.kubectl(&["-n", "studenten", "rollout", "status", "deployment/manifest-app", "--timeout=90s"]).ok();
    // Until the old pods are really gone.
    system.cluster.wait("the old pods are gone", 60, |_| system.pods("app=manifest-app").len() == 2);
    std::thread::park_timeout(Duration::from_secs(1));
    let (sent, failed) = load.finish();
    assert!(failed.is_empty(), "{} of {sent} requests failed: {:?}", failed.len(), failed.first());
    assert!(sent > 50, "only {sent} requests were sent");
}

fn drift(system: &System) {
    system.wait_healthy();
    system.cluster.kubectl(&["-n", "studenten", "scale", "deployment/manifest-app", "--replicas=5"]).ok();
    let took = system.cluster.wait("two replicas again", 10, |cluster| {
        cluster.get(&["deployment", "manifest-app", "-n", "studenten"])["spec"]["replicas"] == 2
    });
    assert!(took < Duration::from_secs(2), "healing took {took:?}");
    system.wait_healthy();
}

fn commit(system: &System) {
    let file = "systems/students/deploy/app/deployment.yaml";
    let manifest = system.repository.read(file);
    system.repository.write(file, &manifest.replace("replicas: 2", "replicas: 3"));
    system.repository.commit("Three replicas");
    let took = system.cluster.wait("a third pod runs", 20, |_| {
        let pods = system.pods("app=manifest-app");
        let stays =
            |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null() && pod["status"]["phase"] == "Running";
        pods.iter().filter(stays).count() == 3
    });
    assert!(took < Duration::from_secs(4), "the commit took {took:?}");
    system.repository.write(file, &manifest);
    system.repository.commit("Two replicas");
    system.cluster.wait("two pods again", 60, |_| system.pods("app=manifest-app").len() == 2);
    system.wait_healthy();
    let history = system.application()["status"]["history"].as_array().map(Vec::len);
    assert!(history >= Some(3), "{history:?}");
}

fn deleted_deployment(system: &System) {
    let uid = || system.cluster.get(&["deployment", "manifest-app", "-n", "studenten"])["metadata"]["uid"].clone();
    let before = uid();
    system.cluster.kubectl(&["-n", "studenten", "delete", "deployment", "manifest-app"]).ok();
    system.cluster.wait("another deployment takes its place", 10, |_| uid().is_string() && uid() != before);
    system.wait_healthy();
    system.cluster.wait("the old pods are gone", 60, |_| system.pods("app=manifest-app").len() == 2);
}

fn backup(system: &System) {
    let script = |arguments: &[&str]| {
        let exec = ["-n", "studenten", "exec", "deploy/backup-daemon", "--", "/bin/sh", "/scripts/backup.sh"];
        system.cluster.kubectl(&[&exec[..], arguments].concat()).ok().out
    };
    let before = system.students();
    let dumped = script(&["now"]);
    let file = dumped.lines().find_map(|line| line.strip_prefix("dumped ")).expect("a file name").to_owned();
    assert!(script(&["list"]).contains(&file));
    system.post("Lost");
    assert_ne!(system.students(), before);
    script(&["restore", &file]);
    assert_eq!(system.students(), before);
}

/// Container ids, restart counts and process ids of all pods of the system.
fn containers(system: &System) -> Vec<(String, i64)> {
    let list = system.cluster.get(&["pods", "-n", "studenten"]);
    let mut found: Vec<(String, i64)> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|pod| pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default())
        .map(|container| {
            (
                container["containerID"].as_str().unwrap_or_default().to_owned(),
                container["restartCount"].as_i64().unwrap_or(-1),
            )
        })
        .collect();
    found.sort();
    found
}

fn kill_daemon(system: &System) {
    system.wait_healthy();
    let before = containers(system);
    let pod = &system.pods("app=manifest-app")[0];
    let address = format!("http://{}:8080/api/student", pod["status"]["podIP"].as_str().unwrap_or_default());
    let pid = system.cluster.daemon_pid();
    lotse_e2e::run("kill", ["-9", &pid], "", &[]).ok();
    // The pod network does not need the daemon: straight to a pod, which reaches its database.
    for _ in 0..20 {
        let answer = lotse_e2e::run("curl", ["--silent", "--fail", "--max-time", "5", &address], "", &[]).ok();
        assert!(answer.out.starts_with('['), "{}", answer.out);
        std::thread::park_timeout(Duration::from_millis(50));
    }
    system.cluster.up(&[]).ok();
    system.wait_healthy();
    assert_eq!(containers(system), before);
    assert!(before.iter().all(|(_, restarts)| *restarts == 0), "{before:?}");
}

fn down_and_up(system: &System) {
    let before = system.students();
    system.cluster.lotse(&["down"]).ok();
    assert_eq!(system.cluster.curl("/api/student", &[]).0, 0);
    system.cluster.up(&[]).ok();
    system.wait_for_students(&before);
}

/// What a power failure leaves: nothing in memory, everything on disk.
fn reboot(system: &System) {
    let before = system.students();
    let pid = system.cluster.daemon_pid();
    lotse_e2e::run("kill", ["-9", &pid], "", &[]).ok();
    let shims = lotse_e2e::run("pgrep", ["-f", &format!("[s]him .*{}", system.cluster.profile)], "", &[]);
    let pids: Vec<&str> = shims.out.split_whitespace().collect();
    assert!(!pids.is_empty(), "no shim is running");
    lotse_e2e::run("kill", ["-9"].iter().chain(&pids), "", &[]);
    system.cluster.up(&[]).ok();
    system.wait_for_students(&before);
}

fn delete_application(system: &System) {
    let before = system.students();
    system.cluster.kubectl(&["-n", "argocd", "delete", "application", "students", "--timeout=90s"]).ok();
    let claims = system.cluster.get(&["pvc", "-n", "studenten"]);
    assert_eq!(claims["items"].as_array().map(Vec::len), Some(2), "{claims}");
    let deployments = system.cluster.get(&["deployments,statefulsets", "-n", "studenten"]);
    // kubectl prints nothing at all for an empty list of several kinds.
    assert_eq!(deployments["items"].as_array().map_or(0, Vec::len), 0, "{deployments}");
    system.create_application();
    system.wait_healthy();
    assert_eq!(system.students(), before);
}
