//! Removes what belongs to pods that no longer exist.

use std::{collections::BTreeSet, sync::Arc};

use lotse_client::Key;

use super::{Shared, safe_name};
use crate::{error::Result, volumes::beneath};

// === impl Shared ===

impl Shared {
    /// Gives back former pods of this name: those that were removed from the API without us, by force or meanwhile.
    pub(super) async fn release_former(&self, key: &Key, current: Option<&str>) -> Result<()> {
        let former: Vec<Arc<super::Entry>> = {
            let entries = self.entries();
            entries.values().filter(|entry| entry.key == *key && Some(entry.uid.as_str()) != current).cloned().collect()
        };
        for entry in former {
            self.release(&entry).await?;
            self.entries().remove(&entry.uid);
            let (namespace, name) = (key.namespace(), &key.name);
            if safe_name(namespace) && safe_name(name) && safe_name(&entry.uid) {
                beneath::remove_tree(&self.config.log_dir.join(format!("{namespace}_{name}_{}", entry.uid)))?;
            }
        }
        Ok(())
    }

    /// Sandboxes, attachments and directories without a Pod object. Must only be called when the cache of pods is
    /// complete: before that, an absent object proves nothing.
    pub(crate) async fn remove_orphans(&self) {
        let ours = self.pods.filter(|pod| self.is_ours(pod));
        let known: BTreeSet<&str> = ours.iter().filter_map(|pod| pod.metadata.uid.as_deref()).collect();
        let mut found: BTreeSet<String> = self.runtime.pods().into_iter().map(|pod| pod.spec.uid).collect();
        found.extend(self.network.attachments().into_iter().map(|attachment| attachment.uid));
        found.extend(names(&self.config.root.join("pods")));
        for uid in found.iter().filter(|uid| !known.contains(uid.as_str()) && safe_name(uid)) {
            tracing::info!(uid, "removing what is left of a pod that no longer exists");
            if let Err(error) = self.release_uid(uid).await {
                tracing::warn!(uid, error = %crate::error::chain(&error), "cannot remove an orphaned pod");
            }
        }
        for name in names(&self.config.log_dir) {
            let uid = name.rsplit('_').next().unwrap_or_default();
            // Three parts: the namespace, the pod and the uid; anything else there is not ours.
            if name.split('_').count() == 3 && !known.contains(uid) {
                let path = self.config.log_dir.join(&name);
                if let Err(error) = beneath::remove_tree(&path) {
                    tracing::warn!(error = %crate::error::chain(&error), "cannot remove the logs of an orphaned pod");
                }
            }
        }
    }
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
