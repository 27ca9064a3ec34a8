//! docs/spec/sync.md is enough for a second implementation: a small one, in Python, reads the golden vectors.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::skip::skipped;

/// Interpreters to ask: a version manager's, and the system's.
const PYTHONS: [&str; 2] = ["python3", "/usr/bin/python3"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs the checker; what it printed, or `None` when there is no such interpreter.
fn check_with(python: &str) -> Option<String> {
    let output = Command::new(python)
        .arg(root().join("docs/spec/check_vectors.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .ok()?;
    assert!(
        output.status.success(),
        "{python}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_second_implementation_reads_every_golden_vector() {
    const NAME: &str = "a_second_implementation_reads_every_golden_vector";
    let answers: Vec<String> = PYTHONS
        .iter()
        .filter_map(|python| check_with(python))
        .collect();
    for answer in &answers {
        assert!(answer.ends_with("all vectors hold\n"), "{answer}");
    }
    if answers.is_empty() {
        skipped("python3", NAME);
    } else if answers.iter().all(|answer| answer.contains("skipped")) {
        // Everything but what is compressed was read.
        skipped("libzstd1", NAME);
    }
}
