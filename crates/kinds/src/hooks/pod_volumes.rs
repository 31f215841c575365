//! Rules for the volumes of a pod.

use std::collections::HashSet;

use lotse_schema::names;
use serde_json::Value;

use super::{claim, container};
use crate::{
    findings::{Findings, Path},
    json::View,
};

/// Checks `spec.volumes` and returns the names that containers may mount.
pub(super) fn validate<'v>(path: &Path<'_>, spec: &'v Value, findings: &mut Findings) -> HashSet<&'v str> {
    let mut seen = HashSet::new();
    for (index, volume) in spec.items("volumes").iter().enumerate() {
        let path = path.index(index);
        match volume.filled("name") {
            None => findings.required(&path.field("name"), ""),
            Some(name) => {
                findings.rule(&path.field("name"), name, names::dns1123_label);
                if !seen.insert(name) {
                    findings.duplicate(&path.field("name"), &name.into());
                }
            }
        }
        validate_source(&path, volume, findings);
    }
    seen
}

fn validate_source(path: &Path<'_>, volume: &Value, findings: &mut Findings) {
    let sources = volume.as_object().into_iter().flatten().filter(|(key, value)| *key != "name" && !value.is_null());
    let sources: Vec<_> = sources.map(|(key, _)| key.as_str()).collect();
    match sources.as_slice() {
        [] => findings.required(path, "must specify a volume type"),
        [_] => {}
        [_, further @ ..] => {
            for source in further {
                findings.forbidden(&path.field(source), "may not specify more than 1 volume type");
            }
        }
    }
    for (source, required) in [
        ("secret", "secretName"),
        ("configMap", "name"),
        ("persistentVolumeClaim", "claimName"),
        ("hostPath", "path"),
        ("nfs", "server"),
        ("csi", "driver"),
    ] {
        let Some(value) = volume.at(source) else { continue };
        let path = path.field(source);
        if value.filled(required).is_none() {
            findings.required(&path.field(required), "");
        }
        findings.range(&path.field("defaultMode"), value.int("defaultMode"), 0, 0o777);
        validate_items(&path.field("items"), value, findings);
    }
    if let Some(host_path) = volume.at("hostPath") {
        let path = path.field("hostPath");
        let kinds =
            ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
        findings.one_of(&path.field("type"), host_path.text("type"), &kinds);
        if let Some(target) = host_path.filled("path").filter(|target| target.split('/').any(|part| part == "..")) {
            findings.invalid_text(&path.field("path"), target, "must not contain '..'");
        }
    }
    if let Some(empty_dir) = volume.at("emptyDir") {
        let path = path.field("emptyDir");
        if let Some(limit) = empty_dir.at("sizeLimit") {
            container::validate_quantity(&path.field("sizeLimit"), limit, findings);
        }
    }
    if let Some(projected) = volume.at("projected") {
        let path = path.field("projected");
        findings.range(&path.field("defaultMode"), projected.int("defaultMode"), 0, 0o777);
        let sources = path.field("sources");
        for (index, source) in projected.items("sources").iter().enumerate() {
            let path = sources.index(index);
            for key in ["secret", "configMap", "downwardAPI"] {
                if let Some(value) = source.at(key) {
                    let path = path.field(key);
                    validate_items(&path.field("items"), value, findings);
                }
            }
            if let Some(token) = source.at("serviceAccountToken") {
                let path = path.field("serviceAccountToken");
                if let Some(seconds) = token.int("expirationSeconds").filter(|seconds| *seconds < 600) {
                    findings.invalid(
                        &path.field("expirationSeconds"),
                        &seconds.into(),
                        "may not specify a duration less than 10 minutes",
                    );
                }
                match token.filled("path") {
                    None => findings.required(&path.field("path"), ""),
                    Some(target) => local_path(&path.field("path"), target, findings),
                }
            }
        }
    }
    if let Some(downward) = volume.at("downwardAPI") {
        let path = path.field("downwardAPI");
        validate_items(&path.field("items"), downward, findings);
    }
    if let Some(template) = volume.path(&["ephemeral", "volumeClaimTemplate", "spec"]) {
        let path = path.field("ephemeral");
        let path = path.field("volumeClaimTemplate");
        claim::validate_spec(&path.field("spec"), template, findings);
    }
}

/// The files of a volume stay below its mount point.
fn validate_items(path: &Path<'_>, source: &Value, findings: &mut Findings) {
    for (index, item) in source.items("items").iter().enumerate() {
        let path = path.index(index);
        match item.filled("path") {
            None => findings.required(&path.field("path"), ""),
            Some(target) => local_path(&path.field("path"), target, findings),
        }
        findings.range(&path.field("mode"), item.int("mode"), 0, 0o777);
    }
}

/// A relative path that does not climb.
pub(super) fn local_path(path: &Path<'_>, target: &str, findings: &mut Findings) {
    if target.starts_with('/') {
        findings.invalid_text(path, target, "must be a relative path");
    }
    if target.split('/').any(|part| part == "..") {
        findings.invalid_text(path, target, "must not contain '..'");
    }
}
