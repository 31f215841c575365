//! Definitions of custom resources: kinds or findings.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(definition) = serde_json::from_slice(data) else { return };
    if let Ok(kinds) = lotse_kinds::from_crd(&definition) {
        for kind in kinds {
            let schema = (kind.schema)();
            let mut object = definition.clone();
            schema.default(&mut object);
            schema.prune(&mut object);
            let _ = schema.validate(&object);
        }
    }
});
