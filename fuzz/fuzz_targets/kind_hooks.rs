//! Defaults and validation of every built-in kind on any object.
#![no_main]
use libfuzzer_sys::fuzz_target;
use lotse_kinds::Strategy;

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let Ok(mut object) = serde_json::from_slice(rest) else { return };
    let kinds = lotse_kinds::builtin();
    let kind = &kinds[usize::from(*first) % kinds.len()];
    if let Some(default) = kind.hooks.default {
        default(&mut object);
    }
    if let Some(prepare) = kind.hooks.prepare {
        let _ = prepare(Strategy::Create, &mut object, None);
    }
    if let Some(validate) = kind.hooks.validate {
        let _ = validate(Strategy::Create, &object, None);
    }
});
