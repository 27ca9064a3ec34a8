//! Columns of numbers as bytes: what blocks and rollups consist of.
//!
//! A column is one byte that says how it is kept, and then
//!
//! | byte | content |
//! | --- | --- |
//! | 0 | one number that all rows have: 8 bytes, little-endian |
//! | 1 | LEB128 length, then `pco` (its wrapped format: metadata and one page, without the header) |
//! | 2 | the number of an earlier column, as one byte: the same numbers |
//!
//! In front of all columns stand four bytes of BLAKE3 of what follows, so that damaged bytes are known before anything
//! is decompressed.
//!
//! Always holds: decoding makes as many numbers as the caller asked for, or none; it never takes more memory than those
//! and a table of `pco` need.

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};

/// `pco`'s default is 8, which takes 1.4 times as long and saves less than 1 % on sensors' values.
const PCO_LEVEL: usize = 4;
/// What `pco`'s file header is in this format: version 4.1. A new version of `pco` that writes another one needs a new
/// block format; a test says so.
const PCO_HEADER: [u8; 2] = [4, 1];
const CHECK_BYTES: usize = 4;

const SAME_NUMBER: u8 = 0;
const PCO: u8 = 1;
const SAME_COLUMN: u8 = 2;

/// Numbers that a column is made of: 64 bits each, compared by bits, so that −0 stays −0.
pub(crate) trait Cell: Number + Default {
    fn bits(self) -> u64;
    fn from_bits64(bits: u64) -> Self;
}

impl Cell for i64 {
    fn bits(self) -> u64 {
        self.cast_unsigned()
    }

    fn from_bits64(bits: u64) -> Self {
        bits.cast_signed()
    }
}

impl Cell for f64 {
    fn bits(self) -> u64 {
        self.to_bits()
    }

    fn from_bits64(bits: u64) -> Self {
        f64::from_bits(bits)
    }
}

/// Puts columns behind one another. All of a row group have the same length, which the caller keeps.
pub(crate) struct ColumnsOut {
    data: Vec<u8>,
}

impl ColumnsOut {
    pub(crate) fn new() -> Self {
        ColumnsOut {
            data: vec![0; CHECK_BYTES],
        }
    }

    /// `None` when `pco` refuses, which it does for no input that we know of.
    pub(crate) fn push<T: Cell>(&mut self, column: &[T]) -> Option<()> {
        let first = column.first()?.bits();
        if column.iter().all(|number| number.bits() == first) {
            self.data.push(SAME_NUMBER);
            self.data.extend_from_slice(&first.to_le_bytes());
            return Some(());
        }
        let config = ChunkConfig::default().with_compression_level(PCO_LEVEL);
        let mut chunk = FileCompressor::default()
            .chunk_compressor(column, &config)
            .ok()?;
        let mut packed = Vec::with_capacity(chunk.meta_size_hint() + chunk.page_size_hint(0));
        chunk.write_meta(&mut packed).ok()?;
        chunk.write_page(0, &mut packed).ok()?;
        self.data.push(PCO);
        put_length(&mut self.data, packed.len());
        self.data.extend_from_slice(&packed);
        Some(())
    }

    /// The same numbers as column `number`, counted from 0, in the same type.
    pub(crate) fn push_same_as(&mut self, number: u8) {
        self.data.extend_from_slice(&[SAME_COLUMN, number]);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let check = check_of(&self.data[CHECK_BYTES..]);
        self.data[..CHECK_BYTES].copy_from_slice(&check);
        self.data
    }
}

/// One column, or which earlier one it equals.
pub(crate) enum ColumnIn<T> {
    Own(Vec<T>),
    SameAs(u8),
}

/// Takes columns off again, in order.
pub(crate) struct ColumnsIn<'a> {
    rest: &'a [u8],
    rows: usize,
}

impl<'a> ColumnsIn<'a> {
    /// `None` when the bytes are not those that were written. `rows` must have been bounded by the caller.
    pub(crate) fn new(data: &'a [u8], rows: usize) -> Option<Self> {
        let (check, rest) = data.split_first_chunk::<CHECK_BYTES>()?;
        (check_of(rest) == *check).then_some(ColumnsIn { rest, rows })
    }

    pub(crate) fn next<T: Cell>(&mut self) -> Option<ColumnIn<T>> {
        let (kind, rest) = self.rest.split_first()?;
        match *kind {
            SAME_NUMBER => {
                let (bytes, rest) = rest.split_first_chunk::<8>()?;
                self.rest = rest;
                let number = T::from_bits64(u64::from_le_bytes(*bytes));
                Some(ColumnIn::Own(vec![number; self.rows]))
            }
            PCO => {
                let (length, rest) = take_length(rest)?;
                let (packed, rest) = rest.split_at_checked(length)?;
                self.rest = rest;
                unpack(packed, self.rows).map(ColumnIn::Own)
            }
            SAME_COLUMN => {
                let (number, rest) = rest.split_first()?;
                self.rest = rest;
                Some(ColumnIn::SameAs(*number))
            }
            _ => None,
        }
    }

    /// A column that never equals an earlier one.
    pub(crate) fn next_own<T: Cell>(&mut self) -> Option<Vec<T>> {
        match self.next()? {
            ColumnIn::Own(column) => Some(column),
            ColumnIn::SameAs(_) => None,
        }
    }

    /// Whether nothing is left over.
    pub(crate) fn at_end(&self) -> bool {
        self.rest.is_empty()
    }
}

fn unpack<T: Cell>(packed: &[u8], rows: usize) -> Option<Vec<T>> {
    if rows == 0 {
        return None;
    }
    let (file, _) = FileDecompressor::new(&PCO_HEADER[..]).ok()?;
    let (mut chunk, page) = file.chunk_decompressor::<T, _>(packed).ok()?;
    let mut column = vec![T::default(); rows];
    let mut page = chunk.page_decompressor(page, rows).ok()?;
    let progress = page.read(&mut column).ok()?;
    (progress.n_processed == rows).then_some(column)
}

fn check_of(data: &[u8]) -> [u8; CHECK_BYTES] {
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&blake3::hash(data).as_bytes()[..CHECK_BYTES]);
    check
}

fn put_length(data: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        data.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    data.push(length as u8);
}

/// At most 28 bits: a column is never longer.
fn take_length(mut rest: &[u8]) -> Option<(usize, &[u8])> {
    let mut length = 0usize;
    for shift in (0..28).step_by(7) {
        let (byte, after) = rest.split_first()?;
        rest = after;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((length, rest));
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn own<T>(column: ColumnIn<T>) -> Vec<T> {
        match column {
            ColumnIn::Own(column) => column,
            ColumnIn::SameAs(_) => panic!("a column of its own is expected"),
        }
    }

    #[test]
    fn pco_still_writes_the_version_that_blocks_leave_out() {
        let mut header = Vec::new();
        FileCompressor::default().write_header(&mut header).unwrap();
        assert_eq!(header, PCO_HEADER);
    }

    proptest! {
        #[test]
        fn columns_come_back_bit_by_bit(
            numbers in proptest::collection::vec(any::<(i64, u64)>(), 1..600), same in any::<i64>(),
        ) {
            let integers: Vec<i64> = numbers.iter().map(|row| row.0).collect();
            let floats: Vec<f64> = numbers.iter().map(|row| f64::from_bits(row.1)).collect();
            let mut out = ColumnsOut::new();
            out.push(&integers).unwrap();
            out.push(&floats).unwrap();
            out.push(&vec![same; integers.len()]).unwrap();
            out.push_same_as(1);
            let data = out.finish();
            let mut columns = ColumnsIn::new(&data, integers.len()).unwrap();
            prop_assert_eq!(own(columns.next::<i64>().unwrap()), integers.clone());
            let read: Vec<u64> = own(columns.next::<f64>().unwrap()).into_iter().map(f64::to_bits).collect();
            prop_assert_eq!(read, floats.iter().map(|number| number.to_bits()).collect::<Vec<_>>());
            prop_assert_eq!(own(columns.next::<i64>().unwrap()), vec![same; integers.len()]);
            prop_assert!(matches!(columns.next::<f64>(), Some(ColumnIn::SameAs(1))));
            prop_assert!(columns.at_end());
        }

        #[test]
        fn a_changed_bit_anywhere_is_seen(
            numbers in proptest::collection::vec(-1e6f64..1e6, 1..300), place in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let mut out = ColumnsOut::new();
            out.push(&numbers).unwrap();
            let mut data = out.finish();
            let place = place.index(data.len());
            data[place] ^= 1 << bit;
            prop_assert!(ColumnsIn::new(&data, numbers.len()).is_none());
        }

        // Behind a check sum that fits, as an author of such bytes could write it.
        #[test]
        fn invented_bytes_are_refused_or_give_just_the_rows_asked_for(
            body in proptest::collection::vec(any::<u8>(), 0..300), rows in 0usize..5_000,
        ) {
            let mut packed = vec![0; CHECK_BYTES];
            packed.push(PCO);
            put_length(&mut packed, body.len());
            packed.extend_from_slice(&body);
            let data = ColumnsOut { data: packed }.finish();
            let column = ColumnsIn::new(&data, rows).unwrap().next_own::<f64>();
            prop_assert!(column.is_none_or(|column| column.len() == rows));
        }

        // Close to what is really written, which reaches further into the decoder than noise does.
        #[test]
        fn bent_columns_are_refused_or_give_just_the_rows_asked_for(
            numbers in proptest::collection::vec(0u32..500, 2..600),
            bends in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            rows in 0usize..5_000,
        ) {
            let numbers: Vec<f64> = numbers.into_iter().map(|number| f64::from(number) / 10.0).collect();
            let mut out = ColumnsOut::new();
            out.push(&numbers).unwrap();
            for (place, byte) in bends {
                let place = CHECK_BYTES + place.index(out.data.len() - CHECK_BYTES);
                out.data[place] = byte;
            }
            let data = out.finish();
            let mut columns = ColumnsIn::new(&data, rows).unwrap();
            if let Some(ColumnIn::Own(column)) = columns.next::<f64>() {
                prop_assert_eq!(column.len(), rows);
            }
        }
    }
}
