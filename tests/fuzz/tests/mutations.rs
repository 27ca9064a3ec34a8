//! Mutations of the corpus for as long as one likes, without a fuzzer or a nightly compiler: blind to the code's branches,
//! and at hand everywhere.
//!
//! `FUZZ_SECONDS=20 FUZZ=mqtt,senml_cbor cargo test -p fuzz-checks --test mutations -- --nocapture` runs two targets for 20
//! seconds each; `FUZZ_SEED` begins elsewhere. What breaks a check is printed with its seed before the test fails.

use std::path::Path;
use std::time::{Duration, Instant};

use fuzz_checks::{TARGETS, Target, check};

/// A test run passes by; whoever looks for something says how long.
const SECONDS_DEFAULT: f64 = 0.05;

/// Mutations of one input, stacked.
const MUTATIONS_MAX: u64 = 8;

/// Numbers, lengths and words on which decoders break.
const TOKENS: [&[u8]; 18] = [
    b"\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xfb\x7f\xf0\0\0\0\0\0\0",
    b"NaN",
    b"1e400",
    b"-1e-400",
    b"99999999999999999999",
    b"2106-02-07T06:28:16Z",
    b"\\ud800",
    b"\xed\xa0\x80",
    b"[[[[[[[[",
    b"{\"\":",
    b"\"bn\":",
    b"\"t\":-1",
    b"/#+",
];

/// SplitMix64: what it needs to be is repeatable.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    let place = random.below(bytes.len() + 1);
    let end = (place + random.below(32)).min(bytes.len());
    match random.below(7) {
        0 if place < bytes.len() => bytes[place] ^= 1 << random.below(8),
        1 if place < bytes.len() => bytes[place] = random.next() as u8,
        2 => drop(bytes.drain(place..end)),
        3 => {
            let again = bytes[place..end].repeat(1 + random.below(4));
            bytes.splice(place..place, again);
        }
        4 => {
            let token = TOKENS[random.below(TOKENS.len())];
            bytes.splice(place..end, token.iter().copied());
        }
        5 => {
            let other = &others[random.below(others.len())];
            let from = random.below(other.len() + 1);
            bytes.truncate(place);
            bytes.extend(&other[from..]);
        }
        _ => bytes.truncate(place),
    }
}

/// Inputs that were tried, and those of them that were understood.
fn run(target: &Target, seconds: f64, seed: u64) -> (u64, u64) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target.name);
    let corpus: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .expect("a corpus")
        .map(|file| std::fs::read(file.expect("a file").path()).expect("its bytes"))
        .collect();
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let (mut tried, mut understood) = (0, 0);
    while Instant::now() < until {
        let seed = seed.wrapping_add(tried);
        let mut random = Random(seed);
        let mut input = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.next() % MUTATIONS_MAX {
            mutate(&mut input, &corpus, &mut random);
        }
        input.truncate(target.input_bytes_max);
        let passed = std::panic::catch_unwind(|| check(target.name, &input));
        match passed {
            Ok(is_understood) => understood += u64::from(is_understood),
            Err(_) => panic!("{}: FUZZ_SEED={seed}: {input:?}", target.name),
        }
        tried += 1;
    }
    (tried, understood)
}

#[test]
fn mutations_of_the_corpus_pass_their_target() {
    let said = |name: &str| std::env::var(name).ok();
    let seconds = said("FUZZ_SECONDS").map_or(SECONDS_DEFAULT, |text| {
        text.parse().expect("FUZZ_SECONDS: a number of seconds")
    });
    let seed = said("FUZZ_SEED").map_or(1, |text| text.parse().expect("FUZZ_SEED: a number"));
    let only = said("FUZZ");
    let is_meant = |target: &&Target| {
        only.as_ref()
            .is_none_or(|only| only.split(',').any(|name| name == target.name))
    };
    for target in TARGETS.iter().filter(is_meant) {
        let (tried, understood) = run(target, seconds, seed);
        println!("{}: {tried} inputs, {understood} understood", target.name);
    }
}
