//! Finds frames in a stream of bytes.
//!
//! Invariants: holds one frame's bytes and no more; after any noise the next whole frame is found; feeding byte by byte
//! and feeding all at once give the same frames.

use crate::frame::{COBS_BYTES_MAX, Frame, FrameError, decode_in_place};

/// What a reader has seen. The counters wrap: a link that is up for years must not stop at the last number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReaderCounts {
    /// Intact frames.
    pub frames: u32,
    /// Pieces between zeros that were none.
    pub errors: u32,
}

/// Collects bytes until a zero and then reads the frame.
#[derive(Debug, Clone)]
pub struct FrameReader {
    buffer: [u8; COBS_BYTES_MAX],
    len: usize,
    /// More came than a frame has; skip to the next zero.
    overflown: bool,
    counts: ReaderCounts,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameReader {
    /// A reader at the start of a stream, or anywhere inside one.
    pub const fn new() -> Self {
        Self {
            buffer: [0; COBS_BYTES_MAX],
            len: 0,
            overflown: false,
            counts: ReaderCounts {
                frames: 0,
                errors: 0,
            },
        }
    }

    /// Takes bytes off the front of `input` up to the end of the next frame, or all of them (`None`).
    ///
    /// Call it until `input` is empty:
    ///
    /// ```
    /// # use firmware_protocol::FrameReader;
    /// # let (mut reader, mut input) = (FrameReader::new(), &[1_u8, 2, 0][..]);
    /// while !input.is_empty() {
    ///     match reader.feed(&mut input) {
    ///         Some(Ok(frame)) => { /* use frame */ }
    ///         Some(Err(noise)) => { /* count it */ }
    ///         None => {}
    ///     }
    /// }
    /// ```
    pub fn feed(&mut self, input: &mut &[u8]) -> Option<Result<Frame<'_>, FrameError>> {
        while let Some(zero) = input.iter().position(|&b| b == 0) {
            let (piece, rest) = input.split_at(zero);
            *input = rest.get(1..).unwrap_or_default();
            self.collect(piece);
            if self.len > 0 || self.overflown {
                return Some(self.finish());
            }
            // Nothing between two zeros: the end of one frame and the start of the next.
        }
        self.collect(input);
        *input = &[];
        None
    }

    /// Forgets a started frame, as after a port was closed and opened again.
    pub fn reset(&mut self) {
        self.len = 0;
        self.overflown = false;
    }

    /// What this reader has seen since it was made.
    pub const fn counts(&self) -> ReaderCounts {
        self.counts
    }

    fn collect(&mut self, piece: &[u8]) {
        let end = self.len.saturating_add(piece.len());
        match self.buffer.get_mut(self.len..end) {
            Some(space) if !self.overflown => {
                space.copy_from_slice(piece);
                self.len = end;
            }
            _ => self.overflown |= !piece.is_empty(),
        }
    }

    fn finish(&mut self) -> Result<Frame<'_>, FrameError> {
        let (len, overflown) = (self.len, self.overflown);
        self.reset();
        let outcome = if overflown {
            Err(FrameError::TooLong)
        } else {
            decode_in_place(&mut self.buffer[..len])
        };
        match outcome {
            Ok(_) => self.counts.frames = self.counts.frames.wrapping_add(1),
            Err(_) => self.counts.errors = self.counts.errors.wrapping_add(1),
        }
        outcome
    }
}
