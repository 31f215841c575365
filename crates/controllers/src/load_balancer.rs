//! Services of type LoadBalancer: on one machine the node's own address is the load balancer's.

use k8s_openapi::api::core::v1::{LoadBalancerIngress, LoadBalancerStatus, Node, Service, ServiceStatus};
use lotse_client::{Driver, Key, Next};

use crate::{
    Context, Error,
    context::{Controller, Managed},
};

const NAME: &str = "service";
/// Classes that are ours; a Service with another class waits for that one's controller.
const CLASS: &str = "lotse.dev/node";

struct Services;

/// Runs the controller until dropped.
pub(crate) async fn run(context: Context) {
    let (services, nodes) = (context.cache::<Service>(), context.cache::<Node>());
    services.ready().await;
    nodes.ready().await;
    let balanced = services.clone();
    Driver::new(Managed::new(Services, &context))
        .on_kind(&services)
        .on(&nodes, move |_| {
            balanced.filter(is_load_balancer).iter().map(|service| Key::of(service.as_ref())).collect()
        })
        .run()
        .await;
}

fn is_load_balancer(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer")
}

impl Controller for Services {
    const NAME: &'static str = NAME;

    async fn reconcile(&self, context: &Context, key: &Key) -> Result<Next, Error> {
        let Some(service) = context.cache::<Service>().get(key) else { return Ok(Next::Done) };
        let class = service.spec.as_ref().and_then(|spec| spec.load_balancer_class.as_deref());
        if class.is_some_and(|class| class != CLASS) {
            return Ok(Next::Done);
        }
        let node = context.cache::<Node>().get(&Key::cluster(&context.config.node_name));
        let old = service.status.clone().unwrap_or_default();
        let status = ServiceStatus { load_balancer: Some(plan(&service, node.as_deref())), ..old.clone() };
        if old.load_balancer.clone().unwrap_or_default() != status.load_balancer.clone().unwrap_or_default() {
            context.status(NAME, service.as_ref(), service.status.as_ref(), &status).await?;
        }
        Ok(Next::Done)
    }
}

fn plan(service: &Service, node: Option<&Node>) -> LoadBalancerStatus {
    if !is_load_balancer(service) || service.metadata.deletion_timestamp.is_some() {
        return LoadBalancerStatus::default();
    }
    let addresses = node.and_then(|node| node.status.as_ref()).and_then(|status| status.addresses.as_ref());
    let find = |kind: &str| {
        addresses.into_iter().flatten().find(|address| address.type_ == kind).map(|address| address.address.clone())
    };
    let ingress = find("ExternalIP").or_else(|| find("InternalIP")).map(|ip| {
        vec![LoadBalancerIngress { ip: Some(ip), ip_mode: Some("VIP".to_owned()), ..LoadBalancerIngress::default() }]
    });
    LoadBalancerStatus { ingress }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn only_load_balancers_get_the_address_of_the_node() {
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "status": {"addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "10.0.0.1"}]},
        }))
        .unwrap();
        let service = |kind: &str| -> Service { serde_json::from_value(json!({"spec": {"type": kind}})).unwrap() };
        let ip = |status: LoadBalancerStatus| status.ingress.and_then(|all| all.first().and_then(|one| one.ip.clone()));
        assert_eq!(ip(plan(&service("LoadBalancer"), Some(&node))).as_deref(), Some("10.0.0.1"));
        assert_eq!(ip(plan(&service("ClusterIP"), Some(&node))), None);
        assert_eq!(ip(plan(&service("LoadBalancer"), None)), None);
    }
}
