//! Packed runs as bytes: what is packed comes back, whatever else is there is refused, and neither costs more than a run
//! may.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::*;
use proptest::prelude::*;
use sync_engine::*;
use toy::ToyCodec;

const LANE: Lane = Lane::Life;

/// Another author's log, which entries refer to, and a log that refers.
struct Logs {
    store: MemoryStore,
    named: BTreeMap<[u8; 32], Place>,
    names: BTreeMap<Place, Name>,
}

/// What an entry of the log that refers builds on.
#[derive(Debug, Clone)]
enum Build {
    Nothing,
    /// The entry that many places before it.
    Own(u8),
    Other(u8),
    Unknown([u8; 32]),
}

#[derive(Debug, Clone)]
struct Made {
    builds: Vec<Build>,
    object: u8,
    wall_ms: u64,
    text: String,
    raw: bool,
}

fn made() -> impl Strategy<Value = Made> {
    let build = prop_oneof![
        1 => Just(Build::Nothing),
        3 => any::<u8>().prop_map(Build::Own),
        3 => any::<u8>().prop_map(Build::Other),
        1 => any::<[u8; 32]>().prop_map(Build::Unknown),
    ];
    let wall_ms = prop_oneof![3 => 1_790_000_000_000..1_790_000_100_000_u64, 1 => any::<u64>()];
    (
        prop::collection::vec(build, 0..4),
        0..4_u8,
        wall_ms,
        "[a-z ]{0,40}",
        prop::bool::weighted(0.1),
    )
        .prop_map(|(builds, object, wall_ms, text, raw)| Made {
            builds,
            object,
            wall_ms,
            text,
            raw,
        })
}

impl Logs {
    fn new(made: &[Made]) -> Self {
        let mut logs = Self {
            store: MemoryStore::default(),
            named: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        let other = log_of(3, LANE);
        for n in 0..16_u8 {
            logs.append(other, toy::entry(n % 4, &[], &format!("other {n}")), 3);
        }
        let own = log_of(2, LANE);
        for made in made {
            let at = logs.store.head(&own).seq.0;
            let parents: Vec<[u8; 32]> = made
                .builds
                .iter()
                .filter_map(|build| match build {
                    Build::Nothing => None,
                    Build::Unknown(hash) => Some(*hash),
                    Build::Own(back) => {
                        let seq = Seq(at.checked_sub(u64::from(*back))?);
                        logs.names
                            .get(&Place { log: own, seq })
                            .map(|name| name.hash)
                    }
                    Build::Other(n) => {
                        let seq = Seq(u64::from(*n % 20));
                        logs.names
                            .get(&Place { log: other, seq })
                            .map(|name| name.hash)
                    }
                })
                .collect();
            let object = [made.object; 16];
            let entry = if made.raw {
                made.text.clone().into_bytes()
            } else {
                toy::entry_at(made.wall_ms, object, &parents, &made.text)
            };
            logs.append(own, entry, 2);
        }
        logs
    }

    fn append(&mut self, log: LogId, entry: Vec<u8>, seed: u8) {
        let seq = self.store.head(&log).seq.next();
        if let Some(name) = toy::name(&entry) {
            self.named.insert(name.hash, Place { log, seq });
            self.names.insert(Place { log, seq }, name);
        }
        self.store.append(log, &[entry], &key(seed));
    }

    fn runs(&self, bytes_max: usize) -> Vec<Run> {
        let log = log_of(2, LANE);
        let mut runs = Vec::new();
        let mut from = Seq(1);
        while let Some(run) = self.store.load(&log, from, bytes_max) {
            from = run.last().next();
            runs.push(run);
        }
        runs
    }

    fn place(&self, name: &Name) -> Option<Place> {
        let place = self.named.get(&name.hash)?;
        (self.names[place] == *name).then_some(*place)
    }

    fn packed(&self, runs: &[Run], covered: bool) -> Vec<Vec<u8>> {
        let mut stream = PackedStream::new(LANE);
        let knows = Knows {
            places: &|name| self.place(name),
            covered: &|_| covered,
        };
        runs.iter()
            .map(|run| stream.pack(run, &ToyCodec, &knows).unwrap())
            .collect()
    }
}

proptest! {
    #[test]
    fn what_is_packed_comes_back(
        made in prop::collection::vec(made(), 1..40),
        bytes_max in prop_oneof![Just(200), Just(2_000), Just(RUN_BYTES_MAX)],
        covered in any::<bool>(),
    ) {
        let logs = Logs::new(&made);
        let runs = logs.runs(bytes_max);
        let mut stream = PackedStream::new(LANE);
        for (run, bytes) in runs.iter().zip(logs.packed(&runs, covered)) {
            let names = |place: &Place| {
                assert!(covered || place.log == run.log, "nobody covers that");
                assert!(place.log != run.log || place.seq < run.first, "in the run itself");
                logs.names.get(place).copied()
            };
            let again = stream.unpack(&bytes, &ToyCodec, run.prev, &names).unwrap();
            prop_assert_eq!(&again, run);
            prop_assert!(again.verify().is_ok());
        }
    }

    #[test]
    fn altered_bytes_are_refused_or_give_a_run_that_does_not_verify(
        made in prop::collection::vec(made(), 1..12),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let logs = Logs::new(&made);
        let runs = logs.runs(RUN_BYTES_MAX);
        let mut bytes = logs.packed(&runs, true).remove(0);
        match cut {
            Some(cut) => bytes.truncate(cut.index(bytes.len())),
            None => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
        }
        let names = |place: &Place| logs.names.get(place).copied();
        let unpacked =
            PackedStream::new(LANE).unpack(&bytes, &ToyCodec, ChainHash::ZERO, &names);
        if let Ok(run) = unpacked {
            // Some bits say nothing, as in LEB128 and zstd; the run is the same then.
            prop_assert!(run == runs[0] || run.verify().is_err());
        }
    }

    #[test]
    fn any_bytes_are_taken_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        stored in any::<bool>(),
    ) {
        let names = |_: &Place| Some(Name { hash: [1; 32], object: ObjectId([1; 16]) });
        let bytes = if stored { [&[0_u8][..], &bytes].concat() } else { bytes };
        let _ = PackedStream::new(LANE).unpack(&bytes, &ToyCodec, ChainHash::ZERO, &names);
    }

    #[test]
    fn any_body_is_taken_without_a_panic(
        body in prop::collection::vec(0..24_u8, 0..200),
        entries in 1..8_u8,
        noise in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let names = |_: &Place| Some(Name { hash: [1; 32], object: ObjectId([1; 16]) });
        let bytes = Crafted { entries: u64::from(entries), noise, body, ..Crafted::default() }.frame();
        let _ = PackedStream::new(LANE).unpack(&bytes, &ToyCodec, ChainHash::ZERO, &names);
    }
}

/// A packed run made by hand.
struct Crafted {
    dictionary: u64,
    first: u64,
    entries: u64,
    logs: Option<u64>,
    /// Ids in the frame's head, all new to the stream.
    ids: Vec<[u8; 16]>,
    /// Other logs in the frame's head, by the seed of their author.
    other_logs: Vec<u8>,
    noise_bytes: Option<u64>,
    noise: Vec<u8>,
    body: Vec<u8>,
}

impl Default for Crafted {
    fn default() -> Self {
        Self {
            dictionary: 0,
            first: 1,
            entries: 1,
            logs: None,
            ids: Vec::new(),
            other_logs: Vec::new(),
            noise_bytes: None,
            noise: Vec::new(),
            body: Vec::new(),
        }
    }
}

fn leb(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

impl Crafted {
    fn frame(&self) -> Vec<u8> {
        let prev: &[u8] = match (self.first, self.entries) {
            (1, _) => &[],
            (_, ..=3) => &[0; 4],
            _ => &[0; 32],
        };
        let other =
            |seed: &u8| [&[0][..], &node_id(*seed).0, &[*seed, 0, 0, 0, 0, 0, 0, 0]].concat();
        let other_logs: Vec<u8> = self.other_logs.iter().flat_map(other).collect();
        let ids: Vec<u8> = self
            .ids
            .iter()
            .flat_map(|id| [&[0], &id[..]].concat())
            .collect();
        [
            &leb(self.dictionary)[..],
            &leb(0),
            &node_id(2).0,
            &2_u64.to_le_bytes(),
            &leb(self.first),
            &leb(1),
            &leb(self.entries.saturating_sub(1)),
            &[7; 64],
            prev,
            &leb(self.logs.unwrap_or(self.other_logs.len() as u64)),
            &other_logs,
            &leb(self.ids.len() as u64),
            &ids,
            &leb(self.noise_bytes.unwrap_or(self.noise.len() as u64)),
            &self.noise,
            &self.body,
        ]
        .concat()
    }

    fn unpack(&self) -> Result<Run, PackedError> {
        let names = |_: &Place| None;
        PackedStream::new(LANE).unpack(&self.frame(), &ToyCodec, ChainHash::ZERO, &names)
    }
}

/// One entry as it is: `Form::RAW`, its length, its bytes.
fn one_raw_entry() -> Vec<u8> {
    // The engine's columns are five bytes long.
    vec![5, 0, 3, b'o', b'n', b'e']
}

#[test]
fn a_run_made_by_hand_is_read_as_meant() {
    let run = Crafted {
        body: one_raw_entry(),
        ..Crafted::default()
    }
    .unpack()
    .unwrap();
    assert_eq!(run.entries, [b"one".to_vec()]);
    assert!(run.verify().is_err());
}

#[test]
fn counts_that_no_frame_can_hold_are_refused_at_once() {
    let malformed = |crafted: Crafted| {
        let unpacked = crafted.unpack();
        assert!(
            matches!(unpacked, Err(PackedError::Malformed(_))),
            "{unpacked:?}"
        );
    };
    for huge in [1 << 63, u64::MAX, u64::MAX - 1, 1 << 32, 5_000] {
        let body = one_raw_entry();
        malformed(Crafted {
            entries: huge,
            body: body.clone(),
            ..Crafted::default()
        });
        malformed(Crafted {
            logs: Some(huge),
            body: body.clone(),
            ..Crafted::default()
        });
        malformed(Crafted {
            noise_bytes: Some(huge),
            body: body.clone(),
            ..Crafted::default()
        });
        // A column, an entry of that many bytes, an entry with that many parents.
        let mut column = leb(huge);
        column.extend(&body[1..]);
        malformed(Crafted {
            body: column,
            ..Crafted::default()
        });
        let entry = [&[0][..], &leb(huge), b"one"].concat();
        let body = [&leb(entry.len() as u64)[..], &entry].concat();
        malformed(Crafted {
            body,
            ..Crafted::default()
        });
        let entry = [&[2, 1, 0, 0, 0][..], &leb(huge)].concat();
        let body = [&leb(entry.len() as u64)[..], &entry].concat();
        malformed(Crafted {
            body,
            ..Crafted::default()
        });
    }
    for first in [0, u64::MAX, u64::MAX - 10] {
        malformed(Crafted {
            first,
            body: one_raw_entry(),
            ..Crafted::default()
        });
    }
}

#[test]
fn references_before_the_log_behind_the_entry_and_into_no_log_are_refused() {
    // Kind 1, no user, no logical time; one parent in form `parent`, at `distance`; form 2 is a packed payload.
    let entry = |parent: u64, distance: u64| {
        let entry = [&[2, 1, 0, 0, 0, 1][..], &leb(parent), &leb(distance)].concat();
        [&leb(entry.len() as u64)[..], &entry].concat()
    };
    for (parent, distance) in [
        (1, 0),
        (1, 1),
        (1, u64::MAX),
        (2, 2),
        (2, u64::MAX),
        (u64::MAX, 2),
    ] {
        let body = entry(parent, distance);
        let unpacked = Crafted {
            body,
            ..Crafted::default()
        }
        .unpack();
        assert!(
            matches!(unpacked, Err(PackedError::Malformed(_))),
            "{parent} {distance}: {unpacked:?}"
        );
    }
    // The log before the run is another matter: somebody may know it.
    let body = entry(1, 5);
    let unpacked = Crafted {
        body,
        first: 10,
        ..Crafted::default()
    }
    .unpack();
    let place = Place {
        log: log_of(2, LANE),
        seq: Seq(5),
    };
    assert_eq!(unpacked, Err(PackedError::Unresolved(place)));
}

#[test]
fn a_bomb_is_not_unpacked() {
    let mut bomb = zstd::bulk::compress(&vec![0; 10 << 20], 19).unwrap();
    bomb.drain(..4);
    let unpacked = Crafted {
        dictionary: 1,
        body: bomb,
        ..Crafted::default()
    }
    .unpack();
    assert!(
        matches!(unpacked, Err(PackedError::Malformed(_))),
        "{unpacked:?}"
    );
}

#[test]
fn logs_and_ids_that_nothing_names_are_refused() {
    // Each may be a byte on the wire, where the stream has named it before, and many times that in memory.
    for crafted in [
        Crafted {
            ids: vec![[5; 16]],
            ..Crafted::default()
        },
        Crafted {
            other_logs: vec![3],
            ..Crafted::default()
        },
    ] {
        let body = one_raw_entry();
        let unpacked = Crafted { body, ..crafted }.unpack();
        assert!(
            matches!(unpacked, Err(PackedError::Malformed(_))),
            "{unpacked:?}"
        );
    }
}

#[test]
fn more_references_than_a_run_may_have_are_refused_before_any_is_looked_up() {
    // Sixty-four parents an entry, all outside: an entry of this log, so many places back.
    let crafted = |entries: u64| {
        let shape: Vec<u8> = [&[2, 1, 0, 0, 64][..], &[1; 64]]
            .concat()
            .repeat(entries as usize);
        let distance = vec![0x7f; 64 * entries as usize];
        let time = vec![0; entries as usize];
        let lengths = [shape.len(), time.len(), distance.len(), 0, 0, 0, 0, 0, 0];
        let lengths: Vec<u8> = lengths
            .iter()
            .flat_map(|bytes| leb(*bytes as u64))
            .collect();
        Crafted {
            first: 200,
            entries,
            body: [lengths, shape, time, distance].concat(),
            ..Crafted::default()
        }
    };
    let looked_up = std::cell::Cell::new(false);
    let unpack = |entries| {
        let names = |_: &Place| {
            looked_up.set(true);
            None
        };
        let frame = crafted(entries).frame();
        PackedStream::new(LANE).unpack(&frame, &ToyCodec, ChainHash::ZERO, &names)
    };
    assert!(matches!(unpack(65), Err(PackedError::Malformed(_))));
    assert!(!looked_up.get());
    assert!(matches!(unpack(64), Err(PackedError::Unresolved(_))));
    assert!(looked_up.get());
}

#[test]
fn a_body_is_one_frame_of_zstd_and_nothing_else() {
    let frame = zstd::bulk::compress(&one_raw_entry(), 3).unwrap();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18][..], &[3, 0, 0, 0], b"hid"].concat();
    for behind in [&[][..], &frame, &skippable, b"x"] {
        let body = [&frame[4..], behind].concat();
        let unpacked = Crafted {
            dictionary: 1,
            body,
            ..Crafted::default()
        }
        .unpack();
        assert_eq!(unpacked.is_ok(), behind.is_empty(), "{unpacked:?}");
    }
}

#[test]
fn few_bytes_do_not_give_a_run_longer_than_one_may_be() {
    // Each entry names one known parent many times over, in two bytes for 32.
    let parents = [1_u8, 1].repeat(60);
    let mut entries = vec![2, 1, 0, 0, 0];
    entries.extend(leb(60));
    entries.extend(&parents);
    let hashes = |_: &Place| {
        Some(Name {
            hash: [1; 32],
            object: ObjectId([1; 16]),
        })
    };
    let all = entries.repeat(3);
    let codec = [0_u8; 6];
    let body = [&leb(all.len() as u64)[..], &all, &codec].concat();
    let crafted = Crafted {
        first: 10,
        entries: 3,
        body,
        ..Crafted::default()
    };
    let mut stream = PackedStream::new(LANE);
    let unpacked = stream.unpack(&crafted.frame(), &ToyCodec, ChainHash::ZERO, &hashes);
    assert!(
        matches!(unpacked, Err(PackedError::Malformed(_))),
        "{unpacked:?}"
    );
    let long = vec![b'x'; ENTRY_BYTES_MAX + 1];
    let entry = [&[0][..], &leb(long.len() as u64), &long].concat();
    let body = [&leb(entry.len() as u64)[..], &entry].concat();
    let unpacked = Crafted {
        body,
        ..Crafted::default()
    }
    .unpack();
    assert_eq!(unpacked, Err(PackedError::TooLarge));
}

#[test]
fn a_dictionary_of_a_later_version_is_no_violation() {
    let body = one_raw_entry();
    let unpacked = Crafted {
        dictionary: 2,
        body,
        ..Crafted::default()
    }
    .unpack();
    assert_eq!(unpacked, Err(PackedError::Unknown));
}

#[test]
fn logs_and_ids_are_named_once_per_stream() {
    let made: Vec<Made> = (0..2)
        .map(|n| Made {
            builds: vec![Build::Other(1)],
            object: 0,
            wall_ms: 1_790_000_000_000 + n,
            text: "alike".to_owned(),
            raw: false,
        })
        .collect();
    let logs = Logs::new(&made);
    let runs = logs.runs(100);
    assert_eq!(runs.len(), 2);
    let packed = logs.packed(&runs, true);
    // Two logs of 40 bytes, a user and an id of 16.
    assert!(packed[1].len() + 100 < packed[0].len());
    let mut late = PackedStream::new(LANE);
    let names = |place: &Place| logs.names.get(place).copied();
    let unpacked = late.unpack(&packed[1], &ToyCodec, runs[1].prev, &names);
    assert!(matches!(unpacked, Err(PackedError::Malformed(_))));
}

#[test]
fn a_stream_may_name_more_logs_and_ids_than_its_table_holds() {
    // Each object of the parents is that of the entry, each parent in a log of its own.
    let base = log_of(3, LANE);
    let life = |n: u64| LogId {
        incarnation: Incarnation(n),
        ..base
    };
    let parent = |n: u64| (*blake3::hash(&n.to_le_bytes()).as_bytes(), life(n));
    let logs: BTreeMap<[u8; 32], LogId> = (0..5_400).map(parent).collect();
    let names: BTreeMap<LogId, [u8; 32]> = logs.iter().map(|(hash, log)| (*log, *hash)).collect();
    let object = [7; 16];
    let mut store = MemoryStore::default();
    let log = log_of(2, LANE);
    let entry = |from: u64, user: u64| {
        let parents: Vec<[u8; 32]> = (from..from + 60).map(|n| parent(n).0).collect();
        let mut entry = Entry::decode(&toy::entry_at(9, object, &parents, "")).unwrap();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&user.to_le_bytes());
        entry.header.user = Some(id);
        entry.encode().unwrap()
    };
    // Three runs of 1,800 logs each, four of 1,200 users each, then both from the beginning: known and forgotten ones.
    let mut runs = Vec::new();
    for from in [0, 1_800, 3_600, 0] {
        let entries: Vec<_> = (0..30).map(|n| entry(from + n * 60, n)).collect();
        runs.push(store.append(log, &entries, &key(2)));
    }
    for from in [1_000, 2_200, 3_400, 4_600, 1_000] {
        let short = |n: u64| {
            let mut entry = Entry::decode(&entry(0, from + n)).unwrap();
            entry.payload = Payload::Plain(Vec::new());
            entry.encode().unwrap()
        };
        let entries: Vec<_> = (0..1_200).map(short).collect();
        runs.push(store.append(log, &entries, &key(2)));
    }
    let knows = Knows {
        places: &|name| {
            let log = *logs.get(&name.hash)?;
            Some(Place { log, seq: Seq(1) })
        },
        covered: &|_| true,
    };
    let (mut out, mut into) = (PackedStream::new(LANE), PackedStream::new(LANE));
    let name = |place: &Place| {
        let hash = *names.get(&place.log)?;
        let object = ObjectId(object);
        Some(Name { hash, object })
    };
    let mut lengths = Vec::new();
    for run in &runs {
        let bytes = out.pack(run, &ToyCodec, &knows).unwrap();
        assert_eq!(
            into.unpack(&bytes, &ToyCodec, run.prev, &name).as_ref(),
            Ok(run)
        );
        lengths.push(bytes.len());
    }
    assert!(lengths[3] + 30_000 < lengths[0], "{lengths:?}");
    assert!(lengths[8] + 15_000 < lengths[4], "{lengths:?}");
}

#[test]
fn what_no_codec_knows_travels_as_it_is() {
    let made: Vec<Made> = (0..10)
        .map(|n| Made {
            builds: vec![Build::Own(1)],
            object: 1,
            wall_ms: n,
            text: "alike".to_owned(),
            raw: n % 3 == 0,
        })
        .collect();
    let logs = Logs::new(&made);
    let runs = logs.runs(RUN_BYTES_MAX);
    let knows = Knows {
        places: &|_| None,
        covered: &|_| false,
    };
    let packed = PackedStream::new(LANE)
        .pack(&runs[0], &NoCodec, &knows)
        .unwrap();
    let again = PackedStream::new(LANE).unpack(&packed, &NoCodec, ChainHash::ZERO, &|_| None);
    assert_eq!(again.as_ref(), Ok(&runs[0]));
    // Who knows less than the sender asks for it plain.
    let packed = PackedStream::new(LANE)
        .pack(&runs[0], &ToyCodec, &knows)
        .unwrap();
    let again = PackedStream::new(LANE).unpack(&packed, &NoCodec, ChainHash::ZERO, &|_| None);
    assert_eq!(again, Err(PackedError::Unknown));
}
