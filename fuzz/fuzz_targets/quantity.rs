//! Quantities: what parses is printed so that it parses to the same.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lotse_schema::quantity;

fuzz_target!(|text: &str| {
    if let Ok(parsed) = quantity::parse(text) {
        let printed = parsed.to_string();
        assert_eq!(quantity::parse(&printed).map(|again| again.nanos()), Ok(parsed.nanos()), "{text} → {printed}");
    }
});
