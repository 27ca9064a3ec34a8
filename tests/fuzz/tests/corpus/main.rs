//! The committed corpus, and bytes near it and far from it, go through every decoder.
//!
//! `UPDATE_CORPUS=1 cargo test -p fuzz-checks --test corpus` writes the seeds anew. What a fuzzer finds is minimised and
//! added beside them by hand, under a name that says what it was.

mod mqtt;
mod seeds;
mod sensors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fuzz_checks::{TARGETS, check};
use proptest::prelude::*;

/// A corpus is to be read, not stored: three files for a target, of a few hundred bytes each.
const FILES_MAX: usize = 72;
const FILE_BYTES_MAX: u64 = 4096;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus")
}

/// Per target, each file's name and bytes.
fn corpus() -> BTreeMap<String, Vec<(String, Vec<u8>)>> {
    let mut found: BTreeMap<String, Vec<(String, Vec<u8>)>> = BTreeMap::new();
    for target in TARGETS {
        let files = std::fs::read_dir(folder().join(target.name))
            .unwrap_or_else(|error| panic!("corpus of {}: {error}", target.name));
        for file in files {
            let file = file.expect("a file of the corpus");
            let name = file.file_name().to_string_lossy().into_owned();
            let bytes = std::fs::read(file.path()).expect("a readable file");
            found
                .entry(target.name.to_owned())
                .or_default()
                .push((name, bytes));
        }
    }
    found
}

#[test]
fn every_file_of_the_corpus_passes_its_target() {
    if std::env::var_os("UPDATE_CORPUS").is_some() {
        for seed in seeds::all().into_iter().chain(seeds::refused()) {
            let folder = folder().join(seed.target);
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join(seed.name), seed.bytes).expect("a file");
        }
    }
    let corpus = corpus();
    for (target, files) in &corpus {
        for (name, bytes) in files {
            println!("{target}/{name}");
            check(target, bytes);
            assert!(
                bytes.len() as u64 <= FILE_BYTES_MAX,
                "{target}/{name} is long"
            );
        }
    }
    let files: usize = corpus.values().map(Vec::len).sum();
    assert!(files <= FILES_MAX, "{files} files");
    assert_eq!(corpus.len(), TARGETS.len(), "every target has a corpus");
}

#[test]
fn the_seeds_are_what_honest_nodes_send_today() {
    // A seed that no longer decodes teaches a fuzzer nothing: the formats have changed and the seeds have to follow.
    let stored = corpus();
    for seed in seeds::all() {
        let there = stored
            .get(seed.target)
            .and_then(|files| files.iter().find(|(name, _)| name == seed.name));
        // What is compressed may be packed differently some day.
        let packs = seed.target == "packed_run" || seed.name == "compressed";
        let same = there.is_some_and(|(_, bytes)| *bytes == seed.bytes || packs);
        assert!(
            fuzz_checks::check(seed.target, &seed.bytes),
            "{}/{} is refused",
            seed.target,
            seed.name
        );
        assert!(
            same,
            "{}/{} is not what is sent today: run this with UPDATE_CORPUS=1",
            seed.target, seed.name
        );
    }
}

#[test]
fn what_no_honest_node_sends_is_refused() {
    for seed in seeds::refused() {
        let taken = fuzz_checks::check(seed.target, &seed.bytes);
        assert!(!taken, "{}/{} is taken", seed.target, seed.name);
    }
}

/// Bytes like a seed's, with some of them changed, cut out or put in.
fn spoilt(seed: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    prop::collection::vec(change, 1..8).prop_map(move |changes| {
        let mut bytes = seed.clone();
        for (at, byte, how) in changes {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

fn any_input() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let seeds: Vec<(&'static str, Vec<u8>)> = seeds::all()
        .into_iter()
        .map(|seed| (seed.target, seed.bytes))
        .collect();
    let random = (
        prop::sample::select(TARGETS),
        prop::collection::vec(any::<u8>(), 0..300),
    )
        .prop_map(|(target, bytes)| (target.name, bytes));
    let near = prop::sample::select(seeds)
        .prop_flat_map(|(target, seed)| spoilt(seed).prop_map(move |bytes| (target, bytes)));
    prop_oneof![1 => random, 3 => near]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_decoder_panic_or_hold_more_than_its_bound((target, bytes) in any_input()) {
        check(target, &bytes);
    }
}
