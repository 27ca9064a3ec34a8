//! What a client's packets mean: the server's side of MQTT 3.1.1 and 5 as a value, without a socket or a clock.
//!
//! Invariant: nothing but CONNECT is understood before CONNECT was accepted, and nothing at all after an error.

use super::encode;
use super::frame::{self, Frame, FrameError, Publish, Version, packet_type};
use super::packets::{self, Ack, ConnectRequest, Goodbye, Subscribe, Unsubscribe};
use super::refusal::Refusal;

/// Longest client identifier. The standard asks for at least 23 bytes (§3.1.3.1); identifiers are keys in memory and
/// on disk, so they must end somewhere.
pub(super) const CLIENT_ID_BYTES_MAX: usize = 256;

/// What one packet asks of whoever drives the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// No whole packet is there.
    NeedMore,
    /// Decide about the client, then call [`Protocol::accept`] or [`Protocol::refuse`]. No packet is read in between.
    Connect(Box<ConnectRequest>),
    Publish(Publish<'a>),
    Puback(Ack),
    Pubrec(Ack),
    Pubrel(Ack),
    Pubcomp(Ack),
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    Ping,
    /// The client says goodbye (§3.14).
    Disconnect(Goodbye),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    AwaitingConnect,
    Deciding,
    Connected,
    Over,
}

/// One client's conversation.
#[derive(Debug)]
pub(super) struct Protocol {
    phase: Phase,
    version: Version,
    wants_words: bool,
    packet_bytes_max: usize,
    /// The largest that the client takes.
    peer_packet_bytes_max: usize,
}

impl Protocol {
    pub(super) fn new(packet_bytes_max: usize) -> Self {
        Protocol {
            phase: Phase::AwaitingConnect,
            version: Version::V3,
            wants_words: true,
            packet_bytes_max,
            peer_packet_bytes_max: usize::MAX,
        }
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// The largest packet that the client takes.
    pub(super) fn peer_packet_bytes_max(&self) -> usize {
        self.peer_packet_bytes_max
    }

    /// Reads the first packet of `buffer`; gives how many bytes it took and what is to be done.
    ///
    /// # Errors
    /// [`Refusal`]: tell the client with [`Protocol::refuse`], then close.
    pub(super) fn next<'a>(&mut self, buffer: &'a [u8]) -> Result<(usize, Step<'a>), Refusal> {
        let Some(frame) = frame::next_frame(buffer, self.packet_bytes_max)? else {
            return Ok((0, Step::NeedMore));
        };
        let step = match (self.phase, frame.packet_type()) {
            (Phase::Connected, packet_type::PUBLISH) => {
                Step::Publish(frame::publish(&frame, self.version)?)
            }
            (Phase::Connected, packet_type::CONNECT) => return Err(Refusal::ConnectTwice),
            (Phase::Connected, packet_type) => control(self.version, packet_type, frame.body)?,
            (Phase::AwaitingConnect, packet_type::CONNECT) => self.connect(&frame)?,
            (Phase::AwaitingConnect, _) => return Err(Refusal::ConnectMissing),
            (Phase::Deciding | Phase::Over, _) => return Ok((0, Step::NeedMore)),
        };
        Ok((frame.bytes.len(), step))
    }

    /// The CONNECT that [`Step::Connect`] gave is answered with an acceptance.
    pub(super) fn accept(&mut self) {
        self.phase = Phase::Connected;
    }

    /// Tells the client why it ends, in the way of its version and of how far it has come. Nothing may be written after.
    pub(super) fn refuse(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
        let words = refusal.to_string();
        let words = self.wants_words.then_some(words.as_str());
        match (self.phase, refusal.return_code(), self.version) {
            (Phase::Connected, ..) => self.say_goodbye(refusal.reason_code(), words, out),
            (Phase::AwaitingConnect | Phase::Deciding, Some(code), version) => {
                encode::push_connack_refusal(version, code, refusal.reason_code(), words, out);
            }
            (Phase::Deciding, None, Version::V5) => {
                encode::push_connack_refusal(Version::V5, 0, refusal.reason_code(), words, out);
            }
            _ => {}
        }
        self.phase = Phase::Over;
    }

    /// DISCONNECT with a reason, which MQTT 3.1.1 does not have.
    pub(super) fn say_goodbye(&mut self, reason_code: u8, words: Option<&str>, out: &mut Vec<u8>) {
        if self.version == Version::V5 && self.phase == Phase::Connected {
            // §3.14.2.2.3: not more words than fit the client's largest packet.
            let words = words.filter(|words| words.len() + 16 <= self.peer_packet_bytes_max);
            encode::push_disconnect(reason_code, words, out);
        }
        self.phase = Phase::Over;
    }

    fn connect(&mut self, frame: &Frame<'_>) -> Result<Step<'static>, Refusal> {
        let (version, bridge) = match frame::connect_protocol(frame.body) {
            Some((b"MQTT", 4)) => (Version::V3, false),
            // Mosquitto's bridges set the highest bit ("try_private") to say what they are.
            Some((b"MQTT", 0x84)) => (Version::V3, true),
            Some((b"MQTT", 5)) => (Version::V5, false),
            // MQTT 3.1 called itself MQIsdp. [MQTT-3.1.2-2]: a level that is not supported gets code 1, in the form
            // that clients of every version read.
            Some((b"MQTT" | b"MQIsdp", level)) => return Err(Refusal::ProtocolLevel(level)),
            Some(_) => return Err(Refusal::ProtocolName),
            None => return Err(Refusal::Connect("protocol name is cut off")),
        };
        self.version = version;
        self.phase = Phase::Deciding;
        let request = packets::connect(version, bridge, frame.body)?;
        self.wants_words = request.wants_words;
        self.peer_packet_bytes_max =
            usize::try_from(request.packet_bytes_max).unwrap_or(usize::MAX);
        if request.client_id.len() > CLIENT_ID_BYTES_MAX {
            return Err(Refusal::ClientId("it is too long"));
        }
        if version == Version::V3 && request.client_id.is_empty() && !request.clean_start {
            return Err(Refusal::ClientId("an empty one needs a clean session"));
        }
        Ok(Step::Connect(Box::new(request)))
    }
}

fn control(version: Version, packet_type: u8, body: &[u8]) -> Result<Step<'static>, Refusal> {
    Ok(match packet_type {
        packet_type::PUBACK => Step::Puback(packets::ack(version, body)?),
        packet_type::PUBREC => Step::Pubrec(packets::ack(version, body)?),
        packet_type::PUBREL => Step::Pubrel(packets::ack(version, body)?),
        packet_type::PUBCOMP => Step::Pubcomp(packets::ack(version, body)?),
        packet_type::SUBSCRIBE => Step::Subscribe(packets::subscribe(version, body)?),
        packet_type::UNSUBSCRIBE => Step::Unsubscribe(packets::unsubscribe(version, body)?),
        packet_type::PINGREQ if body.is_empty() => Step::Ping,
        packet_type::PINGREQ => return Err(Refusal::Malformed("PINGREQ")),
        packet_type::DISCONNECT => Step::Disconnect(packets::disconnect(version, body)?),
        other => return Err(Refusal::Frame(FrameError::PacketType(other))),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 64 * 1024;

    fn packet(header: u8, body: &[u8]) -> Vec<u8> {
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

    fn connect(level: u8, flags: u8, client_id: &str) -> Vec<u8> {
        let mut body = b"\0\x04MQTT".to_vec();
        body.extend([level, flags, 0, 30]);
        if level == 5 {
            body.push(0);
        }
        body.extend(u16::try_from(client_id.len()).unwrap().to_be_bytes());
        body.extend(client_id.as_bytes());
        packet(0x10, &body)
    }

    fn connected(level: u8) -> Protocol {
        let mut protocol = Protocol::new(MAX);
        let packet = connect(level, 0b10, "c");
        let (taken, step) = protocol.next(&packet).unwrap();
        assert_eq!(taken, packet.len());
        assert!(matches!(step, Step::Connect(_)));
        protocol.accept();
        protocol
    }

    #[test]
    fn control_packets_of_both_versions_are_understood() {
        for level in [4, 5] {
            let mut protocol = connected(level);
            assert_eq!(protocol.next(&[0xc0, 0]), Ok((2, Step::Ping)));
            let ack = Ack {
                packet_id: 258,
                reason_code: 0,
            };
            assert_eq!(protocol.next(&[0x62, 2, 1, 2]), Ok((4, Step::Pubrel(ack))));
            assert_eq!(protocol.next(&[0x40, 2, 1, 2]), Ok((4, Step::Puback(ack))));
            let properties: &[u8] = if level == 5 { &[0] } else { &[] };
            let body = [&[0, 7], properties, &[0, 1, b'a', 0, 0, 1, b'b', 2]].concat();
            let Ok((_, Step::Subscribe(subscribe))) = protocol.next(&packet(0x82, &body)) else {
                panic!("level {level}");
            };
            assert_eq!(subscribe.packet_id, 7);
            assert_eq!(subscribe.filters[1].filter, "b");
            assert_eq!(subscribe.filters[1].qos, 2);
            let body = [&[0, 8], properties, &[0, 1, b'a']].concat();
            assert!(matches!(
                protocol.next(&packet(0xa2, &body)),
                Ok((_, Step::Unsubscribe(Unsubscribe { packet_id: 8, .. })))
            ));
            assert_eq!(
                protocol.next(&[0xe0, 0]),
                Ok((2, Step::Disconnect(Goodbye::default())))
            );
        }
    }

    #[test]
    fn a_goodbye_of_version_5_may_ask_for_the_will_and_another_expiry() {
        let mut protocol = connected(5);
        let packet = [0xe0, 7, 4, 5, 0x11, 0, 0, 0, 9];
        let goodbye = Goodbye {
            with_will: true,
            session_expiry_s: Some(9),
        };
        assert_eq!(protocol.next(&packet), Ok((9, Step::Disconnect(goodbye))));
    }

    #[test]
    fn what_a_client_of_version_5_asks_for_is_read() {
        let mut body = b"\0\x04MQTT\x05\xee\0\x1e".to_vec();
        body.extend(b"\x0f\x11\0\0\0\x3c\x21\0\x05\x27\0\0\x04\0\x17\0");
        body.extend(b"\0\x01c\x0c\x18\0\0\0\x07\x02\0\0\0\x09\x01\x01");
        body.extend(b"\0\x01t\0\x02by\0\x01u\0\x01p");
        let packet = packet(0x10, &body);
        let mut protocol = Protocol::new(MAX);
        let Ok((_, Step::Connect(request))) = protocol.next(&packet) else {
            panic!("{:?}", protocol.next(&packet));
        };
        assert_eq!(request.session_expiry_s, 60);
        assert_eq!(request.receive_maximum, 5);
        assert_eq!(request.packet_bytes_max, 1024);
        assert!(!request.wants_words);
        let will = request.will.unwrap();
        assert_eq!((will.delay_s, will.expiry_s), (7, Some(9)));
        assert_eq!((will.qos, will.retain), (1, true));
        assert_eq!(will.properties, b"\x01\x01");
        let credentials = request.credentials.unwrap();
        assert_eq!(
            (credentials.name.as_str(), &credentials.secret[..]),
            ("u", &b"p"[..])
        );
    }

    #[test]
    fn a_second_connect_ends_the_connection() {
        assert_eq!(
            connected(4).next(&connect(4, 2, "c")),
            Err(Refusal::ConnectTwice)
        );
    }

    /// Feeds a CONNECT: what is sent back before the connection ends.
    fn refused(packet: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut protocol = Protocol::new(MAX);
        let refusal = protocol.next(packet).unwrap_err();
        protocol.refuse(&refusal, &mut out);
        out
    }

    #[test]
    fn other_protocol_levels_are_told_so_in_a_connack() {
        assert_eq!(refused(&connect(6, 2, "c")), [0x20, 2, 0, 1]);
        assert_eq!(refused(&connect(3, 2, "c")), [0x20, 2, 0, 1]);
        assert_eq!(
            refused(b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x1e\0\x01c"),
            [0x20, 2, 0, 1]
        );
        assert!(refused(b"\x10\x0d\0\x04HTTP\x04\x02\0\x1e\0\x01c").is_empty());
    }

    #[test]
    fn a_bridge_says_so_by_its_level() {
        let packet = connect(0x84, 2, "c");
        let mut protocol = Protocol::new(MAX);
        let Ok((_, Step::Connect(request))) = protocol.next(&packet) else {
            panic!("refused");
        };
        assert!(request.bridge);
    }

    #[test]
    fn an_empty_client_id_needs_a_clean_session_in_the_old_version() {
        assert_eq!(refused(&connect(4, 0, "")), [0x20, 2, 0, 2]);
        let long = "c".repeat(CLIENT_ID_BYTES_MAX + 1);
        assert_eq!(refused(&connect(4, 2, &long)), [0x20, 2, 0, 2]);
        let said = refused(&connect(5, 2, &long));
        assert_eq!((said[0], said[3]), (0x20, 0x85));
        for packet in [connect(4, 2, ""), connect(5, 0, "")] {
            assert!(matches!(
                Protocol::new(MAX).next(&packet),
                Ok((_, Step::Connect(_)))
            ));
        }
    }

    #[test]
    fn connect_flags_that_contradict_each_other_end_the_connection() {
        for flags in [0b0000_0011, 0b0001_1110, 0b0000_1010, 0b0010_0010] {
            assert!(refused(&connect(4, flags, "c")).is_empty(), "{flags:#b}");
            assert_eq!(refused(&connect(5, flags, "c"))[3], 0x81, "{flags:#b}");
        }
    }

    #[test]
    fn refusals_of_a_connected_client_are_said_in_version_5_only() {
        let mut out = Vec::new();
        connected(4).refuse(&Refusal::ConnectTwice, &mut out);
        assert!(out.is_empty());
        connected(5).refuse(&Refusal::ConnectTwice, &mut out);
        assert_eq!(out[0], 0xe0);
        assert_eq!(out[2], 0x82);
    }

    #[test]
    fn nothing_but_connect_is_understood_first() {
        for packet in [&[0xc0, 0][..], &[0x30, 4, 0, 1, b'a', b'1'], &[0xe0, 0]] {
            assert_eq!(
                Protocol::new(MAX).next(packet),
                Err(Refusal::ConnectMissing)
            );
            assert!(refused(packet).is_empty());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            greeted in proptest::sample::select(vec![0_u8, 4, 5]),
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            header in proptest::sample::select(
                vec![0x10_u8, 0x30, 0x32, 0x34, 0x82, 0xa2, 0xc0, 0xe0, 0x40, 0x50, 0x62, 0x70]
            ),
        ) {
            let mut protocol = if greeted > 0 { connected(greeted) } else { Protocol::new(MAX) };
            let packet = packet(header, &bytes);
            let mut rest = packet.as_slice();
            loop {
                match protocol.next(rest) {
                    Ok((_, Step::NeedMore | Step::Connect(_))) => break,
                    Ok((taken, _)) => rest = &rest[taken..],
                    Err(refusal) => {
                        protocol.refuse(&refusal, &mut Vec::new());
                        break;
                    }
                }
            }
        }
    }
}
