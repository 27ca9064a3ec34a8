//! Brokers that are there already: a node subscribes to them as a client.
//!
//! ```text
//! broker → socket, cutter → event loop (rumqttc) → app::ingest (decode, store) → commit → acknowledgement to the broker
//! ```
//!
//! Invariants:
//! - A message is acknowledged to the broker after the commit that holds it. What was not is sent again, because the
//!   session is persistent, and recognised as a duplicate if it was stored.
//! - Everything is bounded: so many messages, of so many bytes, may be unacknowledged ([`pump::UNACKED_MAX`]); past it the
//!   connection is not read, and the broker holds the rest. What is too large for that is cut, and becomes a dead letter.
//! - One broker that is gone, slow or hostile concerns nobody else: each has a task, a session and a breaker of its own.

mod breaker;
mod cutter;
mod link;
mod pump;
mod settings;
mod socket;
mod taker;
#[cfg(test)]
mod tests;
mod trial;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use breaker::Pauses;

pub use settings::{BROKERS_MAX, BrokerSettings, BrokerSettingsError, check};

use crate::app::App;
use crate::app::brokers::BrokerView;

/// Listens to all brokers until `stop`.
pub async fn serve(brokers: Vec<BrokerSettings>, app: Arc<App>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    for settings in brokers {
        app.brokers().add(BrokerView::new(&settings));
        let (app, stop) = (Arc::clone(&app), stop.clone());
        tasks.spawn(async move { link::run(&settings, &app, Pauses::default(), &stop).await });
    }
    tasks.close();
    tasks.wait().await;
}
