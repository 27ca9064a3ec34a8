//! Real values for the corpus: what honest nodes send, so that a fuzzer starts where the interesting bytes are.

use std::path::Path;

use data_encoding::HEXLOWER;
use domain::{Document, check_create, check_patch};
use ed25519_dalek::SigningKey;
use fuzz_checks::payload::{AUTHOR, DOCUMENT, unframed};
use serde_json::{Map, Value, json};
use sync_engine::{
    Entry, EntryHeader, EntryKind, Genesis, Grant, GroupId, HybridTime, Incarnation, Lane, LogId,
    LogTail, NodeId, ObjectId, OperationId, Payload, RUN_BYTES_MAX, Role, Run, RunBuilder,
    TrustRecord,
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
    for (name, bytes) in invites() {
        add("invite", name, bytes);
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

/// What engines say to each other: the golden vectors of the engine, so that both stay alike.
fn control() -> Vec<(&'static str, Vec<u8>)> {
    let names = [
        "hello_whole",
        "hello_since",
        "hello_stranger",
        "admit_rest",
        "progress",
        "mark",
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
