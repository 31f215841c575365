//! Endpoints and EndpointSlice.

use std::{collections::HashSet, net::IpAddr};

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::metadata;
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View},
};

pub(crate) fn default_endpoints(object: &mut Value) {
    for subset in object.items_mut("subsets") {
        subset.items_mut("ports").for_each(|port| port.set_default("protocol", "TCP"));
    }
}

pub(crate) fn validate_endpoints(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let subsets = Path::new("subsets");
    for (index, subset) in new.items("subsets").iter().enumerate() {
        let path = subsets.index(index);
        if subset.items("addresses").is_empty() && subset.items("notReadyAddresses").is_empty() {
            findings.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in ["addresses", "notReadyAddresses"] {
            let list_path = path.field(list);
            for (index, address) in subset.items(list).iter().enumerate() {
                let path = list_path.index(index);
                check_address(&path.field("ip"), address.text("ip").unwrap_or_default(), &mut findings);
            }
        }
        let ports = path.field("ports");
        for (index, port) in subset.items("ports").iter().enumerate() {
            let path = ports.index(index);
            findings.range(&path.field("port"), port.int("port"), 1, 65_535);
            findings.one_of(&path.field("protocol"), port.filled("protocol"), &["SCTP", "TCP", "UDP"]);
            if subset.items("ports").len() > 1 && port.filled("name").is_none() {
                findings.required(&path.field("name"), "");
            }
        }
    }
    findings.0
}

pub(crate) fn default_endpoint_slice(object: &mut Value) {
    for port in object.items_mut("ports") {
        port.set_default("name", "");
        port.set_default("protocol", "TCP");
    }
}

pub(crate) fn validate_endpoint_slice(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let kind_path = Path::new("addressType");
    let kind = new.filled("addressType");
    match kind {
        None => findings.required(&kind_path, ""),
        kind => findings.one_of(&kind_path, kind, &["FQDN", "IPv4", "IPv6"]),
    }
    if let Some(old) = old {
        findings.immutable(&kind_path, new.at("addressType"), old.at("addressType"));
    }
    let endpoints = Path::new("endpoints");
    if new.items("endpoints").len() > 1000 {
        findings.invalid(&endpoints, &new.items("endpoints").len().into(), "must have at most 1000 items");
    }
    for (index, endpoint) in new.items("endpoints").iter().enumerate() {
        let path = endpoints.index(index);
        let addresses = path.field("addresses");
        if endpoint.items("addresses").is_empty() {
            findings.required(&addresses, "must contain at least 1 address");
        }
        for (index, address) in endpoint.items("addresses").iter().enumerate() {
            let address = address.as_str().unwrap_or_default();
            let path = addresses.index(index);
            let fits = match (kind, address.parse::<IpAddr>()) {
                (Some("IPv4"), Ok(IpAddr::V4(_))) | (Some("IPv6"), Ok(IpAddr::V6(_))) => true,
                (Some("FQDN"), _) => names::dns1123_subdomain(address).is_ok(),
                _ => false,
            };
            if fits {
                if kind != Some("FQDN") {
                    check_address(&path, address, &mut findings);
                }
            } else if let Some(kind) = kind {
                findings.invalid_text(&path, address, format_args!("must be a valid {kind} address"));
            }
        }
    }
    let ports = Path::new("ports");
    let mut seen = HashSet::new();
    for (index, port) in new.items("ports").iter().enumerate() {
        let path = ports.index(index);
        let name = port.text("name").unwrap_or_default();
        if !seen.insert(name) {
            findings.duplicate(&path.field("name"), &name.into());
        }
        findings.range(&path.field("port"), port.int("port"), 1, 65_535);
        findings.one_of(&path.field("protocol"), port.filled("protocol"), &["SCTP", "TCP", "UDP"]);
    }
    findings.0
}

/// An endpoint never points at the node itself: traffic for it would reach what listens on loopback only.
fn check_address(path: &Path<'_>, address: &str, findings: &mut Findings) {
    let Ok(ip) = address.parse::<IpAddr>() else {
        return findings.invalid_text(path, address, "must be a valid IP address");
    };
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let problem = match () {
        () if ip.is_unspecified() => "may not be unspecified (0.0.0.0 or ::)",
        () if ip.is_loopback() => "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        () if link_local => "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        () if ip.is_multicast() => "may not be in the multicast range (224.0.0.0/4, ff00::/8)",
        () => return,
    };
    findings.invalid_text(path, address, problem);
}
