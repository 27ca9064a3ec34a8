//! What a device's document says about it as a whole.

use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Map, Value};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub(in crate::app) enum Standing {
    /// It has no document.
    #[default]
    Undocumented,
    /// Nobody has decided about it.
    Unknown,
    /// Rules look at what it says.
    Approved,
    /// Somebody has switched it off.
    Disabled,
    /// Its document is deleted.
    Deleted,
}

impl Standing {
    pub(super) fn of_document(fields: &Map<String, Value>, deleted: bool) -> Standing {
        match fields.get("state").and_then(Value::as_str) {
            _ if deleted => Standing::Deleted,
            Some("approved") => Standing::Approved,
            Some("disabled") => Standing::Disabled,
            _ => Standing::Unknown,
        }
    }

    /// Whether the device may not sign in, whatever its password.
    pub(in crate::app) fn is_barred(self) -> bool {
        matches!(self, Standing::Disabled | Standing::Deleted)
    }

    pub(super) fn has_document(self) -> bool {
        !matches!(self, Standing::Undocumented | Standing::Deleted)
    }
}

/// A standing that is asked for on the way of each reading.
#[derive(Debug, Default)]
pub(super) struct AtomicStanding(AtomicU8);

impl AtomicStanding {
    pub(super) fn get(&self) -> Standing {
        of_byte(self.0.load(Ordering::Acquire))
    }

    /// Answers the one before.
    pub(super) fn swap(&self, standing: Standing) -> Standing {
        of_byte(self.0.swap(standing as u8, Ordering::AcqRel))
    }
}

fn of_byte(byte: u8) -> Standing {
    [
        Standing::Unknown,
        Standing::Approved,
        Standing::Disabled,
        Standing::Deleted,
    ]
    .into_iter()
    .find(|standing| *standing as u8 == byte)
    .unwrap_or_default()
}
