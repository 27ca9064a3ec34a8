//! People at work on a node: four of them, each with a write every fifth of a second.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::api::Api;
use crate::documents::{self, Seen};

const PEOPLE: usize = 4;
/// Between two writes of one of them.
const PAUSE: Duration = Duration::from_millis(200);
/// Every so many writes are a new incident; the others edit. A new document stays in the node's cache of documents (48
/// MiB), which would look like memory that readings take.
const NEW_EVERY: u32 = 50;
/// Incidents that somebody looks after, edited in turn.
const EACH: usize = 25;

/// Works for so long; how long each write took, ms.
///
/// # Errors
/// A write is refused.
pub async fn work(api: &Api, duration: Duration) -> anyhow::Result<Vec<f64>> {
    let documents = documents::create(api, PEOPLE * EACH).await?;
    let began = Instant::now();
    let people = documents.chunks(EACH).zip(0_u32..).map(|(own, person)| {
        // Not all at the same moment.
        let first = PAUSE * person / PEOPLE as u32;
        one(api, own.to_vec(), began + first, began + duration)
    });
    Ok(futures::future::try_join_all(people).await?.concat())
}

async fn one(
    api: &Api,
    mut own: Vec<Seen>,
    first: Instant,
    until: Instant,
) -> anyhow::Result<Vec<f64>> {
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
            let edited = &mut own[write as usize % EACH];
            let path = format!("/v1/incidents/{}", edited.id);
            let fields = json!({"title": format!("Water in the cellar, call {write}")});
            let answer = api.patch(&path, &edited.version, &fields).await?;
            edited.version = answer["version"].as_str().unwrap_or_default().to_owned();
        }
        took_ms.push(asked.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(took_ms)
}
