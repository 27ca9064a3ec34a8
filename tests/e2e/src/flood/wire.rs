//! The packets of MQTT 3.1.1 that a sensor in a hurry needs, built into one buffer for each burst.

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What the node says about one packet id; every such packet is four bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// PUBACK (§3.4) or PUBREC (§3.5): the message is the node's.
    Stored(u16),
    /// PUBCOMP (§3.7): the packet id is free again.
    Complete(u16),
}

/// One connection.
pub struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    read: Vec<u8>,
    held: usize,
}

impl Connection {
    /// Connects; the session outlives the connection where `clean` is not said (§3.1.2.4).
    ///
    /// # Errors
    /// Nobody listens, or the node refuses.
    pub async fn open(
        node: std::net::SocketAddr,
        client_id: &str,
        clean: bool,
    ) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(node).await?;
        stream.set_nodelay(true)?;
        let mut connection = Connection {
            stream,
            out: Vec::new(),
            read: vec![0; 16 * 1024],
            held: 0,
        };
        let mut body = b"\0\x04MQTT\x04".to_vec();
        body.extend([u8::from(clean) << 1, 0, 60]);
        push_string(&mut body, client_id)?;
        connection.packet(0x10, &body)?;
        connection.send().await?;
        let mut connack = [0; 4];
        connection.stream.read_exact(&mut connack).await?;
        ensure!(
            connack[0] == 0x20 && connack[3] == 0,
            "refused: {connack:?}"
        );
        Ok(connection)
    }

    /// Puts a PUBLISH into the buffer.
    ///
    /// # Errors
    /// It is too long for a packet of a test.
    pub fn publish(
        &mut self,
        qos: u8,
        again: bool,
        packet_id: u16,
        topic: &str,
        payload: &[u8],
    ) -> anyhow::Result<()> {
        let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
        push_string(&mut body, topic)?;
        body.extend(packet_id.to_be_bytes());
        body.extend(payload);
        self.packet(0x30 | u8::from(again) << 3 | qos << 1, &body)
    }

    /// Puts a PUBREL into the buffer (§3.6).
    pub fn release(&mut self, packet_id: u16) {
        self.out.extend([0x62, 2]);
        self.out.extend(packet_id.to_be_bytes());
    }

    /// Sends what is in the buffer.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self) -> anyhow::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }

    /// What the node has said since; waits until it says something.
    ///
    /// # Errors
    /// The connection is gone, or something else came.
    pub async fn answers(&mut self) -> anyhow::Result<Vec<Answer>> {
        loop {
            let n = self.stream.read(&mut self.read[self.held..]).await?;
            ensure!(n > 0, "the node closed the connection");
            self.held += n;
            let whole = self.held - self.held % 4;
            let answers = self.read[..whole].chunks_exact(4).map(answer).collect();
            self.read.copy_within(whole..self.held, 0);
            self.held -= whole;
            if whole > 0 {
                return answers;
            }
        }
    }

    fn packet(&mut self, header: u8, body: &[u8]) -> anyhow::Result<()> {
        self.out.push(header);
        let length = body.len();
        ensure!(length < 1 << 14, "{length} bytes in one packet");
        if length < 128 {
            self.out.push(u8::try_from(length)?);
        } else {
            self.out.extend([
                u8::try_from(length % 128)? | 0x80,
                u8::try_from(length / 128)?,
            ]);
        }
        self.out.extend(body);
        Ok(())
    }
}

fn answer(packet: &[u8]) -> anyhow::Result<Answer> {
    let id = u16::from_be_bytes([packet[2], packet[3]]);
    match packet[..2] {
        [0x40 | 0x50, 2] => Ok(Answer::Stored(id)),
        [0x70, 2] => Ok(Answer::Complete(id)),
        _ => bail!("expected an acknowledgement: {packet:?}"),
    }
}

fn push_string(body: &mut Vec<u8>, text: &str) -> anyhow::Result<()> {
    let length = u16::try_from(text.len()).context("a string of MQTT")?;
    body.extend(length.to_be_bytes());
    body.extend(text.as_bytes());
    Ok(())
}
