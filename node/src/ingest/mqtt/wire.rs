//! The socket with its buffers, plain or TLS.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// A read asks for this much at first, and for more while reads come back full: a thousand quiet sensors cost 4 MiB,
/// a busy one gets few system calls and large batches.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;

/// Why bytes do not come or go any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The socket is closed or broken.
    Gone,
    /// The client does not take what we send.
    WriteStuck,
}

/// One task reads and writes, never both at once, so the stream needs no halves.
pub(super) struct Wire<S> {
    stream: S,
    pub(super) read: BytesMut,
    read_bytes: usize,
    pub(super) out: Vec<u8>,
    write_timeout: Duration,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S, write_timeout: Duration) -> Self {
        Wire {
            stream,
            read: BytesMut::new(),
            read_bytes: READ_BYTES_MIN,
            out: Vec::new(),
            write_timeout,
        }
    }

    /// Waits for bytes; safe to drop before it is done.
    pub(super) async fn read_more(&mut self) -> Result<(), Broken> {
        // An idle buffer goes back to its small size, so that a burst does not hold memory for ever.
        if self.read.is_empty() && self.read.capacity() > 2 * self.read_bytes {
            self.read = BytesMut::new();
        }
        self.read.reserve(self.read_bytes);
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) | Err(_) => Err(Broken::Gone),
            Ok(n) => {
                if n >= self.read_bytes {
                    self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
                } else if n < self.read_bytes / 8 {
                    self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
                }
                Ok(())
            }
        }
    }

    pub(super) async fn flush(&mut self) -> Result<(), Broken> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = async {
            self.stream.write_all(&self.out).await?;
            // TLS keeps what it has sealed until it is told.
            self.stream.flush().await
        };
        let outcome = timeout(self.write_timeout, written).await;
        self.out.clear();
        if self.out.capacity() > 4 * READ_BYTES_MAX {
            self.out = Vec::new();
        }
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Broken::Gone),
            Err(_) => Err(Broken::WriteStuck),
        }
    }

    /// Writes what is left and closes our side, for at most so long.
    pub(super) async fn close(&mut self, within: Duration) {
        let _ = timeout(within, async {
            let _ = self.flush().await;
            let _ = self.stream.shutdown().await;
        })
        .await;
    }
}
