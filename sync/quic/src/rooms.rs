//! Room for what has come and is not stored yet, of all connections together, lane by lane.
//!
//! A frame takes room before it goes to the driver. What the engine then keeps of it, until the store has it, goes on
//! taking room; so a lane whose store falls behind runs out of room, its readers stop reading, and QUIC's flow control
//! stops the senders. That is why it may happen to a whole lane and not to a peer alone: a store has one speed, however
//! many peers feed it. Readers get room in the order in which they asked, so that peers take turns.
//!
//! Invariant: `free permits + permits of frames in front of the driver + taken` is the size of the room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sync_engine::{Lane, RUN_BYTES_MAX, StreamKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::SyncLimits;
use crate::wire::{self, STREAMS};

/// One permit stands for this many bytes.
const PERMIT_BYTES: usize = 1024;

struct Room {
    size: usize,
    permits: Arc<Semaphore>,
    /// Permits that stand for what the engine holds.
    taken: AtomicUsize,
}

impl Room {
    fn new(bytes: usize) -> Self {
        let size = bytes.div_ceil(PERMIT_BYTES).max(1);
        Self {
            size,
            permits: Arc::new(Semaphore::new(size)),
            taken: AtomicUsize::new(0),
        }
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// See the module.
pub(crate) struct Rooms([Room; STREAMS]);

impl Rooms {
    pub(crate) fn new(limits: &SyncLimits) -> Self {
        Self(std::array::from_fn(|at| {
            let is_control = at == wire::index(StreamKind::Control);
            Room::new(if is_control {
                limits.control_bytes_max
            } else {
                limits.lane_bytes_max
            })
        }))
    }

    /// Waits for room for one frame. `None` at shutdown.
    pub(crate) async fn enter(
        &self,
        kind: StreamKind,
        bytes: usize,
    ) -> Option<OwnedSemaphorePermit> {
        let room = &self.0[wire::index(kind)];
        // A run may unfold to its largest, whatever it takes on the wire.
        let bytes = match kind {
            StreamKind::Control => bytes,
            StreamKind::Lane(_) => bytes.max(RUN_BYTES_MAX),
        };
        let permits = bytes.div_ceil(PERMIT_BYTES).min(room.size);
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        room.permits.clone().acquire_many_owned(permits).await.ok()
    }

    /// The engine has had a frame of `lane` and now holds `held_bytes` of the lane: what it kept of the frame stays
    /// taken, the rest of the frame's room is free. Called by the driver alone, as is [`Rooms::settle`].
    pub(crate) fn leave(&self, lane: Lane, mut frame: OwnedSemaphorePermit, held_bytes: usize) {
        let room = self.of(lane);
        let grown = held_bytes
            .div_ceil(PERMIT_BYTES)
            .saturating_sub(room.taken());
        let kept = grown.min(frame.num_permits());
        if let Some(part) = frame.split(kept) {
            part.forget();
            room.taken.fetch_add(kept, Ordering::Relaxed);
        }
        drop(frame);
        self.settle(lane, held_bytes);
    }

    /// The engine now holds `held_bytes` of `lane`.
    pub(crate) fn settle(&self, lane: Lane, held_bytes: usize) {
        let room = self.of(lane);
        let (target, taken) = (held_bytes.div_ceil(PERMIT_BYTES), room.taken());
        if target < taken {
            room.taken.store(target, Ordering::Relaxed);
            room.permits.add_permits(taken - target);
        } else if target > taken {
            // What is not free is asked for again with the next frame.
            let got = room.permits.forget_permits(target - taken);
            room.taken.store(taken + got, Ordering::Relaxed);
        }
    }

    fn of(&self, lane: Lane) -> &Room {
        &self.0[wire::index(StreamKind::Lane(lane))]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const RUN: usize = RUN_BYTES_MAX;

    /// Room for four runs a lane.
    fn rooms() -> Rooms {
        Rooms::new(&SyncLimits {
            lane_bytes_max: 4 * RUN,
            control_bytes_max: 4 * RUN,
            ..SyncLimits::default()
        })
    }

    async fn enter(rooms: &Rooms, lane: Lane) -> Option<OwnedSemaphorePermit> {
        rooms
            .enter(StreamKind::Lane(lane), 100)
            .now_or_never()
            .flatten()
    }

    #[tokio::test]
    async fn a_lane_that_is_not_stored_stops_being_read_and_no_other_lane_does() {
        let rooms = rooms();
        let mut held = 0;
        while let Some(frame) = enter(&rooms, Lane::Raw).await {
            held += RUN;
            rooms.leave(Lane::Raw, frame, held);
        }
        assert_eq!(held, 4 * RUN);
        assert!(enter(&rooms, Lane::Flash).await.is_some());
        assert!(
            rooms
                .enter(StreamKind::Control, RUN)
                .now_or_never()
                .is_some()
        );
        // The store has had one.
        rooms.settle(Lane::Raw, held - RUN);
        assert!(enter(&rooms, Lane::Raw).await.is_some());
    }

    #[tokio::test]
    async fn a_frame_of_which_nothing_was_kept_gives_all_its_room_back() {
        let rooms = rooms();
        for _ in 0..100 {
            let frame = enter(&rooms, Lane::Life).await.unwrap();
            rooms.leave(Lane::Life, frame, 0);
        }
    }

    #[tokio::test]
    async fn a_run_of_many_small_entries_that_weighs_more_than_its_room_is_paid_for() {
        let rooms = rooms();
        let frame = enter(&rooms, Lane::Life).await.unwrap();
        // Twice the room of its frame, and then more than there is at all.
        rooms.leave(Lane::Life, frame, 2 * RUN);
        assert_eq!(rooms.of(Lane::Life).taken(), 2 * RUN / PERMIT_BYTES);
        rooms.settle(Lane::Life, 9 * RUN);
        assert!(enter(&rooms, Lane::Life).await.is_none());
        rooms.settle(Lane::Life, 0);
        let all: Vec<_> = [(); 4].map(|()| enter(&rooms, Lane::Life)).into();
        for frame in all {
            drop(frame.await.unwrap());
        }
        assert_eq!(
            rooms.of(Lane::Life).permits.available_permits(),
            4 * RUN / PERMIT_BYTES
        );
    }
}
