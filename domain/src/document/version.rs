//! A version: the encoded heads that a reader saw (DESIGN §7).
//!
//! Invariants: hashes are sorted and distinct, at most [`HEADS_MAX`] of them; a version has one spelling.

use std::fmt;
use std::str::FromStr;

use automerge::ChangeHash;
use data_encoding::BASE64URL_NOPAD;

/// A version travels in an HTTP header (2.7 KiB with this bound) and a change names that many dependencies at most. A
/// document with more heads is shown with the first of them; an edit then merges those, and the next edit the rest.
pub(crate) const HEADS_MAX: usize = 64;

/// What a reader saw of a document, opaque outside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(Vec<ChangeHash>);

/// A text that is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a version of a document")]
pub struct VersionError;

impl Version {
    pub(crate) fn of(mut heads: Vec<ChangeHash>) -> Self {
        heads.sort_unstable();
        heads.dedup();
        heads.truncate(HEADS_MAX);
        Version(heads)
    }

    pub(crate) fn heads(&self) -> &[ChangeHash] {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = self.0.iter().flat_map(|hash| hash.0).collect();
        f.write_str(&BASE64URL_NOPAD.encode(&bytes))
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if text.len() > BASE64URL_NOPAD.encode_len(HEADS_MAX * 32) {
            return Err(VersionError);
        }
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(|_| VersionError)?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        let sorted = hashes.windows(2).all(|pair| pair[0] < pair[1]);
        if hashes.is_empty() || !rest.is_empty() || !sorted {
            return Err(VersionError);
        }
        Ok(Version(
            hashes.iter().map(|hash| ChangeHash(*hash)).collect(),
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_version_survives_its_text_form() {
        let version = Version::of(vec![
            ChangeHash([9; 32]),
            ChangeHash([1; 32]),
            ChangeHash([9; 32]),
        ]);
        assert_eq!(version.heads().len(), 2);
        assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
    }

    #[test]
    fn other_texts_are_refused() {
        let unsorted = BASE64URL_NOPAD.encode(&[[9; 32], [1; 32]].concat());
        let twice = BASE64URL_NOPAD.encode(&[[1; 32], [1; 32]].concat());
        let many = BASE64URL_NOPAD.encode(&vec![0; 32 * (HEADS_MAX + 1)]);
        let odd = BASE64URL_NOPAD.encode(&[1; 33]);
        for text in ["", "*", "\"x\"", &unsorted, &twice, &many, &odd] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
