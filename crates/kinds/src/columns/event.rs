//! Event, in both shapes.

use jiff::Timestamp;
use serde_json::Value;

use super::{column, field, name, text};
use crate::{Column, ColumnType, age, hooks, json::View};

/// The columns of the core shape.
pub(crate) fn core() -> Vec<Column> {
    let mut name = name();
    name.priority = 1;
    vec![
        column("Last Seen", ColumnType::String, "Time since it happened last.", |event, now| {
            last_seen(event, now).into()
        }),
        field("Type", "Normal or Warning.", "/type"),
        field("Reason", "What happened, in one word.", "/reason"),
        text("Object", "Object that it happened to.", object),
        field("Subobject", "Part of the object.", "/involvedObject/fieldPath").wide(),
        text("Source", "Who reports it.", source).wide(),
        text("Message", "What happened.", |event: &Value| event.text("message").unwrap_or_default().trim().to_owned()),
        column("First Seen", ColumnType::String, "Time since it happened first.", |event, now| {
            first_seen(event, now).into()
        })
        .wide(),
        column("Count", ColumnType::Integer, "How often it happened.", |event, _| count(event).into()).wide(),
        name,
    ]
}

/// The columns of the newer shape, which are those of the core shape.
pub(crate) fn events() -> Vec<Column> {
    let as_core = |mut column: Column| {
        let cell = column.cell;
        column.cell = std::sync::Arc::new(move |event, now| {
            let mut event = event.clone();
            hooks::event::to_stored(&mut event);
            cell(&event, now)
        });
        column
    };
    core().into_iter().map(as_core).collect()
}

fn count(event: &Value) -> i64 {
    let series = event.path(&["series", "count"]).and_then(Value::as_i64);
    series.or_else(|| event.int("count")).filter(|count| *count > 0).unwrap_or(1)
}

fn first_seen(event: &Value, now: Timestamp) -> String {
    age::since(event.at("firstTimestamp").or_else(|| event.at("eventTime")), now)
}

fn last_seen(event: &Value, now: Timestamp) -> String {
    let first = first_seen(event, now);
    let last = match (event.path(&["series", "lastObservedTime"]), event.at("lastTimestamp")) {
        (Some(time), _) | (None, Some(time)) => age::since(Some(time), now),
        (None, None) => first.clone(),
    };
    match count(event) {
        1 => last,
        count => format!("{last} (x{count} over {first})"),
    }
}

fn object(event: &Value) -> String {
    let reference = event.at("involvedObject").unwrap_or(&Value::Null);
    let part = |key: &str| reference.text(key).unwrap_or_default();
    match part("name") {
        "" => part("kind").to_lowercase(),
        name => format!("{}/{name}", part("kind").to_lowercase()),
    }
}

fn source(event: &Value) -> String {
    let source = event.at("source").unwrap_or(&Value::Null);
    let newer = [event.filled("reportingComponent"), event.filled("reportingInstance")];
    let parts = [source.filled("component").or(newer[0]), source.filled("host").or(newer[1])];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn repeated_events_say_how_often() {
        let event = json!({
            "type": "Warning", "reason": "BackOff", "message": "Back-off restarting failed container\n", "count": 7,
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:09:30Z",
            "involvedObject": {"kind": "Pod", "name": "web-0"},
        });
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        let cells = |columns: Vec<Column>, event: &Value| -> Vec<Value> {
            columns.iter().filter(|column| column.priority == 0).map(|column| (column.cell)(event, now)).collect()
        };
        let expected = [
            json!("30s (x7 over 10m)"),
            json!("Warning"),
            json!("BackOff"),
            json!("pod/web-0"),
            json!("Back-off restarting failed container"),
        ];
        assert_eq!(cells(core(), &event), expected);
        let mut newer = event.clone();
        hooks::event::from_stored(&mut newer);
        assert_eq!(cells(events(), &newer)[3], json!("pod/web-0"), "{newer}");
    }
}
