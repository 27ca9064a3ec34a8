//! The MQTT endpoint that sensors publish to: MQTT 3.1.1 over TCP, QoS 0 and 1.
//!
//! ```text
//! socket → frame (cut) → protocol (meaning) → app::ingest (decode, store) → commit → PUBACKs in one write
//! ```
//!
//! Invariants:
//! - A PUBACK leaves after the commit that holds its message, in the order in which messages came ([MQTT-4.6.0-2]).
//! - Everything is bounded ([`Bounds`]); a node that cannot keep up stops reading sockets, so that senders slow down.
//! - A client can only end its own connection, whatever bytes it sends.

mod connection;
mod frame;
mod protocol;
mod sessions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::app::ingest::Ingest;
use sessions::Sessions;

/// What the operator decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct MqttSettings {
    /// Accept publishers without an account from other machines too, for a sensor network that is closed in itself.
    /// Otherwise only programs on this machine.
    pub anonymous_anywhere: bool,
}

/// What one endpoint and one connection may use.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Open connections. 1,024: more sensors than one field node ever has, at about 100 KiB each when all are busy.
    pub connections_max: usize,
    /// One packet. 64 KiB: a reading has 60 bytes, and a decoder for something else (an event of a LoRaWAN server)
    /// stays far below.
    pub packet_bytes_max: usize,
    /// Read and not yet committed, per connection: commits that take 50 ms still let 100,000 readings/s of 60 bytes
    /// through ten connections with a tenth of it.
    pub in_flight_bytes_max: usize,
    /// Batches of one connection on their way to the disk: one being written, one waiting, one being filled, one spare.
    pub in_flight_batches_max: usize,
    /// From the TCP connection to a whole CONNECT.
    pub connect_timeout: Duration,
    /// A client that does not take its PUBACKs for so long is gone.
    pub write_timeout: Duration,
    /// A client without keep-alive that sends nothing for so long is gone (§3.1.2.10 allows it); half-open connections
    /// would pile up otherwise.
    pub silence_max: Duration,
    /// How long the messages of a client that has left may take to reach the disk before they are given up. They were
    /// never acknowledged.
    pub drain_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            connections_max: 1024,
            packet_bytes_max: 64 * 1024,
            in_flight_bytes_max: 256 * 1024,
            in_flight_batches_max: 4,
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            silence_max: Duration::from_secs(24 * 3600),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves the endpoint until `stop`; then closes every connection and returns. What was not acknowledged will be sent
/// again by the clients.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    settings: MqttSettings,
    stop: CancellationToken,
) {
    serve_bounded(
        listener,
        app.ingest().clone(),
        settings,
        Bounds::default(),
        stop,
    )
    .await;
}

/// [`serve`] with other bounds.
pub async fn serve_bounded(
    listener: TcpListener,
    ingest: Ingest,
    settings: MqttSettings,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let shared = Arc::new(Shared {
        ingest,
        settings,
        bounds,
        sessions: Arc::default(),
        stop,
    });
    let tasks = TaskTracker::new();
    accept(listener, shared, &tasks).await;
    tasks.close();
    tasks.wait().await;
}

/// What all connections of one endpoint share.
struct Shared {
    ingest: Ingest,
    settings: MqttSettings,
    bounds: Bounds,
    sessions: Arc<Sessions>,
    stop: CancellationToken,
}

impl Shared {
    fn admits(&self, peer: SocketAddr) -> bool {
        self.settings.anonymous_anywhere || peer.ip().to_canonical().is_loopback()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tasks: &TaskTracker) {
    let places = Arc::new(Semaphore::new(shared.bounds.connections_max));
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: without a pause this would be a busy loop until one is free.
                tracing::warn!(%error, "cannot accept MQTT connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            metrics::counter!("muster_mqtt_connections_refused_total").increment(1);
            tracing::warn!(%peer, "MQTT connection refused: {} are open", shared.bounds.connections_max);
            continue;
        };
        prepare(&stream);
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            metrics::gauge!("muster_mqtt_connections").increment(1.0);
            connection::run(stream, peer, &shared).await;
            metrics::gauge!("muster_mqtt_connections").decrement(1.0);
            drop(place);
        });
    }
}

fn prepare(stream: &TcpStream) {
    // PUBACKs are a few bytes after a pause: Nagle's algorithm would hold each burst back by a delayed ACK.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
}
