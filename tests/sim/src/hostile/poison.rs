//! Changes that no honest node makes, properly signed in a hostile member's own log.
//!
//! Invariant: what [`Poison::entries`] marks as poisoned is applied by no honest node, ever.

use automerge::legacy::{Key, ObjectId as AmObject, Op, OpId, OpType};
use automerge::{ActorId, Change, ChangeHash, ExpandedChange, ScalarValue};
use domain::{Document, FactKind, Kind, RecordId};
use rand::RngExt;
use rand::rngs::StdRng;
use sync_engine::{Entry, Lane, ObjectId};

use crate::desk::entry;

/// What is wrong with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    /// Somebody else's actor.
    ForeignActor,
    /// An operation on an object that is not there.
    UnknownObject,
    /// An operation that replaces one that is not there.
    UnknownPredecessor,
    /// The operation counter at its maximum.
    CounterAtMaximum,
    /// One sequence number for two changes; only the second is poisoned.
    SequenceTwice,
    /// It builds on another kind of document.
    AnotherKind,
    /// No change at all.
    NoChange,
    /// A fine change in a lane that is not for its kind.
    WrongLane,
    /// A note under an id that only another author may use.
    AnothersFact,
    /// A fine change on top of a poisoned one.
    OnQuarantined,
    /// A change on top of one that nobody has.
    OnNothing,
}

impl Poison {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::ForeignActor,
        Self::UnknownObject,
        Self::UnknownPredecessor,
        Self::CounterAtMaximum,
        Self::SequenceTwice,
        Self::AnotherKind,
        Self::NoChange,
        Self::WrongLane,
        Self::AnothersFact,
        Self::OnQuarantined,
        Self::OnNothing,
    ];

    /// Its name in the tally.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForeignActor => "hostile: foreign actor",
            Self::UnknownObject => "hostile: unknown object",
            Self::UnknownPredecessor => "hostile: unknown predecessor",
            Self::CounterAtMaximum => "hostile: counter at its maximum",
            Self::SequenceTwice => "hostile: sequence used twice",
            Self::AnotherKind => "hostile: change of another kind",
            Self::NoChange => "hostile: bytes that are no change",
            Self::WrongLane => "hostile: change in the wrong lane",
            Self::AnothersFact => "hostile: fact under another author's id",
            Self::OnQuarantined => "hostile: change on a quarantined one",
            Self::OnNothing => "hostile: change on one that never comes",
        }
    }

    /// The entries, in order, each with whether it is poisoned. `draft` is a fine change of document `id` by this author.
    pub fn entries(
        self,
        id: RecordId,
        draft: &[u8],
        rng: &mut StdRng,
    ) -> Option<Vec<(Lane, Entry, bool)>> {
        let change = Change::from_bytes(draft.to_vec()).ok()?.decode();
        let in_life = |bytes: Vec<u8>, poisoned| (Lane::Life, incident(id, bytes), poisoned);
        let spoilt = |spoil: &dyn Fn(&mut ExpandedChange)| {
            let mut change = change.clone();
            spoil(&mut change);
            vec![in_life(bytes(change), true)]
        };
        let nobody = ActorId::from(rng.random::<[u8; 16]>());
        let nothing = ChangeHash(rng.random());
        Some(match self {
            Self::ForeignActor => spoilt(&|change| change.actor_id = nobody.clone()),
            Self::UnknownObject => {
                spoilt(&|change| change.operations[0].obj = unknown_object(&nobody))
            }
            Self::UnknownPredecessor => {
                spoilt(&|change| change.operations[0].pred = vec![OpId(1, nobody.clone())].into())
            }
            Self::CounterAtMaximum => spoilt(&|change| {
                change.start_op = u64::from(u32::MAX).try_into().expect("not zero");
                change.operations.retain(|op| matches!(op.key, Key::Map(_)));
                change.operations.truncate(1);
                change.operations[0].pred = Vec::new().into();
            }),
            Self::SequenceTwice => {
                let mut second = change.clone();
                second.operations.push(put("title", "once more"));
                vec![in_life(draft.to_vec(), false), in_life(bytes(second), true)]
            }
            Self::AnotherKind => {
                let other = Document::new(Kind::Resource, id).heads();
                spoilt(&|change| change.deps = other.iter().map(|hash| ChangeHash(*hash)).collect())
            }
            Self::NoChange => {
                let mut garbage = vec![0; rng.random_range(1..200)];
                rng.fill(&mut garbage[..]);
                vec![in_life(garbage, true)]
            }
            Self::WrongLane => vec![(Lane::Coordination, incident(id, draft.to_vec()), true)],
            Self::AnothersFact => {
                let code = FactKind::Note.code();
                let stolen = domain::ids::new_fact_id(code, &rng.random(), 0, &rng.random());
                let note = br#"{"text":"not mine"}"#.to_vec();
                vec![(
                    Lane::Coordination,
                    entry(code, ObjectId(stolen.0), 0, note),
                    true,
                )]
            }
            Self::OnQuarantined => {
                let mut first = change.clone();
                first.operations[0].obj = unknown_object(&nobody);
                let first = Change::from(first);
                let mut second = change.clone();
                second.seq += 1;
                second.deps = vec![first.hash()];
                vec![
                    in_life(first.raw_bytes().to_vec(), true),
                    in_life(bytes(second), true),
                ]
            }
            Self::OnNothing => spoilt(&|change| {
                change.deps.push(nothing);
                change.deps.sort_unstable();
            }),
        })
    }
}

fn incident(id: RecordId, bytes: Vec<u8>) -> Entry {
    entry(Kind::Incident.spec().code, ObjectId(id.0), 0, bytes)
}

fn bytes(change: ExpandedChange) -> Vec<u8> {
    Change::from(change).raw_bytes().to_vec()
}

fn unknown_object(actor: &ActorId) -> AmObject {
    AmObject::Id(OpId(1, actor.clone()))
}

fn put(key: &str, value: &str) -> Op {
    Op {
        action: OpType::Put(ScalarValue::Str(value.into())),
        obj: AmObject::Root,
        key: Key::Map(key.into()),
        pred: Vec::new().into(),
        insert: false,
    }
}
