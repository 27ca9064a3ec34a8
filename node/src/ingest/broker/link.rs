//! The connection with one broker: made, kept, made again; messages to the store, acknowledgements back.
//!
//! Two halves run side by side, so that neither waits for the other while it holds something that the other needs: the
//! pump owns rumqttc's event loop and takes a place for every message before it hands it on; the taker stores what came
//! and gives the places back with the acknowledgements. The queue of acknowledgements has room for every place twice, so
//! that it is never full.

use std::collections::VecDeque;
use std::sync::Arc;

use rand::RngExt;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, Packet,
    Publish, QoS, SubscribeReasonCode,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::breaker::{Breaker, Circuit};
use super::settings::BrokerSettings;
use crate::app::App;
use crate::app::brokers::{BrokerPhase, BrokerView};
use crate::app::ingest::{Delivery, IngestSession, Message, SessionKey, Submission};

/// Messages of one broker that are not committed: brokers allow a client 20 to some hundred in flight at QoS 1 and 2;
/// for QoS 0 it is what the node takes in while a commit runs.
pub(super) const UNACKED_MAX: usize = 1_024;
/// Messages of one batch.
const BATCH_MAX: usize = 256;
/// Batches on their way to the disk: one being written, one waiting.
const FLIGHTS_MAX: usize = 2;
/// Room for subscriptions and the goodbye beside all acknowledgements.
const REQUESTS_BESIDE: usize = 64;

/// Listens to one broker until `stop`.
pub(super) async fn run(settings: &BrokerSettings, app: &Arc<App>, stop: &CancellationToken) {
    let mut breaker = Breaker::new();
    let board = app.brokers();
    loop {
        breaker.attempt();
        board.update(&settings.name, |view| {
            view.phase = match breaker.circuit() {
                Circuit::HalfOpen => BrokerPhase::HalfOpen,
                Circuit::Closed | Circuit::Open => BrokerPhase::Connecting,
            };
            view.next_attempt_ms = None;
        });
        let why = tokio::select! {
            () = stop.cancelled() => return,
            why = connection(settings, app, &mut breaker) => why,
        };
        let pause = breaker.failed(rand::rng().random());
        let next_ms = app.clock().wall_ms() + pause.as_millis() as u64;
        metrics::counter!("muster_broker_failures_total", "broker" => settings.name.clone())
            .increment(1);
        tracing::warn!(broker = settings.name, error = %why, retry_in_ms = pause.as_millis() as u64, "no connection with the broker");
        board.update(&settings.name, |view| {
            view.phase = match breaker.circuit() {
                Circuit::Open => BrokerPhase::Open,
                Circuit::Closed | Circuit::HalfOpen => BrokerPhase::Waiting,
            };
            view.failures = breaker.failures();
            view.last_error = Some(why);
            view.connected_since_ms = None;
            view.next_attempt_ms = Some(next_ms);
        });
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One connection from its beginning to its end; why it ended.
async fn connection(settings: &BrokerSettings, app: &Arc<App>, breaker: &mut Breaker) -> String {
    let options = match settings.options(&app.node_id().to_string()) {
        Ok(options) => options,
        Err(error) => return error.to_string(),
    };
    let quality = match settings.quality() {
        Ok(quality) => quality,
        Err(error) => return error.to_string(),
    };
    let (client, eventloop) = open(options);
    let (messages, received) = mpsc::channel(UNACKED_MAX);
    let (session, _) = app.ingest().session(SessionKey {
        source: format!("broker {}", settings.name).into(),
        client_id: Some(format!("broker/{}", settings.name)),
        clean: false,
    });
    let pump = Pump {
        settings,
        quality,
        app,
        breaker,
        client: client.clone(),
        eventloop,
        places: Arc::new(Semaphore::new(UNACKED_MAX)),
        messages,
    };
    let taker = Taker {
        client,
        session,
        received,
        flights: VecDeque::new(),
    };
    tokio::select! {
        why = pump.run() => why,
        why = taker.run() => why,
    }
}

fn open(options: MqttOptions) -> (AsyncClient, EventLoop) {
    AsyncClient::builder(options)
        .capacity(2 * UNACKED_MAX + REQUESTS_BESIDE)
        .build()
}

/// A message with its place.
struct Held {
    publish: Publish,
    _place: OwnedSemaphorePermit,
}

/// See the module.
struct Pump<'a> {
    settings: &'a BrokerSettings,
    quality: QoS,
    app: &'a Arc<App>,
    breaker: &'a mut Breaker,
    client: AsyncClient,
    eventloop: EventLoop,
    places: Arc<Semaphore>,
    messages: mpsc::Sender<Held>,
}

impl Pump<'_> {
    async fn run(mut self) -> String {
        loop {
            let packet = match self.eventloop.poll().await {
                Ok(Event::Incoming(packet)) => packet,
                Ok(Event::Outgoing(_)) => continue,
                Err(error) => return describe(&error),
            };
            match packet {
                Packet::ConnAck(_) => {
                    if let Err(why) = self.connected().await {
                        return why;
                    }
                }
                Packet::SubAck(answer) => {
                    let refused = answer.return_codes.contains(&SubscribeReasonCode::Failure);
                    if refused {
                        // Staying would look like a quiet network.
                        return "the broker refuses the subscription".to_owned();
                    }
                }
                Packet::Publish(publish) => {
                    // Closed never: the semaphore is ours.
                    let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                        return "the node stops".to_owned();
                    };
                    self.app
                        .brokers()
                        .update(&self.settings.name, |view| view.messages += 1);
                    let held = Held {
                        publish,
                        _place: place,
                    };
                    if self.messages.send(held).await.is_err() {
                        return "messages cannot be stored".to_owned();
                    }
                }
                _ => {}
            }
        }
    }

    async fn connected(&mut self) -> Result<(), String> {
        self.breaker.succeeded();
        let now_ms = self.app.clock().wall_ms();
        tracing::info!(broker = self.settings.name, "connected with the broker");
        self.app.brokers().update(&self.settings.name, |view| {
            view.phase = BrokerPhase::Connected;
            view.failures = 0;
            view.last_error = None;
            view.connected_since_ms = Some(now_ms);
        });
        for filter in &self.settings.subscribe {
            self.client
                .subscribe(filter, self.quality)
                .await
                .map_err(|error| format!("subscribe to {filter}: {error}"))?;
        }
        Ok(())
    }
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

/// A batch on its way to the disk.
struct Flight {
    submission: Submission,
    held: Vec<Held>,
}

/// See the module.
struct Taker {
    client: AsyncClient,
    session: IngestSession,
    received: mpsc::Receiver<Held>,
    flights: VecDeque<Flight>,
}

impl Taker {
    async fn run(mut self) -> String {
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
            self.note(&one.publish);
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

    fn note(&mut self, publish: &Publish) {
        let delivery = match publish.qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Delivery::AtLeastOnce {
                packet_id: publish.pkid,
                redelivered: publish.dup,
            },
        };
        // A broker that sends no UTF-8 breaks the standard; what it says becomes a dead letter that shows it.
        let topic = String::from_utf8_lossy(&publish.topic);
        self.session.message(Message {
            topic: &topic,
            payload: &publish.payload,
            delivery,
            kept: publish.retain,
        });
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
        Ok(())
    }
}

impl BrokerView {
    /// Of a broker that nothing was tried with yet.
    pub(super) fn new(settings: &BrokerSettings) -> Self {
        BrokerView {
            name: settings.name.clone(),
            url: settings.url.clone(),
            phase: BrokerPhase::Connecting,
            failures: 0,
            last_error: None,
            connected_since_ms: None,
            next_attempt_ms: None,
            messages: 0,
        }
    }
}
