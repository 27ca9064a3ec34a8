//! When a rule is not to raise anything: a range of time, or hours of the day that come again.

use serde_json::{Map, Value};

use crate::schema::FieldError;

const MINUTE_MS: i64 = 60_000;
const DAY_MIN: i64 = 24 * 60;
/// In the order in which `days` counts them.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// 1970-01-01 was a Thursday.
const FIRST_DAY: i64 = 3;

/// Times at which nothing is raised. The rule goes on looking.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Silence(Vec<SilenceWindow>);

/// Both of its parts must hold, where there are both: nights of one week.
#[derive(Debug, Clone, Copy, PartialEq)]
struct SilenceWindow {
    from_ms: i64,
    to_ms: i64,
    daily: Option<Daily>,
}

/// From one minute of the day to another, over midnight where that comes first; on the days on which it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Daily {
    from_min: i64,
    to_min: i64,
    /// Bit n for the n-th of [`DAYS`].
    days: u8,
    /// East of UTC.
    offset_min: i64,
}

impl Silence {
    /// Whether it is to be silent at that time.
    pub fn covers(&self, at_ms: i64) -> bool {
        self.0.iter().any(|window| window.covers(at_ms))
    }

    /// Whether it is never silent.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// From the field `silence`; `errors` gets what does not fit, with pointers.
    pub(super) fn read(value: Option<&Value>, errors: &mut Vec<FieldError>) -> Silence {
        let windows = value.and_then(Value::as_array).into_iter().flatten();
        let read = windows.enumerate().filter_map(|(index, window)| {
            let pointer = format!("/silence/{index}");
            match window.as_object() {
                Some(window) => SilenceWindow::read(window, &pointer, errors),
                None => {
                    errors.push(FieldError::new(&pointer, "must be an object"));
                    None
                }
            }
        });
        Silence(read.collect())
    }
}

impl SilenceWindow {
    fn covers(&self, at_ms: i64) -> bool {
        (self.from_ms..self.to_ms).contains(&at_ms)
            && self.daily.is_none_or(|daily| daily.covers(at_ms))
    }

    fn read(
        window: &Map<String, Value>,
        pointer: &str,
        errors: &mut Vec<FieldError>,
    ) -> Option<SilenceWindow> {
        let before = errors.len();
        let text = |name: &str| window.get(name).and_then(Value::as_str);
        let mut fail = |name: &str, detail: &str| {
            errors.push(FieldError::new(&format!("{pointer}/{name}"), detail));
        };
        let mut time =
            |name: &str, fallback: i64| match text(name).map(str::parse::<jiff::Timestamp>) {
                None => fallback,
                Some(Ok(at)) => at.as_millisecond(),
                Some(Err(_)) => {
                    fail(name, "must be a time as in 2026-11-20T13:45:00Z (RFC 3339)");
                    fallback
                }
            };
        let (from_ms, to_ms) = (time("from", i64::MIN), time("to", i64::MAX));
        if from_ms >= to_ms {
            fail("to", "must lie after from");
        }
        let daily = match (text("daily_from"), text("daily_to")) {
            (None, None) => {
                for name in ["days", "offset"] {
                    if window.contains_key(name) {
                        fail(name, "belongs to daily_from and daily_to");
                    }
                }
                if text("from").is_none() || text("to").is_none() {
                    fail(
                        "from",
                        "give from and to, or daily_from and daily_to, or both",
                    );
                }
                None
            }
            (Some(from), Some(to)) => {
                let mut minute = |name: &str, text: &str| {
                    minute_of_day(text).unwrap_or_else(|| {
                        fail(name, "must be a time of day as in 22:30");
                        0
                    })
                };
                let (from_min, to_min) = (minute("daily_from", from), minute("daily_to", to));
                Some(Daily {
                    from_min,
                    to_min,
                    days: text("days")
                        .map_or(Some(0x7f), day_bits)
                        .unwrap_or_else(|| {
                            fail("days", "must be days as in \"mon tue sat\"");
                            0
                        }),
                    offset_min: text("offset")
                        .map_or(Some(0), offset_min)
                        .unwrap_or_else(|| {
                            fail("offset", "must be an offset from UTC as in +05:30 or Z");
                            0
                        }),
                })
            }
            (Some(_), None) => {
                fail("daily_to", "is needed with daily_from");
                None
            }
            (None, Some(_)) => {
                fail("daily_from", "is needed with daily_to");
                None
            }
        };
        (errors.len() == before).then_some(SilenceWindow {
            from_ms,
            to_ms,
            daily,
        })
    }
}

impl Daily {
    fn covers(&self, at_ms: i64) -> bool {
        let local_min = at_ms.div_euclid(MINUTE_MS) + self.offset_min;
        let (day, minute) = (local_min.div_euclid(DAY_MIN), local_min.rem_euclid(DAY_MIN));
        let on = |day: i64| self.days & (1 << (day + FIRST_DAY).rem_euclid(7)) != 0;
        if self.from_min < self.to_min {
            on(day) && (self.from_min..self.to_min).contains(&minute)
        } else {
            (on(day) && minute >= self.from_min) || (on(day - 1) && minute < self.to_min)
        }
    }
}

fn minute_of_day(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |part: &str, end: i64| {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i64>().ok().filter(|n| digits && *n < end)
    };
    Some(two(hours, 24)? * 60 + two(minutes, 60)?)
}

fn offset_min(text: &str) -> Option<i64> {
    match text.split_at_checked(1)? {
        ("Z", "") => Some(0),
        ("+", rest) => minute_of_day(rest),
        ("-", rest) => minute_of_day(rest).map(|minutes| -minutes),
        _ => None,
    }
}

fn day_bits(text: &str) -> Option<u8> {
    let mut bits = 0;
    for word in text.split_whitespace() {
        bits |= 1 << DAYS.iter().position(|day| *day == word)?;
    }
    (bits != 0).then_some(bits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn silence(windows: Value) -> Silence {
        let mut errors = Vec::new();
        let silence = Silence::read(Some(&windows), &mut errors);
        assert_eq!(errors, []);
        silence
    }

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_range_is_silent_from_its_beginning_and_not_at_its_end() {
        let silence =
            silence(json!([{"from": "2026-11-20T08:00:00Z", "to": "2026-11-20T10:00:00Z"}]));
        assert!(silence.covers(at("2026-11-20T08:00:00Z")));
        assert!(!silence.covers(at("2026-11-20T07:59:59Z")));
        assert!(!silence.covers(at("2026-11-20T10:00:00Z")));
    }

    #[test]
    fn nights_go_over_midnight_in_the_zone_they_name() {
        let nights = silence(json!([
            {"daily_from": "22:00", "daily_to": "06:00", "offset": "+01:00", "days": "fri"}
        ]));
        // 2026-11-20 is a Friday.
        assert!(nights.covers(at("2026-11-20T21:00:00Z")));
        assert!(!nights.covers(at("2026-11-20T20:59:00Z")));
        assert!(nights.covers(at("2026-11-21T04:59:00Z")));
        assert!(!nights.covers(at("2026-11-21T05:00:00Z")));
        assert!(
            !nights.covers(at("2026-11-21T22:00:00Z")),
            "Saturday's night"
        );
        assert!(nights.covers(at("1970-01-02T23:00:00Z")), "a Friday");
    }

    #[test]
    fn both_parts_must_hold_where_there_are_both() {
        let week = silence(json!([{
            "from": "2026-11-16T00:00:00Z", "to": "2026-11-23T00:00:00Z",
            "daily_from": "12:00", "daily_to": "13:00"
        }]));
        assert!(week.covers(at("2026-11-18T12:30:00Z")));
        assert!(!week.covers(at("2026-11-25T12:30:00Z")));
        assert!(!week.covers(at("2026-11-18T13:30:00Z")));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (window, pointer) in [
            (json!({}), "/silence/0/from"),
            (json!({"from": "2026-11-20T08:00:00Z"}), "/silence/0/from"),
            (
                json!({"from": "2026-11-20T08:00:00Z", "to": "2026-11-20T08:00:00Z"}),
                "/silence/0/to",
            ),
            (
                json!({"from": "today", "to": "2026-11-20T08:00:00Z"}),
                "/silence/0/from",
            ),
            (json!({"daily_from": "22:00"}), "/silence/0/daily_to"),
            (
                json!({"daily_from": "25:00", "daily_to": "06:00"}),
                "/silence/0/daily_from",
            ),
            (
                json!({"daily_from": "22:00", "daily_to": "06:00", "days": "someday"}),
                "/silence/0/days",
            ),
            (
                json!({"daily_from": "22:00", "daily_to": "06:00", "offset": "CET"}),
                "/silence/0/offset",
            ),
        ] {
            let mut errors = Vec::new();
            Silence::read(Some(&json!([window])), &mut errors);
            let pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
            assert_eq!(pointers, [pointer], "{window}");
        }
    }
}
