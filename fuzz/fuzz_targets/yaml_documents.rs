//! A manifest file of any content: documents or one error, never a panic.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = lotse_render::yaml::documents("fuzz.yaml", data);
});
