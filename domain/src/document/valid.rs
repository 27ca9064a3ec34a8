//! Is this change valid? Rules of our own over the change, its ancestors and earlier entries of its log (DESIGN §3).
//!
//! Invariant: the answer depends on nothing else, so every node gives the same one, whatever arrived before. What
//! passes keeps automerge on paths that honest nodes use; the rest never reaches it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::legacy::{ElementId, Key, Op, OpId, OpType};
use automerge::{Change, ScalarValue};

use super::genesis::{Genesis, KIND_KEY};
use super::history::{Ancestors, History, OpMeta};
use super::version::HEADS_MAX;
use crate::planted::{self, Planted};

/// An entry holds 32 KiB (DESIGN §2).
pub const CHANGE_BYTES_MAX: usize = 32 * 1024;
/// One operation per character is the most that an entry can honestly hold.
pub(super) const OPS_MAX: u64 = 40_000;
/// Every operation of a change may replace what one other wrote, and some a conflict.
pub(super) const PREDS_MAX: u64 = 2 * OPS_MAX;
/// The heads that an author saw, and its own last change.
const DEPS_MAX: usize = HEADS_MAX + 1;
/// automerge counts operations in 32 bits and fails above; half of that leaves room to see it coming.
pub(super) const OP_COUNTER_MAX: u64 = 1 << 31;
/// How far a change may count past its ancestors. An author counts on from all it holds, concurrent changes included;
/// without a bound one hostile change would use up the counter for everybody.
const OP_COUNTER_GAP_MAX: u64 = 1 << 20;
/// A document in which one author made more changes is unusable long before.
const SEQ_MAX: u64 = 1 << 31;
/// 9999-12-31T23:59:59Z, the last second that RFC 3339 can write.
pub(super) const TIME_S_MAX: i64 = 253_402_300_799;
/// 2026-01-01T00:00:00Z. Nothing may hang on it: see [`Planted::TrustClock`].
const YEAR_2026_S: i64 = 1_767_225_600;
/// Field names and set elements.
const KEY_BYTES_MAX: usize = 128;
/// One character with its combining marks.
const CHARACTER_BYTES_MAX: usize = 64;

/// Why a change is not applied, on this node and every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum QuarantineReason {
    /// The bytes are not one automerge change.
    Undecodable,
    /// The bytes are not how automerge writes this change: it would get another hash when the document is loaded.
    NotCanonical,
    /// More than an entry may hold.
    TooLarge,
    /// More operations or predecessors than a change may hold.
    TooManyOperations,
    /// The actor is not the author's.
    ForeignActor,
    /// It carries an `author` field or other bytes behind the operations.
    AuthorField,
    /// Its author has used this sequence number before.
    ReusedSequence,
    /// Its author left out sequence numbers, or does not build on its own last change.
    SequenceGap,
    /// It builds on another kind of document.
    WrongDocument,
    /// It names no dependency, or too many, or one twice.
    Dependencies,
    /// Its operations are not counted on from its ancestors'.
    StartOp,
    /// Its time is not one that RFC 3339 can write.
    Time,
    /// An operation on an object that is none of the document's.
    UnknownObject,
    /// An operation that replaces or follows one that is not among its ancestors.
    UnknownPredecessor,
    /// An operation that no version of this program makes.
    ForbiddenOperation,
    /// It builds on a change that is in quarantine.
    DependsOnQuarantined,
}

use QuarantineReason as Reason;

impl QuarantineReason {
    /// Every reason.
    pub const ALL: [Reason; 16] = [
        Reason::Undecodable,
        Reason::NotCanonical,
        Reason::TooLarge,
        Reason::TooManyOperations,
        Reason::ForeignActor,
        Reason::AuthorField,
        Reason::ReusedSequence,
        Reason::SequenceGap,
        Reason::WrongDocument,
        Reason::Dependencies,
        Reason::StartOp,
        Reason::Time,
        Reason::UnknownObject,
        Reason::UnknownPredecessor,
        Reason::ForbiddenOperation,
        Reason::DependsOnQuarantined,
    ];

    /// A stable word for the store, logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Reason::Undecodable => "undecodable",
            Reason::NotCanonical => "not-canonical",
            Reason::TooLarge => "too-large",
            Reason::TooManyOperations => "too-many-operations",
            Reason::ForeignActor => "foreign-actor",
            Reason::AuthorField => "author-field",
            Reason::ReusedSequence => "reused-sequence",
            Reason::SequenceGap => "sequence-gap",
            Reason::WrongDocument => "wrong-document",
            Reason::Dependencies => "dependencies",
            Reason::StartOp => "start-op",
            Reason::Time => "time",
            Reason::UnknownObject => "unknown-object",
            Reason::UnknownPredecessor => "unknown-predecessor",
            Reason::ForbiddenOperation => "forbidden-operation",
            Reason::DependsOnQuarantined => "depends-on-quarantined",
        }
    }

    /// The reason with that code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

impl fmt::Display for QuarantineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Undecodable => "the bytes are not one automerge change",
            Reason::NotCanonical => "the bytes are not the canonical form of the change",
            Reason::TooLarge => "the change is larger than an entry may be",
            Reason::TooManyOperations => "the change claims more operations than one may hold",
            Reason::ForeignActor => "the change names an actor that is not its author's",
            Reason::AuthorField => "the change carries an author field or extra bytes",
            Reason::ReusedSequence => "its author has used this sequence number before",
            Reason::SequenceGap => "the change does not follow its author's last one",
            Reason::WrongDocument => "the change belongs to another kind of document",
            Reason::Dependencies => "the change names no dependencies, too many, or one twice",
            Reason::StartOp => "its operation counter does not follow its ancestors'",
            Reason::Time => "its time is out of range",
            Reason::UnknownObject => "an operation names an object that does not exist",
            Reason::UnknownPredecessor => {
                "an operation replaces one that is not among its ancestors"
            }
            Reason::ForbiddenOperation => "an operation that no version of muster makes",
            Reason::DependsOnQuarantined => "it builds on a change that is in quarantine",
        })
    }
}

/// A change with its operations.
pub(super) struct Decoded {
    pub(super) change: Change,
    pub(super) ops: Vec<Op>,
}

/// Decodes bytes from anywhere; never panics out, cost bounded by the bytes.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, Reason> {
    if bytes.len() > CHANGE_BYTES_MAX {
        return Err(Reason::TooLarge);
    }
    super::prescan::prescan(bytes)?;
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let change = Change::from_bytes(bytes.to_vec()).map_err(|_| Reason::Undecodable)?;
        let expanded = change.decode();
        let ops = expanded.operations.clone();
        // automerge keeps no change as it came: it writes columns and builds the changes anew when it loads them.
        // Only bytes that come out of that as they went in keep their hash. Extra bytes are judged by rule.
        if Change::from(expanded).raw_bytes() != bytes {
            return Err(Reason::NotCanonical);
        }
        Ok(Decoded { change, ops })
    }));
    decoded.unwrap_or(Err(Reason::Undecodable))
}

/// What can be said of a change without its ancestors.
pub(super) fn check_alone(decoded: &Decoded) -> Result<(), Reason> {
    let Decoded { change, ops } = decoded;
    if change.author().is_some() || !change.extra_bytes().is_empty() {
        return Err(Reason::AuthorField);
    }
    let deps = change.deps();
    if deps.is_empty() || deps.len() > DEPS_MAX || deps.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err(Reason::Dependencies);
    }
    let too_old = change.timestamp() < YEAR_2026_S && planted::is(Planted::TrustClock);
    if too_old || !(0..=TIME_S_MAX).contains(&change.timestamp()) {
        return Err(Reason::Time);
    }
    if change.seq() == 0 || change.seq() > SEQ_MAX {
        return Err(Reason::SequenceGap);
    }
    if ops.is_empty() {
        return Err(Reason::ForbiddenOperation);
    }
    let end = change.start_op().get().checked_add(ops.len() as u64);
    if end.is_none_or(|end| end > OP_COUNTER_MAX) {
        return Err(Reason::StartOp);
    }
    Ok(())
}

/// What can be said of a change whose dependencies are all in the history.
pub(super) fn check_ready(
    history: &History,
    genesis: &Genesis,
    decoded: &Decoded,
) -> Result<(), Reason> {
    let change = &decoded.change;
    let ancestors = history.ancestors(change.deps());
    if change.seq() > 1 {
        let last = history.node_of(change.actor_id(), change.seq() - 1);
        if !last.is_some_and(|last| ancestors.contains(last)) {
            return Err(Reason::SequenceGap);
        }
    }
    let start = change.start_op().get();
    if start < ancestors.end_op || start > ancestors.end_op + OP_COUNTER_GAP_MAX {
        return Err(Reason::StartOp);
    }
    let check = OpCheck {
        history,
        genesis,
        ancestors: &ancestors,
        decoded,
    };
    (0..decoded.ops.len()).try_for_each(|index| check.op(index))
}

struct OpCheck<'a> {
    history: &'a History,
    genesis: &'a Genesis,
    ancestors: &'a Ancestors,
    decoded: &'a Decoded,
}

/// What an operation id refers to.
enum Referred<'a> {
    /// An operation of an ancestor.
    Before(OpMeta),
    /// An earlier operation of the same change.
    Within(&'a Op),
}

impl OpCheck<'_> {
    fn op(&self, index: usize) -> Result<(), Reason> {
        let op = &self.decoded.ops[index];
        let container = self
            .history
            .container(&op.obj)
            .ok_or(Reason::UnknownObject)?;
        let text = match container {
            0 => None,
            n => {
                let field = self.genesis.containers[usize::from(n) - 1].field;
                Some(field.merge == crate::schema::Merge::Text)
            }
        };
        match (&op.key, text) {
            (Key::Map(key), None | Some(false)) => self.map_op(index, container, key),
            (Key::Seq(element), Some(true)) => self.text_op(index, container, element),
            _ => Err(Reason::ForbiddenOperation),
        }
    }

    /// A register of the root, or an element of a set.
    fn map_op(&self, index: usize, container: u8, key: &str) -> Result<(), Reason> {
        let op = &self.decoded.ops[index];
        if op.insert || key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(Reason::ForbiddenOperation);
        }
        if container == 0 && (key == KIND_KEY || self.genesis.container(key).is_some()) {
            return Err(Reason::ForbiddenOperation);
        }
        match &op.action {
            // A deletion leaves a trace in the document only where it deletes something.
            OpType::Delete if !op.pred.is_empty() => {}
            OpType::Put(ScalarValue::Boolean(true)) => {}
            OpType::Put(ScalarValue::Counter(_) | ScalarValue::Unknown { .. }) => {
                return Err(Reason::ForbiddenOperation);
            }
            OpType::Put(_) if container == 0 => {}
            _ => return Err(Reason::ForbiddenOperation),
        }
        let number = self.history.key(key);
        let mut last: Option<&OpId> = None;
        for pred in op.pred.iter() {
            if last.is_some_and(|last| last >= pred) {
                return Err(Reason::UnknownPredecessor);
            }
            last = Some(pred);
            let same = match self.refer(pred, index)? {
                Referred::Before(OpMeta::Put { container: c, key }) => {
                    c == container && Some(key) == number
                }
                Referred::Before(_) => false,
                Referred::Within(earlier) => {
                    earlier.obj == op.obj
                        && earlier.key == op.key
                        && matches!(earlier.action, OpType::Put(_))
                }
            };
            if !same {
                return Err(Reason::UnknownPredecessor);
            }
        }
        Ok(())
    }

    /// A character: inserted behind another one, or deleted.
    fn text_op(&self, index: usize, container: u8, element: &ElementId) -> Result<(), Reason> {
        let op = &self.decoded.ops[index];
        let character = |id: &OpId| -> Result<(), Reason> {
            let fits = match self.refer(id, index)? {
                Referred::Before(meta) => meta == OpMeta::Insert { container },
                Referred::Within(earlier) => earlier.insert && earlier.obj == op.obj,
            };
            if fits {
                Ok(())
            } else {
                Err(Reason::UnknownPredecessor)
            }
        };
        match (&op.action, op.insert, element) {
            (OpType::Put(ScalarValue::Str(text)), true, element) => {
                if text.is_empty() || text.len() > CHARACTER_BYTES_MAX || !op.pred.is_empty() {
                    return Err(Reason::ForbiddenOperation);
                }
                match element {
                    ElementId::Head => Ok(()),
                    ElementId::Id(id) => character(id),
                }
            }
            (OpType::Delete, false, ElementId::Id(id)) => {
                character(id)?;
                let only = op.pred.len() == 1 && op.pred.get(0) == Some(id);
                if only {
                    Ok(())
                } else {
                    Err(Reason::UnknownPredecessor)
                }
            }
            _ => Err(Reason::ForbiddenOperation),
        }
    }

    /// Finds an operation among the ancestors or earlier in this change.
    fn refer(&self, id: &OpId, index: usize) -> Result<Referred<'_>, Reason> {
        let change = &self.decoded.change;
        let start = change.start_op().get();
        if id.actor() == change.actor_id() && id.counter() >= start {
            let offset = usize::try_from(id.counter() - start).unwrap_or(usize::MAX);
            if offset < index {
                return Ok(Referred::Within(&self.decoded.ops[offset]));
            }
            return Err(Reason::UnknownPredecessor);
        }
        match self.history.find(id) {
            Some((node, meta)) if self.ancestors.contains(node) => Ok(Referred::Before(meta)),
            _ => Err(Reason::UnknownPredecessor),
        }
    }
}
