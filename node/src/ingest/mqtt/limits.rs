//! What one client may take from the others: connections by address and account, wrong passwords, messages and bytes by
//! time.
//!
//! Invariant: a client that is too fast is read later, never dropped: its messages wait on its own side.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Addresses whose wrong passwords are remembered; some 400 KiB.
const ADDRESSES_MAX: NonZeroUsize = NonZeroUsize::new(4_096).expect("4,096 is not zero");
/// Wrong passwords of one address in [`ATTEMPTS_WINDOW`]. Secrets are 160 random bits, so nobody can guess one: this
/// keeps a misconfigured fleet, or a stranger, from filling the log.
const ATTEMPTS_MAX: u32 = 20;
const ATTEMPTS_WINDOW: Duration = Duration::from_secs(60);

/// Counts of connections, and of wrong passwords.
#[derive(Default)]
pub(super) struct Limits {
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    by_account: Arc<Mutex<HashMap<String, usize>>>,
    attempts: Mutex<Option<LruCache<IpAddr, (u32, Instant)>>>,
}

/// A place among the connections of one address or account; given back when it is dropped.
pub(super) struct Place<K: Hash + Eq> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
    key: K,
}

impl<K: Hash + Eq> Drop for Place<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

fn take<K: Hash + Eq + Clone>(
    counts: &Arc<Mutex<HashMap<K, usize>>>,
    key: K,
    max: usize,
) -> Option<Place<K>> {
    let mut of_all = counts.lock();
    let count = of_all.entry(key.clone()).or_default();
    if *count >= max {
        return None;
    }
    *count += 1;
    drop(of_all);
    Some(Place {
        counts: Arc::clone(counts),
        key,
    })
}

impl Limits {
    /// A place for a connection from there; `None` when `max` are taken.
    pub(super) fn connection_from(&self, address: IpAddr, max: usize) -> Option<Place<IpAddr>> {
        take(&self.by_address, network_of(address), max)
    }

    /// A place for a connection of that account.
    pub(super) fn connection_of(&self, account: &str, max: usize) -> Option<Place<String>> {
        take(&self.by_account, account.to_owned(), max)
    }

    /// Whether a password from there is looked at now.
    pub(super) fn may_try(&self, address: IpAddr, now: Instant) -> bool {
        let mut attempts = self.attempts.lock();
        let known = attempts
            .as_mut()
            .and_then(|attempts| attempts.get(&network_of(address)).copied());
        known.is_none_or(|(count, since)| {
            count < ATTEMPTS_MAX || now.duration_since(since) >= ATTEMPTS_WINDOW
        })
    }

    /// A password from there was wrong.
    pub(super) fn wrong_password(&self, address: IpAddr, now: Instant) {
        let mut attempts = self.attempts.lock();
        let attempts = attempts.get_or_insert_with(|| LruCache::new(ADDRESSES_MAX));
        let (count, since) = attempts.get_or_insert_mut(network_of(address), || (0, now));
        if now.duration_since(*since) >= ATTEMPTS_WINDOW {
            (*count, *since) = (0, now);
        }
        *count += 1;
    }
}

/// One household has a /64 of IPv6, so counting single addresses there counts nothing.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// What a connection may send: so much a second, and a second's worth at once.
#[derive(Debug)]
pub(super) struct Rate {
    messages: Bucket,
    bytes: Bucket,
}

impl Rate {
    pub(super) fn new(messages_s: u64, bytes_s: u64, now: Instant) -> Self {
        Rate {
            messages: Bucket::new(messages_s, now),
            bytes: Bucket::new(bytes_s, now),
        }
    }

    /// So much was read; answers until when nothing more is to be read.
    pub(super) fn took(&mut self, messages: u64, bytes: u64, now: Instant) -> Option<Instant> {
        let until = self
            .messages
            .take(messages, now)
            .max(self.bytes.take(bytes, now));
        if until.is_some() {
            metrics::counter!("muster_mqtt_held_back_total").increment(1);
        }
        until
    }
}

/// A token bucket that may be overdrawn by what was read already.
#[derive(Debug)]
struct Bucket {
    per_s: u64,
    /// When it would be full again.
    full_at: Instant,
}

impl Bucket {
    fn new(per_s: u64, now: Instant) -> Self {
        Bucket {
            per_s: per_s.max(1),
            full_at: now,
        }
    }

    fn take(&mut self, amount: u64, now: Instant) -> Option<Instant> {
        let cost = Duration::from_nanos(amount.saturating_mul(1_000_000_000) / self.per_s);
        self.full_at = self.full_at.max(now) + cost;
        // It holds a second's worth: empty when it takes longer than that to fill.
        let overdrawn = self
            .full_at
            .duration_since(now)
            .checked_sub(Duration::from_secs(1))?;
        (!overdrawn.is_zero()).then(|| now + overdrawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_burst_is_free_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut rate = Rate::new(1_000, 1 << 20, start);
        assert_eq!(rate.took(1_000, 0, start), None);
        let half = start + Duration::from_millis(500);
        assert_eq!(rate.took(500, 0, start), Some(half));
        assert_eq!(rate.took(0, 0, half), None);
        assert!(rate.took(0, 3 << 20, half).is_some());
    }

    #[test]
    fn places_of_one_address_come_back() {
        let limits = Limits::default();
        let address: IpAddr = [10, 0, 0, 1].into();
        let first = limits.connection_from(address, 1);
        assert!(first.is_some());
        assert!(limits.connection_from(address, 1).is_none());
        assert!(limits.connection_from([10, 0, 0, 2].into(), 1).is_some());
        drop(first);
        assert!(limits.connection_from(address, 1).is_some());
    }

    #[test]
    fn an_address_that_guesses_waits_a_minute() {
        let limits = Limits::default();
        let (address, now): (IpAddr, _) = ([10, 0, 0, 1].into(), Instant::now());
        for _ in 0..ATTEMPTS_MAX {
            assert!(limits.may_try(address, now));
            limits.wrong_password(address, now);
        }
        assert!(!limits.may_try(address, now));
        assert!(limits.may_try([10, 0, 0, 2].into(), now));
        assert!(limits.may_try(address, now + ATTEMPTS_WINDOW));
    }
}
