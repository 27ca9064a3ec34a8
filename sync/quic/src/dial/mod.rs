//! Dialling: one task per target that keeps a connection to it, pausing longer and longer while that fails.
//!
//! Always: a node that is connected, by whatever way, is not dialled; pauses are random (full jitter), so that nodes
//! which lost HQ together do not return together; and whoever asks for a sync cuts every pause short.

mod targets;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use rand::RngExt as _;
use sync_engine::NodeId;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::config::{PeerAddr, SyncLimits};
use crate::connection::{self, Arrival};
use crate::identity::{ALPN_SYNC, SERVER_NAME};
use crate::links::Known;
use crate::shared::Shared;
use targets::{ADDRESSES_MAX, Address, Target};
pub(crate) use targets::{Origin, Targets};

/// Head start of one address over the next (RFC 8305 §5 calls for 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// A dial younger than this is not begun anew by a wake-up: its first packets have only just left,
/// and over a satellite the answer takes as long.
const RESTART_MIN: Duration = Duration::from_secs(1);
/// Targets that people configured: more is a mistake, HQ is dialled and does not dial.
const CONFIGURED_MAX: usize = 1024;

/// Adds a target and starts dialling it; one that is there already is woken.
pub(crate) fn add(shared: &Arc<Shared>, peer: PeerAddr, origin: Origin) {
    if peer.node == Some(shared.node) {
        return;
    }
    let mut targets = shared.targets.0.lock();
    let same =
        |it: &&Arc<Target>| it.expected == peer.node && it.name() == Some(peer.addr.as_str());
    if let Some(target) = targets.iter().find(same) {
        return target.wake.notify_one();
    }
    if targets.len() >= CONFIGURED_MAX + shared.limits.discovered_max {
        return tracing::warn!(addr = %peer.addr, "too many peers to dial, this one is left out");
    }
    targets.push(start(shared, origin, peer.node, Address::Name(peer.addr)));
}

/// A node can be dialled at these addresses: its target is made, or gets them.
pub(crate) fn learn(shared: &Arc<Shared>, node: NodeId, addresses: &[SocketAddr]) {
    if node == shared.node || addresses.is_empty() {
        return;
    }
    let mut addresses = addresses.to_vec();
    addresses.truncate(ADDRESSES_MAX);
    let mut targets = shared.targets.0.lock();
    let discovered = targets.iter().filter(|it| it.origin == Origin::Discovered);
    for target in discovered.clone() {
        if let (Some(expected), Address::Known(known)) = (target.expected, &target.address)
            && expected == node
        {
            *known.lock() = addresses;
            return target.wake.notify_one();
        }
    }
    if discovered.count() < shared.limits.discovered_max {
        targets.push(start(
            shared,
            Origin::Discovered,
            Some(node),
            Address::Known(Mutex::new(addresses)),
        ));
    }
}

fn start(
    shared: &Arc<Shared>,
    origin: Origin,
    expected: Option<NodeId>,
    address: Address,
) -> Arc<Target> {
    let target = Arc::new(Target::new(origin, expected, address));
    let (shared, task) = (shared.clone(), target.clone());
    shared.tasks.clone().spawn(async move {
        tokio::select! {
            () = shared.cancel.cancelled() => {}
            () = keep(&shared, &task) => {}
        }
    });
    target
}

/// How a dial ended.
enum Outcome {
    /// It became the connection with this node.
    Connected(NodeId),
    /// There is a connection with this node already.
    Already(NodeId),
    Failed(String),
}

/// Keeps a connection to a target, for ever.
async fn keep(shared: &Arc<Shared>, target: &Target) {
    let mut failures = 0_u32;
    loop {
        if let Some(node) = target.node() {
            shared.until_connected(node, false).await;
        }
        until_not_refused(shared, target).await;
        target.state.lock().dialling = true;
        shared.peers_change();
        let outcome = attempt_until_done(shared, target).await;
        let error = match &outcome {
            Outcome::Failed(error) => Some(error.clone()),
            _ => None,
        };
        {
            let mut state = target.state.lock();
            state.dialling = false;
            state.last_error = error;
            if let Outcome::Connected(node) | Outcome::Already(node) = outcome {
                state.node = Some(node);
            }
        }
        target.attempts.fetch_add(1, Ordering::Relaxed);
        shared.peers_change();
        match outcome {
            Outcome::Connected(node) | Outcome::Already(node) => {
                shared.until_connected(node, false).await;
                // A link that is refused again and again, or breaks as soon as it is up, is a failure, too.
                let held = shared.links.lock().get(node).is_some_and(Known::held);
                failures = if held { 0 } else { failures.saturating_add(1) };
            }
            Outcome::Failed(_) => failures = failures.saturating_add(1),
        }
        let since_live = target
            .node()
            .and_then(|node| {
                shared
                    .links
                    .lock()
                    .get(node)
                    .and_then(|known| known.last_live)
            })
            .map(|at| at.elapsed());
        let pause = pause(&shared.limits, failures, since_live, &mut rand::rng());
        target.state.lock().next_dial = Some(Instant::now() + pause);
        shared.peers_change();
        tokio::select! {
            () = sleep(pause) => {}
            () = target.wake.notified() => {}
            () = until_node_connected(shared, target) => {}
        }
        target.state.lock().next_dial = None;
    }
}

/// A node that broke the protocol is not dialled before its time is over, whoever asks.
async fn until_not_refused(shared: &Shared, target: &Target) {
    while let Some(refusal) = target.node().and_then(|node| shared.refusal(node)) {
        {
            let mut state = target.state.lock();
            state.next_dial = Some(Instant::now() + refusal.left);
            state.last_error = Some(refusal.to_string());
        }
        shared.peers_change();
        tokio::select! {
            () = sleep(refusal.left) => {}
            // Who asks for a sync is not kept waiting for it.
            () = target.wake.notified() => drop(target.attempts.fetch_add(1, Ordering::Relaxed)),
        }
        target.state.lock().next_dial = None;
        shared.peers_change();
    }
}

/// The pause after `failures` in a row: anything up to the longest (full jitter).
fn pause(
    limits: &SyncLimits,
    failures: u32,
    since_live: Option<Duration>,
    random: &mut impl rand::Rng,
) -> Duration {
    pause_max(limits, failures, since_live).mul_f64(random.random::<f64>())
}

/// Longest pause after `failures` in a row. A peer that was live lately is expected back soon.
fn pause_max(limits: &SyncLimits, failures: u32, since_live: Option<Duration>) -> Duration {
    let doubled = limits
        .redial_min
        .saturating_mul(1_u32 << failures.saturating_sub(1).min(16));
    let lately = since_live.map_or(limits.redial_max, |since| {
        (since / 4).max(limits.redial_min)
    });
    doubled.min(lately).min(limits.redial_max)
}

async fn until_node_connected(shared: &Shared, target: &Target) {
    match target.node() {
        Some(node) => shared.until_connected(node, true).await,
        None => std::future::pending().await,
    }
}

/// One dial. A wake-up begins it anew, because QUIC's own retransmissions may be seconds apart by then; a connection
/// that comes from the other end makes it needless.
async fn attempt_until_done(shared: &Arc<Shared>, target: &Target) -> Outcome {
    loop {
        let restart = async {
            sleep(RESTART_MIN).await;
            // What came meanwhile was meant for this very dial.
            let _ = target.wake.notified().now_or_never();
            target.wake.notified().await;
        };
        tokio::select! {
            outcome = attempt(shared, target) => return outcome,
            () = until_node_connected(shared, target) => {
                if let Some(node) = target.node() {
                    return Outcome::Already(node);
                }
            }
            () = restart => {}
        }
    }
}

async fn attempt(shared: &Arc<Shared>, target: &Target) -> Outcome {
    let addresses = match timeout(shared.limits.handshake, target.resolve(shared)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Outcome::Failed(error),
        Err(_) => return Outcome::Failed("name lookup took too long".into()),
    };
    let mut dials: FuturesUnordered<_> = addresses
        .into_iter()
        .zip(0_u32..)
        .map(|(address, at)| async move {
            sleep(STAGGER * at).await;
            let dialled = timeout(shared.limits.handshake, dial(shared, target, address)).await;
            dialled.unwrap_or_else(|_| Err(format!("{address}: no answer")))
        })
        .collect();
    let mut errors = BTreeSet::new();
    let found = loop {
        match dials.next().await {
            Some(Ok(found)) => break found,
            Some(Err(error)) => drop(errors.insert(error)),
            None => return Outcome::Failed(errors.into_iter().collect::<Vec<_>>().join("; ")),
        }
    };
    drop(dials);
    let node = found.peer;
    let (registered, outcome) = oneshot::channel();
    let running = connection::run(shared.clone(), found, Some(registered));
    shared.tasks.spawn(running);
    match outcome.await {
        Ok(Ok(_)) => Outcome::Connected(node),
        Ok(Err(_)) if shared.links.lock().is_connected(node) => Outcome::Already(node),
        Ok(Err(error)) => Outcome::Failed(error),
        Err(_) => Outcome::Failed("shutting down".into()),
    }
}

async fn dial(shared: &Shared, target: &Target, address: SocketAddr) -> Result<Arrival, String> {
    let told = |error: &dyn std::fmt::Display| format!("{address}: {error}");
    let (crypto, found) = shared
        .identity
        .client(ALPN_SYNC, target.expected)
        .map_err(|e| told(&e))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let (place, transport) = shared.windows.for_dial();
    config.transport_config(transport);
    let connecting = shared
        .endpoint
        .connect_with(config, address, SERVER_NAME)
        .map_err(|e| told(&e))?;
    match connecting.await {
        Ok(connection) => match found.get() {
            Some(peer) => Ok(Arrival {
                connection,
                peer,
                dialled: true,
                place,
                handshake: None,
            }),
            None => Err(told(&"no node key shown")),
        },
        Err(error) => match (target.expected, found.get()) {
            (Some(expected), Some(other)) if expected != other => {
                Err(format!("{address}: another node answers there: {other}"))
            }
            _ => Err(told(&connection::reason_text(shared, &error))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_limit_and_stay_short_for_a_peer_that_was_live_lately() {
        let limits = SyncLimits::default();
        let never = |failures| pause_max(&limits, failures, None);
        assert_eq!(never(0), limits.redial_min);
        assert_eq!(never(1), limits.redial_min);
        assert_eq!(never(2), limits.redial_min * 2);
        assert_eq!(never(60), limits.redial_max);
        assert_eq!(never(u32::MAX), limits.redial_max);
        let lately = |s| pause_max(&limits, 60, Some(Duration::from_secs(s)));
        assert_eq!(lately(0), limits.redial_min);
        assert_eq!(lately(20), Duration::from_secs(5));
        assert_eq!(lately(3600), limits.redial_max);
    }

    #[test]
    fn nodes_that_lost_hq_together_come_back_spread_over_the_whole_pause() {
        use rand::SeedableRng as _;
        let limits = SyncLimits::default();
        let mut random = rand::rngs::StdRng::seed_from_u64(20261121);
        let mut quarters = [0; 4];
        for _ in 0..1_000 {
            let pause = pause(&limits, 60, None, &mut random);
            assert!(pause < limits.redial_max, "{pause:?}");
            quarters[(pause.as_secs_f64() / limits.redial_max.as_secs_f64() * 4.0) as usize] += 1;
        }
        // No moment at which a quarter of the nodes more than should come at once.
        assert!(
            quarters.iter().all(|count| (200..300).contains(count)),
            "{quarters:?}"
        );
    }
}
