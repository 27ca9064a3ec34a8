//! Tests that need an optional tool and do not find it: named and counted, never silent (scripts/test.sh).

use std::io::Write as _;

/// Notes that `test` did not run for want of `tool`.
pub fn skipped(tool: &str, test: &str) {
    eprintln!("skipped {test}: needs {tool}");
    let Some(log) = std::env::var_os("MUSTER_SKIP_LOG") else {
        return;
    };
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log);
    let written = file.and_then(|mut file| writeln!(file, "SKIPPED-TOOL {tool} {test}"));
    if let Err(error) = written {
        // A skip that nobody hears of would pass for a test.
        panic!("write {}: {error}", std::path::Path::new(&log).display());
    }
}

/// Whether a program is there to be run.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
