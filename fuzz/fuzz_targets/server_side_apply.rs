//! Server-side apply of anything over anything; applying twice must be applying once.
#![no_main]
use std::sync::LazyLock;

use k8s_openapi::api::apps::v1::Deployment;
use libfuzzer_sys::fuzz_target;
use lotse_schema::{
    Schema,
    apply::{self, Manager},
};
use serde_json::Value;

static SCHEMA: LazyLock<std::sync::Arc<Schema>> = LazyLock::new(Schema::of::<Deployment>);

fuzz_target!(|data: &[u8]| {
    let Some(at) = data.iter().position(|byte| *byte == 0) else { return };
    let (Ok(live), Ok(config)) = (serde_json::from_slice::<Value>(&data[..at]), serde_json::from_slice::<Value>(&data[at + 1..])) else {
        return;
    };
    let manager = Manager { name: "fuzz", api_version: "apps/v1", subresource: None, now: jiff::Timestamp::UNIX_EPOCH };
    if let Ok(once) = apply::apply(Some(&live), &config, &manager, true, &SCHEMA) {
        if let Ok(twice) = apply::apply(Some(&once), &config, &manager, true, &SCHEMA) {
            assert_eq!(once, twice);
        }
    }
});
