//! Two nodes of one operation.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use node::app::founding::{self, Founding};
use node::app::{App, Caller, KeySource, OpenConfig, SyncSettings};
use serde_json::json;
use tempfile::TempDir;

use super::Node;

/// Takes part in sync at a port of its own; gives the address.
pub async fn listen(app: &Arc<App>) -> SocketAddr {
    listen_with(app, Vec::new()).await
}

/// The same, dialling these.
pub async fn listen_with(app: &Arc<App>, peers: Vec<String>) -> SocketAddr {
    let settings = SyncSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        peers,
        advertise: Vec::new(),
        mdns: false,
    };
    app.start_sync(settings).await.unwrap()
}

/// HQ, which listens, and a truck, which has joined it and is cut off.
pub async fn hq_and_truck(config: impl Fn(&mut OpenConfig)) -> (Node, Node) {
    let hq_dir = TempDir::new().unwrap();
    let founding = Founding {
        name: "HQ".into(),
        role: "hq".parse().unwrap(),
        title: "Flood".into(),
    };
    founding::found(hq_dir.path(), &KeySource::DataDir, founding)
        .await
        .unwrap();
    let hq = Node::member_with(hq_dir, &config).await;
    listen(&hq.app).await;
    let wait = Duration::from_secs(30);
    let code = hq
        .app
        .invite(&Caller::socket(), "field", None, wait)
        .await
        .unwrap();
    let code = code["code"].as_str().unwrap().to_owned();
    let dir = TempDir::new().unwrap();
    founding::join(
        dir.path(),
        &KeySource::DataDir,
        &code,
        "Truck 3".into(),
        wait,
    )
    .await
    .unwrap();
    (hq, Node::member_with(dir, &config).await)
}

/// Builds the views of a node anew, which must change nothing.
pub async fn rebuild_changes_nothing(node: &Node) {
    let rebuilt = node.app.rebuild(&Caller::socket()).await.unwrap();
    assert_eq!(rebuilt["views_changed"], json!(false));
}
