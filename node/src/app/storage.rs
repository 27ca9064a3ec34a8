//! What a data directory lies on, and what is traded for its wear: `storage` in muster.toml.
//!
//! ```toml
//! storage = "sd-card"           # or, with some of its numbers:
//!
//! [storage]
//! profile = "sd-card"
//! window_ms = 2000
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::Wear;

/// Clients wait for an acknowledgement, and many send again or part after ten seconds.
const WINDOW_MS_MAX: u64 = 8_000;
/// Every checkpoint costs two fsyncs.
const CHECKPOINT_BYTES_MIN: u64 = 1 << 20;
/// From twice as much on the writer itself is asked to begin the write-ahead log anew.
const CHECKPOINT_BYTES_MAX: u64 = 32 << 20;
/// What is noted is lost with the power for so long: rules look at those readings again, and do nothing twice.
const NOTE_EVERY_S_MAX: u64 = 600;

/// What a data directory lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorageProfile {
    /// A disk: nothing waits for anything.
    #[default]
    Disk,
    /// A memory card, which wears out: readings are acknowledged up to two seconds later, and what rules have seen is
    /// written down once a minute (after a crash they look at up to a minute of readings again, and do nothing twice).
    SdCard,
}

/// A profile with its numbers. Where nothing is said, they are the profile's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Storage {
    pub profile: StorageProfile,
    /// How long readings are gathered before they are committed together; their acknowledgements wait for it.
    pub window_ms: Option<u64>,
    /// How large the write-ahead log grows before its pages move to the files.
    pub checkpoint_bytes: Option<u64>,
    /// How often it is written down what rules have seen, and when devices were heard.
    pub note_every_s: Option<u64>,
}

/// As it stands in the configuration: a word, or a table.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "\"disk\", \"sd-card\", or a table with profile, window_ms, checkpoint_bytes, note_every_s"
)]
enum Written {
    Word(StorageProfile),
    Table(Table),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    profile: StorageProfile,
    window_ms: Option<u64>,
    checkpoint_bytes: Option<u64>,
    note_every_s: Option<u64>,
}

impl From<Written> for Storage {
    fn from(written: Written) -> Self {
        match written {
            Written::Word(profile) => profile.into(),
            Written::Table(table) => Storage {
                profile: table.profile,
                window_ms: table.window_ms,
                checkpoint_bytes: table.checkpoint_bytes,
                note_every_s: table.note_every_s,
            },
        }
    }
}

impl From<Storage> for Written {
    fn from(storage: Storage) -> Self {
        if storage == Storage::from(storage.profile) {
            return Written::Word(storage.profile);
        }
        Written::Table(Table {
            profile: storage.profile,
            window_ms: storage.window_ms,
            checkpoint_bytes: storage.checkpoint_bytes,
            note_every_s: storage.note_every_s,
        })
    }
}

impl From<StorageProfile> for Storage {
    fn from(profile: StorageProfile) -> Self {
        Storage {
            profile,
            ..Storage::default()
        }
    }
}

/// A number that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("[storage] {key} = {value}: {least} to {most} is expected")]
pub struct StorageError {
    key: &'static str,
    value: u64,
    least: u64,
    most: u64,
}

impl Storage {
    /// Checks the numbers, so that one that does not fit is found by who wrote it.
    ///
    /// # Errors
    /// [`StorageError`], which names the first.
    pub fn check(&self) -> Result<(), StorageError> {
        let numbers = [
            ("window_ms", self.window_ms, 0, WINDOW_MS_MAX),
            (
                "checkpoint_bytes",
                self.checkpoint_bytes,
                CHECKPOINT_BYTES_MIN,
                CHECKPOINT_BYTES_MAX,
            ),
            ("note_every_s", self.note_every_s, 1, NOTE_EVERY_S_MAX),
        ];
        for (key, value, least, most) in numbers {
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                return Err(StorageError {
                    key,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }

    pub(in crate::app) fn wear(&self) -> Wear {
        let usual = match self.profile {
            StorageProfile::Disk => Wear::DISK,
            StorageProfile::SdCard => Wear::CARD,
        };
        let bytes = self.checkpoint_bytes.map(i64::try_from);
        Wear {
            gather: self.window_ms.map_or(usual.gather, Duration::from_millis),
            seen_every: self
                .note_every_s
                .map_or(usual.seen_every, Duration::from_secs),
            wal_start_bytes: bytes.and_then(Result::ok).unwrap_or(usual.wal_start_bytes),
            wal_step_bytes: usual.wal_step_bytes,
        }
    }

    /// How long what rules have seen may be newer in memory than on the disk.
    pub(in crate::app) fn cursor_interval(&self) -> Duration {
        self.wear().seen_every
    }

    /// What counts, the profile's numbers among it.
    pub(in crate::app) fn value(&self) -> Value {
        let wear = self.wear();
        json!({
            "profile": self.profile,
            "window_ms": wear.gather.as_millis() as u64,
            "checkpoint_bytes": wear.wal_start_bytes,
            "note_every_s": wear.seen_every.as_secs(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Deserialize, Serialize)]
    struct File {
        storage: Storage,
    }

    fn read(text: &str) -> Result<Storage, String> {
        toml::from_str::<File>(text)
            .map(|file| file.storage)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_profile_is_a_word_and_its_numbers_are_a_table() {
        let card = read("storage = \"sd-card\"").unwrap();
        assert_eq!(card.value()["window_ms"], 2_000);
        let shorter = "[storage]\nprofile = \"sd-card\"\nwindow_ms = 500\n";
        let shorter = read(shorter).unwrap();
        assert_eq!(
            shorter.value(),
            json!({
                "profile": "sd-card", "window_ms": 500, "checkpoint_bytes": 32 << 20,
                "note_every_s": 60,
            })
        );
        assert_eq!(shorter.cursor_interval(), Duration::from_secs(60));
        for storage in [card, shorter, Storage::default()] {
            let written = toml::to_string(&File { storage }).unwrap();
            assert_eq!(read(&written).unwrap(), storage, "{written}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_said_with_what_can() {
        for (text, words) in [
            ("window_ms = 8001", "window_ms = 8001: 0 to 8000"),
            ("checkpoint_bytes = 5", "1048576 to 33554432"),
            ("note_every_s = 0", "1 to 600"),
        ] {
            let error = read(&format!("[storage]\n{text}\n")).unwrap().check();
            let error = error.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        for text in ["storage = \"floppy\"", "[storage]\nwindow = 3\n"] {
            let error = read(text).unwrap_err();
            assert!(
                error.contains("sd-card") && error.contains("window_ms"),
                "{error}"
            );
        }
    }
}
