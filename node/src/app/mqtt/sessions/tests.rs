//! Clients that come back in the moment in which their sessions end.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use store::MqttChange;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{OpenRequest, Opened};
use crate::app::founding;
use crate::app::mqtt::session::Receiver;
use crate::app::mqtt::{Mqtt, Rights};
use crate::app::{App, Clock, KeySource, OpenConfig};

/// So many that a sweep over them takes a while.
const CLIENTS: usize = 500;
const EXPIRY_S: u32 = 3_600;

async fn open(mqtt: &Mqtt, client: usize) -> Opened {
    let request = OpenRequest {
        client_id: format!("client-{client}"),
        rights: Rights::Anyone,
        clean_start: false,
        expiry_s: EXPIRY_S,
        receiver: Receiver {
            receive_maximum: 10,
        },
        bridge: false,
        stop: CancellationToken::new(),
    };
    mqtt.open(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_begins_while_the_one_before_it_ends_is_still_there_after_a_restart() {
    static AHEAD_MS: AtomicU64 = AtomicU64::new(0);
    let directory = TempDir::new().unwrap();
    founding::found_for_test(directory.path()).await;
    let app: Arc<App> = App::open(OpenConfig {
        clock: Clock::start_ahead(&AHEAD_MS),
        ..OpenConfig::new(directory.path(), KeySource::DataDir)
    })
    .await
    .unwrap();
    let mqtt = app.mqtt().clone();
    for opened in join_all((0..CLIENTS).map(|client| open(&mqtt, client))).await {
        mqtt.close(&opened.session, None, false);
    }
    AHEAD_MS.fetch_add(u64::from(EXPIRY_S) * 1_000, Ordering::Relaxed);
    let sweep = tokio::task::spawn_blocking({
        let mqtt = mqtt.clone();
        move || mqtt.end_sessions()
    });
    let again = join_all((0..CLIENTS).map(|client| open(&mqtt, client))).await;
    sweep.await.unwrap();
    assert!(again.iter().all(|opened| !opened.present), "it was over");
    // Behind everything that was queued without anybody waiting for it.
    let last = MqttChange::RetainedForgotten {
        topic: "none".into(),
    };
    mqtt.write(vec![last]).await.unwrap();
    let stored = app.store.readings().mqtt_state().unwrap().sessions;
    assert_eq!(stored.len(), CLIENTS);
    app.shutdown().await;
}
