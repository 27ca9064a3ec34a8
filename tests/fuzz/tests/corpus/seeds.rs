//! Real values for the corpus: what honest nodes send, so that a fuzzer starts where the interesting bytes are.

use std::path::Path;

use data_encoding::HEXLOWER;
use domain::{Author, Document, RecordId, check_create, check_patch};
use ed25519_dalek::SigningKey;
use fuzz_checks::codec::DocumentCodec;
use fuzz_checks::health::payload::{self as health, DeviceSaid, Level};
use fuzz_checks::payload::{AUTHOR, DOCUMENT, unframed};
use fuzz_checks::summaries::payload::{QUARTER_MS, Quarter, SeriesSaid, encode};
use fuzz_checks::summaries::raw::{self, RawQuarter};
use serde_json::{Map, Value, json};
use sync_engine::{
    Entry, EntryHeader, EntryKind, Genesis, Grant, GroupId, HybridTime, Incarnation, Knows, Lane,
    LogId, LogTail, Name, NodeId, ObjectId, OperationId, PackedStream, Payload, PayloadCodec,
    Place, RUN_BYTES_MAX, Role, Run, RunBuilder, Seq, TrustRecord,
};
use sync_quic::Invite;

/// A file of the corpus: its target, its name, its bytes.
pub struct Seed {
    pub target: &'static str,
    pub name: &'static str,
    pub bytes: Vec<u8>,
}

pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, name, bytes| {
        seeds.push(Seed {
            target,
            name,
            bytes,
        });
    };
    for (name, bytes) in entries() {
        add("entry", name, bytes);
    }
    for (name, run) in runs() {
        add("run", name, run.encode());
    }
    for (name, run) in runs() {
        add("lane", name, [&[16], &run.encode()[..]].concat());
    }
    for (name, bytes) in packed_runs() {
        add("packed_run", name, bytes);
    }
    for (name, bytes) in control() {
        add("control", name, bytes);
    }
    // Behind its kind and the prelude: two versions below 128, node and operation.
    for (name, bytes) in control() {
        if bytes[0] == 1 {
            add("hello", name, bytes[1 + 2 + 64..].to_vec());
        }
    }
    for (name, bytes) in trust() {
        add("trust", name, bytes);
    }
    for (name, bytes) in crate::mqtt::conversations() {
        add("mqtt", name, bytes);
    }
    for (name, bytes) in invites() {
        add("invite", name, bytes);
    }
    for (name, bytes) in joins() {
        add(name, "whole", bytes);
    }
    add("join_answer", "refused", vec![1, 0]);
    for (name, bytes) in summaries() {
        add("summary", name, bytes);
    }
    for (name, bytes) in device_health() {
        add("device_health", name, bytes);
    }
    for (name, bytes) in raw_readings() {
        add("raw_readings", name, bytes);
    }
    for (target, name, bytes) in crate::sensors::payloads() {
        add(target, name, bytes);
    }
    for (name, bytes) in changes() {
        add("change", name, bytes);
    }
    add("fact", "note", br#"{"text":"Road is open"}"#.to_vec());
    add(
        "fact",
        "note_about",
        br#"{"about":{"id":"01890a5d-ac96-774b-bcce-b302099a8057","kind":"incident"},"later":[1],"text":"x"}"#
            .to_vec(),
    );
    seeds
}

/// What no honest node sends: refused, and within the bounds.
pub fn refused() -> Vec<Seed> {
    let many = packed_runs().swap_remove(1).1;
    let bomb = zstd::bulk::compress(&vec![0; 10 << 20], 19).expect("zstd");
    let seed = |name, bytes| Seed {
        target: "packed_run",
        name,
        bytes,
    };
    vec![
        seed("truncated", piece(&many[2..many.len() / 2])),
        seed("bomb", piece(&packed_by_hand(1, &[], &bomb[4..]))),
        seed(
            "unused_ids",
            piece(&packed_by_hand(0, &[[5; 16]; 40], &[2, 0, 1, b'x'])),
        ),
    ]
}

/// A packed run of one entry that says it holds these ids and this body; its signature is none.
fn packed_by_hand(dictionary: u8, ids: &[[u8; 16]], body: &[u8]) -> Vec<u8> {
    let mut frame = vec![dictionary, 0];
    frame.extend(node(2).0);
    frame.extend(2_u64.to_le_bytes());
    // First entry, one signature, at it.
    frame.extend([1, 1, 0]);
    frame.extend([7; 64]);
    // No other logs.
    frame.push(0);
    frame.push(u8::try_from(ids.len()).expect("few ids"));
    for id in ids {
        frame.push(0);
        frame.extend(id);
    }
    // No random bytes.
    frame.push(0);
    frame.extend(body);
    frame
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn node(seed: u8) -> NodeId {
    NodeId(key(seed).verifying_key().to_bytes())
}

fn entry(payload: Payload) -> Vec<u8> {
    let header = EntryHeader {
        time: HybridTime {
            wall_ms: 1_790_000_000_123,
            logical: 4,
        },
        user: Some([0xa5; 16]),
        kind: EntryKind(0x0101),
        object: ObjectId(*b"0123456789abcdef"),
    };
    let entry = Entry { header, payload };
    entry.encode().expect("a short entry")
}

fn entries() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("plain", entry(Payload::Plain(b"a change".to_vec()))),
        (
            "sealed",
            entry(Payload::Sealed {
                key_id: [0x11; 16],
                nonce: [0x22; 24],
                ciphertext: b"not readable".to_vec(),
            }),
        ),
    ]
}

/// A log of `count` entries, committed in twos.
fn run(count: u8) -> Run {
    let log = LogId {
        author: node(2),
        incarnation: Incarnation(2),
        group: GroupId::SHARED,
        lane: Lane::Life,
    };
    let mut tail = LogTail::start(log);
    let first = tail.head();
    let mut builder = RunBuilder::new(log, first.seq.next(), first.chain, RUN_BYTES_MAX);
    for number in 0..count {
        let bytes = entry(Payload::Plain(vec![number; 20]));
        tail.push(&bytes, &key(2));
        let ends = number % 2 == 1 || number + 1 == count;
        let signature = ends.then(|| tail.seal(&key(2))).flatten();
        builder.push(bytes, signature.map(|(_, signature)| signature));
    }
    builder.finish().expect("a run with a signature")
}

fn runs() -> Vec<(&'static str, Run)> {
    vec![
        ("plain", run(1)),
        ("three", run(3)),
        ("compressed", run(16)),
    ]
}

/// A frame after its length.
fn piece(frame: &[u8]) -> Vec<u8> {
    let length = u16::try_from(frame.len()).expect("a short frame");
    [&length.to_be_bytes()[..], frame].concat()
}

/// An incident that is reported and edited six times, as entries of node 2's life log, and what a fact of noise is.
fn incident() -> Vec<Vec<u8>> {
    let (kind, object) = (DOCUMENT.0, RecordId([1; 16]));
    let author = Author {
        node: node(2).0,
        incarnation: 2,
    };
    let fields =
        |value: Value| -> Map<String, Value> { value.as_object().cloned().unwrap_or_default() };
    let created = fields(json!({ "title": "Smoke", "category": "Fire", "tags": ["north"] }));
    let mut edits = vec![check_create(kind, &created).expect("an incident")];
    for severity in [
        "severe", "extreme", "moderate", "minor", "unknown", "severe",
    ] {
        let patch = fields(json!({ "severity": severity }));
        edits.push(check_patch(kind, &patch, &Map::new()).expect("a patch"));
    }
    let mut document = Document::new(kind, object);
    let mut entries = Vec::new();
    for (edit, number) in edits.iter().zip(0..) {
        let edited = document.edit(&author, None, edit, 1_790_000_000 + number);
        let header = EntryHeader {
            time: HybridTime {
                wall_ms: 1_790_000_000_123 + 1_000 * number as u64,
                logical: 0,
            },
            user: Some([0xa5; 16]),
            kind: EntryKind(kind.spec().code),
            object: ObjectId(object.0),
        };
        let payload = Payload::Plain(edited.expect("an edit").expect("a change").bytes);
        entries.push(Entry { header, payload }.encode().expect("a short entry"));
    }
    entries
}

/// The entries of a log from `from` on, in one run.
fn run_of(entries: &[Vec<u8>], from: usize) -> Run {
    let log = life(2);
    let mut tail = LogTail::start(log);
    let mut builder = None;
    for (number, bytes) in entries.iter().enumerate() {
        let head = tail.head();
        tail.push(bytes, &key(2));
        let signature = tail.seal(&key(2)).map(|(_, signature)| signature);
        if number >= from {
            let new = || RunBuilder::new(log, head.seq.next(), head.chain, RUN_BYTES_MAX);
            builder
                .get_or_insert_with(new)
                .push(bytes.clone(), signature);
        }
    }
    builder
        .and_then(RunBuilder::finish)
        .expect("a run with a signature")
}

fn life(seed: u8) -> LogId {
    LogId {
        author: node(seed),
        incarnation: Incarnation(u64::from(seed)),
        group: GroupId::SHARED,
        lane: Lane::Life,
    }
}

/// Frames of one stream each: alone, together, one after the other, and one whose first change builds on another log.
fn packed_runs() -> Vec<(&'static str, Vec<u8>)> {
    let entries = incident();
    let name = |bytes: &[u8]| {
        let Ok(Entry {
            header,
            payload: Payload::Plain(payload),
        }) = Entry::decode(bytes)
        else {
            panic!("an entry that was just made");
        };
        let hash = DocumentCodec.name(header.kind, &payload);
        let hash = hash.expect("a change has a name");
        let object = header.object;
        Name { hash, object }
    };
    let first = name(&entries[0]);
    let frames = |runs: &[Run], at: Place| {
        let mut stream = PackedStream::new(Lane::Life);
        let knows = Knows {
            places: &|name| (*name == first).then_some(at),
            covered: &|_| true,
        };
        let pack = |run| stream.pack(run, &DocumentCodec, &knows);
        let frames = runs
            .iter()
            .map(pack)
            .map(|frame| piece(&frame.expect("a packed run")));
        frames.collect::<Vec<_>>().concat()
    };
    let own = Place {
        log: life(2),
        seq: Seq(1),
    };
    // `packed_run` takes every fourth entry of a log to be of the same document.
    let elsewhere = Place {
        log: life(3),
        seq: Seq(5),
    };
    let (alone, later) = (run_of(&entries[..1], 0), run_of(&entries, 1));
    let noise = blake3::hash(b"does not compress").as_bytes().to_vec();
    vec![
        ("alone", frames(std::slice::from_ref(&alone), own)),
        ("many", frames(&[run_of(&entries, 0)], own)),
        ("stream", frames(&[alone, later.clone()], own)),
        ("elsewhere", frames(&[later], elsewhere)),
        ("not_compressed", frames(&[run_of(&[noise], 0)], own)),
    ]
}

/// A request to join, and what an inviter grants: docs/spec/sync.md, "Joining".
fn joins() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).expect("a short text");
        [&[length], text.as_bytes()].concat()
    };
    // Role: some, HQ.
    let request = [
        &text("North")[..],
        &[1, 1],
        &text("muster 0.1.0"),
        &[0x5c; 32],
    ]
    .concat();
    let trust = TrustRecord::Genesis(genesis());
    let run = run(1).encode();
    let answer = [
        &[0][..],
        &trust.encode(),
        &[
            1,
            u8::try_from(run.len() & 0x7f).expect("seven bits") | 0x80,
        ],
        &[u8::try_from(run.len() >> 7).expect("a short run")],
        &run,
        &text("HQ"),
        // No checkpoint; one member, at an address of each form.
        &[0, 1],
        &node(1).0,
        &[2, 0, 192, 168, 7, 20, 0x8b, 0x25, 1],
        &[
            0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x8b, 0x25,
        ],
    ]
    .concat();
    let preface = [&[9, 1, 0, 192, 168, 7, 20, 0x8b, 0x25][..]].concat();
    vec![
        ("join_request", request),
        ("join_answer", answer),
        ("preface", preface),
    ]
}

/// What engines say to each other: the golden vectors of the engine, so that both stay alike.
fn control() -> Vec<(&'static str, Vec<u8>)> {
    let names = [
        "hello_whole",
        "hello_since",
        "hello_stranger",
        "admit_rest",
        "progress",
        "mark",
        "proof_groups",
        "proof_items",
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sync/engine/vectors");
    let read = |name: &'static str| {
        let text = std::fs::read_to_string(folder.join(format!("{name}.hex")));
        let hex: String = text.expect("a golden vector").split_whitespace().collect();
        (name, HEXLOWER.decode(hex.as_bytes()).expect("hex"))
    };
    names.into_iter().map(read).collect()
}

fn genesis() -> Genesis {
    Genesis {
        title: "Flood".to_owned(),
        root_key: node(1).0,
        successor_hash: [2; 32],
        created_wall_ms: 3,
        nonce: [4; 16],
    }
}

fn trust() -> Vec<(&'static str, Vec<u8>)> {
    let grant = Grant {
        operation: genesis().id(),
        node: node(2),
        name: "North".to_owned(),
        role: Role::Field,
        organisation: Some("Fire brigade".to_owned()),
        groups: vec![GroupId([6; 16])],
        field_classes: vec!["personal".to_owned()],
        lanes: Lane::ALL.to_vec(),
        may_enrol: true,
        serial: 7,
    };
    let with_kind = |record: TrustRecord| {
        let mut bytes = vec![u8::try_from(record.kind().0).expect("the engine's own kinds")];
        bytes.extend(record.encode());
        bytes
    };
    vec![
        ("genesis", with_kind(TrustRecord::Genesis(genesis()))),
        ("grant", with_kind(TrustRecord::Grant(grant.sign(&key(1))))),
    ]
}

fn invites() -> Vec<(&'static str, Vec<u8>)> {
    let invite = Invite {
        addresses: vec![
            "192.168.7.20:4747".parse().expect("an address"),
            "[fd00::7]:4747".parse().expect("an address"),
        ],
        inviter: NodeId([0xab; 32]),
        operation: OperationId([0x11; 32]),
        secret: [0x5c; 16],
    };
    let typed = |text: String| [&[0], text.as_bytes()].concat();
    let mut content = vec![1, 1, 4, 192, 168, 7, 20, 0x12, 0x8b];
    content.extend([0xab; 32]);
    content.extend([0x11; 32]);
    content.extend([0x5c; 16]);
    vec![
        ("code", typed(invite.code())),
        (
            "typed",
            typed(invite.code().to_lowercase().replace('-', " ")),
        ),
        ("content", content),
    ]
}

fn summaries() -> Vec<(&'static str, Vec<u8>)> {
    let quarter = |number, min, max, sum| Quarter {
        number,
        count: 2,
        min,
        max,
        sum,
    };
    let said = |device: &str, quarters: &[Quarter]| SeriesSaid {
        device: device.into(),
        channel: "level".into(),
        unit: "m".into(),
        quarters: quarters.to_vec(),
    };
    let decimal = quarter(1_969_296, 3.42, 3.5, 6.92);
    let plain = quarter(1_969_300, -1.0 / 3.0, 1e300, 1e300);
    let one = |series: &[SeriesSaid]| encode(series).concat();
    vec![
        ("one", one(&[said("river-1", &[decimal])])),
        ("plain", one(&[said("mast", &[decimal, plain])])),
        (
            "two",
            one(&[said("river-1", &[decimal]), said("river-2", &[plain])]),
        ),
    ]
}

fn device_health() -> Vec<(&'static str, Vec<u8>)> {
    let noon_ms = 1_772_366_400_000;
    let heard = |device: &str, ago_s: i64| {
        let heard_ms = noon_ms - ago_s * 1_000;
        DeviceSaid {
            device: device.into(),
            heard_ms: Some(heard_ms),
            battery_pct: Level::battery_pct(71.5, heard_ms),
            rssi_dbm: Level::rssi_dbm(-101.0, heard_ms - 60_000),
            online: Some(ago_s < 60),
            firmware: Some(("1.2".into(), noon_ms - 1_000_000_000)),
        }
    };
    let scarce = DeviceSaid {
        device: "zürich".into(),
        online: Some(false),
        ..DeviceSaid::default()
    };
    let one = |devices: &[DeviceSaid]| health::encode(noon_ms, devices).concat();
    vec![
        ("one", one(&[heard("river-1", 5)])),
        ("scarce", one(std::slice::from_ref(&scarce))),
        (
            "three",
            one(&[heard("river-1", 5), heard("river-2", 900), scarce]),
        ),
    ]
}

fn raw_readings() -> Vec<(&'static str, Vec<u8>)> {
    let number = 1_969_296;
    let said = |values: &dyn Fn(i64) -> f64, readings: i64| {
        let at = |n| number * QUARTER_MS + 1_000 * n + 37 * (n % 3);
        raw::encode(&RawQuarter {
            device: "river-1".into(),
            channel: "level".into(),
            unit: "m".into(),
            number,
            readings: (0..readings).map(|n| (at(n), values(n))).collect(),
        })
        .expect("it can be said")
    };
    vec![
        ("one", said(&|_| 3.42, 1)),
        ("gauge", said(&|n| (342 + n % 7) as f64 / 100.0, 60)),
        ("wild", said(&|n| (n as f64 + 2.0).sqrt(), 20)),
    ]
}

fn changes() -> Vec<(&'static str, Vec<u8>)> {
    let object =
        |value: Value| -> Map<String, Value> { value.as_object().cloned().unwrap_or_default() };
    let created = check_create(
        DOCUMENT.0,
        &object(json!({ "title": "Smoke", "category": "Fire", "tags": ["north", "urgent"] })),
    )
    .expect("an incident");
    let patched = check_patch(
        DOCUMENT.0,
        &object(json!({ "severity": "severe", "description": "Smoke over the ridge" })),
        &Map::new(),
    )
    .expect("a patch");
    let mut document = Document::new(DOCUMENT.0, DOCUMENT.1);
    let mut made = |edit| {
        let edited = document.edit(&AUTHOR, None, edit, 1_790_000_000);
        edited.expect("an edit").expect("a change").bytes
    };
    let (first, second) = (made(&created), made(&patched));
    let both = [vec![1], unframed(&first), unframed(&second)].concat();
    vec![("created", [&[0], &first[..]].concat()), ("both", both)]
}
