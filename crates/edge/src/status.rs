//! Writes where an Ingress is served into its status.

use k8s_openapi::api::networking::v1::{Ingress, IngressClass, IngressLoadBalancerIngress};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use lotse_client::{Driver, Informer, Informers, Key, Next, Reconciler};
use serde_json::json;

use crate::{Config, Error, build::is_ours};

struct Status {
    informers: Informers,
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
    config: Config,
}

/// Keeps `.status.loadBalancer` of every Ingress that is served here, until dropped.
pub(crate) async fn run(informers: Informers, config: Config) {
    let (ingresses, classes) = (informers.get::<Ingress>(), informers.get::<IngressClass>());
    classes.ready().await;
    let all = ingresses.clone();
    let status = Status { informers, ingresses: ingresses.clone(), classes: classes.clone(), config };
    Driver::new(status)
        .on_kind(&ingresses)
        .on(&classes, move |_| all.list().iter().map(|ingress| Key::of(ingress.as_ref())).collect())
        .run()
        .await;
}

/// What the status must name.
fn published(config: &Config) -> IngressLoadBalancerIngress {
    if config.publish_address.is_loopback() {
        IngressLoadBalancerIngress { hostname: Some("localhost".to_owned()), ..Default::default() }
    } else {
        IngressLoadBalancerIngress { ip: Some(config.publish_address.to_string()), ..Default::default() }
    }
}

impl Reconciler for Status {
    type Error = Error;

    fn name(&self) -> &'static str {
        "ingress-status"
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(ingress) = self.ingresses.get(key) else { return Ok(Next::Done) };
        let ours =
            ingress.metadata.deletion_timestamp.is_none() && is_ours(&ingress, &self.classes.list(), &self.config);
        if !ours {
            return Ok(Next::Done);
        }
        let wanted = vec![published(&self.config)];
        let current = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        if current.and_then(|balancer| balancer.ingress.as_ref()) == Some(&wanted) {
            return Ok(Next::Done);
        }
        let api: Api<Ingress> = Api::namespaced(self.informers.client().clone(), key.namespace());
        let patch = Patch::Merge(json!({ "status": { "loadBalancer": { "ingress": wanted } } }));
        let params = PatchParams { field_manager: Some("lotse-edge".to_owned()), ..PatchParams::default() };
        match api.patch_status(&key.name, &params, &patch).await {
            Ok(written) => {
                self.ingresses.observed(&written).await;
                Ok(Next::Done)
            }
            // Deleted in the meantime.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Next::Done),
            Err(source) => Err(Error::Status { ingress: key.to_string(), source: Box::new(source) }),
        }
    }
}
