//! Reason codes of MQTT 5 (§2.4) that this endpoint says or looks at.

pub(super) const SUCCESS: u8 = 0x00;
pub(super) const DISCONNECT_WITH_WILL: u8 = 0x04;
pub(super) const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
/// From here on a code says that something did not happen.
pub(super) const FIRST_ERROR: u8 = 0x80;
pub(super) const UNSPECIFIED_ERROR: u8 = 0x80;
pub(super) const MALFORMED_PACKET: u8 = 0x81;
pub(super) const PROTOCOL_ERROR: u8 = 0x82;
pub(super) const CLIENT_IDENTIFIER_NOT_VALID: u8 = 0x85;
pub(super) const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;
pub(super) const NOT_AUTHORIZED: u8 = 0x87;
pub(super) const SERVER_SHUTTING_DOWN: u8 = 0x8b;
pub(super) const BAD_AUTHENTICATION_METHOD: u8 = 0x8c;
pub(super) const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;
pub(super) const SESSION_TAKEN_OVER: u8 = 0x8e;
pub(super) const TOPIC_FILTER_INVALID: u8 = 0x8f;
pub(super) const PACKET_IDENTIFIER_NOT_FOUND: u8 = 0x92;
pub(super) const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
pub(super) const TOPIC_ALIAS_INVALID: u8 = 0x94;
pub(super) const PACKET_TOO_LARGE: u8 = 0x95;
pub(super) const QUOTA_EXCEEDED: u8 = 0x97;
pub(super) const SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: u8 = 0x9e;
pub(super) const CONNECTION_RATE_EXCEEDED: u8 = 0x9f;
