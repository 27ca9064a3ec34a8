//! A batch of a client between its socket and the disk, with what the client gets for it.

use crate::app::mqtt::Submission;

/// A batch on its way to the disk.
pub(super) struct Flight {
    pub(super) submission: Submission,
    /// What the client gets for it.
    pub(super) answers: Answers,
    pub(super) bytes: usize,
}

/// Packets that wait for a commit, as bytes.
#[derive(Default)]
pub(super) struct Answers {
    pub(super) bytes: Vec<u8>,
    /// Messages of the client's quota (Receive Maximum) that they give back.
    pub(super) settled: usize,
    /// SUBACKs among them.
    pub(super) subacks: usize,
}

impl Answers {
    pub(super) fn append(&mut self, more: Answers) {
        self.bytes.extend(more.bytes);
        self.settled += more.settled;
        self.subacks += more.subacks;
    }
}
