//! Workload kinds and the node they run on.

use serde_json::{Value, json};

use super::{IDLE, Named, Space, once, pod_spec, workload};

pub(super) const TRIALS: &[Named] = &[
    ("jobs_run_to_completion_and_retry", jobs),
    ("a_job_is_made_from_a_cron_job", job_from_cron_job),
    ("a_stateful_set_keeps_names_order_and_data", stateful_set),
    ("a_daemon_set_runs_on_the_node", daemon_set),
    ("cordon_and_taints_keep_pods_away_and_drain_moves_them", drain),
    ("certificates_are_requested_and_approved", certificates),
];

pub(crate) const CRON_JOB_NAMESPACE: &str = "every-minute";

fn job_template(script: &str) -> Value {
    let mut spec = pod_spec(script);
    spec["restartPolicy"] = json!("Never");
    json!({"backoffLimit": 2, "template": {"spec": spec}})
}

fn job(name: &str, script: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": job_template(script)})
}

fn jobs(space: &Space<'_>) {
    let mut many = job("many", "echo done");
    many["spec"]["completions"] = json!(3);
    many["spec"]["parallelism"] = json!(2);
    many["spec"]["completionMode"] = json!("Indexed");
    many["spec"]["template"]["spec"]["containers"][0]["command"] =
        json!(["sh", "-c", "echo index $JOB_COMPLETION_INDEX"]);
    let mut failing = job("failing", "exit 1");
    failing["spec"]["backoffLimit"] = json!(0);
    let mut brief = job("brief", "true");
    brief["spec"]["ttlSecondsAfterFinished"] = json!(1);
    space.apply(&[job("one", "echo done"), many, failing, brief]);
    space.k("wait --for=condition=Complete job/one job/many --timeout=40s").ok();
    space.k("wait --for=condition=Failed job/failing --timeout=40s").ok();
    assert_eq!(space.k("logs job/one").ok().out, "done\n");
    let logs = space.k("logs -l job-name=many --tail=-1").ok().out;
    for index in 0..3 {
        assert!(logs.contains(&format!("index {index}")), "{logs}");
    }
    let failed = space.get("job failing")["status"].to_string();
    assert!(failed.contains("BackoffLimitExceeded"), "{failed}");
    assert!(space.k("get jobs").ok().out.contains("3/3"));
    space.k("wait --for=delete job/brief --timeout=20s").ok();
}

fn job_from_cron_job(space: &Space<'_>) {
    space.apply(&[json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "yearly"},
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job_template("echo by hand")}}})]);
    space.k("create job now --from=cronjob/yearly").ok();
    space.k("wait --for=condition=Complete job/now --timeout=20s").ok();
    assert_eq!(space.k("logs job/now").ok().out, "by hand\n");
    let wrong = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "wrong"},
        "spec": {"schedule": "often", "jobTemplate": {"spec": job_template("true")}}});
    space.kubectl(&["apply", "-f", "-"], &wrong.to_string()).fails_with("spec.schedule");
}

/// Started with the cluster, looked at when most of a minute is over.
pub(super) fn start_cron_job(space: &Space<'_>) {
    space.apply(&[json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "clock"},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": job_template("echo the minute is full")}}})]);
}

pub(super) fn cron_job_ran(space: &Space<'_>) {
    let space = Space { cluster: space.cluster, namespace: CRON_JOB_NAMESPACE.to_owned() };
    space.wait("a job was started and ended", 75, || {
        !space.get("cronjob clock")["status"]["lastSuccessfulTime"].is_null()
    });
    let name = space.get("jobs")["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("clock-"));
    assert_eq!(space.k(&format!("logs job/{name}")).ok().out, "the minute is full\n");
}

fn stateful_set(space: &Space<'_>) {
    let mut set = workload("StatefulSet", "db", 2, &format!("[ -e /data/name ] || hostname > /data/name; {IDLE}"));
    set["spec"]["serviceName"] = json!("db");
    set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}}]);
    space.apply(&[
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"}, "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 1}]}}),
        set,
    ]);
    space.k("rollout status statefulset/db --timeout=40s").ok();
    let made =
        |name: &str| space.get(&format!("pod {name}"))["metadata"]["creationTimestamp"].as_str().unwrap().to_owned();
    assert!(made("db-0") <= made("db-1"));
    space.shell("db-1", "echo kept > /data/file").ok();
    space.k("scale statefulset/db --replicas=1").ok();
    space.k("wait --for=delete pod/db-1 --timeout=20s").ok();
    assert!(!space.get("pvc data-db-1").is_null());
    space.k("scale statefulset/db --replicas=3").ok();
    space.k("rollout status statefulset/db --timeout=40s").ok();
    assert_eq!(space.shell("db-1", "cat /data/name /data/file").ok().out, "db-1\nkept\n");
    assert_eq!(space.shell("db-2", "cat /data/name").ok().out, "db-2\n");
    let before = space.get("pod db-0")["metadata"]["uid"].clone();
    space.k("delete pod db-0").ok();
    space.wait("it comes back under its name", 20, || {
        let pod = space.get("pod db-0");
        pod["metadata"]["uid"] != before && pod["status"]["containerStatuses"][0]["ready"] == true
    });
}

fn daemon_set(space: &Space<'_>) {
    space.apply(&[workload("DaemonSet", "agent", 1, IDLE)]);
    space.k("rollout status daemonset/agent --timeout=30s").ok();
    let status = space.get("daemonset agent")["status"].clone();
    assert_eq!((status["desiredNumberScheduled"].as_i64(), status["numberReady"].as_i64()), (Some(1), Some(1)));
    let before = space.get("pods -l app=agent")["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    space.k(&format!("delete pod {before}")).ok();
    space.wait("it comes back", 20, || {
        space.get("daemonset agent")["status"]["numberReady"] == 1 && space.get(&format!("pod {before}")).is_null()
    });
}

/// Whatever happens in `test`, the node takes pods afterwards.
struct NodeRestored<'a, 'b>(&'a Space<'b>);

impl Drop for NodeRestored<'_, '_> {
    fn drop(&mut self) {
        self.0.k("uncordon lotse");
        self.0.k("taint node lotse claim-");
    }
}

fn drain(space: &Space<'_>) {
    space.apply(&[workload("Deployment", "web", 1, IDLE), workload("DaemonSet", "agent", 1, IDLE)]);
    space.k("rollout status deployment/web --timeout=30s").ok();
    let _restored = NodeRestored(space);
    space.k("cordon lotse").ok();
    assert!(space.k("get nodes").ok().out.contains("Ready,SchedulingDisabled"));
    space.k("drain lotse --ignore-daemonsets --pod-selector=app=web --timeout=30s").ok();
    space.wait("its successor waits", 20, || {
        let pods = space.get("pods -l app=web");
        pods["items"].as_array().is_some_and(|pods| pods.len() == 1 && pods[0]["status"]["phase"] == "Pending")
    });
    space.k("uncordon lotse").ok();
    space.k("rollout status deployment/web --timeout=30s").ok();
    // A budget that allows nothing stops a drain.
    space.k("create poddisruptionbudget web --selector=app=web --min-available=1").ok();
    space.wait("the budget knows its pods", 20, || space.get("pdb web")["status"]["currentHealthy"] == 1);
    let begun = std::time::Instant::now();
    space.k("drain lotse --ignore-daemonsets --pod-selector=app=web --timeout=2s").fails_with("disruption budget");
    // Clients wait as long as an answer tells them, whatever their own limit is: this one names no time.
    assert!(begun.elapsed().as_secs() < 10, "the drain took {:?} instead of 2 s", begun.elapsed());
    space.k("uncordon lotse").ok();
    space.k("taint node lotse claim=test:NoSchedule").ok();
    let mut tolerant = once("tolerant", "true");
    tolerant["spec"]["tolerations"] = json!([{"key": "claim", "operator": "Exists"}]);
    space.apply(&[once("kept-away", "true")]);
    space.output_of(&tolerant);
    assert_eq!(space.get("pod kept-away")["status"]["phase"], "Pending");
    space.k("taint node lotse claim-").ok();
    space.k("wait --for=jsonpath={.status.phase}=Succeeded pod/kept-away --timeout=20s").ok();
}

fn certificates(space: &Space<'_>) {
    let directory = space.cluster.directory();
    let (key, request) =
        (directory.join("csr.key").display().to_string(), directory.join("csr.pem").display().to_string());
    lotse_e2e::run(
        "openssl",
        [
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &request,
            "-subj",
            "/CN=jane",
        ],
        "",
        &[],
    )
    .ok();
    let encoded = lotse_e2e::run("base64", ["-w0", &request], "", &[]).ok().out;
    space.apply(&[json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": "jane"},
        "spec": {"request": encoded, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}})]);
    space.k("certificate approve jane").ok();
    let row = space.k("get csr jane").ok().out;
    space.k("delete csr jane").ok();
    assert!(row.contains("Approved"), "{row}");
}
