//! Sample logs: people at several nodes create documents of all kinds and edit each other's.
//!
//! Invariant: a seed gives the same logs, byte for byte, but for the text of new releases of this file.

use std::collections::BTreeMap;

use domain::{Author, Document, Edit, Kind, RecordId, check_create, check_patch};
use ed25519_dalek::SigningKey;
use serde_json::{Map, Value, json};
use sync_engine::{
    ChainHash, Entry, EntryHeader, EntryKind, GroupId, HeadSignature, HybridTime, Incarnation,
    Lane, LogId, LogTail, Name, NodeId, ObjectId, Payload, Place, Run, RunBuilder, Seq,
};

/// SplitMix64: the samples need no better one, and no crate.
pub struct Dice(u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.roll() as u8)
    }
}

struct Site {
    key: SigningKey,
    author: Author,
    users: [[u8; 16]; 3],
}

struct Sample {
    kind: Kind,
    id: RecordId,
    document: Document,
    fields: Map<String, Value>,
}

/// An entry as a store keeps it.
struct Kept {
    bytes: Vec<u8>,
    signature: Option<HeadSignature>,
    chain: ChainHash,
}

pub struct World {
    dice: Dice,
    words: Words,
    sites: Vec<Site>,
    samples: Vec<Sample>,
    logs: BTreeMap<LogId, Vec<Kept>>,
    /// Where the entry with that change stands.
    pub places: BTreeMap<[u8; 32], Place>,
    clock_ms: u64,
}

impl World {
    pub fn new(seed: u64, sites: usize, words: Words) -> Self {
        let mut dice = Dice(seed);
        let sites = (0..sites)
            .map(|_| {
                let key = SigningKey::from_bytes(&dice.bytes());
                let author = Author {
                    node: key.verifying_key().to_bytes(),
                    incarnation: dice.roll(),
                };
                let users = std::array::from_fn(|_| dice.bytes());
                Site { key, author, users }
            })
            .collect();
        Self {
            clock_ms: 1_790_000_000_000 + dice.roll() % 20_000_000_000,
            dice,
            words,
            sites,
            samples: Vec::new(),
            logs: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    pub fn log_of(&self, site: usize, lane: Lane) -> LogId {
        let author = self.sites[site].author;
        LogId {
            author: NodeId(author.node),
            incarnation: Incarnation(author.incarnation),
            group: GroupId::SHARED,
            lane,
        }
    }

    /// A new document of a kind by somebody at a site; gives its number.
    pub fn create(&mut self, site: usize, kind: Kind) -> usize {
        self.clock_ms += 1 + self.dice.roll() % 400;
        let id = domain::ids::new_id(kind.spec().code, self.clock_ms, &self.dice.bytes());
        let fields = first_fields(kind, self.words, &mut self.dice);
        let edit = check_create(kind, &fields).expect("samples keep to the schema");
        self.samples.push(Sample {
            kind,
            id,
            document: Document::new(kind, id),
            fields,
        });
        let number = self.samples.len() - 1;
        self.append(site, number, &edit);
        number
    }

    /// A small change of a document: one field, now and then two.
    pub fn change(&mut self, site: usize, number: usize) {
        self.clock_ms += 20 + self.dice.roll() % 3_000;
        let sample = &self.samples[number];
        let fields = changed_fields(sample.kind, self.words, &mut self.dice);
        let edit =
            check_patch(sample.kind, &fields, &sample.fields).expect("samples keep to the schema");
        self.samples[number].fields.extend(fields);
        self.append(site, number, &edit);
    }

    fn append(&mut self, site: usize, number: usize, edit: &Edit) {
        let sample = &mut self.samples[number];
        let site_ = &self.sites[site];
        let time_s = (self.clock_ms / 1_000).cast_signed();
        let edited = sample
            .document
            .edit(&site_.author, None, edit, time_s)
            .expect("samples can be edited");
        // What is as it was makes no entry.
        let Some(edited) = edited else { return };
        let entry = Entry {
            header: EntryHeader {
                time: HybridTime {
                    wall_ms: self.clock_ms,
                    logical: 0,
                },
                user: Some(site_.users[self.dice.below(3)]),
                kind: EntryKind(sample.kind.spec().code),
                object: ObjectId(sample.id.0),
            },
            payload: Payload::Plain(edited.bytes),
        };
        let bytes = entry.encode().expect("samples are small");
        let lane = Lane::try_from(sample.kind.spec().lane).expect("kinds have lanes");
        let log = self.log_of(site, lane);
        let kept = self.logs.entry(log).or_default();
        let (seq, chain) = (
            Seq(kept.len() as u64),
            kept.last().map_or(ChainHash::ZERO, |last| last.chain),
        );
        let mut tail = LogTail::resume(log, seq, chain, 0);
        let key = &self.sites[site].key;
        let chain = tail.push(&bytes, key).chain;
        let signature = tail.seal(key).map(|(_, signature)| signature);
        kept.push(Kept {
            bytes,
            signature,
            chain,
        });
        self.places.insert(
            edited.hash,
            Place {
                log,
                seq: seq.next(),
            },
        );
    }

    /// What the entry at a place is called.
    pub fn name(&self, place: &Place) -> Option<Name> {
        let index = usize::try_from(place.seq.0.checked_sub(1)?).ok()?;
        let entry = Entry::decode(&self.logs.get(&place.log)?.get(index)?.bytes).ok()?;
        let Payload::Plain(change) = entry.payload else {
            return None;
        };
        Some(Name {
            hash: domain::change_hash(&change)?,
            object: entry.header.object,
        })
    }

    /// The log, cut into runs of at most that many entries and bytes.
    pub fn runs(&self, log: &LogId, entries_max: usize, bytes_max: usize) -> Vec<Run> {
        let mut runs = Vec::new();
        let kept = self.logs.get(log).map_or(&[][..], |kept| kept);
        let mut at = 0;
        while at < kept.len() {
            let prev = if at == 0 {
                ChainHash::ZERO
            } else {
                kept[at - 1].chain
            };
            let mut builder = RunBuilder::new(*log, Seq(at as u64 + 1), prev, bytes_max);
            for entry in kept[at..].iter().take(entries_max) {
                if !builder.push(entry.bytes.clone(), entry.signature) {
                    break;
                }
            }
            let run = builder.finish().expect("every entry is signed");
            at += run.entries.len();
            runs.push(run);
        }
        runs
    }
}

/// Words that people write. The figures come from others than the samples: the dictionary shall know how documents are
/// built, not what is written in those that it is measured with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    Samples,
    Figures,
}

impl Words {
    const fn list(self) -> [&'static str; 36] {
        match self {
            Self::Samples => [
                "flooded",
                "underpass",
                "bridge",
                "street",
                "wall",
                "collapsed",
                "gas",
                "smell",
                "road",
                "blocked",
                "power",
                "line",
                "down",
                "fire",
                "injured",
                "person",
                "water",
                "level",
                "rising",
                "two",
                "vehicles",
                "stuck",
                "access",
                "from",
                "the",
                "north",
                "crew",
                "on",
                "way",
                "needs",
                "pump",
                "and",
                "sandbags",
                "no",
                "checked",
                "at",
            ],
            Self::Figures => [
                "landslide",
                "near",
                "harbour",
                "evacuated",
                "school",
                "yard",
                "hill",
                "farm",
                "missing",
                "group",
                "oil",
                "spill",
                "tower",
                "leaning",
                "depot",
                "east",
                "three",
                "boats",
                "waiting",
                "for",
                "fuel",
                "shelter",
                "is",
                "full",
                "of",
                "people",
                "medics",
                "asked",
                "again",
                "heavy",
                "smoke",
                "over",
                "railway",
                "station",
                "closed",
                "until",
            ],
        }
    }

    fn text(self, dice: &mut Dice, words: usize) -> String {
        let words: Vec<&str> = (0..words).map(|_| dice.pick(&self.list())).collect();
        words.join(" ")
    }
}

fn location(dice: &mut Dice) -> Value {
    let metre = |dice: &mut Dice| (dice.roll() % 200_000) as f64 / 1e6;
    json!({ "lat": 47.3 + metre(dice), "lon": 8.5 + metre(dice) })
}

fn uuid(dice: &mut Dice, kind: Kind) -> Value {
    let id = domain::ids::new_id(kind.spec().code, 1_790_000_000_000, &dice.bytes());
    json!(id.to_string())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn first_fields(kind: Kind, words: Words, dice: &mut Dice) -> Map<String, Value> {
    let number = dice.below(900);
    object(match kind {
        Kind::Incident => {
            let mut body = json!({
                "title": words.text(dice, 4),
                "category": dice.pick(&["Geo", "Met", "Safety", "Rescue", "Fire", "Health", "Infra"]),
                "severity": dice.pick(&["extreme", "severe", "moderate", "minor", "unknown"]),
                "location": location(dice),
            });
            if dice.below(2) == 0 {
                body["description"] = json!(words.text(dice, 6));
            }
            if dice.below(3) == 0 {
                body["tags"] = json!([words.text(dice, 1)]);
            }
            body
        }
        Kind::Resource => json!({
            "name": format!("{} {number}", words.text(dice, 1)),
            "kind": dice.pick(&["vehicle", "team", "equipment"]),
            "type": dice.pick(&["pump", "ambulance", "boat", "engine", "generator"]),
            "organisation": words.text(dice, 2),
            "location": location(dice),
        }),
        Kind::Assignment => json!({
            "resource": uuid(dice, Kind::Resource),
            "incident": uuid(dice, Kind::Incident),
        }),
        Kind::Device => json!({
            "name": format!("{}-{number}", words.text(dice, 1)),
            "state": "approved",
            "location": location(dice),
            "expected_interval_s": dice.pick(&["10", "60", "300"]).parse::<u32>().unwrap_or(60),
        }),
        Kind::Rule => json!({
            "name": format!("{} {number}", words.text(dice, 2)),
            "match": { "device": "gauge-*", "channel": dice.pick(&["level_m", "wind_ms", "co_ppm"]) },
            "raise_above": (number / 10) as f64 + 0.5,
            "clear_below": (number / 10) as f64,
            "for_s": 60,
            "incident": { "title": "{device} at {value}", "category": "Met", "severity": "severe" },
        }),
        _ => json!({
            "name": format!("user{number}"),
            "display_name": words.text(dice, 2),
            "role": dice.pick(&["responder", "dispatcher", "observer"]),
        }),
    })
}

fn changed_fields(kind: Kind, words: Words, dice: &mut Dice) -> Map<String, Value> {
    let number = dice.below(900);
    object(match (kind, dice.below(8)) {
        (Kind::Incident, 0..=2) => json!({
            "status": dice.pick(&["confirmed", "active", "contained", "closed", "false_alarm"]),
        }),
        (Kind::Incident, 3 | 4) => json!({
            "severity": dice.pick(&["extreme", "severe", "moderate", "minor", "unknown"]),
        }),
        (Kind::Incident, 5) => json!({ "description": words.text(dice, 6) }),
        (Kind::Incident, 6) => json!({ "location": location(dice) }),
        (Kind::Incident, _) => json!({
            "status": dice.pick(&["active", "contained"]),
            "title": words.text(dice, 4),
        }),
        (Kind::Resource, 0..=4) => json!({ "location": location(dice) }),
        (Kind::Resource, 5) => {
            json!({ "out_of_service": words.text(dice, 2) })
        }
        (Kind::Resource, 6) => {
            json!({ "capabilities": [words.text(dice, 1)] })
        }
        (Kind::Resource, _) => json!({ "name": format!("{} {number}", words.text(dice, 1)) }),
        (Kind::Assignment, _) => json!({
            "state": dice.pick(&["committed", "en_route", "on_scene", "released", "cancelled"]),
        }),
        (Kind::Device, 0..=3) => json!({ "location": location(dice) }),
        (Kind::Device, 4) => json!({ "state": dice.pick(&["approved", "disabled"]) }),
        (Kind::Device, _) => json!({ "description": words.text(dice, 6) }),
        (Kind::Rule, 0..=3) => json!({ "enabled": number.is_multiple_of(2) }),
        (Kind::Rule, _) => json!({ "for_s": number % 300 }),
        (_, 0..=3) => json!({ "role": dice.pick(&["responder", "dispatcher", "observer"]) }),
        _ => json!({ "disabled": number.is_multiple_of(2) }),
    })
}
