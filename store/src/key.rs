//! The key of the three files: 32 bytes, from a key file, a passphrase, or a file beside the data.
//!
//! Always holds: a key is wiped from memory when dropped and never printed; a file that this module writes is readable by
//! its owner only.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{StoreError, io};

/// The raw SQLCipher key.
#[derive(Clone)]
pub struct DbKey(Zeroizing<[u8; 32]>);

impl DbKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        DbKey(Zeroizing::new(bytes))
    }

    /// The statement that hands the key to SQLCipher: raw, so that no key derivation runs at each open.
    pub(crate) fn pragma(&self) -> Zeroizing<String> {
        let hex = Zeroizing::new(data_encoding::HEXLOWER.encode(&self.0[..]));
        Zeroizing::new(format!("PRAGMA key = \"x'{}'\"", *hex))
    }
}

impl std::fmt::Debug for DbKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DbKey(..)")
    }
}

/// Name of the key file that a data directory without a passphrase holds.
pub const KEY_FILE: &str = "key";
const SALT_FILE: &str = "salt";
/// A key file is 32 raw bytes or 64 hexadecimal digits; anything longer is some other file.
const KEY_FILE_BYTES_MAX: u64 = 128;

/// argon2id: 64 MiB, 3 passes, 1 lane. RFC 9106 §4's second choice (for machines with little memory), with one lane
/// because it runs on one thread: about half a second on a Raspberry Pi 4, once per start.
const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;

/// Reads a key file: 32 raw bytes, or 64 hexadecimal digits and white space.
///
/// # Errors
/// When the file cannot be read or holds neither.
pub fn key_from_file(path: &Path) -> Result<DbKey, StoreError> {
    let file = fs::File::open(path).map_err(io("open key file", path))?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(KEY_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(io("read key file", path))?;
    parse(&bytes).ok_or_else(|| StoreError::Key {
        path: path.to_owned(),
        detail: "expected 32 bytes or 64 hexadecimal digits".to_owned(),
    })
}

/// Derives the key from a passphrase with argon2id and the salt kept in `dir` (written on first use from `fresh_salt`).
///
/// # Errors
/// When the passphrase is empty, or the salt cannot be read or written.
pub fn key_from_passphrase(
    passphrase: &str,
    dir: &Path,
    fresh_salt: [u8; 16],
) -> Result<DbKey, StoreError> {
    let path = dir.join(SALT_FILE);
    if passphrase.is_empty() {
        return Err(StoreError::Key {
            path,
            detail: "the passphrase is empty".to_owned(),
        });
    }
    let salt = match fs::read(&path) {
        Ok(bytes) => <[u8; 16]>::try_from(bytes.as_slice()).map_err(|_| StoreError::Key {
            path: path.clone(),
            detail: "the salt must be 16 bytes".to_owned(),
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_private(&path, &fresh_salt)?;
            fresh_salt
        }
        Err(error) => return Err(io("read salt", &path)(error)),
    };
    let refused = |detail: String| StoreError::Key {
        path: path.clone(),
        detail,
    };
    let params = argon2::Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, 1, Some(32))
        .map_err(|error| refused(error.to_string()))?;
    let mut key = Zeroizing::new([0u8; 32]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), &salt, key.as_mut())
        .map_err(|error| refused(error.to_string()))?;
    Ok(DbKey(key))
}

/// The key kept beside the data; written from `fresh` when the directory has none. Whoever takes the disk has the key:
/// the caller warns.
///
/// # Errors
/// When the file cannot be read or written, or is not a key.
pub fn key_in_data_dir(dir: &Path, fresh: [u8; 32]) -> Result<DbKey, StoreError> {
    let path = dir.join(KEY_FILE);
    if path.try_exists().map_err(io("look for key file", &path))? {
        return key_from_file(&path);
    }
    write_private(&path, &fresh)?;
    Ok(DbKey::new(fresh))
}

fn parse(bytes: &[u8]) -> Option<DbKey> {
    if let Ok(raw) = <[u8; 32]>::try_from(bytes) {
        return Some(DbKey::new(raw));
    }
    let text = std::str::from_utf8(bytes).ok()?.trim().to_ascii_lowercase();
    let decoded = Zeroizing::new(data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?);
    <[u8; 32]>::try_from(decoded.as_slice())
        .ok()
        .map(DbKey::new)
}

/// Writes a new file, mode 0600, and makes file and name durable: a database whose key was lost to a power cut is lost.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary).map_err(io("create", &temporary))?;
    file.write_all(bytes).map_err(io("write", &temporary))?;
    file.sync_all().map_err(io("flush", &temporary))?;
    fs::rename(&temporary, path).map_err(io("rename to", path))?;
    if let Some(dir) = path.parent() {
        fs::File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(io("flush directory", dir))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_key_beside_the_data_is_written_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = key_in_data_dir(dir.path(), [7; 32]).unwrap();
        let second = key_in_data_dir(dir.path(), [8; 32]).unwrap();
        assert_eq!(*first.pragma(), *second.pragma());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(dir.path().join(KEY_FILE))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_key_file_may_be_hexadecimal_and_nothing_else_passes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        fs::write(&path, format!("{}\n", "ab".repeat(32))).unwrap();
        assert_eq!(
            *key_from_file(&path).unwrap().pragma(),
            *DbKey::new([0xab; 32]).pragma()
        );
        fs::write(&path, "too short").unwrap();
        assert!(matches!(key_from_file(&path), Err(StoreError::Key { .. })));
    }

    #[test]
    fn one_passphrase_gives_one_key_per_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = key_from_passphrase("river", dir.path(), [1; 16]).unwrap();
        let again = key_from_passphrase("river", dir.path(), [2; 16]).unwrap();
        let other = key_from_passphrase("lake", dir.path(), [2; 16]).unwrap();
        assert_eq!(*first.pragma(), *again.pragma());
        assert_ne!(*first.pragma(), *other.pragma());
        assert!(key_from_passphrase("", dir.path(), [2; 16]).is_err());
    }
}
