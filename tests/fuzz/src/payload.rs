//! What stands in an entry: changes of documents, and facts. The engine never looks; `domain` does.

use domain::{Author, Document, FactKind, Incoming, Kind, Outcome, RecordId};
use sha2::{Digest, Sha256};

use crate::pieces;

/// The document that the changes of the corpus are of.
pub const DOCUMENT: (Kind, RecordId) = (Kind::Incident, RecordId([7; 16]));

/// Whose log they stand in.
pub const AUTHOR: Author = Author {
    node: [9; 32],
    incarnation: 9,
};

/// Changes in one batch.
const BATCH_MAX: usize = 8;

/// Changes from anywhere get a verdict each, and whatever the verdicts, the document shows itself.
///
/// The first byte chooses: the rest is one change as it is, or several contents, each after its length (two bytes, big
/// endian), that get the frame and the checksum which chance never finds.
pub(crate) fn change(data: &[u8]) -> bool {
    let Some((choice, rest)) = data.split_first() else {
        return false;
    };
    let changes = match choice % 2 {
        0 => vec![rest.to_vec()],
        _ => pieces(rest).take(BATCH_MAX).map(framed).collect(),
    };
    let batch: Vec<Incoming<'_>> = changes
        .iter()
        .zip(1..)
        .map(|(bytes, key)| Incoming {
            key,
            author: AUTHOR,
            bytes,
        })
        .collect();
    let mut document = Document::new(DOCUMENT.0, DOCUMENT.1);
    let ingested = document.ingest(&batch);
    assert_eq!(
        ingested.outcomes.len(),
        batch.len(),
        "every change gets an answer"
    );
    assert_eq!(ingested.view.is_some(), ingested.saved.is_some());
    let _ = document.view();
    ingested
        .outcomes
        .iter()
        .any(|outcome| matches!(outcome, Outcome::Applied | Outcome::Waiting { .. }))
}

/// An automerge change chunk (automerge binary format, "chunk"): magic, checksum, type 1, length, content.
fn framed(content: &[u8]) -> Vec<u8> {
    let mut body = vec![1];
    let mut length = content.len();
    while length >= 0x80 {
        body.push(length as u8 | 0x80);
        length >>= 7;
    }
    body.push(length as u8);
    body.extend_from_slice(content);
    let sum = Sha256::digest(&body);
    [&[0x85, 0x6f, 0x4a, 0x83], &sum[..4], &body].concat()
}

/// What [`change`] makes of a change that has its frame: the content alone, after its length.
pub fn unframed(chunk: &[u8]) -> Vec<u8> {
    let length_bytes = 1 + chunk[9..].iter().take_while(|byte| **byte >= 0x80).count();
    let content = &chunk[9 + length_bytes..];
    let length = u16::try_from(content.len()).expect("seeds are short");
    [&length.to_be_bytes()[..], content].concat()
}

/// A fact that is read is an object that names its text.
pub(crate) fn fact(data: &[u8]) -> bool {
    let mut taken = false;
    for kind in FactKind::all() {
        if let Ok(fact) = domain::facts::decode(kind, data) {
            assert!(fact.fields.contains_key("text"));
            taken = true;
        }
    }
    taken
}
