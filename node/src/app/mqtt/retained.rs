//! Retained messages (MQTT 5 §3.3.1.3): the last of a topic, for whoever subscribes later.
//!
//! Invariant: memory and file hold the same, within [`RETAINED_MAX`] and [`RETAINED_BYTES_MAX`]. What does not fit is
//! not kept, and counted: dropping another topic's message would break what its publisher was promised.

use std::collections::BTreeMap;
use std::sync::Arc;

use store::MqttMessage;

use super::topics::fits;

/// Topics with a retained message: a few for each of a thousand devices.
pub const RETAINED_MAX: usize = 10_000;
/// Their bytes, topics included.
pub const RETAINED_BYTES_MAX: usize = 16 << 20;
/// Of one device or, outside of `muster/v1`, of one first level: one hostile device leaves room for the others.
const RETAINED_OF_ONE_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Retained {
    by_topic: BTreeMap<Box<str>, Arc<MqttMessage>>,
    of_one: BTreeMap<Box<str>, usize>,
    bytes: usize,
}

impl Retained {
    pub(super) fn restore(messages: Vec<MqttMessage>) -> Self {
        let mut retained = Retained::default();
        for message in messages {
            retained.put(Arc::new(message));
        }
        retained
    }

    /// Keeps it in the place of the one before; answers whether there was room.
    pub(super) fn put(&mut self, message: Arc<MqttMessage>) -> bool {
        let before = self.by_topic.get(&message.topic).map_or(0, |old| cost(old));
        let bytes = self.bytes - before + cost(&message);
        let group = group(&message.topic);
        let of_one = self.of_one.get(group).copied().unwrap_or(0);
        let is_new = before == 0;
        if bytes > RETAINED_BYTES_MAX
            || (is_new && (self.by_topic.len() >= RETAINED_MAX || of_one >= RETAINED_OF_ONE_MAX))
        {
            metrics::counter!("muster_mqtt_retained_refused_total").increment(1);
            return false;
        }
        if is_new {
            *self.of_one.entry(group.into()).or_default() += 1;
        }
        self.bytes = bytes;
        self.by_topic.insert(message.topic.clone(), message);
        true
    }

    /// Forgets it; answers whether there was one.
    pub(super) fn remove(&mut self, topic: &str) -> bool {
        let Some(old) = self.by_topic.remove(topic) else {
            return false;
        };
        self.bytes -= cost(&old);
        let group = group(topic);
        if let Some(count) = self.of_one.get_mut(group) {
            *count -= 1;
            if *count == 0 {
                self.of_one.remove(group);
            }
        }
        true
    }

    /// Those that fit a filter and are still of use.
    pub(super) fn matching(&self, filter: &str, now_ms: i64) -> Vec<Arc<MqttMessage>> {
        let alive =
            |message: &&Arc<MqttMessage>| message.expires_ms.is_none_or(|expires| expires > now_ms);
        if !filter.contains(['+', '#']) {
            let found = self.by_topic.get(filter).filter(alive);
            return found.cloned().into_iter().collect();
        }
        self.by_topic
            .values()
            .filter(|message| fits(filter, &message.topic))
            .filter(alive)
            .cloned()
            .collect()
    }
}

/// `muster/v1/<device>`, or the first level.
fn group(topic: &str) -> &str {
    let levels = if topic.starts_with(sensor_drivers::TOPIC_PREFIX) {
        3
    } else {
        1
    };
    topic
        .match_indices('/')
        .nth(levels - 1)
        .map_or(topic, |(end, _)| &topic[..end])
}

fn cost(message: &MqttMessage) -> usize {
    128 + 2 * message.topic.len() + message.payload.len() + message.properties.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(topic: &str, bytes: usize) -> Arc<MqttMessage> {
        Arc::new(MqttMessage {
            topic: topic.into(),
            payload: vec![1; bytes].into(),
            properties: Box::default(),
            qos: 1,
            received_ms: 0,
            expires_ms: None,
        })
    }

    #[test]
    fn one_device_leaves_room_for_the_others() {
        let mut retained = Retained::default();
        for n in 0..RETAINED_OF_ONE_MAX {
            assert!(retained.put(message(&format!("muster/v1/hostile/{n}"), 1)));
        }
        assert!(!retained.put(message("muster/v1/hostile/more", 1)));
        assert!(
            retained.put(message("muster/v1/hostile/0", 2)),
            "another value needs no room"
        );
        assert!(retained.put(message("muster/v1/other/level", 1)));
        assert!(retained.remove("muster/v1/hostile/0"));
        assert!(retained.put(message("muster/v1/hostile/more", 1)));
    }

    #[test]
    fn too_many_bytes_are_not_kept() {
        let mut retained = Retained::default();
        let mut kept = 0;
        for n in 0..2_000 {
            kept += usize::from(retained.put(message(&format!("big{n}/x"), 60_000)));
        }
        assert!(retained.bytes <= RETAINED_BYTES_MAX);
        assert!((200..300).contains(&kept), "{kept}");
    }
}
