//! A cluster of a test's own: its profile, ports and directories; gone when the test is.

use std::{
    ffi::OsString,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Answer, Background, binary, busybox, image, run, wait_until};

/// How a cluster is to be started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further arguments of `lotse up`.
    pub arguments: Vec<String>,
}

/// A running cluster.
pub struct Cluster {
    /// Its profile.
    pub profile: String,
    /// Port of the API.
    pub api_port: u16,
    /// Port of the edge, HTTP.
    pub http_port: u16,
    /// Port of the edge, HTTPS.
    pub https_port: u16,
    data: TempDir,
}

/// Where the profiles of this process are registered, so that none of the machine's clusters is touched.
pub fn state_dir() -> PathBuf {
    std::env::temp_dir().join(format!("lotse-e2e-state-{}", std::process::id()))
}

/// Sockets of the clusters of this process.
pub fn run_dir() -> PathBuf {
    PathBuf::from(format!("/run/lotse-e2e-{}", std::process::id()))
}

impl Cluster {
    /// Starts a cluster and waits until it is ready.
    #[track_caller]
    pub fn start(name: &str, options: &Options) -> Self {
        let data = match TempDir::with_prefix("lotse-e2e-") {
            Ok(data) => data,
            Err(error) => panic!("temporary directory: {error}"),
        };
        let [api_port, http_port, https_port] = free_ports();
        let profile = format!("{name}-{}", std::process::id());
        let cluster = Self { profile, api_port, http_port, https_port, data };
        cluster.up(&options.arguments).ok();
        cluster
    }

    /// `lotse up --detach`, again after a stop.
    #[track_caller]
    pub fn up(&self, arguments: &[String]) -> Answer {
        let ports = [self.api_port, self.http_port, self.https_port].map(|port| port.to_string());
        let data = self.data.path().join("data").display().to_string();
        let mut all: Vec<&str> = vec!["up", "--detach", "--data-dir", &data];
        for (flag, port) in ["--api-port", "--http-port", "--https-port"].iter().zip(&ports) {
            all.extend([flag, port.as_str()]);
        }
        all.extend(arguments.iter().map(String::as_str));
        self.lotse(&all)
    }

    /// Runs `lotse` for this cluster.
    #[track_caller]
    pub fn lotse(&self, arguments: &[&str]) -> Answer {
        self.lotse_as(&self.profile, arguments)
    }

    /// Runs `lotse` for another profile in the same registry.
    #[track_caller]
    pub fn lotse_as(&self, profile: &str, arguments: &[&str]) -> Answer {
        let profile = ["--profile", profile];
        let environment = environment();
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_os_str()));
        run(binary("lotse"), arguments.iter().chain(&profile), "", &environment)
    }

    /// Runs kubectl as the administrator.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> Answer {
        self.kubectl_with(arguments, "")
    }

    /// Runs kubectl with something on its standard input.
    #[track_caller]
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Answer {
        let environment = self.kubectl_environment();
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_os_str()));
        run("kubectl", arguments, input, &environment)
    }

    /// What kubectl needs to find the cluster, and to leave the user's own files alone.
    pub fn kubectl_environment(&self) -> [(&'static str, OsString); 3] {
        [
            ("KUBECONFIG", self.kubeconfig().into()),
            ("KUBECACHEDIR", self.data.path().join("kube").into()),
            ("HOME", self.data.path().into()),
        ]
    }

    /// A program that goes on beside the test, with the administrator's credentials in its environment.
    #[track_caller]
    pub fn background(&self, program: &str, arguments: &[&str]) -> Background {
        Background::spawn(program, arguments, &self.kubectl_environment())
    }

    /// A directory of the test's own, gone with the cluster.
    pub fn directory(&self) -> &Path {
        self.data.path()
    }

    /// `kubectl apply` of a manifest.
    #[track_caller]
    pub fn apply(&self, manifest: &str) -> Answer {
        self.kubectl_with(&["apply", "-f", "-"], manifest)
    }

    /// One object as JSON; `Null` when it does not exist.
    #[track_caller]
    pub fn get(&self, arguments: &[&str]) -> Value {
        let all: Vec<&str> = ["get", "-o", "json", "--ignore-not-found"].iter().chain(arguments).copied().collect();
        let answer = self.kubectl(&all).ok();
        if answer.out.trim().is_empty() { Value::Null } else { answer.json() }
    }

    /// curl through the edge; the answer's last line is the status code.
    #[track_caller]
    pub fn curl(&self, path: &str, arguments: &[&str]) -> (u16, String) {
        let url = format!("http://localhost:{}{path}", self.http_port);
        let fixed = ["--silent", "--show-error", "--max-time", "10", "--write-out", "\n%{http_code}"];
        let all: Vec<&str> = fixed.iter().chain(arguments).copied().chain([url.as_str()]).collect();
        let answer = run("curl", all, "", &[]);
        let (body, code) = answer.out.rsplit_once('\n').unwrap_or(("", "0"));
        (code.trim().parse().unwrap_or(0), body.to_owned())
    }

    /// Where the administrator's credentials are.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.path().join("data/kubeconfig")
    }

    /// Process id of the daemon.
    #[track_caller]
    pub fn daemon_pid(&self) -> String {
        match std::fs::read_to_string(self.data.path().join("data/daemon.lock")) {
            Ok(pid) => pid.trim().to_owned(),
            Err(error) => panic!("daemon.lock: {error}"),
        }
    }

    /// Imports an image made by `scripts/images.sh`.
    #[track_caller]
    pub fn import(&self, file: &str, name: &str) {
        let (archive, config) = image(file);
        let (archive, config) = (archive.display().to_string(), config.display().to_string());
        self.lotse(&["image", "import", &archive, "--config", &config, "--name", name]).ok();
    }

    /// Imports an image with nothing but busybox and its links, users root and web (1000).
    #[track_caller]
    pub fn import_busybox(&self, name: &str) {
        let (archive, config) = busybox::archive(self.data.path());
        let (archive, config) = (archive.display().to_string(), config.display().to_string());
        self.lotse(&["image", "import", &archive, "--config", &config, "--name", name]).ok();
    }

    /// Waits until `condition` holds for this cluster; a failure shows pods, events and the daemon's last words.
    #[track_caller]
    pub fn wait(&self, what: &str, seconds: u64, mut condition: impl FnMut(&Self) -> bool) -> Duration {
        wait_until(what, Duration::from_secs(seconds), || condition(self), || self.describe())
    }

    /// Everything that helps to understand a failure.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for arguments in [
            &["get", "pods", "-A", "-o", "wide"][..],
            &["get", "applications", "-A"],
            &["get", "events", "-A", "--sort-by=.lastTimestamp"],
        ] {
            text.push_str(&format!("--- kubectl {}\n{}\n", arguments.join(" "), self.kubectl(arguments).out));
        }
        let log = self.lotse(&["logs", "--tail", "40"]);
        format!("{text}--- daemon\n{}", log.out)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("LOTSE_E2E_KEEP").is_some() {
            eprintln!("kept: profile {} in {}", self.profile, self.data.path().display());
            return;
        }
        let answer = self.lotse(&["reset", "--yes"]);
        if answer.code != 0 {
            eprintln!("reset of {} failed: {}{}", self.profile, answer.out, answer.err);
        }
    }
}

fn environment() -> [(&'static str, OsString); 3] {
    [
        ("LOTSE_STATE_DIR", state_dir().into()),
        ("LOTSE_RUN_DIR", run_dir().into()),
        ("LOTSE_CONFIG", OsString::from("/nonexistent")),
    ]
}

/// Ports that nobody listens on now.
#[track_caller]
fn free_ports() -> [u16; 3] {
    // All are held until all are known, so that they differ.
    let listeners = [0; 3].map(|_| TcpListener::bind(("0.0.0.0", 0)));
    listeners.map(|listener| match listener.and_then(|listener| listener.local_addr()) {
        Ok(address) => address.port(),
        Err(error) => panic!("no free port: {error}"),
    })
}
