//! RFC 6902 and RFC 7386 with any target and any patch.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lotse_schema::patch;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((target, change)) = pair(data) else { return };
    let mut patched = target.clone();
    if patch::json_patch(&mut patched, &change).is_err() {
        assert_eq!(patched, target, "a failed patch must change nothing");
    }
    patch::merge_patch(&mut patched, &change);
});

/// Two JSON texts separated by a NUL byte.
fn pair(data: &[u8]) -> Option<(Value, Value)> {
    let at = data.iter().position(|byte| *byte == 0)?;
    Some((serde_json::from_slice(&data[..at]).ok()?, serde_json::from_slice(&data[at + 1..]).ok()?))
}
