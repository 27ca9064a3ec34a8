//! The engine's own decoders, for `tests/fuzz` alone: not part of what this crate offers.
//!
//! Each function takes any bytes, does with them what the engine does before it believes anything, and says whether they
//! were taken.

use std::cell::RefCell;

use crate::codec::{Name, NoCodec, PayloadCodec, Place};
use crate::dictionary::Zstd;
use crate::frame::{self, ControlFrame, LaneFrame};
use crate::frontier_wire;
use crate::hello::{FrontierSaid, HelloPrelude, PROTOCOL_MAX, PROTOCOL_MIN};
use crate::ids::{ChainHash, Lane, NodeId, OperationId};
use crate::packed::{PackedError, PackedRun, StreamNames};
use crate::run::Run;

/// The kind of a greeting, as docs/spec/sync.md has it.
const HELLO: u8 = 1;

/// References out of one run, as docs/spec/sync.md has it.
const REFERENCES_MAX: usize = 4096;

/// Members that frontiers may name by index here.
const MEMBERS: usize = 40;

/// A frame of the control stream, and the frontier inside.
pub fn control(bytes: &[u8]) -> bool {
    let Ok(frame) = frame::decode_control(bytes) else {
        return false;
    };
    match &frame {
        ControlFrame::Hello(prelude, Some(hello)) => {
            let _ = prelude.common_protocol(PROTOCOL_MAX);
            let _ = hello.interest();
            said(&hello.frontier)
        }
        ControlFrame::Admit(Some(frontier)) | ControlFrame::Frontier(frontier) => said(frontier),
        _ => true,
    }
}

/// A greeting of a version that is spoken here: `bytes` follow the prelude.
pub fn hello(bytes: &[u8]) -> bool {
    let prelude = HelloPrelude {
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        node: NodeId([1; 32]),
        operation: OperationId([2; 32]),
    };
    let mut frame = postcard::to_extend(&prelude, vec![HELLO]).expect("a prelude always encodes");
    frame.extend_from_slice(bytes);
    control(&frame)
}

fn said(frontier: &FrontierSaid) -> bool {
    match frontier {
        FrontierSaid::Later => true,
        FrontierSaid::Whole { indexed, logs } => claims(logs, *indexed),
        FrontierSaid::Since { moved, .. } => claims(moved, false),
    }
}

fn claims(logs: &[u8], indexed: bool) -> bool {
    let member = |index| (indexed && index < MEMBERS).then_some(NodeId([index as u8; 32]));
    let Ok(claims) = frontier_wire::decode(logs, member) else {
        return false;
    };
    for claim in claims.logs.values() {
        assert!(claim.applied <= claim.stored, "applied past what is stored");
    }
    true
}

/// A frame of a lane's stream; the run in it, if it carries one. Of a packed one, what no codec is needed for.
pub fn lane(bytes: &[u8]) -> Option<Run> {
    match frame::decode_lane(bytes).ok()? {
        LaneFrame::Plain => Run::decode(&bytes[1..]).ok(),
        LaneFrame::Packed(packed) => {
            let mut stream = StreamNames::new(Lane::Life);
            unpack(packed, &mut stream, &NoCodec, &|_| None).ok()
        }
        LaneFrame::Unknown => None,
    }
}

/// Packed runs as one stream of lane 2 carries them, until one is no packed run: the runs, each still to be verified.
/// `names` knows entries outside of them.
pub fn packed_runs<'a>(
    frames: impl Iterator<Item = &'a [u8]>,
    codec: &dyn PayloadCodec,
    names: &dyn Fn(&Place) -> Option<Name>,
) -> Vec<Run> {
    let mut stream = StreamNames::new(Lane::Life);
    let mut runs = Vec::new();
    for frame in frames {
        match unpack(frame, &mut stream, codec, names) {
            Ok(run) => runs.push(run),
            // Asked for again, plain; the stream goes on.
            Err(PackedError::Unresolved(_) | PackedError::Unknown) => {}
            Err(PackedError::Malformed(_) | PackedError::TooLarge) => break,
        }
    }
    runs
}

fn unpack(
    packed: &[u8],
    stream: &mut StreamNames,
    codec: &dyn PayloadCodec,
    names: &dyn Fn(&Place) -> Option<Name>,
) -> Result<Run, PackedError> {
    let packed = PackedRun::decode(packed, stream)?;
    let opened = ZSTD.with_borrow_mut(|zstd| packed.open(zstd))?;
    assert!(opened.references().len() <= REFERENCES_MAX);
    assert!(opened.references_elsewhere().len() <= REFERENCES_MAX);
    opened.unpack(codec, ChainHash::ZERO, names)
}

thread_local! {
    /// As an engine has it: made once.
    static ZSTD: RefCell<Zstd> = RefCell::new(Zstd::new());
}
