//! A program of somebody else's, written against the wire format alone.

use std::net::SocketAddr;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use quinn::{Connection, ConnectionError, Endpoint, SendStream};
use sync_engine::NodeId;

use super::{any_port, client};
use crate::identity::{ALPN_SYNC, SERVER_NAME};

/// The server's verdict on a client comes after the client's handshake is complete: so long one waits for it.
const VERDICT: Duration = Duration::from_millis(150);
/// Longest wait for anything that a node owes its peer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The key that a client shows, and the one that it signs with: the same, unless it lies.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// Whom it says it is.
    pub node: NodeId,
    /// What it has.
    pub signs_with: &'a SigningKey,
}

impl<'a> Shown<'a> {
    /// An honest key.
    pub fn of(key: &'a SigningKey) -> Self {
        Self {
            node: NodeId(key.verifying_key().to_bytes()),
            signs_with: key,
        }
    }
}

/// One connection, and the socket it came from.
pub struct Foreign {
    endpoint: Endpoint,
    connection: Connection,
}

impl Foreign {
    /// Connects with the application protocol `alpn`.
    ///
    /// # Errors
    /// What the other end said, or that there is none.
    pub async fn dial(
        to: SocketAddr,
        shown: Option<Shown<'_>>,
        alpn: &[u8],
    ) -> Result<Self, String> {
        let endpoint = Endpoint::client(any_port()).map_err(|e| e.to_string())?;
        let connection = endpoint
            .connect_with(client(shown, alpn)?, to, SERVER_NAME)
            .map_err(|e| e.to_string())?
            .await
            .map_err(|e| e.to_string())?;
        match tokio::time::timeout(VERDICT, connection.closed()).await {
            Ok(error) => Err(error.to_string()),
            Err(_) => Ok(Self {
                endpoint,
                connection,
            }),
        }
    }

    /// Connects as the node of `key`, and begins the control stream as it should be begun.
    ///
    /// # Errors
    /// As [`Foreign::dial`].
    pub async fn greet(to: SocketAddr, key: &SigningKey) -> Result<(Self, ForeignStream), String> {
        let foreign = Self::dial(to, Some(Shown::of(key)), ALPN_SYNC).await?;
        let mut control = foreign.open().await?;
        // Stream kind, length, and a preface: boot 5, no addresses, and a field of a later version.
        control.write(&[0, 0, 0, 0, 3, 5, 0, 77]).await?;
        Ok((foreign, control))
    }

    /// Opens a stream without a byte on it.
    ///
    /// # Errors
    /// The connection is over.
    pub async fn open(&self) -> Result<ForeignStream, String> {
        let stream = self.connection.open_uni().await;
        stream.map(ForeignStream).map_err(|e| e.to_string())
    }

    /// Whether nobody has closed it.
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Closes it.
    pub fn close(&self) {
        self.connection.close(quinn::VarInt::from_u32(0), b"");
    }

    /// Waits until the other end closes it; the code and the words it gave.
    ///
    /// # Errors
    /// It did not, or it ended in another way.
    pub async fn closed(&self) -> Result<(u32, String), String> {
        match tokio::time::timeout(PATIENCE, self.connection.closed()).await {
            Ok(ConnectionError::ApplicationClosed(close)) => Ok((
                u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX),
                String::from_utf8_lossy(&close.reason).into_owned(),
            )),
            Ok(other) => Err(other.to_string()),
            Err(_) => Err("it is still open".into()),
        }
    }

    /// Goes on from another port, as a truck that changes networks.
    ///
    /// # Errors
    /// No socket.
    pub fn move_away(&self) -> Result<SocketAddr, String> {
        let socket = std::net::UdpSocket::bind(any_port()).map_err(|e| e.to_string())?;
        let addr = socket.local_addr().map_err(|e| e.to_string())?;
        self.endpoint.rebind(socket).map_err(|e| e.to_string())?;
        Ok(addr)
    }
}

/// One stream towards the node.
pub struct ForeignStream(SendStream);

impl ForeignStream {
    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The stream or its connection is over.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0.write_all(bytes).await.map_err(|e| e.to_string())
    }

    /// Writes one frame after its length.
    ///
    /// # Errors
    /// As [`ForeignStream::write`].
    pub async fn frame(&mut self, body: &[u8]) -> Result<(), String> {
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        self.write(&length.to_be_bytes()).await?;
        self.write(body).await
    }

    /// Waits until the other end says that it does not want this stream. False: it was read to its end.
    ///
    /// # Errors
    /// The connection is over, or nothing came.
    pub async fn declined(&self) -> Result<bool, String> {
        match tokio::time::timeout(PATIENCE, self.0.stopped()).await {
            Ok(Ok(code)) => Ok(code.is_some()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it was neither read nor declined".into()),
        }
    }
}
