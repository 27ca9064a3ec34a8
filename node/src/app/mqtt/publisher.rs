//! One client's publishing: to ingest, to the retained messages, to subscribers, in one commit.
//!
//! Invariant: subscribers get a message when its commit has succeeded, each once, however often its publisher sends it
//! under one packet id of QoS 2.

use std::sync::Arc;

use store::{MqttChange, MqttMessage};

use super::Mqtt;
use super::rights::Rights;
use super::session::{Ended, Session};
use super::state::device_of_state;
use super::submission::{Published, Submission, Target, dropped};
use super::topics::{TOPIC_BYTES_MAX, is_publishable, reserved};
use super::words::Qos;
use crate::app::ingest::{Delivery, IngestSession, Message};

/// A message as a client published it.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: Qos,
    /// At most so it is delivered; a will has one without being acknowledged.
    pub wanted_qos: u8,
    pub retain: bool,
    /// Properties of MQTT 5 as on the wire, without expiry, alias and identifiers.
    pub properties: &'a [u8],
    pub expiry_s: Option<u32>,
}

/// A message is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishRefused {
    /// The account may not publish there.
    NotAuthorised,
    /// Too many messages of QoS 2 are not released.
    Quota,
}

/// See the module.
pub struct Publisher {
    mqtt: Mqtt,
    session: Option<Arc<Session>>,
    rights: Rights,
    bridge: bool,
    ingest: IngestSession,
    published: Vec<Published>,
    /// It has used packet ids of QoS 2.
    exactly_once: bool,
}

impl Publisher {
    pub(super) fn new(
        mqtt: Mqtt,
        session: Option<Arc<Session>>,
        rights: Rights,
        bridge: bool,
    ) -> Publisher {
        let number = session.as_ref().and_then(|session| session.number);
        let mut ingest = mqtt.0.ingest.session_of("mqtt", number);
        if rights == Rights::Anyone {
            ingest.of_nobody();
        }
        Publisher {
            mqtt,
            session,
            rights,
            bridge,
            ingest,
            published: Vec::new(),
            exactly_once: false,
        }
    }

    /// What it publishes is no sign of life.
    pub(super) fn speaks_for_the_absent(&mut self) {
        self.ingest.of_the_absent();
    }

    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// Whether it has used packet ids of QoS 2.
    pub fn used_exactly_once(&self) -> bool {
        self.exactly_once
    }

    /// Takes a message.
    ///
    /// # Errors
    /// [`PublishRefused`]: nothing of it is kept.
    pub fn publish(&mut self, incoming: Incoming<'_>) -> Result<(), PublishRefused> {
        let Incoming { topic, payload, .. } = incoming;
        if !self.rights.may_publish(topic, self.mqtt.0.devices.claims()) {
            metrics::counter!("muster_mqtt_publish_refused_total", "reason" => "not-authorised")
                .increment(1);
            return Err(PublishRefused::NotAuthorised);
        }
        let Some(delivery) = self.delivery(incoming.qos)? else {
            return Ok(());
        };
        let message = Message {
            topic,
            payload,
            delivery,
            kept: self.bridge && incoming.retain,
        };
        if topic.len() > TOPIC_BYTES_MAX {
            let reason = format!(
                "topic of {} bytes: at most {TOPIC_BYTES_MAX} are accepted",
                topic.len()
            );
            self.ingest.reject(message, "topic-too-long", reason);
            return Ok(());
        }
        if incoming.retain && payload.is_empty() {
            // §3.3.1.3: it says that nothing is retained any more, and nothing else.
            self.ingest.bare_message(delivery);
        } else if let Some(device) = device_of_state(topic) {
            self.mqtt.take_state(&mut self.ingest, device, message);
        } else {
            self.ingest.message(message);
        }
        // Commands come from people, through the API: nobody else's reach a device.
        let is_command = reserved(topic, "/cmd").is_some();
        if (incoming.retain || self.mqtt.is_listened_to()) && !is_command && is_publishable(topic) {
            self.pass_on(&incoming);
        }
        Ok(())
    }

    /// `None` for a message that this connection has taken already.
    fn delivery(&mut self, qos: Qos) -> Result<Option<Delivery>, PublishRefused> {
        Ok(Some(match qos {
            Qos::Zero => Delivery::AtMostOnce,
            Qos::One { packet_id, dup } => Delivery::AtLeastOnce {
                packet_id,
                redelivered: dup,
            },
            Qos::Two { packet_id } => {
                self.exactly_once = true;
                let Some(session) = &self.session else {
                    return Ok(Some(Delivery::AtMostOnce));
                };
                match (session.take_packet_id(packet_id), session.number) {
                    (Err(_), _) => {
                        metrics::counter!("muster_mqtt_publish_refused_total", "reason" => "quota")
                            .increment(1);
                        return Err(PublishRefused::Quota);
                    }
                    // The store knows which it has.
                    (Ok(_), Some(_)) => Delivery::ExactlyOnce { packet_id },
                    (Ok(true), None) => return Ok(None),
                    (Ok(false), None) => Delivery::AtMostOnce,
                }
            }
        }))
    }

    fn pass_on(&mut self, incoming: &Incoming<'_>) {
        let takers = if self.mqtt.is_listened_to() {
            self.mqtt.takers(incoming.topic)
        } else {
            Vec::new()
        };
        if takers.is_empty() && !incoming.retain {
            return;
        }
        let received_ms = self.ingest.received_ms();
        let message = Arc::new(MqttMessage {
            topic: incoming.topic.into(),
            payload: incoming.payload.into(),
            properties: incoming.properties.into(),
            qos: incoming.wanted_qos,
            received_ms,
            expires_ms: incoming
                .expiry_s
                .map(|expiry_s| received_ms.saturating_add(i64::from(expiry_s) * 1_000)),
        });
        let origin = self.ingest.last_message();
        if incoming.retain {
            self.retain(&message, origin);
        }
        let mut targets = Vec::with_capacity(takers.len());
        for (taker, identifiers) in takers {
            let is_own = self
                .session
                .as_ref()
                .is_some_and(|own| Arc::ptr_eq(own, &taker.session));
            if is_own && taker.grant.no_local {
                continue;
            }
            let retain = incoming.retain && taker.grant.retain_as_published;
            let qos = taker.grant.qos.min(incoming.wanted_qos);
            let mut target = Target {
                session: taker.session,
                retain,
                identifiers,
                promised: None,
            };
            if qos == 0 || self.promise(&mut target, &message, qos, origin) {
                targets.push(target);
            }
        }
        if !targets.is_empty() {
            self.published.push(Published {
                message,
                origin,
                targets,
            });
        }
    }

    fn promise(
        &mut self,
        target: &mut Target,
        message: &Arc<MqttMessage>,
        qos: u8,
        origin: Option<u32>,
    ) -> bool {
        let session = &target.session;
        let identifiers = target.identifiers.clone();
        match session.promise(message, qos, target.retain, identifiers, None) {
            Ok(outgoing) => {
                target.promised = Some(outgoing.number);
                if let Some(number) = session.persistent() {
                    let change = MqttChange::Enqueued {
                        session: number,
                        outgoing,
                    };
                    self.ingest.attach(change, origin);
                }
                true
            }
            Err(_) => {
                dropped("queue-full");
                if session.is_connected() && session.is_behind() {
                    session.end(Ended::TooSlow);
                }
                false
            }
        }
    }

    fn retain(&mut self, message: &Arc<MqttMessage>, origin: Option<u32>) {
        let mut retained = self.mqtt.0.retained.lock();
        let change = if message.payload.is_empty() {
            retained
                .remove(&message.topic)
                .then(|| MqttChange::RetainedForgotten {
                    topic: message.topic.to_string(),
                })
        } else {
            retained
                .put(Arc::clone(message))
                .then(|| MqttChange::Retained(Arc::clone(message)))
        };
        drop(retained);
        if let Some(change) = change {
            self.ingest.attach(change, origin);
        }
    }

    /// Whether what was taken should be submitted before more is ([`IngestSession::has_taken_long`]).
    pub fn has_taken_long(&self) -> bool {
        self.ingest.has_taken_long()
    }

    /// PUBREL came: the packet id is free when this is on the disk.
    pub fn release(&mut self, packet_id: u16) {
        if let Some(session) = &self.session {
            session.release_packet_id(packet_id);
        }
        self.ingest.release(packet_id);
    }

    /// Something to be stored with the next submission.
    pub fn store(&mut self, changes: Vec<MqttChange>) {
        for change in changes {
            self.ingest.attach(change, None);
        }
    }

    /// The client has a message that was sent to it, or will not have it.
    pub fn finished(&mut self, packet_id: u16, taken: bool) {
        let Some(session) = &self.session else { return };
        let (change, command) = session.finished(packet_id);
        if let Some(change) = change {
            self.ingest.attach(change, None);
        }
        if let Some(command) = command
            && taken
        {
            self.mqtt.command_taken(&command, &self.rights);
        }
    }

    /// PUBREC came; answers whether for a message that was sent. What this changes has to be stored before PUBREL.
    pub fn received(&mut self, packet_id: u16) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        let (known, change) = session.received(packet_id);
        if let Some(change) = change {
            self.ingest.attach(change, None);
        }
        known
    }

    /// Sends what has gathered to the store; `None` if nothing has. `at_once` as in [`IngestSession::submit`].
    pub fn submit(&mut self, at_once: bool) -> Option<Submission> {
        let inner = self.ingest.submit(at_once)?;
        Some(Submission::new(inner, std::mem::take(&mut self.published)))
    }
}
