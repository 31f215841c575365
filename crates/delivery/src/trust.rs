//! Certificate authorities that this machine does not know, for single hosts: self-hosted Git servers, chart repositories and
//! registries. They stand where Argo CD keeps them.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use reqwest::Certificate;

/// The ConfigMap in the control namespace: host names without ports, and certificates in PEM.
pub(crate) const CONFIG_MAP: &str = "argocd-tls-certs-cm";

/// Whom to trust besides the machine's own authorities. Cloning is cheap and shares what is known.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    by_host: Arc<RwLock<BTreeMap<String, String>>>,
}

// === impl Trust ===

impl Trust {
    /// From now on these certificates (PEM) count, each for its host and for no other.
    pub fn set(&self, by_host: BTreeMap<String, String>) {
        let mut known = self.by_host.write().unwrap_or_else(PoisonError::into_inner);
        if *known != by_host {
            *known = by_host;
        }
    }

    /// The certificates for a host; none where the machine's own authorities have to do.
    ///
    /// # Errors
    /// What is written for the host is no certificate.
    pub(crate) fn roots(&self, host: &str) -> Result<Vec<Certificate>, String> {
        let known = self.by_host.read().unwrap_or_else(PoisonError::into_inner);
        let Some(pem) = known.get(host) else { return Ok(Vec::new()) };
        let refuse = |why: &str| format!("{host} in ConfigMap {CONFIG_MAP} {why}: write certificates in PEM");
        match Certificate::from_pem_bundle(pem.as_bytes()) {
            Ok(roots) if roots.is_empty() => Err(refuse("holds no certificate")),
            Ok(roots) => Ok(roots),
            Err(error) => Err(refuse(&format!("cannot be read ({error})"))),
        }
    }
}
