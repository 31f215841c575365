//! Objects that belong to this installation and not to the API server: what users expect to find.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::exit::Failure;

/// Publishes cluster DNS as the Service that clients look for. It has no endpoints: the address is answered by the daemon
/// itself.
pub(super) async fn publish_dns(client: &Client, address: Ipv4Addr) -> Result<(), Failure> {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS", "kubernetes.io/cluster-service": "true"},
        },
        "spec": {
            "clusterIP": address,
            "ports": [
                {"name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "targetPort": 53, "protocol": "TCP"},
            ],
        },
    });
    Api::<Service>::namespaced(client.clone(), "kube-system")
        .patch("kube-dns", &PatchParams::apply("lotse").force(), &Patch::Apply(&service))
        .await
        .map_err(|error| Failure::from_api("Service kube-dns", &error))?;
    Ok(())
}

/// Makes the namespace that manifests of Applications name wherever Argo CD is used: applying one needs no step before it.
pub(super) async fn make_control_namespace(client: &Client) -> Result<(), Failure> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(lotse_delivery::CONTROL_NAMESPACE.to_owned());
    match Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(Failure::from_api("Namespace argocd", &error)),
        Ok(_) => Ok(()),
    }
}
