//! Why a connection ends, and how either version of MQTT says it.

use mqtt_protocol_core::mqtt::result_code::MqttError;
use thiserror::Error;

use super::frame::FrameError;
use super::reason;

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
    #[error("protocol level {0}: this endpoint speaks MQTT 3.1.1 (level 4) and 5")]
    ProtocolLevel(u8),
    #[error("malformed CONNECT: {0}")]
    Connect(&'static str),
    #[error("client identifier refused: {0}")]
    ClientId(&'static str),
    #[error(
        "clients without an account are not let in from there: give it one, or see mqtt_anonymous in muster.toml"
    )]
    NotAuthorized,
    #[error("the name or the password is wrong")]
    BadCredentials,
    #[error("the device of this account is disabled or deleted")]
    Barred,
    #[error("too many wrong passwords from this address: wait a minute")]
    TooManyAttempts,
    #[error("this endpoint has no authentication methods: use a name and a password")]
    AuthenticationMethod,
    #[error("the account may not publish its will there")]
    WillNotAuthorized,
    #[error("as many connections as one {0} may have")]
    TooManyConnections(&'static str),
    #[error("{0}")]
    Session(String),
    #[error("the account may not publish under {0}")]
    PublishNotAuthorized(String),
    #[error("too many messages of QoS 2 that were not released")]
    Unreleased,
    #[error("more unacknowledged messages than the {0} that were allowed")]
    ReceiveMaximum(u16),
    #[error("the client does not take its messages as fast as they come")]
    TooSlow,
    #[error("the account was removed, has a new password, or its device was disabled")]
    AccountGone,
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    #[error("against the protocol: {0}")]
    Protocol(&'static str),
    #[error("{0}")]
    Core(MqttError),
}

impl Refusal {
    /// Of MQTT 5, for CONNACK and DISCONNECT.
    pub(super) fn reason_code(&self) -> u8 {
        match self {
            Refusal::Frame(error) => error.reason_code(),
            Refusal::ConnectMissing | Refusal::ConnectTwice | Refusal::Protocol(_) => {
                reason::PROTOCOL_ERROR
            }
            Refusal::ProtocolName | Refusal::ProtocolLevel(_) => 0x84,
            Refusal::Connect(_) | Refusal::Malformed(_) => reason::MALFORMED_PACKET,
            Refusal::ClientId(_) => reason::CLIENT_IDENTIFIER_NOT_VALID,
            Refusal::NotAuthorized
            | Refusal::Barred
            | Refusal::WillNotAuthorized
            | Refusal::PublishNotAuthorized(_)
            | Refusal::AccountGone => reason::NOT_AUTHORIZED,
            Refusal::BadCredentials => reason::BAD_USER_NAME_OR_PASSWORD,
            Refusal::TooManyAttempts => reason::CONNECTION_RATE_EXCEEDED,
            Refusal::AuthenticationMethod => reason::BAD_AUTHENTICATION_METHOD,
            Refusal::TooManyConnections(_)
            | Refusal::Session(_)
            | Refusal::Unreleased
            | Refusal::TooSlow => reason::QUOTA_EXCEEDED,
            Refusal::ReceiveMaximum(_) => reason::RECEIVE_MAXIMUM_EXCEEDED,
            Refusal::Core(error) => match error {
                MqttError::ProtocolError => reason::PROTOCOL_ERROR,
                MqttError::PacketTooLarge => reason::PACKET_TOO_LARGE,
                MqttError::ClientIdentifierNotValid => reason::CLIENT_IDENTIFIER_NOT_VALID,
                MqttError::BadUserNameOrPassword => reason::BAD_USER_NAME_OR_PASSWORD,
                _ => reason::MALFORMED_PACKET,
            },
        }
    }

    /// Of MQTT 3.1.1 (§3.2.2.3); `None` where it has none and the connection just ends.
    pub(super) fn return_code(&self) -> Option<u8> {
        match self {
            Refusal::ProtocolLevel(_) => Some(1),
            Refusal::ClientId(_) => Some(2),
            Refusal::TooManyConnections(_) | Refusal::Session(_) => Some(3),
            Refusal::BadCredentials => Some(4),
            Refusal::NotAuthorized
            | Refusal::Barred
            | Refusal::WillNotAuthorized
            | Refusal::TooManyAttempts => Some(5),
            _ => None,
        }
    }
}
