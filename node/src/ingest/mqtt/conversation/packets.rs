//! What each packet of a client does, and what it is answered after the commit.

use super::Conversation;
use crate::app::mqtt::{FilterRefused, Incoming, PublishRefused, Qos, SubscribeRequest};
use crate::ingest::mqtt::encode::{ack, push_ack, push_codes};
use crate::ingest::mqtt::frame::{Publish, Version};
use crate::ingest::mqtt::packets::{Ack, Subscribe, Unsubscribe};
use crate::ingest::mqtt::protocol::Step;
use crate::ingest::mqtt::refusal::Refusal;
use crate::ingest::mqtt::{RECEIVE_MAXIMUM, reason};

impl Conversation<'_> {
    pub(super) fn publish(&mut self, publish: &Publish<'_>) -> Result<(), Refusal> {
        let qos = publish.qos;
        if qos != Qos::Zero {
            self.unsettled += 1;
            // In version 3.1.1 nobody can say how many; not reading holds such a client back.
            if self.version == Version::V5 && self.unsettled > usize::from(RECEIVE_MAXIMUM) {
                return Err(Refusal::ReceiveMaximum(RECEIVE_MAXIMUM));
            }
        }
        let forwarded = publish.properties.forwarded();
        let published = self.publisher.publish(Incoming {
            topic: publish.topic,
            payload: publish.payload,
            qos,
            wanted_qos: qos.level(),
            retain: publish.retain,
            properties: &forwarded,
            expiry_s: publish.properties.expiry_s,
        });
        let reason_code = match (published, self.version) {
            (Ok(()), _) => reason::SUCCESS,
            // §3.3.5 of 3.1.1: there is no way to say no but to part.
            (Err(PublishRefused::NotAuthorised), Version::V3) => {
                return Err(Refusal::PublishNotAuthorized(cut(publish.topic)));
            }
            (Err(PublishRefused::Quota), Version::V3) => return Err(Refusal::Unreleased),
            (Err(PublishRefused::NotAuthorised), Version::V5) => reason::NOT_AUTHORIZED,
            (Err(PublishRefused::Quota), Version::V5) => reason::QUOTA_EXCEEDED,
        };
        match qos {
            Qos::Zero => {}
            Qos::One { packet_id, .. } => {
                push_ack(ack::PUBACK, packet_id, reason_code, &mut self.answers.bytes);
                self.answers.settled += 1;
            }
            Qos::Two { packet_id } => {
                push_ack(ack::PUBREC, packet_id, reason_code, &mut self.answers.bytes);
                if reason_code >= reason::FIRST_ERROR {
                    self.answers.settled += 1;
                }
            }
        }
        Ok(())
    }

    pub(super) fn control(&mut self, step: Step<'_>) {
        match step {
            Step::Pubrel(Ack { packet_id, .. }) => {
                self.publisher.release(packet_id);
                push_ack(
                    ack::PUBCOMP,
                    packet_id,
                    reason::SUCCESS,
                    &mut self.answers.bytes,
                );
                self.answers.settled += 1;
            }
            Step::Puback(ack) => {
                let taken = ack.reason_code < reason::FIRST_ERROR;
                self.publisher.finished(ack.packet_id, taken);
            }
            Step::Pubcomp(ack) => self.publisher.finished(ack.packet_id, true),
            Step::Pubrec(ack) if ack.reason_code >= reason::FIRST_ERROR => {
                self.publisher.finished(ack.packet_id, false);
            }
            Step::Pubrec(Ack { packet_id, .. }) => {
                let known = self.publisher.received(packet_id);
                let reason_code = if known || self.version == Version::V3 {
                    reason::SUCCESS
                } else {
                    reason::PACKET_IDENTIFIER_NOT_FOUND
                };
                push_ack(ack::PUBREL, packet_id, reason_code, &mut self.answers.bytes);
            }
            Step::Subscribe(subscribe) => self.subscribe(&subscribe),
            Step::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe),
            // The second CONNECT cannot come: the protocol refuses it. The others are taken before.
            Step::Connect(_)
            | Step::Publish(_)
            | Step::Ping
            | Step::Disconnect(_)
            | Step::NeedMore => {}
        }
    }

    fn subscribe(&mut self, subscribe: &Subscribe) {
        let mut changes = Vec::new();
        let codes: Vec<u8> = subscribe
            .filters
            .iter()
            .map(|filter| {
                let request = SubscribeRequest {
                    filter: &filter.filter,
                    qos: filter.qos,
                    no_local: filter.no_local,
                    retain_as_published: filter.retain_as_published,
                    retain_handling: filter.retain_handling,
                    identifier: subscribe.identifier,
                };
                let granted = self.mqtt.subscribe(
                    &self.session,
                    self.publisher.rights(),
                    &request,
                    &mut changes,
                );
                granted.unwrap_or_else(|refused| {
                    metrics::counter!("muster_mqtt_subscriptions_refused_total").increment(1);
                    match (self.version, refused) {
                        // [MQTT-3.8.4-5]: there is one code for all.
                        (Version::V3, _) => 0x80,
                        (Version::V5, FilterRefused::Invalid) => reason::TOPIC_FILTER_INVALID,
                        (Version::V5, FilterRefused::Shared) => {
                            reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
                        }
                        (Version::V5, FilterRefused::NotAllowed) => reason::NOT_AUTHORIZED,
                        (Version::V5, FilterRefused::TooMany) => reason::QUOTA_EXCEEDED,
                    }
                })
            })
            .collect();
        self.publisher.store(changes);
        self.answers.subacks += 1;
        self.subacks += 1;
        push_codes(
            0x90,
            self.version,
            subscribe.packet_id,
            &codes,
            &mut self.answers.bytes,
        );
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) {
        let mut changes = Vec::new();
        let codes: Vec<u8> = unsubscribe
            .filters
            .iter()
            .map(|filter| {
                if self.mqtt.unsubscribe(&self.session, filter, &mut changes) {
                    reason::SUCCESS
                } else {
                    reason::NO_SUBSCRIPTION_EXISTED
                }
            })
            .collect();
        self.publisher.store(changes);
        let codes = match self.version {
            Version::V3 => &[][..],
            Version::V5 => &codes,
        };
        push_codes(
            0xb0,
            self.version,
            unsubscribe.packet_id,
            codes,
            &mut self.answers.bytes,
        );
    }
}

/// A topic as it goes into a message for people.
fn cut(topic: &str) -> String {
    topic[..topic.floor_char_boundary(100)].to_owned()
}
