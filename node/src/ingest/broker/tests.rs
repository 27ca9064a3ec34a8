//! A node and a broker that plays a part: what a connection is worth, and what does not end it.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use domain::Kind;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::breaker::Pauses;
use super::{BrokerSettings, link};
use crate::app::brokers::BrokerView;
use crate::app::founding;
use crate::app::{App, Caller, KeySource, OpenConfig, RecordKind};

/// Nothing takes longer on a loaded machine.
const WAIT: Duration = Duration::from_secs(60);
/// So that a test sees every phase within its patience.
const SHORT: Pauses = Pauses {
    first: Duration::from_millis(1),
    open: Duration::from_millis(20),
};

/// First byte of a PUBLISH with QoS 1 that the broker had kept.
const KEPT: u8 = 0x33;
const TAKEN: u8 = 1;
const REFUSED: u8 = 0x80;

/// The broker's side.
struct Broker {
    listener: TcpListener,
}

/// One connection, of which CONNECT was answered.
struct Connection(TcpStream);

impl Broker {
    async fn start() -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Broker { listener }
    }

    async fn accept(&self) -> Connection {
        let (stream, _) = tokio::time::timeout(WAIT, self.listener.accept())
            .await
            .expect("an attempt")
            .unwrap();
        let mut connection = Connection(stream);
        assert_eq!(connection.packet().await.0 >> 4, 1, "CONNECT");
        connection.send(&[0x20, 2, 0, 0]).await;
        connection
    }
}

impl Connection {
    /// The next packet of the node, which are all small: its first byte and what follows its length.
    async fn packet(&mut self) -> (u8, Vec<u8>) {
        let reading = async {
            let mut header = [0; 2];
            self.0.read_exact(&mut header).await.unwrap();
            let mut body = vec![0; usize::from(header[1])];
            self.0.read_exact(&mut body).await.unwrap();
            (header[0], body)
        };
        tokio::time::timeout(WAIT, reading).await.expect("a packet")
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn answer_subscription(&mut self, code: u8) {
        let (first, body) = self.packet().await;
        assert_eq!(first, 0x82, "SUBSCRIBE");
        self.send(&[0x90, 3, body[0], body[1], code]).await;
    }

    /// Refuses the subscription and waits for what the node does about it.
    async fn refuse(mut self) {
        self.answer_subscription(REFUSED).await;
        let mut bytes = [0; 64];
        let ended = tokio::time::timeout(WAIT, self.0.read(&mut bytes));
        // Reset or closed.
        let _ = ended.await.expect("the node ends it");
    }

    async fn publish(&mut self, packet_id: u16, topic: &str, payload: &[u8]) {
        self.publish_as(0x32, packet_id, topic, payload).await;
    }

    /// With QoS 1; `first` says it, with DUP and RETAIN.
    async fn publish_as(&mut self, first: u8, packet_id: u16, topic: &str, payload: &[u8]) {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic.as_bytes());
        body.extend(packet_id.to_be_bytes());
        body.extend(payload);
        let mut packet = vec![first];
        let mut length = body.len();
        while length > 0x7f {
            packet.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        packet.push(length as u8);
        packet.extend(body);
        self.send(&packet).await;
    }

    /// Which message the node has.
    async fn acknowledged(&mut self) -> u16 {
        let (first, body) = self.packet().await;
        assert_eq!(first, 0x40, "PUBACK");
        u16::from_be_bytes([body[0], body[1]])
    }
}

/// A node that listens to one broker.
struct Node {
    app: Arc<App>,
    stop: CancellationToken,
    link: JoinHandle<()>,
    _directory: TempDir,
}

impl Node {
    async fn listening(broker: &Broker, pauses: Pauses) -> Node {
        let directory = TempDir::new().unwrap();
        founding::found_for_test(directory.path()).await;
        let app = App::open(OpenConfig::new(directory.path(), KeySource::DataDir))
            .await
            .unwrap();
        let address = broker.listener.local_addr().unwrap();
        let settings: BrokerSettings =
            toml::from_str(&format!("name = \"city\"\nurl = \"mqtt://{address}\"")).unwrap();
        app.brokers().add(BrokerView::new(&settings));
        let stop = CancellationToken::new();
        let link = tokio::spawn({
            let (app, stop) = (Arc::clone(&app), stop.clone());
            async move { link::run(&settings, &app, pauses, &stop).await }
        });
        Node {
            app,
            stop,
            link,
            _directory: directory,
        }
    }

    fn state(&self) -> Value {
        self.app.list_brokers(&Caller::socket()).unwrap().items[0].clone()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                let state = self.state();
                if holds(&state) {
                    return state;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(WAIT, waiting).await.expect(what)
    }

    async fn dead_letters(&self) -> Vec<Value> {
        let somebody = Caller::socket();
        let letters = self
            .app
            .list_dead_letters(&somebody, Default::default(), None, None);
        letters.await.unwrap().items
    }

    async fn stop(self) {
        self.stop.cancel();
        self.link.await.unwrap();
        self.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_refuses_the_subscription_is_left_alone_after_five_attempts() {
    let broker = Broker::start().await;
    let pauses = Pauses {
        open: Duration::from_secs(3_600),
        ..SHORT
    };
    let node = Node::listening(&broker, pauses).await;
    for _ in 0..5 {
        broker.accept().await.refuse().await;
    }
    let state = node.until("it is open", |it| it["state"] == "open").await;
    assert_eq!(state["failures"], 5, "{state}");
    let why = state["last_error"].as_str().unwrap();
    assert!(why.contains("refuses the subscription"), "{state}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_over_when_a_connection_brought_something_and_not_before() {
    let broker = Broker::start().await;
    let node = Node::listening(&broker, SHORT).await;
    for _ in 0..6 {
        broker.accept().await.refuse().await;
    }
    // The one attempt after the pause, which takes us and ends.
    let mut ends = broker.accept().await;
    ends.answer_subscription(TAKEN).await;
    node.until("it is connected", |it| it["state"] == "connected")
        .await;
    drop(ends);
    let state = node.until("it failed", |it| it["failures"] == 7).await;
    assert_ne!(state["state"], "waiting", "{state}");

    let mut stays = broker.accept().await;
    stays.answer_subscription(TAKEN).await;
    let state = node
        .until("it is connected", |it| it["state"] == "connected")
        .await;
    assert_eq!(state["failures"], 7, "{state}");
    stays.publish(1, "muster/v1/gauge/level", b"2.5").await;
    assert_eq!(stays.acknowledged().await, 1);
    let state = node.until("it stands", |it| it["failures"] == 0).await;
    assert_eq!(state["state"], "connected", "{state}");
    assert!(state["last_error"].is_null(), "{state}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_a_dead_letter_and_the_next_one_is_read() {
    let broker = Broker::start().await;
    let node = Node::listening(&broker, SHORT).await;
    let mut connection = broker.accept().await;
    connection.answer_subscription(TAKEN).await;
    let picture = vec![b'p'; 5 << 20];
    connection.publish(1, "camera/picture", &picture).await;
    connection.publish(2, "muster/v1/gauge/level", b"2.5").await;
    assert_eq!(connection.acknowledged().await, 1);
    assert_eq!(connection.acknowledged().await, 2);
    let letters = node.dead_letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = &letters[0];
    assert_eq!(letter["code"], "payload-too-large", "{letter}");
    assert_eq!(letter["topic"], "camera/picture");
    assert_eq!(node.state()["failures"], 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_64_kilobytes_is_a_dead_letter_with_its_beginning() {
    let broker = Broker::start().await;
    let node = Node::listening(&broker, SHORT).await;
    let mut connection = broker.accept().await;
    connection.answer_subscription(TAKEN).await;
    connection.publish(1, &"x".repeat(65_000), b"1").await;
    assert_eq!(connection.acknowledged().await, 1);
    let letters = node.dead_letters().await;
    let letter = &letters[0];
    assert_eq!(letter["code"], "topic-too-long", "{letters:?}");
    assert!(letter["topic"].as_str().unwrap().len() <= 1_024);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_behind_a_broker_answers_commands_and_says_how_it_is() {
    let broker = Broker::start().await;
    let node = Node::listening(&broker, SHORT).await;
    let somebody = Caller::socket();
    let fields = json!({ "name": "pump", "state": "approved" });
    let fields: Map<_, _> = fields.as_object().unwrap().clone();
    let kind = RecordKind::Document(Kind::Device);
    let pump = node.app.create(&somebody, kind, fields, None).await;
    let pump = pump.unwrap().value["id"].as_str().unwrap().to_owned();
    let command = node
        .app
        .send_command(&somebody, &pump, json!("open"), None, None)
        .await
        .unwrap();

    let topic = "muster/v1/pump/state";
    let mut connection = broker.accept().await;
    connection.answer_subscription(TAKEN).await;
    connection
        .publish_as(KEPT, 1, topic, b"{\"valve\":\"open\"}")
        .await;
    assert_eq!(connection.acknowledged().await, 1);
    let (_, reported) = node
        .app
        .list_commands(&somebody, &pump, None, None)
        .await
        .unwrap();
    assert!(reported.is_null(), "of unknown age: {reported}");
    connection
        .publish(2, topic, b"{\"valve\":\"closed\"}")
        .await;
    let answer = json!({ "id": command["id"], "ok": true }).to_string();
    connection.publish(3, topic, answer.as_bytes()).await;
    assert_eq!(connection.acknowledged().await, 2);
    assert_eq!(connection.acknowledged().await, 3);
    let (commands, reported) = node
        .app
        .list_commands(&somebody, &pump, None, None)
        .await
        .unwrap();
    assert_eq!(reported["state"], json!({ "valve": "closed" }));
    assert_eq!(commands.items[0]["state"], "acknowledged");
    let letters = node.dead_letters().await;
    assert!(letters.is_empty(), "{letters:?}");
    node.stop().await;
}
