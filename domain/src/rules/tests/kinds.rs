//! Each kind with data as it looks in the field: a gauge in a flash flood, a quake, smoke over a town, a dead battery.

use super::*;

/// A rule of any kind; only what is given here beside what all have.
fn of_kind(more: Value) -> Rule {
    let mut fields = json!({
        "name": "rule", "enabled": true, "match": {"device": "*", "channel": "level"},
        "incident": {"title": "{device}: {value}", "severity": "moderate"},
    });
    fields
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let fields = fields.as_object().unwrap();
    let mut given = fields.clone();
    given.remove("enabled");
    crate::check_create(crate::Kind::Rule, &given).unwrap();
    Rule::from_fields(RecordId([1; 16]), fields).unwrap()
}

fn sample(at_ms: i64, value: f64) -> Sample {
    Sample {
        value,
        at_ms,
        received_ms: at_ms,
        position: at_ms.unsigned_abs(),
        uptime_ms: 0,
    }
}

/// Noise without a generator: −1 to 1, the same on every machine.
fn noise(n: i64) -> f64 {
    (n * 7919 % 1009) as f64 / 504.5 - 1.0
}

fn words(events: impl IntoIterator<Item = RuleEvent>) -> Vec<String> {
    events.into_iter().map(word).collect()
}

#[test]
fn a_river_that_rises_half_a_metre_in_a_quarter_of_an_hour_raises_and_one_that_is_high_does_not() {
    let rule = of_kind(json!({
        "kind": "rate", "raise_above": 0.5, "clear_below": 0.1, "window_s": 900, "hold_s": 600,
    }));
    let mut state = RuleState::default();
    let mut events = Vec::new();
    let no_peak = |event: &RuleEvent| !matches!(event, RuleEvent::Peak { .. });
    for minute in 0..360_i64 {
        // High all day; up by 2 cm a minute from 10:00 for 45 minutes, then slowly down.
        let level = match minute {
            0..120 => 3.0,
            120..165 => 3.0 + (minute - 120) as f64 * 0.04,
            _ => 4.76 - (minute - 165) as f64 * 0.005,
        };
        let level = level + noise(minute) * 0.01;
        let event = step(&rule, &mut state, &[], &sample(minute * 60_000, level));
        events.extend(event.filter(no_peak));
    }
    let [
        RuleEvent::Raise { at_ms, peak, .. },
        RuleEvent::Clear {
            at_ms: end_ms,
            peak: worst,
            ..
        },
    ] = events[..]
    else {
        panic!("{events:?}")
    };
    assert!(
        (132..=136).contains(&(at_ms / 60_000)),
        "{}",
        at_ms / 60_000
    );
    assert!(
        peak.value > 0.5 && (0.55..0.7).contains(&worst.value),
        "{worst:?}"
    );
    assert!(end_ms / 60_000 > 175);
}

#[test]
fn a_fall_is_the_same_downwards_and_what_is_older_than_the_window_does_not_count() {
    let rule = of_kind(json!({
        "kind": "rate", "raise_below": -10, "clear_above": -5, "window_s": 60,
    }));
    let mut state = RuleState::default();
    // A pressure that falls slowly is no alarm, however far it falls.
    for n in 0..100 {
        let event = step(
            &rule,
            &mut state,
            &[],
            &sample(n * 10_000, 1000.0 - n as f64),
        );
        assert_eq!(event, None, "at {n}");
    }
    let event = step(&rule, &mut state, &[], &sample(1_000_000, 888.0));
    assert!(matches!(event, Some(RuleEvent::Raise { peak, .. }) if peak.value < -12.0));
}

#[test]
fn a_buffer_that_is_emptied_late_is_no_rise() {
    let rule = of_kind(json!({
        "kind": "rate", "raise_above": 1, "clear_below": 0.1, "window_s": 900,
    }));
    let mut state = RuleState::default();
    let hour_ms = 3_600_000;
    step(&rule, &mut state, &[], &sample(10 * hour_ms, 4.0));
    for n in 0..60 {
        // From three hours before, low water; received within a second.
        let old = Sample {
            received_ms: 10 * hour_ms + n,
            ..sample(7 * hour_ms + n * 60_000, 1.0)
        };
        assert_eq!(step(&rule, &mut state, &[], &old), None, "at {n}");
    }
    let now = sample(10 * hour_ms + 60_000, 4.01);
    assert_eq!(step(&rule, &mut state, &[], &now), None);
    // And it still sees a rise.
    let later = sample(10 * hour_ms + 120_000, 5.2);
    assert!(matches!(
        step(&rule, &mut state, &[], &later),
        Some(RuleEvent::Raise { .. })
    ));
}

#[test]
fn a_buffer_of_last_week_is_no_rise_within_the_second_in_which_it_came() {
    let rule = of_kind(json!({
        "kind": "rate", "raise_above": 1, "clear_below": 0.1, "window_s": 900,
    }));
    let day_ms = 86_400_000;
    let rises_in = |step_ms: i64| {
        let mut state = RuleState::default();
        step(&rule, &mut state, &[], &sample(10 * day_ms, 1.0));
        let events = (0..40).filter_map(|n| {
            let old = Sample {
                received_ms: 10 * day_ms + n,
                ..sample(3 * day_ms + n * step_ms, 1.0 + n as f64 * 0.2)
            };
            step(&rule, &mut state, &[], &old)
        });
        events.count()
    };
    // 0.2 m an hour, and 0.2 m a minute.
    assert_eq!(rises_in(3_600_000), 0);
    assert_eq!(rises_in(60_000), 1);
}

#[test]
fn a_clock_that_was_set_back_does_not_make_a_rate_blind() {
    let rule = of_kind(json!({
        "kind": "rate", "raise_above": 1, "clear_below": 0.1, "window_s": 900,
    }));
    let mut state = RuleState::default();
    let hour_ms = 3_600_000;
    step(&rule, &mut state, &[], &sample(10 * hour_ms, 1.0));
    let mut raised = None;
    for n in 1..20 {
        // Five hours behind from here on, and rising.
        let behind = Sample {
            received_ms: 10 * hour_ms + n * 60_000,
            ..sample(5 * hour_ms + n * 60_000, 1.0 + n as f64 * 0.1)
        };
        raised = raised.or(step(&rule, &mut state, &[], &behind));
    }
    assert!(
        matches!(raised, Some(RuleEvent::Raise { .. })),
        "{raised:?}"
    );
}

#[test]
fn what_is_unusual_for_a_place_raises_and_its_daily_swing_does_not() {
    let rule = of_kind(json!({
        "kind": "deviation", "raise_above": 8, "clear_below": 3, "window_s": 86_400,
        "spread_min": 0.05, "hold_s": 600,
    }));
    let mut state = RuleState::default();
    let mut events = Vec::new();
    for minute in 0..3 * 1440_i64 {
        let day = (minute as f64 / 1440.0 * std::f64::consts::TAU).sin();
        // A leak in a cold store on the third day, for an hour.
        let leak = if (3500..3560).contains(&minute) {
            12.0
        } else {
            0.0
        };
        let value = 4.0 + day + 0.2 * noise(minute) + leak;
        events.extend(step(
            &rule,
            &mut state,
            &[],
            &sample(minute * 60_000, value),
        ));
    }
    let [
        RuleEvent::Raise { at_ms, .. },
        RuleEvent::Clear { at_ms: end_ms, .. },
    ] = events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((at_ms / 60_000, end_ms / 60_000), (3500, 3570));
}

#[test]
fn either_way_a_deviation_below_is_one_too() {
    let signed = json!({
        "kind": "deviation", "raise_above": 6, "clear_below": 3, "window_s": 3600, "spread_min": 0.1,
    });
    let mut either = signed.clone();
    either["either_way"] = json!(true);
    for (fields, raises) in [(signed, false), (either, true)] {
        let rule = of_kind(fields);
        let mut state = RuleState::default();
        for n in 0..60 {
            step(&rule, &mut state, &[], &sample(n * 60_000, 20.0 + noise(n)));
        }
        let event = step(&rule, &mut state, &[], &sample(3_600_000, -40.0));
        assert_eq!(matches!(event, Some(RuleEvent::Raise { .. })), raises);
    }
}

#[test]
fn a_quake_raises_once_and_a_passing_lorry_does_not() {
    let rule = of_kind(json!({
        "kind": "sta_lta", "raise_above": 8, "clear_below": 1.5, "sta_s": 1, "lta_s": 30, "hold_s": 5,
        "match": {"device": "*", "channel": "acceleration"},
    }));
    let mut state = RuleState::default();
    let mut events = Vec::new();
    // 100 Hz, in m/s² with gravity on it.
    for n in 0..60_000_i64 {
        let at_s = n as f64 / 100.0;
        let wave = |from: f64, strength: f64, decay: f64| {
            if at_s < from {
                return 0.0;
            }
            strength * (-(at_s - from) / decay).exp() * (at_s * 40.0).sin()
        };
        let lorry = if (120.0..150.0).contains(&at_s) {
            0.002
        } else {
            0.0
        };
        let value = 9.81
            + 0.002 * noise(n)
            + lorry * (at_s * 90.0).sin()
            + wave(300.0, 0.03, 4.0)
            + wave(306.0, 0.2, 12.0);
        events.extend(step(&rule, &mut state, &[], &sample(n * 10, value)));
    }
    let turns: Vec<&RuleEvent> = events
        .iter()
        .filter(|event| !matches!(event, RuleEvent::Peak { .. }))
        .collect();
    let [
        RuleEvent::Raise { at_ms, .. },
        RuleEvent::Clear { peak, .. },
    ] = turns[..]
    else {
        panic!("{events:?}")
    };
    assert!((300_000..301_500).contains(at_ms), "{at_ms}");
    assert!(peak.value > 15.0 && peak.value < 30.0, "{peak:?}");
}

#[test]
fn smoke_over_a_town_is_an_alarm_by_its_nowcast_and_graver_as_it_thickens() {
    let rule = of_kind(json!({
        "kind": "expression", "match": {"device": "air-*", "channel": "aqi"},
        "expression": {
            "formula": "max(fine, coarse)",
            "inputs": [
                {"name": "fine", "channel": "pm2_5", "function": "nowcast_aqi_pm25"},
                {"name": "coarse", "channel": "pm10", "function": "nowcast_aqi_pm10"},
            ],
        },
        "raise_above": 150, "clear_below": 100,
        "severities": [{"level": 200, "severity": "severe"}, {"level": 300, "severity": "extreme"}],
    }));
    let watch = rule.watch("air-7", "pm2_5").unwrap();
    assert_eq!(
        (watch.scope, watch.inputs),
        (Scope::Device("air-7"), vec![0])
    );
    assert_eq!(rule.watch("air-7", "pm10").unwrap().inputs, [1]);
    assert!(rule.watch("air-7", "aqi").is_none() && rule.watch("river", "pm10").is_none());
    let mut state = RuleState::default();
    let mut events = Vec::new();
    for quarter in 0..96_i64 {
        let fine = match quarter / 4 {
            0..8 => 6.0,
            8..11 => 90.0,
            11..14 => 260.0,
            _ => 5.0,
        };
        let at_ms = quarter * 900_000;
        events.extend(step(&rule, &mut state, &[1], &sample(at_ms, fine * 1.4)));
        events.extend(step(&rule, &mut state, &[0], &sample(at_ms, fine)));
    }
    let [
        RuleEvent::Raise {
            at_ms: raised_ms,
            severity_steps: 0,
            peak,
            ..
        },
        ..,
        RuleEvent::Clear { peak: worst, .. },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    // The hour in which it came has to be over first.
    assert!((9..=10).contains(&(raised_ms / 3_600_000)), "{raised_ms}");
    assert!(peak.value > 150.0 && worst.value > 300.0);
    let told: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            RuleEvent::Peak {
                severity_steps: Some(steps),
                ..
            } => Some(rule.severity(*steps)),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["severe", "extreme"]);
}

#[test]
fn a_virtual_sensor_waits_for_all_inputs_and_forgets_those_that_are_old() {
    let rule = of_kind(json!({
        "kind": "expression", "match": {"device": "camp", "channel": "heat_index"},
        "expression": {
            "formula": "heat_index(t, rh)", "fresh_s": 600,
            "inputs": [{"name": "t", "channel": "temperature"}, {"name": "rh", "channel": "humidity"}],
        },
        "raise_above": 41, "clear_below": 38,
    }));
    let mut state = RuleState::default();
    assert_eq!(step(&rule, &mut state, &[0], &sample(0, 36.0)), None);
    let event = step(&rule, &mut state, &[1], &sample(1000, 60.0));
    assert!(matches!(event, Some(RuleEvent::Raise { .. })), "{event:?}");
    // Cooler, but nobody knows how humid: an old humidity neither raises nor clears.
    assert_eq!(step(&rule, &mut state, &[0], &sample(900_000, 20.0)), None);
    assert!(state.is_raised());
    let event = step(&rule, &mut state, &[1], &sample(901_000, 60.0));
    assert!(matches!(event, Some(RuleEvent::Clear { .. })), "{event:?}");
}

#[test]
fn a_virtual_sensor_is_not_cooled_by_a_buffer_of_last_week() {
    let rule = of_kind(json!({
        "kind": "expression", "match": {"device": "camp", "channel": "sum"},
        "expression": {"formula": "a + b", "inputs": [
            {"name": "a", "channel": "a"}, {"name": "b", "channel": "b"},
        ]},
        "raise_above": 10, "clear_below": 5,
    }));
    const DAY_MS: i64 = 86_400_000;
    let now_ms = 30 * DAY_MS;
    let mut state = RuleState::default();
    step(&rule, &mut state, &[0], &sample(now_ms, 6.0));
    step(&rule, &mut state, &[1], &sample(now_ms, 6.0));
    assert!(state.is_raised());
    for n in 1..100 {
        let old = Sample {
            received_ms: now_ms + n,
            ..sample(now_ms - 7 * DAY_MS + n * 60_000, 0.0)
        };
        assert_eq!(step(&rule, &mut state, &[0], &old), None, "old value {n}");
        let live = sample(now_ms + n, 1.0);
        assert_eq!(step(&rule, &mut state, &[1], &live), None, "beside old {n}");
    }
    let event = step(&rule, &mut state, &[0], &sample(now_ms + 200, 1.0));
    assert!(matches!(event, Some(RuleEvent::Clear { .. })), "{event:?}");
}

#[test]
fn neither_a_single_old_value_nor_a_corrected_clock_keeps_a_virtual_sensor_from_ending() {
    let rule = of_kind(json!({
        "kind": "expression", "match": {"device": "camp", "channel": "sum"},
        "expression": {"formula": "a + b", "inputs": [
            {"name": "a", "channel": "a"}, {"name": "b", "channel": "b"},
        ]},
        "raise_above": 10, "clear_below": 8,
    }));
    let received = |at_ms: i64, received_ms: i64, value: f64| Sample {
        received_ms,
        ..sample(at_ms, value)
    };
    let raised = |a: Sample| {
        let mut state = RuleState::default();
        step(&rule, &mut state, &[1], &sample(999_000, 6.0));
        step(&rule, &mut state, &[0], &a);
        assert!(state.is_raised());
        state
    };
    // One value of an hour ago changes nothing of what is known.
    let mut state = raised(sample(1_000_000, 6.0));
    step(&rule, &mut state, &[1], &received(400_000, 1_001_000, 0.0));
    let event = step(&rule, &mut state, &[0], &sample(1_002_000, 1.0));
    assert!(matches!(event, Some(RuleEvent::Clear { .. })), "{event:?}");
    // Forty seconds ahead, then corrected; measured a little before it is received.
    let mut state = raised(received(1_040_000, 1_000_000, 6.0));
    let ended = (1..=5).find(|n| {
        let at_ms = 1_000_950 + n * 1000;
        let event = step(&rule, &mut state, &[0], &received(at_ms, at_ms + 50, 1.0));
        matches!(event, Some(RuleEvent::Clear { .. }))
    });
    assert_eq!(ended, Some(2), "a single old one is passed over");
}

#[test]
fn a_virtual_sensor_can_compare_devices() {
    let rule = of_kind(json!({
        "kind": "expression", "match": {"device": "valley", "channel": "inflow"},
        "expression": {
            "formula": "above + side - below",
            "inputs": [
                {"name": "above", "device": "gauge-1", "channel": "flow"},
                {"name": "side", "device": "gauge-2", "channel": "flow", "function": "mean", "window_s": 60},
                {"name": "below", "device": "gauge-3", "channel": "flow"},
            ],
        },
        "raise_above": 20, "clear_below": 10,
    }));
    assert_eq!(
        rule.watch("gauge-2", "flow").unwrap(),
        Watch {
            scope: Scope::Device("valley"),
            inputs: vec![1],
            unit: None,
        }
    );
    assert!(rule.watch("valley", "flow").is_none());
    let mut state = RuleState::default();
    step(&rule, &mut state, &[0], &sample(0, 50.0));
    step(&rule, &mut state, &[1], &sample(10, 6.0));
    step(&rule, &mut state, &[1], &sample(20, 8.0));
    let event = step(&rule, &mut state, &[2], &sample(30, 30.0));
    let Some(RuleEvent::Raise { value, .. }) = event else {
        panic!("{event:?}")
    };
    assert_eq!(value, 27.0);
}

/// Ticks each second up to `until_s`, and gives the events.
fn ticks(rule: &Rule, state: &mut RuleState, from_s: i64, until_s: i64) -> Vec<String> {
    let events = (from_s..=until_s).filter_map(|at_s| {
        let now = Tick {
            at_ms: at_s * 1000,
            uptime_ms: at_s * 1000,
        };
        tick(rule, state, &now)
    });
    words(events.collect::<Vec<_>>())
}

fn heard(at_s: i64, value: f64) -> Sample {
    Sample {
        uptime_ms: at_s * 1000,
        ..sample(at_s * 1000, value)
    }
}

#[test]
fn a_sensor_that_falls_silent_raises_and_only_data_ends_it() {
    let rule = of_kind(json!({"kind": "no_data", "after_s": 60, "hold_s": 20}));
    let mut state = RuleState::default();
    assert!(ticks(&rule, &mut state, 0, 100).is_empty(), "never heard");
    step(&rule, &mut state, &[], &heard(100, 1.0));
    assert!(ticks(&rule, &mut state, 101, 160).is_empty());
    assert_eq!(
        ticks(&rule, &mut state, 161, 170),
        ["raise at 161 peak 61 since 100"]
    );
    let events = ticks(&rule, &mut state, 171, 3000);
    assert!(events.iter().all(|event| event.starts_with("peak")) && events.len() < 6);
    // One message is not yet a connection.
    assert_eq!(step(&rule, &mut state, &[], &heard(3000, 1.0)), None);
    assert!(ticks(&rule, &mut state, 3001, 3010).is_empty());
    let cleared = step(&rule, &mut state, &[], &heard(3021, 1.0)).map(word);
    assert_eq!(cleared.unwrap(), "clear at 3021 peak 2900");
}

#[test]
fn a_wall_clock_that_jumps_silences_nobody() {
    let rule = of_kind(json!({"kind": "no_data", "after_s": 60}));
    let mut state = RuleState::default();
    step(&rule, &mut state, &[], &heard(100, 1.0));
    for at_ms in [4_000_000_000_000, 0] {
        let now = Tick {
            at_ms,
            uptime_ms: 110_000,
        };
        assert_eq!(tick(&rule, &mut state, &now), None);
    }
}

#[test]
fn silence_of_a_sensor_never_ends_its_flood() {
    let flood = of_kind(json!({"kind": "threshold", "raise_above": 4, "clear_below": 3}));
    let mut state = RuleState::default();
    step(&flood, &mut state, &[], &heard(0, 5.0));
    assert!(ticks(&flood, &mut state, 1, 100_000).is_empty());
    assert!(state.is_raised());
}

#[test]
fn nothing_is_raised_while_a_rule_is_silenced_and_what_is_true_at_its_end_raises_then() {
    let rule = of_kind(json!({
        "kind": "threshold", "raise_above": 4, "clear_below": 3, "for_s": 60,
        "silence": [{"from": "1970-01-01T00:00:00Z", "to": "1970-01-01T01:00:00Z"}],
    }));
    let mut state = RuleState::default();
    for at_s in (0..3600).step_by(30) {
        // A first flood that ends within the silence, and a second that does not.
        let value = if (600..1200).contains(&at_s) || at_s >= 3000 {
            5.0
        } else {
            1.0
        };
        let event = step(&rule, &mut state, &[], &heard(at_s, value));
        assert_eq!(event, None, "at {at_s}");
    }
    assert!(ticks(&rule, &mut state, 3571, 3599).is_empty());
    assert_eq!(
        ticks(&rule, &mut state, 3600, 3610),
        ["raise at 3600 peak 5 since 3000"]
    );
    // And a sensor that sends at that moment says so, too.
    let mut state = RuleState::default();
    for at_s in (3000..3600).step_by(30) {
        step(&rule, &mut state, &[], &heard(at_s, 5.0));
    }
    let event = step(&rule, &mut state, &[], &heard(3600, 6.0)).map(word);
    assert_eq!(event.unwrap(), "raise at 3600 peak 6 since 3000");
}

#[test]
fn an_alarm_that_flaps_is_one_incident_where_the_rule_says_nothing() {
    let opened = |rule: &Rule| {
        let mut state = RuleState::default();
        let mut opened = 0;
        for n in 0..8_i64 {
            let value = if n % 2 == 0 { 5.0 } else { 1.0 };
            if let Some(RuleEvent::Raise { .. }) = step(rule, &mut state, &[], &heard(n, value)) {
                state.attach_incident([n as u8; 16]);
                opened += 1;
            }
        }
        opened
    };
    let levels = json!({"kind": "threshold", "raise_above": 4, "clear_below": 3});
    assert_eq!(opened(&of_kind(levels.clone())), 1);
    let mut never = levels;
    never["reopen_s"] = json!(0);
    assert_eq!(opened(&of_kind(never)), 4);
}

#[test]
fn an_alarm_that_comes_back_soon_is_the_same_incident() {
    let rule = of_kind(json!({
        "kind": "threshold", "raise_above": 4, "clear_below": 3, "reopen_s": 600,
        "severities": [{"level": 6, "severity": "severe"}],
    }));
    let mut state = RuleState::default();
    let mut turn = |at_s: i64, value: f64| {
        let event = step(&rule, &mut state, &[], &heard(at_s, value));
        if let Some(RuleEvent::Raise { .. }) = event {
            state.attach_incident([at_s as u8; 16]);
        }
        event
    };
    turn(0, 5.0);
    turn(10, 2.0);
    let again = turn(500, 6.5);
    let Some(RuleEvent::Reopen {
        incident,
        peak,
        evidence_from_ms,
        severity_steps,
        ..
    }) = again
    else {
        panic!("{again:?}")
    };
    assert_eq!((incident, peak.value, evidence_from_ms), ([0; 16], 6.5, 0));
    assert_eq!(severity_steps, Some(1));
    let cleared = turn(510, 2.0);
    assert!(
        matches!(cleared, Some(RuleEvent::Clear { incident: Some(id), peak, .. }) if id == [0; 16] && peak.value == 6.5)
    );
    // The peak of both floods is kept, and severity never falls by itself.
    let again = turn(1000, 4.5);
    assert!(
        matches!(again, Some(RuleEvent::Reopen { severity_steps: None, peak, .. }) if peak.value == 6.5),
        "{again:?}"
    );
    turn(1010, 2.0);
    assert!(matches!(turn(1611, 5.0), Some(RuleEvent::Raise { .. })));
}

#[test]
fn a_rule_that_changes_its_kind_keeps_its_alarm_and_learns_anew() {
    let rate = of_kind(json!({
        "kind": "rate", "raise_above": 0.5, "clear_below": 0.1, "window_s": 900,
    }));
    let threshold = of_kind(json!({"kind": "threshold", "raise_above": 4, "clear_below": 3}));
    let mut state = RuleState::default();
    step(&rate, &mut state, &[], &sample(0, 1.0));
    step(&rate, &mut state, &[], &sample(60_000, 2.0));
    assert!(state.is_raised());
    let event = step(&threshold, &mut state, &[], &sample(120_000, 2.0));
    assert!(matches!(event, Some(RuleEvent::Clear { .. })));
    let wider = of_kind(json!({
        "kind": "rate", "raise_above": 0.5, "clear_below": 0.1, "window_s": 1800,
    }));
    assert_eq!(step(&wider, &mut state, &[], &sample(180_000, 9.0)), None);
}

#[test]
fn a_rule_that_becomes_one_about_silence_counts_from_then_on() {
    let threshold = of_kind(json!({"kind": "threshold", "raise_above": 4, "clear_below": 3}));
    let silence = of_kind(json!({"kind": "no_data", "after_s": 60, "hold_s": 5}));
    let mut state = RuleState::default();
    // Years of a sensor's own time, against minutes for which this node has listened.
    step(&threshold, &mut state, &[], &sample(0, 1.0));
    step(&threshold, &mut state, &[], &sample(100_000_000_000, 5.0));
    assert!(state.is_raised());
    state.begin_listening(0, 300_000, 0);
    assert!(ticks(&silence, &mut state, 301, 350).is_empty());
    assert_eq!(step(&silence, &mut state, &[], &heard(351, 1.0)), None);
    let cleared = step(&silence, &mut state, &[], &heard(356, 1.0));
    assert!(
        matches!(cleared, Some(RuleEvent::Clear { .. })),
        "{cleared:?}"
    );
    let raised = ticks(&silence, &mut state, 357, 420);
    assert!(raised[0].starts_with("raise at 417"), "{raised:?}");
}

#[test]
fn a_rule_that_cannot_mean_anything_is_refused_where_it_is_wrong() {
    let refused = |more: Value| -> Vec<String> {
        let mut fields = json!({
            "name": "r", "match": {"device": "*", "channel": "c"}, "incident": {"title": "t"},
        });
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let errors = crate::check_create(crate::Kind::Rule, fields.as_object().unwrap());
        errors
            .unwrap_err()
            .into_iter()
            .map(|error| error.pointer)
            .collect()
    };
    let levels = |more: Value| {
        let mut fields = json!({"raise_above": 4, "clear_below": 3});
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        fields
    };
    let expression =
        |expression: Value| levels(json!({"kind": "expression", "expression": expression}));
    let input = json!({"name": "x", "channel": "c"});
    for (fields, pointers) in [
        (levels(json!({"kind": "rate"})), vec!["/window_s"]),
        (levels(json!({"window_s": 60})), vec!["/window_s"]),
        (
            levels(json!({"kind": "rate", "window_s": 0})),
            vec!["/window_s"],
        ),
        (json!({"kind": "no_data"}), vec!["/after_s"]),
        (
            levels(json!({"kind": "no_data", "after_s": 60})),
            vec!["/raise_above", "/clear_below"],
        ),
        (
            levels(json!({"kind": "deviation", "window_s": 60})),
            vec!["/spread_min"],
        ),
        (
            levels(json!({"kind": "deviation", "window_s": 60, "spread_min": 0})),
            vec!["/spread_min"],
        ),
        (
            levels(json!({"kind": "sta_lta", "sta_s": 1, "lta_s": 3})),
            vec!["/raise_above"],
        ),
        (
            levels(json!({"kind": "sta_lta", "sta_s": 2, "lta_s": 3})),
            vec!["/lta_s", "/raise_above"],
        ),
        (levels(json!({"kind": "expression"})), vec!["/expression"]),
        (
            expression(json!({"formula": "x +", "inputs": [input]})),
            vec!["/expression/formula"],
        ),
        (
            expression(json!({"formula": "x", "inputs": []})),
            vec!["/expression/inputs", "/expression/formula"],
        ),
        (
            expression(
                json!({"formula": "x", "inputs": [{"name": "x", "channel": "c", "device": "d"}]}),
            ),
            vec!["/expression/inputs/0/device"],
        ),
        (
            expression(
                json!({"formula": "x", "inputs": [{"name": "x", "channel": "c", "function": "rise"}]}),
            ),
            vec!["/expression/inputs/0/window_s"],
        ),
        (
            expression(
                json!({"formula": "x", "inputs": [{"name": "x", "channel": "c", "colour": "red"}]}),
            ),
            vec!["/expression/inputs/0/colour"],
        ),
        (
            levels(json!({"severities": [{"level": 5}]})),
            vec!["/severities/0/severity"],
        ),
        (
            levels(json!({"severities": [
                {"level": 5, "severity": "severe"}, {"level": 5, "severity": "minor"}
            ]})),
            vec!["/severities/1/level", "/severities/1/severity"],
        ),
        (levels(json!({"severities": 7})), vec!["/severities"]),
        (levels(json!({"silence": [{}]})), vec!["/silence/0/from"]),
        (levels(json!({"reopen_s": -1})), vec!["/reopen_s"]),
        (
            json!({"kind": "no_data", "after_s": 60, "unit": "m"}),
            vec!["/unit"],
        ),
        (
            levels(json!({
                "kind": "expression", "unit": "m", "match": {"device": "camp", "channel": "t"},
                "expression": {"formula": "a + b", "inputs": [
                    {"name": "a", "channel": "t", "unit": "Cel"},
                    {"name": "b", "channel": "t", "unit": "K", "function": "max", "window_s": 60},
                ]},
            })),
            vec!["/unit", "/expression/inputs/1/unit"],
        ),
    ] {
        assert_eq!(refused(fields.clone()), pointers, "{fields}");
    }
}
