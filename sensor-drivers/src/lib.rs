//! Bytes in, readings out: what sensors send, made into values, without any IO.
//!
//! Invariants:
//! - No clock, no file, no socket: a decoder is a pure function of the bytes that it is given.
//! - Decoding never panics, whatever the bytes are, and uses a bounded amount of memory and time.
//! - An error says in plain words what is wrong with the message. It is stored beside the message's bytes in the
//!   dead letters and read by whoever has to repair the sensor.
//!
//! ```text
//! topic ──▶ DecoderTable::route ─┬─▶ Route::Muster: decode_topic, decode_payload (no allocation, 100,000 a second)
//!                                └─▶ Route::Entry: Entry::decode ──▶ Decoded: values and facts, per device
//! ```
//!
//! Where a value came from is told by its [`Entry`]; what its time is worth by [`judge_times`]; what it means in truth by
//! [`Calibrations`]. A new format of messages is one more module in `formats` and one more [`FormatConfig`]; a new source
//! of byte streams (NMEA, Modbus, the firmware link) will be a driver beside them.

mod calibration;
mod decoded;
mod decoder;
mod error;
mod formats;
mod name;
mod payload;
mod plausible;
pub mod script;
mod table;
mod time;
mod topic;
mod tree;
pub mod ucum;
mod unit;

pub use calibration::{
    Calibrated, Calibration, CalibrationError, CalibrationId, Calibrations, Curve, POINTS_MAX,
};
pub use decoded::{
    ChannelSample, DEVICES_MAX, Decoded, DeviceFacts, DeviceReport, LABEL_BYTES_MAX, Location,
    Quality, SAMPLES_MAX, TEXT_BYTES_MAX, TEXTS_MAX, TextMessage, WARNINGS_MAX,
};
pub use decoder::{Decoder, Message};
pub use error::DecodeError;
pub use formats::{
    ChirpstackOptions, DeviceNaming, FactPointers, JsonOptions, JsonValue, MeshtasticOptions,
    PlainOptions, SenmlOptions, TasmotaOptions, TimeUnit, UserScriptOptions, Zigbee2mqttOptions,
};
pub use payload::{DEPTH_MAX, Measurement, PAYLOAD_BYTES_MAX, decode_payload};
pub use plausible::{JudgedTime, TimeFlag, TimeLimits, judge_time, judge_times};
pub use table::{
    CHANNELS_MAX, ChannelConfig, ConfigError, ConfigErrors, DecoderConfig, DecoderTable,
    ENTRIES_MAX, Entry, FormatConfig, IgnoreOptions, MUSTER_DECODER, Route,
};
pub use topic::{LEVEL_BYTES_MAX, TOPIC_PREFIX, Topic, decode_topic};
pub use tree::{JSON_BYTES_MAX, NODES_MAX};
pub use unit::{UNIT_BYTES_MAX, UnitString};

/// The wire protocol between sensors and a node, which the serial driver will speak.
pub use firmware_protocol;
