//! See `fuzz_checks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz_checks::check("device_health", data);
});
