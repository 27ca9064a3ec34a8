//! Which crate may depend on which.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

use crate::Violation;

/// What each crate of ours may use of ours. A crate that is missing here is a violation by itself: whoever adds one
/// says where it stands.
const OURS: &[(&str, &[&str])] = &[
    ("firmware-protocol", &[]),
    ("sensor-drivers", &["firmware-protocol"]),
    ("domain", &[]),
    ("sync-engine", &[]),
    ("sync-quic", &["sync-engine"]),
    ("store", &["domain", "sync-engine"]),
    (
        "node",
        &[
            "firmware-protocol",
            "sensor-drivers",
            "domain",
            "sync-engine",
            "sync-quic",
            "store",
        ],
    ),
    ("sim", &["domain", "store", "sync-engine"]),
    (
        "fuzz-checks",
        &["domain", "sensor-drivers", "sync-engine", "sync-quic"],
    ),
    // These drive the built program from outside, as its users do.
    ("e2e", &[]),
    // Measures documents, the engine and its shell in memory, and fills files with more readings than anybody would
    // send, besides the program from outside.
    ("bench", &["domain", "store", "sync-engine", "sync-quic"]),
    ("walls", &[]),
];

/// Libraries that have one home.
const HOMES: &[(&str, &str)] = &[
    ("automerge", "domain"),
    ("rusqlite", "store"),
    ("libsqlite3-sys", "store"),
    ("quinn", "sync-quic"),
    ("mdns-sd", "sync-quic"),
    ("axum", "node"),
    ("mqtt-protocol-core", "node"),
];

/// Crates under `tests/` look at the system from outside and may use what they need for it.
const TESTS: &[&str] = &["sim", "e2e", "bench", "fuzz-checks", "walls"];

/// Crates whose result depends on nothing but what they are given.
const PURE: &[&str] = &[
    "firmware-protocol",
    "sensor-drivers",
    "domain",
    "sync-engine",
];

/// What a pure crate must not have, directly or through others.
const IMPURE_ANYWHERE: &[&str] = &["tokio", "quinn", "rusqlite", "axum", "mio", "socket2"];

/// What a pure crate must not have directly. (automerge and the signature crates bring some of it along; that it is not
/// called is for `sources` to see.)
const IMPURE_DIRECTLY: &[&str] = &[
    "rand",
    "rand_core",
    "getrandom",
    "fastrand",
    "reqwest",
    "libc",
    "chrono",
    "tempfile",
];

/// A workspace as far as the rules look at it.
#[derive(Debug, Clone, Default)]
pub struct Workspace {
    /// Each crate of ours with what it depends on directly, development dependencies left out.
    pub direct: BTreeMap<String, BTreeSet<String>>,
    /// The same through all levels.
    pub transitive: BTreeMap<String, BTreeSet<String>>,
}

impl Workspace {
    /// Asks cargo about the workspace in `root`. Works without a network once the dependencies are fetched.
    ///
    /// # Errors
    /// When cargo fails, or says something else than it should.
    pub fn read(root: &std::path::Path) -> anyhow::Result<Self> {
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .other_options(vec!["--locked".to_owned()])
            .exec()
            .context("cargo metadata")?;
        Self::from_metadata(&metadata)
    }

    fn from_metadata(metadata: &Metadata) -> anyhow::Result<Self> {
        let resolve = metadata
            .resolve
            .as_ref()
            .context("cargo metadata without a resolve graph")?;
        let name = |id: &PackageId| metadata[id].name.to_string();
        let edges: BTreeMap<&PackageId, Vec<&PackageId>> = resolve
            .nodes
            .iter()
            .map(|node| {
                let ordinary = node.deps.iter().filter(|dep| {
                    dep.dep_kinds
                        .iter()
                        .any(|kind| kind.kind != DependencyKind::Development)
                });
                (&node.id, ordinary.map(|dep| &dep.pkg).collect())
            })
            .collect();

        let mut workspace = Self::default();
        for member in &metadata.workspace_members {
            let direct = edges
                .get(member)
                .context("a member without a node in the graph")?;
            let (mut seen, mut open) = (BTreeSet::new(), direct.clone());
            while let Some(id) = open.pop() {
                if seen.insert(id) {
                    open.extend(edges.get(id).into_iter().flatten());
                }
            }
            workspace
                .direct
                .insert(name(member), direct.iter().map(|id| name(id)).collect());
            workspace
                .transitive
                .insert(name(member), seen.into_iter().map(name).collect());
        }
        Ok(workspace)
    }

    /// Every broken wall between crates.
    pub fn violations(&self) -> Vec<Violation> {
        let mut out = Vec::new();
        let mut report = |place: &str, dependency: &str, wall| {
            out.push(Violation {
                place: place.to_owned(),
                found: format!("depends on {dependency}"),
                wall,
            });
        };
        for (member, direct) in &self.direct {
            let Some((_, allowed)) = OURS.iter().find(|(name, _)| name == member) else {
                report(
                    member,
                    "anything",
                    "a new crate has to be given its place in tests/walls/src/edges.rs",
                );
                continue;
            };
            for dependency in direct.iter().filter(|d| self.direct.contains_key(*d)) {
                if !allowed.contains(&dependency.as_str()) {
                    report(member, dependency, "this edge is not in the layout");
                }
            }
            for (library, home) in HOMES {
                if direct.contains(*library) && member != home && !TESTS.contains(&member.as_str())
                {
                    report(
                        member,
                        library,
                        "this library has one home, and that is another crate",
                    );
                }
            }
            if PURE.contains(&member.as_str()) {
                for library in IMPURE_DIRECTLY.iter().filter(|l| direct.contains(**l)) {
                    report(
                        member,
                        library,
                        "this crate gets time, randomness and IO from outside",
                    );
                }
                for library in IMPURE_ANYWHERE {
                    if self
                        .transitive
                        .get(member)
                        .is_some_and(|t| t.contains(*library))
                    {
                        report(
                            member,
                            library,
                            "this crate does no IO, and neither does what it uses",
                        );
                    }
                }
            }
        }
        out.sort();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(member: &str, dependency: &str) -> Workspace {
        let mut workspace = Workspace::default();
        for (name, _) in OURS {
            workspace.direct.insert((*name).to_owned(), BTreeSet::new());
            workspace
                .transitive
                .insert((*name).to_owned(), BTreeSet::new());
        }
        assert_eq!(workspace.violations(), []);
        workspace
            .direct
            .entry(member.to_owned())
            .or_default()
            .insert(dependency.to_owned());
        workspace
            .transitive
            .entry(member.to_owned())
            .or_default()
            .insert(dependency.to_owned());
        workspace
    }

    #[test]
    fn each_planted_edge_is_found() {
        for (member, dependency) in [
            ("domain", "store"),
            ("domain", "sync-engine"),
            ("sync-engine", "domain"),
            ("sync-quic", "store"),
            ("store", "sync-quic"),
            ("store", "node"),
            ("firmware-protocol", "sensor-drivers"),
            ("bench", "node"),
            ("store", "automerge"),
            ("node", "automerge"),
            ("node", "rusqlite"),
            ("node", "quinn"),
            ("store", "axum"),
            ("sync-quic", "axum"),
            ("domain", "tokio"),
            ("sync-engine", "tokio"),
            ("sync-engine", "getrandom"),
            ("domain", "rand"),
            ("sensor-drivers", "rusqlite"),
        ] {
            assert_ne!(
                workspace(member, dependency).violations(),
                [],
                "{member} on {dependency}"
            );
        }
    }

    #[test]
    fn an_impure_library_is_found_through_others() {
        let mut workspace = workspace("domain", "some-helper");
        assert_eq!(workspace.violations(), []);
        workspace
            .transitive
            .entry("domain".to_owned())
            .or_default()
            .insert("tokio".to_owned());
        assert_eq!(workspace.violations().len(), 1);
    }

    #[test]
    fn the_edges_of_the_layout_pass() {
        for (member, dependency) in [
            ("domain", "automerge"),
            ("store", "rusqlite"),
            ("store", "domain"),
            ("sync-quic", "quinn"),
            ("node", "axum"),
            ("node", "store"),
            ("sim", "rand"),
            ("e2e", "rusqlite"),
        ] {
            assert_eq!(
                workspace(member, dependency).violations(),
                [],
                "{member} on {dependency}"
            );
        }
    }

    #[test]
    fn a_new_crate_has_to_be_placed() {
        assert_eq!(workspace("gateway", "serde").violations().len(), 1);
    }
}
