//! Whether a device is there, as far as anybody can know.
//!
//! A device is gone where its connection was lost, or whoever carries its messages says so, until it is heard again. One
//! that says goodbye is not: most sensors sleep between their readings, and their interval tells when to worry.
//!
//! Invariant: hearing a device costs one atomic load, unless it was gone.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, Ordering};

use super::NEVER;

/// It never had a connection since the node started, or said goodbye: it may speak through a gateway, or sleep.
const UNKNOWN: u8 = 0;
const ONLINE: u8 = 1;
const GONE: u8 = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Presence {
    /// MQTT connections of its own that are open.
    connections: AtomicU32,
    /// One of the words above.
    word: AtomicU8,
    /// What came until then is old news while the word is [`GONE`]. Unix milliseconds.
    gone_ms: AtomicI64,
}

impl Default for Presence {
    fn default() -> Self {
        Presence {
            connections: AtomicU32::new(0),
            word: AtomicU8::new(UNKNOWN),
            gone_ms: AtomicI64::new(NEVER),
        }
    }
}

impl Presence {
    /// A message of the device came.
    pub(super) fn heard(&self) {
        if self.word.load(Ordering::Acquire) == GONE {
            self.end_absence();
        }
    }

    /// A connection of its own began.
    pub(super) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::AcqRel);
        self.word.store(ONLINE, Ordering::Release);
    }

    /// A connection of its own ended; `lost` without a goodbye.
    pub(super) fn disconnected(&self, lost: bool, now_ms: i64) {
        // The one that follows it may have begun already.
        if self.connections.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        if lost {
            self.gone(now_ms);
        } else {
            self.word.store(UNKNOWN, Ordering::Release);
        }
    }

    /// Whoever carries its messages says whether it is there.
    pub(super) fn told(&self, online: bool, now_ms: i64) {
        // Its own connection says more than what somebody else says of it.
        if self.connections.load(Ordering::Acquire) > 0 {
            return;
        }
        if online {
            self.word.store(ONLINE, Ordering::Release);
        } else {
            self.gone(now_ms);
        }
    }

    /// `None` where nobody can know.
    pub(super) fn online(&self) -> Option<bool> {
        match self.word.load(Ordering::Acquire) {
            UNKNOWN => None,
            word => Some(word == ONLINE),
        }
    }

    /// Since when it is gone, while it is.
    pub(super) fn gone_ms(&self) -> Option<i64> {
        (self.word.load(Ordering::Acquire) == GONE).then(|| self.gone_ms.load(Ordering::Relaxed))
    }

    fn gone(&self, now_ms: i64) {
        self.gone_ms.store(now_ms, Ordering::Relaxed);
        self.word.store(GONE, Ordering::Release);
    }

    fn end_absence(&self) {
        // A connection may begin at the same moment.
        let _ = self
            .word
            .compare_exchange(GONE, UNKNOWN, Ordering::AcqRel, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_online_while_one_of_its_connections_is_there() {
        let pump = Presence::default();
        assert_eq!(pump.online(), None);
        pump.connected();
        pump.connected();
        pump.disconnected(true, 1_000);
        assert_eq!(pump.online(), Some(true));
        pump.disconnected(true, 2_000);
        assert_eq!((pump.online(), pump.gone_ms()), (Some(false), Some(2_000)));
        pump.connected();
        assert_eq!((pump.online(), pump.gone_ms()), (Some(true), None));
    }

    #[test]
    fn who_says_goodbye_is_not_gone_and_who_is_heard_again_is_not_either() {
        let pump = Presence::default();
        pump.connected();
        pump.disconnected(false, 1_000);
        assert_eq!(pump.online(), None);
        pump.told(false, 2_000);
        assert_eq!(pump.gone_ms(), Some(2_000));
        pump.heard();
        assert_eq!((pump.online(), pump.gone_ms()), (None, None));
    }

    #[test]
    fn a_gateway_does_not_know_better_than_the_connection() {
        let pump = Presence::default();
        pump.told(true, 1_000);
        assert_eq!(pump.online(), Some(true));
        pump.connected();
        pump.told(false, 2_000);
        assert_eq!(pump.online(), Some(true));
    }
}
