//! Rules for probes and lifecycle handlers.

use lotse_schema::names;
use serde_json::Value;

use crate::{
    findings::{Findings, Path},
    json::View,
};

/// A probe; `key` says which one.
pub(super) fn validate(path: &Path<'_>, key: &str, probe: &Value, findings: &mut Findings) {
    validate_handler(path, probe, &["exec", "httpGet", "tcpSocket", "grpc"], findings);
    for number in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        findings.non_negative(&path.field(number), probe.int(number));
    }
    if key != "readinessProbe"
        && let Some(threshold) = probe.int("successThreshold").filter(|threshold| *threshold != 1)
    {
        findings.invalid(&path.field("successThreshold"), &threshold.into(), "must be 1");
    }
    if probe.at("terminationGracePeriodSeconds").is_some() {
        let path = path.field("terminationGracePeriodSeconds");
        if key == "readinessProbe" {
            findings.invalid(&path, &probe["terminationGracePeriodSeconds"], "must not be set for readinessProbes");
        }
        findings.positive(&path, probe.int("terminationGracePeriodSeconds"));
    }
}

/// Exactly one of the handlers, and that one complete.
pub(super) fn validate_handler(path: &Path<'_>, handler: &Value, kinds: &[&str], findings: &mut Findings) {
    let set: Vec<_> = kinds.iter().filter(|kind| handler.at(kind).is_some()).collect();
    match set.as_slice() {
        [] => findings.required(path, "must specify a handler type"),
        [_] => {}
        [_, further @ ..] => {
            for kind in further {
                findings.forbidden(&path.field(kind), "may not specify more than 1 handler type");
            }
        }
    }
    if let Some(exec) = handler.at("exec")
        && exec.items("command").is_empty()
    {
        let path = path.field("exec");
        findings.required(&path.field("command"), "");
    }
    if let Some(get) = handler.at("httpGet") {
        let path = path.field("httpGet");
        if get.filled("path").is_none() {
            findings.required(&path.field("path"), "");
        }
        validate_port(&path.field("port"), get.at("port"), findings);
        findings.one_of(&path.field("scheme"), get.filled("scheme"), &["HTTP", "HTTPS"]);
        let headers = path.field("httpHeaders");
        for (index, header) in get.items("httpHeaders").iter().enumerate() {
            let name = header.text("name").unwrap_or_default();
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
                let path = headers.index(index);
                findings.invalid_text(
                    &path.field("name"),
                    name,
                    "a valid HTTP header must consist of alphanumeric characters or '-'",
                );
            }
        }
    }
    if let Some(socket) = handler.at("tcpSocket") {
        let path = path.field("tcpSocket");
        validate_port(&path.field("port"), socket.at("port"), findings);
    }
    if let Some(grpc) = handler.at("grpc") {
        let path = path.field("grpc");
        validate_port(&path.field("port"), grpc.at("port"), findings);
    }
}

/// A port's number or name.
pub(super) fn validate_port(path: &Path<'_>, port: Option<&Value>, findings: &mut Findings) {
    match port {
        Some(Value::Number(number)) => findings.range(path, number.as_i64(), 1, 65_535),
        Some(Value::String(name)) => findings.rule(path, name, names::port_name),
        _ => findings.required(path, "must be a port's number or name"),
    }
}
