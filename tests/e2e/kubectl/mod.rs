//! kubectl, unmodified, against one cluster with real pods. Each claim has a namespace of its own.

mod delete;
mod pods;
mod probes;
mod read;
mod rollouts;
mod services;
mod streams;
mod volumes;
mod workloads;
mod write;

use std::time::Duration;

use libtest_mimic::Trial;
use lotse_e2e::{Answer, Cluster, Options, Shared};
use serde_json::{Value, json};

use crate::claim;

static CLUSTER: Shared<Cluster> = Shared::new(start);

/// An image with busybox and its links.
pub(crate) const IMAGE: &str = "busybox:1";

fn start() -> Cluster {
    let cluster = Cluster::start("kubectl", &Options::default());
    cluster.import_busybox(IMAGE);
    workloads::start_cron_job(&Space::new(&cluster, workloads::CRON_JOB_NAMESPACE));
    cluster
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut all = [
        read::TRIALS,
        write::TRIALS,
        rollouts::TRIALS,
        streams::TRIALS,
        pods::TRIALS,
        probes::TRIALS,
        volumes::TRIALS,
        services::TRIALS,
        workloads::TRIALS,
        delete::TRIALS,
    ]
    .concat();
    // The one that waits for the clock comes when most of a minute is over.
    all.push(("a_cron_job_runs_on_the_minute", workloads::cron_job_ran));
    let last = all.len().saturating_sub(1);
    let trial = |(index, (name, test)): (usize, Named)| {
        claim(&format!("kubectl::{name}"), move || {
            CLUSTER.with(|cluster| test(&Space::new(cluster, &format!("claim-{index}"))));
            if index == last {
                finish();
            }
        })
    };
    all.into_iter().enumerate().map(trial).collect()
}

/// Takes the cluster down.
pub(crate) fn finish() {
    CLUSTER.finish();
}

/// A claim and what proves it.
type Named = (&'static str, fn(&Space<'_>));

/// A namespace of the shared cluster; it is deleted afterwards without waiting.
pub(crate) struct Space<'a> {
    cluster: &'a Cluster,
    namespace: String,
}

impl<'a> Space<'a> {
    fn new(cluster: &'a Cluster, namespace: &str) -> Self {
        cluster.kubectl(&["create", "namespace", namespace]).ok();
        Self { cluster, namespace: namespace.to_owned() }
    }

    /// kubectl in this namespace; `line` is split at white space.
    #[track_caller]
    fn k(&self, line: &str) -> Answer {
        self.kubectl(&line.split_whitespace().collect::<Vec<_>>(), "")
    }

    /// kubectl in this namespace with arguments that contain spaces, or with input.
    #[track_caller]
    fn kubectl(&self, arguments: &[&str], input: &str) -> Answer {
        self.cluster.kubectl_with(&[&["-n", self.namespace.as_str()], arguments].concat(), input)
    }

    /// A kubectl that goes on beside the claim.
    #[track_caller]
    fn background(&self, line: &str) -> lotse_e2e::Background {
        let arguments: Vec<&str> = ["-n", self.namespace.as_str()].into_iter().chain(line.split_whitespace()).collect();
        self.cluster.background("kubectl", &arguments)
    }

    /// Applies objects.
    #[track_caller]
    fn apply(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.kubectl(&["apply", "-f", "-"], &list.to_string()).ok();
    }

    /// One object, or `Null`.
    #[track_caller]
    fn get(&self, what: &str) -> Value {
        let answer = self.k(&format!("get --ignore-not-found -o json {what}")).ok();
        match answer.out.trim().is_empty() {
            // What kubectl does not print for a list that is empty.
            true if what.contains(" -l ") || !what.contains([' ', '/']) => json!({"items": []}),
            true => Value::Null,
            false => answer.json(),
        }
    }

    /// Applies pods and waits until they are ready.
    #[track_caller]
    fn run(&self, pods: &[Value]) {
        self.apply(pods);
        for pod in pods {
            self.ready(pod["metadata"]["name"].as_str().unwrap());
        }
    }

    #[track_caller]
    fn ready(&self, pod: &str) {
        let waited = self.k(&format!("wait --for=condition=Ready pod/{pod} --timeout=40s"));
        assert!(
            waited.code == 0,
            "{}\n{}\n{}",
            waited.err,
            self.k(&format!("describe pod {pod}")).out,
            self.k(&format!("logs {pod}")).out
        );
    }

    /// Waits until the pod has ended and returns what it printed.
    #[track_caller]
    fn output_of(&self, pod: &Value) -> String {
        self.apply(std::slice::from_ref(pod));
        let name = pod["metadata"]["name"].as_str().unwrap();
        self.wait(&format!("pod {name} succeeds"), 40, || {
            let phase = self.get(&format!("pod {name}"))["status"]["phase"].clone();
            assert_ne!(
                phase,
                "Failed",
                "{}\n{}",
                self.k(&format!("describe pod {name}")).out,
                self.k(&format!("logs {name}")).out
            );
            phase == "Succeeded"
        });
        self.k(&format!("logs {name}")).ok().out
    }

    /// Runs a shell command in a pod and returns what it prints.
    #[track_caller]
    fn shell(&self, pod: &str, script: &str) -> Answer {
        self.kubectl(&["exec", pod, "--", "sh", "-c", script], "")
    }

    #[track_caller]
    fn wait(&self, what: &str, seconds: u64, mut condition: impl FnMut() -> bool) -> Duration {
        self.cluster.wait(what, seconds, |_| condition())
    }
}

impl Drop for Space<'_> {
    fn drop(&mut self) {
        if self.namespace != workloads::CRON_JOB_NAMESPACE {
            self.cluster.kubectl(&["delete", "namespace", &self.namespace, "--wait=false", "--ignore-not-found"]);
        }
    }
}

/// A pod that runs a shell script and dies quickly.
pub(crate) fn pod(name: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": pod_spec(script),
    })
}

/// A pod that runs a script once.
pub(crate) fn once(name: &str, script: &str) -> Value {
    let mut pod = pod(name, script);
    pod["spec"]["restartPolicy"] = json!("Never");
    pod
}

pub(crate) fn pod_spec(script: &str) -> Value {
    json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": IMAGE, "command": ["sh", "-c", script]}],
    })
}

/// Serves `/index.html` on port 8080; its body is the pod's name.
pub(crate) const SERVE: &str = "mkdir -p /tmp/www; hostname > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www";

/// Waits until it is told to stop, and then stops.
pub(crate) const IDLE: &str = "trap 'exit 0' TERM; while true; do sleep 0.1; done";

/// A Deployment, ReplicaSet, StatefulSet or DaemonSet.
pub(crate) fn workload(kind: &str, name: &str, replicas: u32, script: &str) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec(script)},
        },
    });
    if kind == "DaemonSet"
        && let Some(spec) = object["spec"].as_object_mut()
    {
        spec.remove("replicas");
    }
    object
}
