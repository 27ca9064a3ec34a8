//! The other half of a connection: stores what came, and acknowledges it after the commit.

use std::collections::VecDeque;

use rumqttc::{AsyncClient, QoS};
use tokio::sync::mpsc;

use super::cutter::WHOLE_BYTES_MAX;
use super::pump::Held;
use super::trial::Trial;
use crate::app::ingest::{Delivery, IngestSession, Message, Submission};
use crate::app::mqtt::{Mqtt, TOPIC_BYTES_MAX, device_of_state};

/// Messages of one batch.
const BATCH_MAX: usize = 256;
/// Batches on their way to the disk: one being written, one waiting.
const FLIGHTS_MAX: usize = 2;

/// A batch on its way to the disk.
struct Flight {
    submission: Submission,
    held: Vec<Held>,
}

/// See the module.
pub(super) struct Taker<'a> {
    client: AsyncClient,
    mqtt: Mqtt,
    session: IngestSession,
    received: mpsc::Receiver<Held>,
    flights: VecDeque<Flight>,
    trial: &'a Trial,
}

impl<'a> Taker<'a> {
    pub(super) fn new(
        client: AsyncClient,
        mqtt: Mqtt,
        session: IngestSession,
        received: mpsc::Receiver<Held>,
        trial: &'a Trial,
    ) -> Self {
        Taker {
            client,
            mqtt,
            session,
            received,
            flights: VecDeque::new(),
            trial,
        }
    }

    pub(super) async fn run(mut self) -> String {
        loop {
            let has_room = self.flights.len() < FLIGHTS_MAX;
            let committed = async {
                match self.flights.front_mut() {
                    Some(flight) => flight.submission.committed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                outcome = committed => {
                    if let Err(error) = outcome {
                        return error.to_string();
                    }
                    if let Err(why) = self.acknowledge() {
                        return why;
                    }
                }
                first = self.received.recv(), if has_room => match first {
                    Some(first) => self.take(first),
                    None => return "the connection is closed".to_owned(),
                },
            }
        }
    }

    /// Makes a batch of what is there.
    fn take(&mut self, first: Held) {
        let mut held = Vec::new();
        let mut next = Some(first);
        while let Some(one) = next {
            self.note(&one);
            held.push(one);
            next = if held.len() < BATCH_MAX && !self.session.has_taken_long() {
                self.received.try_recv().ok()
            } else {
                None
            };
        }
        // In order behind one that waits for room.
        let at_once = self
            .flights
            .back()
            .is_none_or(|flight| flight.submission.is_under_way());
        if let Some(submission) = self.session.submit(at_once) {
            self.flights.push_back(Flight { submission, held });
        }
    }

    fn note(&mut self, held: &Held) {
        let publish = &held.publish;
        let delivery = match publish.qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Delivery::AtLeastOnce {
                packet_id: publish.pkid,
                redelivered: publish.dup,
            },
        };
        // A broker that sends no UTF-8 breaks the standard; what it says becomes a dead letter that shows it.
        let topic = String::from_utf8_lossy(&publish.topic);
        let message = Message {
            topic: &topic,
            payload: &publish.payload,
            delivery,
            kept: publish.retain,
        };
        if let Some((code, reason)) = refusal(held, &topic) {
            self.session.reject(message, code, reason);
        } else if let Some(device) = device_of_state(&topic) {
            self.mqtt.take_state(&mut self.session, device, message);
        } else {
            self.session.message(message);
        }
    }

    /// The front batch is on the disk.
    fn acknowledge(&mut self) -> Result<(), String> {
        let Some(flight) = self.flights.pop_front() else {
            return Ok(());
        };
        for held in &flight.held {
            self.client
                .try_ack(&held.publish)
                .map_err(|error| format!("acknowledge to the broker: {error}"))?;
        }
        // What a broker kept comes in every connection, before whatever ends it.
        if flight.held.iter().any(|held| !held.publish.retain) {
            self.trial.stored();
        }
        Ok(())
    }
}

/// Why nothing is made of a message, as a stable name and for people.
fn refusal(held: &Held, topic: &str) -> Option<(&'static str, String)> {
    if held.is_cut {
        let reason = format!(
            "the message has more than {} KiB, which is what is taken from a broker: only its beginning is here. Where \
             nothing on this topic is a reading, leave the topic out of the broker's `subscribe`",
            WHOLE_BYTES_MAX / 1024
        );
        return Some(("payload-too-large", reason));
    }
    let reason = format!(
        "topic of {} bytes: at most {TOPIC_BYTES_MAX} are accepted",
        topic.len()
    );
    (topic.len() > TOPIC_BYTES_MAX).then_some(("topic-too-long", reason))
}
