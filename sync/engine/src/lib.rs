//! Replication of signed author logs, as a value: bytes and times go in, effects come out.
//!
//! Nothing here opens a socket, a file, a clock or a source of randomness: the QUIC driver, the simulator and later the
//! bundle are shells around [`Engine`]. What always holds:
//!
//! - a frontier moves only after [`Input::Persisted`] or [`Input::LocalCommit`] said that the bytes are on disk;
//! - an entry reaches the store only as part of a [`VerifiedRun`], whose chain and signatures were checked;
//! - every queue has a bound, and the bound its reason beside it (see [`Limits`]);
//! - collections are ordered, so that a run of the engine replays byte for byte.

mod chain;
mod claims;
mod clock;
mod codec;
mod dictionary;
mod engine;
mod entry;
mod frame;
mod frontier;
mod frontier_size;
mod frontier_wire;
#[doc(hidden)]
pub mod fuzzing;
mod greet;
mod hello;
mod ids;
mod inbox;
mod io;
mod marking;
mod marks;
mod members;
mod names;
mod packed;
mod parcel;
mod peer;
#[doc(hidden)]
pub mod planted;
mod proof;
mod receive;
mod run;
mod send;
mod trust;
mod unpacking;

pub use chain::{Head, LogTail, Pushed, UNSIGNED_BYTES_MAX, chain_next, entry_hash, verify_head};
pub use clock::{CLOCK_JUMP_MS_MAX, HybridClock, HybridTime};
pub use codec::{
    CODEC_COLUMNS, CodecError, Name, NoCodec, OutOfColumns, PayloadCodec, Place, PutTogether,
    Surroundings, TakenApart,
};
pub use engine::Engine;
pub use entry::{ENTRY_BYTES_MAX, Entry, EntryError, EntryHeader, Payload};
pub use frontier::{Frontier, LogFrontier};
pub use frontier_size::{FrontierSize, frontier_size_since};
pub use hello::{PROTOCOL_MAX, PROTOCOL_MIN};
pub use ids::{
    ChainHash, EntryHash, EntryKind, GroupId, HeadSignature, IdError, Incarnation, Lane, LogId,
    NodeId, ObjectId, OperationId, Seq,
};
pub use io::{
    BatchId, CONTROL_FRAME_BYTES_MAX, ConnId, Counters, Effect, Input, Interest,
    LANE_FRAME_BYTES_MAX, LaneBehind, Limits, LoadId, LocalNode, Now, OwnLogConflict, PeerState,
    PeerView, ProgressItem, ReasonCode, ResolveId, StoreFault, Stored, StreamKind, Usage,
};
pub use marks::{MARKS_MAX, Mark, MarkHash, Memory};
pub use packed::{ColumnReader, ColumnWriter, Knows, PackedError, PackedStream};
pub use proof::{
    DifferingObject, DigestItems, Digests, GroupDigest, Mismatch, PROOF_BUCKETS, ProofId, ProofView,
};
pub use run::{
    RUN_BYTES_MAX, Run, RunBuilder, RunError, SIGNATURES_MAX, VerifiedEntry, VerifiedRun,
};
pub use trust::{
    Genesis, Grant, MayWrite, Role, SignedGrant, TRUST_RECORDS_MAX, Trust, TrustError, TrustRecord,
};
