//! What ingest hands in, and what it and the rules get back.

use std::sync::Arc;

use super::devices::DeviceWrites;
use super::mqtt::MqttWrite;

/// A series: one device, channel and unit. Its number is good for this node's readings file only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u32);

/// What a series is called by people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesNames<'a> {
    pub device: &'a str,
    pub channel: &'a str,
    /// Empty where there is none.
    pub unit: &'a str,
}

/// Whose a new series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesOwner {
    /// A device that somebody has approved.
    Approved,
    /// One that nobody knows: it may have fewer ([`SERIES_PER_UNAPPROVED_MAX`], [`SERIES_OF_UNAPPROVED_MAX`]).
    Stranger,
}

/// What a series is called on every node: a hash of its names, in the form of a UUID of version 8 (RFC 9562).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey(pub [u8; 16]);

impl SeriesKey {
    /// The key of these names.
    pub fn of(device: &str, channel: &str, unit: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("muster 2026 series 1");
        for name in [device, channel, unit] {
            // Lengths in front, so that no two lists of names are the same bytes.
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
        }
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        key[6] = 0x80 | key[6] & 0x0f;
        key[8] = 0x80 | key[8] & 0x3f;
        SeriesKey(key)
    }
}

/// A client id of an MQTT publisher, as a small number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNo(pub u32);

/// Whose batches stay in the order in which they were handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SenderId {
    /// Known by its client id, also when it connects anew.
    Session(SessionNo),
    /// Nobody recognises it later. The number is its own for as long as it is there.
    Unnamed(u64),
}

/// A decoded sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewReading {
    pub series: SeriesId,
    /// The sample's own time, or when it was received; Unix milliseconds.
    pub at_ms: i64,
    /// Whether `at_ms` is the device's.
    pub device_time: bool,
    pub received_ms: i64,
    pub value: f64,
    /// See [`super::flags`].
    pub flags: u8,
    /// Index into [`IngestBatch::messages`] of the message that brought it, where redelivery is possible.
    pub message: Option<u32>,
}

/// A QoS 1 or 2 message, for telling one that is sent again from a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    pub session: SessionNo,
    pub packet_id: u16,
    /// A hash of topic and payload.
    pub payload_hash: u64,
    /// The message's DUP flag (MQTT 3.1.1 §3.3.1.1).
    pub redelivered: bool,
    /// QoS 2: while its packet id is not released every message under it is the same one, whatever its flag says. The id
    /// is stored with what came in the message.
    pub exactly_once: bool,
}

/// A payload that could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewDeadLetter {
    /// Where it came from: `mqtt`, a serial port.
    pub source: String,
    pub topic: String,
    /// Name and version of the decoder that refused it; empty where there was none.
    pub decoder: String,
    /// Why, for people.
    pub reason: String,
    /// Why, as a stable name.
    pub code: String,
    pub received_ms: i64,
    /// When to try again without a person, Unix milliseconds; `None` where the cause cannot pass.
    pub retry_at_ms: Option<i64>,
    pub payload: Vec<u8>,
    /// It is a copy that a broker kept: it was no news when it came.
    pub kept: bool,
    /// Its sender had no account: it may say nothing of devices that have one.
    pub anonymous: bool,
    /// As in [`NewReading::message`].
    pub message: Option<u32>,
}

/// What is acknowledged together.
#[derive(Debug, Clone, Default)]
pub struct IngestBatch {
    pub readings: Vec<NewReading>,
    pub messages: Vec<Delivery>,
    pub dead: Vec<NewDeadLetter>,
    /// The dead letter that all of it was read from: replayed, in the same transaction. Where it is not open any more
    /// nothing of the batch is stored: somebody else was quicker, and readings without a time of their own could not be
    /// told from theirs.
    pub replayed: Option<i64>,
    /// QoS 2 packet ids that are free again: PUBREL came. Applied after the messages of the batch.
    pub released: Vec<(SessionNo, u16)>,
    /// What devices said besides values.
    pub devices: DeviceWrites,
    /// What the MQTT endpoint promises together with it. Applied last, in order.
    pub mqtt: Vec<MqttWrite>,
}

impl IngestBatch {
    /// Whether nothing of it would reach the disk.
    pub fn is_empty(&self) -> bool {
        // Named one by one, so that what a batch gets is thought of here.
        let IngestBatch {
            readings,
            messages,
            dead,
            replayed,
            released,
            devices,
            mqtt,
        } = self;
        readings.is_empty()
            && messages.is_empty()
            && dead.is_empty()
            && replayed.is_none()
            && released.is_empty()
            && devices.is_empty()
            && mqtt.is_empty()
    }

    /// How much of the writer's queue it takes, in readings: about 64 bytes each.
    pub fn weight(&self) -> usize {
        // A dead letter carries its payload.
        let dead: usize = self
            .dead
            .iter()
            .map(|dead| 1 + dead.payload.len() / 64)
            .sum();
        let mqtt: usize = self.mqtt.iter().map(|write| write.change.weight()).sum();
        self.readings.len() + dead + self.released.len() + mqtt + self.devices.weight() + 1
    }
}

/// The batch is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ingested {
    /// Positions of its readings: contiguous, `first > last` when none was new.
    pub first_position: i64,
    pub last_position: i64,
    /// Readings stored.
    pub stored: u32,
    /// Readings and dead letters that were there already: acknowledged, not stored again.
    pub duplicates: u32,
    pub dead_letters: u32,
    /// Messages that came already, as indices into [`IngestBatch::messages`].
    pub repeated: Vec<u32>,
    /// Stored beside another value with the same time.
    pub contradictions: u32,
    /// Its dead letter was settled before ([`IngestBatch::replayed`]): nothing was stored.
    pub settled_before: bool,
}

/// A reading as stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoredReading {
    /// Order of arrival, from 1.
    pub position: i64,
    pub series: SeriesId,
    pub at_ms: i64,
    pub received_ms: i64,
    pub value: f64,
    /// See [`super::flags`].
    pub flags: u8,
}

/// One SQL transaction of readings, told to the hook in order.
#[derive(Debug, Clone)]
pub struct CommittedReadings {
    pub file_id: [u8; 16],
    pub first_position: i64,
    pub last_position: i64,
    pub readings: Arc<[StoredReading]>,
}

/// A point of a query's answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub at_ms: i64,
    pub value: f64,
    /// See [`super::flags`].
    pub flags: u8,
}

/// The newest points of a range, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PointPage {
    pub points: Vec<Point>,
    /// Whether older points of the range were left out.
    pub truncated: bool,
}

/// A series and its state.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesInfo {
    pub id: SeriesId,
    pub key: SeriesKey,
    pub device: Arc<str>,
    pub channel: Arc<str>,
    pub unit: Arc<str>,
    /// Readings that came and were stored, those that retention has dropped since included.
    pub count: u64,
    /// The reading with the greatest time.
    pub last: Option<Point>,
}

/// Which series to list, in the order of their ids.
#[derive(Debug, Clone, Default)]
pub struct SeriesQuery {
    pub device: Option<String>,
    pub channel: Option<String>,
    /// Part of device or channel, in any case.
    pub q: Option<String>,
    pub after: Option<SeriesId>,
    pub limit: usize,
}

/// Why a series cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeriesRefused {
    #[error("the device has {SERIES_PER_DEVICE_MAX} series, as many as are allowed")]
    DeviceFull,
    #[error("there are {SERIES_MAX} series, as many as are allowed")]
    Full,
    #[error(
        "nobody has approved the device: such devices may have {SERIES_PER_UNAPPROVED_MAX} series each, and none of \
         their own once there are {SERIES_OF_UNAPPROVED_MAX}: approve it"
    )]
    Unapproved,
    #[error("device, channel and unit may have {NAME_BYTES_MAX} bytes each")]
    NameTooLong,
}

/// A device with more channels than this is a programming error at its end.
pub const SERIES_PER_DEVICE_MAX: u32 = 10_000;
/// About 30 MB of memory; more sensors than an operation has.
pub const SERIES_MAX: u32 = 100_000;
/// A device that nobody knows has a few channels; one that invents them by the thousand is let go no further.
pub const SERIES_PER_UNAPPROVED_MAX: u32 = 1_000;
/// Past so many series only approved devices get new ones: whoever invents names cannot take the other half.
pub const SERIES_OF_UNAPPROVED_MAX: usize = 50_000;
/// Longer than any device or channel name in use.
pub const NAME_BYTES_MAX: usize = 256;

/// A device that was heard here, known or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceSeen {
    pub name: Arc<str>,
    pub first_seen_ms: i64,
    pub last_seen_ms: i64,
}
