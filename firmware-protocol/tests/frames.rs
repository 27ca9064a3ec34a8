//! Frames survive noise, damage and being cut into pieces.
#![allow(clippy::unwrap_used)]

use firmware_protocol::{
    Ack, BODY_BYTES_MAX, BodyError, CHANNELS_MAX, Channel, Direction, EncodeError, FRAME_BYTES_MAX,
    FrameError, FrameReader, Gap, GapReason, Header, Hello, Message, MessageType, ReadingBatch,
    SAMPLES_MAX, SCHEMA_HASH, Sample, TAG_BYTES, encode_frame, encode_message,
};
use proptest::prelude::*;

fn header() -> Header {
    Header {
        message_type: MessageType::READINGS,
        direction: Direction::FromDevice,
        key: 0,
        device: 0x0102_0304_0506_0708,
        boot: 3,
        sequence: 9,
    }
}

fn framed(body: &[u8], tag: Option<&[u8; TAG_BYTES]>) -> Vec<u8> {
    let mut out = [0xAA; FRAME_BYTES_MAX];
    let len = encode_frame(&header(), body, tag, &mut out).unwrap();
    out[..len].to_vec()
}

/// Bodies of intact frames, and how many pieces were none.
fn read(reader: &mut FrameReader, mut input: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let (mut bodies, mut errors) = (Vec::new(), 0);
    while !input.is_empty() {
        match reader.feed(&mut input) {
            Some(Ok(frame)) => bodies.push(frame.body.to_vec()),
            Some(Err(_)) => errors += 1,
            None => {}
        }
    }
    (bodies, errors)
}

fn full_hello() -> Message {
    let channel = Channel {
        name: "c".repeat(24).as_str().try_into().unwrap(),
        unit: "u".repeat(16).as_str().try_into().unwrap(),
    };
    Message::Hello(Hello {
        schema: [0xFF; 8],
        name: "n".repeat(32).as_str().try_into().unwrap(),
        firmware: "f".repeat(24).as_str().try_into().unwrap(),
        uptime_us: u64::MAX,
        oldest: u32::MAX,
        channels: std::iter::repeat_n(channel, CHANNELS_MAX).collect(),
    })
}

fn full_batch() -> Message {
    let sample = Sample {
        channel: u8::MAX,
        after_us: u32::MAX,
        value: f64::MIN,
    };
    Message::Readings(ReadingBatch {
        boot: u32::MAX,
        first: u32::MAX,
        base_us: u64::MAX,
        samples: std::iter::repeat_n(sample, SAMPLES_MAX).collect(),
    })
}

#[test]
fn the_largest_message_of_each_kind_fits_into_a_frame() {
    let messages = [
        full_hello(),
        full_batch(),
        Message::Ack(Ack {
            boot: u32::MAX,
            next: u32::MAX,
            credit: u16::MAX,
        }),
        Message::Gap(Gap {
            boot: u32::MAX,
            first: u32::MAX,
            count: u32::MAX,
            reason: GapReason(u8::MAX),
        }),
    ];
    for message in messages {
        let mut out = [0; FRAME_BYTES_MAX];
        let len = encode_message(&header(), &message, &mut out).unwrap();
        let mut reader = FrameReader::new();
        let frame = reader.feed(&mut &out[..len]).unwrap().unwrap();
        assert_eq!(frame.message().unwrap(), message);
        assert_eq!(
            frame.header,
            Header {
                message_type: message.message_type(),
                ..header()
            }
        );
    }
}

#[test]
fn a_frame_on_the_wire_is_at_most_512_bytes() {
    let frame = framed(&[1; BODY_BYTES_MAX], Some(&[2; TAG_BYTES]));
    assert_eq!(frame.len(), FRAME_BYTES_MAX);
    assert_eq!(FRAME_BYTES_MAX, 512);
    assert_eq!(
        encode_frame(&header(), &[1; BODY_BYTES_MAX + 1], None, &mut [0; 1024]),
        Err(EncodeError::BodyTooLong)
    );
    assert_eq!(
        encode_frame(&header(), &[1; 8], None, &mut [0; 30]),
        Err(EncodeError::BufferTooSmall)
    );
    assert_eq!(
        encode_frame(&header(), &[1; 8], None, &mut []),
        Err(EncodeError::BufferTooSmall)
    );
}

#[test]
fn a_zero_stands_at_both_ends_and_nowhere_else() {
    let frame = framed(&[0; 40], None);
    assert_eq!((frame[0], frame[frame.len() - 1]), (0, 0));
    assert!(frame[1..frame.len() - 1].iter().all(|&b| b != 0));
}

#[test]
fn a_tagged_frame_keeps_its_tag_and_does_not_pass_as_a_message() {
    let bytes = framed(&[1, 2, 3], Some(&[7; TAG_BYTES]));
    let mut reader = FrameReader::new();
    let frame = reader.feed(&mut &bytes[..]).unwrap().unwrap();
    assert_eq!(
        (frame.body, frame.tag),
        (&[1, 2, 3][..], Some(&[7; TAG_BYTES]))
    );
    assert_eq!(frame.message(), Err(BodyError::Tagged));
}

#[test]
fn any_single_flipped_bit_is_noticed() {
    let good = framed(b"water 2.75 m, rising", None);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let (bodies, _) = read(&mut FrameReader::new(), &bad);
        // The outer zeros are not part of the frame: a flipped one at the front makes noise that the CRC finds.
        assert!(bodies.is_empty(), "bit {bit} went unnoticed");
    }
}

#[test]
fn an_unknown_version_is_told_from_noise() {
    let good = framed(&[], None);
    let mut raw = good[1..good.len() - 1].to_vec();
    let len = cobs_decode(&mut raw);
    raw.truncate(len - 4);
    raw[0] = 9;
    let checksum = crc32(&raw);
    raw.extend_from_slice(&checksum.to_le_bytes());
    let mut reader = FrameReader::new();
    let bytes = cobs_encode(&raw);
    assert_eq!(
        reader.feed(&mut &bytes[..]).unwrap(),
        Err(FrameError::Version { found: 9 })
    );
}

#[test]
fn a_later_message_type_is_an_intact_frame() {
    let mut out = [0; FRAME_BYTES_MAX];
    let header = Header {
        message_type: MessageType(200),
        ..header()
    };
    let len = encode_frame(&header, &[1], None, &mut out).unwrap();
    let mut reader = FrameReader::new();
    let frame = reader.feed(&mut &out[..len]).unwrap().unwrap();
    assert_eq!(frame.message(), Err(BodyError::UnknownType { found: 200 }));
}

#[test]
fn a_body_with_bytes_left_over_is_refused() {
    let mut body = [0; 16];
    let ack = Message::Ack(Ack {
        boot: 1,
        next: 2,
        credit: 3,
    });
    let len = ack.encode(&mut body).unwrap().len();
    assert_eq!(Message::decode(MessageType::ACK, &body[..len]), Ok(ack));
    assert_eq!(
        Message::decode(MessageType::ACK, &body[..len + 1]),
        Err(BodyError::TrailingBytes { bytes: 1 })
    );
    assert_eq!(
        Message::decode(MessageType::ACK, &body[..len - 1]),
        Err(BodyError::Malformed { message_type: 3 })
    );
}

#[test]
fn a_batch_numbers_and_times_its_readings() {
    let mut batch = ReadingBatch::new(4, 100);
    batch.push(5_000_000, 0, 1.5).unwrap();
    batch.push(5_000_000, 1, 7.0).unwrap();
    batch.push(6_000_000, 0, 1.75).unwrap();
    assert!(
        batch.push(5_999_999, 0, 0.0).is_err(),
        "older than the one before"
    );
    assert!(
        batch.push(6_000_000 + (1 << 32), 0, 0.0).is_err(),
        "too far from the one before"
    );
    let readings: Vec<_> = batch
        .readings()
        .map(|r| (r.sequence, r.at_us, r.channel, r.value))
        .collect();
    assert_eq!(
        readings,
        [
            (100, 5_000_000, 0, 1.5),
            (101, 5_000_000, 1, 7.0),
            (102, 6_000_000, 0, 1.75)
        ]
    );
    for _ in 3..SAMPLES_MAX {
        batch.push(6_000_000, 0, 1.0).unwrap();
    }
    assert!(batch.push(6_000_000, 0, 1.0).is_err(), "full");
}

#[test]
fn a_hostile_batch_cannot_wrap_into_other_numbers() {
    let Message::Readings(batch) = full_batch() else {
        unreachable!()
    };
    assert!(
        batch
            .readings()
            .all(|r| r.sequence == u32::MAX && r.at_us == u64::MAX)
    );
}

#[test]
fn the_schema_hash_changes_only_on_purpose() {
    assert_eq!(u64::from_le_bytes(SCHEMA_HASH), 0x8af6_d0e0_ef7d_0f19);
}

#[test]
fn a_reader_in_the_middle_of_endless_noise_finds_the_next_frame() {
    let mut reader = FrameReader::new();
    assert_eq!(read(&mut reader, &[0x55; 5000]), (vec![], 0));
    assert_eq!(
        read(&mut reader, &framed(b"here", None)),
        (vec![b"here".to_vec()], 1)
    );
    assert_eq!((reader.counts().frames, reader.counts().errors), (1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_panics_and_the_frame_after_it_is_found(
        noise in proptest::collection::vec(any::<u8>(), 0..1500),
        body in proptest::collection::vec(any::<u8>(), 0..=BODY_BYTES_MAX),
    ) {
        let mut reader = FrameReader::new();
        let mut stream = noise;
        stream.extend(framed(&body, None));
        let (bodies, _) = read(&mut reader, &stream);
        prop_assert_eq!(bodies.last(), Some(&body));
    }

    #[test]
    fn a_frame_cut_short_costs_only_itself(body in proptest::collection::vec(any::<u8>(), 0..100), cut in any::<prop::sample::Index>()) {
        let whole = framed(&body, None);
        // Cut before the last byte of its content: without only its closing zero it would still be whole.
        let mut stream = whole[..cut.index(whole.len() - 1)].to_vec();
        stream.extend(&whole);
        let (bodies, _) = read(&mut FrameReader::new(), &stream);
        prop_assert_eq!(bodies, vec![body]);
    }

    #[test]
    fn the_size_of_the_pieces_does_not_matter(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..6),
        piece in 1_usize..700,
    ) {
        let stream: Vec<u8> = bodies.iter().flat_map(|b| framed(b, Some(&[0; TAG_BYTES]))).collect();
        let mut reader = FrameReader::new();
        let mut seen = Vec::new();
        for part in stream.chunks(piece) {
            let (more, errors) = read(&mut reader, part);
            prop_assert_eq!(errors, 0);
            seen.extend(more);
        }
        prop_assert_eq!(seen, bodies);
    }

    #[test]
    fn bodies_never_panic(message_type in any::<u8>(), body in proptest::collection::vec(any::<u8>(), 0..=BODY_BYTES_MAX)) {
        if let Ok(Message::Readings(batch)) = Message::decode(MessageType(message_type), &body) {
            prop_assert!(batch.readings().count() <= SAMPLES_MAX);
        }
    }
}

// An implementation of COBS and CRC-32 apart from the crates', so that the tests do not agree with themselves.

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |c, _| {
            if c & 1 == 1 {
                (c >> 1) ^ 0xEDB8_8320
            } else {
                c >> 1
            }
        })
    })
}

fn cobs_encode(raw: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    for block in raw.split(|&b| b == 0) {
        assert!(block.len() < 254, "long blocks are not needed here");
        out.push(u8::try_from(block.len() + 1).unwrap());
        out.extend_from_slice(block);
    }
    out.push(0);
    out
}

fn cobs_decode(bytes: &mut [u8]) -> usize {
    let (mut read, mut written) = (0, 0);
    while read < bytes.len() {
        let code = usize::from(bytes[read]);
        bytes.copy_within(read + 1..read + code, written);
        written += code - 1;
        read += code;
        if read < bytes.len() {
            bytes[written] = 0;
            written += 1;
        }
    }
    written
}
