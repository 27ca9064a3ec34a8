//! A UDP relay that counts: the only way between two measured nodes, so that a cut is a cut and bytes are bytes.
//!
//! Invariant: nothing passes while it is cut, and every datagram that passes is counted once. Threads of its own, so that
//! it never waits for the measuring client. It can hold every datagram for a while, so that what is said in which round
//! trip can be told apart; datagrams keep their order.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// The largest UDP datagram.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// How often the threads look whether they should end.
const LOOK: Duration = Duration::from_millis(200);

/// What passed since the link was healed, both directions.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    pub datagrams: u64,
    /// UDP payload; IPv4 and UDP headers would add 28 bytes per datagram.
    pub bytes: u64,
    /// When the first of them passed.
    pub first: Option<Instant>,
}

struct State {
    cut: AtomicBool,
    ended: AtomicBool,
    datagrams: AtomicU64,
    bytes: AtomicU64,
    /// How long each datagram is held, microseconds.
    delay_us: AtomicU64,
    first: Mutex<Option<Instant>>,
    /// Where answers go: the node that dials. It has one port at a time.
    client: Mutex<Option<SocketAddr>>,
}

impl State {
    fn lets_through(&self, bytes: usize) -> bool {
        if self.cut.load(Ordering::SeqCst) {
            return false;
        }
        if self.datagrams.fetch_add(1, Ordering::SeqCst) == 0 {
            *lock(&self.first) = Some(Instant::now());
        }
        self.bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        true
    }
}

/// A relay in front of one node.
pub struct Relay {
    pub address: SocketAddr,
    front: UdpSocket,
    state: Arc<State>,
}

impl Relay {
    /// Takes a free loopback port; it leads nowhere before [`Relay::lead`].
    ///
    /// # Errors
    /// No free port.
    pub fn start() -> anyhow::Result<Relay> {
        let front = UdpSocket::bind("127.0.0.1:0").context("a port for the relay")?;
        Ok(Relay {
            address: front.local_addr()?,
            front,
            state: Arc::new(State {
                cut: AtomicBool::new(false),
                ended: AtomicBool::new(false),
                datagrams: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                delay_us: AtomicU64::new(0),
                first: Mutex::new(None),
                client: Mutex::new(None),
            }),
        })
    }

    /// Passes on what comes to `target`, and its answers back. Once.
    ///
    /// # Errors
    /// The sockets cannot be set up.
    pub fn lead(&self, target: SocketAddr) -> anyhow::Result<()> {
        let back = UdpSocket::bind("127.0.0.1:0")?;
        back.connect(target)?;
        back.set_read_timeout(Some(LOOK))?;
        self.front.set_read_timeout(Some(LOOK))?;
        let there = (self.front.try_clone()?, self.state.clone());
        let home = (back.try_clone()?, self.state.clone());
        let state = self.state.clone();
        let to_target = late(self.state.clone(), move |datagram| {
            let _ = back.send(datagram);
        });
        let front = self.front.try_clone()?;
        let to_client = late(self.state.clone(), move |datagram| {
            let client = *lock(&state.client);
            if let Some(client) = client {
                let _ = front.send_to(datagram, client);
            }
        });
        std::thread::spawn(move || {
            let (front, state) = there;
            until_ended(&state, |buffer| {
                let (length, from) = front.recv_from(buffer)?;
                if state.lets_through(length) {
                    *lock(&state.client) = Some(from);
                    to_target(&buffer[..length]);
                }
                Ok(())
            });
        });
        std::thread::spawn(move || {
            let (back, state) = home;
            until_ended(&state, |buffer| {
                let length = back.recv(buffer)?;
                if state.lets_through(length) {
                    to_client(&buffer[..length]);
                }
                Ok(())
            });
        });
        Ok(())
    }

    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
    }

    /// Lets datagrams through again and counts from zero.
    pub fn heal(&self) {
        *lock(&self.state.first) = None;
        self.state.bytes.store(0, Ordering::SeqCst);
        self.state.datagrams.store(0, Ordering::SeqCst);
        self.state.cut.store(false, Ordering::SeqCst);
    }

    /// Holds every datagram from now on so long: half of a round trip.
    pub fn delay(&self, by: Duration) {
        let delay_us = by.as_micros() as u64;
        self.state.delay_us.store(delay_us, Ordering::SeqCst);
    }

    /// Since the last [`Relay::heal`].
    pub fn passed(&self) -> Passed {
        Passed {
            datagrams: self.state.datagrams.load(Ordering::SeqCst),
            bytes: self.state.bytes.load(Ordering::SeqCst),
            first: *lock(&self.state.first),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
    }
}

/// Sends at once, or from a thread of its own once the datagram was held long enough.
fn late(
    state: Arc<State>,
    send: impl Fn(&[u8]) + Send + Sync + 'static,
) -> impl Fn(&[u8]) + Send + 'static {
    let send = Arc::new(send);
    let (held, datagrams) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    let sends_late = send.clone();
    // Ends with the last sender: with the thread that reads.
    std::thread::spawn(move || {
        for (due, datagram) in datagrams {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            sends_late(&datagram);
        }
    });
    move |datagram: &[u8]| match state.delay_us.load(Ordering::SeqCst) {
        0 => send(datagram),
        delay_us => {
            let due = Instant::now() + Duration::from_micros(delay_us);
            // Refused only when the thread is gone, with the relay.
            let _ = held.send((due, datagram.to_vec()));
        }
    }
}

/// Errors are an earlier datagram's ICMP answer (the other end is not up yet) or the timeout: neither ends a relay.
fn until_ended(state: &State, mut pass: impl FnMut(&mut [u8]) -> std::io::Result<()>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while !state.ended.load(Ordering::SeqCst) {
        let _ = pass(&mut buffer);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_relay_passes_nothing_and_a_healed_one_counts_from_zero() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let relay = Relay::start().unwrap();
        relay.lead(server.local_addr().unwrap()).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        client.connect(relay.address).unwrap();
        let mut buffer = [0; 64];

        relay.cut();
        client.send(b"lost").unwrap();
        assert!(server.recv_from(&mut buffer).is_err());
        assert_eq!(relay.passed().datagrams, 0);

        relay.heal();
        client.send(b"there").unwrap();
        let (length, via) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"there");
        server.send_to(b"back", via).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 4);
        let passed = relay.passed();
        assert_eq!((passed.datagrams, passed.bytes), (2, 9));
        assert!(passed.first.is_some());

        relay.delay(Duration::from_millis(80));
        let sent = Instant::now();
        client.send(b"late").unwrap();
        let mut server_buffer = [0; 64];
        server
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        assert_eq!(server.recv(&mut server_buffer).unwrap(), 4);
        assert!(sent.elapsed() >= Duration::from_millis(80));
    }
}
