//! How a link carries packets.
//!
//! Invariant: nothing is ever lost for good while both directions carry: the transport sends again.

use rand::RngExt;
use rand::rngs::StdRng;

/// Bytes in a packet: what QUIC sends when it must not discover more.
const PACKET_BYTES: usize = 1_200;
/// How often the transport sends one packet before the simulation stops losing it.
const RETRANSMISSIONS_MAX: u32 = 6;

/// How one link carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality {
    /// One way, milliseconds.
    pub delay_ms: u64,
    /// Up to so much more, milliseconds.
    pub jitter_ms: u64,
    /// Bytes per second, each way.
    pub bytes_per_s: u64,
    /// Packets lost, of a thousand.
    pub lost_permille: u32,
    /// Packets that come twice, of a thousand.
    pub twice_permille: u32,
    /// Packets that take a longer way, of a thousand.
    pub late_permille: u32,
}

impl Quality {
    /// A link as they are in the field: anything from 5 kB/s over a satellite to a cable.
    pub fn random(rng: &mut StdRng) -> Self {
        const RATES: [u64; 5] = [3_000, 8_000, 32_000, 1_000_000, 100_000_000];
        const LOSSES: [u32; 4] = [0, 5, 50, 200];
        Self {
            delay_ms: rng.random_range(1..=600),
            jitter_ms: rng.random_range(0..=100),
            bytes_per_s: RATES[rng.random_range(0..RATES.len())],
            lost_permille: LOSSES[rng.random_range(0..LOSSES.len())],
            twice_permille: rng.random_range(0..=30),
            late_permille: rng.random_range(0..=50),
        }
    }

    /// A link that does nothing wrong.
    pub const GOOD: Self = Self {
        delay_ms: 20,
        jitter_ms: 5,
        bytes_per_s: 10_000_000,
        lost_permille: 0,
        twice_permille: 0,
        late_permille: 0,
    };

    /// How long a frame takes to leave.
    pub fn leaving_ms(&self, bytes: usize) -> u64 {
        bytes as u64 * 1_000 / self.bytes_per_s.max(1)
    }

    /// What happens to a frame that leaves now.
    pub fn fate(&self, now_ms: u64, bytes: usize, rng: &mut StdRng) -> Fate {
        let packets = u32::try_from(bytes.div_ceil(PACKET_BYTES))
            .unwrap_or(u32::MAX)
            .max(1);
        let any_of = |permille: u32| permille.saturating_mul(packets).min(900);
        let mut happens =
            |permille: u32| permille > 0 && rng.random_range(0..1_000) < any_of(permille);
        let (mut lost, late, twice) =
            (0, happens(self.late_permille), happens(self.twice_permille));
        while lost < RETRANSMISSIONS_MAX && happens(self.lost_permille) {
            lost += 1;
        }
        let round_trip_ms = 2 * self.delay_ms + self.jitter_ms + 25;
        let mut at_ms = now_ms + self.delay_ms + rng.random_range(0..=self.jitter_ms);
        // Each loss is noticed after a round trip, then after twice that, and so on.
        at_ms += round_trip_ms * ((1 << lost) - 1);
        if late {
            at_ms += rng.random_range(0..=2 * self.delay_ms);
        }
        let again_ms = twice.then(|| at_ms + rng.random_range(1..=round_trip_ms));
        Fate {
            at_ms,
            again_ms,
            lost,
            late,
        }
    }
}

/// What a link did to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// When it arrives.
    pub at_ms: u64,
    /// When it arrives once more.
    pub again_ms: Option<u64>,
    /// How many of its packets were lost before.
    pub lost: u32,
    /// It took a longer way.
    pub late: bool,
}

/// What connects two nodes. Direction 0 is from the smaller number to the larger.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) quality: Quality,
    pub(super) cut: [bool; 2],
    pub(super) cuts: [u64; 2],
}

impl Link {
    pub(super) fn new(quality: Quality) -> Self {
        Self {
            quality,
            cut: [false; 2],
            cuts: [0; 2],
        }
    }
}
