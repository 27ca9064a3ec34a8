//! Bytes in, readings out: what sensors send, made into values, without any IO.
//!
//! Invariants:
//! - No clock, no file, no socket: a decoder is a pure function of the bytes that it is given.
//! - Decoding never panics, whatever the bytes are, and uses a bounded amount of memory and time.
//! - An error says in plain words what is wrong with the message. It is stored beside the message's bytes in the
//!   dead letters and read by whoever has to repair the sensor.
//!
//! A new source of messages (LoRaWAN, Zigbee2MQTT …) is one more [`Decoder`]; a new source of byte streams (NMEA,
//! Modbus, the firmware link) will be a driver beside it.

mod decoder;
mod error;
mod payload;
mod time;
mod topic;
mod unit;

pub use decoder::{Decoder, MusterTopics, Reading};
pub use error::DecodeError;
pub use payload::{DEPTH_MAX, Measurement, PAYLOAD_BYTES_MAX, decode_payload};
pub use topic::{LEVEL_BYTES_MAX, TOPIC_PREFIX, Topic, decode_topic};
pub use unit::{UNIT_BYTES_MAX, UnitString};

/// The wire protocol between sensors and a node, which the serial driver will speak.
pub use firmware_protocol;
