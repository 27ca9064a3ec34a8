//! What one document costs where two nodes come together, in `domain` alone and on one thread: read from what a store
//! keeps, given the five changes that another node made apart, shown and saved.
//!
//! The floor under `sync` and `sync-many`: all else there is logs, signatures, rows and the wire.

use anyhow::Context as _;
use domain::{
    Author, Document, Edit, Incoming, Ingested, Kind, Outcome, RecordId, Stored, check_create,
    check_patch,
};
use serde_json::{Map, Value, json};

use crate::Effort;
use crate::documents::{self, EDITS, Side};
use crate::report::{Report, median};

/// Documents of a round: more than fit into the processor's caches.
const DOCUMENTS: usize = 1_000;
/// Documents between two looks at the clock, which costs as much as a part of one.
const AT_A_TIME: usize = 50;
/// What the edits' clocks show, seconds since 1970.
const AT_S: i64 = 1_790_000_000;

/// A document as two stores keep it after both sides have edited it apart.
struct Parted {
    id: RecordId,
    /// At its creator: changes alone. Elsewhere: the snapshot that taking them in made, and changes.
    stored: [Stored; 2],
    /// What each side wrote.
    changes: [Vec<Vec<u8>>; 2],
}

/// # Errors
/// A change that an honest node made is refused.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let parted = (0..DOCUMENTS)
        .map(part)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let sides = ["at the node that made it", "at the other node"];
    for (side, words) in sides.into_iter().enumerate() {
        let (mut read_us, mut took_us, mut both_us) = (Vec::new(), Vec::new(), Vec::new());
        let mut saved_bytes = 0;
        for round in 0..effort.rounds {
            let (mut read, mut took, mut both) = (0.0, 0.0, 0.0);
            saved_bytes = 0;
            for some in parted.chunks(AT_A_TIME) {
                let stored: Vec<_> = some
                    .iter()
                    .map(|document| (document.id, document.stored[side].clone()))
                    .collect::<Vec<_>>();
                let again = stored.clone();
                let before = cpu_us()?;
                let mut here = stored
                    .into_iter()
                    .map(|(id, stored)| Document::restore(Kind::Incident, id, stored))
                    .collect::<Result<Vec<_>, _>>()?;
                let between = cpu_us()?;
                for (here, document) in here.iter_mut().zip(some) {
                    let changes = &document.changes[1 - side];
                    let ingested = here.ingest(&incoming(changes, author(1 - side)));
                    saved_bytes += saved(&ingested)?;
                }
                let after = cpu_us()?;
                let mut whole = Vec::with_capacity(AT_A_TIME);
                for ((id, stored), document) in again.into_iter().zip(some) {
                    let batch = incoming(&document.changes[1 - side], author(1 - side));
                    let (document, ingested) =
                        Document::restore_and_ingest(Kind::Incident, id, stored, &batch)?;
                    saved(&ingested)?;
                    whole.push(document);
                }
                read += between - before;
                took += after - between;
                both += cpu_us()? - after;
            }
            let each_us = |sum: f64| sum / DOCUMENTS as f64;
            read_us.push(each_us(read));
            took_us.push(each_us(took));
            both_us.push(each_us(both));
            report.line(json!({
                "at": words,
                "round": round,
                "read_us": each_us(read),
                "taken_in_us": each_us(took),
                "in_one_go_us": each_us(both),
                "saved_bytes": saved_bytes / DOCUMENTS,
            }));
        }
        report.row(
            format!("an incident read from what the store keeps of it, {words}"),
            format!("{:.0} µs", median(&read_us)),
        );
        report.row(
            format!("{EDITS} changes of the other side judged, applied, proved to save and load, {words}"),
            format!("{:.0} µs", median(&took_us)));
        report.row(
            format!("both in one go, {words}"),
            format!("{:.0} µs", median(&both_us)),
        );
        report.row(
            format!("bytes of its snapshot, {words}"),
            format!("{} B", saved_bytes / DOCUMENTS),
        );
    }
    report.note("CPU time of one thread, which other work on the machine does not lengthen by much; no store, no wire.");
    Ok(report)
}

/// Bytes of the snapshot, when every change was applied.
fn saved(ingested: &Ingested) -> anyhow::Result<usize> {
    anyhow::ensure!(
        ingested.outcomes.iter().all(|o| *o == Outcome::Applied),
        "an honest change is refused: {:?}",
        ingested.outcomes
    );
    Ok(ingested.saved.as_ref().map_or(0, Vec::len))
}

/// Processor time that this thread has had, in µs.
fn cpu_us() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let running_ns = text.split(' ').next().context("an empty schedstat")?;
    Ok(running_ns.parse::<f64>()? / 1e3)
}

/// The workload of `sync`, for one document.
fn part(number: usize) -> anyhow::Result<Parted> {
    let mut id = RecordId([7; 16]);
    id.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
    let mut made = Document::new(Kind::Incident, id);
    let body = object(documents::incident(number))?;
    let edit = check_create(Kind::Incident, &body).map_err(refused)?;
    let created = write(&mut made, 0, &edit)?;
    let mut taken = Document::new(Kind::Incident, id);
    let ingested = taken.ingest(&incoming(std::slice::from_ref(&created), author(0)));
    let snapshot = ingested.saved.context("the creation is refused")?;

    let mut changes = [Vec::new(), Vec::new()];
    for (at, (document, side)) in [(&mut made, Side::Hq), (&mut taken, Side::Field)]
        .into_iter()
        .enumerate()
    {
        for turn in 0..EDITS {
            let fields = object(documents::change(side, number, turn))?;
            let edit = check_patch(Kind::Incident, &fields, &Map::new()).map_err(refused)?;
            changes[at].push(write(document, at, &edit)?);
        }
    }
    let at_maker = Stored {
        applied: std::iter::once(created).chain(changes[0].clone()).collect(),
        ..Stored::default()
    };
    let elsewhere = Stored {
        snapshot,
        applied: changes[1].clone(),
        ..Stored::default()
    };
    Ok(Parted {
        id,
        stored: [at_maker, elsewhere],
        changes,
    })
}

fn write(document: &mut Document, at: usize, edit: &Edit) -> anyhow::Result<Vec<u8>> {
    let edited = document.edit(&author(at), None, edit, AT_S)?;
    Ok(edited.context("an edit that changes nothing")?.bytes)
}

fn incoming(changes: &[Vec<u8>], author: Author) -> Vec<Incoming<'_>> {
    let numbered = changes.iter().zip(1..);
    numbered
        .map(|(bytes, key)| Incoming { key, author, bytes })
        .collect()
}

fn author(side: usize) -> Author {
    Author {
        node: [side as u8 + 1; 32],
        incarnation: 1,
    }
}

fn object(value: Value) -> anyhow::Result<Map<String, Value>> {
    match value {
        Value::Object(fields) => Ok(fields),
        other => anyhow::bail!("{other} is no object"),
    }
}

fn refused(errors: Vec<domain::FieldError>) -> anyhow::Error {
    anyhow::anyhow!("the fields are refused: {errors:?}")
}
