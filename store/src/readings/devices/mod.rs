//! What devices say besides values: of themselves, words to others, and times that cannot be true.
//!
//! Always holds: it is committed with the message that brought it, so that an acknowledgement covers all of a message.

mod clocks;
mod reports;
mod texts;

pub use self::clocks::{OddClock, TimedPoint};
pub(crate) use self::clocks::{expire as expire_clocks, insert as insert_clock, timed_points};
pub use self::reports::{DeviceReport, ReportedPlace};
pub(crate) use self::reports::{load as load_reports, write as write_report};
pub use self::texts::{DeviceText, NewText};
pub(crate) use self::texts::{
    counts as text_counts, get as text, ids as text_ids, insert as insert_text, list as list_texts,
    list_of as list_texts_of, remove as remove_text,
};

/// What devices said besides values, in one batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeviceWrites {
    pub reports: Vec<DeviceReport>,
    pub texts: Vec<NewText>,
    /// In the order of the readings that they stand beside.
    pub odd_clocks: Vec<OddClock>,
}

impl DeviceWrites {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.texts.is_empty() && self.odd_clocks.is_empty()
    }

    /// How much of the queue's bound it takes: a text carries its words.
    pub(crate) fn weight(&self) -> usize {
        let texts = self.texts.iter().map(|new| 1 + new.text.text.len() / 64);
        self.reports.len() + texts.sum::<usize>() + self.odd_clocks.len()
    }
}
