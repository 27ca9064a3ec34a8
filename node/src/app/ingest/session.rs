//! One sender: its messages become a batch.
//!
//! Invariant: the way of one message on a topic that was seen before allocates nothing: names and series are looked up
//! once per topic and session.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use sensor_drivers::{
    DecodeError, Entry, MUSTER_DECODER, Route, UnitString, decode_payload, decode_topic,
};
use store::flags::Coming;
use store::{IngestBatch, NewDeadLetter, NewReading, SenderId, SeriesId, SeriesNames, SessionNo};

use super::hash::message_hash;
use super::places::Source;
use super::scripts::BATCH_TIME_MAX;
use super::submission::{OnItsWay, Submission};
use super::times::{is_of_unknown_age, judged, new_reading, odd_clock};
use super::values::series_unit;
use super::{Delivery, Message, Shared};
use crate::app::dead_letters::Unreadable;
use crate::app::decoders::Active;
use crate::app::devices::{DeviceEntry, Health, Reserved, Timed};
use crate::app::mqtt::TOPIC_BYTES_MAX;

/// Topics that a session remembers; a gateway publishes for some hundred sensors. Past it the memory starts anew.
const TOPICS_MAX: usize = 1024;

/// One sender. Messages gather until [`IngestSession::submit`].
pub struct IngestSession {
    pub(super) shared: Arc<Shared>,
    source: Arc<Source>,
    number: Option<SessionNo>,
    /// Whose batches the store keeps in order, those of earlier connections among them.
    sender: SenderId,
    /// It has no account: it may say nothing of devices that have one.
    pub(super) nobody: bool,
    /// It says what its devices wanted to be said when they are lost: they are not heard by it.
    pub(super) absent: bool,
    /// Batches of this session.
    on_their_way: Arc<AtomicUsize>,
    /// The table that `topics` was looked up in.
    decoders: Arc<Active>,
    topics: HashMap<Box<str>, Known>,
    /// Receive time of the batch being gathered.
    pub(super) now_ms: i64,
    /// Messages in it, those that leave nothing to store among them.
    taken: usize,
    /// What decoders that take time have taken for it.
    pub(super) decoding: Duration,
    /// The message being taken, where it comes exactly once: index into the batch's messages.
    pub(super) once: Option<u32>,
    pub(super) batch: IngestBatch,
    /// Places of the texts in it.
    pub(super) texts: Vec<Reserved>,
}

/// What a session remembers of a topic.
enum Known {
    /// One of Muster's own.
    Muster(Topic),
    /// A configured decoder reads it.
    Entry(Arc<Entry>),
}

/// A topic of Muster's own.
struct Topic {
    device: Arc<DeviceEntry>,
    /// This channel's last value is shown beside the device.
    health: Option<Health>,
    /// By unit: a sensor has one, or none and later one.
    series: Vec<(Option<UnitString>, SeriesId)>,
}

impl IngestSession {
    pub(super) fn new(
        shared: Arc<Shared>,
        source: Arc<Source>,
        number: Option<SessionNo>,
    ) -> IngestSession {
        let sender = number.map_or_else(|| shared.unnamed_sender(), SenderId::Session);
        IngestSession {
            decoders: shared.decoders.now(),
            shared,
            source,
            number,
            sender,
            nobody: false,
            absent: false,
            on_their_way: Arc::default(),
            topics: HashMap::new(),
            now_ms: 0,
            taken: 0,
            decoding: Duration::ZERO,
            once: None,
            batch: IngestBatch::default(),
            texts: Vec::new(),
        }
    }

    /// Its sender has no account. What it says of a device that has one is a dead letter, also where a decoder finds the
    /// device in the payload.
    pub(in crate::app) fn of_nobody(&mut self) {
        self.nobody = true;
    }

    /// It speaks for devices that are gone: they are not heard by it.
    pub(in crate::app) fn of_the_absent(&mut self) {
        self.absent = true;
    }

    /// Takes one message.
    pub fn message(&mut self, message: Message<'_>) {
        self.begin(message.topic, message.payload, message.delivery);
        if let Err((decoder, reason)) = self.read(&message) {
            let retry_at_ms = reason.retry_at_ms(self.now_ms, 1);
            self.dead_letter(
                &message,
                decoder,
                (reason.code(), reason.to_string()),
                retry_at_ms,
            );
        }
    }

    fn dead_letter(
        &mut self,
        message: &Message<'_>,
        decoder: String,
        (code, reason): (&'static str, String),
        retry_at_ms: Option<i64>,
    ) {
        metrics::counter!("muster_ingest_dead_letters_total", "reason" => code).increment(1);
        let Message {
            topic,
            payload,
            delivery,
            kept,
        } = *message;
        let message = self.remember(topic, payload, delivery);
        self.batch.dead.push(NewDeadLetter {
            source: self.source.name().to_owned(),
            topic: topic.to_owned(),
            decoder,
            reason,
            code: code.to_owned(),
            received_ms: self.now_ms,
            retry_at_ms,
            payload: payload.to_vec(),
            kept,
            anonymous: self.nobody,
            message,
        });
    }

    /// Takes a message of which nothing but its packet id, and what is attached to it, is to be stored.
    pub(in crate::app) fn bare_message(&mut self, delivery: Delivery) {
        self.begin("", b"", delivery);
    }

    /// A packet id of [`Delivery::ExactlyOnce`] is free again.
    pub(in crate::app) fn release(&mut self, packet_id: u16) {
        if let Some(session) = self.number {
            self.count();
            self.batch.released.push((session, packet_id));
        }
    }

    /// Stores a change in the same transaction; not at all where its `message` came already.
    pub(in crate::app) fn attach(&mut self, change: store::MqttChange, message: Option<u32>) {
        self.count();
        self.batch.mqtt.push(store::MqttWrite { change, message });
    }

    /// Keeps a message that nothing is to be made of as a dead letter, with the beginning of a topic that is too long.
    pub fn reject(&mut self, message: Message<'_>, code: &'static str, reason: String) {
        // Not with 64 KB of name for each.
        let cut = message.topic.floor_char_boundary(TOPIC_BYTES_MAX);
        let message = Message {
            topic: &message.topic[..cut],
            ..message
        };
        self.begin(message.topic, message.payload, message.delivery);
        self.dead_letter(&message, String::new(), (code, reason), None);
    }

    /// The message taken last, as [`Submission::repeated`] names it; `None` where it cannot be told from another.
    pub(in crate::app) fn last_message(&self) -> Option<u32> {
        self.once
    }

    /// Receive time of the batch being gathered, milliseconds since 1970.
    pub(in crate::app) fn received_ms(&self) -> i64 {
        self.now_ms
    }

    /// Whether the batch has taken so long already that it should be submitted before another message is taken.
    pub fn has_taken_long(&self) -> bool {
        self.decoding >= BATCH_TIME_MAX
    }

    fn count(&mut self) {
        if self.taken == 0 {
            self.now_ms = self.shared.now_ms();
            let decoders = self.shared.decoders.now();
            if !Arc::ptr_eq(&decoders, &self.decoders) {
                self.decoders = decoders;
                self.topics.clear();
            }
        }
        self.taken += 1;
    }

    fn begin(&mut self, topic: &str, payload: &[u8], delivery: Delivery) {
        self.count();
        self.once = None;
        if let Delivery::ExactlyOnce { .. } = delivery {
            // Its packet id is stored whatever comes of it: what the sender gets for it is that promise.
            self.once = self.remember(topic, payload, delivery);
        }
    }

    /// Reads one message; where that fails, which decoder it was and why.
    fn read(&mut self, message: &Message<'_>) -> Result<(), (String, Unreadable)> {
        // Looked up twice where it is new: once per topic and session.
        if !self.topics.contains_key(message.topic) {
            self.learn(message.topic)
                .map_err(|error| (String::new(), error))?;
        }
        match self.topics.get(message.topic) {
            Some(Known::Entry(entry)) => {
                let entry = Arc::clone(entry);
                self.formatted(&entry, message)
                    .map_err(|error| (format!("{} {}", entry.name(), entry.version()), error))
            }
            _ => self
                .reading(message)
                .map_err(|error| (muster_decoder(), error)),
        }
    }

    fn reading(&mut self, message: &Message<'_>) -> Result<(), Unreadable> {
        let Message {
            topic,
            payload,
            delivery,
            kept,
        } = *message;
        let Some(Known::Muster(known)) = self.topics.get_mut(topic) else {
            return Err(Unreadable::TooManyDevices);
        };
        let measurement = decode_payload(payload)?;
        let judged = judged(measurement.device_time_ms, self.now_ms);
        if is_of_unknown_age(&judged, kept) {
            // Stored with the time of receipt it would look fresh.
            return Ok(());
        }
        let series = match known
            .series
            .iter()
            .find(|(unit, _)| *unit == measurement.unit)
        {
            Some(&(_, series)) => series,
            None => {
                let names = decode_topic(topic)?;
                let names = SeriesNames {
                    device: names.device,
                    channel: names.channel,
                    unit: series_unit(measurement.unit.as_ref()),
                };
                let readings = self.shared.store.readings();
                let series = readings.intern_series(&names, known.device.owner(), self.now_ms)?;
                known.series.push((measurement.unit.clone(), series));
                series
            }
        };
        let coming = Coming {
            approved: known.device.is_approved(),
            retained: kept,
            ..Coming::default()
        };
        let mut reading = new_reading(series, &judged, self.now_ms, measurement.value, coming);
        if !kept {
            if !self.absent {
                known.device.heard(self.now_ms);
            }
            if let Some(health) = known.health {
                known
                    .device
                    .note(health, shown(&reading), reading.device_time);
            }
        }
        if !reading.device_time || self.once.is_some() {
            // Where the sensor states a time, that tells one reading from another, and there is nothing to remember.
            reading.message = self.remember(topic, payload, delivery);
        }
        let index = self.batch.readings.len();
        let odd = odd_clock(&judged, index);
        self.batch.devices.odd_clocks.extend(odd);
        self.batch.readings.push(reading);
        Ok(())
    }

    /// Notes the message that something came in, so that it is recognised if it is sent again.
    pub(super) fn remember(
        &mut self,
        topic: &str,
        payload: &[u8],
        delivery: Delivery,
    ) -> Option<u32> {
        if self.once.is_some() {
            return self.once;
        }
        let session = self.number?;
        let index = u32::try_from(self.batch.messages.len()).ok()?;
        let delivery = match delivery {
            Delivery::AtMostOnce => return None,
            Delivery::AtLeastOnce {
                packet_id,
                redelivered,
            } => store::Delivery {
                session,
                packet_id,
                payload_hash: message_hash(topic, payload),
                redelivered,
                exactly_once: false,
            },
            Delivery::ExactlyOnce { packet_id } => store::Delivery {
                session,
                packet_id,
                payload_hash: 0,
                redelivered: false,
                exactly_once: true,
            },
        };
        self.batch.messages.push(delivery);
        Some(index)
    }

    fn learn(&mut self, topic: &str) -> Result<(), Unreadable> {
        if self.topics.len() >= TOPICS_MAX {
            self.topics.clear();
        }
        let known = match self.decoders.table.route(topic) {
            None => return Err(Unreadable::Decode(DecodeError::UnknownTopic)),
            Some(Route::Entry(entry)) => Known::Entry(Arc::clone(entry)),
            Some(Route::Muster) => {
                let names = decode_topic(topic)?;
                let device = self.shared.devices.entry(names.device);
                Known::Muster(Topic {
                    device: device.ok_or(Unreadable::TooManyDevices)?,
                    health: Health::of_channel(names.channel),
                    series: Vec::new(),
                })
            }
        };
        self.topics.insert(topic.into(), known);
        Ok(())
    }

    /// Sends what has gathered to the store; `None` if nothing has. With `at_once` false it only starts when
    /// [`Submission::committed`] is awaited: for a sender whose earlier batch has not started either.
    pub fn submit(&mut self, at_once: bool) -> Option<Submission> {
        self.decoding = Duration::ZERO;
        if std::mem::take(&mut self.taken) == 0 {
            return None;
        }
        let batch = std::mem::take(&mut self.batch);
        self.once = None;
        let mut submission = Submission::new(
            Arc::clone(&self.shared),
            (Arc::clone(&self.source), self.sender),
            batch,
            std::mem::take(&mut self.texts),
            OnItsWay::begin(&self.on_their_way),
        );
        if at_once {
            submission.start_if_there_is_room();
        }
        Some(submission)
    }
}

/// As it is shown beside its device: never fresher than its receipt.
pub(super) fn shown(reading: &NewReading) -> Timed<f64> {
    Timed {
        value: reading.value,
        at_ms: reading.at_ms.min(reading.received_ms),
    }
}

/// How dead letters name Muster's own decoder.
fn muster_decoder() -> String {
    format!("{} {}", MUSTER_DECODER.0, MUSTER_DECODER.1)
}
