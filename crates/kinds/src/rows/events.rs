//! Group events.k8s.io, version v1: the newer shape of the core Event, kept as that.

use std::borrow::Cow;

use k8s_openapi::api::events::v1::Event;

use crate::{
    StoredAs, 
    row::{Row, row},
};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row::<Event>()
            .short(&["ev"])
            
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
                to_stored: None,
                from_stored: None,
            })
            ,
    ]
}
