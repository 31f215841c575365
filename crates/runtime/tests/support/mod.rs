//! A runtime in a directory of its own, with an image made of Debian's busybox.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unreachable_pub)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Once, OnceLock},
    time::{Duration, Instant},
};

use lotse_runtime::*;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

pub const IMAGE: &str = "localhost/busybox:test";

/// Runs the tests with another shim, e.g. `target/debug/lotse shim` by its absolute path.
const SHIM: &str = "LOTSE_RUNTIME_TEST_SHIM";

/// The archive of a root file system with busybox.
pub fn rootfs() -> &'static Path {
    static ARCHIVE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        if !Path::new("/bin/busybox").exists() {
            let done = Command::new("apt-get").args(["install", "-y", "busybox-static"]).output().unwrap();
            assert!(done.status.success(), "busybox-static cannot be installed");
        }
    });
    let (_, path) = ARCHIVE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rootfs.tar");
        let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
        let mut append = |name: &str, mode: u32, bytes: &[u8], kind: tar::EntryType, link: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1);
            header.set_entry_type(kind);
            header.set_size(bytes.len() as u64);
            if !link.is_empty() {
                header.set_link_name(link).unwrap();
            }
            header.set_cksum();
            builder.append_data(&mut header, name, bytes).unwrap();
        };
        for name in ["bin/", "etc/", "tmp/", "root/"] {
            append(name, 0o755, b"", tar::EntryType::Directory, "");
        }
        append("bin/busybox", 0o755, &fs::read("/bin/busybox").unwrap(), tar::EntryType::Regular, "");
        append(
            "etc/passwd",
            0o644,
            b"root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n",
            tar::EntryType::Regular,
            "",
        );
        append("etc/group", 0o644, b"root:x:0:\nextra:x:1002:app\n", tar::EntryType::Regular, "");
        append("etc/notexec", 0o644, b"x", tar::EntryType::Regular, "");
        for applet in [
            "sh", "echo", "sleep", "cat", "true", "id", "tty", "stty", "ps", "yes", "head", "kill", "ls", "readlink",
            "hostname", "dd", "mount", "test", "touch", "grep", "pwd", "env", "wc",
        ] {
            append(&format!("bin/{applet}"), 0o777, b"", tar::EntryType::Symlink, "/bin/busybox");
        }
        builder.finish().unwrap();
        (directory, path)
    });
    path
}

/// The settings of a runtime in `directory`.
pub fn config(directory: &Path) -> Config {
    let name = directory.file_name().unwrap().to_str().unwrap();
    let mut config = Config::new(directory.join("root"), directory.join("run"), format!("/lotse-test-{name}"));
    config.shim = match std::env::var(SHIM) {
        Ok(command) => command.split(' ').map(Into::into).collect(),
        Err(_) => vec![env!("CARGO_BIN_EXE_lotse-runtime-shim").into()],
    };
    config
}

/// A runtime that is cleaned up at the end.
pub struct Machine {
    pub directory: TempDir,
    pub config: Config,
    pub runtime: Option<Runtime>,
}

impl Machine {
    pub async fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("lrt").tempdir().unwrap();
        let config = config(directory.path());
        let runtime = Runtime::open(config.clone()).unwrap();
        runtime
            .import(rootfs(), Some(IMAGE), Some(json!({"Cmd": ["/bin/sh"], "Env": ["FROM_IMAGE=yes"]})))
            .await
            .unwrap();
        Self { directory, config, runtime: Some(runtime) }
    }

    pub fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    /// Drops the runtime and opens it again, as a new daemon would.
    pub async fn restart(&mut self) {
        self.runtime = None;
        let deadline = Instant::now() + Duration::from_secs(5);
        self.runtime = loop {
            match Runtime::open(self.config.clone()) {
                Ok(runtime) => break Some(runtime),
                Err(error) if Instant::now() > deadline => panic!("{error:?}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
    }

    /// Removes all pods and checks that nothing is left.
    pub async fn finish(mut self) {
        let runtime = self.runtime.take().unwrap();
        let shims: Vec<u32> = runtime.pods().iter().filter_map(|pod| pod.shim_pid).collect();
        for pod in runtime.pods() {
            runtime.remove_pod(&pod.spec.uid).await.unwrap();
        }
        runtime.remove_image(IMAGE).await.unwrap();
        drop(runtime);
        let root = self.directory.path().to_str().unwrap().to_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(&root)).collect();
        assert!(left.is_empty(), "mounts are left: {left:#?}");
        let name = self.config.cgroup_parent.trim_start_matches('/');
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
            let path = hierarchy.unwrap().path().join(name);
            assert!(!path.exists(), "{} is left", path.display());
        }
        for pid in shims {
            assert!(!Path::new(&format!("/proc/{pid}/ns")).exists() || is_zombie(pid), "shim {pid} is left");
        }
        let layers: Vec<_> = fs::read_dir(self.config.root.join("images/layers")).unwrap().collect();
        assert_eq!(layers.len(), 1, "only the empty layer stays");
    }
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

/// Exit code, signal and whether it was for memory.
pub fn exit(state: &ContainerState) -> (i32, Option<i32>, bool) {
    match state {
        ContainerState::Exited { code, signal, out_of_memory, .. } => (*code, *signal, *out_of_memory),
        other => panic!("{other:?}"),
    }
}

pub fn pod(uid: &str) -> PodSpec {
    PodSpec {
        uid: uid.into(),
        namespace: "default".into(),
        name: uid.into(),
        hostname: format!("host-{uid}"),
        network_namespace: None,
        host_pid: false,
        host_ipc: false,
        share_process_namespace: false,
        sysctls: BTreeMap::new(),
        qos: QosClass::Burstable,
        resources: Resources::default(),
    }
}

/// A container that runs a script.
pub fn shell(directory: &Path, name: &str, script: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.into(),
        attempt: 0,
        image: IMAGE.into(),
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
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
        log_path: directory.join(format!("{name}.log")),
        labels: BTreeMap::from([("hash".into(), "1".into())]),
    }
}

impl Machine {
    pub fn shell(&self, name: &str, script: &str) -> ContainerSpec {
        shell(self.directory.path(), name, script)
    }

    /// Starts a container, waits for its end and returns its state and its log's text.
    pub async fn run(&self, uid: &str, spec: &ContainerSpec) -> (ContainerState, String) {
        let status = self.runtime().start_container(uid, spec).await.unwrap();
        let state = self.wait(uid, &status.id).await;
        (state, self.log(spec))
    }

    pub async fn wait(&self, uid: &str, id: &str) -> ContainerState {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let pod = self.runtime().pod(uid).unwrap();
            let state = pod.containers.into_iter().find(|container| container.id == id).unwrap().state;
            if matches!(state, ContainerState::Exited { .. }) {
                return state;
            }
            assert!(Instant::now() < deadline, "the container does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The log without times, streams and tags.
    pub fn log(&self, spec: &ContainerSpec) -> String {
        let text = fs::read_to_string(&spec.log_path).unwrap();
        text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned() + "\n").collect()
    }

    pub async fn wait_for_log(&self, spec: &ContainerSpec, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.log(spec).contains(wanted) {
            assert!(Instant::now() < deadline, "{wanted:?} does not appear in {:?}", self.log(spec));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Runs a command to its end and returns exit code, output and errors.
    pub async fn exec(&self, uid: &str, id: &str, command: &[&str]) -> (i32, String, String) {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let session = self.runtime().exec(uid, id, &ExecSpec { command, stdin: false, tty: false }).await.unwrap();
        let (mut output, mut errors) = (String::new(), String::new());
        session.stdout.unwrap().read_to_string(&mut output).await.unwrap();
        session.stderr.unwrap().read_to_string(&mut errors).await.unwrap();
        (session.exit.await.unwrap(), output, errors)
    }
}
