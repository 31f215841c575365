//! Which kinds the server has, for what must work on all of them.

use kube::{
    Client,
    core::ApiResource,
    discovery::{Discovery, Scope, verbs},
};

use crate::Error;

/// One kind in the version that the server recommends.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    /// Can be listed and deleted.
    pub(crate) deletable: bool,
    /// Can be listed and watched.
    pub(crate) watchable: bool,
}

/// Every kind of the server once, in its recommended version.
pub(crate) async fn kinds(client: &Client) -> Result<Vec<Kind>, Error> {
    let discovered = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovered) => discovered,
        // Servers before 1.27 know only one request per group.
        Err(_) => Discovery::new(client.clone()).run().await.map_err(Error::api("discover", "kinds"))?,
    };
    let mut kinds = Vec::new();
    for group in discovered.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let can = |verb: &str| capabilities.supports_operation(verb);
            kinds.push(Kind {
                namespaced: capabilities.scope == Scope::Namespaced,
                deletable: can(verbs::LIST) && can(verbs::DELETE),
                watchable: can(verbs::LIST) && can(verbs::WATCH),
                resource,
            });
        }
    }
    Ok(kinds)
}
