//! The engine of an HQ with a thousand live peers, alone: memory a peer and time a delivered entry.
//!
//! It runs in a process of its own, so that the growth of that process is the engine's. The peers' engines are real, one
//! after the other: each greets, writes its entries, of which the frames are kept, and goes without saying so. The last
//! one stays, and what it answers is given to HQ as the answer of all: they all get the same entries, and
//! acknowledgements name nothing but logs and heights.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use sync_engine::{
    ConnId, Effect, Engine, Input, Lane, Limits, NodeId, Now, PeerState, Seq, Stored, StreamKind,
};

use crate::engines;
use crate::library::{self, Library};
use crate::report::{Report, thousands};

/// The word with which the bench starts itself for this.
pub const FLAG: &str = "--engine-of-a-crowd";

/// Entries that each node writes, one commit each.
const ENTRIES: u64 = 3;

/// Runs the measurement in a process of its own and takes its figures in.
///
/// # Errors
/// It fails.
pub fn report(report: &mut Report, peers: u16) -> anyhow::Result<()> {
    let output = std::process::Command::new(std::env::current_exe()?)
        .args([FLAG, &peers.to_string()])
        .output()
        .context("start the bench again")?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let seen: Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| seen[name].as_f64().unwrap_or(f64::NAN);
    for (what, name, unit, digits) in [
        (
            "memory a live peer, at rest",
            "rest_bytes_per_peer",
            "kB",
            1,
        ),
        (
            "memory a live peer that lacks an entry of every other",
            "behind_bytes_per_peer",
            "kB",
            1,
        ),
        ("CPU a greeting", "greeting_us", "µs", 0),
        (
            "CPU a delivered entry, its acknowledgement included",
            "delivery_us",
            "µs",
            2,
        ),
    ] {
        let scale = if unit == "kB" { 1e3 } else { 1.0 };
        report.row(
            format!(
                "HQ's engine alone, {} peers: {what}",
                thousands(f64::from(peers))
            ),
            format!("{:.digits$} {unit}", number(name) / scale),
        );
    }
    report.line(seen);
    Ok(())
}

/// The other process: prints one line of JSON.
///
/// # Errors
/// An engine does not do as it should.
pub fn run(peers: u16) -> anyhow::Result<()> {
    let mut library = Library::default();
    let trust = engines::found(&mut library, peers + 1)?;
    let limits = Limits {
        connections_max: usize::from(peers) + 1,
        ..Limits::default()
    };
    let frontier = library.frontier();
    let hq_key = library::key(0);
    let mut hq = Hq {
        engine: engines::engine(&hq_key, trust.clone(), frontier.clone(), limits),
        id: library::node_of(&hq_key),
        busy: Duration::ZERO,
        delivered: 0,
    };

    // What the first ones take is the allocator's as much as the engine's: the rest is measured.
    let warm = peers / 5;
    let (mut warm_bytes, mut frames, mut last) = (0, Vec::new(), None);
    for number in 1..=peers {
        let key = library::key(number);
        let engine = engines::engine(&key, trust.clone(), frontier.clone(), Limits::default());
        let mut peer = FieldNode {
            engine,
            id: library::node_of(&key),
            conn: ConnId(u64::from(number)),
        };
        hq.greet(&mut peer, &library)?;
        if number == warm {
            warm_bytes = anonymous_bytes()? - kept_bytes(&frames);
        }
        if number == peers {
            last = Some(peer);
            break;
        }
        let log = library::log_of(peer.id, engines::incarnation_of(peer.id), Lane::Life);
        frames.push(peer.write(&mut library, &log, &key, number)?);
    }
    let rest_bytes = anonymous_bytes()? - kept_bytes(&frames);
    let counted = i64::from(peers - warm);
    let greeting_us = hq.busy.as_secs_f64() * 1e6 / f64::from(peers);

    let mut witness = last.context("a crowd has at least one peer")?;
    hq.busy = Duration::ZERO;
    let mut behind_bytes = rest_bytes;
    for round in 0..ENTRIES as usize {
        let mut to_witness = Vec::new();
        for (at, frames) in frames.iter().enumerate() {
            let conn = ConnId(at as u64 + 1);
            hq.take_entry(
                conn,
                frames[round].clone(),
                &library,
                witness.conn,
                &mut to_witness,
            )?;
        }
        if round == 0 {
            behind_bytes =
                anonymous_bytes()? - kept_bytes(&frames) - kept_bytes(&[to_witness.clone()]);
        }
        for answer in witness.take_entries(to_witness, &library)? {
            for peer in 1..=u64::from(peers) {
                hq.take_answer(ConnId(peer), answer.clone(), &library)?;
            }
        }
    }
    let entries = frames.len() as u64 * ENTRIES;
    anyhow::ensure!(
        hq.delivered == entries * u64::from(peers - 1),
        "{} deliveries of {entries} entries",
        hq.delivered
    );
    let usage = hq.engine.usage();
    anyhow::ensure!(
        usage.unacked_bytes_max == 0,
        "somebody has not acknowledged: {usage:?}"
    );
    println!(
        "{}",
        json!({
            "peers": peers,
            "entries": entries,
            "deliveries": hq.delivered,
            "rest_bytes_per_peer": (rest_bytes - warm_bytes) / counted,
            "behind_bytes_per_peer": (behind_bytes - warm_bytes) / counted,
            "greeting_us": greeting_us,
            "delivery_us": hq.busy.as_secs_f64() * 1e6 / hq.delivered as f64,
        })
    );
    Ok(())
}

struct Hq {
    engine: Engine,
    id: NodeId,
    /// Time that the engine has taken.
    busy: Duration,
    /// Runs of lanes above 0 that went out.
    delivered: u64,
}

/// A peer of HQ, with one connection.
struct FieldNode {
    engine: Engine,
    id: NodeId,
    conn: ConnId,
}

type Frames = Vec<(StreamKind, Vec<u8>)>;

/// Nothing here takes time: the clocks stand still, and no timer comes due.
const NOW: Now = Now {
    mono_ms: 1,
    wall_ms: 1,
};

/// Gives an engine an input, stores at once what it wants stored, and hands out what it sends.
fn feed(
    engine: &mut Engine,
    input: Input,
    library: &Library,
    mut send: impl FnMut(ConnId, StreamKind, Vec<u8>),
) -> anyhow::Result<Duration> {
    let (mut inputs, mut busy) = (vec![input], Duration::ZERO);
    while let Some(input) = inputs.pop() {
        let start = Instant::now();
        engine.handle(NOW, input);
        busy += start.elapsed();
        while let Some(effect) = engine.poll_effect() {
            match effect {
                Effect::Send {
                    conn,
                    stream,
                    frame,
                } => {
                    if let StreamKind::Lane(lane) = stream {
                        inputs.push(Input::Unsent {
                            conn,
                            lane,
                            bytes: 0,
                        });
                    }
                    send(conn, stream, frame);
                }
                Effect::Store { batch, runs, .. } => {
                    let applied = runs.iter().map(|run| (*run.log(), run.head().seq));
                    let applied = applied.collect();
                    inputs.push(Input::Persisted {
                        batch,
                        result: Ok(Stored { applied }),
                    });
                }
                Effect::Load {
                    load,
                    log,
                    from,
                    bytes_max,
                } => {
                    let to = engine.frontier().head(&log).seq;
                    let run = library.load(&log, from, to, bytes_max);
                    let named = Vec::new();
                    inputs.push(Input::Loaded { load, run, named });
                }
                Effect::Disconnect { detail, .. } => bail!("a connection ended: {detail}"),
                _ => {}
            }
        }
    }
    Ok(busy)
}

impl Hq {
    fn feed(
        &mut self,
        input: Input,
        library: &Library,
        send: impl FnMut(ConnId, StreamKind, Vec<u8>),
    ) -> anyhow::Result<()> {
        self.busy += feed(&mut self.engine, input, library, send)?;
        Ok(())
    }

    /// Lets a peer connect and become live.
    fn greet(&mut self, peer: &mut FieldNode, library: &Library) -> anyhow::Result<()> {
        let conn = peer.conn;
        let (mut to_hq, mut to_peer): (Frames, Frames) = (Vec::new(), Vec::new());
        let connected = |peer, dialled| Input::Connected {
            conn,
            peer,
            dialled,
        };
        feed(
            &mut peer.engine,
            connected(self.id, true),
            library,
            |_, stream, frame| {
                to_hq.push((stream, frame));
            },
        )?;
        self.feed(connected(peer.id, false), library, |_, stream, frame| {
            to_peer.push((stream, frame));
        })?;
        while !to_hq.is_empty() || !to_peer.is_empty() {
            for (stream, bytes) in std::mem::take(&mut to_hq) {
                let input = Input::Frame {
                    conn,
                    stream,
                    bytes,
                };
                self.feed(input, library, |_, stream, frame| {
                    to_peer.push((stream, frame))
                })?;
            }
            for (stream, bytes) in std::mem::take(&mut to_peer) {
                let input = Input::Frame {
                    conn,
                    stream,
                    bytes,
                };
                feed(&mut peer.engine, input, library, |_, stream, frame| {
                    to_hq.push((stream, frame));
                })?;
            }
        }
        let live = peer
            .engine
            .peers()
            .iter()
            .any(|view| view.node == self.id && view.state == PeerState::Live);
        anyhow::ensure!(live, "a peer did not become live");
        Ok(())
    }

    /// An entry of one peer comes, and goes out to all others; what goes to the witness is kept for it.
    fn take_entry(
        &mut self,
        conn: ConnId,
        frame: Vec<u8>,
        library: &Library,
        witness: ConnId,
        to_witness: &mut Vec<Vec<u8>>,
    ) -> anyhow::Result<()> {
        let mut delivered = 0;
        let input = Input::Frame {
            conn,
            stream: StreamKind::Lane(Lane::Life),
            bytes: frame,
        };
        self.feed(input, library, |to, stream, frame| {
            if stream == StreamKind::Lane(Lane::Life) {
                delivered += 1;
                if to == witness {
                    to_witness.push(frame);
                }
            }
        })?;
        self.delivered += delivered;
        Ok(())
    }

    /// A peer says what the witness said.
    fn take_answer(
        &mut self,
        conn: ConnId,
        bytes: Vec<u8>,
        library: &Library,
    ) -> anyhow::Result<()> {
        let mut sent = 0;
        let input = Input::Frame {
            conn,
            stream: StreamKind::Control,
            bytes,
        };
        self.feed(input, library, |_, stream, _| {
            sent += u64::from(stream == StreamKind::Lane(Lane::Life));
        })?;
        self.delivered += sent;
        Ok(())
    }
}

impl FieldNode {
    /// Writes its entries, one commit each; the frames that carry them.
    fn write(
        &mut self,
        library: &mut Library,
        log: &sync_engine::LogId,
        key: &ed25519_dalek::SigningKey,
        number: u16,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        for entry in 0..ENTRIES {
            let bytes = library::small_entry(u64::from(number), entry)?;
            let head = library.append(*log, [bytes], key);
            let input = Input::LocalCommit {
                log: *log,
                head,
                records: Vec::new(),
                run: library.load(log, Seq(entry + 1), head.seq, sync_engine::RUN_BYTES_MAX),
            };
            feed(&mut self.engine, input, library, |_, _, frame| {
                frames.push(frame)
            })?;
        }
        anyhow::ensure!(
            frames.len() == ENTRIES as usize,
            "{} frames for {ENTRIES} commits",
            frames.len()
        );
        Ok(frames)
    }

    /// Takes what came; its answers on the control stream.
    fn take_entries(
        &mut self,
        frames: Vec<Vec<u8>>,
        library: &Library,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut answers = Vec::new();
        for bytes in frames {
            let input = Input::Frame {
                conn: self.conn,
                stream: StreamKind::Lane(Lane::Life),
                bytes,
            };
            feed(&mut self.engine, input, library, |_, stream, frame| {
                if stream == StreamKind::Control {
                    answers.push(frame);
                }
            })?;
        }
        Ok(answers)
    }
}

/// What frames take that are kept for later and are not the engine's.
fn kept_bytes(frames: &[Vec<Vec<u8>>]) -> i64 {
    let bytes: usize = frames.iter().flatten().map(Vec::capacity).sum();
    bytes as i64
}

/// Memory of this process that belongs to no file, from /proc.
fn anonymous_bytes() -> anyhow::Result<i64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix("kB"))
        .context("no RssAnon in /proc/self/status")?;
    Ok(kib.trim().parse::<i64>()? * 1024)
}
