//! A node of the real QUIC shell inside the bench: socket, TLS, streams and engine as in the program, around a host
//! that keeps nothing but heights, and a file where a commit has to be one.
//!
//! What it receives is verified, written, counted and let go: nobody asks it for the entries of others. What it wrote
//! itself is in a [`Library`], to be loaded by its engine.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use ed25519_dalek::SigningKey;
use sync_engine::{
    Frontier, Head, Lane, Limits, LogId, NodeId, PeerState, ProgressItem, Seq, StoreFault, Stored,
    Trust, TrustRecord, VerifiedRun,
};
use sync_quic::{
    Host, Invite, JoinRefusal, JoinReply, JoinRequest, Loaded, PeerAddr, SyncConfig, SyncNode,
};

use crate::engines;
use crate::library::{self, Library};

/// How long anything here may take before the bench says that it is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that came, and when it was committed.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub log: LogId,
    pub last: Seq,
    pub entry_bytes: usize,
    pub at: Instant,
}

/// What a host keeps.
#[derive(Default)]
struct Held {
    own: Library,
    heights: Frontier,
    entries: u64,
    entry_bytes: u64,
    /// How far the slowest peer has acknowledged logs of ours; there is one peer.
    acknowledged: Frontier,
}

/// The host: see the module.
struct Shelf {
    held: Mutex<Held>,
    /// The one file, as a real node has one database: whatever is committed waits for what is being committed.
    disk: Option<Mutex<File>>,
    arrivals: Option<Mutex<std::sync::mpsc::Sender<Arrival>>>,
}

impl Shelf {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes bytes and waits until they are on the disk.
    fn write(&self, entries: &[&[u8]]) -> std::io::Result<()> {
        let Some(disk) = &self.disk else {
            return Ok(());
        };
        let mut disk = disk.lock().unwrap_or_else(PoisonError::into_inner);
        disk.write_all(&entries.concat())?;
        disk.sync_data()
    }

    fn commit(&self, runs: &[VerifiedRun]) -> Result<Stored, StoreFault> {
        let entries = runs.iter().flat_map(VerifiedRun::entries);
        let bytes: Vec<&[u8]> = entries.map(|entry| entry.bytes.as_slice()).collect();
        self.write(&bytes).map_err(|error| StoreFault {
            detail: error.to_string(),
        })?;
        let at = Instant::now();
        let mut held = self.held();
        let mut applied = Vec::new();
        for run in runs {
            let head = run.head();
            held.heights.advance(*run.log(), head.seq, head.chain);
            held.entries += run.entries().len() as u64;
            held.entry_bytes += run.entry_bytes() as u64;
            applied.push((*run.log(), head.seq));
            if let Some(arrivals) = &self.arrivals {
                let arrival = Arrival {
                    log: *run.log(),
                    last: head.seq,
                    entry_bytes: run.entry_bytes(),
                    at,
                };
                // Whoever measured may have heard enough.
                let _ = arrivals
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .send(arrival);
            }
        }
        Ok(Stored { applied })
    }
}

/// [`Shelf`] behind a pointer, so that a commit can go to a thread that may block.
struct ShelfHost(Arc<Shelf>);

impl Host for ShelfHost {
    async fn load(&self, log: LogId, from: Seq, bytes_max: usize) -> Option<Loaded> {
        let run = self
            .0
            .held()
            .own
            .load(&log, from, Seq(u64::MAX), bytes_max)?;
        Some(run.into())
    }

    async fn store(&self, _: NodeId, runs: Vec<VerifiedRun>) -> Result<Stored, StoreFault> {
        if self.0.disk.is_none() {
            return self.0.commit(&runs);
        }
        let shelf = self.0.clone();
        tokio::task::spawn_blocking(move || shelf.commit(&runs))
            .await
            .unwrap_or_else(|error| {
                Err(StoreFault {
                    detail: error.to_string(),
                })
            })
    }

    fn progress(&self, _: NodeId, items: Vec<ProgressItem>, _: u64) {
        let mut held = self.0.held();
        for item in items {
            let chain = sync_engine::ChainHash::ZERO;
            held.acknowledged.advance(item.log, item.stored, chain);
        }
    }

    fn own_log_longer(&self, _: LogId, _: Seq, _: Seq, _: NodeId) {}

    async fn join(&self, _: NodeId, _: JoinRequest) -> Result<JoinReply, JoinRefusal> {
        Err(JoinRefusal::NotAllowed)
    }

    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as u64)
    }
}

/// What a member begins with.
pub struct Beginning {
    pub key: SigningKey,
    pub trust: Trust,
    /// What it says that it holds. It cannot be asked for any of it.
    pub frontier: Frontier,
    pub limits: Limits,
    /// Whom it dials.
    pub peer: Option<(NodeId, SocketAddr)>,
    /// Where its commits go.
    pub disk: Option<File>,
    /// Who wants to hear of what comes.
    pub arrivals: Option<std::sync::mpsc::Sender<Arrival>>,
}

impl Beginning {
    /// A member without a disk that dials nobody.
    pub fn new(key: SigningKey, trust: Trust, frontier: Frontier) -> Self {
        Self {
            key,
            trust,
            frontier,
            limits: Limits::default(),
            peer: None,
            disk: None,
            arrivals: None,
        }
    }
}

/// A running node.
pub struct Member {
    pub sync: SyncNode,
    pub node: NodeId,
    key: SigningKey,
    shelf: Arc<Shelf>,
}

impl Member {
    /// Starts it on a free loopback port.
    ///
    /// # Errors
    /// There is none.
    pub async fn start(beginning: Beginning) -> anyhow::Result<Member> {
        let Beginning {
            key,
            trust,
            frontier,
            limits,
            peer,
            disk,
            arrivals,
        } = beginning;
        let shelf = Arc::new(Shelf {
            held: Mutex::new(Held {
                heights: frontier.clone(),
                ..Held::default()
            }),
            disk: disk.map(Mutex::new),
            arrivals: arrivals.map(Mutex::new),
        });
        let engine = engines::engine(&key, trust, frontier, limits);
        let mut config = SyncConfig::new(([127, 0, 0, 1], 0).into(), key.clone());
        config.peers = peer
            .map(|(node, addr)| PeerAddr {
                node: Some(node),
                addr: addr.to_string(),
            })
            .into_iter()
            .collect();
        let sync = SyncNode::start(config, engine, Arc::new(ShelfHost(shelf.clone()))).await?;
        Ok(Member {
            sync,
            node: library::node_of(&key),
            key,
            shelf,
        })
    }

    /// Joins the operation of a real node with an invitation's code, and starts.
    ///
    /// # Errors
    /// The node refuses.
    pub async fn join(key: SigningKey, code: &str, limits: Limits) -> anyhow::Result<Member> {
        let invite: Invite = code.parse()?;
        let request = JoinRequest::new("Bench", None, "bench");
        let reply = sync_quic::join(&key, &invite, request, PATIENCE).await?;
        let (mut records, mut frontier) = (Vec::new(), Frontier::new());
        for run in reply.trust_runs {
            let run = run.verify()?;
            frontier.advance(*run.log(), run.head().seq, run.head().chain);
            for entry in run.entries() {
                records.extend(TrustRecord::from_entry_bytes(&entry.bytes)?);
            }
        }
        let mut trust = Trust::new(reply.genesis);
        let (_, errors) = trust.extend(records);
        anyhow::ensure!(
            errors.is_empty(),
            "the trust lane does not hold: {errors:?}"
        );
        let addr = *invite.addresses.first().context("no address to dial")?;
        Member::start(Beginning {
            limits,
            peer: Some((invite.inviter, addr)),
            ..Beginning::new(key, trust, frontier)
        })
        .await
    }

    /// The log that it writes.
    pub fn log(&self, lane: Lane) -> LogId {
        library::log_of(self.node, engines::incarnation_of(self.node), lane)
    }

    /// Commits entries of its own: writes them, and then tells its engine. The new head, and when it was on the disk.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn commit(
        &self,
        lane: Lane,
        entries: Vec<Vec<u8>>,
        records: Vec<TrustRecord>,
    ) -> anyhow::Result<(Head, Instant)> {
        let bytes: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        self.shelf.write(&bytes)?;
        let at = Instant::now();
        Ok((self.append(lane, entries, records), at))
    }

    /// The same without the disk, for entries that stand for what was there before.
    pub fn append(&self, lane: Lane, entries: Vec<Vec<u8>>, records: Vec<TrustRecord>) -> Head {
        let log = self.log(lane);
        let mut held = self.shelf.held();
        let first = held.own.head(&log).seq.next();
        let head = held.own.append(log, entries, &self.key);
        held.heights.advance(log, head.seq, head.chain);
        let run = held
            .own
            .load(&log, first, head.seq, sync_engine::RUN_BYTES_MAX)
            .filter(|run| run.last() == head.seq);
        // Under the lock: the engine must hear of commits in their order.
        self.sync
            .local_commit(vec![(log, head)], run.into_iter().collect(), records);
        head
    }

    /// Frees what the peer has acknowledged of a log of ours; how many entries it lacks.
    pub fn forget_acknowledged(&self, lane: Lane) -> u64 {
        let log = self.log(lane);
        let mut held = self.shelf.held();
        let acknowledged = held.acknowledged.head(&log).seq;
        held.own.forget_below(&log, acknowledged);
        held.own.head(&log).seq.0 - acknowledged.0
    }

    /// All that is on its disk.
    pub fn frontier(&self) -> Frontier {
        self.shelf.held().heights.clone()
    }

    /// Entries of others that came.
    pub fn entries(&self) -> u64 {
        self.shelf.held().entries
    }

    /// Their bytes as they are stored.
    pub fn entry_bytes(&self) -> u64 {
        self.shelf.held().entry_bytes
    }

    /// Waits until it is live with somebody.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn until_live(&self) -> anyhow::Result<()> {
        let live = || {
            let peers = self.sync.peers();
            peers.iter().any(|peer| peer.state() == PeerState::Live)
        };
        self.until("nobody answers", live).await.with_context(|| {
            let mut peers = self.sync.peers();
            // An operation of a thousand has a thousand, of which it knows no more than the names.
            peers.retain(|peer| peer.configured.is_some());
            format!("{peers:?}")
        })
    }

    /// Waits for something, looking every few milliseconds.
    ///
    /// # Errors
    /// It does not come; `else_it` says what that means.
    pub async fn until(&self, else_it: &str, reached: impl Fn() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !reached() {
            anyhow::ensure!(Instant::now() < deadline, "{else_it}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}
