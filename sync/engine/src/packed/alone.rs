//! Packed runs without an engine around them: what is measured, trained with and kept as golden vectors.

use super::{Knows, PackedError, PackedRun, StreamNames, StreamTable, pack};
use crate::codec::{Name, PayloadCodec, Place};
use crate::dictionary::Zstd;
use crate::ids::{ChainHash, Lane};
use crate::run::Run;

/// A stream that carries packed runs of one lane: what one packs another of the same lane unpacks, in the same order.
pub struct PackedStream {
    table: StreamTable,
    names: StreamNames,
    zstd: Zstd,
}

impl PackedStream {
    /// A stream that has carried nothing yet.
    pub fn new(lane: Lane) -> Self {
        Self {
            table: StreamTable::default(),
            names: StreamNames::new(lane),
            zstd: Zstd::new(),
        }
    }

    /// The bytes that travel. `None` when the run cannot be packed: see [`Run::encode`].
    pub fn pack(
        &mut self,
        run: &Run,
        codec: &dyn PayloadCodec,
        knows: &Knows<'_>,
    ) -> Option<Vec<u8>> {
        let packing = pack(run, codec, knows, &mut self.zstd)?;
        Some(packing.run.encode(&mut self.table))
    }

    /// What the dictionary is trained with: the part of a packed run that is compressed.
    pub fn body(run: &Run, codec: &dyn PayloadCodec, knows: &Knows<'_>) -> Option<Vec<u8>> {
        let mut zstd = Zstd::new();
        let packed = pack(run, codec, knows, &mut zstd)?.run;
        packed.body(&mut zstd).ok()
    }

    /// The run that was packed behind the chain hash `prev`; still to be verified.
    ///
    /// # Errors
    /// [`PackedError`]: `Unresolved` with the first place that `names` does not know.
    pub fn unpack(
        &mut self,
        bytes: &[u8],
        codec: &dyn PayloadCodec,
        prev: ChainHash,
        names: &dyn Fn(&Place) -> Option<Name>,
    ) -> Result<Run, PackedError> {
        PackedRun::decode(bytes, &mut self.names)?
            .open(&mut self.zstd)?
            .unpack(codec, prev, names)
    }
}
