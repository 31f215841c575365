//! Group events.k8s.io, version v1: the newer shape of the core Event, kept as that.

use std::borrow::Cow;

use k8s_openapi::api::events::v1::Event;

use crate::{
    StoredAs, columns, hooks,
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<Event>()
            .short(&["ev"])
            .columns(columns::event::events())
            .selectable(&[
                "regarding.kind",
                "regarding.namespace",
                "regarding.name",
                "regarding.uid",
                "regarding.apiVersion",
                "regarding.resourceVersion",
                "regarding.fieldPath",
                "reason",
                "reportingController",
                "type",
            ])
            .stored_as(StoredAs {
                group: Cow::Borrowed(""),
                version: Cow::Borrowed("v1"),
                kind: Cow::Borrowed("Event"),
                to_stored: Some(hooks::event::to_stored),
                from_stored: Some(hooks::event::from_stored),
                webhook: false,
            })
            .validate(hooks::event::validate_events),
    ]
}
