//! A UDP relay between two nodes: the link that tests cut, heal and slow down.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Packets in one direction's queue; what comes on top is lost, as on a real link.
const QUEUE_PACKETS: usize = 64;

pub struct Relay {
    pub front: SocketAddr,
    cut: Arc<AtomicBool>,
    passed: Arc<AtomicU64>,
    moved: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Packets sent to `front` reach `target`, from a port of their own per sender, and answers go back. With a rate
    /// each direction carries that many bytes per second.
    pub async fn start(target: SocketAddr, bytes_per_s: Option<f64>) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let addr = front.local_addr().unwrap();
        let (cut, passed) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let moved = Arc::new(AtomicBool::new(false));
        let moves = moved.clone();
        let mut tasks = JoinSet::new();
        let (there, back) = (
            Link::new(&cut, &passed, bytes_per_s),
            Link::new(&cut, &passed, bytes_per_s),
        );
        tasks.spawn(async move {
            let mut inner = JoinSet::new();
            let mut sides: BTreeMap<SocketAddr, mpsc::Sender<Vec<u8>>> = BTreeMap::new();
            let mut buffer = vec![0; 65536];
            loop {
                let Ok((length, from)) = front.recv_from(&mut buffer).await else {
                    continue;
                };
                if moves.swap(false, Ordering::SeqCst) {
                    sides.clear();
                }
                let side = match sides.entry(from) {
                    Entry::Occupied(side) => side.into_mut(),
                    Entry::Vacant(side) => {
                        let upstream = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                        upstream.connect(target).await.unwrap();
                        let (send, queue) = mpsc::channel(QUEUE_PACKETS);
                        inner.spawn(there.clone().carry(queue, upstream.clone(), None));
                        let (answer, answers) = mpsc::channel(QUEUE_PACKETS);
                        inner.spawn(back.clone().carry(answers, front.clone(), Some(from)));
                        inner.spawn(answer_from(upstream, answer));
                        side.insert(send)
                    }
                };
                let _ = side.try_send(buffer[..length].to_vec());
            }
        });
        Self {
            front: addr,
            cut,
            passed,
            moved,
            _tasks: tasks,
        }
    }

    pub fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// From now on packets reach the target from other ports, as behind a router that has forgotten us.
    pub fn change_ports(&self) {
        self.moved.store(true, Ordering::SeqCst);
    }

    pub fn heal(&self) {
        self.cut.store(false, Ordering::SeqCst);
    }

    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }
}

async fn answer_from(upstream: Arc<UdpSocket>, answer: mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; 65536];
    loop {
        if let Ok(length) = upstream.recv(&mut buffer).await {
            let _ = answer.try_send(buffer[..length].to_vec());
        }
    }
}

#[derive(Clone)]
struct Link {
    cut: Arc<AtomicBool>,
    passed: Arc<AtomicU64>,
    bytes_per_s: Option<f64>,
}

impl Link {
    fn new(cut: &Arc<AtomicBool>, passed: &Arc<AtomicU64>, bytes_per_s: Option<f64>) -> Self {
        Self {
            cut: cut.clone(),
            passed: passed.clone(),
            bytes_per_s,
        }
    }

    async fn carry(
        self,
        mut queue: mpsc::Receiver<Vec<u8>>,
        out: Arc<UdpSocket>,
        to: Option<SocketAddr>,
    ) {
        let mut free = Instant::now();
        while let Some(packet) = queue.recv().await {
            if let Some(rate) = self.bytes_per_s {
                free =
                    free.max(Instant::now()) + Duration::from_secs_f64(packet.len() as f64 / rate);
                tokio::time::sleep_until(free).await;
            }
            if self.cut.load(Ordering::SeqCst) {
                continue;
            }
            self.passed.fetch_add(1, Ordering::SeqCst);
            let _ = match to {
                Some(to) => out.send_to(&packet, to).await,
                None => out.send(&packet).await,
            };
        }
    }
}
