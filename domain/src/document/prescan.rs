//! A look at a change's bytes before automerge sees them: how many operations do they claim to hold?
//!
//! The columns are run-length encoded, so thirty bytes can claim 2⁶⁰ operations, and automerge walks them all while it
//! decodes. A string in a column comes after its length, and automerge makes room for a gigabyte before it looks whether
//! the string is there: on a small machine that ends the process. Invariant: time and memory used here are linear in the bytes given, whatever they say. Format: "Automerge
//! Binary Document Format", change chunks.

use sha2::{Digest as _, Sha256};

use super::valid::{OPS_MAX, PREDS_MAX, QuarantineReason as Reason};

/// automerge's `MAGIC_BYTES`.
pub(super) const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// The chunk type of a change that is not deflated. Logs hold no other: a deflated one has a second spelling, and can
/// unfold to any size.
pub(super) const CHUNK_CHANGE: u8 = 1;
/// Column of actions: id 4, integers.
const COLUMN_ACTION: u64 = 4 << 4 | 2;
/// Column of how many predecessors each operation has: id 7, group.
const COLUMN_PREDS: u64 = 7 << 4;

/// The type of a column, in the low bits of its number, whose values are strings.
const TYPE_STRING: u64 = 5;
const TYPE_BITS: u64 = 7;

/// Reads as much of the chunk as is needed to bound what decoding it will cost.
pub(super) fn prescan(bytes: &[u8]) -> Result<(), Reason> {
    match scan(bytes) {
        None => Err(Reason::Undecodable),
        Some((ops, preds)) if ops > OPS_MAX || preds > PREDS_MAX => Err(Reason::TooManyOperations),
        Some(_) => Ok(()),
    }
}

/// The hash of a change chunk: SHA-256 over its type, its length and its contents, of which the checksum repeats the
/// first four bytes. Costs as little as that: decoding the change gives the same hash at fifty times the price.
pub(super) fn hash(bytes: &[u8]) -> Option<[u8; 32]> {
    let mut input = Input(bytes);
    if input.take(4)? != MAGIC {
        return None;
    }
    let checksum = input.take(4)?;
    let hashed = input.0;
    if input.take(1)? != [CHUNK_CHANGE] || input.unsigned()? != input.0.len() as u64 {
        return None;
    }
    let hash: [u8; 32] = Sha256::digest(hashed).into();
    (hash[..4] == *checksum).then_some(hash)
}

/// Operations and predecessors, as claimed.
fn scan(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut input = Input(bytes);
    if input.take(4)? != MAGIC {
        return None;
    }
    input.take(4)?; // the checksum, which automerge computes anew
    if input.take(1)? != [CHUNK_CHANGE] {
        return None;
    }
    let length = input.unsigned()?;
    if length != input.0.len() as u64 {
        return None;
    }
    let deps = input.unsigned()?;
    input.take(usize::try_from(deps.checked_mul(32)?).ok()?)?;
    input.block()?; // actor
    input.unsigned()?; // seq
    input.unsigned()?; // start_op
    input.signed()?; // time
    input.block()?; // message
    for _ in 0..input.unsigned()? {
        input.block()?; // an actor that operations refer to
    }
    let columns = input.unsigned()?;
    let mut layout = Vec::new();
    for _ in 0..columns {
        let spec = input.unsigned()?;
        let length = usize::try_from(input.unsigned()?).ok()?;
        if layout.last().is_some_and(|(last, _)| *last >= spec) {
            return None;
        }
        layout.push((spec, length));
    }
    let (mut ops, mut preds) = (0, 0);
    for (spec, length) in layout {
        let column = Input(input.take(length)?);
        match spec {
            COLUMN_ACTION => ops = column.run_lengths(|_| 1)?,
            COLUMN_PREDS => preds = column.run_lengths(|value| value)?,
            _ if spec & TYPE_BITS == TYPE_STRING => column.strings()?,
            _ => {}
        }
    }
    Some((ops, preds))
}

/// Reads from the front; every method is `None` when the bytes end, or spell no number.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Bytes with their length before them.
    pub(super) fn block(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.unsigned()?).ok()?;
        self.take(length)
    }

    /// LEB128, at most 64 bits.
    pub(super) fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
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

    /// Signed LEB128, at most 64 bits.
    pub(super) fn signed(&mut self) -> Option<i64> {
        let mut value = 0_i64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let unused = 64_u32.saturating_sub(shift + 7);
                return Some(value << unused >> unused);
            }
        }
        None
    }

    /// Whether every string of a run-length encoded column is there, as long as it claims to be.
    fn strings(mut self) -> Option<()> {
        while !self.0.is_empty() {
            match self.signed()? {
                0 => {
                    self.unsigned()?; // a run of nulls
                }
                count if count > 0 => {
                    self.block()?;
                }
                count => {
                    // Each takes a byte at least, so this ends with the bytes.
                    for _ in 0..count.unsigned_abs() {
                        self.block()?;
                    }
                }
            }
        }
        Some(())
    }

    /// The sum of `weight` over every value of a run-length encoded column of unsigned integers; saturates.
    fn run_lengths(mut self, weight: impl Fn(u64) -> u64) -> Option<u64> {
        let mut sum = 0_u64;
        while !self.0.is_empty() {
            match self.signed()? {
                0 => {
                    self.unsigned()?; // a run of nulls
                }
                count if count > 0 => {
                    let value = self.unsigned()?;
                    sum = sum.saturating_add(weight(value).saturating_mul(count.unsigned_abs()));
                }
                count => {
                    // Each literal takes a byte at least, so this ends with the bytes.
                    for _ in 0..count.unsigned_abs() {
                        sum = sum.saturating_add(weight(self.unsigned()?));
                    }
                }
            }
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk with the given columns and nothing else of interest.
    fn chunk(columns: &[(u8, &[u8])]) -> Vec<u8> {
        let mut body = vec![0, 1, 7, 1, 1, 0, 0, 0, columns.len() as u8];
        for (spec, data) in columns {
            body.extend([
                *spec | if *spec > 0x7f { 0x80 } else { 0 },
                data.len() as u8,
            ]);
        }
        for (_, data) in columns {
            body.extend(*data);
        }
        let mut bytes = [&MAGIC[..], &[0; 4], &[CHUNK_CHANGE]].concat();
        bytes.push(body.len() as u8);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_few_bytes_that_claim_a_quintillion_operations_are_refused_at_once() {
        let run = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f, 1];
        assert_eq!(
            prescan(&chunk(&[(0x42, &run)])),
            Err(Reason::TooManyOperations)
        );
        // One operation with a quintillion predecessors.
        let many = [1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(
            prescan(&chunk(&[(0x42, &[1, 1]), (0x70, &many)])),
            Err(Reason::TooManyOperations)
        );
    }

    #[test]
    fn a_string_that_is_longer_than_its_column_is_refused_before_room_is_made_for_it() {
        const KEYS: u8 = 0x15;
        let gigabyte = [0x80, 0x94, 0xeb, 0xdc, 0x03];
        let run = [&[1][..], &gigabyte, b"abc"].concat();
        let literal = [&[0x7e, 1, b'a'][..], &gigabyte, b"abc"].concat();
        for keys in [&run, &literal] {
            assert_eq!(
                prescan(&chunk(&[(KEYS, keys), (0x42, &[1, 1])])),
                Err(Reason::Undecodable)
            );
        }
        let sound = [2, 3, b'a', b'b', b'c', 0, 4, 0x7f, 1, b'd'];
        assert_eq!(
            scan(&chunk(&[(KEYS, &sound), (0x42, &[7, 1])])),
            Some((7, 0))
        );
    }

    #[test]
    fn three_operations_pass() {
        assert_eq!(scan(&chunk(&[(0x42, &[2, 1, 0x7f, 3])])), Some((3, 0)));
    }

    #[test]
    fn cut_or_extended_bytes_are_undecodable() {
        let whole = chunk(&[(0x42, &[2, 1])]);
        assert_eq!(prescan(&whole), Ok(()));
        for end in 0..whole.len() {
            assert_eq!(prescan(&whole[..end]), Err(Reason::Undecodable), "{end}");
        }
        assert_eq!(
            prescan(&[&whole[..], &[0]].concat()),
            Err(Reason::Undecodable)
        );
    }

    #[test]
    fn a_change_has_the_hash_that_automerge_gives_it() {
        let genesis = crate::document::genesis::genesis(crate::Kind::Incident);
        for change in genesis.doc.get_changes(&[]) {
            let bytes = change.raw_bytes();
            assert_eq!(hash(bytes), Some(change.hash().0));
            let mut damaged = bytes.to_vec();
            damaged[bytes.len() / 2] ^= 1;
            assert_eq!(hash(&damaged), None);
        }
    }
}
