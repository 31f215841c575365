//! Repository URLs and durations of Applications.
#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = lotse_delivery::git::Location::parse(text);
    let _ = lotse_delivery::plan::parse_duration(text);
    let _ = lotse_render::normalize(text);
});
