//! The node's clocks. Wall time is for display and retention; nothing is ordered by it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall and monotonic time of this process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    /// Milliseconds that both times are ahead of this machine's.
    ahead_ms: Option<&'static AtomicU64>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock::start()
    }
}

impl Clock {
    /// Starts counting uptime now.
    pub fn start() -> Self {
        Clock {
            started: Instant::now(),
            ahead_ms: None,
        }
    }

    /// The same, as many milliseconds ahead of this machine as `ahead_ms` says at any time: for tests of what happens
    /// after a while.
    pub fn start_ahead(ahead_ms: &'static AtomicU64) -> Self {
        Clock {
            ahead_ms: Some(ahead_ms),
            ..Clock::start()
        }
    }

    fn ahead_ms(&self) -> u64 {
        self.ahead_ms
            .map_or(0, |ahead_ms| ahead_ms.load(Ordering::Relaxed))
    }

    /// Milliseconds since 1970 UTC as this machine believes; 0 where its clock stands before 1970.
    pub fn wall_ms(&self) -> u64 {
        let machine_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            });
        machine_ms.saturating_add(self.ahead_ms())
    }

    /// Milliseconds since the process started.
    pub fn uptime_ms(&self) -> u64 {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        elapsed_ms.saturating_add(self.ahead_ms())
    }
}

/// `at_ms` (milliseconds since 1970 UTC) as RFC 3339 with milliseconds, always in UTC: `2026-11-20T13:25:33.120Z`.
/// Times outside the years that RFC 3339 can write come out as its nearest end.
pub fn rfc3339(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(if at_ms < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    });
    format!("{at:.3}")
}

/// [`rfc3339`] for the unsigned wall times of entries.
pub fn rfc3339_wall(at_ms: u64) -> String {
    rfc3339(i64::try_from(at_ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(1_795_181_133_120), "2026-11-20T13:25:33.120Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert!(rfc3339(i64::MAX).starts_with("9999-12-"));
    }
}
