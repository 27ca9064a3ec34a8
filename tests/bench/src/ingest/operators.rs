//! People at work on a node: four of them, each with a write every fifth of a second.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::api::Api;
use crate::documents::{self, Seen};

const PEOPLE: usize = 4;
/// Between two writes of one of them.
const PAUSE: Duration = Duration::from_millis(200);
/// Every so many writes are a new incident; the others edit.
const NEW_EVERY: u32 = 5;

/// Works for so long; how long each write took, ms.
///
/// # Errors
/// A write is refused.
pub async fn work(api: &Api, duration: Duration) -> anyhow::Result<Vec<f64>> {
    let documents = documents::create(api, PEOPLE).await?;
    let began = Instant::now();
    let people = documents.into_iter().enumerate().map(|(person, own)| {
        // Not all at the same moment.
        let first = PAUSE * u32::try_from(person).unwrap_or(0) / 4;
        one(api, own, began + first, began + duration)
    });
    Ok(futures::future::try_join_all(people).await?.concat())
}

async fn one(api: &Api, mut own: Seen, first: Instant, until: Instant) -> anyhow::Result<Vec<f64>> {
    let mut took_ms = Vec::new();
    for write in 0_u32.. {
        let due = first + PAUSE * write;
        if due >= until {
            break;
        }
        tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
        let asked = Instant::now();
        if write % NEW_EVERY == NEW_EVERY - 1 {
            let incident = documents::incident(write as usize);
            api.post("/v1/incidents", &incident).await?;
        } else {
            let path = format!("/v1/incidents/{}", own.id);
            let fields = json!({"title": format!("Water in the cellar, call {write}")});
            let answer = api.patch(&path, &own.version, &fields).await?;
            own.version = answer["version"].as_str().unwrap_or_default().to_owned();
        }
        took_ms.push(asked.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(took_ms)
}
