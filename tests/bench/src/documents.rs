//! Incidents as people make and edit them, over HTTP with keep-alive and several requests at a time.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::api::Api;

/// Requests at a time: some people on some pages each, and enough that commits are shared.
pub const CONCURRENCY: usize = 32;

/// A document and the version of it that its editor has seen.
#[derive(Debug, Clone)]
pub struct Seen {
    pub id: String,
    pub version: String,
}

/// Which node's people edit: both change severity and status, so that every document ends with two conflicts; the rest
/// each side edits alone.
#[derive(Debug, Clone, Copy)]
pub enum Side {
    Hq,
    Field,
}

/// In which order people come to the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Somebody makes all edits of a document, then of the next.
    InTurn,
    /// Every edit is of some other document: the hard case, because what belongs together arrives apart.
    Mixed,
}

/// Edits of each document on each side.
pub const EDITS: usize = 5;

/// Creates `count` incidents.
///
/// # Errors
/// A request is refused.
pub async fn create(api: &Api, count: usize) -> anyhow::Result<Vec<Seen>> {
    let shares = (0..CONCURRENCY).map(|worker| async move {
        let mut made = Vec::new();
        for number in (worker..count).step_by(CONCURRENCY) {
            made.push(seen(&api.post("/v1/incidents", &incident(number)).await?));
        }
        anyhow::Ok(made)
    });
    Ok(futures::future::try_join_all(shares).await?.concat())
}

/// The fields of an incident, as somebody who takes a call writes them.
pub fn incident(number: usize) -> Value {
    let severity = ["moderate", "unknown"][number % 2];
    json!({
        "title": format!("Water in the cellar, house {number}"),
        "category": "Met",
        "severity": severity,
        "description": "The caller says that it rises by a hand's width an hour and that two people are upstairs.",
        "location": { "lat": 50.0 + number as f64 * 1e-4, "lon": 7.0 + number as f64 * 1e-4 },
        "tags": ["flood", "cellar"],
    })
}

/// The edits of one side, each document's in order.
///
/// # Errors
/// A request is refused.
pub async fn edit(
    api: &Api,
    documents: &mut Vec<Seen>,
    side: Side,
    order: Order,
    edits: usize,
) -> anyhow::Result<()> {
    let count = documents.len();
    let mut shares: Vec<Vec<(usize, Seen)>> = vec![Vec::new(); CONCURRENCY];
    for (number, document) in std::mem::take(documents).into_iter().enumerate() {
        shares[number % CONCURRENCY].push((number, document));
    }
    let work = shares
        .into_iter()
        .enumerate()
        .map(|(worker, mut share)| async move {
            // A seed per worker and side, so that every run mixes alike.
            let mut random = StdRng::seed_from_u64(worker as u64 * 2 + side as u64);
            let mut turns: Vec<usize> = (0..share.len() * edits).map(|turn| turn / edits).collect();
            if order == Order::Mixed {
                turns.shuffle(&mut random);
            }
            let mut done = vec![0; share.len()];
            for at in turns {
                let (number, document) = &mut share[at];
                let path = format!("/v1/incidents/{}", document.id);
                // Who makes but one edit of each makes another one of the next.
                let turn = done[at] + if edits < EDITS { *number % EDITS } else { 0 };
                let fields = change(side, *number, turn);
                *document = seen(&api.patch(&path, &document.version, &fields).await?);
                done[at] += 1;
            }
            anyhow::Ok(share)
        });
    let done = futures::future::try_join_all(work).await?.concat();
    *documents = done.into_iter().map(|(_, document)| document).collect();
    anyhow::ensure!(documents.len() == count, "documents were lost");
    Ok(())
}

/// The fields that the side's next edit of a document changes. Documents get values of their own: a thousand times the
/// same edit would travel as one.
pub fn change(side: Side, document: usize, turn: usize) -> Value {
    let round = turn / EDITS;
    let mut random = StdRng::seed_from_u64((document * EDITS + turn) as u64 * 2 + side as u64);
    let mut of = |words: &[&'static str]| words[random.random_range(0..words.len())];
    match (side, turn % EDITS) {
        (Side::Hq, 0) => json!({ "severity": "severe" }),
        (Side::Hq, 1) => json!({ "status": of(&["confirmed", "false_alarm"]) }),
        (Side::Hq, 2) => json!({
            "title": format!(
                "{} under water, {} asked for ({round}), call {document}",
                of(&PLACES),
                of(&NEEDS),
            )
        }),
        (Side::Hq, 3) => {
            json!({ "tags": ["flood", "cellar", format!("{}-{round}", of(&NEEDS))] })
        }
        (Side::Hq, _) => json!({ "severity": "extreme" }),
        (Side::Field, 0) => json!({ "status": "active" }),
        (Side::Field, 1) => json!({ "severity": "minor" }),
        (Side::Field, 2) => {
            let mut degrees = |from: f64| from + f64::from(random.random_range(0..100_000)) * 1e-5;
            json!({ "location": { "lat": degrees(50.0), "lon": degrees(7.0) } })
        }
        (Side::Field, 3) => json!({
            "description": format!(
                "The caller says that it rises by a hand's width an hour and that two people are upstairs. \
                 Boat {} has them, {} next ({round}).",
                document % 90,
                of(&PLACES),
            )
        }),
        (Side::Field, _) => json!({ "status": of(&["contained", "closed"]) }),
    }
}

/// Where it happens, and what it takes.
const PLACES: [&str; 8] = [
    "Cellar",
    "Garage",
    "School",
    "Bridge",
    "Mill",
    "Underpass",
    "Clinic",
    "Camp site",
];
const NEEDS: [&str; 8] = [
    "pumps",
    "sandbags",
    "a boat",
    "a doctor",
    "blankets",
    "a generator",
    "two trucks",
    "water",
];

fn seen(answer: &Value) -> Seen {
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    Seen {
        id: text("id"),
        version: text("version"),
    }
}
