//! `exec` probes: success is exit code 0.

use k8s_openapi::api::core::v1::Probe;
use lotse_runtime::{ExecSpec, Session};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{BoxFuture, Check, Target, cut};

/// As much output as the kubelet keeps; the rest is read and dropped so that the command never blocks on it.
const MAX_OUTPUT: u64 = 10 * 1024;

pub(super) fn of(probe: &Probe) -> Option<Box<dyn Check>> {
    probe.exec.as_ref().map(|action| Box::new(Exec(action.command.clone().unwrap_or_default())) as _)
}

struct Exec(Vec<String>);

impl Check for Exec {
    fn check<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let (code, output) = run(target, self.0.clone()).await?;
            if code == 0 { Ok(()) } else { Err(format!("command exited with code {code}: {}", output.trim_end())) }
        })
    }
}

/// Runs a command in the target's container to its end; exit code and the beginning of what it wrote.
pub(crate) async fn run(target: &Target, command: Vec<String>) -> Result<(i32, String), String> {
    let spec = ExecSpec { command, stdin: false, tty: false };
    let session = target.runtime.exec(&target.pod_uid, &target.container_id, &spec).await;
    let Session { stdout, stderr, exit, .. } = session.map_err(|error| crate::error::chain(&error))?;
    let (out, err, code) = tokio::join!(drain(stdout), drain(stderr), exit);
    let code = code.map_err(|error| crate::error::chain(&error))?;
    let mut output = out + &err;
    cut(&mut output, 10 * 1024);
    Ok((code, output))
}

async fn drain(stream: Option<Box<dyn AsyncRead + Send + Unpin>>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut data = Vec::new();
    // A broken stream ends the output; the exit code decides.
    let _ = (&mut stream).take(MAX_OUTPUT).read_to_end(&mut data).await;
    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&data).into_owned()
}
