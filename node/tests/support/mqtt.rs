//! An MQTT client that writes exactly what a test says, and the packets of both versions as bytes.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Node, WAIT};

/// An MQTT client that writes exactly what a test says.
pub struct Raw {
    pub stream: TcpStream,
}

pub struct Connect<'a> {
    pub client_id: &'a str,
    pub clean: bool,
    pub keep_alive_s: u16,
    pub will: Option<(&'a str, &'a str)>,
}

impl Default for Connect<'_> {
    fn default() -> Self {
        Connect {
            client_id: "raw",
            clean: false,
            keep_alive_s: 60,
            will: None,
        }
    }
}

impl Raw {
    /// Connects; gives the client and whether the session was present.
    pub async fn connect(node: &Node, connect: Connect<'_>) -> (Raw, bool) {
        Raw::connect_to(node.mqtt, connect).await
    }

    /// The same by address.
    pub async fn connect_to(address: SocketAddr, connect: Connect<'_>) -> (Raw, bool) {
        let mut raw = Raw::open_to(address).await;
        raw.send(&connect_packet(4, &connect)).await;
        let connack = raw.read::<4>().await;
        assert_eq!(
            [connack[0], connack[1], connack[3]],
            [0x20, 2, 0],
            "{connack:?}"
        );
        (raw, connack[2] == 1)
    }

    /// A TCP connection without CONNECT.
    pub async fn open(node: &Node) -> Raw {
        Raw::open_to(node.mqtt).await
    }

    async fn open_to(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Raw { stream }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The same to a node that may have closed already.
    pub async fn send_some(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    pub async fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        tokio::time::timeout(WAIT, self.stream.read_exact(&mut bytes))
            .await
            .expect("an answer in time")
            .expect("an answer before the end");
        bytes
    }

    /// Publishes with QoS 1 and waits for the PUBACK.
    pub async fn publish(&mut self, topic: &str, payload: &[u8], packet_id: u16, dup: bool) {
        self.send(&publish_packet(topic, payload, Some((packet_id, dup))))
            .await;
        self.puback(packet_id).await;
    }

    pub async fn puback(&mut self, packet_id: u16) {
        let [high, low] = packet_id.to_be_bytes();
        assert_eq!(self.read::<4>().await, [0x40, 2, high, low]);
    }

    /// Connects with MQTT 5; gives the client and the whole body of the CONNACK.
    pub async fn connect5(node: &Node, connect: Connect5<'_>) -> (Raw, Vec<u8>) {
        let mut raw = Raw::open(node).await;
        raw.send(&connect5_packet(&connect)).await;
        let (header, body) = raw.packet().await;
        assert_eq!(header, 0x20, "{body:?}");
        (raw, body)
    }

    /// The next whole packet: its first byte and its body.
    pub async fn packet(&mut self) -> (u8, Vec<u8>) {
        let [header] = self.read::<1>().await;
        let (mut length, mut shift) = (0, 0);
        loop {
            let [byte] = self.read::<1>().await;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        tokio::time::timeout(WAIT, self.stream.read_exact(&mut body))
            .await
            .expect("a whole packet in time")
            .expect("a whole packet before the end");
        (header, body)
    }

    /// Nothing comes for a while.
    pub async fn nothing_comes(&mut self) {
        let mut byte = [0];
        let read = self.stream.read(&mut byte);
        let came = tokio::time::timeout(Duration::from_millis(150), read).await;
        assert!(came.is_err(), "{byte:?} came");
    }

    /// Subscribes by MQTT 3.1.1; gives the return code.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        let mut body = vec![0, 77];
        push_string(&mut body, filter);
        body.push(qos);
        self.send(&packet(0x82, &body)).await;
        let (header, body) = self.packet().await;
        assert_eq!((header, &body[..2]), (0x90, &[0, 77][..]));
        body[2]
    }

    /// Subscribes by MQTT 5; gives the reason code.
    pub async fn subscribe5(&mut self, filter: &str, options: u8) -> u8 {
        let mut body = vec![0, 77, 0];
        push_string(&mut body, filter);
        body.push(options);
        self.send(&packet(0x82, &body)).await;
        let (header, body) = self.packet().await;
        assert_eq!((header, &body[..3]), (0x90, &[0, 77, 0][..]));
        body[3]
    }

    /// Publishes with QoS 2 and waits for PUBREC.
    pub async fn publish2(&mut self, topic: &str, payload: &[u8], packet_id: u16) {
        let mut body = Vec::new();
        push_string(&mut body, topic);
        body.extend(packet_id.to_be_bytes());
        body.extend(payload);
        self.send(&packet(0x34, &body)).await;
        let [high, low] = packet_id.to_be_bytes();
        assert_eq!(self.read::<4>().await, [0x50, 2, high, low]);
    }

    /// Releases a message of QoS 2 and waits for PUBCOMP.
    pub async fn release(&mut self, packet_id: u16) {
        let [high, low] = packet_id.to_be_bytes();
        self.send(&[0x62, 2, high, low]).await;
        assert_eq!(self.read::<4>().await, [0x70, 2, high, low]);
    }

    /// Says goodbye.
    pub async fn disconnect(mut self) {
        self.send(&[0xe0, 0]).await;
        self.closed().await;
    }

    /// Waits until the node closes the connection; gives what it sent before.
    pub async fn closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match tokio::time::timeout(WAIT, self.stream.read_to_end(&mut rest)).await {
            Ok(Ok(_)) => rest,
            // The node closed while bytes of ours were on their way.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => rest,
            other => panic!("the connection was not closed: {other:?}"),
        }
    }
}

/// A CONNECT of MQTT 5.
#[derive(Debug, Clone, Copy)]
pub struct Connect5<'a> {
    pub client_id: &'a str,
    pub clean_start: bool,
    pub keep_alive_s: u16,
    pub properties: &'a [u8],
    pub credentials: Option<(&'a str, &'a str)>,
    /// Properties, topic, payload.
    pub will: Option<(&'a [u8], &'a str, &'a str)>,
}

impl Default for Connect5<'_> {
    fn default() -> Self {
        Connect5 {
            client_id: "five",
            clean_start: false,
            keep_alive_s: 60,
            properties: &[],
            credentials: None,
            will: None,
        }
    }
}

pub fn connect5_packet(connect: &Connect5<'_>) -> Vec<u8> {
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let mut body = b"\0\x04MQTT\x05".to_vec();
    body.push(
        flag(connect.clean_start, 2)
            | flag(connect.will.is_some(), 4)
            | flag(connect.credentials.is_some(), 0xc0),
    );
    body.extend(connect.keep_alive_s.to_be_bytes());
    body.push(u8::try_from(connect.properties.len()).unwrap());
    body.extend(connect.properties);
    push_string(&mut body, connect.client_id);
    if let Some((properties, topic, payload)) = connect.will {
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend(properties);
        push_string(&mut body, topic);
        push_string(&mut body, payload);
    }
    if let Some((name, password)) = connect.credentials {
        push_string(&mut body, name);
        push_string(&mut body, password);
    }
    packet(0x10, &body)
}

/// A PUBLISH of MQTT 5 with properties.
pub fn publish5_packet(
    header: u8,
    topic: &str,
    packet_id: u16,
    properties: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = Vec::new();
    push_string(&mut body, topic);
    if header & 0b110 != 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.push(u8::try_from(properties.len()).unwrap());
    body.extend(properties);
    body.extend(payload);
    packet(header, &body)
}

pub fn push_string(body: &mut Vec<u8>, text: &str) {
    body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend(text.as_bytes());
}

pub fn connect_packet(level: u8, connect: &Connect<'_>) -> Vec<u8> {
    let mut body = b"\0\x04MQTT".to_vec();
    let flags = if connect.clean { 2 } else { 0 } | if connect.will.is_some() { 4 } else { 0 };
    body.extend([level, flags]);
    body.extend(connect.keep_alive_s.to_be_bytes());
    if level == 5 {
        body.push(0);
    }
    let string = |body: &mut Vec<u8>, text: &str| {
        body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        body.extend(text.as_bytes());
    };
    string(&mut body, connect.client_id);
    if let Some((topic, payload)) = connect.will {
        string(&mut body, topic);
        string(&mut body, payload);
    }
    packet(0x10, &body)
}

/// QoS 1 with a packet id and a DUP mark, else QoS 0.
pub fn publish_packet(topic: &str, payload: &[u8], qos1: Option<(u16, bool)>) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    let header = match qos1 {
        Some((packet_id, dup)) => {
            body.extend(packet_id.to_be_bytes());
            0x32 | if dup { 8 } else { 0 }
        }
        None => 0x30,
    };
    body.extend(payload);
    packet(header, &body)
}

pub fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![header];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length % 128).unwrap();
        length /= 128;
        packet.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

pub fn named(client_id: &str) -> Connect<'_> {
    Connect {
        client_id,
        ..Connect::default()
    }
}

/// A session of MQTT 5 that outlives its connection by an hour.
pub fn lasting(client_id: &str) -> Connect5<'_> {
    Connect5 {
        client_id,
        properties: b"\x11\0\0\x0e\x10",
        ..Connect5::default()
    }
}

pub fn is_present(connack: &[u8]) -> bool {
    assert_eq!(connack[1], 0, "{connack:?}");
    connack[0] == 1
}

/// Takes a PUBLISH of QoS 1 or 2 of MQTT 3.1.1 apart: first byte, topic, packet id, payload.
pub fn message(packet: (u8, Vec<u8>)) -> (u8, String, u16, Vec<u8>) {
    let (header, body) = packet;
    assert_eq!(header >> 4, 3, "{header:#x} {body:?}");
    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..end].to_vec()).unwrap();
    if header & 0b110 == 0 {
        return (header, topic, 0, body[end..].to_vec());
    }
    let packet_id = u16::from_be_bytes([body[end], body[end + 1]]);
    (header, topic, packet_id, body[end + 2..].to_vec())
}

pub async fn acknowledge(raw: &mut Raw, header: u8, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    raw.send(&[header, 2, high, low]).await;
}
