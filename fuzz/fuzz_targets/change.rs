//! See `fuzz_checks`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        // libFuzzer's own hook ends the process at every panic; those that `domain` contains are no findings. One that
        // gets out still ends it, after its message.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    },
    |data: &[u8]| {
        fuzz_checks::check("change", data);
    }
);
