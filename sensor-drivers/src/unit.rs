//! A unit of measurement as the sensor names it, held without an allocation.

use core::fmt;

use crate::DecodeError;

/// Longest unit in bytes; the longest of UCUM's common units has 14.
pub const UNIT_BYTES_MAX: usize = 32;

/// A unit: 1 to [`UNIT_BYTES_MAX`] bytes without control characters. UCUM (`Cel`, `m3/s`) is what we ask for; what
/// the sensor says is kept as it is, because a wrong guess would change the meaning of the value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnitString(heapless::String<UNIT_BYTES_MAX>);

impl UnitString {
    /// Checks a unit; blanks around it are dropped, and an empty one is no unit at all (`None`).
    ///
    /// # Errors
    /// [`DecodeError::UnitTooLong`] and [`DecodeError::UnitCharacter`].
    pub fn parse(unit: &str) -> Result<Option<Self>, DecodeError> {
        let unit = unit.trim();
        if unit.is_empty() {
            return Ok(None);
        }
        if unit.chars().any(char::is_control) {
            return Err(DecodeError::UnitCharacter);
        }
        match heapless::String::try_from(unit) {
            Ok(inner) => Ok(Some(Self(inner))),
            Err(_) => Err(DecodeError::UnitTooLong { bytes: unit.len() }),
        }
    }

    /// The unit's text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl AsRef<str> for UnitString {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for UnitString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for UnitString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
