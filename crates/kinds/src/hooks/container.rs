//! Rules for containers.

use std::collections::HashSet;

use lotse_schema::names;
use serde_json::Value;

use super::probe;
use crate::{
    findings::{Findings, Path},
    json::View,
    quantity,
};

/// A container; `volumes` are the names that the pod declares.
pub(super) fn validate(
    path: &Path<'_>,
    container: &Value,
    volumes: &HashSet<&str>,
    init: bool,
    findings: &mut Findings,
) {
    match container.filled("name") {
        None => findings.required(&path.field("name"), ""),
        Some(name) => findings.rule(&path.field("name"), name, names::dns1123_label),
    }
    match container.filled("image") {
        None => findings.required(&path.field("image"), ""),
        Some(image) if image.trim() != image => {
            findings.invalid_text(&path.field("image"), image, "must not have leading or trailing whitespace");
        }
        Some(_) => {}
    }
    findings.one_of(
        &path.field("imagePullPolicy"),
        container.filled("imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
    );
    let message_policies = ["File", "FallbackToLogsOnError"];
    findings.one_of(
        &path.field("terminationMessagePolicy"),
        container.filled("terminationMessagePolicy"),
        &message_policies,
    );
    validate_ports(&path.field("ports"), container, findings);
    validate_environment(path, container, findings);
    validate_mounts(&path.field("volumeMounts"), container, volumes, findings);
    validate_resources(&path.field("resources"), container.at("resources"), findings);
    validate_security(&path.field("securityContext"), container, findings);
    let restarts = container.filled("restartPolicy");
    findings.one_of(&path.field("restartPolicy"), restarts, &["Always", "OnFailure", "Never"]);
    // An init container that always restarts is a sidecar and runs beside the others.
    let runs_once = init && restarts != Some("Always");
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(found) = container.at(key) else { continue };
        let path = path.field(key);
        if runs_once {
            findings.forbidden(&path, "may not be set for init containers without restartPolicy=Always");
        } else {
            probe::validate(&path, key, found, findings);
        }
    }
    if let Some(lifecycle) = container.at("lifecycle") {
        let path = path.field("lifecycle");
        if runs_once {
            findings.forbidden(&path, "may not be set for init containers without restartPolicy=Always");
        }
        for moment in ["postStart", "preStop"] {
            if let Some(handler) = lifecycle.at(moment) {
                probe::validate_handler(
                    &path.field(moment),
                    handler,
                    &["exec", "httpGet", "tcpSocket", "sleep"],
                    findings,
                );
            }
        }
    }
}

fn validate_ports(path: &Path<'_>, container: &Value, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for (index, port) in container.items("ports").iter().enumerate() {
        let path = path.index(index);
        if let Some(name) = port.filled("name") {
            findings.rule(&path.field("name"), name, names::port_name);
            if !seen.insert(name) {
                findings.duplicate(&path.field("name"), &name.into());
            }
        }
        match port.int("containerPort") {
            None | Some(0) => findings.required(&path.field("containerPort"), ""),
            number => findings.range(&path.field("containerPort"), number, 1, 65_535),
        }
        findings.range(&path.field("hostPort"), port.int("hostPort").filter(|port| *port != 0), 1, 65_535);
        findings.one_of(&path.field("protocol"), port.filled("protocol"), &["TCP", "UDP", "SCTP"]);
    }
}

/// No two containers of a pod take the same port of the host.
pub(super) fn check_host_ports<'v>(
    path: &Path<'_>,
    container: &'v Value,
    taken: &mut HashSet<(&'v str, &'v str, i64)>,
    findings: &mut Findings,
) {
    for (index, port) in container.items("ports").iter().enumerate() {
        let Some(number) = port.int("hostPort").filter(|number| *number > 0) else { continue };
        let key = (port.text("protocol").unwrap_or("TCP"), port.text("hostIP").unwrap_or_default(), number);
        if !taken.insert(key) {
            let path = path.index(index);
            findings.duplicate(&path.field("hostPort"), &format!("{}/{}/{number}", key.0, key.1).into());
        }
    }
}

fn validate_environment(path: &Path<'_>, container: &Value, findings: &mut Findings) {
    let env = path.field("env");
    for (index, variable) in container.items("env").iter().enumerate() {
        let path = env.index(index);
        match variable.filled("name") {
            None => findings.required(&path.field("name"), ""),
            Some(name) => findings.rule(&path.field("name"), name, names::env_var_name),
        }
        let Some(from) = variable.at("valueFrom") else { continue };
        let path = path.field("valueFrom");
        if variable.filled("value").is_some() {
            findings.invalid_text(&path, "", "may not be specified when `value` is not empty");
        }
        let sources = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
        match sources.iter().filter(|source| from.at(source).is_some()).count() {
            0 => findings.invalid_text(
                &path,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            ),
            1 => {}
            _ => findings.invalid_text(&path, "", "may not have more than one field specified at a time"),
        }
        for source in ["configMapKeyRef", "secretKeyRef"] {
            let Some(reference) = from.at(source) else { continue };
            let path = path.field(source);
            match reference.filled("key") {
                None => findings.required(&path.field("key"), ""),
                Some(key) => findings.rule(&path.field("key"), key, names::config_map_key),
            }
            if reference.filled("name").is_none() {
                findings.required(&path.field("name"), "");
            }
        }
        if let Some(field) = from.at("fieldRef") {
            validate_field_reference(&path.field("fieldRef"), field, findings);
        }
    }
    let env_from = path.field("envFrom");
    for (index, source) in container.items("envFrom").iter().enumerate() {
        let path = env_from.index(index);
        let kinds = ["configMapRef", "secretRef"];
        match kinds.iter().filter(|kind| source.at(kind).is_some()).count() {
            0 => findings.invalid_text(&path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => findings.invalid_text(&path, "", "may not have more than one field specified at a time"),
        }
        for kind in kinds {
            if source.at(kind).is_some_and(|reference| reference.filled("name").is_none()) {
                let path = path.field(kind);
                findings.required(&path.field("name"), "");
            }
        }
    }
}

fn validate_field_reference(path: &Path<'_>, reference: &Value, findings: &mut Findings) {
    const PLAIN: [&str; 9] = [
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    let path = path.field("fieldPath");
    match reference.filled("fieldPath") {
        None => findings.required(&path, ""),
        Some(field) => {
            let keyed = ["metadata.labels['", "metadata.annotations['"].iter().any(|prefix| field.starts_with(prefix));
            if !(keyed && field.ends_with("']")) {
                findings.one_of(&path, Some(field), &PLAIN);
            }
        }
    }
}

fn validate_mounts(path: &Path<'_>, container: &Value, volumes: &HashSet<&str>, findings: &mut Findings) {
    let mut targets = HashSet::new();
    for (index, mount) in container.items("volumeMounts").iter().enumerate() {
        let path = path.index(index);
        match mount.filled("name") {
            None => findings.required(&path.field("name"), ""),
            Some(name) if !volumes.contains(name) => findings.not_found(&path.field("name"), name),
            Some(_) => {}
        }
        match mount.filled("mountPath") {
            None => findings.required(&path.field("mountPath"), ""),
            Some(target) if !targets.insert(target) => {
                findings.invalid_text(&path.field("mountPath"), target, "must be unique")
            }
            Some(_) => {}
        }
        for key in ["subPath", "subPathExpr"] {
            if let Some(sub_path) = mount.filled(key) {
                super::pod_volumes::local_path(&path.field(key), sub_path, findings);
            }
        }
        if mount.filled("subPath").is_some() && mount.filled("subPathExpr").is_some() {
            findings.invalid(
                &path.field("subPathExpr"),
                &mount["subPathExpr"],
                "subPathExpr and subPath are mutually exclusive",
            );
        }
        let propagations = ["None", "HostToContainer", "Bidirectional"];
        findings.one_of(&path.field("mountPropagation"), mount.filled("mountPropagation"), &propagations);
    }
}

/// Quantities are readable and not negative, and no request exceeds its limit.
pub(super) fn validate_resources(path: &Path<'_>, resources: Option<&Value>, findings: &mut Findings) {
    let Some(resources) = resources else { return };
    for list in ["limits", "requests"] {
        let path = path.field(list);
        for (name, value) in resources.entries(list) {
            findings.rule(&path.key(name), name, names::qualified_name);
            validate_quantity(&path.key(name), value, findings);
        }
    }
    let requests = path.field("requests");
    for (name, request) in resources.entries("requests") {
        let limit = resources.path(&["limits", name]);
        let (Some(limit), Some(amount)) = (limit.and_then(quantity::parse), quantity::parse(request)) else { continue };
        if amount > limit {
            findings.invalid(&requests.key(name), request, format_args!("must be less than or equal to {name} limit"));
        }
    }
}

/// A quantity that is not negative.
pub(super) fn validate_quantity(path: &Path<'_>, value: &Value, findings: &mut Findings) {
    match quantity::parse(value) {
        None => findings.invalid(path, value, quantity::SYNTAX),
        Some(amount) if amount.is_negative() => findings.invalid(path, value, "must be greater than or equal to 0"),
        Some(_) => {}
    }
}

fn validate_security(path: &Path<'_>, container: &Value, findings: &mut Findings) {
    let Some(security) = container.at("securityContext") else { return };
    validate_ids(path, security, findings);
    if security.at("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        if security.flag("privileged") {
            let value = Value::Bool(false);
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            findings.invalid(&path.field("allowPrivilegeEscalation"), &value, detail);
        }
        let added = security.path(&["capabilities", "add"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if added.iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            findings.invalid(&path.field("allowPrivilegeEscalation"), &Value::Bool(false), detail);
        }
    }
}

/// User, group and seccomp profile of a pod's or a container's security context. Ids above 2^31 wrap to other users in places.
pub(super) fn validate_ids(path: &Path<'_>, security: &Value, findings: &mut Findings) {
    for key in ["runAsUser", "runAsGroup"] {
        findings.range(&path.field(key), security.int(key), 0, i64::from(i32::MAX));
    }
    if let Some(profile) = security.at("seccompProfile") {
        let path = path.field("seccompProfile");
        let kinds = ["Localhost", "RuntimeDefault", "Unconfined"];
        match profile.filled("type") {
            None => findings.required(&path.field("type"), "type is required when seccompProfile is set"),
            kind => findings.one_of(&path.field("type"), kind, &kinds),
        }
        if profile.text("type") == Some("Localhost") && profile.filled("localhostProfile").is_none() {
            findings.required(&path.field("localhostProfile"), "must be set when seccomp type is Localhost");
        }
    }
}
