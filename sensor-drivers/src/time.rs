//! The time that a sensor states: RFC 3339 text or whole milliseconds since 1970, both UTC.
//!
//! Invariant: what comes out lies in the years 0 to 9999, so that it can always be written as RFC 3339 again.

use jiff::Timestamp;

use crate::DecodeError;

/// 0000-01-01T00:00:00Z and 9999-12-30T00:00:00Z in ms; the last day is left out because some offsets would carry a
/// time in it beyond the year 9999.
const TIME_MS: core::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_128_000_000;

/// Reads RFC 3339 §5.6 `date-time`, upper or lower case, any number of fractional digits (cut to milliseconds).
///
/// # Errors
/// [`DecodeError::Time`] for anything else, [`DecodeError::TimeRange`] outside the years 0 to 9999.
pub(crate) fn from_rfc3339(text: &str) -> Result<i64, DecodeError> {
    if !has_rfc3339_shape(text.as_bytes()) {
        return Err(DecodeError::Time);
    }
    let time: Timestamp = text.parse().map_err(|_| DecodeError::Time)?;
    in_range(time.as_millisecond())
}

/// Reads whole milliseconds since 1970.
///
/// # Errors
/// As [`from_rfc3339`].
pub(crate) fn from_milliseconds(text: &str) -> Result<i64, DecodeError> {
    match text.parse::<i64>() {
        Ok(ms) => in_range(ms),
        Err(e)
            if matches!(
                e.kind(),
                core::num::IntErrorKind::PosOverflow | core::num::IntErrorKind::NegOverflow
            ) =>
        {
            Err(DecodeError::TimeRange)
        }
        Err(_) => Err(DecodeError::Time),
    }
}

/// Reads seconds since 1970, with a fraction or without; kept to milliseconds.
///
/// # Errors
/// [`DecodeError::TimeRange`], also for what is not finite.
pub(crate) fn from_seconds(seconds: f64) -> Result<i64, DecodeError> {
    let ms = (seconds * 1000.0).round();
    if !ms.is_finite() {
        return Err(DecodeError::TimeRange);
    }
    // The cast saturates far outside of the range.
    in_range(ms as i64)
}

/// Numbers from here on are milliseconds, below seconds: 10¹¹ s is the year 5138, 10¹¹ ms is 1973.
const MILLISECONDS_FROM: f64 = 1e11;

/// Reads a number that is seconds or milliseconds since 1970, whichever makes sense.
///
/// # Errors
/// As [`from_seconds`].
pub(crate) fn from_either(number: f64) -> Result<i64, DecodeError> {
    if number.abs() >= MILLISECONDS_FROM {
        from_seconds(number / 1000.0)
    } else {
        from_seconds(number)
    }
}

fn in_range(ms: i64) -> Result<i64, DecodeError> {
    if TIME_MS.contains(&ms) {
        Ok(ms)
    } else {
        Err(DecodeError::TimeRange)
    }
}

/// jiff reads more than RFC 3339 (zone names in brackets, offsets without minutes, blanks as separator); a sensor that
/// sends such a thing would be understood here and by nobody else, so the shape is checked first.
fn has_rfc3339_shape(bytes: &[u8]) -> bool {
    const SHAPE: &[u8; 19] = b"0000-00-00T00:00:00";
    let Some((date_time, mut rest)) = bytes.split_at_checked(SHAPE.len()) else {
        return false;
    };
    let fits = date_time.iter().zip(SHAPE).all(|(&b, &shape)| match shape {
        b'0' => b.is_ascii_digit(),
        other => b.to_ascii_uppercase() == other,
    });
    if !fits {
        return false;
    }
    if let [b'.', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    match rest {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_in_its_several_spellings_is_one_instant() {
        for text in [
            "2026-03-01T12:00:00Z",
            "2026-03-01t12:00:00z",
            "2026-03-01T12:00:00.000Z",
            "2026-03-01T14:00:00+02:00",
            "2026-03-01T12:00:00-00:00",
        ] {
            assert_eq!(from_rfc3339(text), Ok(1_772_366_400_000), "{text}");
        }
        assert_eq!(
            from_rfc3339("2026-03-01T12:00:00.123456789Z"),
            Ok(1_772_366_400_123)
        );
        assert_eq!(from_rfc3339("1969-12-31T23:59:59.500Z"), Ok(-500));
    }

    #[test]
    fn what_only_looks_like_a_time_is_refused() {
        for text in [
            "",
            "now",
            "2026-03-01",
            "2026-03-01T12:00:00",
            "2026-03-01 12:00:00Z",
            "2026-02-30T12:00:00Z",
            "2026-03-01T25:00:00Z",
            "2026-03-01T12:00:00.Z",
            "2026-03-01T12:00:00+02",
            "2026-03-01T12:00:00+01:00[Europe/Berlin]",
            "20260301T120000Z",
        ] {
            assert_eq!(from_rfc3339(text), Err(DecodeError::Time), "{text}");
        }
    }

    #[test]
    fn numbers_are_seconds_or_milliseconds_by_their_size() {
        assert_eq!(from_seconds(1_772_366_400.123), Ok(1_772_366_400_123));
        assert_eq!(from_either(1_772_366_400.0), Ok(1_772_366_400_000));
        assert_eq!(from_either(1_772_366_400_123.0), Ok(1_772_366_400_123));
        assert_eq!(from_either(-1.5), Ok(-1_500));
        for number in [f64::NAN, f64::INFINITY, 1e300, -1e300] {
            assert_eq!(from_either(number), Err(DecodeError::TimeRange), "{number}");
        }
    }

    #[test]
    fn times_beyond_four_digit_years_are_refused() {
        assert_eq!(from_milliseconds("1772366400000"), Ok(1_772_366_400_000));
        assert_eq!(from_milliseconds("-500"), Ok(-500));
        assert_eq!(
            from_milliseconds("253402300800000"),
            Err(DecodeError::TimeRange)
        );
        assert_eq!(
            from_milliseconds("99999999999999999999"),
            Err(DecodeError::TimeRange)
        );
        assert_eq!(from_milliseconds("1.5"), Err(DecodeError::Time));
    }
}
