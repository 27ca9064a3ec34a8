//! A hundred thousand documents: through a middle node to a third, and then a thousand changes on each side of two nodes
//! that met before.
//!
//! Real processes over loopback. HQ makes the documents while nobody is connected. Then the middle node dials HQ and the
//! far node dials the middle one; the only address of HQ that the far node knows leads into a relay that is cut. For the
//! rounds of changes the far node is stopped, and that relay is the only way between HQ and the middle node.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use sync_engine::{Frontier, Limits, NodeId};

use crate::api::{Api, metric};
use crate::child::{self, Node};
use crate::documents::{self, Order, Seen, Side};
use crate::member::{Beginning, Member};
use crate::pair::{self, Pair};
use crate::relay::Relay;
use crate::report::{Reach, Report, median, thousands};
use crate::{Effort, library, live};

const DOCUMENTS: usize = 100_000;
const DOCUMENTS_QUICK: usize = 5_000;
/// Documents that each side changes, one field each, other ones on each side.
const CHANGED: usize = 1_000;
/// How long the chain may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Of these so many on each side where round trips are counted: what fits the first packets, and is committed in less
/// than a part of a round trip even on a busy machine.
const CHANGED_FEW: usize = 10;
/// What the relay makes of loopback for the round that counts round trips: far above what the nodes take to think.
const ROUND_TRIP: Duration = Duration::from_millis(400);
/// QUIC's handshake, the greeting, half a round trip for the change itself, and what commit and event take.
const TRIPS_MAX: f64 = 2.7;
/// Key of the node of this bench that speaks an older protocol.
const OLDER: u16 = 50_000;

const SENT: &str = "muster_sync_bytes_total{direction=\"sent\"}";
const STORED: &str = "muster_sync_entries_stored_total";

/// # Errors
/// A node does not start, or the nodes never agree.
pub async fn run(effort: Effort) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let count = if effort.quick {
        DOCUMENTS_QUICK
    } else {
        DOCUMENTS
    };
    let directory = tempfile::tempdir()?;
    let dirs = ["hq", "middle", "far"].map(|name| directory.path().join(name));
    let relay = Relay::start()?;
    let hq = Node::start(&dirs[0], &["--advertise", &relay.address.to_string()])?;
    relay.lead(hq.sync)?;
    let hq_api = Api::sign_in(hq.http).await?;
    child::join(&dirs[0], &dirs[1], "Middle")?;
    child::join(&dirs[0], &dirs[2], "Far")?;
    let older = Older::join(&dirs[0], &hq).await?;
    relay.cut();

    let started = Instant::now();
    let made = documents::create(&hq_api, count).await?;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    println!("  {count} documents made, {rate:.0} a second");

    let middle = chain(&mut report, &hq, &dirs, count).await?;
    middle.stop();
    let (older, _) = older.exchange(count).await?;

    relay.heal();
    let field = Node::start(&dirs[1], &["--no-found"])?;
    let field_api = pair::sign_in(&field).await?;
    let pair = Pair {
        hq,
        field,
        hq_api,
        field_api,
        relay,
    };
    pair.until_level().await?;
    changes(&mut report, effort, pair, made, older).await?;
    report.note(
        "From the first datagram over the healed link; looked at every 10 ms, so up to 10 ms late. Bytes of frames are the \
         nodes' own counters: greetings, entries, acknowledgements, of both sides.",
    );
    Ok(report)
}

/// HQ → middle → far, from empty nodes; gives back the middle one.
async fn chain(
    report: &mut Report,
    hq: &Node,
    dirs: &[std::path::PathBuf; 3],
    count: usize,
) -> anyhow::Result<Node> {
    let started = Instant::now();
    let dial = |node: &Node| format!("{}@{}", node.id, node.sync);
    let middle = Node::start(&dirs[1], &["--no-found", "--peer", &dial(hq)])?;
    let far = Node::start(&dirs[2], &["--no-found", "--peer", &dial(&middle)])?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stored = metric(far.http, STORED).await?;
        if stored >= count as f64 {
            break;
        }
        anyhow::ensure!(
            Instant::now() < deadline,
            "the far node has {stored} of {count} entries"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = started.elapsed();
    let (cpu, far_cpu) = (middle.cpu(), far.cpu());
    let entries = count as f64;
    report.row(
        format!(
            "{} entries through a middle node to a third",
            thousands(entries)
        ),
        format!("{} entries/s", thousands(entries / took.as_secs_f64())),
    );
    report.row(
        "CPU an entry at the middle node (received, applied, committed, passed on)",
        format!("{:.0} µs", cpu.as_secs_f64() * 1e6 / entries),
    );
    report.row(
        "CPU an entry at the far node (received, applied, committed)",
        format!("{:.0} µs", far_cpu.as_secs_f64() * 1e6 / entries),
    );
    report.line(json!({
        "measurement": "relay",
        "entries": count,
        "took_ms": took.as_millis() as u64,
        "middle_cpu_ms": cpu.as_millis() as u64,
        "far_cpu_ms": far_cpu.as_millis() as u64,
        "middle_rss_peak_bytes": middle.memory().peak_bytes,
    }));
    same_digest(&dirs[0], &dirs[2])?;
    far.stop();
    Ok(middle)
}

/// What two nodes say of their documents is equal.
fn same_digest(one: &Path, other: &Path) -> anyhow::Result<()> {
    let status = |data_dir| -> anyhow::Result<serde_json::Value> {
        let text = child::command(data_dir, &["--json", "status"])?;
        Ok(serde_json::from_str(&text)?)
    };
    let (one, other) = (status(one)?, status(other)?);
    anyhow::ensure!(
        one["heads_digest"] == other["heads_digest"] && other["pending"] == json!(0),
        "the ends of the chain differ: {one} and {other}"
    );
    Ok(())
}

/// A node of this bench that speaks protocol 1: runs without log references.
struct Older {
    beginning: Beginning,
}

impl Older {
    async fn join(hq_dir: &Path, hq: &Node) -> anyhow::Result<Older> {
        let code = child::invite(hq_dir, "field")?;
        let key = library::key(OLDER);
        let member = Member::join(key.clone(), &code, Self::limits()).await?;
        let beginning = Beginning {
            limits: Self::limits(),
            peer: Some((hq.id.parse::<NodeId>()?, hq.sync)),
            ..Beginning::new(key, member.sync.trust().as_ref().clone(), member.frontier())
        };
        member.sync.shutdown().await;
        Ok(Older { beginning })
    }

    fn limits() -> Limits {
        Limits {
            protocol_max: 1,
            ..Limits::default()
        }
    }

    /// Takes what HQ has, so many entries or more, and parts again.
    async fn exchange(self, entries_min: usize) -> anyhow::Result<(Older, Took)> {
        let (key, trust, peer) = (
            self.beginning.key.clone(),
            self.beginning.trust.clone(),
            self.beginning.peer,
        );
        let member = Member::start(self.beginning).await?;
        let came = || member.entries() >= entries_min as u64;
        member
            .until("HQ does not send its entries to the older node", came)
            .await?;
        let report = member.sync.sync_now(None, true, PATIENCE).await;
        anyhow::ensure!(
            report.complete,
            "HQ did not answer the older node: {report:?}"
        );
        let frontier: Frontier = member.frontier();
        let took = Took {
            frame_bytes: member.sync.counters().received_bytes as f64,
            entries: member.entries() as f64,
            entry_bytes: member.entry_bytes() as f64,
        };
        member.sync.shutdown().await;
        let beginning = Beginning {
            limits: Self::limits(),
            peer,
            ..Beginning::new(key, trust, frontier)
        };
        Ok((Older { beginning }, took))
    }
}

/// What came to the older node.
struct Took {
    frame_bytes: f64,
    entries: f64,
    /// The entries as they are stored: neither compressed nor packed.
    entry_bytes: f64,
}

/// A thousand changes on each side, as often as `effort` says, and once over a slow link.
async fn changes(
    report: &mut Report,
    effort: Effort,
    mut pair: Pair,
    made: Vec<Seen>,
    mut older: Older,
) -> anyhow::Result<()> {
    let mut slices = made.chunks(CHANGED).map(<[Seen]>::to_vec);
    let mut next = || {
        slices
            .next()
            .context("too few documents for so many rounds")
    };
    let (mut times_ms, mut frame_bytes, mut wire_bytes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut older_bytes, mut plain_bytes) = (Vec::new(), Vec::new());
    let changes = (2 * CHANGED) as f64;
    for round in 0..effort.rounds {
        pair = pair.part().await?;
        let (mut at_hq, mut at_field) = (next()?, next()?);
        documents::edit(&pair.hq_api, &mut at_hq, Side::Hq, Order::InTurn, 1).await?;
        documents::edit(
            &pair.field_api,
            &mut at_field,
            Side::Field,
            Order::InTurn,
            1,
        )
        .await?;
        let ends: [SocketAddr; 2] = [pair.hq.http, pair.field.http];
        let sent_before = sent(ends).await?;
        let cpu = || [pair.hq.cpu(), pair.field.cpu()];
        let cpu_before = cpu();
        pair.relay.heal();
        let mut asked = child::background(&pair.field.data_dir, &["sync"])?;
        let level = pair.until_level().await?;
        let (passed, cpu_after) = (pair.relay.passed(), cpu());
        let _ = asked.wait();
        let first = passed.first.context("nothing passed the relay")?;
        let taken_ms = level.duration_since(first).as_secs_f64() * 1e3;
        let frames = (sent(ends).await? - sent_before) / changes;
        let cpu_ms = [0, 1].map(|node| (cpu_after[node] - cpu_before[node]).as_millis() as u64);
        let (then, took) = older.exchange(2 * CHANGED).await?;
        older = then;
        let older_each = took.frame_bytes / took.entries;
        let plain_each = took.entry_bytes / took.entries;
        println!(
            "  round {round}: {taken_ms:.0} ms, frames {frames:.1} B a change, UDP {} B in {} datagrams, \
             CPU {} + {} ms; protocol 1: {older_each:.1} B an entry, plain {plain_each:.1} B",
            passed.bytes, passed.datagrams, cpu_ms[0], cpu_ms[1]
        );
        report.line(json!({
            "measurement": "changes",
            "round": round,
            "documents": made.len(),
            "changed_on_each_side": CHANGED,
            "until_agreed_ms": taken_ms,
            "frame_bytes_per_change": frames,
            "wire_bytes": passed.bytes,
            "wire_datagrams": passed.datagrams,
            "cpu_ms": cpu_ms,
            "protocol_1_frame_bytes_per_entry": older_each,
            "plain_bytes_per_entry": plain_each,
        }));
        times_ms.push(taken_ms);
        frame_bytes.push(frames);
        wire_bytes.push(passed.bytes as f64 / changes);
        older_bytes.push(older_each);
        plain_bytes.push(plain_each);
    }
    let about = format!(
        "{} documents, {CHANGED} changed on each side",
        thousands(made.len() as f64)
    );
    report.judged(
        format!("{about}, until both have committed"),
        format!("{:.0} ms", median(&times_ms)),
        median(&times_ms),
        Reach::AtMost(2_000.0),
        "2,000 ms",
    );
    report.judged(
        "frames a change, both directions, greetings and acknowledgements included",
        format!("{:.1} B", median(&frame_bytes)),
        median(&frame_bytes),
        Reach::AtMost(40.0),
        "40 B",
    );
    report.judged(
        "frames an entry to a node of protocol 1 (no log references)",
        format!("{:.1} B", median(&older_bytes)),
        median(&older_bytes),
        Reach::AtMost(80.0),
        "80 B",
    );
    report.row(
        "the same entry as it is stored, plain",
        format!("{:.1} B", median(&plain_bytes)),
    );
    report.row(
        "UDP payload a change, handshake and packets included",
        format!("{:.1} B", median(&wire_bytes)),
    );
    round_trips(report, pair, next()?, next()?).await
}

/// Bytes of frames that both nodes have sent since they were started.
async fn sent(ends: [SocketAddr; 2]) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for end in ends {
        sum += metric(end, SENT).await?;
    }
    Ok(sum)
}

/// Over a link on which every datagram takes half a round trip: when each side's clients see the first change of the
/// other.
async fn round_trips(
    report: &mut Report,
    pair: Pair,
    mut at_hq: Vec<Seen>,
    mut at_field: Vec<Seen>,
) -> anyhow::Result<()> {
    let pair = pair.part().await?;
    at_hq.truncate(CHANGED_FEW);
    at_field.truncate(CHANGED_FEW);
    documents::edit(&pair.hq_api, &mut at_hq, Side::Hq, Order::InTurn, 1).await?;
    documents::edit(
        &pair.field_api,
        &mut at_field,
        Side::Field,
        Order::InTurn,
        1,
    )
    .await?;
    let hq_events = live::listen(pair.hq_api.stream("/v1/events").await?);
    let field_events = live::listen(pair.field_api.stream("/v1/events").await?);
    pair.relay.delay(ROUND_TRIP / 2);
    pair.relay.heal();
    let mut asked = child::background(&pair.field.data_dir, &["sync"])?;
    let (to_hq, to_field) = tokio::try_join!(
        first_of(hq_events, &at_field),
        first_of(field_events, &at_hq)
    )?;
    let first = pair
        .relay
        .passed()
        .first
        .context("nothing passed the relay")?;
    pair.until_level().await?;
    pair.relay.delay(Duration::ZERO);
    let _ = asked.wait();
    let trips = |seen: Instant| seen.duration_since(first).as_secs_f64() / ROUND_TRIP.as_secs_f64();
    let words = format!(
        "round trips of {} ms from the first datagram until a client sees the other side's first change",
        ROUND_TRIP.as_millis()
    );
    for (at, seen) in [
        ("HQ, which was dialled", to_hq),
        ("the field node, which dialled", to_field),
    ] {
        report.judged(
            format!("{words}, at {at}"),
            format!("{:.2}", trips(seen)),
            trips(seen),
            Reach::AtMost(TRIPS_MAX),
            format!(
                "{TRIPS_MAX}: handshake 1, greeting 1, way ½, a fifth to commit and to be seen"
            ),
        );
    }
    report.line(json!({
        "measurement": "round trips",
        "round_trip_ms": ROUND_TRIP.as_millis() as u64,
        "first_change_at_hq": trips(to_hq),
        "first_change_at_field": trips(to_field),
    }));
    Ok(())
}

/// When the first event of one of these documents came.
async fn first_of(
    mut events: tokio::sync::mpsc::Receiver<serde_json::Value>,
    documents: &[Seen],
) -> anyhow::Result<Instant> {
    let ids: BTreeSet<&str> = documents.iter().map(|seen| seen.id.as_str()).collect();
    let first = async {
        while let Some(event) = events.recv().await {
            if event["id"].as_str().is_some_and(|id| ids.contains(id)) {
                return Ok(Instant::now());
            }
        }
        anyhow::bail!("the event stream ended")
    };
    tokio::time::timeout(PATIENCE, first)
        .await
        .context("no change of the other side came")?
}
