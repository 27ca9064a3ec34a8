//! The payload of Muster's own topic: a plain number, or `{"v": value, "t": time, "u": unit}`.
//!
//! Invariants: a plain number is decoded without an allocation; a value that comes out is finite; numbers are rounded
//! as IEEE 754 asks (a reading read back through the API is the very number that was sent).
//!
//! Members that we do not know are ignored: sensors add their own (battery, firmware version), and a later version of
//! this format may add one that an older node must live with. `null` for `t` or `u` means the same as leaving it out.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::{DecodeError, UnitString, time};

/// Largest payload of one reading in bytes. A reading has some 60; 4 KiB leaves room for a sensor's own members and
/// keeps a hostile publisher from making the decoder the bottleneck.
pub const PAYLOAD_BYTES_MAX: usize = 4096;

/// Deepest nesting inside ignored members; far above what any sensor sends.
pub const DEPTH_MAX: usize = 16;

/// One value as the sensor states it.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Always finite, never −0.
    pub value: f64,
    /// The sensor's own time in ms since 1970 UTC, unverified: sensors' clocks are often wrong.
    pub device_time_ms: Option<i64>,
    /// As the sensor names it.
    pub unit: Option<UnitString>,
}

impl Measurement {
    fn plain(value: f64) -> Self {
        Self {
            value,
            device_time_ms: None,
            unit: None,
        }
    }
}

/// Decodes one payload.
///
/// # Errors
/// The payload's part of [`DecodeError`].
pub fn decode_payload(payload: &[u8]) -> Result<Measurement, DecodeError> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(DecodeError::TooLarge {
            bytes: payload.len(),
        });
    }
    let payload = payload.trim_ascii();
    match payload.first() {
        None => Err(DecodeError::Empty),
        Some(b'{') => decode_object(payload),
        Some(_) => decode_number(text(payload)?).map(Measurement::plain),
    }
}

fn text(payload: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(payload).map_err(|e| DecodeError::NotText {
        at: e.valid_up_to(),
    })
}

/// Decimal notation with an optional sign, fraction and exponent; `+1`, `.5` and `5.` are common in firmware and
/// unambiguous, so they are taken although JSON forbids them.
fn decode_number(text: &str) -> Result<f64, DecodeError> {
    let numeric = |b: u8| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    if text.bytes().all(numeric) {
        return match text.parse::<f64>() {
            // Adding 0 turns −0 into 0: nobody wants to read "-0 cm", and both are one value.
            Ok(value) if value.is_finite() => Ok(value + 0.0),
            Ok(_) => Err(DecodeError::NotFinite),
            Err(_) => Err(DecodeError::NotANumber),
        };
    }
    let word = text.trim_start_matches(['+', '-']);
    if ["nan", "inf", "infinity"]
        .iter()
        .any(|w| word.eq_ignore_ascii_case(w))
    {
        return Err(DecodeError::NotFinite);
    }
    if let Some((whole, fraction)) = text.split_once(',')
        && [whole, fraction]
            .iter()
            .all(|part| part.bytes().all(numeric) && !part.is_empty())
    {
        return Err(DecodeError::DecimalComma);
    }
    Err(DecodeError::NotANumber)
}

fn decode_object(payload: &[u8]) -> Result<Measurement, DecodeError> {
    // Checked first so that binary rubbish after a brace is called what it is.
    let payload = text(payload)?;
    let mut verdict = None;
    let mut deserializer = serde_json::Deserializer::from_str(payload);
    let measurement = deserializer
        .deserialize_map(Members {
            verdict: &mut verdict,
        })
        .and_then(|measurement| deserializer.end().map(|()| measurement));
    measurement.map_err(|e| {
        verdict.unwrap_or_else(|| DecodeError::Json {
            detail: e.to_string(),
        })
    })
}

/// Walks the object's members. What is wrong with a member is put into `verdict`, because serde's own error can only
/// carry text.
struct Members<'v> {
    verdict: &'v mut Option<DecodeError>,
}

impl Members<'_> {
    fn refuse<E: serde::de::Error>(&mut self, error: DecodeError) -> E {
        *self.verdict = Some(error);
        E::custom("refused")
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Measurement;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a member v")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Measurement, A::Error> {
        let (mut value, mut time, mut unit) = (None, None, None);
        while let Some(Key(name)) = map.next_key()? {
            let raw: &RawValue = map.next_value()?;
            let outcome = match name {
                Name::V => once(&mut value, "v", raw, value_of),
                Name::T => once(&mut time, "t", raw, time_of),
                Name::U => once(&mut unit, "u", raw, unit_of),
                Name::Other => check_depth(raw.get()),
            };
            outcome.map_err(|e| self.refuse::<A::Error>(e))?;
        }
        let Some(value) = value else {
            return Err(self.refuse(DecodeError::ValueMissing));
        };
        Ok(Measurement {
            value,
            device_time_ms: time.flatten(),
            unit: unit.flatten(),
        })
    }
}

/// Sets `slot` from a member, which must not have been there before.
fn once<T>(
    slot: &mut Option<T>,
    name: &'static str,
    raw: &RawValue,
    read: impl FnOnce(&str) -> Result<T, DecodeError>,
) -> Result<(), DecodeError> {
    if slot.is_some() {
        return Err(DecodeError::Duplicate { name });
    }
    *slot = Some(read(raw.get())?);
    Ok(())
}

fn value_of(raw: &str) -> Result<f64, DecodeError> {
    match raw.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => decode_number(raw),
        _ => Err(DecodeError::ValueType {
            found: kind_of(raw),
        }),
    }
}

fn time_of(raw: &str) -> Result<Option<i64>, DecodeError> {
    match raw.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => time::from_rfc3339(&unescaped(raw)?).map(Some),
        Some(b'-' | b'0'..=b'9') => time::from_milliseconds(raw).map(Some),
        _ => Err(DecodeError::Time),
    }
}

fn unit_of(raw: &str) -> Result<Option<UnitString>, DecodeError> {
    match raw.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => UnitString::parse(&unescaped(raw)?),
        _ => Err(DecodeError::UnitType {
            found: kind_of(raw),
        }),
    }
}

/// The text of a JSON string that serde_json has found to be well formed; only one with escapes is copied.
fn unescaped(raw: &str) -> Result<Cow<'_, str>, DecodeError> {
    let inner = raw
        .strip_prefix('"')
        .and_then(|r| r.strip_suffix('"'))
        .unwrap_or(raw);
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw)
        .map(Cow::Owned)
        .map_err(|e| DecodeError::Json {
            detail: e.to_string(),
        })
}

fn kind_of(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "text",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// `raw` is valid JSON already, and read without recursion, so that depth costs us nothing; it is refused because no
/// sensor means it, and what reads the dead letter later may well recurse.
fn check_depth(raw: &str) -> Result<(), DecodeError> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for b in raw.bytes() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(DecodeError::TooDeep);
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Name {
    V,
    T,
    U,
    Other,
}

/// A member's name, compared in place: also when it is written with escapes, and without keeping long ones.
struct Key(Name);

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Key, E> {
                Ok(Key(match name {
                    "v" => Name::V,
                    "t" => Name::T,
                    "u" => Name::U,
                    _ => Name::Other,
                }))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn value(payload: &str) -> f64 {
        decode_payload(payload.as_bytes()).unwrap().value
    }

    fn error(payload: &str) -> DecodeError {
        decode_payload(payload.as_bytes()).unwrap_err()
    }

    #[test]
    fn plain_numbers_are_readings() {
        for (payload, expected) in [
            ("21.5", 21.5),
            (" 21.5\r\n", 21.5),
            ("-3", -3.0),
            ("+3", 3.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E-3", 0.001),
            ("0", 0.0),
        ] {
            assert_eq!(value(payload), expected, "{payload:?}");
        }
        assert!(value("-0.0").is_sign_positive());
    }

    #[test]
    fn an_object_carries_time_and_unit() {
        let m = decode_payload(br#"{"v":2.75,"t":"2026-03-01T12:00:00Z","u":"m"}"#).unwrap();
        assert_eq!(m.value, 2.75);
        assert_eq!(m.device_time_ms, Some(1_772_366_400_000));
        assert_eq!(m.unit.unwrap().as_str(), "m");
        let m =
            decode_payload(br#" { "u" : "\u00b0C" , "t" : 1772366400000 , "v" : -1e2 } "#).unwrap();
        assert_eq!(
            (m.value, m.device_time_ms),
            (-100.0, Some(1_772_366_400_000))
        );
        assert_eq!(m.unit.unwrap().as_str(), "°C");
    }

    #[test]
    fn time_and_unit_may_be_left_out_or_null() {
        for payload in [
            r#"{"v":1}"#,
            r#"{"v":1,"t":null,"u":null}"#,
            r#"{"v":1,"u":" "}"#,
        ] {
            assert_eq!(
                decode_payload(payload.as_bytes()).unwrap(),
                Measurement::plain(1.0),
                "{payload}"
            );
        }
    }

    #[test]
    fn members_of_the_sensors_own_are_ignored() {
        assert_eq!(
            value(r#"{"battery":87,"v":1,"meta":{"fw":["1.2",{"x":null}]},"battery":88}"#),
            1.0
        );
    }

    #[test]
    fn escaped_names_are_the_same_names() {
        assert_eq!(value(r#"{"\u0076":7}"#), 7.0);
        assert_eq!(
            error(r#"{"v":1,"\u0076":7}"#),
            DecodeError::Duplicate { name: "v" }
        );
    }

    #[test]
    fn what_is_not_a_number_says_so() {
        for payload in [
            "abc", "0x10", "1.2.3", "--1", "e5", "true", "null", "[1]", "\"5\"", "5 cm", "1e", "-",
            "+", ".",
        ] {
            assert_eq!(error(payload), DecodeError::NotANumber, "{payload:?}");
        }
        assert_eq!(error("21,5"), DecodeError::DecimalComma);
        assert_eq!(error(""), DecodeError::Empty);
        assert_eq!(error(" \n"), DecodeError::Empty);
        assert_eq!(
            decode_payload(b"\xff\xfe"),
            Err(DecodeError::NotText { at: 0 })
        );
        assert_eq!(
            decode_payload(b"{\"v\":\xff}"),
            Err(DecodeError::NotText { at: 5 })
        );
    }

    #[test]
    fn values_that_no_float_holds_are_refused() {
        for payload in [
            "NaN",
            "inf",
            "-Infinity",
            "1e400",
            "-1e400",
            r#"{"v":1e400}"#,
            r#"{"v":-1e999999999}"#,
        ] {
            assert_eq!(error(payload), DecodeError::NotFinite, "{payload:?}");
        }
        assert!(matches!(error(r#"{"v":NaN}"#), DecodeError::Json { .. }));
    }

    #[test]
    fn a_value_of_another_type_is_named() {
        for (payload, found) in [
            (r#"{"v":"5"}"#, "text"),
            (r#"{"v":true}"#, "true or false"),
            (r#"{"v":null}"#, "null"),
            (r#"{"v":[5]}"#, "an array"),
            (r#"{"v":{"v":5}}"#, "an object"),
        ] {
            assert_eq!(
                error(payload),
                DecodeError::ValueType { found },
                "{payload}"
            );
        }
        assert_eq!(error(r#"{"t":5}"#), DecodeError::ValueMissing);
        assert_eq!(error("{}"), DecodeError::ValueMissing);
        assert_eq!(
            error(r#"{"v":1,"u":5}"#),
            DecodeError::UnitType { found: "a number" }
        );
        assert_eq!(error(r#"{"v":1,"t":true}"#), DecodeError::Time);
        assert_eq!(error(r#"{"v":1,"t":1.5}"#), DecodeError::Time);
    }

    #[test]
    fn a_member_given_twice_is_refused_whatever_it_says() {
        for name in ["v", "t", "u"] {
            let payload = format!(r#"{{"v":1,"t":null,"u":null,"{name}":1}}"#);
            let expected = match name {
                "v" => "v",
                "t" => "t",
                _ => "u",
            };
            assert_eq!(error(&payload), DecodeError::Duplicate { name: expected });
        }
    }

    #[test]
    fn broken_json_says_where() {
        for payload in [
            "{",
            r#"{"v":1"#,
            r#"{"v":1}}"#,
            r#"{"v":1} {"v":2}"#,
            r#"{"v":01}"#,
            r#"{v:1}"#,
            r#"{"v":1,}"#,
        ] {
            match error(payload) {
                DecodeError::Json { detail } => {
                    assert!(detail.contains("column"), "{payload}: {detail}")
                }
                other => panic!("{payload}: {other:?}"),
            }
        }
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |n: usize| format!(r#"{{"v":1,"x":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert_eq!(value(&nested(DEPTH_MAX)), 1.0);
        assert_eq!(error(&nested(DEPTH_MAX + 1)), DecodeError::TooDeep);
        assert_eq!(error(&nested(2000)), DecodeError::TooDeep);
        assert_eq!(value(r#"{"v":1,"x":"[[[[[[[[[[[[[[[[[[[[[[[[\"[["}"#), 1.0);
        let padded = format!(r#"{{"v":1,"x":"{}"}}"#, "y".repeat(PAYLOAD_BYTES_MAX - 14));
        assert_eq!(padded.len(), PAYLOAD_BYTES_MAX);
        assert_eq!(value(&padded), 1.0);
        assert_eq!(
            error(&format!("{padded} ")),
            DecodeError::TooLarge {
                bytes: PAYLOAD_BYTES_MAX + 1
            }
        );
    }

    #[test]
    fn units_are_bounded() {
        assert_eq!(
            error(&format!(r#"{{"v":1,"u":"{}"}}"#, "m".repeat(33))),
            DecodeError::UnitTooLong { bytes: 33 }
        );
        assert_eq!(
            error(r#"{"v":1,"u":"a\u0000b"}"#),
            DecodeError::UnitCharacter
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_payload(&bytes);
        }

        #[test]
        fn nothing_that_resembles_json_makes_it_panic(text in r#"\{("[vtux]":([-0-9.e"\[\]{}nul]{0,8}),?){0,4}\}?"#) {
            let _ = decode_payload(text.as_bytes());
        }

        #[test]
        fn a_number_comes_back_as_the_very_same_number(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            prop_assert_eq!(decode_payload(format!("{value}").as_bytes()).unwrap().value, value);
            prop_assert_eq!(decode_payload(format!("{{\"v\":{value:e}}}").as_bytes()).unwrap().value, value);
        }
    }
}
