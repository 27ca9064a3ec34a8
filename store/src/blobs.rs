//! blobs.db: bytes by their BLAKE3 hash.
//!
//! Always holds: what is read back has the hash it was asked for.

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension};

use crate::error::{Doing, StoreError};
use crate::migrate;
use crate::open::{Role, Source};

/// BLAKE3 of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobHash(pub [u8; 32]);

/// Photos and small files; larger ones come in parts.
pub const BLOB_BYTES_MAX: usize = 32 << 20;

/// The open file; one connection, since photos are rare.
pub struct Blobs(Mutex<Connection>);

impl Blobs {
    pub(crate) fn open(source: &Source) -> Result<Self, StoreError> {
        let mut connection = source.open(Role::Writer)?;
        migrate::migrate(source, &mut connection, migrate::BLOBS)?;
        // Few and large writes: the usual automatic checkpoint serves.
        let _: i64 = connection
            .query_row("PRAGMA wal_autocheckpoint = 1000", [], |row| row.get(0))
            .doing("set checkpoints")?;
        Ok(Blobs(Mutex::new(connection)))
    }

    /// Keeps the bytes; answers their hash when they are on the disk.
    pub fn put(&self, bytes: &[u8]) -> Result<BlobHash, StoreError> {
        if bytes.len() > BLOB_BYTES_MAX {
            return Err(StoreError::Refused(format!(
                "a blob has at most {BLOB_BYTES_MAX} bytes"
            )));
        }
        let hash = BlobHash(*blake3::hash(bytes).as_bytes());
        self.0
            .lock()
            .execute(
                "INSERT INTO blob (hash, bytes) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                (&hash.0[..], bytes),
            )
            .doing("write blob")?;
        Ok(hash)
    }

    pub fn get(&self, hash: &BlobHash) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes: Option<Vec<u8>> = self
            .0
            .lock()
            .query_row(
                "SELECT bytes FROM blob WHERE hash = ?1",
                [&hash.0[..]],
                |row| row.get(0),
            )
            .optional()
            .doing("read blob")?;
        match bytes {
            Some(bytes) if *blake3::hash(&bytes).as_bytes() != hash.0 => {
                Err(StoreError::Unreadable { what: "blob" })
            }
            bytes => Ok(bytes),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::key::DbKey;
    use crate::open::OpenOptions;

    #[test]
    fn a_blob_comes_back_by_its_hash() {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::new(
            dir.path(),
            "blobs.db",
            &DbKey::new([1; 32]),
            &OpenOptions::default(),
        );
        let hash = Blobs::open(&source).unwrap().put(b"a photo").unwrap();
        let blobs = Blobs::open(&source).unwrap();
        assert_eq!(blobs.get(&hash).unwrap().as_deref(), Some(&b"a photo"[..]));
        assert_eq!(blobs.get(&BlobHash([0; 32])).unwrap(), None);
    }
}
