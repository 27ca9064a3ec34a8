//! Room in the write-ahead log, written before it is needed.
//!
//! A commit that makes the log longer has the file system write of its own: inode, extents, bitmaps, some 32 KiB in ext4's
//! journal, ten times what a commit of ten sensors is. In room that was written before, a commit writes its pages and
//! little else. On a disk that does not wear out that is not worth the zeros.
//!
//! Invariants: zeros are written only behind the end of the file, by the thread that writes the log, between two of its
//! transactions. SQLite takes them for what they are: a frame carries the log's salt, and the log ends before the first that
//! does not. What fails here fails nothing else: the log then grows by itself.

use std::fs::OpenOptions;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::open::Source;

/// What a large commit takes: with less room than that, there is more to be made.
const ROOM_BYTES_MIN: u64 = 256 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The log of one file, and how much room it gets.
#[derive(Debug)]
pub(crate) struct WalRoom {
    log: PathBuf,
    step_bytes: u64,
    /// The log begins anew about there.
    bytes_max: u64,
}

impl WalRoom {
    /// `None` where the log is to grow by itself.
    pub(crate) fn of(source: &Source) -> Option<WalRoom> {
        let step_bytes = source.wear.wal_step_bytes;
        let mut log = source.path.clone().into_os_string();
        log.push("-wal");
        (step_bytes > 0).then(|| WalRoom {
            log: log.into(),
            step_bytes,
            bytes_max: source.wear.wal_bytes_max(),
        })
    }

    /// Makes room behind `used_bytes`, what the log holds now, where there is little. To be called between two transactions
    /// of the thread that writes the log.
    pub(crate) fn provide(&self, used_bytes: u64) {
        if let Err(error) = self.grow(used_bytes) {
            // A full disk, as a rule: commits say so themselves.
            tracing::debug!(log = %self.log.display(), %error, "the write-ahead log gets no room ahead");
        }
    }

    fn grow(&self, used_bytes: u64) -> std::io::Result<()> {
        let len = std::fs::metadata(&self.log)?.len();
        if used_bytes + ROOM_BYTES_MIN <= len || len >= self.bytes_max {
            return Ok(());
        }
        write_zeros(&self.log, len, self.step_bytes.min(self.bytes_max - len))
    }
}

fn write_zeros(log: &Path, from: u64, mut bytes: u64) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(log)?;
    file.seek(SeekFrom::Start(from))?;
    while bytes > 0 {
        let piece = ZEROS
            .len()
            .min(usize::try_from(bytes).unwrap_or(ZEROS.len()));
        file.write_all(&ZEROS[..piece])?;
        bytes -= piece as u64;
    }
    file.sync_data()
}
