//! When a receipt is due. Invariant: between two receipts lie at least [`EVERY_MS`].

/// A change comes with others: an edit makes a document and an assignment, a catch-up many runs. What follows within
/// this time goes into one receipt, and people look at "who has it" later than that.
const QUIET_MS: u64 = 2_000;

/// A receipt costs about 250 bytes on a link with its run's ids and signature. Of 20 nodes that are all busy, one every
/// 30 s each is 170 B/s: a seventh of a 9.6 kbit/s link in the lane that gives way to all urgent ones. Less often, and
/// a person at the far end waits longer for news than a phone call takes.
const EVERY_MS: u64 = 30_000;

/// Times on a clock that never goes back, milliseconds.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// First and last movement that no receipt has looked at.
    moved_ms: Option<(u64, u64)>,
    written_ms: Option<u64>,
}

impl Schedule {
    /// Something moved.
    pub(super) fn moved(&mut self, now_ms: u64) {
        let first_ms = self.moved_ms.map_or(now_ms, |(first_ms, _)| first_ms);
        self.moved_ms = Some((first_ms, now_ms));
    }

    /// When to look at what there is to say: once it is quiet, and while it is never quiet every so often.
    pub(super) fn due_ms(&self) -> Option<u64> {
        let (first_ms, last_ms) = self.moved_ms?;
        let settled_ms = (last_ms + QUIET_MS).min(first_ms + EVERY_MS);
        let allowed_ms = self
            .written_ms
            .map_or(0, |written_ms| written_ms + EVERY_MS);
        Some(settled_ms.max(allowed_ms))
    }

    /// What there was to say is on disk; `said` is false when there was nothing.
    pub(super) fn looked(&mut self, now_ms: u64, said: bool) {
        self.moved_ms = None;
        if said {
            self.written_ms = Some(now_ms);
        }
    }

    /// It is still to be said, and not at once: a full disk does not get better by the second.
    pub(super) fn failed(&mut self, now_ms: u64) {
        self.written_ms = Some(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_receipt_says_what_came_together() {
        let mut schedule = Schedule::default();
        assert_eq!(schedule.due_ms(), None);
        schedule.moved(1_000);
        assert_eq!(schedule.due_ms(), Some(3_000));
        schedule.moved(2_500);
        assert_eq!(schedule.due_ms(), Some(4_500));
        schedule.looked(4_500, true);
        assert_eq!(schedule.due_ms(), None, "nothing moved since");
    }

    #[test]
    fn the_next_one_waits_and_says_all_that_came_meanwhile() {
        let mut schedule = Schedule::default();
        schedule.moved(0);
        schedule.looked(2_000, true);
        schedule.moved(2_100);
        schedule.moved(20_000);
        assert_eq!(schedule.due_ms(), Some(2_000 + EVERY_MS));
        schedule.looked(32_000, false);
        schedule.moved(32_100);
        assert_eq!(
            schedule.due_ms(),
            Some(34_100),
            "where nothing was said, nothing has to rest"
        );
    }

    #[test]
    fn a_stream_that_never_pauses_is_told_of_too() {
        let mut schedule = Schedule::default();
        for now_ms in (0..60_000).step_by(500) {
            schedule.moved(now_ms);
        }
        assert_eq!(schedule.due_ms(), Some(EVERY_MS));
    }

    #[test]
    fn what_could_not_be_written_is_tried_again_later() {
        let mut schedule = Schedule::default();
        schedule.moved(0);
        schedule.failed(2_000);
        assert_eq!(schedule.due_ms(), Some(2_000 + EVERY_MS));
    }
}
