//! Which paths a source file may name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::Violation;
use crate::rust::{self, NamedPath, Token};

/// Files under one of `within` (and not under `except`) must not name a path that begins with one of `banned`.
struct Rule {
    within: &'static [&'static str],
    except: &'static [&'static str],
    /// `a::b` bans `a::b` and all below it; `…::b::c` bans every path that has `b::c` in it.
    banned: &'static [&'static str],
    wall: &'static str,
}

const PURE: &[&str] = &[
    "domain/",
    "sync/engine/",
    "sensor-drivers/",
    "firmware-protocol/",
];

/// All our sources.
const ALL: &[&str] = &[""];

const RULES: &[Rule] = &[
    Rule {
        within: PURE,
        except: &[],
        banned: &[
            "tokio",
            "std::net",
            "std::fs",
            "std::thread",
            "std::process",
            "std::env",
            "std::io",
        ],
        wall: "pure crates do no IO: bytes come in, values go out",
    },
    Rule {
        within: PURE,
        except: &[],
        banned: &[
            "std::time::SystemTime",
            "std::time::Instant",
            "…::Timestamp::now",
            "…::Zoned::now",
            "…::Uuid::now_v7",
            "…::Utc::now",
        ],
        wall: "pure crates are told the time",
    },
    Rule {
        within: PURE,
        except: &[],
        banned: &[
            "rand",
            "rand_core",
            "getrandom",
            "std::hash::RandomState",
            "std::collections::hash_map::RandomState",
            "…::Uuid::new_v4",
            "…::ActorId::random",
            "…::OsRng",
        ],
        wall: "pure crates are given their randomness",
    },
    Rule {
        within: &["sync/engine/"],
        except: &[],
        banned: &[
            "std::collections::HashMap",
            "std::collections::HashSet",
            "std::collections::hash_map",
        ],
        wall: "the engine's collections are ordered, so that a run replays byte for byte",
    },
    Rule {
        within: ALL,
        except: &["domain/"],
        banned: &["automerge"],
        wall: "only domain knows automerge",
    },
    Rule {
        within: ALL,
        except: &["store/", "tests/e2e/", "tests/bench/"],
        banned: &["rusqlite"],
        wall: "only store speaks SQL",
    },
    Rule {
        within: ALL,
        except: &["sync/quic/"],
        banned: &["quinn", "mdns_sd"],
        wall: "only sync/quic speaks QUIC and mDNS",
    },
    Rule {
        within: ALL,
        except: &["node/src/api/"],
        banned: &[
            "axum",
            "axum_extra",
            "tower_http",
            "utoipa_axum",
            "utoipa_swagger_ui",
        ],
        wall: "only node/src/api speaks HTTP",
    },
    Rule {
        within: &["node/src/api/", "node/src/ingest/", "node/src/gateways/"],
        except: &[],
        banned: &["store", "domain::Document", "domain::document"],
        wall: "what faces outwards reaches data through node/src/app alone: one place authorises and audits",
    },
    Rule {
        within: &["node/src/app/"],
        except: &[],
        banned: &[
            "crate::api",
            "crate::ingest",
            "crate::gateways",
            "crate::cli",
        ],
        wall: "app does not know who calls it",
    },
];

/// Reads every Rust source of the workspace in `root` and gives the broken walls.
///
/// # Errors
/// When a source cannot be read, or there are none where they should be.
pub fn violations(root: &Path) -> anyhow::Result<Vec<Violation>> {
    let mut files = Vec::new();
    collect(root, root, &mut files)?;
    anyhow::ensure!(
        files.len() > 20,
        "only {} sources below {}: wrong place?",
        files.len(),
        root.display()
    );

    let mut tests_only = BTreeSet::new();
    let mut read = Vec::new();
    for file in files {
        let source = std::fs::read_to_string(root.join(&file)).with_context(|| file.clone())?;
        tests_only.extend(test_modules(&file, &source));
        read.push((file, source));
    }
    let mut out = Vec::new();
    for (file, source) in &read {
        let for_tests = tests_only
            .iter()
            .any(|t| file == &format!("{t}.rs") || file.starts_with(&format!("{t}/")));
        out.extend(check(file, source, for_tests));
    }
    out.sort();
    Ok(out)
}

/// The broken walls in one file, whose path is relative to the workspace; `for_tests` when all of it is.
pub fn check(file: &str, source: &str, for_tests: bool) -> Vec<Violation> {
    let tokens = rust::tokens(source);
    let mut out = unsafe_code(file, &tokens);
    if for_tests || is_test_file(file) {
        return out;
    }
    let (tokens, _) = rust::without_tests(&tokens);
    let paths = rust::paths(&tokens);
    for rule in RULES {
        if !rule.within.iter().any(|w| file.starts_with(w))
            || rule.except.iter().any(|e| file.starts_with(e))
        {
            continue;
        }
        for (path, line) in paths.iter().filter(|path| is_banned(rule, path)) {
            let violation = Violation {
                place: format!("{file}:{line}"),
                found: path.join("::"),
                wall: rule.wall,
            };
            if !out.contains(&violation) {
                out.push(violation);
            }
        }
    }
    out
}

fn is_banned(rule: &Rule, (path, _): &NamedPath) -> bool {
    // A bare name that is no import is a variable or a type of the file itself, such as `store` for a parameter.
    let bare = path.len() == 1;
    // core and alloc hold some of the same things under another name.
    let path: Vec<&str> = path
        .iter()
        .enumerate()
        .map(|(i, segment)| {
            if i == 0 && matches!(segment.as_str(), "core" | "alloc") {
                "std"
            } else {
                segment
            }
        })
        .collect();
    rule.banned
        .iter()
        .any(|banned| match banned.strip_prefix("…::") {
            Some(part) => {
                let part: Vec<&str> = part.split("::").collect();
                path.windows(part.len()).any(|window| window == part)
            }
            None => {
                let banned: Vec<&str> = banned.split("::").collect();
                let glob = path.last() == Some(&"*")
                    && banned.starts_with(&path[..path.len() - 1])
                    && path.len() > 1;
                !bare && (path.starts_with(&banned) || glob)
            }
        })
}

/// `unsafe` anywhere in what we ship, tests of those crates included; the crates under `tests/` may call the system
/// (cutting the power of a file system has no safe wrapper).
fn unsafe_code(file: &str, tokens: &[rust::Spanned]) -> Vec<Violation> {
    if file.starts_with("tests/") {
        return Vec::new();
    }
    let mut out = Vec::new();
    for (token, line) in tokens {
        if matches!(token, Token::Ident(word) if word == "unsafe" || word == "unsafe_code") {
            // `#![forbid(unsafe_code)]` is the opposite of a violation.
            let is_forbidden = tokens.iter().any(|(t, l)| {
                l == line && matches!(t, Token::Ident(word) if word == "forbid" || word == "deny")
            });
            if !is_forbidden {
                let (place, wall) = (format!("{file}:{line}"), "no unsafe code in what we ship");
                out.push(Violation {
                    place,
                    found: "unsafe".to_owned(),
                    wall,
                });
            }
        }
    }
    out
}

fn is_test_file(file: &str) -> bool {
    file.contains("/tests/")
        || file.contains("/benches/")
        || file.starts_with("tests/")
        || file.ends_with("build.rs")
}

/// Paths without `.rs` of the file modules that `file` declares for tests only.
fn test_modules(file: &str, source: &str) -> Vec<String> {
    let (_, modules) = rust::without_tests(&rust::tokens(source));
    let file = Path::new(file);
    let folder = match file.file_stem().and_then(|s| s.to_str()) {
        Some("lib" | "main" | "mod") | None => file.parent().map(Path::to_path_buf),
        Some(_) => Some(file.with_extension("")),
    };
    let folder = folder.unwrap_or_else(PathBuf::new);
    modules
        .iter()
        .map(|module| folder.join(module).to_string_lossy().into_owned())
        .collect()
}

fn collect(root: &Path, folder: &Path, out: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.')
                && !matches!(name.as_ref(), "target" | "node_modules" | "web-ui")
            {
                collect(root, &path, out)?;
            }
        } else if name.ends_with(".rs") {
            out.push(
                path.strip_prefix(root)?
                    .to_string_lossy()
                    .replace('\\', "/"),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_broken(file: &str, source: &str) -> bool {
        !check(file, source, false).is_empty()
    }

    #[test]
    fn each_planted_violation_is_found() {
        for (file, source) in [
            ("domain/src/a.rs", "use tokio::sync::mpsc;"),
            (
                "domain/src/a.rs",
                "fn f() { let now = std::time::Instant::now(); }",
            ),
            ("domain/src/a.rs", "use std::time::{Duration, SystemTime};"),
            (
                "domain/src/a.rs",
                "use std::time; fn f() { time::SystemTime::now(); }",
            ),
            ("domain/src/a.rs", "use std::time::*;"),
            (
                "domain/src/a.rs",
                "use jiff::Timestamp; fn f() { Timestamp::now(); }",
            ),
            ("domain/src/a.rs", "fn f() { uuid::Uuid::new_v4(); }"),
            (
                "domain/src/a.rs",
                "fn f() { automerge::ActorId::random(); }",
            ),
            ("sync/engine/src/a.rs", "use rand::Rng;"),
            (
                "sync/engine/src/a.rs",
                "fn f() { getrandom::fill(&mut x); }",
            ),
            ("sync/engine/src/a.rs", "use std::net::SocketAddr;"),
            ("sync/engine/src/a.rs", "use std::fs;"),
            (
                "sync/engine/src/a.rs",
                "use std::collections::{BTreeMap, HashMap};",
            ),
            (
                "sensor-drivers/src/a.rs",
                "fn f() { std::fs::read(\"x\"); }",
            ),
            ("store/src/a.rs", "use automerge::AutoCommit;"),
            ("node/src/app/a.rs", "fn f(d: automerge::Automerge) {}"),
            ("node/src/app/a.rs", "use rusqlite::Connection;"),
            ("node/src/app/a.rs", "use quinn::Endpoint;"),
            ("node/src/app/a.rs", "use axum::Json;"),
            ("node/src/cli/a.rs", "use axum::Router;"),
            ("node/src/app/a.rs", "use crate::api::problem::Problem;"),
            ("node/src/api/a.rs", "use store::Store;"),
            ("node/src/api/a.rs", "fn f(s: &store::Store) {}"),
            ("node/src/ingest/mqtt/a.rs", "use store::readings::Reading;"),
            ("node/src/gateways/a.rs", "use {std::fmt, store::Store};"),
            ("node/src/app/a.rs", "fn f() { unsafe { g() } }"),
            (
                "store/src/a.rs",
                "#[cfg(test)] mod tests { fn f() { unsafe { g() } } }",
            ),
            ("store/src/a.rs", "#![allow(unsafe_code)]"),
        ] {
            assert!(is_broken(file, source), "{file}: {source}");
        }
    }

    #[test]
    fn every_rule_has_a_file_that_breaks_it() {
        for rule in RULES {
            for banned in rule.banned {
                let path = banned.replace("…", "somewhere");
                let folder = rule.within.first().copied().unwrap_or_default();
                let folder = if folder.is_empty() {
                    "elsewhere/"
                } else {
                    folder
                };
                let found = check(
                    &format!("{folder}src/a.rs"),
                    &format!("use {path}::Thing;"),
                    false,
                );
                assert!(
                    found.iter().any(|v| v.wall == rule.wall),
                    "{path}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_allowed_passes() {
        for (file, source) in [
            (
                "domain/src/a.rs",
                "use automerge::AutoCommit; use std::collections::HashMap;",
            ),
            (
                "domain/src/a.rs",
                "#[cfg(test)] mod tests { use rand::Rng; fn f() { std::time::Instant::now(); } }",
            ),
            (
                "domain/src/a.rs",
                "// std::time::Instant\nconst A: &str = \"tokio::spawn\";",
            ),
            ("domain/src/a.rs", "use std::time::Duration;"),
            ("domain/tests/a.rs", "use rand::Rng;"),
            ("store/src/a.rs", "use rusqlite::Connection;"),
            ("node/src/api/a.rs", "use axum::Json; use crate::app::App;"),
            (
                "node/src/api/a.rs",
                "fn f(store: u8) { store.get(); restore(store); }",
            ),
            ("node/src/app/a.rs", "use store::Store;"),
            ("tests/e2e/src/a.rs", "fn f() { unsafe { g() } }"),
            ("firmware-protocol/src/lib.rs", "#![forbid(unsafe_code)]"),
        ] {
            assert_eq!(check(file, source, false), [], "{file}: {source}");
        }
    }

    #[test]
    fn a_file_module_for_tests_is_known_by_its_declaration() {
        assert_eq!(
            test_modules("domain/src/lib.rs", "#[cfg(test)] mod support;"),
            ["domain/src/support"]
        );
        assert_eq!(
            test_modules("domain/src/rules.rs", "#[cfg(test)] mod tests;"),
            ["domain/src/rules/tests"]
        );
        assert_eq!(
            test_modules("domain/src/rules/mod.rs", "#[cfg(test)] mod tests;"),
            ["domain/src/rules/tests"]
        );
    }
}
