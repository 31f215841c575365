//! Cluster IPs and node ports. What is taken is read from the stored Services, under a lock that is held until the new one is
//! stored: nothing else has to be remembered, given back or repaired.

use std::{collections::BTreeSet, net::Ipv4Addr};

use lotse_schema::{Cause, Reason};
use ring::rand::SecureRandom;
use serde_json::{Map, Value};

use super::Admission;
use crate::{object::meta, projection::objects, registry::prefix, status::Result};

/// Gives a Service what its type needs, keeps what it has, and refuses what another one has.
pub(super) fn allocate(admission: &Admission<'_>, service: &mut Value) -> Result<()> {
    let kind = text(service, "/spec/type").to_owned();
    let (own, namespace) = (meta(service, "name").to_owned(), admission.write.namespace.clone());
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    let old_spec = admission.old.and_then(|old| old.get("spec"));
    if kind == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.remove(field);
        }
        return Ok(());
    }
    carry_over(spec, old_spec, &kind);
    let wants_ports = kind == "NodePort"
        || kind == "LoadBalancer" && spec.get("allocateLoadBalancerNodePorts").and_then(Value::as_bool) != Some(false);
    let wants_ip = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().is_empty();
    let changed = old_spec
        .is_none_or(|old| old.get("clusterIP") != spec.get("clusterIP") || old.get("ports") != spec.get("ports"));
    if !wants_ip && !changed {
        return Ok(());
    }
    let others: Vec<Value> = objects(&*admission.server.store, &prefix("", "services"))
        .into_iter()
        .filter(|other| (meta(other, "namespace"), meta(other, "name")) != (namespace.as_str(), own.as_str()))
        .collect();
    let config = &admission.server.config;
    cluster_ip(spec, old_spec, &others, config.service_cidr, config.kubernetes_ip())
        .map_err(|cause| admission.write.resource.invalid(&own, vec![cause]))?;
    node_ports(spec, &others, wants_ports, config.node_ports)
        .map_err(|cause| admission.write.resource.invalid(&own, vec![cause]))?;
    Ok(())
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Clients that do not know what was allocated send nothing; that does not give it up.
fn carry_over(spec: &mut Map<String, Value>, old: Option<&Value>, kind: &str) {
    let Some(old) = old else { return };
    if spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().is_empty() {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(value) = old.get(field) {
                spec.insert(field.to_owned(), value.clone());
            }
        }
    }
    if !matches!(kind, "NodePort" | "LoadBalancer") {
        return;
    }
    let before = old.get("ports").and_then(Value::as_array);
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let same =
            |other: &&Value| other.get("port") == port.get("port") && other.get("protocol") == port.get("protocol");
        let node_port = before.into_iter().flatten().find(same).and_then(|p| p.get("nodePort")).cloned();
        if let (Some(node_port), Some(port)) = (node_port, port.as_object_mut())
            && port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) == 0
        {
            port.insert("nodePort".to_owned(), node_port);
        }
    }
}

fn cause(reason: Reason, field: &str, message: String) -> Cause {
    Cause { reason, message, field: field.to_owned() }
}

fn cluster_ip(
    spec: &mut Map<String, Value>,
    old: Option<&Value>,
    others: &[Value],
    (first, bits): (Ipv4Addr, u8),
    kubernetes: Ipv4Addr,
) -> Result<(), Cause> {
    let wanted = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let before = old.and_then(|old| old.get("clusterIP")).and_then(Value::as_str).unwrap_or_default();
    if !before.is_empty() && before != wanted {
        return Err(cause(
            Reason::FieldValueInvalid,
            "spec.clusterIPs[0]",
            format!("Invalid value: {wanted:?}: may not change once set"),
        ));
    }
    if wanted != "None" {
        let taken: BTreeSet<Ipv4Addr> =
            others.iter().filter_map(|other| text(other, "/spec/clusterIP").parse().ok()).collect();
        let base = u32::from(first);
        let size = 1_u32.checked_shl(32 - u32::from(bits.clamp(1, 30))).unwrap_or(4);
        let usable = |ip: Ipv4Addr| {
            let offset = u32::from(ip).wrapping_sub(base);
            offset > 0 && offset < size - 1
        };
        let ip = if wanted.is_empty() {
            // From a random place on, so that an address is not used again at once after its Service is gone.
            let mut random = [0_u8; 4];
            let _ = ring::rand::SystemRandom::new().fill(&mut random);
            let start = u32::from_be_bytes(random) % size;
            let free = (0..size)
                .map(|step| Ipv4Addr::from(base.wrapping_add((start + step) % size)))
                .find(|ip| usable(*ip) && *ip != kubernetes && !taken.contains(ip));
            free.ok_or_else(|| {
                cause(
                    Reason::FieldValueInvalid,
                    "spec.clusterIPs",
                    "Invalid value: failed to allocate an IP: the range of cluster IPs is full".to_owned(),
                )
            })?
        } else {
            let ip: Ipv4Addr = wanted.parse().map_err(|_| {
                cause(
                    Reason::FieldValueInvalid,
                    "spec.clusterIPs[0]",
                    format!("Invalid value: {wanted:?}: must be a valid IPv4 address of the service range"),
                )
            })?;
            let refuse = |why: String| {
                let message = format!("Invalid value: {wanted:?}: failed to allocate IP {wanted}: {why}");
                Err(cause(Reason::FieldValueInvalid, "spec.clusterIPs[0]", message))
            };
            if !usable(ip) {
                return refuse(format!("the provided IP is not in the valid range {first}/{bits}"));
            }
            if taken.contains(&ip) {
                return refuse("provided IP is already allocated".to_owned());
            }
            ip
        };
        spec.insert("clusterIP".to_owned(), ip.to_string().into());
    }
    let ip = spec.get("clusterIP").cloned().unwrap_or_default();
    spec.insert("clusterIPs".to_owned(), vec![ip].into());
    spec.entry("ipFamilies").or_insert_with(|| vec!["IPv4"].into());
    spec.entry("ipFamilyPolicy").or_insert_with(|| "SingleStack".into());
    Ok(())
}

fn node_ports(
    spec: &mut Map<String, Value>,
    others: &[Value],
    wanted: bool,
    (first, last): (u16, u16),
) -> Result<(), Cause> {
    let ports_of = |service: &Value| -> Vec<(String, i64)> {
        let list = service.pointer("/spec/ports").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|p| Some((protocol(p), p.get("nodePort")?.as_i64()?))).collect()
    };
    let mut taken: BTreeSet<(String, i64)> = others.iter().flat_map(ports_of).collect();
    let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) else { return Ok(()) };
    if !wanted {
        for port in ports.iter_mut().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
        return Ok(());
    }
    // Named ones first, so that a chosen one never takes what a later entry names.
    for (index, port) in ports.iter().enumerate() {
        let Some(number) = port.get("nodePort").and_then(Value::as_i64).filter(|n| *n != 0) else { continue };
        let field = format!("spec.ports[{index}].nodePort");
        if !(i64::from(first)..=i64::from(last)).contains(&number) {
            let why = format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
            return Err(cause(Reason::FieldValueInvalid, &field, format!("Invalid value: {number}: {why}")));
        }
        if !taken.insert((protocol(port), number)) {
            let why = "provided port is already allocated";
            return Err(cause(Reason::FieldValueInvalid, &field, format!("Invalid value: {number}: {why}")));
        }
    }
    for (index, port) in ports.iter_mut().enumerate() {
        if port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0 {
            continue;
        }
        let protocol = protocol(port);
        let free = (i64::from(first)..=i64::from(last)).find(|n| !taken.contains(&(protocol.clone(), *n)));
        let free = free.ok_or_else(|| {
            let message = "Invalid value: 0: failed to allocate a nodePort: the range is full".to_owned();
            cause(Reason::FieldValueInvalid, &format!("spec.ports[{index}].nodePort"), message)
        })?;
        taken.insert((protocol, free));
        if let Some(port) = port.as_object_mut() {
            port.insert("nodePort".to_owned(), free.into());
        }
    }
    Ok(())
}

fn protocol(port: &Value) -> String {
    port.get("protocol").and_then(Value::as_str).unwrap_or("TCP").to_owned()
}
