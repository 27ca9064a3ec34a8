//! The whole list of attacks against the program itself, over real QUIC, with an honest node beside it. After each: the
//! node serves its API and the honest node, nothing hostile is shown, figures and quarantine say what happened, who did it
//! is cut off, refused for a while and shown, and memory stayed where it was.

mod changes;
mod control;
mod flow;
mod frames;
mod packed;
mod packed_frame;
mod runs;
mod strangers;

use ed25519_dalek::SigningKey;
use serde_json::json;
use sync_engine::{
    Engine, Frontier, GroupId, Incarnation, Interest, Lane, Limits, LocalNode, LogId, LogTail, Now,
    Payload, Run, StreamKind,
};
use sync_quic::testing::{Crowd, Light, LightPeer};

use super::member::{Member, entry, wall_ms};
use super::world::NOTE;

/// The application protocol of sync.
const SYNC: &[u8] = b"muster/1";
/// The byte that begins the frame of a run.
const RUN: u8 = 16;
const RUN_PLAIN: u8 = 0;
const RUN_ZSTD: u8 = 1;
/// A kind of entry of a later version.
const LATER: u16 = 0x0fff;

/// A member's engine on a connection, both ends members to each other.
async fn light(member: &Member) -> LightPeer {
    try_light(member).await.unwrap()
}

async fn try_light(member: &Member) -> Result<LightPeer, String> {
    connect_live(member, Light::new(member.key.clone(), engine(member))).await
}

async fn connect_live(member: &Member, light: Light) -> Result<LightPeer, String> {
    let light = Crowd::bind()?.connect(member.address, light).await?;
    light.until(|seen| seen.live).await?;
    Ok(light)
}

fn engine(member: &Member) -> Engine {
    let now = Now {
        mono_ms: 0,
        wall_ms: wall_ms(),
    };
    let local = LocalNode {
        node: member.node(),
        incarnation: Incarnation(50),
        name: "light".into(),
        software: "other".into(),
    };
    let limits = Limits {
        protocol_max: member.protocol_max,
        ..Limits::default()
    };
    Engine::new(
        5,
        now,
        local,
        member.trust.clone(),
        Frontier::default(),
        Interest::default(),
        limits,
    )
}

/// A run as it is, on the stream of its lane.
fn send_run(light: &LightPeer, run: &Run) {
    light.send_raw(StreamKind::Lane(run.log.lane), frame(run));
}

fn frame(run: &Run) -> Vec<u8> {
    let mut frame = run.encode();
    frame.insert(0, RUN);
    frame
}

/// A note in order, under an id that only this author can have.
fn note(member: &Member, number: u8) -> Vec<u8> {
    let author = member.key.verifying_key().to_bytes();
    let id = domain::ids::new_fact_id(NOTE, &author, wall_ms(), &[number; 10]);
    let text = json!({ "text": "from a member" }).to_string();
    entry(NOTE, id, Payload::Plain(text.into_bytes()))
}

fn log_id(member: &Member, lane: Lane, incarnation: u64) -> LogId {
    LogId {
        author: member.node(),
        incarnation: Incarnation(incarnation),
        group: GroupId::SHARED,
        lane,
    }
}

/// A log that goes on and on.
struct OwnLog {
    tail: LogTail,
    log: LogId,
    key: SigningKey,
}

impl OwnLog {
    fn new(member: &Member, lane: Lane, incarnation: u64) -> Self {
        let log = log_id(member, lane, incarnation);
        Self {
            tail: LogTail::start(log),
            log,
            key: member.key.clone(),
        }
    }

    fn next(&mut self, entries: Vec<Vec<u8>>) -> Run {
        let head = self.tail.head();
        let mut signatures = Vec::new();
        for bytes in &entries {
            signatures.extend(self.tail.push(bytes, &self.key).sign_before);
        }
        signatures.extend(self.tail.seal(&self.key));
        Run {
            log: self.log,
            first: head.seq.next(),
            prev: head.chain,
            entries,
            signatures,
        }
    }
}
