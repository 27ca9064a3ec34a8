//! `GET /v1/events`: what changes arrives, and a client that comes back misses nothing.

use std::time::Duration;

use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Node;

/// One event as a browser would see it.
#[derive(Debug, Clone)]
struct Seen {
    id: String,
    event: String,
    data: Value,
}

/// Reads events until `wanted` have come with data; fails the test after ten seconds.
async fn listen(
    node: &Node,
    last_event_id: Option<&str>,
    wanted: usize,
    ready: Option<tokio::sync::oneshot::Sender<()>>,
) -> Vec<Seen> {
    let mut request = node.signed(Method::GET, "/v1/events");
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut bytes = Box::pin(futures::stream::unfold(
        response,
        |mut response| async move {
            let chunk = response.chunk().await.ok()??;
            Some((chunk, response))
        },
    ));
    let mut ready = ready;
    let mut text = String::new();
    let mut seen = Vec::new();
    let reading = async {
        while seen.len() < wanted {
            let chunk = bytes.next().await.expect("the stream goes on");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some((block, rest)) = text.split_once("\n\n") {
                let field = |name: &str| {
                    let prefix = format!("{name}: ");
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(&prefix))
                        .unwrap_or_default()
                        .to_owned()
                };
                let event = Seen {
                    id: field("id"),
                    event: field("event"),
                    data: serde_json::from_str(&field("data")).unwrap_or_default(),
                };
                text = rest.to_owned();
                // The first block holds only the position to resume from: the stream is open now.
                if let Some(ready) = ready.take() {
                    let _ = ready.send(());
                }
                if !event.data.is_null() {
                    seen.push(event);
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .expect("events within ten seconds");
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_and_a_client_that_comes_back_gets_what_it_missed() {
    let node = Node::start().await;
    let (ready, opened) = tokio::sync::oneshot::channel();
    let (live, incident) = tokio::join!(listen(&node, None, 1, Some(ready)), async {
        opened.await.unwrap();
        node.incident("Dam").await
    });
    assert_eq!(live[0].event, "incident.changed");
    assert_eq!(
        live[0].data,
        json!({ "kind": "incident", "id": incident.id(), "version": incident.version() })
    );

    let missed = node.incident("Fire").await;
    let caught_up = listen(&node, Some(&live[0].id), 1, None).await;
    assert_eq!(caught_up[0].data["id"], missed.id());
    assert!(caught_up[0].id.parse::<i64>().unwrap() > live[0].id.parse::<i64>().unwrap());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_not_this_nodes_is_answered_with_reset() {
    let node = Node::start().await;
    for foreign in ["999999999", "-5", "elsewhere"] {
        let seen = listen(&node, Some(foreign), 1, None).await;
        assert_eq!(seen[0].event, "reset", "{foreign}");
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
