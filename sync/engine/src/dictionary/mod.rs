//! Compression of packed runs with a dictionary that both ends have.
//!
//! Invariant: a dictionary with a number never changes, as the frames made with it are not self-contained. A retrained
//! one gets the next number, and the old one stays for reading: see the README beside this file.

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, find_frame_compressed_size};

use crate::packed::PackedError;

/// Stands for a body that is not compressed.
const STORED: u64 = 0;
/// The dictionary in use.
const NUMBER: u64 = 1;
static DICTIONARY: &[u8] = include_bytes!("1.zdict");

/// Bodies are short, so that a slow level costs little and a lone change gains from it.
const LEVEL: i32 = 9;

/// Every zstd frame begins with this (RFC 8878, section 3.1.1): left out, as is the dictionary's id.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The contexts, made once: setting them up costs more than most bodies do.
pub(crate) struct Zstd {
    compressor: Compressor<'static>,
    decompressor: Decompressor<'static>,
}

impl Zstd {
    pub(crate) fn new() -> Self {
        const WHY: &str = "the dictionary is a constant, and a test loads it";
        let mut compressor = Compressor::with_dictionary(LEVEL, DICTIONARY).expect(WHY);
        compressor
            .set_parameter(CParameter::DictIdFlag(false))
            .expect(WHY);
        let decompressor = Decompressor::with_dictionary(DICTIONARY).expect(WHY);
        Self {
            compressor,
            decompressor,
        }
    }

    /// The dictionary's number and the body to be sent: as it is when compression does not help.
    pub(crate) fn compress(&mut self, body: Vec<u8>) -> (u64, Vec<u8>) {
        match self.compressor.compress(&body) {
            Ok(mut frame)
                if frame.starts_with(&MAGIC) && frame.len() - MAGIC.len() < body.len() =>
            {
                frame.drain(..MAGIC.len());
                (NUMBER, frame)
            }
            _ => (STORED, body),
        }
    }

    /// The body that was compressed, at most `bytes_max` long.
    ///
    /// # Errors
    /// [`PackedError`], except for `Unresolved`.
    pub(crate) fn decompress(
        &mut self,
        dictionary: u64,
        bytes: &[u8],
        bytes_max: usize,
    ) -> Result<Vec<u8>, PackedError> {
        match dictionary {
            STORED if bytes.len() > bytes_max => Err(PackedError::TooLarge),
            STORED => Ok(bytes.to_vec()),
            NUMBER => {
                let frame = [&MAGIC, bytes].concat();
                if !is_one_frame(&frame) {
                    return Err(PackedError::Malformed("its compression"));
                }
                self.decompressor
                    .decompress(&frame, bytes_max)
                    .map_err(|_| PackedError::Malformed("its compression"))
            }
            _ => Err(PackedError::Unknown),
        }
    }
}

/// Whether bytes are one zstd frame and nothing else. The decoder would also take several, and skippable ones between
/// them that say nothing.
pub(crate) fn is_one_frame(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) && find_frame_compressed_size(bytes) == Ok(bytes.len())
}
