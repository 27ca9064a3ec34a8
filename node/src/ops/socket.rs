//! `muster.sock` in the data directory: one JSON line asks, one JSON line answers.
//!
//! Invariant: the socket is readable for its owner alone (0600); who may open it owns the data anyway. One request per
//! connection, so that a client that dies leaves nothing behind.

use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::local::{LocalRequest, LocalResponse, handle};
use crate::app::App;

/// Name of the socket in the data directory.
pub const SOCKET_NAME: &str = "muster.sock";

/// A request is a few words; a megabyte leaves room for long lists of devices.
const REQUEST_BYTES_MAX: u64 = 1024 * 1024;

/// Answers are pages of at most 500 items; a dead letter of 64 KiB in base64 makes the largest.
const RESPONSE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Commands at once: people and scripts, not load.
const CONNECTIONS_MAX: usize = 16;

/// A client that says nothing is let go.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What can go wrong between a command and the node.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Nobody answers: no node runs on this data directory.
    #[error("no node runs on this data directory")]
    NotRunning,
    /// The socket's path cannot be used.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The node's answer cannot be read.
    #[error("the node's answer cannot be read: {0}")]
    Answer(String),
}

/// A path to the socket that fits the 108 bytes of a Unix socket address, however long the data directory's is: it
/// goes through the directory's open file descriptor where needed. Keep the file open while the path is used.
struct ShortPath {
    path: PathBuf,
    _dir: Option<std::fs::File>,
}

const SOCKET_PATH_BYTES_MAX: usize = 100;

fn short_path(data_dir: &Path) -> std::io::Result<ShortPath> {
    let path = data_dir.join(SOCKET_NAME);
    if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok(ShortPath { path, _dir: None });
    }
    let dir = std::fs::File::open(data_dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", dir.as_raw_fd()));
    Ok(ShortPath {
        path,
        _dir: Some(dir),
    })
}

/// The listening end.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalSocket {
    /// Binds the socket. The caller holds the data directory's lock, so that a socket found there is a leftover.
    ///
    /// # Errors
    /// [`SocketError::Io`] when the directory does not take it.
    pub fn bind(data_dir: &Path) -> Result<Self, SocketError> {
        let path = data_dir.join(SOCKET_NAME);
        let failed = |what| {
            let path = path.clone();
            move |source| SocketError::Io { what, path, source }
        };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("remove the leftover")(error));
            }
            _ => {}
        }
        let short = short_path(data_dir).map_err(failed("open"))?;
        let listener = UnixListener::bind(&short.path).map_err(failed("listen on"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .map_err(failed("protect"))?;
        Ok(LocalSocket { listener, path })
    }

    /// Serves until `stop`.
    pub async fn serve(self, app: Arc<App>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                break;
            };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let app = Arc::clone(&app);
                    tokio::spawn(async move {
                        if let Err(error) = answer(stream, &app).await {
                            tracing::debug!(%error, "local command went away");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others need the time more than we do.
                    tracing::warn!(%error, "local socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, app: &Arc<App>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(REQUEST_BYTES_MAX));
    let read = tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut line)).await;
    let response = match read {
        Err(_) => LocalResponse::Error("no request came within 10 s".into()),
        Ok(result) => {
            result?;
            match serde_json::from_str::<LocalRequest>(&line) {
                Ok(request) => handle(app, request).await,
                Err(error) => LocalResponse::Error(format!(
                    "the request cannot be read ({error}): use the muster command of the same version as the node"
                )),
            }
        }
    };
    let mut bytes = serde_json::to_vec(&response)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await?;
    write.shutdown().await
}

/// Asks the node that runs on `data_dir`.
///
/// # Errors
/// [`SocketError::NotRunning`] when nobody listens; the others when the talk fails.
pub async fn request(
    data_dir: &Path,
    request: &LocalRequest,
) -> Result<LocalResponse, SocketError> {
    let full = data_dir.join(SOCKET_NAME);
    let failed = |what| {
        let path = full.clone();
        move |source| SocketError::Io { what, path, source }
    };
    let short = match short_path(data_dir) {
        Ok(short) => short,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(SocketError::NotRunning);
        }
        Err(error) => return Err(failed("open")(error)),
    };
    let stream = match UnixStream::connect(&short.path).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Err(SocketError::NotRunning);
        }
        Err(error) => return Err(failed("connect to")(error)),
    };
    let (read, mut write) = stream.into_split();
    let mut line =
        serde_json::to_vec(request).map_err(|error| SocketError::Answer(error.to_string()))?;
    line.push(b'\n');
    write.write_all(&line).await.map_err(failed("write to"))?;
    let mut answer = String::new();
    BufReader::new(read.take(RESPONSE_BYTES_MAX))
        .read_line(&mut answer)
        .await
        .map_err(failed("read from"))?;
    if answer.is_empty() {
        return Err(SocketError::Answer("the node closed the connection".into()));
    }
    serde_json::from_str(&answer).map_err(|error| SocketError::Answer(error.to_string()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_empty_directory_has_no_node() {
        let dir = tempfile::tempdir().unwrap();
        let error = request(dir.path(), &LocalRequest::Status)
            .await
            .unwrap_err();
        assert!(matches!(error, SocketError::NotRunning));
    }

    #[tokio::test]
    async fn a_data_directory_with_a_very_long_path_has_a_socket_too() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let socket = LocalSocket::bind(&deep).unwrap();
        let mode = std::fs::metadata(&socket.path)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let short = short_path(&deep).unwrap();
        UnixStream::connect(&short.path).await.unwrap();
    }
}
