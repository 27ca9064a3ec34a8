//! Half of a connection: owns the client's event loop, and takes a place for every message before it hands it on.

use std::sync::Arc;

use bytes::Bytes;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, Packet, Publish, QoS,
    SubscribeReasonCode,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::cutter::CUT_BYTES;
use super::settings::BrokerSettings;
use super::trial::Trial;
use crate::app::App;
use crate::app::brokers::BrokerPhase;

/// Messages of one broker that are not committed: brokers allow a client 20 to some hundred in flight at QoS 1 and 2;
/// for QoS 0 it is what the node takes in while a commit runs.
pub(super) const UNACKED_MAX: usize = 1_024;
/// Their payloads together: messages of a broker are small, and 16 brokers must not take a small computer's memory.
pub(super) const UNACKED_BYTES_MAX: usize = 16 << 20;
/// So much is kept of a message that was cut: what it was can be seen, and no decoder takes it for a whole one.
const CUT_KEPT_BYTES: usize = sensor_drivers::JSON_BYTES_MAX + 1;

/// Room for messages that are not committed.
pub(super) struct Places {
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new() -> Self {
        Places {
            messages: Arc::new(Semaphore::new(UNACKED_MAX)),
            bytes: Arc::new(Semaphore::new(UNACKED_BYTES_MAX)),
        }
    }

    /// `None` never: nobody closes what is ours.
    async fn take(&self, publish: Publish, is_cut: bool) -> Option<Held> {
        // A packet is smaller than the room for all of them.
        let bytes = u32::try_from(publish.payload.len()).ok()?;
        Some(Held {
            _place: Arc::clone(&self.messages).acquire_owned().await.ok()?,
            _bytes: Arc::clone(&self.bytes)
                .acquire_many_owned(bytes)
                .await
                .ok()?,
            publish,
            is_cut,
        })
    }
}

/// A message with its place.
pub(super) struct Held {
    pub(super) publish: Publish,
    /// It is the beginning of one that is too large.
    pub(super) is_cut: bool,
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// See the module.
pub(super) struct Pump<'a> {
    pub(super) settings: &'a BrokerSettings,
    pub(super) quality: QoS,
    pub(super) app: &'a Arc<App>,
    pub(super) trial: &'a Trial,
    /// Subscriptions that the broker has not answered.
    pub(super) unanswered: usize,
    pub(super) client: AsyncClient,
    pub(super) eventloop: EventLoop,
    pub(super) places: Places,
    pub(super) messages: mpsc::Sender<Held>,
}

impl Pump<'_> {
    pub(super) async fn run(mut self) -> String {
        loop {
            let packet = match self.eventloop.poll().await {
                Ok(Event::Incoming(packet)) => packet,
                Ok(Event::Outgoing(_)) => continue,
                Err(error) => return describe(&error),
            };
            match packet {
                Packet::ConnAck(_) => {
                    if let Err(why) = self.subscribe().await {
                        return why;
                    }
                }
                Packet::SubAck(answer) => {
                    let refused = answer.return_codes.contains(&SubscribeReasonCode::Failure);
                    if refused {
                        // Staying would look like a quiet network.
                        return "the broker refuses the subscription".to_owned();
                    }
                    self.unanswered = self.unanswered.saturating_sub(1);
                    if self.unanswered == 0 {
                        self.connected();
                    }
                }
                Packet::Publish(publish) => {
                    if let Err(why) = self.hand_on(publish).await {
                        return why;
                    }
                }
                _ => {}
            }
        }
    }

    async fn hand_on(&mut self, mut publish: Publish) -> Result<(), String> {
        let is_cut = remaining_length(&publish) == CUT_BYTES;
        if is_cut {
            metrics::counter!("muster_broker_messages_cut_total", "broker" => self.settings.name.clone())
                .increment(1);
            let kept = publish.payload.len().min(CUT_KEPT_BYTES);
            // A copy, so that the rest takes no memory.
            publish.payload = Bytes::copy_from_slice(&publish.payload[..kept]);
        }
        let held = self.places.take(publish, is_cut).await;
        let held = held.ok_or("the node stops")?;
        self.app
            .brokers()
            .update(&self.settings.name, |view| view.messages += 1);
        self.messages
            .send(held)
            .await
            .map_err(|_| "messages cannot be stored".to_owned())
    }

    async fn subscribe(&self) -> Result<(), String> {
        for filter in &self.settings.subscribe {
            self.client
                .subscribe(filter, self.quality)
                .await
                .map_err(|error| format!("subscribe to {filter}: {error}"))?;
        }
        Ok(())
    }

    /// The broker has taken us and every subscription.
    fn connected(&self) {
        self.trial.subscribed();
        let now_ms = self.app.clock().wall_ms();
        tracing::info!(broker = self.settings.name, "connected with the broker");
        self.app.brokers().update(&self.settings.name, |view| {
            view.phase = BrokerPhase::Connected;
            view.connected_since_ms = Some(now_ms);
        });
    }
}

/// Of the packet that it came in (MQTT 3.1.1 §3.3).
fn remaining_length(publish: &Publish) -> usize {
    let packet_id = match publish.qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce | QoS::ExactlyOnce => 2,
    };
    2 + publish.topic.len() + packet_id + publish.payload.len()
}

/// What went wrong, for people: not what a library calls it.
fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
                "the broker does not accept our user name and password".to_owned()
            }
            ConnectReturnCode::BadClientId => "the broker does not accept our client id".to_owned(),
            other => format!("the broker refuses us: {other:?}"),
        },
        ConnectionError::Io(error) => format!("no connection: {error}"),
        ConnectionError::NetworkTimeout => "the broker does not answer".to_owned(),
        other => other.to_string(),
    }
}
