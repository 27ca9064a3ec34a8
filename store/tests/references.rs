//! What payloads call each other, found in the store: where the parents of a run stand, and what stands at a place.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Peer, commit, entry, id, log_of, node};
use store::{Batch, Disposition, RunEntry, RunWrite, Store};
use sync_engine::{
    CodecError, ColumnReader, ColumnWriter, Entry, EntryHeader, EntryKind, HybridTime, Lane, Name,
    ObjectId, Payload, PayloadCodec, Place, PutTogether, Run, Seq, Surroundings, TakenApart,
};

const KIND: EntryKind = EntryKind(0x0101);

/// Payloads are the names of their parents, and some text behind.
struct Links;

impl PayloadCodec for Links {
    fn name(&self, _: EntryKind, payload: &[u8]) -> Option<[u8; 32]> {
        Some(*blake3::hash(payload).as_bytes())
    }

    fn parents(&self, _: EntryKind, payload: &[u8]) -> Vec<[u8; 32]> {
        let (names, _) = payload.as_chunks::<32>();
        names.to_vec()
    }

    fn take_apart(
        &self,
        _: &Surroundings<'_>,
        _: &[u8],
        _: &mut ColumnWriter<'_>,
    ) -> Option<TakenApart> {
        None
    }

    fn put_together(
        &self,
        _: &Surroundings<'_>,
        _: &[[u8; 32]],
        _: &mut ColumnReader<'_>,
    ) -> Result<PutTogether, CodecError> {
        Err(CodecError::Unknown)
    }
}

fn made(object: ObjectId, payload: &[u8]) -> Vec<u8> {
    let header = EntryHeader {
        time: HybridTime::default(),
        user: None,
        kind: KIND,
        object,
    };
    let payload = Payload::Plain(payload.to_vec());
    Entry { header, payload }.encode().unwrap()
}

fn name(object: ObjectId, payload: &[u8]) -> Name {
    let hash = *blake3::hash(payload).as_bytes();
    Name { hash, object }
}

/// Stores a peer's entries, each of an object, as applied; the run.
fn receive(store: &Store, peer: &mut Peer, entries: &[(ObjectId, Vec<u8>)]) -> Run {
    receive_as(store, peer, entries, Disposition::Applied)
}

fn receive_as(
    store: &Store,
    peer: &mut Peer,
    entries: &[(ObjectId, Vec<u8>)],
    became: Disposition,
) -> Run {
    let bytes: Vec<Vec<u8>> = entries
        .iter()
        .map(|(id, payload)| made(*id, payload))
        .collect();
    let bytes: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let run = peer.run(&bytes);
    let mut batch = Batch::new(Lane::Life, 50);
    batch.runs.push(RunWrite {
        run: run.clone().verify().unwrap(),
        entries: entries
            .iter()
            .map(|(object, _)| RunEntry {
                kind: KIND.0,
                object: *object,
                disposition: became.clone(),
            })
            .collect(),
    });
    commit(store, batch);
    run
}

fn parents(store: &Store, run: &Run) -> Vec<(Name, Place)> {
    store
        .read(|reader| reader.parents_of_run(run, &Links))
        .unwrap()
}

#[test]
fn a_parent_is_found_among_the_newest_entries_of_the_same_object_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let (mut north, mut south) = (Peer::new(2), Peer::new(3));
    receive(&store, &mut north, &[(id(1), b"first".to_vec())]);
    let first = name(id(1), b"first");
    let place = Place {
        log: log_of(2, Lane::Life),
        seq: Seq(1),
    };
    // The right document, another one, and one that the run itself holds.
    let answer = [&first.hash[..], b"answer"].concat();
    let inside = [&name(id(1), &answer).hash[..], b"and so on"].concat();
    let answers = [
        (id(1), answer),
        (id(2), [&first.hash[..], b"misled"].concat()),
        (id(1), inside),
    ];
    let run = receive(&store, &mut south, &answers);
    assert_eq!(parents(&store, &run), [(first, place)]);

    let found = store
        .read(|reader| {
            let nowhere = Place {
                seq: Seq(9),
                ..place
            };
            reader.names_at(&[place, nowhere], &Links)
        })
        .unwrap();
    assert_eq!(found, [(place, first)]);
}

#[test]
fn a_document_of_long_entries_does_not_make_a_run_of_short_ones_costly() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let (mut north, mut south) = (Peer::new(2), Peer::new(3));
    // Sixteen applied entries are looked at for a parent: of 4,000 bytes each here, for each of 30 that build on nothing
    // known and wait.
    let long: Vec<(ObjectId, Vec<u8>)> = (0..16).map(|n| (id(1), vec![n; 4_000])).collect();
    for entry in long {
        receive(&store, &mut north, &[entry]);
    }
    let unknown = |n: u16| [&[7; 30][..], &n.to_be_bytes(), b"x"].concat();
    let mut short: Vec<(ObjectId, Vec<u8>)> = (0..30).map(|n| (id(1), unknown(n))).collect();
    // One of another document, whose parent is there: there is nothing left to look for it with.
    receive(&store, &mut south, &[(id(2), b"known".to_vec())]);
    let known = name(id(2), b"known");
    short.push((id(2), [&known.hash[..], b"late"].concat()));
    let waiting = Disposition::Waiting {
        missing: vec![[7; 32]],
    };
    let late = receive_as(&store, &mut north, &short, waiting.clone());
    assert_eq!(parents(&store, &late), []);
    short.rotate_right(1);
    let early = receive_as(&store, &mut Peer::new(4), &short, waiting);
    assert_eq!(parents(&store, &early).len(), 1);
}

#[test]
fn what_is_no_entry_has_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = node(dir.path());
    let mut batch = Batch::new(Lane::Life, 10);
    batch.local.push(entry(id(1), b"no entry"));
    commit(&store, batch);
    let place = Place {
        log: log_of(1, Lane::Life),
        seq: Seq(1),
    };
    let found = store
        .read(|reader| reader.names_at(&[place], &Links))
        .unwrap();
    assert_eq!(found, []);
}
