//! postStart and preStop hooks.

use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;

use crate::probes::{self, Target};

/// Runs a hook to its end. The sentence of a failure goes into an event.
pub(super) async fn run(handler: &LifecycleHandler, target: &Target) -> Result<(), String> {
    if let Some(action) = &handler.exec {
        let (code, output) = probes::exec::run(target, action.command.clone().unwrap_or_default()).await?;
        return match code {
            0 => Ok(()),
            _ => Err(format!("command exited with code {code}: {}", output.trim_end())),
        };
    }
    if let Some(action) = &handler.http_get {
        return probes::http::get(target, action).await;
    }
    if let Some(action) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("the handler has no action that this node supports".into())
}
