//! A peer that is an engine on a connection: one task, two for each stream in use, no store.
//!
//! Many of them share one socket, so that a process can be as many peers as its memory carries.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use quinn::{Connection, ConnectionError, Endpoint, SendStream, VarInt};
use sync_engine::{
    ConnId, Counters, Effect, Engine, Head, Input, Lane, LogId, NodeId, Now, PeerState, Run, Seq,
    Stored, StreamKind,
};
use tokio::sync::{mpsc, watch};

use super::reading::read_streams;
use super::{Shown, any_port, client};
use crate::identity::{ALPN_SYNC, SERVER_NAME, node_of_connection};
use crate::wire::{self, Preface};

/// Of one connection each, so that any number will do.
const CONN: ConnId = ConnId(1);
/// Frames read ahead per peer.
const FRAMES_MAX: usize = 16;
const PATIENCE: Duration = Duration::from_secs(30);
/// A machine that builds beside a test is slow and not gone: what counts as silence is the node's to say.
const IDLE_MS: u32 = 120_000;

type LoadRun = dyn Fn(LogId, Seq, usize) -> Option<Run> + Send + Sync;

/// What a light peer is and does.
pub struct Light {
    /// Its key.
    pub key: SigningKey,
    /// Its engine, of that key's node.
    pub engine: Engine,
    /// Where its engine reads the runs it sends.
    pub load: Arc<LoadRun>,
    /// Streams that it does not read.
    pub deaf_to: Vec<StreamKind>,
    /// Whether it says what it has stored.
    pub acknowledges: bool,
}

impl Light {
    /// A peer that reads and acknowledges everything, and has nothing of its own.
    pub fn new(key: SigningKey, engine: Engine) -> Self {
        Self {
            key,
            engine,
            load: Arc::new(|_, _, _| None),
            deaf_to: Vec::new(),
            acknowledges: true,
        }
    }
}

/// The socket of many light peers.
pub struct Crowd {
    endpoint: Endpoint,
}

impl Crowd {
    /// Binds a socket on loopback.
    ///
    /// # Errors
    /// There is none to be had.
    pub fn bind() -> Result<Self, String> {
        let endpoint = Endpoint::client(any_port()).map_err(|e| e.to_string())?;
        Ok(Self { endpoint })
    }

    /// Connects one peer to a node.
    ///
    /// # Errors
    /// What the node said, or that there is none.
    pub async fn connect(&self, to: SocketAddr, light: Light) -> Result<LightPeer, String> {
        let mut config = client(Some(Shown::of(&light.key)), ALPN_SYNC)?;
        let mut transport = quinn::TransportConfig::default();
        transport
            .keep_alive_interval(Some(Duration::from_secs(5)))
            .max_idle_timeout(Some(VarInt::from_u32(IDLE_MS).into()));
        config.transport_config(Arc::new(transport));
        let connection = self
            .endpoint
            .connect_with(config, to, SERVER_NAME)
            .map_err(|e| e.to_string())?
            .await
            .map_err(|e| e.to_string())?;
        let node = node_of_connection(&connection).ok_or("the node shows no key")?;
        // Before any other stream: a node takes the first that comes for control.
        let control = connection.open_uni().await.map_err(|e| e.to_string())?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let seen = watch::Sender::new(LightSeen::default());
        let handle = LightPeer {
            connection: connection.clone(),
            commands,
            seen: seen.subscribe(),
        };
        let task = Task {
            connection,
            node,
            started: Instant::now(),
            light,
            writers: BTreeMap::new(),
            seen,
        };
        tokio::spawn(task.run(control, inbox));
        Ok(handle)
    }

    /// Goes on from another port, with all its peers.
    ///
    /// # Errors
    /// No socket.
    pub fn move_away(&self) -> Result<SocketAddr, String> {
        let socket = std::net::UdpSocket::bind(any_port()).map_err(|e| e.to_string())?;
        let addr = socket.local_addr().map_err(|e| e.to_string())?;
        self.endpoint.rebind(socket).map_err(|e| e.to_string())?;
        Ok(addr)
    }
}

/// How far a light peer is.
#[derive(Debug, Clone, Default)]
pub struct LightSeen {
    /// Both ends are members to each other.
    pub live: bool,
    /// Entries that came, per lane.
    pub entries: BTreeMap<Lane, u64>,
    /// How far the node has said that it has stored what this peer wrote, per lane.
    pub acknowledged: BTreeMap<Lane, Seq>,
    /// What its engine counted.
    pub counters: Counters,
}

enum Command {
    Commit(LogId, Head, Box<Option<Run>>),
    Raw(StreamKind, Vec<u8>),
    Bytes(StreamKind, Vec<u8>),
}

/// A connected light peer. Dropping it closes the connection.
pub struct LightPeer {
    connection: Connection,
    commands: mpsc::UnboundedSender<Command>,
    seen: watch::Receiver<LightSeen>,
}

impl LightPeer {
    /// Tells its engine of entries that it has written.
    pub fn commit(&self, log: LogId, head: Head, run: Option<Run>) {
        let _ = self
            .commands
            .send(Command::Commit(log, head, Box::new(run)));
    }

    /// Sends a frame past its engine.
    pub fn send_raw(&self, stream: StreamKind, frame: Vec<u8>) {
        let _ = self.commands.send(Command::Raw(stream, frame));
    }

    /// Sends bytes past its engine, without a frame's length before them.
    pub fn send_bytes(&self, stream: StreamKind, bytes: Vec<u8>) {
        let _ = self.commands.send(Command::Bytes(stream, bytes));
    }

    /// How far it is now.
    pub fn seen(&self) -> LightSeen {
        self.seen.borrow().clone()
    }

    /// Waits until it is so far.
    ///
    /// # Errors
    /// The connection ended, or it took too long.
    pub async fn until(&self, reached: impl Fn(&LightSeen) -> bool) -> Result<(), String> {
        let mut seen = self.seen.clone();
        match tokio::time::timeout(PATIENCE, seen.wait_for(|seen| reached(seen))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(match self.connection.close_reason() {
                Some(error) => error.to_string(),
                None => "the peer's task ended".into(),
            }),
            Err(_) => Err(format!("it stands at {:?}", self.seen())),
        }
    }

    /// Whether nobody has closed it.
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Waits until the other end closes it; the code and the words it gave.
    ///
    /// # Errors
    /// It did not, or it ended in another way.
    pub async fn closed(&self) -> Result<(u32, String), String> {
        match tokio::time::timeout(PATIENCE, self.connection.closed()).await {
            Ok(ConnectionError::ApplicationClosed(close)) => Ok((
                u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX),
                String::from_utf8_lossy(&close.reason).into_owned(),
            )),
            Ok(other) => Err(other.to_string()),
            Err(_) => Err("it is still open".into()),
        }
    }
}

impl Drop for LightPeer {
    fn drop(&mut self) {
        self.connection
            .close(wire::close_code(0), b"light peer leaves");
    }
}

struct Task {
    connection: Connection,
    node: NodeId,
    started: Instant,
    light: Light,
    writers: BTreeMap<StreamKind, mpsc::UnboundedSender<Bytes>>,
    seen: watch::Sender<LightSeen>,
}

impl Task {
    async fn run(mut self, control: SendStream, mut commands: mpsc::UnboundedReceiver<Command>) {
        let (frames, mut incoming) = mpsc::channel(FRAMES_MAX);
        let deaf_to = self.light.deaf_to.clone();
        tokio::spawn(read_streams(self.connection.clone(), frames, deaf_to));
        let preface = Preface {
            boot: rand::random(),
            advertise: Vec::new(),
        };
        self.begin(StreamKind::Control, Some(control), preface.opening());
        self.handle(Input::Connected {
            conn: CONN,
            peer: self.node,
            dialled: true,
        });
        loop {
            let due = self.light.engine.poll_timeout();
            let due = due.map(|(at_ms, _)| self.started + Duration::from_millis(at_ms));
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.connection.closed() => return,
                Some(command) = commands.recv() => self.command(command),
                Some((stream, bytes)) = incoming.recv() => {
                    self.handle(Input::Frame { conn: CONN, stream, bytes });
                }
                () = timer => self.handle(Input::Timeout),
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Commit(log, head, run) => self.handle(Input::LocalCommit {
                log,
                head,
                records: Vec::new(),
                run: *run,
            }),
            Command::Raw(stream, frame) => self.send(stream, frame),
            Command::Bytes(stream, bytes) => self.write(stream, bytes),
        }
    }

    fn handle(&mut self, input: Input) {
        let now = Now {
            mono_ms: self.started.elapsed().as_millis() as u64,
            wall_ms: 0,
        };
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.light.engine.handle(now, input);
            while let Some(effect) = self.light.engine.poll_effect() {
                self.perform(effect, &mut inputs);
            }
        }
        let node = self.node;
        let engine = &self.light.engine;
        let counters = *engine.counters();
        self.seen.send_modify(|seen| {
            seen.counters = counters;
            if !seen.live {
                seen.live = engine.state_of(node) == PeerState::Live;
            }
        });
    }

    fn perform(&mut self, effect: Effect, inputs: &mut Vec<Input>) {
        let me = NodeId(self.light.key.verifying_key().to_bytes());
        match effect {
            Effect::Send { stream, frame, .. } => {
                self.send(stream, frame);
                if let StreamKind::Lane(lane) = stream {
                    // What is unsent here bounds nobody: acknowledgements do.
                    inputs.push(Input::Unsent {
                        conn: CONN,
                        lane,
                        bytes: 0,
                    });
                }
            }
            Effect::Load {
                load,
                log,
                from,
                bytes_max,
            } => {
                let run = (self.light.load)(log, from, bytes_max);
                inputs.push(Input::Loaded {
                    load,
                    run,
                    named: Vec::new(),
                });
            }
            Effect::Store { batch, runs, .. } => {
                self.seen.send_modify(|seen| {
                    for run in &runs {
                        *seen.entries.entry(run.log().lane).or_default() +=
                            run.entries().len() as u64;
                    }
                });
                if self.light.acknowledges {
                    let applied = runs.iter().map(|run| (*run.log(), run.head().seq));
                    let result = Ok(Stored {
                        applied: applied.collect(),
                    });
                    inputs.push(Input::Persisted { batch, result });
                }
            }
            Effect::Disconnect { code, detail, .. } => {
                wire::close(&self.connection, code.code(), &detail);
            }
            Effect::Progress { items, .. } => self.seen.send_modify(|seen| {
                for item in items.iter().filter(|it| it.log.author == me) {
                    let stored = seen
                        .acknowledged
                        .entry(item.log.lane)
                        .or_insert(item.stored);
                    *stored = item.stored.max(*stored);
                }
            }),
            // A light peer has nobody to tell.
            _ => {}
        }
    }

    fn send(&mut self, stream: StreamKind, frame: Vec<u8>) {
        let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&frame);
        self.write(stream, bytes);
    }

    fn write(&mut self, stream: StreamKind, bytes: Vec<u8>) {
        if !self.writers.contains_key(&stream) {
            self.begin(stream, None, vec![wire::index(stream) as u8]);
        }
        if let Some(writer) = self.writers.get(&stream) {
            let _ = writer.send(bytes.into());
        }
    }

    fn begin(&mut self, kind: StreamKind, opened: Option<SendStream>, opening: Vec<u8>) {
        let (writer, mut queue) = mpsc::unbounded_channel::<Bytes>();
        self.writers.insert(kind, writer);
        let connection = self.connection.clone();
        tokio::spawn(async move {
            let mut stream = match opened {
                Some(stream) => stream,
                None => connection.open_uni().await?,
            };
            let _ = stream.set_priority(wire::priority(kind));
            stream.write_all(&opening).await?;
            while let Some(bytes) = queue.recv().await {
                stream.write_chunk(bytes).await?;
            }
            Ok::<_, quinn::WriteError>(())
        });
    }
}
