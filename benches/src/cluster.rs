//! A cluster of the benchmark's own: its profile, ports and directories; gone when the scenario is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Result, client::Target, etcd::free_ports};

/// Where the benchmark's profiles are registered, apart from the machine's own.
const STATE_DIR: &str = "/tmp/lotse-bench";
const RUN_DIR: &str = "/run/lotse-bench";

/// A cluster, running or not.
pub(crate) struct Cluster {
    lotse: PathBuf,
    profile: String,
    data: TempDir,
    ports: [u16; 3],
}

impl Cluster {
    /// A place for a cluster; nothing runs yet.
    pub(crate) fn new(binaries: &Path, name: &str) -> Result<Self> {
        Ok(Self {
            lotse: binaries.join("lotse"),
            profile: format!("bench-{name}-{}", std::process::id()),
            data: TempDir::with_prefix("lotse-bench-")?,
            ports: free_ports()?,
        })
    }

    /// A place, and a cluster in it that is ready.
    pub(crate) fn started(binaries: &Path, name: &str) -> Result<Self> {
        let cluster = Self::new(binaries, name)?;
        cluster.up()?;
        Ok(cluster)
    }

    /// `lotse up --detach`; returns when that does.
    pub(crate) fn up(&self) -> Result<()> {
        let mut command = self.up_command();
        finish(&mut command)
    }

    fn up_command(&self) -> Command {
        let mut command = self.command(&["up", "--detach", "--data-dir"]);
        command.arg(self.data_dir());
        for (flag, port) in ["--api-port", "--http-port", "--https-port"].iter().zip(self.ports) {
            command.arg(flag).arg(port.to_string());
        }
        command
    }

    /// `lotse up --detach` without waiting for it: its beginning and the process.
    pub(crate) fn spawn_up(&self) -> Result<(Instant, std::process::Child)> {
        let mut command = self.up_command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        Ok((started, command.spawn()?))
    }

    /// Runs `lotse` for this cluster.
    pub(crate) fn lotse(&self, arguments: &[&str]) -> Result<()> {
        finish(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.lotse);
        command.args(arguments);
        self.set_environment(&mut command);
        command
    }

    /// What makes `lotse` and `scripts/demo.sh` speak of this cluster.
    pub(crate) fn set_environment(&self, command: &mut Command) {
        command
            .env("LOTSE_STATE_DIR", STATE_DIR)
            .env("LOTSE_RUN_DIR", RUN_DIR)
            .env("LOTSE_CONFIG", "/nonexistent")
            .env("LOTSE_PROFILE", &self.profile)
            .env("LOTSE_HTTP_PORT", self.ports[1].to_string());
    }

    fn data_dir(&self) -> PathBuf {
        self.data.path().join("data")
    }

    pub(crate) fn profile(&self) -> &str {
        &self.profile
    }

    /// Where the sockets of the shims are.
    pub(crate) fn run_dir(&self) -> PathBuf {
        Path::new(RUN_DIR).join(&self.profile)
    }

    /// The administrator's way in; an error until the API server has written it.
    pub(crate) fn target(&self) -> Result<Target> {
        Target::from_kubeconfig(&fs::read_to_string(self.data_dir().join("kubeconfig"))?)
    }

    /// Process id of the daemon.
    pub(crate) fn daemon(&self) -> Result<u32> {
        Ok(fs::read_to_string(self.data_dir().join("daemon.lock"))?.trim().parse()?)
    }

    /// Imports an image made by `scripts/images.sh`.
    pub(crate) fn import(&self, file: &str, name: &str) -> Result<()> {
        let archive = format!(".cache/images/{file}.tar");
        let config = format!(".cache/images/{file}.json");
        self.lotse(&["image", "import", &archive, "--config", &config, "--name", name])
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.lotse(&["reset", "--yes"]) {
            eprintln!("reset of {} failed: {error}", self.profile);
        }
    }
}

/// Runs a command to its end; what it said is the error if it fails.
pub(crate) fn finish(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    Err(format!("{:?} failed: {}", command.get_program(), said.trim()).into())
}

/// Repeats `condition` every `pause` until it gives something; the error names what was waited for.
pub(crate) async fn wait<T>(
    what: &str,
    limit: Duration,
    pause: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return Ok(value);
        }
        if started.elapsed() > limit {
            return Err(format!("{what}: not within {limit:?}").into());
        }
        tokio::time::sleep(pause).await;
    }
}
