//! `GET /v1/events`: what changes arrives, and a client that comes back misses nothing.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Node;

/// Nothing that is told here takes longer on a loaded machine.
const WAIT: Duration = Duration::from_secs(10);

/// One event as a browser would see it.
#[derive(Debug, Clone)]
struct Seen {
    id: String,
    event: String,
    data: Value,
}

/// A stream that is open.
struct Listener {
    response: reqwest::Response,
    text: String,
}

impl Listener {
    /// Returns once the node has said where the stream begins: what is committed afterwards is told. After an answer of
    /// `reset` that is told first.
    async fn open(node: &Node, last_event_id: Option<&str>) -> Listener {
        let mut request = node.signed(Method::GET, "/v1/events");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let text = String::new();
        let mut listener = Listener { response, text };
        while !listener.text.contains("\n\n") {
            listener.read().await;
        }
        listener
    }

    async fn read(&mut self) {
        let chunk = tokio::time::timeout(WAIT, self.response.chunk()).await;
        let chunk = chunk.expect("an event within ten seconds").unwrap();
        let chunk = chunk.expect("the stream goes on");
        self.text.push_str(std::str::from_utf8(&chunk).unwrap());
    }

    /// The next event with data.
    async fn next(&mut self) -> Seen {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let prefix = format!("{name}: ");
                    let mut lines = block.lines();
                    let value = lines.find_map(|line| line.strip_prefix(&prefix));
                    value.unwrap_or_default().to_owned()
                };
                let seen = Seen {
                    id: field("id"),
                    event: field("event"),
                    data: serde_json::from_str(&field("data")).unwrap_or_default(),
                };
                self.text = rest.to_owned();
                if !seen.data.is_null() {
                    return seen;
                }
            }
            self.read().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_and_a_client_that_comes_back_gets_what_it_missed() {
    let node = Node::start().await;
    let mut live = Listener::open(&node, None).await;
    let incident = node.incident("Dam").await;
    let told = live.next().await;
    assert_eq!(told.event, "incident.changed");
    assert_eq!(
        told.data,
        json!({ "kind": "incident", "id": incident.id(), "version": incident.version() })
    );
    drop(live);

    let missed = node.incident("Fire").await;
    let mut again = Listener::open(&node, Some(&told.id)).await;
    let caught_up = again.next().await;
    assert_eq!(caught_up.data["id"], missed.id());
    assert!(caught_up.id.parse::<i64>().unwrap() > told.id.parse::<i64>().unwrap());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_told_at_once_then_together_and_move_no_position() {
    let node = Node::start().await;
    let mut live = Listener::open(&node, None).await;
    let begun = Instant::now();
    node.publish(&[("a/b", b"?")]).await;
    let first = live.next().await;
    assert_eq!(first.event, "dead-letter.changed");
    let data = json!({ "kind": "dead-letter", "id": "", "version": "" });
    assert_eq!((first.id.as_str(), first.data), ("", data));

    for _ in 0..5 {
        node.publish(&[("a/b", b"?")]).await;
    }
    let (mut told_of_letters, mut told_of_incident) = (0, false);
    node.incident("Dam").await;
    while told_of_letters == 0 || !told_of_incident {
        let told = live.next().await;
        told_of_incident |= told.event == "incident.changed";
        told_of_letters += u64::from(told.event == "dead-letter.changed");
    }
    let pauses = begun.elapsed().as_secs() / 2;
    assert!(
        told_of_letters <= pauses,
        "{told_of_letters} in {pauses} pauses"
    );

    let discarded = node.post("/v1/dead-letters/discard?all=true", json!({}));
    assert_eq!(discarded.await.expect(200).body["settled"], 6);
    assert_eq!(live.next().await.event, "dead-letter.changed");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_not_this_nodes_is_answered_with_reset() {
    let node = Node::start().await;
    for foreign in ["999999999", "-5", "elsewhere"] {
        let seen = Listener::open(&node, Some(foreign)).await.next().await;
        assert_eq!(seen.event, "reset", "{foreign}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_the_node_stops() {
    let node = Node::start().await;
    let response = node.signed(Method::GET, "/v1/events").send().await.unwrap();
    node.stop().await;
    let ended = tokio::time::timeout(Duration::from_secs(5), response.bytes()).await;
    assert!(ended.is_ok(), "the stream is still open");
}
