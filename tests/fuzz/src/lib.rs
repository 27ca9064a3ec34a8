//! What must hold for any bytes from anybody: every decoder of the sync path, its bounds, and what it reads back.
//!
//! The same checks run in three places: libFuzzer calls them without end (`fuzz/`), `cargo test` with every file of the
//! committed corpus, and property tests with random and with spoilt honest bytes. A check fails by panicking.
//!
//! Invariant: a decoder may hold memory in proportion to what it was given, plus a fixed bound; never to what the bytes
//! claim. [`Target::memory`] states it, [`check`] measures it.

/// The codec of nodes. It stands in `node`, and leans on nothing of it: a fuzzer need not build the rest.
#[path = "../../../node/src/app/codec.rs"]
pub mod codec;
mod engine;
mod invite;
mod mqtt;
#[path = "../../../node/src/app/mqtt/words.rs"]
#[allow(dead_code)]
mod mqtt_words;
pub mod payload;
/// Under the name that the packets of MQTT know their words by.
mod app {
    pub(crate) mod mqtt {
        pub(crate) use crate::mqtt_words::{Qos, Will};
    }
}
pub mod health;
mod sensors;
pub mod summaries;

/// A decoder and its bounds.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As the folder of its corpus is called.
    pub name: &'static str,
    /// What the sender may make longest, bytes: the shell refuses more before it decodes.
    pub input_bytes_max: usize,
    /// How much memory it may hold at once.
    pub memory: Memory,
    check: fn(&[u8]) -> bool,
}

/// A bound of memory: so much for each byte given, and so much besides.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Bytes held for each byte of input: what the smallest encodings of list items grow to.
    pub per_byte: u64,
    /// Bytes held besides: a decompressed body, a list that starts with room for some items.
    pub fixed: u64,
}

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;

/// serde starts a list with room for what its sender claims, 1 MiB at most (`serde::__private::size_hint::cautious`); a
/// growing list holds its old and its new room for a moment.
const LIST_START: u64 = MIB;

/// What a decoder of sensors' payloads may hold. A tree of 4,096 nodes at most: an object of one member is six bytes in
/// JSON and some 700 in memory, until there are 2,048 of them; a format may hold its members twice. Besides: 256 values.
const SENSORS: Memory = Memory {
    per_byte: 64,
    fixed: 4 * MIB,
};

/// Every decoder that reads what another node, somebody with an invitation, or a sensor wrote.
pub const TARGETS: &[Target] = &[
    Target {
        name: "entry",
        input_bytes_max: sync_engine::ENTRY_BYTES_MAX + KIB,
        memory: Memory {
            per_byte: 4,
            fixed: 4 * KIB as u64,
        },
        check: engine::entry,
    },
    Target {
        name: "run",
        input_bytes_max: sync_engine::LANE_FRAME_BYTES_MAX,
        // A body of 64 KiB unpacked, and 24 bytes for each of 4,096 entries; all of it twice while it is checked.
        memory: Memory {
            per_byte: 8,
            fixed: 2 * MIB,
        },
        check: engine::run,
    },
    Target {
        name: "trust",
        input_bytes_max: sync_engine::ENTRY_BYTES_MAX,
        // An empty string is one byte on the wire and 24 in memory.
        memory: Memory {
            per_byte: 80,
            fixed: 2 * LIST_START,
        },
        check: engine::trust,
    },
    Target {
        name: "control",
        input_bytes_max: sync_engine::CONTROL_FRAME_BYTES_MAX,
        // A log of a frontier is two bytes on the wire at least and some 250 in memory, at most 65,536 of them.
        memory: Memory {
            per_byte: 160,
            fixed: 2 * LIST_START,
        },
        check: engine::control,
    },
    Target {
        name: "hello",
        input_bytes_max: sync_engine::CONTROL_FRAME_BYTES_MAX - 128,
        memory: Memory {
            per_byte: 160,
            fixed: 2 * LIST_START,
        },
        check: engine::hello,
    },
    Target {
        name: "lane",
        input_bytes_max: sync_engine::LANE_FRAME_BYTES_MAX,
        // As of a run.
        memory: Memory {
            per_byte: 8,
            fixed: 2 * MIB,
        },
        check: engine::lane,
    },
    Target {
        name: "packed_run",
        // Several frames of one stream.
        input_bytes_max: 2 * sync_engine::LANE_FRAME_BYTES_MAX,
        // An id that the stream has named is a byte on the wire and 16 in memory. Besides: a body of 80 KiB, in which an
        // entry takes two bytes and a parent two, and some 150 and 16 in memory; 64 KiB rebuilt, which is packed again.
        memory: Memory {
            per_byte: 64,
            fixed: 6 * MIB,
        },
        check: engine::packed_run,
    },
    Target {
        name: "mqtt",
        input_bytes_max: 64 * KIB,
        // A filter of a SUBSCRIBE is four bytes on the wire and some 100 in memory, in the library's form and in ours; a
        // property of a CONNECT is two and some 40.
        memory: Memory {
            per_byte: 96,
            fixed: 4 * KIB as u64,
        },
        check: mqtt::stream,
    },
    Target {
        name: "invite",
        input_bytes_max: 4 * KIB,
        memory: Memory {
            per_byte: 16,
            fixed: 4 * KIB as u64,
        },
        check: invite::invite,
    },
    Target {
        name: "join_request",
        input_bytes_max: sync_quic::fuzzing::JOIN_REQUEST_BYTES_MAX,
        memory: Memory {
            per_byte: 4,
            fixed: 4 * KIB as u64,
        },
        check: sync_quic::fuzzing::join_request,
    },
    Target {
        name: "join_answer",
        // A real one may be 16 MiB; a fuzzer gets nowhere with such.
        input_bytes_max: 64 * KIB,
        // An empty run is a byte on the wire and 24 in memory, as is a member without addresses; those that are
        // compressed unfold to 16 MiB in all, which an entry of a run counts against with 64 bytes besides its own.
        memory: Memory {
            per_byte: 80,
            fixed: 24 * MIB,
        },
        check: sync_quic::fuzzing::join_answer,
    },
    Target {
        name: "preface",
        input_bytes_max: sync_quic::fuzzing::PREFACE_BYTES_MAX,
        // serde starts a list with room for what is claimed.
        memory: Memory {
            per_byte: 128,
            fixed: 2 * LIST_START,
        },
        check: sync_quic::fuzzing::preface,
    },
    Target {
        name: "change",
        input_bytes_max: sync_engine::ENTRY_BYTES_MAX,
        // A few bytes may repeat an operation 40,000 times, of which automerge makes some 430 bytes each, and decoding
        // and judging hold them twice. Besides: a copy of the document that is saved and loaded again.
        memory: Memory {
            per_byte: 1024,
            fixed: 64 * MIB,
        },
        check: payload::change,
    },
    Target {
        name: "fact",
        input_bytes_max: sync_engine::ENTRY_BYTES_MAX,
        // JSON values and keys of one character each.
        memory: Memory {
            per_byte: 256,
            fixed: 64 * KIB as u64,
        },
        check: payload::fact,
    },
    Target {
        name: "summary",
        input_bytes_max: sync_engine::ENTRY_BYTES_MAX,
        // A series is ten bytes on the wire and has its names in memory, of 256 bytes each, and all of it is written again
        // to see that it is the same.
        memory: Memory {
            per_byte: 256,
            fixed: 4 * LIST_START,
        },
        check: summaries::summary,
    },
    Target {
        name: "raw_readings",
        input_bytes_max: sync_engine::ENTRY_BYTES_MAX,
        // A reading is two bytes on the wire: its time and value as they came, as they are, and as they are written again,
        // eight bytes each.
        memory: Memory {
            per_byte: 256,
            fixed: 4 * LIST_START,
        },
        check: summaries::raw_readings,
    },
    Target {
        name: "device_health",
        input_bytes_max: sync_engine::ENTRY_BYTES_MAX,
        // A device is eight bytes on the wire where its name is the one before and a letter more, and has its name in memory,
        // of 256 bytes, and all of it is written again to see that it is the same.
        memory: Memory {
            per_byte: 256,
            fixed: 4 * LIST_START,
        },
        check: health::health,
    },
    Target {
        name: "sensor_plain",
        input_bytes_max: sensor_drivers::PAYLOAD_BYTES_MAX + KIB,
        memory: SENSORS,
        check: sensors::plain,
    },
    Target {
        name: "sensor_json",
        input_bytes_max: sensor_drivers::JSON_BYTES_MAX + KIB,
        memory: SENSORS,
        check: sensors::json,
    },
    Target {
        name: "senml_json",
        input_bytes_max: sensor_drivers::JSON_BYTES_MAX + KIB,
        memory: SENSORS,
        check: sensors::senml_json,
    },
    Target {
        name: "senml_cbor",
        input_bytes_max: sensor_drivers::JSON_BYTES_MAX + KIB,
        memory: SENSORS,
        check: sensors::senml_cbor,
    },
    Target {
        name: "chirpstack",
        input_bytes_max: sensor_drivers::JSON_BYTES_MAX + KIB,
        memory: SENSORS,
        check: sensors::chirpstack,
    },
    Target {
        name: "zigbee2mqtt",
        input_bytes_max: sensor_drivers::JSON_BYTES_MAX + KIB,
        memory: SENSORS,
        check: sensors::zigbee2mqtt,
    },
    Target {
        name: "tasmota",
        input_bytes_max: sensor_drivers::JSON_BYTES_MAX + KIB,
        memory: SENSORS,
        check: sensors::tasmota,
    },
    Target {
        name: "meshtastic",
        input_bytes_max: sensor_drivers::JSON_BYTES_MAX + KIB,
        memory: SENSORS,
        check: sensors::meshtastic,
    },
    Target {
        name: "sensor_script",
        input_bytes_max: sensor_drivers::script::INPUT_BYTES_MAX + KIB,
        memory: SENSORS,
        check: sensors::script,
    },
];

/// Several inputs in one, each after its length (two bytes, big endian).
fn pieces(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (piece, next) = behind.split_at(length);
        rest = next;
        Some(piece)
    })
}

/// A decoder of others may panic and be caught. Where a backtrace is asked for, the first one reads the program's debug
/// information, tens of megabytes that are not the decoder's: here a panic says what it is and where, and no more.
fn without_backtraces() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| eprintln!("{panic}"))));
}

/// Runs one target on any bytes; says whether the decoder took them.
///
/// # Panics
/// When the decoder panics, breaks an invariant, or holds more memory than its bound; also for a target that is none.
pub fn check(target: &str, data: &[u8]) -> bool {
    let target = TARGETS
        .iter()
        .find(|known| known.name == target)
        .unwrap_or_else(|| panic!("no target is called {target}"));
    // A longer frame is refused by its length.
    let data = &data[..data.len().min(target.input_bytes_max)];
    without_backtraces();
    let mut taken = false;
    let held = allocation_counter::measure(|| taken = (target.check)(data)).bytes_max;
    let bound = target.memory.fixed + target.memory.per_byte * data.len() as u64;
    assert!(
        held <= bound,
        "{} held {held} bytes for {} given, at most {bound} are allowed",
        target.name,
        data.len()
    );
    taken
}
