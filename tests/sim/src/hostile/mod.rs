//! Members and strangers who mean harm: a real engine, so that they are let in as far as they can be, behind a shell that
//! changes, withholds and invents frames.
//!
//! Left out on purpose: claims about the *victim's own* log (a longer one, another branch, or a Hold). A member can stop a
//! node's writes with one today, because such a claim carries no signed proof; that belongs to the issue about trust.
//! So does a member that signs two branches of its own log.

mod frames;
mod poison;

use std::collections::{BTreeSet, VecDeque};

use rand::RngExt;
use rand::rngs::StdRng;
use sync_engine::StreamKind;

use crate::tally::Tally;
pub use frames::Lie;
pub use poison::Poison;

/// Frames kept to be sent again.
const REPLAY_FRAMES_MAX: usize = 24;
/// Frames of one flood.
const FLOOD_FRAMES: usize = 60;

/// Who means harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A member, with a grant for some lanes.
    Member,
    /// Nobody: it knows the operation and made itself a grant.
    Stranger,
    /// A member of another operation.
    Foreigner,
}

/// What it does to its own frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Habit {
    WithholdAcknowledgements,
    WithholdRuns,
    ForgeSignatures,
    ForgeChains,
    Replay,
    WrongStream,
}

/// A frame and where it goes.
pub type Frame = (StreamKind, Vec<u8>);

/// The shell around a hostile engine.
#[derive(Debug)]
pub struct Hostile {
    /// Who it is.
    pub who: Who,
    habits: BTreeSet<Habit>,
    sent: VecDeque<Frame>,
}

impl Hostile {
    /// Somebody with one to three bad habits.
    pub fn new(who: Who, rng: &mut StdRng) -> Self {
        const ALL: [Habit; 6] = [
            Habit::WithholdAcknowledgements,
            Habit::WithholdRuns,
            Habit::ForgeSignatures,
            Habit::ForgeChains,
            Habit::Replay,
            Habit::WrongStream,
        ];
        let habits = (0..rng.random_range(1..=3)).map(|_| ALL[rng.random_range(0..ALL.len())]);
        Self {
            who,
            habits: habits.collect(),
            sent: VecDeque::new(),
        }
    }

    /// What leaves instead of a frame that its engine sends.
    pub fn twist(&mut self, frame: Frame, rng: &mut StdRng, tally: &mut Tally) -> Vec<Frame> {
        let (stream, bytes) = &frame;
        let is_run = frames::is_run(bytes);
        if is_run && self.habits.contains(&Habit::WithholdRuns) && rng.random_bool(0.7) {
            tally.note("hostile: run withheld");
            return Vec::new();
        }
        if frames::is_progress(bytes) && self.habits.contains(&Habit::WithholdAcknowledgements) {
            tally.note("hostile: acknowledgement withheld");
            return Vec::new();
        }
        if self.sent.len() == REPLAY_FRAMES_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(frame.clone());
        if frames::is_packed(bytes) && self.forges() && rng.random_bool(0.3) {
            tally.note("hostile: packed run spoilt");
            return vec![(*stream, frames::spoil_packed(bytes, rng))];
        }
        if is_run && rng.random_bool(0.3) {
            if self.habits.contains(&Habit::ForgeSignatures)
                && let Some(forged) = frames::forge_signature(bytes, rng)
            {
                tally.note("hostile: signature forged");
                return vec![(*stream, forged)];
            }
            if self.habits.contains(&Habit::ForgeChains)
                && let Some(forged) = frames::forge_chain(bytes, rng)
            {
                tally.note("hostile: chain forged");
                return vec![(*stream, forged)];
            }
            if self.habits.contains(&Habit::WrongStream) {
                tally.note("hostile: run on another lane's stream");
                return vec![(frames::another_stream(*stream), bytes.clone())];
            }
        }
        if self.habits.contains(&Habit::Replay) && rng.random_bool(0.2) {
            tally.note("hostile: old frame again");
            let old = self.sent[rng.random_range(0..self.sent.len())].clone();
            return vec![frame, old];
        }
        vec![frame]
    }

    fn forges(&self) -> bool {
        let forging = [Habit::ForgeSignatures, Habit::ForgeChains];
        forging.iter().any(|habit| self.habits.contains(habit))
    }

    /// Frames out of the blue. `lies` are logs of others, with what to claim about them.
    pub fn invent(&mut self, lies: &[Lie], rng: &mut StdRng, tally: &mut Tally) -> Vec<Frame> {
        match rng.random_range(0..6) {
            0 => {
                tally.note("hostile: frame too long");
                vec![frames::too_long(rng)]
            }
            1 => {
                tally.note("hostile: decompression bomb");
                vec![frames::bomb(rng)]
            }
            2 => {
                tally.note("hostile: garbage");
                vec![frames::garbage(rng)]
            }
            3 | 4 if !lies.is_empty() => {
                tally.note("hostile: lie about heights");
                vec![frames::lie(lies)]
            }
            _ => {
                tally.note("hostile: flood");
                let logs: Vec<_> = lies.iter().map(|lie| lie.log).collect();
                frames::flood(FLOOD_FRAMES, &logs, rng)
            }
        }
    }
}
