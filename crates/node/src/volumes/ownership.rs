//! `fsGroup` and `fsGroupChangePolicy`.

use std::path::Path;

use super::{Context, beneath};
use crate::error::Result;

/// Gives a writable volume to the pod's `fsGroup`, if it has one. Large trees are walked off the async threads.
pub(super) async fn apply(context: &Context<'_>, path: &Path) -> Result<()> {
    let Some(group) = context.fs_group() else { return Ok(()) };
    let security = context.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let policy = security.and_then(|security| security.fs_group_change_policy.as_deref());
    // With the policy Always the tree is walked once in the pod's life, not under its running containers.
    let only_on_mismatch = policy == Some("OnRootMismatch") || context.again;
    let path = path.to_owned();
    let walk = tokio::task::spawn_blocking(move || beneath::give_to_group(&path, group, only_on_mismatch));
    match walk.await {
        Ok(outcome) => outcome,
        Err(_) => Err(context.error("changing the group of the volume was interrupted")),
    }
}
