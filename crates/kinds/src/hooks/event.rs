//! Event: the core shape, which is the stored one, and that of events.k8s.io
//! (`k8s.io/kubernetes/pkg/apis/events/v1/conversion.go`).

use jiff::Timestamp;
use lotse_schema::Cause;
use serde_json::Value;

use crate::{
    Strategy,
    findings::{Findings, Path},
    json::{Edit, View, empty},
};

/// Fields by their core name and their name in events.k8s.io.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

pub(crate) fn to_stored(event: &mut Value) {
    for (core, newer) in RENAMED {
        if let Some(value) = event.remove(newer) {
            event.set(core, value);
        }
    }
    times_of_old(event);
    default_core(event);
}

/// Recorders of events.k8s.io write none of the older times, and `kubectl get events --sort-by=.lastTimestamp`, the usual
/// way to read Events, shows nothing at all when no Event has that field. So it is kept, to the second, as the older
/// recorders do.
fn times_of_old(event: &mut Value) {
    let seconds = |time: &Value| {
        let time = time.as_str()?.parse::<Timestamp>().ok()?;
        Some(Timestamp::from_second(time.as_second()).ok()?.to_string())
    };
    let Some(first) = event.at("eventTime").and_then(seconds) else { return };
    let last = event.path(&["series", "lastObservedTime"]).and_then(seconds);
    if let Some(last) = last {
        event.set("lastTimestamp", last);
    }
    for key in ["firstTimestamp", "lastTimestamp"] {
        event.set_default(key, first.as_str());
    }
}

pub(crate) fn from_stored(event: &mut Value) {
    for (core, newer) in RENAMED {
        if let Some(value) = event.remove(core) {
            event.set(newer, value);
        }
    }
}

/// What every core Event shows, set or not.
pub(crate) fn default_core(event: &mut Value) {
    if event.at("involvedObject").is_none() {
        event.set("involvedObject", empty());
    }
    if event.at("source").is_none() {
        event.set("source", empty());
    }
    for key in ["reportingComponent", "reportingInstance"] {
        event.set_default(key, "");
    }
}

/// An Event lives where its object lives; Events about objects without a namespace live in `default`.
pub(crate) fn validate_core(strategy: Strategy, new: &Value, _: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Create {
        namespaces_agree(new, "involvedObject", &mut findings);
    }
    findings.0
}

pub(crate) fn validate_events(strategy: Strategy, new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut findings = Findings::default();
    if strategy == Strategy::Create {
        namespaces_agree(new, "regarding", &mut findings);
        for (key, limit) in
            [("reportingController", 128), ("reportingInstance", 128), ("action", 128), ("reason", 128), ("note", 1024)]
        {
            let path = Path::new(key);
            match new.filled(key) {
                None if key == "note" => {}
                None => findings.required(&path, ""),
                Some(text) if text.len() > limit => {
                    findings.invalid_text(&path, text, format_args!("can have at most {limit} characters"));
                }
                Some(_) => {}
            }
        }
        if new.at("eventTime").is_none() {
            findings.required(&Path::new("eventTime"), "");
        }
        let path = Path::new("type");
        match new.filled("type") {
            Some("Normal" | "Warning") => {}
            other => {
                findings.invalid_text(&path, other.unwrap_or_default(), "has invalid value: must be Normal or Warning")
            }
        }
    } else if let Some(old) = old {
        for key in [
            "regarding",
            "related",
            "action",
            "reason",
            "note",
            "type",
            "eventTime",
            "reportingController",
            "reportingInstance",
        ] {
            findings.immutable(&Path::new(key), new.at(key), old.at(key));
        }
    }
    findings.0
}

fn namespaces_agree(event: &Value, reference: &str, findings: &mut Findings) {
    let own = event.path(&["metadata", "namespace"]).and_then(Value::as_str).unwrap_or_default();
    let theirs = event.at(reference).and_then(|reference| reference.filled("namespace"));
    let fits = match theirs {
        Some(namespace) => namespace == own,
        None => matches!(own, "" | "default" | "kube-system"),
    };
    if !fits {
        let path = Path::new(reference);
        findings.invalid_text(&path.field("namespace"), theirs.unwrap_or_default(), "does not match event.namespace");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn events_of_newer_recorders_have_the_times_that_clients_sort_by() {
        let mut event = json!({"eventTime": "2026-01-01T00:00:00.123456Z", "note": "said"});
        to_stored(&mut event);
        assert_eq!(event["firstTimestamp"], "2026-01-01T00:00:00Z");
        assert_eq!(event["lastTimestamp"], "2026-01-01T00:00:00Z");
        from_stored(&mut event);
        event["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T00:05:00.5Z"});
        to_stored(&mut event);
        assert_eq!(event["firstTimestamp"], "2026-01-01T00:00:00Z");
        assert_eq!(event["lastTimestamp"], "2026-01-01T00:05:00Z");
    }
}
