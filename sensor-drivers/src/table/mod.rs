//! Which decoder a topic's messages go to.
//!
//! Invariants: `muster/v1/#` is built in, first, and nobody's to change; of the configured entries the first that covers
//! the topic counts; a table that was built has no entry that could fail for anything but its messages.

mod build;
mod channels;
mod config;
pub(crate) mod pattern;
pub(crate) mod template;

use std::sync::Arc;

pub use channels::{CHANNELS_MAX, ChannelConfig};
pub use config::{ConfigError, ConfigErrors, DecoderConfig, FormatConfig, IgnoreOptions};

use channels::Channels;
use pattern::Pattern;

use crate::script::ScriptHost;
use crate::{DecodeError, Decoded, Decoder, Message, TOPIC_PREFIX, decode_payload, decode_topic};

/// Entries of one table. They are asked one after the other for every topic that a session has not seen: some
/// microseconds at most.
pub const ENTRIES_MAX: usize = 256;

/// The decoders of a node. Cheap to look up in, and replaced as a whole.
#[derive(Default)]
pub struct DecoderTable {
    entries: Vec<Arc<Entry>>,
}

/// A configured decoder.
pub struct Entry {
    name: String,
    version: String,
    topic: String,
    pattern: Pattern,
    channels: Channels,
    decoder: Box<dyn Decoder>,
}

/// Where a topic's messages go.
#[derive(Clone, Copy)]
pub enum Route<'t> {
    /// Muster's own topics: one reading a message, by [`decode_topic`] and [`decode_payload`], without an allocation.
    Muster,
    /// A configured decoder; may be kept for later messages of the topic.
    Entry(&'t Arc<Entry>),
}

/// How dead letters name Muster's own decoder.
pub const MUSTER_DECODER: (&str, &str) = ("muster", "1");

impl DecoderTable {
    /// Builds a table from the configuration, in its order.
    ///
    /// # Errors
    /// Everything that is wrong, each with its entry.
    pub fn build(configs: &[DecoderConfig], host: ScriptHost) -> Result<Self, ConfigErrors> {
        build::table(configs, host)
    }

    /// Where the messages of a topic go; `None` for a topic that nothing covers.
    pub fn route(&self, topic: &str) -> Option<Route<'_>> {
        if topic.starts_with(TOPIC_PREFIX) || topic == TOPIC_PREFIX.trim_end_matches('/') {
            return Some(Route::Muster);
        }
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.pattern.covers(topic));
        entry.map(Route::Entry)
    }

    /// Decodes a message whatever its topic, also one of Muster's own: for replaying dead letters, for trying out.
    ///
    /// # Errors
    /// What makes it a dead letter, [`DecodeError::UnknownTopic`] among it.
    pub fn decode(&self, message: &Message<'_>) -> Result<Decoded, DecodeError> {
        match self.route(message.topic) {
            None => Err(DecodeError::UnknownTopic),
            Some(Route::Entry(entry)) => entry.decode(message),
            Some(Route::Muster) => muster(message),
        }
    }

    /// The configured entries in their order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(Arc::as_ref)
    }
}

impl Entry {
    /// How it is called in dead letters and counters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells what decoded: the format's revision and a hash over the entry, `1-9f86d081884c7d65`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its topic filter.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// It may take milliseconds: not for the thread that serves connections.
    pub fn takes_time(&self) -> bool {
        self.decoder.takes_time()
    }

    /// Decodes a message whose topic this entry covers.
    ///
    /// # Errors
    /// What makes it a dead letter.
    pub fn decode(&self, message: &Message<'_>) -> Result<Decoded, DecodeError> {
        let mut decoded = self.decoder.decode(message)?;
        self.channels.apply(&mut decoded)?;
        Ok(decoded)
    }
}

fn muster(message: &Message<'_>) -> Result<Decoded, DecodeError> {
    let topic = decode_topic(message.topic)?;
    let measurement = decode_payload(message.payload)?;
    let mut decoded = Decoded::default();
    let device = decoded.device(topic.device)?;
    decoded.sample(
        device,
        topic.channel,
        measurement.value,
        measurement.unit,
        measurement.device_time_ms,
    )?;
    Ok(decoded)
}

#[cfg(test)]
mod tests;
