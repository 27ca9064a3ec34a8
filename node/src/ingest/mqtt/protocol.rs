//! What a client's packets mean: the server's side of MQTT 3.1.1 as a value, without a socket or a clock.
//!
//! `mqtt-protocol-core` reads and writes every packet but PUBLISH (see [`super::frame`]) with automatic answers off,
//! so that a PUBACK can wait for the commit. What this endpoint does not do yet is refused in the way that the
//! standard has for it: SUBSCRIBE gets failure codes, QoS 2 closes the connection.
//!
//! Invariant: nothing but CONNECT is understood before CONNECT was accepted, and nothing at all after an error.

use mqtt_protocol_core::mqtt::{
    Connection, Version,
    common::Cursor,
    connection::{ConnectionOptions, Event},
    packet::{GenericPacketTrait as _, Packet, v3_1_1},
    result_code::{ConnectReturnCode, MqttError, SubackReturnCode},
    role::Server,
};
use thiserror::Error;

use super::frame::{self, Frame, FrameError, Publish, Qos, packet_type};

/// Longest client identifier. The standard asks for at least 23 bytes (§3.1.3.1); identifiers are keys in memory and
/// on disk, so they must end somewhere.
pub(super) const CLIENT_ID_BYTES_MAX: usize = 256;

/// Why a connection ends. None of them is a fault of this node.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the first packet is not CONNECT")]
    ConnectMissing,
    #[error("a second CONNECT on one connection")]
    ConnectTwice,
    #[error("the protocol is not MQTT")]
    ProtocolName,
    #[error("protocol level {0}: this endpoint speaks MQTT 3.1.1 (level 4)")]
    ProtocolLevel(u8),
    #[error("malformed CONNECT: {0}")]
    Connect(&'static str),
    #[error("client identifier refused: {0}")]
    ClientId(&'static str),
    #[error(
        "anonymous publishers are accepted only from this machine (mqtt_anonymous_anywhere in muster.toml changes that)"
    )]
    NotAuthorized,
    #[error("QoS 2 is not supported yet: publish with QoS 1")]
    ExactlyOnce,
    #[error("{0}")]
    Core(MqttError),
}

/// A client that wants to publish when the connection breaks (§3.1.2.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Will {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

/// An acceptable CONNECT; [`Protocol::accept`] answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConnectRequest {
    /// Empty only with `clean_session`.
    pub(super) client_id: String,
    pub(super) clean_session: bool,
    /// 0: none.
    pub(super) keep_alive_s: u16,
    pub(super) will: Option<Will>,
}

/// What one packet asks of whoever drives the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// No whole packet is there.
    NeedMore,
    /// Decide about the client, then call [`Protocol::accept`]. No packet is read in between.
    Connect(ConnectRequest),
    Publish(Publish<'a>),
    /// Nothing, or only that what was appended to `out` is sent.
    Answered,
    /// The client says goodbye (§3.14); its will must not be published.
    Disconnect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    AwaitingConnect,
    Deciding,
    Connected,
}

/// One client's conversation.
pub(super) struct Protocol {
    core: Connection<Server>,
    phase: Phase,
    packet_bytes_max: usize,
}

impl Protocol {
    pub(super) fn new(packet_bytes_max: usize) -> Self {
        let options = ConnectionOptions::new()
            .maximum_packet_size_recv(u32::try_from(packet_bytes_max).unwrap_or(u32::MAX));
        Protocol {
            core: Connection::with_options(Version::V3_1_1, options),
            phase: Phase::AwaitingConnect,
            packet_bytes_max,
        }
    }

    /// Reads the first packet of `buffer`; gives how many bytes it took and what is to be done. Answers are appended
    /// to `out`, also with a [`Refusal`]: send them, then close.
    ///
    /// # Errors
    /// [`Refusal`]; the protocol must not be used any more.
    pub(super) fn next<'a>(
        &mut self,
        buffer: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, Step<'a>), Refusal> {
        let Some(frame) = frame::next_frame(buffer, self.packet_bytes_max)? else {
            return Ok((0, Step::NeedMore));
        };
        let step = match (self.phase, frame.packet_type()) {
            (Phase::Connected, packet_type::PUBLISH) => {
                let publish = frame::publish(&frame)?;
                if publish.qos == Qos::Two {
                    return Err(Refusal::ExactlyOnce);
                }
                Step::Publish(publish)
            }
            (Phase::Connected, packet_type::CONNECT) => return Err(Refusal::ConnectTwice),
            (Phase::Connected, _) => self.control(&frame, out)?,
            (Phase::AwaitingConnect, packet_type::CONNECT) => self.connect(&frame, out)?,
            (Phase::AwaitingConnect, _) => return Err(Refusal::ConnectMissing),
            (Phase::Deciding, _) => return Ok((0, Step::NeedMore)),
        };
        Ok((frame.bytes.len(), step))
    }

    /// Answers the CONNECT that [`Step::Connect`] gave.
    pub(super) fn accept(&mut self, session_present: bool, out: &mut Vec<u8>) {
        self.connack(ConnectReturnCode::Accepted, session_present, out);
        self.phase = Phase::Connected;
    }

    /// Refuses it as not authorised (§3.2.2.3 code 5).
    pub(super) fn refuse_unauthorised(&mut self, out: &mut Vec<u8>) -> Refusal {
        self.connack(ConnectReturnCode::NotAuthorized, false, out);
        Refusal::NotAuthorized
    }

    fn connect(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<Step<'static>, Refusal> {
        match frame::connect_protocol(frame.body) {
            Some((b"MQTT", 4)) => {}
            // MQTT 3.1 called itself MQIsdp. [MQTT-3.1.2-2]: a level that is not supported gets code 1, in the form
            // that clients of every version read.
            Some((b"MQTT" | b"MQIsdp", level)) => {
                push_connack(ConnectReturnCode::UnacceptableProtocolVersion, out);
                return Err(Refusal::ProtocolLevel(level));
            }
            Some(_) => return Err(Refusal::ProtocolName),
            None => return Err(Refusal::Connect("protocol name is cut off")),
        }
        check_connect_flags(frame.body)?;
        match self.receive(frame, out)? {
            Some(Packet::V3_1_1Connect(connect)) => {
                let client_id = connect.client_id();
                let reason = if client_id.len() > CLIENT_ID_BYTES_MAX {
                    Some("it is too long")
                } else if client_id.is_empty() && !connect.clean_session() {
                    Some("an empty one needs a clean session")
                } else {
                    None
                };
                if let Some(reason) = reason {
                    self.connack(ConnectReturnCode::IdentifierRejected, false, out);
                    return Err(Refusal::ClientId(reason));
                }
                self.phase = Phase::Deciding;
                Ok(Step::Connect(ConnectRequest {
                    client_id: client_id.to_owned(),
                    clean_session: connect.clean_session(),
                    keep_alive_s: connect.keep_alive(),
                    will: connect.will_topic().map(|topic| Will {
                        topic: topic.to_owned(),
                        payload: connect.will_payload().unwrap_or_default().to_vec(),
                    }),
                }))
            }
            _ => Err(Refusal::Connect("unreadable")),
        }
    }

    fn control(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<Step<'static>, Refusal> {
        match self.receive(frame, out)? {
            Some(Packet::V3_1_1Pingreq(_)) => {
                self.send(Packet::V3_1_1Pingresp(v3_1_1::Pingresp::new()), out);
            }
            Some(Packet::V3_1_1Subscribe(subscribe)) => {
                // [MQTT-3.8.4-5]: one return code per filter; 0x80 says that the server does not serve it.
                let answer = v3_1_1::Suback::builder()
                    .packet_id(subscribe.packet_id())
                    .return_codes(vec![SubackReturnCode::Failure; subscribe.entries().len()])
                    .build()
                    .map_err(Refusal::Core)?;
                self.send(Packet::V3_1_1Suback(answer), out);
            }
            Some(Packet::V3_1_1Unsubscribe(unsubscribe)) => {
                let answer = v3_1_1::Unsuback::builder()
                    .packet_id(unsubscribe.packet_id())
                    .build()
                    .map_err(Refusal::Core)?;
                self.send(Packet::V3_1_1Unsuback(answer), out);
            }
            Some(Packet::V3_1_1Disconnect(_)) => return Ok(Step::Disconnect),
            // Acknowledgements of messages that we never sent: nothing to do, and no reason to part.
            _ => {}
        }
        Ok(Step::Answered)
    }

    /// Gives one whole packet to the core. A packet that it refuses ends the connection.
    fn receive(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<Option<Packet>, Refusal> {
        let mut received = None;
        let mut error = None;
        for event in self.core.recv(&mut Cursor::new(frame.bytes)) {
            match event {
                Event::NotifyPacketReceived(packet) => received = Some(packet),
                Event::RequestSendPacket { packet, .. } => {
                    out.extend(packet.to_continuous_buffer())
                }
                Event::NotifyError(e) => error = Some(e),
                Event::RequestClose => error = error.or(Some(MqttError::ProtocolError)),
                // Timers are the connection's: it knows when it reads and when it deliberately does not.
                Event::NotifyPacketIdReleased(_)
                | Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_) => {}
            }
        }
        match error {
            Some(e) => Err(Refusal::Core(e)),
            None => Ok(received),
        }
    }

    fn send(&mut self, packet: Packet, out: &mut Vec<u8>) {
        for event in self.core.send(packet) {
            if let Event::RequestSendPacket { packet, .. } = event {
                out.extend(packet.to_continuous_buffer());
            }
        }
    }

    fn connack(&mut self, code: ConnectReturnCode, session_present: bool, out: &mut Vec<u8>) {
        match v3_1_1::Connack::builder()
            .return_code(code)
            .session_present(session_present)
            .build()
        {
            Ok(packet) => self.send(Packet::V3_1_1Connack(packet), out),
            Err(e) => tracing::error!(error = %e, "could not build a CONNACK"),
        }
    }
}

/// Appends PUBACKs (§3.4) in the order given.
pub(super) fn push_pubacks(packet_ids: &[u16], out: &mut Vec<u8>) {
    out.reserve(packet_ids.len() * 4);
    for id in packet_ids {
        let [high, low] = id.to_be_bytes();
        out.extend_from_slice(&[0x40, 2, high, low]);
    }
}

/// A refusal before the core has seen a CONNECT, §3.2.
fn push_connack(code: ConnectReturnCode, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x20, 2, 0, code as u8]);
}

/// §3.1.2.3–9, which the core leaves to its user.
fn check_connect_flags(body: &[u8]) -> Result<(), Refusal> {
    let Some(&flags) = body.get(7) else {
        return Err(Refusal::Connect("flags are cut off"));
    };
    let will = flags & 0b0000_0100 != 0;
    let will_qos = (flags >> 3) & 0b11;
    let will_retain = flags & 0b0010_0000 != 0;
    if flags & 1 != 0 {
        Err(Refusal::Connect("the reserved flag is set"))
    } else if will_qos == 3 {
        Err(Refusal::Connect("will QoS is 3"))
    } else if !will && (will_qos != 0 || will_retain) {
        Err(Refusal::Connect("will flags without a will"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 64 * 1024;

    fn connect(level: u8, flags: u8, client_id: &str) -> Vec<u8> {
        let mut body = b"\0\x04MQTT".to_vec();
        body.extend([level, flags, 0, 30]);
        if level == 5 {
            body.push(0);
        }
        body.extend(u16::try_from(client_id.len()).unwrap().to_be_bytes());
        body.extend(client_id.as_bytes());
        let mut packet = vec![0x10];
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

    fn connected() -> Protocol {
        let mut protocol = Protocol::new(MAX);
        let mut out = Vec::new();
        let packet = connect(4, 0b10, "c");
        let (taken, step) = protocol.next(&packet, &mut out).unwrap();
        assert_eq!(taken, packet.len());
        assert!(matches!(step, Step::Connect(_)));
        protocol.accept(false, &mut out);
        assert_eq!(out, [0x20, 2, 0, 0]);
        protocol
    }

    /// Feeds one packet to a connected client's protocol: what comes back, or why the connection ends.
    #[track_caller]
    fn check(packet: &[u8], expected: Result<&[u8], &str>) {
        let mut protocol = connected();
        let mut out = Vec::new();
        match (protocol.next(packet, &mut out), expected) {
            (Ok((taken, Step::Answered)), Ok(answer)) => {
                assert_eq!(taken, packet.len());
                assert_eq!(out, answer);
            }
            (Err(refusal), Err(reason)) => assert_eq!(refusal.to_string(), reason),
            (got, _) => panic!("{got:?}"),
        }
    }

    #[test]
    fn a_ping_is_answered() {
        check(&[0xc0, 0], Ok(&[0xd0, 0]));
    }

    #[test]
    fn every_filter_of_a_subscribe_is_refused() {
        check(
            &[0x82, 10, 0, 7, 0, 1, b'a', 0, 0, 1, b'b', 1],
            Ok(&[0x90, 4, 0, 7, 0x80, 0x80]),
        );
        check(&[0xa2, 5, 0, 8, 0, 1, b'a'], Ok(&[0xb0, 2, 0, 8]));
    }

    #[test]
    fn exactly_once_is_refused_with_a_reason() {
        check(
            &[0x34, 5, 0, 1, b'a', 0, 1],
            Err("QoS 2 is not supported yet: publish with QoS 1"),
        );
    }

    #[test]
    fn a_second_connect_ends_the_connection() {
        check(
            &connect(4, 2, "c"),
            Err("a second CONNECT on one connection"),
        );
    }

    /// Feeds a CONNECT: the CONNACK's code, or `None` where the connection just ends.
    fn connack_of(packet: &[u8]) -> Option<u8> {
        let mut out = Vec::new();
        let mut protocol = Protocol::new(MAX);
        assert!(protocol.next(packet, &mut out).is_err(), "{packet:?}");
        match out[..] {
            [] => None,
            [0x20, 2, 0, code] => Some(code),
            _ => panic!("{out:?}"),
        }
    }

    #[test]
    fn other_protocol_levels_are_told_so_in_a_connack() {
        assert_eq!(connack_of(&connect(5, 2, "c")), Some(1));
        assert_eq!(connack_of(&connect(3, 2, "c")), Some(1));
        assert_eq!(
            connack_of(b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x1e\0\x01c"),
            Some(1)
        );
        assert_eq!(connack_of(b"\x10\x0d\0\x04HTTP\x04\x02\0\x1e\0\x01c"), None);
    }

    #[test]
    fn an_empty_client_id_needs_a_clean_session() {
        assert_eq!(connack_of(&connect(4, 0, "")), Some(2));
        assert_eq!(
            connack_of(&connect(4, 2, &"c".repeat(CLIENT_ID_BYTES_MAX + 1))),
            Some(2)
        );
        let mut out = Vec::new();
        let packet = connect(4, 2, "");
        assert!(matches!(
            Protocol::new(MAX).next(&packet, &mut out),
            Ok((_, Step::Connect(_)))
        ));
    }

    #[test]
    fn connect_flags_that_contradict_each_other_end_the_connection() {
        for flags in [0b0000_0011, 0b0001_1110, 0b0000_1010, 0b0010_0010] {
            assert_eq!(connack_of(&connect(4, flags, "c")), None, "{flags:#b}");
        }
    }

    #[test]
    fn nothing_but_connect_is_understood_first() {
        for packet in [&[0xc0, 0][..], &[0x30, 4, 0, 1, b'a', b'1'], &[0xe0, 0]] {
            let mut out = Vec::new();
            assert_eq!(
                Protocol::new(MAX).next(packet, &mut out),
                Err(Refusal::ConnectMissing)
            );
            assert!(out.is_empty());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            greeted in any::<bool>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            header in proptest::sample::select(vec![0x10_u8, 0x30, 0x32, 0x82, 0xa2, 0xc0, 0xe0, 0x40, 0x62]),
        ) {
            let mut protocol = if greeted { connected() } else { Protocol::new(MAX) };
            let mut packet = vec![header, u8::try_from(bytes.len().min(127)).unwrap()];
            packet.extend(&bytes);
            let mut rest = packet.as_slice();
            let mut out = Vec::new();
            while let Ok((taken, step)) = protocol.next(rest, &mut out) {
                if step == Step::NeedMore || matches!(step, Step::Connect(_)) {
                    break;
                }
                rest = &rest[taken..];
            }
        }
    }
}
