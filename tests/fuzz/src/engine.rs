//! Entries, runs and trust records: what the engine reads.

use sync_engine::{
    ENTRY_BYTES_MAX, Entry, EntryKind, Genesis, Knows, Name, ObjectId, PackedStream, Place,
    RUN_BYTES_MAX, Run, SIGNATURES_MAX, Trust, TrustRecord, fuzzing,
};

use crate::codec::DocumentCodec;
use crate::pieces;

/// What decodes reads back as itself.
pub(crate) fn entry(data: &[u8]) -> bool {
    let Ok(entry) = Entry::decode(data) else {
        return false;
    };
    assert!(data.len() <= ENTRY_BYTES_MAX);
    // A number may have been written longer than need be: what is encoded again can only be shorter.
    let again = entry.encode().expect("what was read can be written");
    assert!(again.len() <= data.len());
    assert_eq!(Entry::decode(&again), Ok(entry));
    true
}

/// A run stays within its bounds, and what can be done with it before it is believed does not panic.
pub(crate) fn run(data: &[u8]) -> bool {
    let Ok(run) = Run::decode(data) else {
        return false;
    };
    assert!(run.entry_bytes() <= RUN_BYTES_MAX);
    check_run(run);
    true
}

/// Whatever the run says: it is joined, cut, encoded and verified without harm.
pub(crate) fn check_run(run: Run) {
    let again = Run::decode(&run.encode());
    for (seq, _) in &run.signatures {
        if let Ok((left, right)) = run.cut_at(*seq) {
            assert_eq!(left.entries.len() + right.entries.len(), run.entries.len());
            // May be refused: the right part may not be a run.
            let _ = left.join(&right);
        }
    }
    let _ = run.join(&run);
    let Ok(verified) = run.clone().verify() else {
        return;
    };
    assert_eq!(again.as_ref(), Ok(&run), "a good run travels as it is");
    assert!(run.signatures.len() <= SIGNATURES_MAX);
    assert_eq!(verified.head().seq, run.last());
    assert!(
        verified
            .entries()
            .last()
            .is_some_and(|entry| entry.signature.is_some())
    );
}

/// A frame of the control stream.
pub(crate) fn control(data: &[u8]) -> bool {
    fuzzing::control(data)
}

/// A greeting behind its prelude, which chance rarely finds.
pub(crate) fn hello(data: &[u8]) -> bool {
    fuzzing::hello(data)
}

/// A frame of a lane's stream.
pub(crate) fn lane(data: &[u8]) -> bool {
    match fuzzing::lane(data) {
        Some(run) => {
            check_run(run);
            true
        }
        None => false,
    }
}

/// Frames of one stream, each after its length (two bytes, big endian), with the codec that nodes have and other entries
/// that are called something each. What comes out is packed again and must come out the same.
pub(crate) fn packed_run(data: &[u8]) -> bool {
    let named = |place: &Place| Some(name_at(place));
    let runs = fuzzing::packed_runs(pieces(data), &DocumentCodec, &named);
    for run in &runs {
        assert!(run.entry_bytes() <= RUN_BYTES_MAX && !run.entries.is_empty());
        assert!(run.signatures.len() <= SIGNATURES_MAX);
        pack_again(run);
    }
    let taken = !runs.is_empty();
    runs.into_iter().for_each(check_run);
    taken
}

/// What an entry outside of the runs is called: of a few documents, and no two alike.
fn name_at(place: &Place) -> Name {
    let mut key = place.log.author.0.to_vec();
    key.extend(place.log.incarnation.0.to_le_bytes());
    key.extend(place.seq.0.to_le_bytes());
    Name {
        hash: *blake3::hash(&key).as_bytes(),
        object: ObjectId([place.seq.0 as u8 % 4; 16]),
    }
}

/// Whatever the run is made of, packing it loses nothing. Without references out of it: nothing says where they went.
fn pack_again(run: &Run) {
    let knows = Knows {
        places: &|_| None,
        covered: &|_| false,
    };
    let Some(frame) = PackedStream::new(run.log.lane).pack(run, &DocumentCodec, &knows) else {
        return;
    };
    let again = PackedStream::new(run.log.lane).unpack(&frame, &DocumentCodec, run.prev, &|_| None);
    assert_eq!(again.as_ref(), Ok(run), "packed and unpacked");
}

/// The first byte chooses the kind, the rest is the payload.
pub(crate) fn trust(data: &[u8]) -> bool {
    let Some((kind, payload)) = data.split_first() else {
        return false;
    };
    let Ok(Some(record)) = TrustRecord::decode(EntryKind(u16::from(*kind)), payload) else {
        return false;
    };
    let genesis = match &record {
        TrustRecord::Genesis(genesis) => genesis.clone(),
        TrustRecord::Grant(_) => Genesis {
            title: String::new(),
            root_key: [1; 32],
            successor_hash: [2; 32],
            created_wall_ms: 3,
            nonce: [4; 16],
        },
    };
    assert_eq!(
        TrustRecord::decode(record.kind(), &record.encode()),
        Ok(Some(record.clone()))
    );
    let mut trust = Trust::new(genesis);
    let _ = trust.insert(record);
    assert!(trust.members().count() <= 1);
    true
}
