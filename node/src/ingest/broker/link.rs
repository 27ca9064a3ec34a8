//! The connection with one broker: made, kept, made again; messages to the store, acknowledgements back.
//!
//! Two halves run side by side, so that neither waits for the other while it holds something that the other needs: the
//! [`Pump`] owns rumqttc's event loop and takes a place for every message before it hands it on; the [`Taker`] stores
//! what came and gives the places back with the acknowledgements. The queue of acknowledgements has room for every place
//! twice, so that it is never full.

use std::sync::Arc;

use rand::RngExt;
use rumqttc::{AsyncClient, EventLoop, MqttOptions};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::breaker::{Breaker, Circuit, Pauses};
use super::pump::{Places, Pump, UNACKED_MAX};
use super::settings::{BrokerSettings, FILTERS_MAX};
use super::taker::Taker;
use super::trial::Trial;
use crate::app::App;
use crate::app::brokers::{BrokerPhase, BrokerView};
use crate::app::ingest::SessionKey;

/// Room for subscriptions and the goodbye beside all acknowledgements.
const REQUESTS_BESIDE: usize = FILTERS_MAX + 1;

/// Listens to one broker until `stop`.
pub(super) async fn run(
    settings: &BrokerSettings,
    app: &Arc<App>,
    pauses: Pauses,
    stop: &CancellationToken,
) {
    let mut breaker = Breaker::new(pauses);
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
    let trial = Trial::new();
    let pump = Pump {
        settings,
        quality,
        app,
        trial: &trial,
        unanswered: settings.subscribe.len(),
        client: client.clone(),
        eventloop,
        places: Places::new(),
        messages,
    };
    let taker = Taker::new(client, app.mqtt().clone(), session, received, &trial);
    let proven = async {
        trial.passed().await;
        breaker.succeeded();
        app.brokers().update(&settings.name, |view| {
            view.failures = 0;
            view.last_error = None;
        });
        std::future::pending().await
    };
    tokio::select! {
        why = pump.run() => why,
        why = taker.run() => why,
        why = proven => why,
    }
}

fn open(options: MqttOptions) -> (AsyncClient, EventLoop) {
    AsyncClient::builder(options)
        .capacity(2 * UNACKED_MAX + REQUESTS_BESIDE)
        .build()
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
