//! Golden vectors: the bytes of entries, chains and runs, as other programs and later versions must read them.
//!
//! `UPDATE_VECTORS=1 cargo test -p sync-engine --test vectors` writes them anew; formats may change until the first
//! release and never after.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;

use common::*;
use data_encoding::HEXLOWER;
use sync_engine::*;

/// Compares bytes with a hex file of lines up to 80 digits.
fn check(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name);
    let hex = HEXLOWER.encode(bytes);
    let lines: Vec<&str> = hex
        .as_bytes()
        .chunks(80)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let text = lines.join("\n") + "\n";
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, text, "{name} has changed");
}

fn golden_entry(payload: Payload) -> Entry {
    Entry {
        header: EntryHeader {
            time: HybridTime {
                wall_ms: 1_790_000_000_123,
                logical: 4,
            },
            user: Some([0xa5; 16]),
            kind: EntryKind(0x0101),
            object: ObjectId(*b"0123456789abcdef"),
        },
        payload,
    }
}

#[test]
fn entries_keep_their_bytes() {
    let plain = golden_entry(Payload::Plain(b"a change".to_vec()))
        .encode()
        .unwrap();
    check("entry_plain.hex", &plain);
    let sealed = golden_entry(Payload::Sealed {
        key_id: [0x11; 16],
        nonce: [0x22; 24],
        ciphertext: b"not readable".to_vec(),
    });
    check("entry_sealed.hex", &sealed.encode().unwrap());
    assert_eq!(Entry::decode(&sealed.encode().unwrap()), Ok(sealed));
}

#[test]
fn trust_records_keep_their_bytes() {
    check("genesis.hex", &TrustRecord::Genesis(genesis()).encode());
    check("operation_id.hex", &genesis().id().0);
    let grant = grant(2, Role::Field).sign(&key(1));
    assert!(grant.verify());
    check("grant.hex", &TrustRecord::Grant(grant).encode());
}

#[test]
fn chains_and_head_signatures_keep_their_bytes() {
    let log = log_of(2, Lane::Life);
    let mut tail = LogTail::start(log);
    let mut bytes = Vec::new();
    for text in [&b"one"[..], b"two", b"three"] {
        bytes.extend(entry_hash(text).0);
        bytes.extend(tail.push(text, &key(2)).chain.0);
    }
    let (seq, signature) = tail.seal(&key(2)).unwrap();
    assert!(verify_head(&log, seq, tail.head().chain, &signature));
    bytes.extend(signature.0);
    check("chain.hex", &bytes);
}

#[test]
fn runs_keep_their_bytes() {
    let mut store = MemoryStore::default();
    let log = log_of(2, Lane::Life);
    let short = store.append(log, &[b"one".to_vec(), b"two".to_vec()], &key(2));
    check("run_plain.hex", &short.encode());
    assert_eq!(Run::decode(&short.encode()).unwrap(), short);
    // The compressed form is read, not compared: zstd may pack differently some day.
    let entries: Vec<_> = (0..8)
        .map(|n| entry(&format!("entry number {n}")))
        .collect();
    store.append(log, &entries, &key(2));
    let long = store.load(&log, Seq(1), RUN_BYTES_MAX).unwrap();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors/run_zstd.hex");
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        check("run_zstd.hex", &long.encode());
    }
    let hex: String = std::fs::read_to_string(path)
        .unwrap()
        .split_whitespace()
        .collect();
    let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap();
    assert_eq!(bytes[0], 1);
    assert_eq!(Run::decode(&bytes).unwrap(), long);
    long.verify().unwrap();
}

/// Reads a vector; written anew by `UPDATE_VECTORS`, as zstd may pack differently some day.
fn read(name: &str, bytes: &[u8]) -> Vec<u8> {
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        check(name, bytes);
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let hex: String = text.split_whitespace().collect();
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

#[test]
fn packed_runs_of_old_are_read() {
    let mut store = MemoryStore::default();
    let (other, log) = (log_of(3, Lane::Life), log_of(2, Lane::Life));
    store.append(other, &[toy::entry(1, &[], "first")], &key(3));
    let first = toy::name(&toy::entry(1, &[], "first")).unwrap();
    let place = Place {
        log: other,
        seq: Seq(1),
    };
    // A lone entry that refers to another log; many that refer to each other, one of them no entry.
    store.append(log, &[toy::entry(1, &[first.hash], "second")], &key(2));
    let mut parent = toy::name(&toy::entry(1, &[first.hash], "second")).unwrap();
    let mut many = vec![b"no entry".to_vec(), toy::entry(2, &[[5; 32]], "elsewhere")];
    for n in 0..6 {
        let entry = toy::entry(1, &[parent.hash], &format!("and {n}"));
        parent = toy::name(&entry).unwrap();
        many.push(entry);
    }
    let many = store.append(log, &many, &key(2));
    let lone = store.load(&log, Seq(1), 1).unwrap();

    let (mut sender, mut receiver) = (PackedStream::new(Lane::Life), PackedStream::new(Lane::Life));
    let knows = Knows {
        places: &|name| (*name == first).then_some(place),
        covered: &|_| true,
    };
    for (run, name) in [(lone, "run_packed_lone.hex"), (many, "run_packed_many.hex")] {
        let packed = sender.pack(&run, &toy::ToyCodec, &knows).unwrap();
        let golden = read(name, &packed);
        let names = |at: &Place| match at {
            _ if *at == place => Some(first),
            Place { seq: Seq(1), .. } => toy::name(&toy::entry(1, &[first.hash], "second")),
            _ => None,
        };
        let again = receiver
            .unpack(&golden, &toy::ToyCodec, run.prev, &names)
            .unwrap();
        assert_eq!(again, run, "{name}");
        again.verify().unwrap();
    }
}

#[test]
fn a_dictionary_with_a_number_never_changes() {
    let dictionary = include_bytes!("../src/dictionary/1.zdict");
    check("dictionary_1.hex", blake3::hash(dictionary).as_bytes());
}
