//! The walls stand in this very tree.

use std::path::{Path, PathBuf};

use walls::{Violation, edges, sources};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace is two levels up")
}

#[track_caller]
fn none(violations: &[Violation]) {
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(
        lines.is_empty(),
        "{} walls are broken:\n  {}",
        lines.len(),
        lines.join("\n  ")
    );
}

#[test]
fn crates_depend_on_each_other_only_as_the_layout_allows() {
    none(
        &edges::Workspace::read(&root())
            .expect("cargo metadata")
            .violations(),
    );
}

#[test]
fn sources_name_only_what_is_on_their_side_of_the_wall() {
    none(&sources::violations(&root()).expect("sources"));
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    let manifests = [
        "firmware-protocol",
        "sensor-drivers",
        "domain",
        "sync/engine",
        "sync/quic",
        "store",
        "node",
    ]
    .into_iter()
    .chain([
        "tests/sim",
        "tests/e2e",
        "tests/bench",
        "tests/fuzz",
        "tests/walls",
    ]);
    for folder in manifests {
        let manifest =
            std::fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a manifest");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{folder} does not take the workspace's lints"
        );
    }
}
