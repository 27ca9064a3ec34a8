//! Control packets of both versions as one set of words. `mqtt-protocol-core` takes the bytes apart; what it leaves to
//! its user is checked here.

use mqtt_protocol_core::mqtt::packet::{
    Properties, Property, PropertyId, RetainHandling, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::MqttError;

use super::frame::Version;
use super::properties::id;
use super::reason;
use super::refusal::Refusal;
use crate::app::mqtt::Will;

/// An acceptable CONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConnectRequest {
    pub(super) version: Version,
    /// Another broker's bridge says so by the highest bit of the level.
    pub(super) bridge: bool,
    /// Empty only with `clean_start`.
    pub(super) client_id: String,
    pub(super) clean_start: bool,
    /// How long the session outlives the connection; `u32::MAX` for ever.
    pub(super) session_expiry_s: u32,
    /// 0: none.
    pub(super) keep_alive_s: u16,
    /// Unacknowledged messages that the client takes.
    pub(super) receive_maximum: u16,
    pub(super) packet_bytes_max: u32,
    /// It wants words beside reason codes.
    pub(super) wants_words: bool,
    pub(super) credentials: Option<Credentials>,
    pub(super) will: Option<Will>,
}

/// What a client says who it is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) name: String,
    pub(super) secret: Vec<u8>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({:?})", self.name)
    }
}

/// One filter of a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) filter: String,
    pub(super) qos: u8,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) retain_handling: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscribe {
    pub(super) packet_id: u16,
    pub(super) filters: Vec<Filter>,
    /// 0: none.
    pub(super) identifier: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsubscribe {
    pub(super) packet_id: u16,
    pub(super) filters: Vec<String>,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) packet_id: u16,
    pub(super) reason_code: u8,
}

/// How a client says goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Goodbye {
    /// Its will is to be published all the same (§3.14.2.1, code 4).
    pub(super) with_will: bool,
    pub(super) session_expiry_s: Option<u32>,
}

/// Reads the body of a CONNECT whose name and level were looked at.
pub(super) fn connect(
    version: Version,
    bridge: bool,
    body: &[u8],
) -> Result<ConnectRequest, Refusal> {
    check_connect_flags(body)?;
    let request = match version {
        Version::V3 => connect_v3(bridge, body)?,
        Version::V5 => connect_v5(bridge, body)?,
    };
    let will_topic = request.will.as_ref().map(|will| will.topic.as_str());
    for text in [Some(request.client_id.as_str()), will_topic] {
        if text.is_some_and(|text| text.contains('\0')) {
            return Err(Refusal::Connect("text holds NUL"));
        }
    }
    Ok(request)
}

fn connect_v3(bridge: bool, body: &[u8]) -> Result<ConnectRequest, Refusal> {
    // The library knows nothing of bridges.
    let plain = if bridge {
        let mut plain = body.to_vec();
        plain[6] &= 0x7f;
        std::borrow::Cow::from(plain)
    } else {
        body.into()
    };
    let connect = whole(v3_1_1::Connect::parse(&plain), body.len())?;
    let clean_start = connect.clean_session();
    Ok(ConnectRequest {
        version: Version::V3,
        bridge,
        client_id: connect.client_id().to_owned(),
        clean_start,
        // §3.1.2.4: a session that is not clean has no end in this version.
        session_expiry_s: if clean_start { 0 } else { u32::MAX },
        keep_alive_s: connect.keep_alive(),
        receive_maximum: RECEIVE_MAXIMUM_V3,
        packet_bytes_max: u32::MAX,
        wants_words: false,
        credentials: credentials(connect.user_name(), connect.password()),
        will: connect.will_topic().map(|topic| Will {
            topic: topic.to_owned(),
            payload: connect.will_payload().unwrap_or_default().to_vec(),
            qos: connect.will_qos() as u8,
            retain: connect.will_retain(),
            properties: Vec::new(),
            expiry_s: None,
            delay_s: 0,
        }),
    })
}

/// A client of MQTT 3.1.1 cannot say how much it takes at once; as much as Mosquitto sends by default.
const RECEIVE_MAXIMUM_V3: u16 = 20;

fn connect_v5(bridge: bool, body: &[u8]) -> Result<ConnectRequest, Refusal> {
    let connect = whole(v5_0::Connect::parse(body), body.len())?;
    let properties = Values(connect.props());
    if properties.has(PropertyId::AuthenticationMethod) {
        return Err(Refusal::AuthenticationMethod);
    }
    let receive_maximum = properties.number(PropertyId::ReceiveMaximum);
    let packet_bytes_max = properties.number(PropertyId::MaximumPacketSize);
    if receive_maximum == Some(0) || packet_bytes_max == Some(0) {
        return Err(Refusal::Connect("a maximum is 0"));
    }
    let of_will = Values(connect.will_props());
    let mut forwarded = Vec::new();
    for property in connect.will_props() {
        let on_the_way = matches!(
            property.id(),
            PropertyId::WillDelayInterval | PropertyId::MessageExpiryInterval
        );
        if !on_the_way {
            forwarded.extend(encoded(property));
        }
    }
    Ok(ConnectRequest {
        version: Version::V5,
        bridge,
        client_id: connect.client_id().to_owned(),
        clean_start: connect.clean_start(),
        session_expiry_s: properties
            .number(PropertyId::SessionExpiryInterval)
            .unwrap_or(0),
        keep_alive_s: connect.keep_alive(),
        receive_maximum: receive_maximum
            .map_or(u16::MAX, |max| u16::try_from(max).unwrap_or(u16::MAX)),
        packet_bytes_max: packet_bytes_max.unwrap_or(u32::MAX),
        wants_words: properties.number(PropertyId::RequestProblemInformation) != Some(0),
        credentials: credentials(connect.user_name(), connect.password()),
        will: connect.will_topic().map(|topic| Will {
            topic: topic.to_owned(),
            payload: connect.will_payload().unwrap_or_default().to_vec(),
            qos: connect.will_qos() as u8,
            retain: connect.will_retain(),
            properties: forwarded,
            expiry_s: of_will.number(PropertyId::MessageExpiryInterval),
            delay_s: of_will.number(PropertyId::WillDelayInterval).unwrap_or(0),
        }),
    })
}

fn credentials(name: Option<&str>, secret: Option<&[u8]>) -> Option<Credentials> {
    Some(Credentials {
        name: name?.to_owned(),
        secret: secret.unwrap_or_default().to_vec(),
    })
}

/// Reads a SUBSCRIBE.
pub(super) fn subscribe(version: Version, body: &[u8]) -> Result<Subscribe, Refusal> {
    let (packet_id, entries, identifier) = match version {
        Version::V3 => {
            let packet = whole(v3_1_1::Subscribe::parse(body), body.len())?;
            (packet.packet_id(), packet.entries().clone(), 0)
        }
        Version::V5 => {
            let packet = whole(v5_0::Subscribe::parse(body), body.len())?;
            let identifier = Values(packet.props()).number(PropertyId::SubscriptionIdentifier);
            if identifier == Some(0) {
                return Err(Refusal::Protocol("subscription identifier 0"));
            }
            (
                packet.packet_id(),
                packet.entries().clone(),
                identifier.unwrap_or(0),
            )
        }
    };
    let filters = entries
        .iter()
        .map(|entry| {
            let options = entry.sub_opts();
            Filter {
                filter: entry.topic_filter().to_owned(),
                qos: options.qos() as u8,
                no_local: options.nl(),
                retain_as_published: options.rap(),
                retain_handling: match options.rh() {
                    RetainHandling::SendRetained => 0,
                    RetainHandling::SendRetainedIfNotExists => 1,
                    RetainHandling::DoNotSendRetained => 2,
                },
            }
        })
        .collect();
    with_packet_id(packet_id)?;
    Ok(Subscribe {
        packet_id,
        filters,
        identifier,
    })
}

/// Reads an UNSUBSCRIBE.
pub(super) fn unsubscribe(version: Version, body: &[u8]) -> Result<Unsubscribe, Refusal> {
    let (packet_id, entries) = match version {
        Version::V3 => {
            let packet = whole(v3_1_1::Unsubscribe::parse(body), body.len())?;
            (packet.packet_id(), packet.entries().clone())
        }
        Version::V5 => {
            let packet = whole(v5_0::Unsubscribe::parse(body), body.len())?;
            (packet.packet_id(), packet.entries().clone())
        }
    };
    with_packet_id(packet_id)?;
    Ok(Unsubscribe {
        packet_id,
        filters: entries
            .iter()
            .map(|entry| entry.as_str().to_owned())
            .collect(),
    })
}

/// Reads PUBACK, PUBREC, PUBREL and PUBCOMP, which look the same (§3.4.2). Their properties are words, and not looked at.
pub(super) fn ack(version: Version, body: &[u8]) -> Result<Ack, Refusal> {
    let (packet_id, reason_code) = match (version, body) {
        (_, [high, low]) => (u16::from_be_bytes([*high, *low]), reason::SUCCESS),
        (Version::V5, [high, low, code, ..]) => (u16::from_be_bytes([*high, *low]), *code),
        _ => return Err(Refusal::Malformed("an acknowledgement")),
    };
    with_packet_id(packet_id)?;
    Ok(Ack {
        packet_id,
        reason_code,
    })
}

/// Reads a DISCONNECT.
pub(super) fn disconnect(version: Version, body: &[u8]) -> Result<Goodbye, Refusal> {
    match (version, body) {
        (_, []) => Ok(Goodbye::default()),
        (Version::V3, _) => Err(Refusal::Malformed("DISCONNECT")),
        (Version::V5, _) => {
            let packet = whole(v5_0::Disconnect::parse(body), body.len())?;
            Ok(Goodbye {
                with_will: body.first() == Some(&reason::DISCONNECT_WITH_WILL),
                session_expiry_s: packet.props().as_ref().and_then(|properties| {
                    Values(properties).number(PropertyId::SessionExpiryInterval)
                }),
            })
        }
    }
}

fn with_packet_id(packet_id: u16) -> Result<(), Refusal> {
    if packet_id == 0 {
        Err(Refusal::Malformed("packet identifier 0"))
    } else {
        Ok(())
    }
}

fn whole<T>(parsed: Result<(T, usize), MqttError>, bytes: usize) -> Result<T, Refusal> {
    match parsed {
        Ok((packet, taken)) if taken == bytes => Ok(packet),
        Ok(_) => Err(Refusal::Malformed("bytes after the end of a packet")),
        Err(error) => Err(Refusal::Core(error)),
    }
}

/// §3.1.2.3–9, which the library leaves to its user.
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

/// Properties by identifier.
struct Values<'a>(&'a Properties);

impl Values<'_> {
    fn has(&self, id: PropertyId) -> bool {
        self.0.iter().any(|property| property.id() == id)
    }

    fn number(&self, id: PropertyId) -> Option<u32> {
        self.0
            .iter()
            .find(|property| property.id() == id)
            .and_then(|property| match property {
                Property::SessionExpiryInterval(p) => Some(p.val()),
                Property::ReceiveMaximum(p) => Some(u32::from(p.val())),
                Property::MaximumPacketSize(p) => Some(p.val()),
                Property::RequestProblemInformation(p) => Some(u32::from(p.val())),
                Property::SubscriptionIdentifier(p) => Some(p.val()),
                Property::WillDelayInterval(p) => Some(p.val()),
                Property::MessageExpiryInterval(p) => Some(p.val()),
                _ => None,
            })
    }
}

/// A property of a will as a PUBLISH has it.
fn encoded(property: &Property) -> Vec<u8> {
    match property {
        Property::PayloadFormatIndicator(p) => p.to_continuous_buffer(),
        Property::ContentType(p) => p.to_continuous_buffer(),
        Property::ResponseTopic(p) => p.to_continuous_buffer(),
        Property::CorrelationData(p) => p.to_continuous_buffer(),
        Property::UserProperty(p) => p.to_continuous_buffer(),
        _ => {
            debug_assert!(
                property.id() as u8 != id::TOPIC_ALIAS,
                "the library refuses what a will does not have"
            );
            Vec::new()
        }
    }
}
