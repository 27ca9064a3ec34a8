//! An MQTT 3.1.1 publisher that says exactly what was acknowledged; client libraries hide that.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

pub struct Publisher {
    read: OwnedReadHalf,
    write: BufWriter<OwnedWriteHalf>,
}

impl Publisher {
    /// Connects with a session that outlives the connection.
    ///
    /// # Errors
    /// Nobody listens, or the node refuses.
    pub async fn connect(node: SocketAddr, client_id: &str) -> anyhow::Result<Publisher> {
        let stream = TcpStream::connect(node).await?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        let mut publisher = Publisher {
            read,
            write: BufWriter::new(write),
        };
        // §3.1: protocol name, level 4, no flags (so no clean session), keep-alive 60 s
        let mut body = b"\0\x04MQTT\x04\0\0\x3c".to_vec();
        push_string(&mut body, client_id)?;
        publisher.packet(0x10, &body).await?;
        publisher.flush().await?;
        let mut connack = [0; 4];
        publisher.read.read_exact(&mut connack).await?;
        ensure!(
            connack[0] == 0x20 && connack[3] == 0,
            "refused: {connack:?}"
        );
        Ok(publisher)
    }

    /// Writes a PUBLISH with QoS 1 into the buffer; `flush` sends it.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        packet_id: u16,
        again: bool,
    ) -> anyhow::Result<()> {
        let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
        push_string(&mut body, topic)?;
        body.extend(packet_id.to_be_bytes());
        body.extend(payload);
        self.packet(if again { 0x3a } else { 0x32 }, &body).await
    }

    /// # Errors
    /// The connection is gone.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.write.flush().await?)
    }

    /// The packet id of the next PUBACK.
    ///
    /// # Errors
    /// The connection is gone, or something else came.
    pub async fn puback(&mut self) -> anyhow::Result<u16> {
        let mut packet = [0; 4];
        self.read.read_exact(&mut packet).await?;
        ensure!(packet[..2] == [0x40, 2], "expected a PUBACK: {packet:?}");
        Ok(u16::from_be_bytes([packet[2], packet[3]]))
    }

    /// `None` if no PUBACK comes for so long. The publisher must not be used for another one after half of one came.
    ///
    /// # Errors
    /// The connection is gone, or something else came.
    pub async fn puback_within(&mut self, time: Duration) -> anyhow::Result<Option<u16>> {
        match tokio::time::timeout(time, self.puback()).await {
            Ok(id) => id.map(Some),
            Err(_) => Ok(None),
        }
    }

    async fn packet(&mut self, header: u8, body: &[u8]) -> anyhow::Result<()> {
        self.write.write_u8(header).await?;
        let mut length = body.len();
        loop {
            let low = u8::try_from(length % 128)?;
            length /= 128;
            self.write
                .write_u8(if length > 0 { low | 0x80 } else { low })
                .await?;
            if length == 0 {
                break;
            }
        }
        Ok(self.write.write_all(body).await?)
    }
}

fn push_string(body: &mut Vec<u8>, text: &str) -> anyhow::Result<()> {
    body.extend(u16::try_from(text.len())?.to_be_bytes());
    body.extend(text.as_bytes());
    Ok(())
}
