//! A real node in this process for tests of its sensor side: data directory, store, MQTT endpoint.
#![allow(dead_code, unused_imports, clippy::unwrap_used, clippy::expect_used)]

mod mqtt;
mod operation;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use node::app::founding::{self, Founding};
use node::app::{App, Caller, Clock, KeySource, OpenConfig, RecordKind};
use node::ingest::mqtt::{Bounds, MqttSettings, serve, serve_bounded};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use mqtt::*;
pub use operation::*;

/// Nothing in these tests takes longer on a loaded machine.
const WAIT: Duration = Duration::from_secs(30);

pub struct Node {
    pub app: Arc<App>,
    pub mqtt: SocketAddr,
    stop: CancellationToken,
    endpoint: JoinHandle<()>,
    directory: TempDir,
}

impl Node {
    /// A new node in an empty directory.
    pub async fn start() -> Node {
        Node::start_in(TempDir::new().unwrap()).await
    }

    /// A new node in a directory that is empty.
    pub async fn start_in(directory: TempDir) -> Node {
        Node::found(&directory).await;
        Node::open(directory, Bounds::default()).await
    }

    /// A new node whose clock is as many milliseconds ahead as that says.
    pub async fn start_ahead(ahead_ms: &'static AtomicU64) -> Node {
        let directory = TempDir::new().unwrap();
        Node::found(&directory).await;
        Node::member_with(directory, |config| {
            config.clock = Clock::start_ahead(ahead_ms);
        })
        .await
    }

    async fn found(directory: &TempDir) {
        let founding = Founding {
            name: "test".into(),
            role: "hq".parse().unwrap(),
            title: "Test".into(),
        };
        founding::found(directory.path(), &KeySource::DataDir, founding)
            .await
            .unwrap();
    }

    /// A node in a directory that belongs to an operation already.
    pub async fn member_in(directory: TempDir) -> Node {
        Node::open(directory, Bounds::default()).await
    }

    /// The same directory, another process' worth of node.
    pub async fn restart(self) -> Node {
        let directory = self.stop().await;
        Node::open(directory, Bounds::default()).await
    }

    /// Ends the endpoint and opens it again with other bounds.
    pub async fn with_bounds(self, bounds: Bounds) -> Node {
        let directory = self.stop().await;
        Node::open(directory, bounds).await
    }

    /// The same with a configuration of its own.
    pub async fn member_with(directory: TempDir, config: impl FnOnce(&mut OpenConfig)) -> Node {
        let mut open = OpenConfig::new(directory.path(), KeySource::DataDir);
        config(&mut open);
        Node::open_with(directory, open, Bounds::default()).await
    }

    async fn open(directory: TempDir, bounds: Bounds) -> Node {
        let config = OpenConfig::new(directory.path(), KeySource::DataDir);
        Node::open_with(directory, config, bounds).await
    }

    /// Ends the endpoint and opens it again with other settings.
    pub async fn with_settings(self, settings: MqttSettings) -> Node {
        let directory = self.stop().await;
        let config = OpenConfig::new(directory.path(), KeySource::DataDir);
        Node::open_as(directory, config, None, settings).await
    }

    async fn open_with(directory: TempDir, config: OpenConfig, bounds: Bounds) -> Node {
        Node::open_as(directory, config, Some(bounds), MqttSettings::default()).await
    }

    async fn open_as(
        directory: TempDir,
        config: OpenConfig,
        bounds: Option<Bounds>,
        settings: MqttSettings,
    ) -> Node {
        let app = App::open(config).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mqtt = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (served, ended) = (Arc::clone(&app), stop.clone());
        let endpoint = tokio::spawn(async move {
            match bounds {
                None => serve(listener.into(), served, settings, ended).await,
                Some(bounds) => {
                    serve_bounded(listener.into(), served, settings, bounds, ended).await;
                }
            }
        });
        Node {
            app,
            mqtt,
            stop,
            endpoint,
            directory,
        }
    }

    pub async fn stop(self) -> TempDir {
        self.stop.cancel();
        self.endpoint.await.unwrap();
        self.app.shutdown().await;
        self.directory
    }

    pub async fn approve(&self, device: &str) {
        self.create(
            domain::Kind::Device,
            json!({"name": device, "state": "approved"}),
        )
        .await;
    }

    pub async fn create(&self, kind: domain::Kind, fields: Value) -> Value {
        let Value::Object(fields) = fields else {
            panic!("fields are an object")
        };
        let created = self
            .app
            .create(&Caller::socket(), RecordKind::Document(kind), fields, None)
            .await
            .unwrap();
        created.value
    }

    pub async fn list(&self, kind: domain::Kind) -> Vec<Value> {
        let page = self
            .app
            .list(
                &Caller::socket(),
                RecordKind::Document(kind),
                node::app::ListQuery::default(),
            )
            .await
            .unwrap();
        page.items
    }

    pub async fn patch(&self, kind: domain::Kind, document: &Value, fields: Value) -> Value {
        let fields: Map<String, Value> = fields.as_object().unwrap().clone();
        let (id, version) = (
            document["id"].as_str().unwrap(),
            document["version"].as_str(),
        );
        self.app
            .patch(&Caller::socket(), kind, id, version, fields, None)
            .await
            .unwrap()
    }

    pub async fn series(&self, device: &str) -> Vec<Value> {
        let page = self
            .app
            .list_series(
                &Caller::socket(),
                Some(device.into()),
                None,
                None,
                None,
                None,
            )
            .await
            .unwrap();
        page.items
    }

    /// How many readings this node holds of a device, over all its series.
    pub async fn count(&self, device: &str) -> u64 {
        self.series(device)
            .await
            .iter()
            .map(|series| series["count"].as_u64().unwrap())
            .sum()
    }

    /// A device as the API shows it.
    pub async fn device(&self, name: &str) -> Value {
        let devices = self.list(domain::Kind::Device).await;
        devices
            .into_iter()
            .find(|device| device["name"] == name)
            .unwrap()
    }

    /// Approves a device and makes its credentials: its id and its password.
    pub async fn credentials(&self, name: &str) -> (String, String) {
        self.approve(name).await;
        let id = self.device(name).await["id"].as_str().unwrap().to_owned();
        (id, self.new_password(name).await)
    }

    /// Makes credentials of a device that is approved: its password.
    pub async fn new_password(&self, name: &str) -> String {
        let id = self.device(name).await["id"].as_str().unwrap().to_owned();
        let made = self
            .app
            .make_device_credentials(&Caller::socket(), &id)
            .await
            .unwrap();
        assert_eq!(made["username"], name);
        made["password"].as_str().unwrap().to_owned()
    }

    pub async fn dead_letters(&self) -> Vec<Value> {
        self.app
            .list_dead_letters(&Caller::socket(), Default::default(), None, None)
            .await
            .unwrap()
            .items
    }
}

/// Asks again until it holds; fails with what was seen last.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = Instant::now() + WAIT;
    loop {
        match ask().await {
            Ok(value) => return value,
            Err(seen) if Instant::now() > deadline => panic!("{what}: still {seen}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Says that a test needs a tool that is not there; `scripts/test.sh` counts these.
pub fn skip(tool: &str, test: &str) {
    use std::io::Write as _;
    println!("skipped: {test} needs {tool}");
    if let Some(path) = std::env::var_os("MUSTER_SKIP_LOG") {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        writeln!(file, "SKIPPED-TOOL {tool} {test}").unwrap();
    }
}
