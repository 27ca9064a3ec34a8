//! The MQTT endpoint: MQTT 3.1.1 and 5 over TCP, and over TLS where it is asked for; QoS 0, 1 and 2.
//!
//! ```text
//! socket → frame (cut) → protocol, packets (meaning) → conversation → app::mqtt, app::ingest → commit → answers
//!                                                       conversation ← app::mqtt::Session ← other clients, commands
//! ```
//!
//! | file | what it does |
//! | --- | --- |
//! | `frame`, `properties` | PUBLISH in place, without an allocation |
//! | `packets`, `protocol`, `refusal` | every other packet of both versions, by `mqtt-protocol-core`; refusals and their codes |
//! | `encode`, `outgoing` | what the endpoint sends |
//! | `greet`, `connection`, `conversation` | one client, from CONNECT to its end |
//! | `settings` | what the operator decides |
//! | `sessions` | one connection per client identifier |
//! | `limits`, `tls`, `wire` | rates and counts, certificates, the socket |
//!
//! Invariants:
//! - An answer leaves after the commit that holds its message, in the order in which messages came ([MQTT-4.6.0-2]).
//! - Everything is bounded ([`Bounds`]); a node that cannot keep up stops reading sockets, so that senders slow down.
//! - A client can only end its own connection, whatever bytes it sends.

mod connection;
mod conversation;
mod encode;
mod frame;
mod greet;
mod limits;
mod outgoing;
mod packets;
mod properties;
mod protocol;
mod reason;
mod refusal;
mod sessions;
mod settings;
mod tls;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::app::mqtt::Mqtt;
use limits::Limits;
use sessions::Sessions;

pub use settings::{Anonymous, MqttLimits, MqttLimitsError, MqttSettings};
pub use tls::{Tls, TlsError};

/// Messages of QoS 1 and 2 that one client may have unacknowledged (MQTT 5 §3.2.2.3.3): 100,000 readings/s over ten
/// connections are 10,000 each, so that this bridges commits of 0.4 s; and it is as many as the store recognises when
/// they are sent again.
pub const RECEIVE_MAXIMUM: u16 = 4_096;

/// What one endpoint and one connection may use.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Open connections. 1,024: more sensors than one field node ever has, at about 100 KiB each when all are busy.
    pub connections_max: usize,
    /// Of one address other than this machine: a gateway for a whole site, or a hostile neighbour.
    pub connections_of_address_max: usize,
    /// Of one device's account: the old connection that is not known to be dead, the new one, and a spare or two.
    pub connections_of_device_max: usize,
    /// Of one gateway's account.
    pub connections_of_gateway_max: usize,
    /// Packets of one connection a second, with a second's worth at once; beyond it the socket is read later. Five times
    /// what each of ten connections sends at 100,000 readings/s.
    pub messages_per_s_max: u64,
    /// Bytes of one connection a second, in the same way.
    pub bytes_per_s_max: u64,
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
    /// The longest keep-alive, which clients of MQTT 5 are told.
    pub keep_alive_s_max: u16,
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
            connections_of_address_max: 256,
            connections_of_device_max: 4,
            connections_of_gateway_max: 64,
            messages_per_s_max: 50_000,
            bytes_per_s_max: 16 << 20,
            packet_bytes_max: 64 * 1024,
            in_flight_bytes_max: 256 * 1024,
            in_flight_batches_max: 4,
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            keep_alive_s_max: 3_600,
            silence_max: Duration::from_secs(24 * 3600),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Where clients come in.
pub struct Listeners {
    pub plain: TcpListener,
    pub tls: Option<(TcpListener, Tls)>,
}

impl From<TcpListener> for Listeners {
    fn from(plain: TcpListener) -> Self {
        Listeners { plain, tls: None }
    }
}

/// Serves the endpoint until `stop`; then closes every connection and returns. What was not acknowledged will be sent
/// again by the clients.
pub async fn serve(
    listeners: Listeners,
    app: Arc<App>,
    settings: MqttSettings,
    stop: CancellationToken,
) {
    serve_bounded(listeners, app, settings, settings.limits.bounds(), stop).await;
}

/// [`serve`] with other bounds.
pub async fn serve_bounded(
    listeners: Listeners,
    app: Arc<App>,
    settings: MqttSettings,
    bounds: Bounds,
    stop: CancellationToken,
) {
    let shared = Arc::new(Shared {
        mqtt: app.mqtt().clone(),
        settings,
        bounds,
        limits: Limits::default(),
        sessions: Arc::default(),
        places: Arc::new(Semaphore::new(bounds.connections_max)),
        stop,
    });
    let tasks = TaskTracker::new();
    let plain = accept(listeners.plain, None, &shared, &tasks);
    let tls = async {
        if let Some((listener, tls)) = listeners.tls {
            accept(listener, Some(tls), &shared, &tasks).await;
        }
    };
    tokio::join!(plain, tls);
    tasks.close();
    tasks.wait().await;
}

/// What all connections of one endpoint share.
struct Shared {
    mqtt: Mqtt,
    settings: MqttSettings,
    bounds: Bounds,
    limits: Limits,
    sessions: Arc<Sessions>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Shared {
    fn admits(&self, peer: SocketAddr) -> bool {
        self.settings.anonymous.admits(peer.ip())
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
    shared: &Arc<Shared>,
    tasks: &TaskTracker,
) {
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
        let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() else {
            metrics::counter!("muster_mqtt_connections_refused_total").increment(1);
            tracing::warn!(%peer, "MQTT connection refused: {} are open", shared.bounds.connections_max);
            continue;
        };
        prepare(&stream);
        let shared = Arc::clone(shared);
        let tls = tls.clone();
        tasks.spawn(async move {
            metrics::gauge!("muster_mqtt_connections").increment(1.0);
            match tls {
                None => connection::run(stream, peer, &shared).await,
                Some(tls) => run_tls(stream, &tls, peer, &shared).await,
            }
            metrics::gauge!("muster_mqtt_connections").decrement(1.0);
            drop(place);
        });
    }
}

async fn run_tls(stream: TcpStream, tls: &Tls, peer: SocketAddr, shared: &Shared) {
    let handshake =
        tokio::time::timeout(shared.bounds.connect_timeout, tls.acceptor.accept(stream));
    let stream = tokio::select! {
        () = shared.stop.cancelled() => return,
        outcome = handshake => outcome,
    };
    match stream {
        Ok(Ok(stream)) => Box::pin(connection::run(stream, peer, shared)).await,
        Ok(Err(error)) => {
            metrics::counter!("muster_mqtt_tls_failures_total").increment(1);
            tracing::info!(%peer, %error, "TLS handshake of an MQTT client failed");
        }
        Err(_) => tracing::info!(%peer, "no TLS handshake in time"),
    }
}

fn prepare(stream: &TcpStream) {
    // PUBACKs are a few bytes after a pause: Nagle's algorithm would hold each burst back by a delayed ACK.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
}
