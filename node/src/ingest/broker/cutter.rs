//! Messages that are too large are cut on their way in, before the client takes packets apart.
//!
//! MQTT 3.1.1 lets a broker send 256 MiB in one packet and gives a client no way to ask for less. A client that refuses
//! such a packet ends the connection, gets the same packet in the next one, and never gets what waits behind it. So the
//! beginning is let through as a packet of its own, and the rest is passed over as it comes.
//!
//! Always holds: what goes out is whole packets again, none of which is larger than [`CUT_BYTES`]; packets of up to
//! [`WHOLE_BYTES_MAX`] go through as they are; nothing is held back but a header that has not come whole.

use bytes::{BufMut as _, BytesMut};

/// Remaining length (MQTT 3.1.1 §2.2.3) of a packet that goes through as it is: Zigbee2MQTT's list of devices has some
/// hundred KiB, and no decoder takes more than 64 KiB.
pub(super) const WHOLE_BYTES_MAX: usize = 1024 * 1024;
/// Remaining length of a PUBLISH that was cut. No whole one has it, which tells them apart.
pub(super) const CUT_BYTES: usize = WHOLE_BYTES_MAX + 1;
/// So often, in bytes that are passed over, the client is told that the broker is there: what the broker answers to a
/// PINGREQ meanwhile stands behind the rest of the packet, which may take longer than a keep-alive.
const SIGN_OF_LIFE_EVERY: usize = 64 * 1024;
/// PINGRESP (§3.13).
const SIGN_OF_LIFE: [u8; 2] = [0xd0, 0];
/// Type of a PUBLISH, in the upper half of a packet's first byte.
const PUBLISH: u8 = 3;
/// A packet's first byte and up to four of its length.
const HEADER_BYTES_MAX: usize = 5;

/// See the module. Bytes in, bytes out.
#[derive(Debug)]
pub(super) struct Cutter {
    place: Place,
}

/// Where in the broker's bytes it is.
#[derive(Debug)]
enum Place {
    Header {
        bytes: [u8; HEADER_BYTES_MAX],
        came: usize,
    },
    /// In what goes on, of which so much is left, and behind it so much that does not.
    Packet { left: usize, surplus: usize },
    /// In what does not go on, of which so much is left.
    Surplus { left: usize, to_sign_of_life: usize },
    /// No MQTT: the client may say so.
    Other,
}

const AT_HEADER: Place = Place::Header {
    bytes: [0; HEADER_BYTES_MAX],
    came: 0,
};

impl Cutter {
    pub(super) fn new() -> Self {
        Cutter { place: AT_HEADER }
    }

    /// Takes the broker's next bytes, and adds to `out` those that go on.
    pub(super) fn feed(&mut self, mut input: &[u8], out: &mut BytesMut) {
        while let Some(&first) = input.first() {
            match &mut self.place {
                Place::Header { bytes, came } => {
                    bytes[*came] = first;
                    *came += 1;
                    input = &input[1..];
                    if *came > 1 {
                        let header = *bytes;
                        let came = *came;
                        self.begin(&header[..came], out);
                    }
                }
                Place::Packet { left, surplus } => {
                    let (now, rest) = input.split_at(input.len().min(*left));
                    out.put_slice(now);
                    input = rest;
                    *left -= now.len();
                    if *left == 0 {
                        self.place = behind_packet(*surplus);
                    }
                }
                Place::Surplus {
                    left,
                    to_sign_of_life,
                } => {
                    let step = input.len().min(*left).min(*to_sign_of_life);
                    input = &input[step..];
                    *left -= step;
                    *to_sign_of_life -= step;
                    if *to_sign_of_life == 0 {
                        *to_sign_of_life = SIGN_OF_LIFE_EVERY;
                        out.put_slice(&SIGN_OF_LIFE);
                    }
                    if *left == 0 {
                        self.place = AT_HEADER;
                    }
                }
                Place::Other => {
                    out.put_slice(input);
                    return;
                }
            }
        }
    }

    /// So much of a header came: the packet begins if that is all of it.
    fn begin(&mut self, header: &[u8], out: &mut BytesMut) {
        let (first, length) = (header[0], &header[1..]);
        if length.last().is_some_and(|byte| byte & 0x80 != 0) {
            if header.len() == HEADER_BYTES_MAX {
                out.put_slice(header);
                self.place = Place::Other;
            }
            return;
        }
        let length = length
            .iter()
            .rev()
            .fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
        if first >> 4 == PUBLISH && length > WHOLE_BYTES_MAX {
            out.put_u8(first);
            put_length(CUT_BYTES, out);
            self.place = Place::Packet {
                left: CUT_BYTES,
                surplus: length - CUT_BYTES,
            };
            return;
        }
        out.put_slice(header);
        self.place = match length {
            0 => AT_HEADER,
            left => Place::Packet { left, surplus: 0 },
        };
    }
}

fn behind_packet(surplus: usize) -> Place {
    match surplus {
        0 => AT_HEADER,
        left => Place::Surplus {
            left,
            to_sign_of_life: SIGN_OF_LIFE_EVERY,
        },
    }
}

/// §2.2.3: seven bits a byte, the least significant first.
fn put_length(mut length: usize, out: &mut BytesMut) {
    while length > 0x7f {
        out.put_u8((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const PING: &[u8] = &[0xd0, 0];

    fn packet(first: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        bytes.put_u8(first);
        put_length(body.len(), &mut bytes);
        bytes.put_slice(body);
        bytes.to_vec()
    }

    /// Fed in pieces of these lengths, the last one with the rest.
    fn fed(bytes: &[u8], pieces: &[usize]) -> Vec<u8> {
        let (mut cutter, mut out, mut rest) = (Cutter::new(), BytesMut::new(), bytes);
        for piece in pieces {
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            cutter.feed(now, &mut out);
            rest = later;
        }
        cutter.feed(rest, &mut out);
        out.to_vec()
    }

    #[test]
    fn the_largest_whole_packet_goes_through_and_one_byte_more_is_cut() {
        let whole = packet(0x32, &vec![7; WHOLE_BYTES_MAX]);
        assert_eq!(fed(&whole, &[]), whole);
        let next = packet(0x30, b"\0\x01ab");
        for more in [1, 2, 5_000_000] {
            let body = vec![7; WHOLE_BYTES_MAX + more];
            let cut = fed(&[packet(0x32, &body), next.clone()].concat(), &[]);
            let (beginning, rest) = cut.split_at(1 + 3 + CUT_BYTES);
            assert!(beginning == packet(0x32, &body[..CUT_BYTES]), "{more}");
            let signs = (more - 1) / SIGN_OF_LIFE_EVERY;
            assert_eq!(rest, [PING.repeat(signs), next.clone()].concat(), "{more}");
        }
    }

    #[test]
    fn only_messages_are_cut() {
        let large = packet(0x90, &vec![0; WHOLE_BYTES_MAX + 1]);
        assert_eq!(fed(&large, &[]), large);
    }

    #[test]
    fn what_is_no_mqtt_is_left_to_the_client() {
        let noise = [&[0x30, 0xff, 0xff, 0xff, 0xff, 0x01][..], &[9; 100]].concat();
        assert_eq!(fed(&noise, &[]), noise);
    }

    proptest! {
        // Each is some megabytes, byte by byte where a header is.
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn how_the_bytes_arrive_changes_nothing(
            sizes in proptest::collection::vec(
                prop_oneof![0_usize..300, (WHOLE_BYTES_MAX - 2)..(WHOLE_BYTES_MAX + 200_000)], 1..4),
            pieces in proptest::collection::vec(1_usize..40_000, 0..60),
        ) {
            let bytes: Vec<u8> = sizes.iter().flat_map(|size| packet(0x30, &vec![1; *size])).collect();
            prop_assert!(fed(&bytes, &pieces) == fed(&bytes, &[]));
        }
    }
}
