//! Strategic merge patches on a Deployment.
#![no_main]
use std::sync::LazyLock;

use k8s_openapi::api::apps::v1::Deployment;
use libfuzzer_sys::fuzz_target;
use lotse_schema::{Schema, patch};
use serde_json::Value;

static SCHEMA: LazyLock<std::sync::Arc<Schema>> = LazyLock::new(Schema::of::<Deployment>);

fuzz_target!(|data: &[u8]| {
    let Some(at) = data.iter().position(|byte| *byte == 0) else { return };
    let (Ok(mut target), Ok(change)) = (serde_json::from_slice::<Value>(&data[..at]), serde_json::from_slice(&data[at + 1..])) else {
        return;
    };
    let _ = patch::strategic_merge(&mut target, &change, &SCHEMA);
    let _ = SCHEMA.validate(&target);
});
