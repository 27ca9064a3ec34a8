//! The door for sensor data: messages in, readings or dead letters on the disk.
//!
//! ```text
//! IngestSession::message × n → IngestSession::submit → Submission::committed → acknowledge to the sender
//! ```
//!
//! Invariants:
//! - Every message given in ends as readings, as a counted duplicate, as counted old news ([`Message::kept`]), or as a
//!   dead letter with its bytes; never as nothing.
//! - `Submission::committed` answers only after the commit. While the disk is full it waits and tries again, so that
//!   nothing is acknowledged and nothing is thrown away.
//! - The way of one message allocates nothing: names and series are looked up once per topic and session.

mod formats;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use sensor_drivers::{
    DecodeError, Entry, JudgedTime, MUSTER_DECODER, Route, TimeLimits, UnitString, decode_payload,
    decode_topic, judge_time,
};
use store::{
    CommitError, IngestBatch, Ingested, NewDeadLetter, NewReading, SeriesId, SessionNo, Store,
    Ticket, flags,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::clock::Clock;
use super::dead_letters::Unreadable;
use super::decoders::{Active, Decoders};
use super::devices::{DeviceEntry, Devices, Health};
use super::{App, AppError};

/// Messages on their way to the disk, over all sessions: a quarter of a second at 100,000/s, some 5 MB.
const IN_FLIGHT_MAX: usize = 32_768;

/// Topics that a session remembers; a gateway publishes for some hundred sensors. Past it the memory starts anew.
const TOPICS_MAX: usize = 1024;

/// After a failed commit the next attempt waits at first so long, then twice as long each time up to the second bound.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// How far a sensor's clock is believed: it may have kept its readings for years while nobody fetched them, but nothing
/// is measured in the future. (Rules look a day back, DESIGN §8.)
const TIMES_BELIEVED: TimeLimits = TimeLimits {
    past_ms: 10 * 366 * 24 * 3_600_000,
    future_ms: 24 * 3_600_000,
};

/// 2026-01-01: a node whose own clock stands before this program was written judges nobody's.
const CLOCK_SET_MS: i64 = 1_767_225_600_000;

/// A writer whose queue is full has room again after a commit.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The way into the store for everything that hears sensors. Cheap to clone.
#[derive(Clone)]
pub struct Ingest(Arc<Shared>);

struct Shared {
    store: Store,
    devices: Devices,
    clock: Clock,
    decoders: Decoders,
    places: Arc<Semaphore>,
    cheats: bool,
}

/// Only in builds for tests: the power-cut test must be able to show that it notices an acknowledgement that comes
/// before the commit.
fn cheats() -> bool {
    let cheats =
        cfg!(debug_assertions) && std::env::var_os("MUSTER_TEST_ACK_BEFORE_COMMIT").is_some();
    if cheats {
        tracing::error!("fault injection: readings are acknowledged before they are stored");
    }
    cheats
}

/// One message as it came.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// MQTT topic name.
    pub topic: &'a str,
    /// Its bytes.
    pub payload: &'a [u8],
    /// What the sender was promised.
    pub delivery: Delivery,
    /// It is a copy that a broker kept for whoever subscribes (RETAIN set by the broker, MQTT 3.1.1 §3.3.1.3): nobody
    /// can say how old it is, so it is never taken for news.
    pub kept: bool,
}

/// Who sends, for recognising a message that is sent again.
#[derive(Debug, Clone)]
pub struct SessionKey {
    /// Where its messages come from, as dead letters name it: `mqtt`, or a broker.
    pub source: Arc<str>,
    /// `None` for a sender that cannot be recognised later.
    pub client_id: Option<String>,
    /// The sender wants to begin anew; its earlier messages are recognised all the same, because many clients send
    /// them again although they asked for a clean session.
    pub clean: bool,
}

/// What the sender was promised about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Nothing (MQTT QoS 0).
    AtMostOnce,
    /// It is sent again until acknowledged (QoS 1).
    AtLeastOnce {
        /// The sender's number for it, free again after the acknowledgement.
        packet_id: u16,
        /// The sender says that it may have sent it before (DUP).
        redelivered: bool,
    },
    /// It counts once however often it is sent under this number, until the sender releases the number (QoS 2).
    ExactlyOnce {
        /// The sender's number for it, free again after [`IngestSession::release`].
        packet_id: u16,
    },
}

impl App {
    /// The door for sensor data.
    pub fn ingest(&self) -> &Ingest {
        &self.ingest
    }
}

impl Ingest {
    pub(in crate::app) fn new(
        store: Store,
        devices: Devices,
        clock: Clock,
        decoders: Decoders,
    ) -> Self {
        Ingest(Arc::new(Shared {
            store,
            devices,
            clock,
            decoders,
            places: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            cheats: cheats(),
        }))
    }

    /// Begins a session; says whether this node remembers an earlier one of the same sender.
    pub fn session(&self, key: SessionKey) -> (IngestSession, bool) {
        let (number, known) = match key.client_id {
            Some(client_id) => {
                let (number, known) = self
                    .0
                    .store
                    .readings()
                    .intern_session(&client_id, self.0.now_ms());
                (Some(number), known)
            }
            None => (None, false),
        };
        (self.session_of(key.source, number), known)
    }

    /// A session of a sender whose number is known already.
    pub(in crate::app) fn session_of(
        &self,
        source: Arc<str>,
        number: Option<SessionNo>,
    ) -> IngestSession {
        IngestSession {
            decoders: self.0.decoders.now(),
            shared: Arc::clone(&self.0),
            source,
            number,
            topics: HashMap::new(),
            now_ms: 0,
            taken: 0,
            once: None,
            batch: IngestBatch::default(),
        }
    }
}

impl Shared {
    fn now_ms(&self) -> i64 {
        i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX)
    }
}

/// One sender. Messages gather until [`IngestSession::submit`].
pub struct IngestSession {
    shared: Arc<Shared>,
    source: Arc<str>,
    number: Option<SessionNo>,
    /// The table that `topics` was looked up in.
    decoders: Arc<Active>,
    topics: HashMap<Box<str>, Known>,
    /// Receive time of the batch being gathered.
    now_ms: i64,
    /// Messages in it, those that leave nothing to store among them.
    taken: usize,
    /// The message being taken, where it comes exactly once: index into the batch's messages.
    once: Option<u32>,
    batch: IngestBatch,
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
    /// Takes one message.
    pub fn message(&mut self, message: Message<'_>) {
        let Message {
            topic,
            payload,
            delivery,
            ..
        } = message;
        self.begin(topic, payload, delivery);
        if let Err((decoder, reason)) = self.read(&message) {
            let retry_at_ms = reason.retry_at_ms(self.now_ms, 1);
            self.dead_letter(
                (topic, payload, delivery),
                decoder,
                (reason.code(), reason.to_string()),
                retry_at_ms,
            );
        }
    }

    fn dead_letter(
        &mut self,
        (topic, payload, delivery): (&str, &[u8], Delivery),
        decoder: String,
        (code, reason): (&'static str, String),
        retry_at_ms: Option<i64>,
    ) {
        metrics::counter!("muster_ingest_dead_letters_total", "reason" => code).increment(1);
        let message = self.remember(topic, payload, delivery);
        self.batch.dead.push(NewDeadLetter {
            source: self.source.to_string(),
            topic: topic.to_owned(),
            decoder,
            reason,
            code: code.to_owned(),
            received_ms: self.now_ms,
            retry_at_ms,
            payload: payload.to_vec(),
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

    /// Keeps a message that nothing is to be made of as a dead letter.
    pub(in crate::app) fn reject(
        &mut self,
        topic: &str,
        payload: &[u8],
        delivery: Delivery,
        code: &'static str,
        reason: String,
    ) {
        self.begin(topic, payload, delivery);
        self.dead_letter(
            (topic, payload, delivery),
            String::new(),
            (code, reason),
            None,
        );
    }

    /// The message taken last, as [`Submission::repeated`] names it; `None` where it cannot be told from another.
    pub(in crate::app) fn last_message(&self) -> Option<u32> {
        self.once
    }

    /// Receive time of the batch being gathered, milliseconds since 1970.
    pub(in crate::app) fn received_ms(&self) -> i64 {
        self.now_ms
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
        let device_time = judged.device_ms.is_some() && !judged.flag.is_absurd();
        if kept && !device_time {
            // A value of unknown age is no reading: stored with the time of receipt it would look fresh.
            metrics::counter!("muster_ingest_kept_copies_total").increment(1);
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
                let unit = measurement.unit.as_ref().map_or("", UnitString::as_str);
                let series = self.shared.store.readings().intern_series(
                    names.device,
                    names.channel,
                    unit,
                    self.now_ms,
                )?;
                known.series.push((measurement.unit.clone(), series));
                series
            }
        };
        if !kept {
            known.device.heard(self.now_ms);
            if let Some(health) = known.health {
                known.device.note(health, measurement.value);
            }
        }
        let mut reading = NewReading {
            series,
            at_ms: judged.estimated_ms,
            device_time,
            received_ms: self.now_ms,
            value: measurement.value,
            // Rules look at approved readings only, and never at old news.
            flags: if known.device.is_approved() && !kept {
                flags::APPROVED
            } else {
                0
            },
            message: None,
        };
        if !reading.device_time || self.once.is_some() {
            // Where the sensor states a time, that tells one reading from another, and there is nothing to remember.
            reading.message = self.remember(topic, payload, delivery);
        }
        self.batch.readings.push(reading);
        Ok(())
    }

    /// Notes the message that something came in, so that it is recognised if it is sent again.
    fn remember(&mut self, topic: &str, payload: &[u8], delivery: Delivery) -> Option<u32> {
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
        if std::mem::take(&mut self.taken) == 0 {
            return None;
        }
        let batch = std::mem::take(&mut self.batch);
        let is_empty = batch.readings.is_empty()
            && batch.dead.is_empty()
            && batch.messages.is_empty()
            && batch.released.is_empty()
            && batch.mqtt.is_empty();
        self.once = None;
        let mut submission = Submission {
            shared: Arc::clone(&self.shared),
            batch,
            place: None,
            state: if is_empty {
                State::Committed
            } else {
                State::Waiting
            },
            retry: RETRY_MIN,
            repeated: Vec::new(),
            submitted_at: Instant::now(),
        };
        if at_once
            && !is_empty
            && let Ok(place) =
                Arc::clone(&self.shared.places).try_acquire_many_owned(submission.weight())
        {
            submission.place = Some(place);
            submission.start();
        }
        Some(submission)
    }
}

/// Messages on their way to the disk. Dropping it gives up on those that the store does not have yet.
pub struct Submission {
    shared: Arc<Shared>,
    /// Kept until it is committed, to try again with.
    batch: IngestBatch,
    place: Option<OwnedSemaphorePermit>,
    state: State,
    retry: Duration,
    repeated: Vec<u32>,
    submitted_at: Instant,
}

enum State {
    /// For a place, or for the batch before it.
    Waiting,
    Queued(Ticket<Ingested, CommitError>),
    /// It failed; the next attempt is then.
    Pausing(tokio::time::Instant),
    Committed,
}

impl Submission {
    /// Returns when everything in it is on the disk. May be dropped and called again.
    ///
    /// # Errors
    /// The store is closed: nothing of it will ever be committed.
    pub async fn committed(&mut self) -> Result<(), AppError> {
        loop {
            match &mut self.state {
                State::Committed => return Ok(()),
                State::Waiting => {
                    if self.place.is_none() {
                        let places = Arc::clone(&self.shared.places);
                        // Closed never: the semaphore lives as long as the store.
                        self.place = places.acquire_many_owned(self.weight()).await.ok();
                    }
                    self.start();
                }
                State::Queued(ticket) => match ticket.await {
                    Ok(ingested) => self.done(ingested),
                    Err(error) => self.pause(error)?,
                },
                State::Pausing(until) => {
                    tokio::time::sleep_until(*until).await;
                    self.start();
                }
            }
        }
    }

    /// Whether it is on the disk, without waiting.
    pub fn is_committed(&mut self) -> bool {
        if let State::Queued(ticket) = &mut self.state
            && let Some(outcome) = ticket.now_or_never()
        {
            match outcome {
                Ok(ingested) => self.done(ingested),
                // `committed` will say so, or try again.
                Err(error) => {
                    let _ = self.pause(error);
                }
            }
        }
        matches!(self.state, State::Committed)
    }

    /// Once it is committed: messages that came already, as [`IngestSession::last_message`] names them.
    pub(in crate::app) fn repeated(&self) -> &[u32] {
        &self.repeated
    }

    /// How it ended, without trying again: whether it is on the disk.
    pub(in crate::app) async fn settled(&mut self) -> bool {
        if let State::Queued(ticket) = &mut self.state
            && let Ok(ingested) = ticket.await
        {
            self.done(ingested);
        }
        matches!(self.state, State::Committed)
    }

    /// The store has it, or had it and refused.
    pub fn is_under_way(&self) -> bool {
        !matches!(self.state, State::Waiting | State::Pausing(_))
    }
}

impl Submission {
    fn weight(&self) -> u32 {
        // Never more than there are places, or it would wait for ever.
        let messages = self.batch.readings.len() + self.batch.dead.len() + self.batch.mqtt.len();
        u32::try_from(messages.clamp(1, IN_FLIGHT_MAX)).unwrap_or(u32::MAX)
    }

    fn start(&mut self) {
        let IngestBatch {
            readings,
            messages,
            dead,
            replayed,
            released,
            mqtt,
        } = &self.batch;
        let batch = IngestBatch {
            readings: readings.clone(),
            messages: messages.clone(),
            dead: dead.clone(),
            replayed: replayed.clone(),
            released: released.clone(),
            mqtt: mqtt.clone(),
        };
        self.state = State::Queued(self.shared.store.readings().ingest(batch));
        if self.shared.cheats {
            self.state = State::Committed;
        }
    }

    fn done(&mut self, ingested: Ingested) {
        self.state = State::Committed;
        self.place = None;
        metrics::counter!("muster_ingest_readings_total").increment(u64::from(ingested.stored));
        metrics::counter!("muster_ingest_duplicates_total")
            .increment(u64::from(ingested.duplicates));
        metrics::histogram!("muster_ingest_commit_seconds")
            .record(self.submitted_at.elapsed().as_secs_f64());
        self.repeated = ingested.repeated;
    }

    /// Plans the next attempt.
    ///
    /// # Errors
    /// There is none: the store is closed.
    fn pause(&mut self, error: CommitError) -> Result<(), AppError> {
        let pause = if let CommitError::Busy { .. } = error {
            BUSY_PAUSE
        } else {
            self.retry
        };
        self.state = State::Pausing(tokio::time::Instant::now() + pause);
        match error {
            CommitError::Busy { .. } => Ok(()),
            CommitError::Closed => Err(AppError::Fault {
                context: "store readings",
                source: Box::new(error),
            }),
            other => {
                metrics::counter!("muster_ingest_commit_failures_total").increment(1);
                let retry_in_ms = pause.as_millis() as u64;
                tracing::error!(error = %other, retry_in_ms, "readings are not stored and not acknowledged");
                self.retry = (self.retry * 2).min(RETRY_MAX);
                Ok(())
            }
        }
    }
}

/// How dead letters name Muster's own decoder.
fn muster_decoder() -> String {
    format!("{} {}", MUSTER_DECODER.0, MUSTER_DECODER.1)
}

/// Which time of a reading counts; a clock that cannot be believed is counted.
pub(in crate::app) fn judged(device_time_ms: Option<i64>, received_ms: i64) -> JudgedTime {
    let limits = if received_ms < CLOCK_SET_MS {
        TimeLimits {
            past_ms: u64::MAX,
            future_ms: u64::MAX,
        }
    } else {
        TIMES_BELIEVED
    };
    let judged = judge_time(device_time_ms, received_ms, limits);
    if judged.flag.is_absurd() {
        metrics::counter!("muster_ingest_absurd_clocks_total", "flag" => judged.flag.code())
            .increment(1);
    }
    judged
}

/// Tells one message of a packet id from the next. Stored beside readings: the same in every version of the program.
///
/// Not cryptographic: a sender that forges collisions loses its own readings.
fn message_hash(topic: &str, payload: &[u8]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64 ^ topic.len() as u64;
    for part in [topic.as_bytes(), payload] {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = fold(hash ^ u64::from_le_bytes(last) ^ ((rest.len() as u64) << 56));
    }
    hash
}

/// The two halves of a full product, added without carry (as wyhash does); the odd constant is 2⁶⁴ divided by the golden
/// ratio.
fn fold(word: u64) -> u64 {
    let product = u128::from(word ^ 0xa076_1d64_78bd_642f) * 0x9e37_79b9_7f4a_7c15;
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_message_is_the_same_for_ever() {
        assert_eq!(
            message_hash("muster/v1/a/b", b"21.5"),
            0x9338_0b59_2d8e_532b
        );
    }

    #[test]
    fn moving_a_byte_between_topic_and_payload_changes_the_hash() {
        assert_ne!(message_hash("ab", b"c"), message_hash("a", b"bc"));
        assert_ne!(message_hash("a", b"\0"), message_hash("a", b""));
        assert_ne!(
            message_hash("a", b"12345678"),
            message_hash("a", b"12345679")
        );
    }
}
