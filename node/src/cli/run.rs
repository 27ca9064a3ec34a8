//! `muster run`: the node itself, from an empty directory to a clean end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::args::Run;
use super::{Place, print, setup, stdin_ended};
use crate::app::founding;
use crate::app::{Addresses, App, OpenConfig, SyncSettings};
use crate::config::{Config, FILE_NAME, Overrides};
use crate::ingest::mqtt::{Listeners, Tls};
use crate::ops::local::{LocalRequest, handle};
use crate::ops::{logging, socket::LocalSocket};
use crate::{api, ingest};

/// What a clean end may take; a stop by the service manager kills soon after.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

pub(super) async fn run(place: &Place, args: Run) -> anyhow::Result<()> {
    let config = Config::load(
        &place.data_dir,
        std::env::vars(),
        Overrides {
            listen: args.listen,
            sync_listen: args.sync_listen,
            mqtt_listen: args.mqtt_listen,
            peers: args.peers,
            advertise: args.advertise,
            no_mdns: args.no_mdns,
            no_found: args.no_found,
            key_file: place.key_file.clone(),
        },
    )?;
    logging::start(&config.log);
    let app = open(place, &config).await?;
    app.use_decoders(config.decoders.clone(), &place.data_dir)
        .await
        .with_context(|| format!("decoders in {}", place.data_dir.join(FILE_NAME).display()))?;

    // Before anybody is told that the node runs, so that a signal that follows at once ends it in order.
    let signals = Signals::listen(args.end_with_stdin)?;
    let stop = CancellationToken::new();
    let started = start(place, &config, &app, &stop).await;
    let services = match started {
        Ok(services) => services,
        Err(error) => {
            stop.cancel();
            app.shutdown().await;
            return Err(error);
        }
    };
    announce(place, &app, &services.addresses)?;

    signals.wait().await;
    tracing::info!("stopping");
    stop.cancel();
    let ended = tokio::time::timeout(SHUTDOWN_MAX, async {
        for task in services.tasks {
            let _ = task.await;
        }
        app.shutdown().await;
    })
    .await;
    if ended.is_err() {
        anyhow::bail!(
            "not everything stopped within {} s; nothing acknowledged is lost",
            SHUTDOWN_MAX.as_secs()
        );
    }
    Ok(())
}

/// Opens the data directory; founds an operation in an empty one, unless told not to.
async fn open(place: &Place, config: &Config) -> anyhow::Result<Arc<App>> {
    let key = setup::key_source(place, config.key_file.as_deref());
    if !founding::has_data(&place.data_dir) {
        if !config.found {
            anyhow::bail!(
                "no node in {} and --no-found is set: is the right disk mounted? \
                 Otherwise use `muster init` or `muster join`",
                place.data_dir.display()
            );
        }
        let name = std::env::var("MUSTER_NAME")
            .ok()
            .unwrap_or_else(default_name);
        let founded = setup::found(place, key.clone(), name, "hq", "Operation".into()).await?;
        eprintln!(
            "muster: founded a new operation in {}",
            place.data_dir.display()
        );
        setup::announce_password(founded.admin_password.as_deref().map(String::as_str));
    }
    setup::warn_of_key_beside_data(place, &key);
    let app = App::open(OpenConfig {
        storage: config.storage,
        ingest: config.ingest,
        kept: config.retention,
        archive: config.archive.clone(),
        replicate: config.replicate.clone(),
        ..OpenConfig::new(&place.data_dir, key)
    })
    .await?;
    let password = app
        .finish_founding(std::env::var("MUSTER_ADMIN_PASSWORD").ok())
        .await?;
    setup::announce_password(password.as_deref());
    Ok(app)
}

/// The machine's name, as the first guess at what people call this node.
fn default_name() -> String {
    std::fs::read_to_string("/etc/hostname")
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "node".into())
}

struct Services {
    addresses: Addresses,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

async fn start(
    place: &Place,
    config: &Config,
    app: &Arc<App>,
    stop: &CancellationToken,
) -> anyhow::Result<Services> {
    let http = TcpListener::bind(config.listen).await.with_context(|| {
        format!(
            "listen on {} for the page and the API (--listen)",
            config.listen
        )
    })?;
    let mqtt = TcpListener::bind(config.mqtt_listen)
        .await
        .with_context(|| {
            format!(
                "listen on {} for sensors (--mqtt-listen)",
                config.mqtt_listen
            )
        })?;
    let mqtt_tls = match config.mqtt_tls_listen {
        None => None,
        Some(address) => {
            let listener = TcpListener::bind(address).await.with_context(|| {
                format!("listen on {address} for sensors over TLS (mqtt_tls_listen)")
            })?;
            let tls = Tls::load(
                &place.data_dir,
                config.mqtt_tls_cert.as_deref(),
                config.mqtt_tls_key.as_deref(),
            )?;
            app.mqtt().set_tls_fingerprint(tls.fingerprint.clone());
            Some((listener, tls))
        }
    };
    let sync = app
        .start_sync(SyncSettings {
            listen: config.sync_listen,
            peers: config.peers.clone(),
            advertise: config.advertise.clone(),
            mdns: config.mdns,
        })
        .await
        .with_context(|| format!("listen on {} for sync (--sync-listen)", config.sync_listen))?;
    let addresses = Addresses {
        http: http.local_addr()?,
        sync,
        mqtt: mqtt.local_addr()?,
        mqtt_tls: mqtt_tls
            .as_ref()
            .map(|(listener, _)| listener.local_addr())
            .transpose()?,
    };
    app.set_addresses(addresses);

    let socket = LocalSocket::bind(&place.data_dir)?;
    let tasks = vec![
        tokio::spawn(socket.serve(Arc::clone(app), stop.clone())),
        tokio::spawn(api::serve(
            http,
            Arc::clone(app),
            config.requests,
            stop.clone(),
        )),
        tokio::spawn(ingest::mqtt::serve(
            Listeners {
                plain: mqtt,
                tls: mqtt_tls,
            },
            Arc::clone(app),
            ingest::mqtt::MqttSettings {
                anonymous: config.anonymous(),
                limits: config.mqtt,
            },
            stop.clone(),
        )),
        tokio::spawn(ingest::broker::serve(
            config.brokers.clone(),
            Arc::clone(app),
            stop.clone(),
        )),
    ];
    Ok(Services { addresses, tasks })
}

fn announce(place: &Place, app: &App, addresses: &Addresses) -> anyhow::Result<()> {
    if place.json {
        return print::json(&json!({
            "event": "ready",
            "node_id": app.node_id().to_string(),
            "addresses": addresses,
        }));
    }
    print::text(&format!(
        "ready: page http://{}  sync {}  sensors mqtt://{}\n",
        addresses.http, addresses.sync, addresses.mqtt
    ))
}

/// What ends a node in order: Ctrl-C, the service manager, and with `--end-with-stdin` whoever started it.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    end_with_stdin: bool,
}

impl Signals {
    fn listen(end_with_stdin: bool) -> anyhow::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).context("listen for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            end_with_stdin,
        })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = stdin_ended(self.end_with_stdin) => {}
        }
    }
}

/// `muster sync` where no node runs: the command is the node for as long as the exchange takes.
pub(super) async fn sync_once(place: &Place, request: LocalRequest) -> anyhow::Result<Value> {
    let config = Config::load(&place.data_dir, std::env::vars(), Overrides::default())?;
    let key = setup::key_source(place, config.key_file.as_deref());
    let app = App::open(OpenConfig::new(&place.data_dir, key)).await?;
    let started = app
        .start_sync(SyncSettings {
            listen: std::net::SocketAddr::from(([0, 0, 0, 0], 0)),
            peers: config.peers,
            advertise: Vec::new(),
            mdns: config.mdns,
        })
        .await;
    let answer = match started {
        Ok(_) => handle(&app, request)
            .await
            .into_result()
            .map_err(anyhow::Error::msg),
        Err(error) => Err(error.into()),
    };
    app.shutdown().await;
    answer
}
