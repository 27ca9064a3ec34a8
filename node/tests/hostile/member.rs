//! A member's key in the hands of somebody with a program of their own: it joins as any node does, speaks the protocol
//! over real QUIC, and writes into its logs, and into its runs, whatever it likes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::{Author, Document, Incoming, Kind, RecordId};
use ed25519_dalek::SigningKey;
use node::app::{App, Caller};
use parking_lot::Mutex;
use sync_engine::{
    ChainHash, Engine, Entry, EntryHeader, EntryKind, Frontier, GroupId, HybridTime, Incarnation,
    Interest, Lane, Limits, LocalNode, LogId, LogTail, NodeId, Now, ObjectId, Payload, PeerState,
    ProgressItem, Run, Seq, StoreFault, Stored, Trust, TrustRecord, VerifiedRun,
};
use sync_quic::{
    Host, Invite, JoinRefusal, JoinReply, JoinRequest, Loaded, PeerAddr, SyncConfig, SyncNode,
};

pub const WAIT: Duration = Duration::from_secs(30);

pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
}

/// What came from others, and what was sent.
#[derive(Default)]
struct Seen {
    runs: Mutex<Vec<Run>>,
    own_log_longer: AtomicUsize,
}

impl Seen {
    /// The changes of an incident, from all logs, in the order in which they came.
    fn changes(&self, object: ObjectId) -> Vec<(Author, Vec<u8>)> {
        let mut changes = Vec::new();
        for run in self.runs.lock().iter() {
            let author = Author {
                node: run.log.author.0,
                incarnation: run.log.incarnation.0,
            };
            for bytes in &run.entries {
                if let Ok(Entry {
                    header,
                    payload: Payload::Plain(change),
                }) = Entry::decode(bytes)
                    && header.object == object
                    && run.log.lane == Lane::Life
                    && header.kind == EntryKind(Kind::Incident.spec().code)
                {
                    changes.push((author, change));
                }
            }
        }
        changes
    }
}

impl Host for Seen {
    async fn load(&self, log: LogId, from: Seq, _bytes_max: usize) -> Option<Loaded> {
        self.runs
            .lock()
            .iter()
            .find(|run| run.log == log && run.first == from)
            .cloned()
            .map(Loaded::from)
    }

    async fn store(&self, _from: NodeId, runs: Vec<VerifiedRun>) -> Result<Stored, StoreFault> {
        let mut seen = self.runs.lock();
        for run in runs {
            let (log, first, prev) = (*run.log(), run.first(), run.prev());
            let entries: Vec<Vec<u8>> = run
                .entries()
                .iter()
                .map(|entry| entry.bytes.clone())
                .collect();
            seen.push(Run {
                log,
                first,
                prev,
                entries,
                signatures: Vec::new(),
            });
        }
        Ok(Stored::default())
    }

    fn progress(&self, _peer: NodeId, _items: Vec<ProgressItem>, _at_wall_ms: u64) {}

    fn own_log_longer(&self, _log: LogId, _ours: Seq, _theirs: Seq, _peer: NodeId) {
        self.own_log_longer.fetch_add(1, Ordering::Relaxed);
    }

    async fn join(&self, _: NodeId, _: JoinRequest) -> Result<JoinReply, JoinRefusal> {
        Err(JoinRefusal::NotAllowed)
    }

    fn wall_ms(&self) -> u64 {
        wall_ms()
    }
}

/// The key and what it learned when it joined.
pub struct Member {
    pub key: SigningKey,
    pub trust: Trust,
    inviter: NodeId,
    pub address: SocketAddr,
    /// The newest protocol version that it speaks.
    pub protocol_max: u16,
}

impl Member {
    /// Joins the operation of `hq`.
    pub async fn join(hq: &Arc<App>, number: u8) -> Member {
        let code = hq
            .invite(&Caller::socket(), "field", None, WAIT)
            .await
            .unwrap();
        Member::join_with(code["code"].as_str().unwrap(), number).await
    }

    /// Joins with a code.
    pub async fn join_with(code: &str, number: u8) -> Member {
        let invite: Invite = code.parse().unwrap();
        let key = SigningKey::from_bytes(&[number; 32]);
        let request = JoinRequest::new(format!("member {number}"), None, "other");
        let reply = sync_quic::join(&key, &invite, request, WAIT).await.unwrap();
        let mut trust = Trust::new(reply.genesis);
        for run in &reply.trust_runs {
            for bytes in &run.entries {
                if let Ok(Some(record)) = TrustRecord::from_entry_bytes(bytes) {
                    let _ = trust.insert(record);
                }
            }
        }
        Member {
            key,
            trust,
            inviter: invite.inviter,
            address: invite.addresses[0],
            protocol_max: Limits::default().protocol_max,
        }
    }

    /// The same member, who meets another node.
    pub fn at(&self, app: &App, address: SocketAddr) -> Member {
        Member {
            key: self.key.clone(),
            trust: self.trust.clone(),
            inviter: app.node_id(),
            address,
            protocol_max: self.protocol_max,
        }
    }

    /// Somebody else who knows all that this member knows.
    pub fn with_key(&self, key: SigningKey) -> Member {
        Member {
            key,
            trust: self.trust.clone(),
            inviter: self.inviter,
            address: self.address,
            protocol_max: self.protocol_max,
        }
    }

    /// Who let it in.
    pub fn inviter(&self) -> NodeId {
        self.inviter
    }

    pub fn node(&self) -> NodeId {
        NodeId(self.key.verifying_key().to_bytes())
    }

    /// Connects under a new incarnation, with empty logs.
    pub async fn connect(&self, incarnation: u64) -> Life {
        self.connect_as(incarnation, self.trust.clone()).await
    }

    pub async fn connect_as(&self, incarnation: u64, trust: Trust) -> Life {
        let life = self.dial(incarnation, trust).await;
        let live = async {
            while !life
                .sync
                .peers()
                .iter()
                .any(|peer| peer.state() == PeerState::Live)
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(WAIT, live)
            .await
            .expect("the member is let in");
        life
    }

    pub async fn dial(&self, incarnation: u64, trust: Trust) -> Life {
        let mut config = SyncConfig::new("127.0.0.1:0".parse().unwrap(), self.key.clone());
        config.peers.push(PeerAddr {
            node: Some(self.inviter),
            addr: self.address.to_string(),
        });
        let now = Now {
            mono_ms: 0,
            wall_ms: wall_ms(),
        };
        let engine = Engine::new(
            incarnation,
            now,
            LocalNode {
                node: self.node(),
                incarnation: Incarnation(incarnation),
                name: "other".into(),
                software: "other".into(),
            },
            trust,
            Frontier::new(),
            Interest::default(),
            Limits {
                protocol_max: self.protocol_max,
                ..Limits::default()
            },
        );
        let seen = Arc::new(Seen::default());
        let sync = SyncNode::start(config, engine, Arc::clone(&seen))
            .await
            .unwrap();
        Life {
            sync,
            seen,
            key: self.key.clone(),
            incarnation: Incarnation(incarnation),
            tails: BTreeMap::new(),
        }
    }
}

/// One incarnation, connected.
pub struct Life {
    pub sync: SyncNode,
    seen: Arc<Seen>,
    pub key: SigningKey,
    incarnation: Incarnation,
    tails: BTreeMap<LogId, LogTail>,
}

impl Life {
    pub fn author(&self) -> Author {
        Author {
            node: self.key.verifying_key().to_bytes(),
            incarnation: self.incarnation.0,
        }
    }

    pub fn log(&self, lane: Lane) -> LogId {
        LogId {
            author: NodeId(self.key.verifying_key().to_bytes()),
            incarnation: self.incarnation,
            group: GroupId::SHARED,
            lane,
        }
    }

    /// The next entries of the own log of a lane, as a run that is in order in every way.
    pub fn run(&mut self, lane: Lane, entries: Vec<Vec<u8>>) -> Run {
        let log = self.log(lane);
        let tail = self.tails.entry(log).or_insert_with(|| LogTail::start(log));
        let (first, prev) = (tail.head().seq.next(), tail.head().chain);
        let mut signatures = Vec::new();
        for bytes in &entries {
            signatures.extend(tail.push(bytes, &self.key).sign_before);
        }
        signatures.extend(tail.seal(&self.key));
        Run {
            log,
            first,
            prev,
            entries,
            signatures,
        }
    }

    /// Sends a run, whatever is in it.
    pub fn send_run(&self, run: Run) {
        let chain = ChainHash([run.entries.len() as u8; 32]);
        let head = sync_engine::Head {
            seq: run.last(),
            chain,
        };
        self.send_run_with(run, head);
    }

    fn send_run_with(&self, run: Run, head: sync_engine::Head) {
        self.seen.runs.lock().push(run.clone());
        self.sync
            .local_commit(vec![(run.log, head)], vec![run], Vec::new());
    }

    /// Appends entries to the own log of a lane and sends them.
    pub fn send(&mut self, lane: Lane, entries: Vec<Vec<u8>>) {
        let run = self.run(lane, entries);
        let head = self.tails[&run.log].head();
        self.send_run_with(run, head);
    }

    /// Waits until `object` has come, and gives the document as it stands here.
    pub async fn document(&self, kind: Kind, id: RecordId) -> Document {
        let came = async {
            loop {
                let changes = self.seen.changes(ObjectId(id.0));
                let incoming: Vec<Incoming<'_>> = changes
                    .iter()
                    .map(|(author, bytes)| Incoming {
                        key: 0,
                        author: *author,
                        bytes,
                    })
                    .collect();
                let mut document = Document::new(kind, id);
                document.ingest(&incoming);
                if !document.is_empty() {
                    return document;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(WAIT, came)
            .await
            .expect("the document comes")
    }

    /// Waits until a connection was refused.
    pub async fn until_cut_off(&self, why: &str) {
        let cut = async {
            loop {
                let told = self.sync.peers().iter().any(|peer| {
                    peer.last_error
                        .as_deref()
                        .is_some_and(|error| error.contains(why))
                });
                if told {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(WAIT, cut).await.is_err() {
            panic!("not cut off for {why:?}: {:?}", self.sync.peers());
        }
    }
}

/// An entry in order.
pub fn entry(code: u16, object: RecordId, payload: Payload) -> Vec<u8> {
    let header = EntryHeader {
        time: HybridTime {
            wall_ms: wall_ms(),
            logical: 0,
        },
        user: None,
        kind: EntryKind(code),
        object: ObjectId(object.0),
    };
    Entry { header, payload }.encode().unwrap()
}

/// A change of a document, or what is said to be one.
pub fn change(kind: Kind, id: RecordId, bytes: Vec<u8>) -> Vec<u8> {
    entry(kind.spec().code, id, Payload::Plain(bytes))
}
