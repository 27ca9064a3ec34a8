//! Golden vectors: bytes that every version must read, and this one must write.
//!
//! A vector is hexadecimal; `#` starts a comment. A new message type gets a vector; an existing vector changes only
//! together with the protocol's version.
#![allow(clippy::unwrap_used)]

use data_encoding::HEXLOWER;
use firmware_protocol::{
    Ack, Channel, Direction, FRAME_BYTES_MAX, FrameReader, Gap, GapReason, Header, Hello, Message,
    MessageType, ReadingBatch, SCHEMA_HASH, TAG_BYTES, encode_frame, encode_message,
};

fn vector(name: &str) -> Vec<u8> {
    let path = format!("{}/vectors/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let hex: String = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect();
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn header(direction: Direction, sequence: u32) -> Header {
    Header {
        message_type: MessageType(0),
        direction,
        key: 0,
        device: 0x1122_3344_5566_7788,
        boot: 2,
        sequence,
    }
}

#[track_caller]
fn check(name: &str, header: &Header, message: &Message) {
    let mut out = [0; FRAME_BYTES_MAX];
    let len = encode_message(header, message, &mut out).unwrap();
    let golden = vector(name);
    assert_eq!(
        HEXLOWER.encode(&out[..len]),
        HEXLOWER.encode(&golden),
        "{name}: written, golden"
    );

    let mut reader = FrameReader::new();
    let frame = reader.feed(&mut &golden[..]).unwrap().unwrap();
    assert_eq!(
        frame.header,
        Header {
            message_type: message.message_type(),
            ..*header
        }
    );
    assert_eq!(&frame.message().unwrap(), message, "{name}");
}

#[test]
fn hello() {
    let channel = |name: &str, unit: &str| Channel {
        name: name.try_into().unwrap(),
        unit: unit.try_into().unwrap(),
    };
    let hello = Hello {
        schema: SCHEMA_HASH,
        name: "gauge-7".try_into().unwrap(),
        firmware: "1.4.0".try_into().unwrap(),
        uptime_us: 1_500_000,
        oldest: 12,
        channels: [channel("level", "m"), channel("battery", "V")]
            .into_iter()
            .collect(),
    };
    check(
        "hello",
        &header(Direction::FromDevice, 0),
        &Message::Hello(hello),
    );
}

#[test]
fn reading_batch() {
    let mut batch = ReadingBatch::new(2, 300);
    batch.push(90_000_000, 0, 2.75).unwrap();
    batch.push(90_000_000, 1, 3.7).unwrap();
    batch.push(91_000_000, 0, -0.5).unwrap();
    check(
        "reading_batch",
        &header(Direction::FromDevice, 41),
        &Message::Readings(batch),
    );
}

#[test]
fn ack() {
    let ack = Ack {
        boot: 2,
        next: 303,
        credit: 500,
    };
    check("ack", &header(Direction::ToDevice, 7), &Message::Ack(ack));
}

#[test]
fn gap() {
    let gap = Gap {
        boot: 1,
        first: 70,
        count: 230,
        reason: GapReason::BUFFER_FULL,
    };
    check(
        "gap",
        &header(Direction::FromDevice, 42),
        &Message::Gap(gap),
    );
}

#[test]
fn tagged() {
    let header = Header {
        message_type: MessageType::ACK,
        key: 1,
        ..header(Direction::ToDevice, 8)
    };
    let (body, tag) = (
        [0xde, 0xad, 0x00, 0xbe, 0xef],
        core::array::from_fn(|i| u8::try_from(i).unwrap()),
    );
    let golden = vector("tagged");
    let mut out = [0; FRAME_BYTES_MAX];
    let len = encode_frame(&header, &body, Some(&tag), &mut out).unwrap();
    assert_eq!(
        HEXLOWER.encode(&out[..len]),
        HEXLOWER.encode(&golden),
        "written, golden"
    );

    let mut reader = FrameReader::new();
    let frame = reader.feed(&mut &golden[..]).unwrap().unwrap();
    assert_eq!(
        (frame.header, frame.body, frame.tag),
        (header, &body[..], Some(&tag))
    );
    assert_eq!(tag.len(), TAG_BYTES);
}

#[test]
fn every_vector_is_read_by_a_test() {
    let mut names: Vec<_> = std::fs::read_dir(format!("{}/vectors", env!("CARGO_MANIFEST_DIR")))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "ack.hex",
            "gap.hex",
            "hello.hex",
            "reading_batch.hex",
            "tagged.hex"
        ]
    );
}
