//! The form in which a run goes to each peer: packed where the peer reads that, with references to what it holds.
//!
//! Invariants: what was packed for one peer goes to another only if that one holds everything it refers to; for those
//! that do not, one form without such references is made, once for all of them. A frame made with a stream's table is
//! sent on that stream, right away.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::codec::{Name, Place};
use crate::engine::Engine;
use crate::frame;
use crate::ids::{LogId, NodeId};
use crate::packed::{Knows, Packing, pack};
use crate::peer::Peer;
use crate::run::Run;

/// A run as it came, to be passed on as it is.
#[derive(Debug, Clone)]
pub(crate) enum Came {
    /// The whole frame.
    Plain(Vec<u8>),
    /// What was in the frame; the frame itself was for one stream.
    Packed(Arc<Packing>),
}

/// A run on its way to one or several peers.
pub(crate) struct Parcel<'a> {
    log: LogId,
    /// `None` when only what came is at hand.
    run: Option<&'a Run>,
    /// Where entries outside of the run stand that its payloads name. By object too: an author may well name a change
    /// of another document, and a place stands for the document as well.
    named: BTreeMap<Name, Place>,
    plain: Option<Vec<u8>>,
    packed: Vec<Arc<Packing>>,
    /// It cannot be packed: not to be tried for each peer.
    unpackable: bool,
}

impl<'a> Parcel<'a> {
    /// Of a run that is at hand.
    pub(crate) fn of_run(run: &'a Run, named: Vec<(Name, Place)>) -> Self {
        Self {
            log: run.log,
            run: Some(run),
            named: named.into_iter().collect(),
            plain: None,
            packed: Vec::new(),
            unpackable: false,
        }
    }

    /// Of a run as it came.
    pub(crate) fn of_came(log: LogId, came: &Came) -> Self {
        let (plain, packed) = match came {
            Came::Plain(frame) => (Some(frame.clone()), Vec::new()),
            Came::Packed(packing) => (None, vec![packing.clone()]),
        };
        Self {
            log,
            run: None,
            named: BTreeMap::new(),
            plain,
            packed,
            unpackable: false,
        }
    }
}

impl Engine {
    /// The frame of a run for a peer, to be sent at once; `None` when what is at hand is of no use to it.
    pub(crate) fn frame_for(&mut self, node: NodeId, parcel: &mut Parcel<'_>) -> Option<Vec<u8>> {
        if let Some(packing) = self.packing_for(node, parcel) {
            let session = self.peers.get_mut(&node).and_then(Peer::session_mut)?;
            let table = session.lane(parcel.log.lane).table();
            self.counters.sent_packed_runs += 1;
            return Some(frame::run_packed(&packing.run, table));
        }
        if parcel.plain.is_none() {
            parcel.plain = parcel.run.map(frame::run);
        }
        parcel.plain.clone()
    }

    fn packing_for(&mut self, node: NodeId, parcel: &mut Parcel<'_>) -> Option<Arc<Packing>> {
        let peer = self.peers.get(&node)?;
        if parcel.unpackable || !peer.session()?.packs(&parcel.log) {
            return None;
        }
        let covered = |place: &Place| {
            let theirs = peer.log(&place.log, &self.frontier);
            !theirs.forked && place.seq < theirs.next
        };
        let fits = |packing: &&Arc<Packing>| packing.references.iter().all(covered);
        if let Some(packing) = parcel.packed.iter().find(fits) {
            return Some(packing.clone());
        }
        let run = parcel.run?;
        let first = parcel.packed.is_empty();
        let knows = Knows {
            places: &|name| {
                let named = parcel.named.get(name).copied();
                named.or_else(|| self.names.place(name))
            },
            covered: &|place| first && covered(place),
        };
        let packing = pack(run, self.codec.as_ref(), &knows, &mut self.zstd)
            .filter(Packing::fits_any_stream)
            .map(Arc::new);
        match &packing {
            Some(packing) => parcel.packed.push(packing.clone()),
            None => parcel.unpackable = true,
        }
        packing
    }
}
