//! What is known about a reading besides its value: the bits of `flags`, and what they are called.
//!
//! A bit keeps its meaning for ever: blocks and Parquet files hold it.

/// The device was approved when the reading came, and it was news: rules look at it.
pub const APPROVED: u8 = 1;
/// It came in a message marked as redelivered, and was not there yet.
pub const REDELIVERED: u8 = 2;
/// Another value with the same time was stored before it. Set by the store.
pub const CONTRADICTS: u8 = 4;
/// Its time is the device's own. Set by the store from [`super::NewReading::device_time`].
pub const DEVICE_TIME: u8 = 8;
/// Not for the rules to look at, but of an approved device: kept and counted like its other readings. A replayed
/// dead letter is old news, and no reading of a stranger.
pub const KEPT: u8 = 16;
/// Its source doubts it: a decoder's script gave it with warnings.
pub const SUSPECT: u8 = 32;
/// It came as a copy that a broker kept for whoever subscribes (RETAIN).
pub const RETAINED: u8 = 64;

/// Of a reading of which there is nothing to say.
pub const IN_ORDER: u8 = APPROVED | DEVICE_TIME;

/// Every bit that there is, and its word: in the API's answers and in what a Parquet file says about itself.
pub const WORDS: [(u8, &str); 7] = [
    (APPROVED, "approved"),
    (REDELIVERED, "redelivered"),
    (CONTRADICTS, "contradicts"),
    (DEVICE_TIME, "device-time"),
    (KEPT, "not-news"),
    (SUSPECT, "suspect"),
    (RETAINED, "retained"),
];

/// How a reading came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coming {
    /// Its device is approved.
    pub approved: bool,
    /// See [`SUSPECT`].
    pub suspect: bool,
    /// See [`RETAINED`].
    pub retained: bool,
    /// It is read so long after it came that it is no news any more.
    pub late: bool,
}

impl Coming {
    /// Its flags, but those that the store sets. What its source doubts, what a broker kept and what is read late is no
    /// news: rules do not look at it, whoever's it is.
    pub const fn flags(self) -> u8 {
        let is_news = !(self.suspect || self.retained || self.late);
        let standing = match (self.approved, is_news) {
            (true, true) => APPROVED,
            (true, false) => KEPT,
            (false, _) => 0,
        };
        let suspect = if self.suspect { SUSPECT } else { 0 };
        let retained = if self.retained { RETAINED } else { 0 };
        standing | suspect | retained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_has_one_word() {
        let bits = WORDS.iter().fold(0, |bits: u8, (bit, _)| {
            assert_eq!(bit.count_ones(), 1);
            assert_eq!(bits & bit, 0, "a bit has two words");
            bits | bit
        });
        assert_eq!(bits.count_ones(), 7);
    }

    #[test]
    fn what_is_doubted_retained_or_late_is_no_news_and_each_is_told_from_the_others() {
        let of = |suspect, retained, late| {
            let approved = true;
            Coming {
                approved,
                suspect,
                retained,
                late,
            }
            .flags()
        };
        assert_eq!(of(false, false, false), APPROVED);
        assert_eq!(of(true, false, false), KEPT | SUSPECT);
        assert_eq!(of(false, true, false), KEPT | RETAINED);
        assert_eq!(of(false, false, true), KEPT);
        let of_stranger = Coming {
            suspect: true,
            ..Coming::default()
        };
        assert_eq!(of_stranger.flags(), SUSPECT);
    }
}
