//! NetworkPolicy, IPAddress and ServiceCIDR.

use std::net::IpAddr;

use lotse_schema::{Cause, names};
use serde_json::Value;

use super::{metadata, selector};
use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, is_empty},
};

const SPEC: Path<'_> = Path::new("spec");

pub(crate) fn default_network_policy(object: &mut Value) {
    let Some(spec) = object.at_mut("spec") else { return };
    spec.object_mut("podSelector");
    for direction in ["ingress", "egress"] {
        for rule in spec.items_mut(direction) {
            rule.items_mut("ports").for_each(|port| port.set_default("protocol", "TCP"));
        }
    }
    if is_empty(spec.at("policyTypes")) {
        let egress = !spec.items("egress").is_empty();
        let types = if egress { vec!["Ingress", "Egress"] } else { vec!["Ingress"] };
        spec.set("policyTypes", types);
    }
}

pub(crate) fn validate_network_policy(_: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    metadata::name(new, names::dns1123_subdomain, &mut findings);
    let spec = new.at("spec").unwrap_or(&Value::Null);
    if let Some(pods) = spec.at("podSelector") {
        selector::validate(&SPEC.field("podSelector"), pods, &mut findings);
    }
    let types = SPEC.field("policyTypes");
    for (index, kind) in spec.items("policyTypes").iter().enumerate() {
        findings.one_of(&types.index(index), kind.as_str(), &["Egress", "Ingress"]);
    }
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let list = SPEC.field(direction);
        for (index, rule) in spec.items(direction).iter().enumerate() {
            let path = list.index(index);
            let ports = path.field("ports");
            for (index, port) in rule.items("ports").iter().enumerate() {
                validate_port(&ports.index(index), port, &mut findings);
            }
            let peer_list = path.field(peers);
            for (index, peer) in rule.items(peers).iter().enumerate() {
                validate_peer(&peer_list.index(index), peer, &mut findings);
            }
        }
    }
    findings.0
}

fn validate_port(path: &Path<'_>, port: &Value, findings: &mut Findings) {
    findings.one_of(&path.field("protocol"), port.filled("protocol"), &["SCTP", "TCP", "UDP"]);
    if let Some(number) = port.at("port") {
        super::probe::validate_port(&path.field("port"), Some(number), findings);
    }
    if let Some(end) = port.int("endPort") {
        match port.int("port") {
            None => findings.required(&path.field("port"), "may not be a name or absent when `endPort` is set"),
            Some(port) if end < port => {
                findings.invalid(&path.field("endPort"), &end.into(), "must be greater than or equal to `port`");
            }
            Some(_) => findings.range(&path.field("endPort"), Some(end), 1, 65_535),
        }
    }
}

fn validate_peer(path: &Path<'_>, peer: &Value, findings: &mut Findings) {
    let selectors = ["podSelector", "namespaceSelector"];
    for key in selectors {
        if let Some(found) = peer.at(key) {
            selector::validate(&path.field(key), found, findings);
        }
    }
    let selects = selectors.iter().any(|key| peer.at(key).is_some());
    let Some(block) = peer.at("ipBlock") else {
        if !selects {
            findings.required(path, "must specify a peer");
        }
        return;
    };
    if selects {
        findings.forbidden(path, "may not specify both ipBlock and another peer");
    }
    let path = path.field("ipBlock");
    let Some(outer) = block.filled("cidr") else { return findings.required(&path.field("cidr"), "") };
    let Some(range) = parse_cidr(outer) else {
        return findings.invalid_text(&path.field("cidr"), outer, "must be a valid CIDR value");
    };
    let except = path.field("except");
    for (index, inner) in block.items("except").iter().enumerate() {
        let parsed = inner.as_str().and_then(parse_cidr);
        match parsed {
            None => findings.invalid(&except.index(index), inner, "must be a valid CIDR value"),
            Some(parsed) if !contains(range, parsed) => {
                findings.invalid(&except.index(index), inner, "must be a strict subset of `cidr`");
            }
            Some(_) => {}
        }
    }
}

fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u8 = length.parse().ok()?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

/// Whether the second range lies within the first and is smaller.
fn contains((outer, outer_length): (IpAddr, u8), (inner, inner_length): (IpAddr, u8)) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => u128::from(address),
    };
    let same_family = outer.is_ipv4() == inner.is_ipv4();
    let shift = 128_u32.saturating_sub(u32::from(outer_length));
    let prefix = |address: IpAddr| bits(address).checked_shr(shift).unwrap_or(0);
    same_family && inner_length > outer_length && prefix(outer) == prefix(inner)
}

pub(crate) fn validate_ip_address(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    let name = new.path(&["metadata", "name"]).and_then(Value::as_str).unwrap_or_default();
    if name.parse::<IpAddr>().is_err() {
        let metadata = Path::new("metadata");
        findings.invalid_text(&metadata.field("name"), name, "must be a valid IP address in canonical form");
    }
    let reference = SPEC.field("parentRef");
    let parent = new.path(&["spec", "parentRef"]);
    if parent.is_none() {
        findings.required(&reference, "");
    }
    if let Some(old) = old {
        findings.immutable(&reference, parent, old.path(&["spec", "parentRef"]));
    }
    findings.0
}

pub(crate) fn validate_service_cidr(_: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    let path = SPEC.field("cidrs");
    let cidrs = new.at("spec").map_or(&[][..], |spec| spec.items("cidrs"));
    if cidrs.is_empty() {
        findings.required(&path, "at least one CIDR required");
    }
    for (index, cidr) in cidrs.iter().enumerate() {
        if cidr.as_str().and_then(parse_cidr).is_none() {
            findings.invalid(&path.index(index), cidr, "must be a valid CIDR value");
        }
    }
    if let Some(old) = old {
        findings.immutable(&path, new.path(&["spec", "cidrs"]), old.path(&["spec", "cidrs"]));
    }
    findings.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ranges_contain_smaller_ranges_of_their_family() {
        for (outer, inner, within) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/8", "10.0.0.0/8", false),
            ("10.0.0.0/8", "11.0.0.0/16", false),
            ("0.0.0.0/0", "11.0.0.0/16", true),
            ("::/0", "11.0.0.0/16", false),
            ("fd00::/8", "fd12::/16", true),
        ] {
            assert_eq!(contains(parse_cidr(outer).unwrap(), parse_cidr(inner).unwrap()), within, "{outer} {inner}");
        }
    }
}
