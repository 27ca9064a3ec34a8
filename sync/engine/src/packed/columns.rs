//! Values of a packed run, column by column, so that equal ones stand together and compress; of a short run, entry by
//! entry, as the lengths of the columns would cost more than they save.
//!
//! Invariant: a reader never goes past the bytes it was given, and allocates nothing for a count that it read.

use std::collections::BTreeMap;

use super::ENGINE_COLUMNS;
use crate::codec::{CODEC_COLUMNS, OutOfColumns};

/// Sixteen bytes that repeat: users, actors.
pub(crate) type Id = [u8; 16];

/// The distinct ids of one run, in the order in which they first come. Theirs stand in the head of the frame, which
/// names those that the stream has had already by number.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Ids {
    list: Vec<Id>,
    numbers: BTreeMap<Id, usize>,
}

impl Ids {
    fn number(&mut self, id: &Id) -> usize {
        let next = self.list.len();
        let number = *self.numbers.entry(*id).or_insert(next);
        if number == next {
            self.list.push(*id);
        }
        number
    }

    fn truncate(&mut self, count: usize) {
        for gone in self.list.drain(count..) {
            self.numbers.remove(&gone);
        }
    }
}

/// All columns of a run in the making: the engine's, then the codec's.
#[derive(Debug)]
pub(crate) struct Columns {
    /// One for each column, or one for each of the two groups.
    buffers: Vec<Vec<u8>>,
    /// Where the codec's begin.
    codec_at: usize,
    ids: Ids,
}

/// A state to go back to.
#[derive(Debug)]
pub(crate) struct Mark {
    lengths: Vec<usize>,
    ids: usize,
}

impl Columns {
    pub(crate) fn new(interleaved: bool) -> Self {
        let (engine, codec) = if interleaved {
            (1, 1)
        } else {
            (ENGINE_COLUMNS, CODEC_COLUMNS)
        };
        Self {
            buffers: vec![Vec::new(); engine + codec],
            codec_at: engine,
            ids: Ids::default(),
        }
    }

    pub(crate) fn engine(&mut self) -> ColumnWriter<'_> {
        ColumnWriter {
            buffers: &mut self.buffers[..self.codec_at],
            ids: &mut self.ids,
        }
    }

    pub(crate) fn codec(&mut self) -> ColumnWriter<'_> {
        ColumnWriter {
            buffers: &mut self.buffers[self.codec_at..],
            ids: &mut self.ids,
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            lengths: self.buffers.iter().map(Vec::len).collect(),
            ids: self.ids.list.len(),
        }
    }

    pub(crate) fn go_back(&mut self, mark: &Mark) {
        for (buffer, length) in self.buffers.iter_mut().zip(&mark.lengths) {
            buffer.truncate(*length);
        }
        self.ids.truncate(mark.ids);
    }

    /// The body and the ids that it numbers.
    pub(crate) fn finish(self) -> (Vec<u8>, Vec<Id>) {
        let bytes: usize = self.buffers.iter().map(Vec::len).sum();
        let mut body = Vec::with_capacity(bytes + 3 * self.buffers.len());
        let before_last = self.buffers.len() - 1;
        for buffer in &self.buffers[..before_last] {
            put_unsigned(&mut body, buffer.len() as u64);
        }
        for buffer in &self.buffers {
            body.extend_from_slice(buffer);
        }
        (body, self.ids.list)
    }
}

/// Writes values to columns.
#[derive(Debug)]
pub struct ColumnWriter<'a> {
    buffers: &'a mut [Vec<u8>],
    ids: &'a mut Ids,
}

impl ColumnWriter<'_> {
    fn buffer(&mut self, column: usize) -> &mut Vec<u8> {
        let last = self.buffers.len() - 1;
        &mut self.buffers[column.min(last)]
    }

    /// A number, in as few groups of seven bits as it takes.
    pub fn unsigned(&mut self, column: usize, value: u64) {
        put_unsigned(self.buffer(column), value);
    }

    /// A number on either side of zero; short when it is near.
    pub fn signed(&mut self, column: usize, value: i64) {
        self.unsigned(column, (value << 1 ^ value >> 63).cast_unsigned());
    }

    /// Bytes; how many is known or written elsewhere.
    pub fn bytes(&mut self, column: usize, bytes: &[u8]) {
        self.buffer(column).extend_from_slice(bytes);
    }

    /// Sixteen bytes that repeat, or none.
    pub fn id(&mut self, column: usize, id: Option<&[u8; 16]>) {
        let number = id.map_or(0, |id| 1 + self.ids.number(id) as u64);
        self.unsigned(column, number);
    }
}

/// Reads values from columns.
#[derive(Debug)]
pub struct ColumnReader<'a> {
    rest: Vec<&'a [u8]>,
    ids: &'a [Id],
    /// Which of the ids came.
    ids_used: Vec<bool>,
}

impl<'a> ColumnReader<'a> {
    pub(crate) fn new(columns: Vec<&'a [u8]>, ids: &'a [Id]) -> Self {
        Self {
            rest: columns,
            ids,
            ids_used: vec![false; ids.len()],
        }
    }

    /// The same, behind columns that used some of the ids already.
    pub(crate) fn behind(mut self, ids_used: Vec<bool>) -> Self {
        self.ids_used = ids_used;
        self
    }

    fn column(&mut self, column: usize) -> Result<&mut &'a [u8], OutOfColumns> {
        let last = self.rest.len().checked_sub(1).ok_or(OutOfColumns)?;
        Ok(&mut self.rest[column.min(last)])
    }

    /// See [`ColumnWriter::unsigned`].
    ///
    /// # Errors
    /// [`OutOfColumns`], like every method here.
    pub fn unsigned(&mut self, column: usize) -> Result<u64, OutOfColumns> {
        take_unsigned(self.column(column)?).ok_or(OutOfColumns)
    }

    /// See [`ColumnWriter::signed`].
    ///
    /// # Errors
    /// [`OutOfColumns`].
    pub fn signed(&mut self, column: usize) -> Result<i64, OutOfColumns> {
        let value = self.unsigned(column)?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`OutOfColumns`].
    pub fn bytes(&mut self, column: usize, length: u64) -> Result<&'a [u8], OutOfColumns> {
        let length = usize::try_from(length).map_err(|_| OutOfColumns)?;
        take(self.column(column)?, length).ok_or(OutOfColumns)
    }

    /// See [`ColumnWriter::id`].
    ///
    /// # Errors
    /// [`OutOfColumns`].
    pub fn id(&mut self, column: usize) -> Result<Option<[u8; 16]>, OutOfColumns> {
        let Some(number) = self.unsigned(column)?.checked_sub(1) else {
            return Ok(None);
        };
        let number = usize::try_from(number).map_err(|_| OutOfColumns)?;
        let id = self.ids.get(number).ok_or(OutOfColumns)?;
        if let Some(used) = self.ids_used.get_mut(number) {
            *used = true;
        }
        Ok(Some(*id))
    }

    /// Whether every column was read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.rest.iter().all(|rest| rest.is_empty())
    }

    /// Which of the ids came so far.
    pub(crate) fn into_ids_used(self) -> Vec<bool> {
        self.ids_used
    }
}

/// LEB128.
pub(crate) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// LEB128 of at most 64 bits, in its shortest spelling or any other.
pub(crate) fn take_unsigned(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

pub(crate) fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// `N` bytes.
pub(crate) fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    take(rest, N)?.try_into().ok()
}
