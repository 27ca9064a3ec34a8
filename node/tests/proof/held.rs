//! What a local fault kept from being applied is tried again.

use std::time::{SystemTime, UNIX_EPOCH};

use domain::{Author, Document, Kind, RecordId, ids};
use ed25519_dalek::SigningKey;
use node::app::RecordKind;
use serde_json::json;
use store::{Batch, Disposition, LocalEntry, Store};
use sync_engine::{Entry, EntryHeader, EntryKind, GroupId, HybridTime, Lane, ObjectId, Payload};

use super::pair::{Pair, object, until};

const INCIDENTS: RecordKind = RecordKind::Document(Kind::Incident);

/// Writes the first entry of an incident into the node's own log, as if Automerge had failed on it; answers its id.
fn hold_back(store: &Store) -> RecordId {
    let identity = store.read(|reader| reader.identity()).unwrap().unwrap();
    let author = Author {
        node: SigningKey::from_bytes(&identity.node_secret)
            .verifying_key()
            .to_bytes(),
        incarnation: identity.incarnation.0,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let wall_ms = now.as_millis() as u64;
    let kind = Kind::Incident.spec();
    let id = ids::new_id(kind.code, wall_ms, &[7; 10]);
    let fields = object(json!({ "title": "Dam" }));
    let edit = domain::check_create(Kind::Incident, &fields).unwrap();
    let change = Document::new(Kind::Incident, id)
        .edit(&author, None, &edit, now.as_secs() as i64)
        .unwrap()
        .unwrap();
    let header = EntryHeader {
        time: HybridTime {
            wall_ms,
            logical: 0,
        },
        user: None,
        kind: EntryKind(kind.code),
        object: ObjectId(id.0),
    };
    let entry = Entry {
        header,
        payload: Payload::Plain(change.bytes),
    };
    let mut batch = Batch::new(Lane::Life, wall_ms);
    batch.local.push(LocalEntry {
        group: GroupId::SHARED,
        lane: Lane::Life,
        bytes: entry.encode().unwrap(),
        kind: kind.code,
        object: ObjectId(id.0),
        disposition: Disposition::Held {
            fault: "automerge ran out of luck".into(),
        },
    });
    store.commit(batch).wait().unwrap();
    let held = store
        .read(|reader| reader.objects_held_back(None, 10))
        .unwrap();
    assert_eq!(held, [ObjectId(id.0)]);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_local_fault_held_back_is_applied_when_the_node_starts_again() {
    let pair = Pair::meet().await;
    pair.until_agreed().await;
    let apart = pair.part().await;
    let mut id = None;
    apart.at("truck", |store| id = Some(hold_back(store)));
    let id = id.unwrap().to_string();

    let pair = apart.meet().await;
    until("nothing is held back any more", async || {
        (pair.truck.status().await["pending"] == 0).then_some(())
    })
    .await;
    assert_eq!(pair.truck.get(INCIDENTS, &id).await["title"], "Dam");
    // HQ, where nothing went wrong, sees the same; and nobody takes it for a fault.
    until("HQ has it", async || {
        let digests = [pair.hq.status().await, pair.truck.status().await];
        (digests[0]["heads_digest"] == digests[1]["heads_digest"]).then_some(())
    })
    .await;
    assert_eq!(pair.hq.get(INCIDENTS, &id).await["title"], "Dam");
    pair.until_agreed().await;
    for node in pair.nodes() {
        assert!(node.faults().await.is_empty());
        let rebuilt = node.app.rebuild(&node::app::Caller::socket()).await;
        assert_eq!(rebuilt.unwrap()["views_changed"], json!(false));
    }
    pair.part().await;
}
