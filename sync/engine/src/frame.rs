//! What travels between two engines: one byte for the kind, then the body.
//!
//! Bodies are read from the front and what follows is ignored, so that a later version may append fields; kinds that
//! this version does not know are skipped. Nothing here trusts a count that a peer names.

use serde::{Deserialize, Serialize};

use crate::hello::{FrontierSaid, Hello, HelloPrelude};
use crate::ids::{LogId, Seq};
use crate::marks::MarkHash;
use crate::packed::{PackedRun, StreamTable};
use crate::proof::{Round, WireProof};
use crate::run::Run;

const HELLO: u8 = 1;
const ADMIT: u8 = 2;
const PROGRESS: u8 = 3;
const WANT: u8 = 4;
const HOLD: u8 = 5;
const FRONTIER: u8 = 6;
const WHOLE_PLEASE: u8 = 7;
const MARK: u8 = 8;
const MARKED: u8 = 9;
const PROOF: u8 = 10;
const RUN: u8 = 16;
/// From protocol version 2 on.
const RUN_PACKED: u8 = 17;

/// How many logs one Progress frame names, so that it stays below the control frame's bound.
pub(crate) const PROGRESS_ITEMS_MAX: usize = 4096;

/// How far the sender of a Progress frame is with one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireProgress {
    pub(crate) log: LogId,
    pub(crate) stored: Seq,
    /// The first bytes of the chain hash at `stored`.
    pub(crate) chain: [u8; 8],
    pub(crate) applied: Seq,
}

/// A frame of the control stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ControlFrame {
    /// The first frame: who speaks, which versions, what it has. The rest is `None` when no version is common.
    Hello(HelloPrelude, Option<Hello>),
    /// "You are a member": lanes above 0 may come. Carries what the Hello to a non-member left out.
    Admit(Option<FrontierSaid>),
    /// Heights that moved: the acknowledgement to who sent the entries, news to everyone else.
    Progress(Vec<WireProgress>),
    /// "Send this log from here again": something was dropped on the way.
    Want {
        log: LogId,
        from: Seq,
        /// "And do not pack it: I lack what it refers to."
        plain: bool,
    },
    /// "Do not send this log": we hold another branch of it.
    Hold { log: LogId },
    /// The whole frontier, where the Hello left it for later or named a mark that the other does not know.
    Frontier(FrontierSaid),
    /// "I do not know that mark: say all of it."
    WholePlease,
    /// "This is what we both hold now, if you see it as I do."
    Mark(MarkHash),
    /// "I do, and I remember it."
    Marked(MarkHash),
    /// What its sender has made of the logs that both hold.
    Proof(Round, WireProof),
    /// A kind of a later version.
    Unknown,
}

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame of kind {kind}")]
pub(crate) struct FrameError {
    pub(crate) kind: u8,
}

fn encode<T: Serialize>(kind: u8, body: &T) -> Vec<u8> {
    postcard::to_extend(body, vec![kind]).expect("frames of vectors always encode")
}

pub(crate) fn hello(prelude: &HelloPrelude, hello: &Hello) -> Vec<u8> {
    encode(HELLO, &(prelude, hello))
}

pub(crate) fn admit(frontier: Option<&FrontierSaid>) -> Vec<u8> {
    encode(ADMIT, &frontier)
}

pub(crate) fn frontier(said: &FrontierSaid) -> Vec<u8> {
    encode(FRONTIER, said)
}

pub(crate) fn whole_please() -> Vec<u8> {
    vec![WHOLE_PLEASE]
}

pub(crate) fn mark(hash: MarkHash) -> Vec<u8> {
    encode(MARK, &hash)
}

pub(crate) fn marked(hash: MarkHash) -> Vec<u8> {
    encode(MARKED, &hash)
}

pub(crate) fn progress(items: &[WireProgress]) -> Vec<u8> {
    encode(PROGRESS, &items)
}

pub(crate) fn want(log: LogId, from: Seq, plain: bool) -> Vec<u8> {
    encode(WANT, &(log, from, plain))
}

pub(crate) fn hold(log: LogId) -> Vec<u8> {
    encode(HOLD, &log)
}

pub(crate) fn proof(round: Round, said: &WireProof) -> Vec<u8> {
    encode(PROOF, &(round, said))
}

pub(crate) fn run(run: &Run) -> Vec<u8> {
    let mut frame = run.encode();
    frame.insert(0, RUN);
    frame
}

/// Made for one stream, whose table it goes by: see [`StreamTable`].
pub(crate) fn run_packed(run: &PackedRun, table: &mut StreamTable) -> Vec<u8> {
    let mut frame = run.encode(table);
    frame.insert(0, RUN_PACKED);
    frame
}

fn body<'de, T: Deserialize<'de>>(
    kind: u8,
    bytes: &'de [u8],
) -> Result<(T, &'de [u8]), FrameError> {
    postcard::take_from_bytes(bytes).map_err(|_| FrameError { kind })
}

/// Reads a frame of the control stream.
pub(crate) fn decode_control(bytes: &[u8]) -> Result<ControlFrame, FrameError> {
    let (kind, rest) = bytes.split_first().ok_or(FrameError { kind: 0 })?;
    let kind = *kind;
    Ok(match kind {
        HELLO => {
            let (prelude, rest) = body::<HelloPrelude>(kind, rest)?;
            let hello = if prelude.is_readable() {
                Some(body(kind, rest)?.0)
            } else {
                None
            };
            ControlFrame::Hello(prelude, hello)
        }
        ADMIT => ControlFrame::Admit(body(kind, rest)?.0),
        PROGRESS => ControlFrame::Progress(body(kind, rest)?.0),
        WANT => {
            let ((log, from), rest) = body(kind, rest)?;
            // Version 1 ended here.
            let plain = !rest.is_empty() && body(kind, rest)?.0;
            ControlFrame::Want { log, from, plain }
        }
        HOLD => ControlFrame::Hold {
            log: body(kind, rest)?.0,
        },
        FRONTIER => ControlFrame::Frontier(body(kind, rest)?.0),
        WHOLE_PLEASE => ControlFrame::WholePlease,
        MARK => ControlFrame::Mark(body(kind, rest)?.0),
        MARKED => ControlFrame::Marked(body(kind, rest)?.0),
        PROOF => {
            let (round, said) = body(kind, rest)?.0;
            ControlFrame::Proof(round, said)
        }
        _ => ControlFrame::Unknown,
    })
}

/// A frame of a lane's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneFrame<'a> {
    /// A run as it is: behind the kind, for [`Run::decode`].
    Plain,
    /// A packed run, for [`PackedRun::decode`].
    Packed(&'a [u8]),
    /// A kind of a later version.
    Unknown,
}

/// Reads the kind of a frame of a lane's stream.
pub(crate) fn decode_lane(bytes: &[u8]) -> Result<LaneFrame<'_>, FrameError> {
    match bytes.split_first() {
        Some((&RUN, _)) => Ok(LaneFrame::Plain),
        Some((&RUN_PACKED, rest)) => Ok(LaneFrame::Packed(rest)),
        Some(_) => Ok(LaneFrame::Unknown),
        None => Err(FrameError { kind: 0 }),
    }
}
