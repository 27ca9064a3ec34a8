//! How often a password may be tried, per user and per address.
//!
//! Invariants: an attempt is counted before it is judged, so that a hundred at once are no way around the count; a right
//! password clears the count of its user. Both tables are bounded, and a user's wait stays short: a stranger who guesses
//! must be slow, but must not be able to keep the team out.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;

/// Users and addresses remembered: the oldest is forgotten first. 4,096 entries are some 400 KiB.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(4_096).expect("4,096 is not zero");

/// Failures in a row without a wait: people mistype, and the page of a team shares one name at times.
const USER_FREE: u32 = 8;
/// Longest wait of a user.
const USER_WAIT_MAX: Duration = Duration::from_secs(30);

/// A whole team may come from one address.
const ADDRESS_FREE: u32 = 40;
/// Longest wait of an address.
const ADDRESS_WAIT_MAX: Duration = Duration::from_secs(300);

/// A quiet time after which a count starts anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    failures: u32,
    last_ms: u64,
}

impl Count {
    /// Milliseconds that are left to wait.
    fn wait_ms(self, now_ms: u64, free: u32, longest: Duration) -> u64 {
        let since_ms = now_ms.saturating_sub(self.last_ms);
        let Some(over) = self.failures.checked_sub(free) else {
            return 0;
        };
        let wait_ms = 1_000_u64
            .saturating_mul(1 << over.min(16))
            .min(longest.as_millis() as u64);
        wait_ms.saturating_sub(since_ms)
    }

    fn add(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.last_ms) > FORGOTTEN_AFTER.as_millis() as u64 {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.last_ms = now_ms;
    }
}

/// The counts. Times are milliseconds of uptime: a wall clock that is set must not open or close the door.
pub(super) struct Attempts {
    users: LruCache<String, Count>,
    addresses: LruCache<IpAddr, Count>,
}

impl Attempts {
    pub(super) fn new() -> Self {
        Attempts {
            users: LruCache::new(REMEMBERED_MAX),
            addresses: LruCache::new(REMEMBERED_MAX),
        }
    }

    /// Counts an attempt, or says how many seconds to wait. An attempt that is refused is not counted.
    pub(super) fn begin(&mut self, user: &str, address: IpAddr, now_ms: u64) -> Result<(), u32> {
        let address = network_of(address);
        let of_user = self.users.get(user).copied().unwrap_or_default();
        let of_address = self.addresses.get(&address).copied().unwrap_or_default();
        let wait_ms = of_user
            .wait_ms(now_ms, USER_FREE, USER_WAIT_MAX)
            .max(of_address.wait_ms(now_ms, ADDRESS_FREE, ADDRESS_WAIT_MAX));
        if wait_ms > 0 {
            return Err(u32::try_from(wait_ms.div_ceil(1_000)).unwrap_or(u32::MAX));
        }
        self.users
            .get_or_insert_mut(user.to_owned(), Count::default)
            .add(now_ms);
        self.addresses
            .get_or_insert_mut(address, Count::default)
            .add(now_ms);
        Ok(())
    }

    /// The password was right (or could not be judged).
    pub(super) fn clear(&mut self, user: &str, address: IpAddr) {
        self.users.pop(user);
        if let Some(count) = self.addresses.get_mut(&network_of(address)) {
            count.failures = count.failures.saturating_sub(1);
        }
    }
}

/// One household has a /64 of IPv6, so counting single addresses there counts nothing.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn guessing_gets_slower_and_the_right_password_ends_it() {
        let mut attempts = Attempts::new();
        for _ in 0..USER_FREE {
            attempts.begin("admin", HERE, 0).unwrap();
        }
        assert_eq!(attempts.begin("admin", HERE, 0), Err(1));
        attempts.begin("admin", HERE, 1_000).unwrap();
        assert_eq!(attempts.begin("admin", HERE, 1_000), Err(2));
        attempts.begin("someone else", HERE, 1_000).unwrap();
        attempts.clear("admin", HERE);
        attempts.begin("admin", HERE, 1_001).unwrap();
    }

    #[test]
    fn a_guesser_cannot_keep_the_team_out_for_long() {
        let mut attempts = Attempts::new();
        let mut now_ms = 0;
        for _ in 0..100 {
            if let Err(wait_s) = attempts.begin("admin", HERE, now_ms) {
                assert!(wait_s <= 300);
                now_ms += u64::from(wait_s) * 1_000;
            }
        }
        let elsewhere = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
        let wait_s = attempts
            .begin("admin", elsewhere, now_ms)
            .err()
            .unwrap_or(0);
        assert!(wait_s <= USER_WAIT_MAX.as_secs() as u32, "{wait_s}");
    }

    #[test]
    fn neighbours_in_one_ipv6_network_share_a_count() {
        let mut attempts = Attempts::new();
        for n in 0..ADDRESS_FREE {
            let address = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, n as u16));
            attempts.begin(&n.to_string(), address, 0).unwrap();
        }
        let neighbour: IpAddr = "2001:db8:0:1:ffff::1".parse().unwrap();
        assert!(attempts.begin("x", neighbour, 0).is_err());
        let stranger: IpAddr = "2001:db8:0:2::1".parse().unwrap();
        assert!(attempts.begin("x", stranger, 0).is_ok());
    }
}
