//! A kustomization, a file of objects and a patch, separated by NUL bytes: no panic, and the same bytes twice.
#![no_main]
#[path = "../bodies/kustomization.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
