//! How long what is kept: `[retention]` of muster.toml.
//!
//! Invariant: nothing here can make the node forget what people agreed on: documents, messages and their logs have no age.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DAY_MS: u64 = 24 * 3_600_000;
/// A century: who means more means for ever.
const DAYS_MAX: u64 = 36_500;

/// Classes of what is forgotten some day, with how long they are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, try_from = "Stated")]
pub struct Kept {
    /// Readings as they came, by whole UTC days.
    pub raw_days: Days,
    /// Their rollups: minutes, quarters of an hour, hours.
    pub rollups_days: Days,
    /// Payloads that could not be read. Their number is bounded besides.
    pub dead_letters_days: Days,
    /// Who did what. Their number is bounded besides.
    pub audit_days: Days,
}

impl Default for Kept {
    fn default() -> Self {
        Kept {
            // A card must hold them.
            raw_days: Days::Some(30),
            // A season is compared with the one before.
            rollups_days: Days::Forever,
            // A sensor is repaired within a season.
            dead_letters_days: Days::Some(90),
            // Seven years: claims come late.
            audit_days: Days::Some(2_557),
        }
    }
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Stated {
    raw_days: Days,
    rollups_days: Days,
    dead_letters_days: Days,
    audit_days: Days,
}

impl Default for Stated {
    fn default() -> Self {
        let Kept {
            raw_days,
            rollups_days,
            dead_letters_days,
            audit_days,
        } = Kept::default();
        Stated {
            raw_days,
            rollups_days,
            dead_letters_days,
            audit_days,
        }
    }
}

impl TryFrom<Stated> for Kept {
    type Error = String;

    fn try_from(stated: Stated) -> Result<Self, String> {
        let Stated {
            raw_days,
            rollups_days,
            dead_letters_days,
            audit_days,
        } = stated;
        if rollups_days.ms_or_max() < raw_days.ms_or_max() {
            return Err(format!(
                "rollups_days = {rollups_days} is less than raw_days = {raw_days}: charts are drawn from rollups, so \
                 keep those at least as long"
            ));
        }
        Ok(Kept {
            raw_days,
            rollups_days,
            dead_letters_days,
            audit_days,
        })
    }
}

impl Kept {
    /// As the store has it for readings.
    pub(in crate::app) fn of_readings(&self) -> store::Retention {
        store::Retention {
            raw_ms: self.raw_days.ms(),
            rollups_ms: self.rollups_days.ms(),
        }
    }
}

/// A number of days from 1 on, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Days {
    /// So many.
    Some(u64),
    /// Until somebody deletes it by hand.
    Forever,
}

impl Days {
    /// In milliseconds; `None` is for ever.
    pub fn ms(self) -> Option<u64> {
        match self {
            Days::Some(days) => Some(days.saturating_mul(DAY_MS)),
            Days::Forever => None,
        }
    }

    fn ms_or_max(self) -> u64 {
        self.ms().unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Days::Some(days) => write!(f, "{days}"),
            Days::Forever => f.write_str("\"forever\""),
        }
    }
}

impl Serialize for Days {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Days::Some(days) => serializer.serialize_u64(*days),
            Days::Forever => serializer.serialize_str("forever"),
        }
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Days;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "days, 1 to {DAYS_MAX}, or \"forever\"")
            }

            fn visit_i64<E: Error>(self, days: i64) -> Result<Days, E> {
                match u64::try_from(days) {
                    Ok(days @ 1..=DAYS_MAX) => Ok(Days::Some(days)),
                    _ => Err(E::custom(format!(
                        "{days} days: 1 to {DAYS_MAX} is expected, or \"forever\""
                    ))),
                }
            }

            fn visit_u64<E: Error>(self, days: u64) -> Result<Days, E> {
                self.visit_i64(i64::try_from(days).unwrap_or(i64::MAX))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Days, E> {
                match text {
                    "forever" => Ok(Days::Forever),
                    other => Err(E::custom(format!(
                        "{other:?}: a number of days is expected, or \"forever\""
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Kept, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_keeps_its_default_and_for_ever_is_a_word() {
        assert_eq!(read(""), Ok(Kept::default()));
        let kept = read("raw_days = 7\naudit_days = \"forever\"").unwrap();
        assert_eq!(kept.of_readings().raw_ms, Some(7 * DAY_MS));
        assert_eq!(kept.audit_days, Days::Forever);
        assert_eq!(kept.dead_letters_days, Days::Some(90));
        assert_eq!(
            read("raw_days = \"forever\"").unwrap().of_readings().raw_ms,
            None
        );
        let written = toml::to_string(&kept).unwrap();
        assert_eq!(read(&written), Ok(kept));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_is_expected() {
        for (text, said) in [
            ("raw_days = 0", "1 to 36500"),
            ("raw_days = -1", "1 to 36500"),
            ("raw_days = 1.5", "\"forever\""),
            ("raw_days = \"always\"", "\"forever\""),
            ("audit_days = 99999999", "1 to 36500"),
            ("raw_days = 30\nrollups_days = 29", "at least as long"),
            (
                "raw_days = \"forever\"\nrollups_days = 365",
                "at least as long",
            ),
            ("days = 3", "days"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
