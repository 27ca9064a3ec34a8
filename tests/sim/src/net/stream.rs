//! The two ends of one direction: what waits to leave, and what came out of order.

use std::collections::{BTreeMap, VecDeque};

use sync_engine::StreamKind;

use super::Quality;

/// What one end has to send, urgent streams first.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    waiting: BTreeMap<StreamKind, VecDeque<Vec<u8>>>,
    leaving: Option<(StreamKind, Vec<u8>)>,
    offsets: BTreeMap<StreamKind, u64>,
    /// The frame under way waits for the link to carry again.
    pub(super) stalled: bool,
}

impl Outgoing {
    pub(super) fn queue(&mut self, stream: StreamKind, frame: Vec<u8>) {
        self.waiting.entry(stream).or_default().push_back(frame);
    }

    /// Takes the most urgent frame under way, if none is; the time at which it has left.
    pub(super) fn start(&mut self, now_ms: u64, quality: Quality) -> Option<u64> {
        if self.leaving.is_some() {
            return None;
        }
        let (stream, queue) = self
            .waiting
            .iter_mut()
            .find(|(_, queue)| !queue.is_empty())?;
        let frame = queue.pop_front()?;
        let left_ms = now_ms + quality.leaving_ms(frame.len());
        self.leaving = Some((*stream, frame));
        Some(left_ms)
    }

    /// The frame under way, with its place in its stream.
    pub(super) fn take(&mut self) -> Option<(StreamKind, u64, Vec<u8>)> {
        let (stream, frame) = self.leaving.take()?;
        let next = self.offsets.entry(stream).or_default();
        let offset = *next;
        *next += 1;
        Some((stream, offset, frame))
    }

    pub(super) fn waiting_bytes(&self, stream: StreamKind) -> usize {
        let waiting = self.waiting.get(&stream).into_iter().flatten();
        let leaving = self.leaving.iter().filter(|(of, _)| *of == stream);
        waiting.map(Vec::len).sum::<usize>() + leaving.map(|(_, frame)| frame.len()).sum::<usize>()
    }
}

/// What one end has received.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    next: BTreeMap<StreamKind, u64>,
    early: BTreeMap<(StreamKind, u64), Vec<u8>>,
}

impl Incoming {
    /// Takes a frame: those that are in order now. `Err` for a second copy.
    pub(super) fn take(
        &mut self,
        stream: StreamKind,
        offset: u64,
        frame: Vec<u8>,
    ) -> Result<Vec<Vec<u8>>, ()> {
        let next = self.next.entry(stream).or_default();
        if offset < *next || self.early.contains_key(&(stream, offset)) {
            return Err(());
        }
        self.early.insert((stream, offset), frame);
        let mut ordered = Vec::new();
        while let Some(frame) = self.early.remove(&(stream, *next)) {
            ordered.push(frame);
            *next += 1;
        }
        Ok(ordered)
    }
}
