//! One process per data directory: an advisory lock on the file `lock`, which holds the owner's process id.
//!
//! Always holds: the lock ends with the process, however it ends; the file stays, because deleting it would race with the
//! next opener.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::error::{StoreError, io};

/// Held as long as the value lives.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

/// A process id has at most 10 digits; more is not ours.
const PID_BYTES_MAX: u64 = 16;

impl DataDirLock {
    /// Takes the directory, creating it when it is missing.
    ///
    /// # Errors
    /// [`StoreError::InUse`] with the holder's process id when somebody else has it.
    pub fn acquire(dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(io("create data directory", dir))?;
        let path = dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The number only helps the person; a holder that has not written it yet is still a holder.
                let _ = (&mut file).take(PID_BYTES_MAX).read_to_string(&mut text);
                return Err(StoreError::InUse {
                    dir: dir.to_owned(),
                    pid: text.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io("lock", &path)(source)),
        }
        let write = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(io("write", &path))?;
        Ok(DataDirLock { _file: file })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_told_who_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDirLock::acquire(dir.path()).unwrap();
        let error = DataDirLock::acquire(dir.path()).unwrap_err();
        assert!(
            matches!(error, StoreError::InUse { pid: Some(pid), .. } if pid == std::process::id())
        );
        drop(held);
        DataDirLock::acquire(dir.path()).unwrap();
    }
}
