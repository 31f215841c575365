//! Groups networking.k8s.io and discovery.k8s.io, version v1.

use k8s_openapi::api::{
    discovery::v1::EndpointSlice,
    networking::v1::{IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR},
};

use crate::{
    columns, hooks,
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<IngressClass>().columns(columns::network::ingress_class()).validate(hooks::ingress::validate_class),
        row::<Ingress>()
            .short(&["ing"])
            .status()
            .columns(columns::network::ingress())
            .prepare(hooks::ingress::prepare)
            .validate(hooks::ingress::validate),
        row::<IPAddress>()
            .short(&["ip"])
            .columns(columns::network::ip_address())
            .validate(hooks::network::validate_ip_address),
        row::<NetworkPolicy>()
            .short(&["netpol"])
            .columns(columns::network::network_policy())
            .default(hooks::network::default_network_policy)
            .validate(hooks::network::validate_network_policy),
        row::<ServiceCIDR>()
            .status()
            .columns(columns::network::service_cidr())
            .validate(hooks::network::validate_service_cidr),
        row::<EndpointSlice>()
            .columns(columns::network::endpoint_slice())
            .default(hooks::endpoints::default_endpoint_slice)
            .validate(hooks::endpoints::validate_endpoint_slice),
    ]
}
