//! A UDP relay with a switch: the only path between the demo's nodes, so that cutting it really cuts the link.
//!
//! Invariant: a cut relay passes nothing and counts what it swallowed; the counters prove it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Clients of one relay; the demo has one or two, and a leftover of a few redials.
const CLIENTS_MAX: usize = 64;

/// A client that said nothing for so long is forgotten.
const CLIENT_IDLE: Duration = Duration::from_secs(120);

/// The largest UDP datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;

#[derive(Debug, Default)]
struct Switch {
    /// Where it leads; `None` before the node behind it has said where it listens.
    target: Mutex<Option<SocketAddr>>,
    cut: AtomicBool,
    passed: AtomicU64,
    swallowed: AtomicU64,
}

impl Switch {
    /// Counts one datagram and says whether it may pass.
    fn lets_through(&self) -> bool {
        if self.cut.load(Ordering::SeqCst) {
            self.swallowed.fetch_add(1, Ordering::SeqCst);
            return false;
        }
        self.passed.fetch_add(1, Ordering::SeqCst);
        true
    }

    fn target(&self) -> Option<SocketAddr> {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Client {
    upstream: Arc<UdpSocket>,
    target: SocketAddr,
    answers: JoinHandle<()>,
    last_heard: Instant,
}

/// One relay: what arrives at [`Relay::address`] goes to the target, and answers go back.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    switch: Arc<Switch>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Takes a free loopback port. Nothing passes before [`Relay::lead`].
    pub async fn start() -> std::io::Result<Relay> {
        let socket = Arc::new(UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?);
        let address = socket.local_addr()?;
        let switch = Arc::new(Switch::default());
        let task = tokio::spawn(relay(socket, Arc::clone(&switch)));
        Ok(Relay {
            address,
            switch,
            task,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Says where it leads; a node that was started anew may be somewhere else.
    pub fn lead(&self, target: SocketAddr) {
        *self
            .switch
            .target
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(target);
    }

    pub fn cut(&self) {
        self.switch.cut.store(true, Ordering::SeqCst);
    }

    pub fn heal(&self) {
        self.switch.cut.store(false, Ordering::SeqCst);
    }

    /// Datagrams passed on so far, both directions.
    pub fn passed(&self) -> u64 {
        self.switch.passed.load(Ordering::SeqCst)
    }

    /// Datagrams swallowed while cut, both directions.
    pub fn swallowed(&self) -> u64 {
        self.switch.swallowed.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(socket: Arc<UdpSocket>, switch: Arc<Switch>) {
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error here is an earlier datagram's ICMP answer: the other end is not up yet.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let Some(target) = switch.target() else {
            continue;
        };
        if !switch.lets_through() {
            continue;
        }
        if let Some(moved) = clients.get(&from)
            && moved.target != target
        {
            moved.answers.abort();
            clients.remove(&from);
        }
        if !clients.contains_key(&from) {
            forget_idle(&mut clients);
            if clients.len() >= CLIENTS_MAX {
                continue;
            }
            let Ok(client) = connect(&socket, from, target, &switch).await else {
                continue;
            };
            clients.insert(from, client);
        }
        if let Some(client) = clients.get_mut(&from) {
            client.last_heard = Instant::now();
            let _ = client.upstream.send(&buffer[..length]).await;
        }
    }
}

fn forget_idle(clients: &mut HashMap<SocketAddr, Client>) {
    clients.retain(|_, client| {
        let keep = client.last_heard.elapsed() < CLIENT_IDLE;
        if !keep {
            client.answers.abort();
        }
        keep
    });
}

async fn connect(
    socket: &Arc<UdpSocket>,
    from: SocketAddr,
    target: SocketAddr,
    switch: &Arc<Switch>,
) -> std::io::Result<Client> {
    let upstream = Arc::new(UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?);
    upstream.connect(target).await?;
    let answers = tokio::spawn({
        let (socket, upstream, switch) = (
            Arc::clone(socket),
            Arc::clone(&upstream),
            Arc::clone(switch),
        );
        async move {
            let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
            loop {
                match upstream.recv(&mut buffer).await {
                    Ok(length) if switch.lets_through() => {
                        let _ = socket.send_to(&buffer[..length], from).await;
                    }
                    Ok(_) => {}
                    // Connection refused while the target is down; it may come back.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        }
    });
    Ok(Client {
        upstream,
        target,
        answers,
        last_heard: Instant::now(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn heard(socket: &UdpSocket) -> Option<Vec<u8>> {
        let mut buffer = [0; 64];
        let received =
            tokio::time::timeout(Duration::from_millis(200), socket.recv(&mut buffer)).await;
        received
            .ok()
            .map(|length| buffer[..length.unwrap()].to_vec())
    }

    #[tokio::test]
    async fn a_cut_relay_passes_nothing_and_counts_it() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay::start().await.unwrap();
        relay.lead(server.local_addr().unwrap());
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(relay.address()).await.unwrap();

        client.send(b"one").await.unwrap();
        let mut buffer = [0; 64];
        let (length, via) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"one");
        server.send_to(b"two", via).await.unwrap();
        assert_eq!(heard(&client).await.as_deref(), Some(&b"two"[..]));
        assert_eq!((relay.passed(), relay.swallowed()), (2, 0));

        relay.cut();
        client.send(b"three").await.unwrap();
        server.send_to(b"four", via).await.unwrap();
        assert_eq!(heard(&client).await, None);
        assert_eq!((relay.passed(), relay.swallowed()), (2, 2));

        relay.heal();
        client.send(b"five").await.unwrap();
        let (length, _) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"five");
    }
}
