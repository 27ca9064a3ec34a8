//! What rules make of rivers that rise, flap and fall.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::clock::effective_time_ms;
use super::*;

mod kinds;
mod properties;

fn fields(more: Value) -> Map<String, Value> {
    let mut fields = json!({
        "name": "river", "enabled": true, "kind": "threshold",
        "match": {"device": "gauge-*", "channel": "level"},
        "incident": {"title": "{device}: {channel} at {value}", "severity": "severe"},
        "raise_above": 4.0, "clear_below": 3.0, "raise_below": null, "clear_above": null,
        "for_s": 0, "hold_s": 0,
    });
    fields
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    fields.as_object().unwrap().clone()
}

/// What a sample leads to.
fn step(rule: &Rule, state: &mut RuleState, inputs: &[u8], sample: &Sample) -> Option<RuleEvent> {
    super::step(rule, state, inputs, sample).event
}

fn rule(more: Value) -> Rule {
    Rule::from_fields(RecordId([1; 16]), &fields(more)).unwrap()
}

/// Feeds (seconds, value), received as measured; gives each event as a word with its time.
fn run(rule: &Rule, state: &mut RuleState, samples: &[(i64, f64)]) -> Vec<String> {
    let mut events = Vec::new();
    for (position, (at_s, value)) in samples.iter().enumerate() {
        let at_ms = at_s * 1000;
        let sample = Sample {
            value: *value,
            at_ms,
            received_ms: at_ms,
            position: position as u64,
            uptime_ms: 0,
        };
        events.extend(step(rule, state, &[0], &sample).map(word));
    }
    events
}

/// A value that was measured then and received then.
fn measured(at_s: i64, received_s: i64, value: f64) -> Sample {
    Sample {
        value,
        at_ms: at_s * 1000,
        received_ms: received_s * 1000,
        position: 9,
        uptime_ms: 0,
    }
}

fn word(event: RuleEvent) -> String {
    match event {
        RuleEvent::Raise {
            at_ms,
            peak,
            evidence_from_ms,
            ..
        } => format!(
            "raise at {} peak {} since {}",
            at_ms / 1000,
            peak.value,
            evidence_from_ms / 1000
        ),
        RuleEvent::Reopen { at_ms, peak, .. } => {
            format!("reopen at {} peak {}", at_ms / 1000, peak.value)
        }
        RuleEvent::Peak { peak, .. } => format!("peak {} at {}", peak.value, peak.at_ms / 1000),
        RuleEvent::Clear { at_ms, peak, .. } => {
            format!("clear at {} peak {}", at_ms / 1000, peak.value)
        }
    }
}

#[test]
fn a_value_that_flaps_between_the_levels_raises_once() {
    let rule = rule(json!({}));
    let mut state = RuleState::default();
    let samples: Vec<(i64, f64)> = (0..100)
        .map(|n| (n, if n % 2 == 0 { 4.5 } else { 3.5 }))
        .collect();
    assert_eq!(
        run(&rule, &mut state, &samples),
        ["raise at 0 peak 4.5 since 0"]
    );
    assert_eq!(
        run(&rule, &mut state, &[(200, 2.9), (201, 3.5)]),
        ["clear at 200 peak 4.5"]
    );
    assert_eq!(
        run(&rule, &mut state, &[(202, 4.0)]),
        Vec::<String>::new(),
        "at the level is not above"
    );
    assert_eq!(
        run(&rule, &mut state, &[(203, 4.1)]),
        ["raise at 203 peak 4.1 since 203"]
    );
}

#[test]
fn the_condition_must_hold_for_as_long_as_the_rule_says() {
    let rule = rule(json!({"for_s": 60}));
    let mut state = RuleState::default();
    assert!(
        run(
            &rule,
            &mut state,
            &[(0, 5.0), (30, 9.0), (59, 5.0), (60, 3.9), (61, 5.0)]
        )
        .is_empty()
    );
    assert!(run(&rule, &mut state, &[(100, 6.0)]).is_empty());
    assert_eq!(
        run(&rule, &mut state, &[(121, 5.0)]),
        ["raise at 121 peak 6 since 61"]
    );
}

#[test]
fn it_clears_when_the_value_has_stayed_beyond_the_clear_level() {
    let rule = rule(json!({"hold_s": 60}));
    let mut state = RuleState::default();
    let events = run(
        &rule,
        &mut state,
        &[
            (0, 5.0),
            (10, 2.0),
            (60, 2.0),
            (65, 3.5),
            (70, 2.0),
            (129, 1.0),
            (130, 1.0),
        ],
    );
    assert_eq!(events, ["raise at 0 peak 5 since 0", "clear at 130 peak 5"]);
}

#[test]
fn a_rule_can_look_downwards() {
    let rule = rule(json!({
        "raise_above": null, "clear_below": null, "raise_below": -5, "clear_above": 0,
    }));
    let mut state = RuleState::default();
    let events = run(
        &rule,
        &mut state,
        &[(0, -4.0), (1, -6.0), (2, -9.0), (3, -2.0), (4, 0.5)],
    );
    assert_eq!(events, ["raise at 1 peak -6 since 1", "clear at 4 peak -9"]);
}

#[test]
fn peaks_are_told_rarely_and_the_last_one_with_the_end() {
    let rule = rule(json!({}));
    let mut state = RuleState::default();
    // Rises by a centimetre a second for three hours.
    let samples: Vec<(i64, f64)> = (0..10_800).map(|n| (n, 4.01 + n as f64 / 100.0)).collect();
    let events = run(&rule, &mut state, &samples);
    assert!(events.len() < 15, "{events:?}");
    assert!(events[1..].iter().all(|event| event.starts_with("peak")));
    assert_eq!(
        run(&rule, &mut state, &[(10_801, 0.0)]),
        ["clear at 10801 peak 112"]
    );
}

#[test]
fn what_comes_late_can_raise_but_weakens_nothing() {
    let rule = rule(json!({"for_s": 60}));
    let mut state = RuleState::default();
    run(&rule, &mut state, &[(1000, 5.0)]);
    assert_eq!(
        step(&rule, &mut state, &[], &measured(500, 1001, 1.0)),
        None
    );
    assert_eq!(
        run(&rule, &mut state, &[(1060, 5.0)]),
        ["raise at 1060 peak 5 since 1000"]
    );
    // A low value from before neither clears it, nor does a higher one from before go unnoticed.
    assert_eq!(
        step(&rule, &mut state, &[], &measured(900, 1061, 0.0)),
        None
    );
    assert_eq!(
        step(&rule, &mut state, &[], &measured(900, 1062, 7.0)),
        None
    );
    assert_eq!(
        run(&rule, &mut state, &[(1070, 0.0)]),
        ["clear at 1070 peak 7"]
    );
}

#[test]
fn a_clock_that_was_set_back_does_not_make_a_rule_blind() {
    let rule = rule(json!({"for_s": 60}));
    let mut state = RuleState::default();
    // Five hours ahead, then corrected.
    step(&rule, &mut state, &[], &measured(18_000, 0, 1.0));
    assert_eq!(step(&rule, &mut state, &[], &measured(10, 10, 5.0)), None);
    let raised = step(&rule, &mut state, &[], &measured(70, 70, 5.0));
    assert!(
        matches!(raised, Some(RuleEvent::Raise { .. })),
        "{raised:?}"
    );
    let cleared = step(&rule, &mut state, &[], &measured(80, 80, 1.0));
    assert!(
        matches!(cleared, Some(RuleEvent::Clear { .. })),
        "{cleared:?}"
    );
}

#[test]
fn a_correct_value_clears_what_a_clock_that_ran_ahead_has_raised() {
    let rule = rule(json!({}));
    let mut state = RuleState::default();
    let raised = step(&rule, &mut state, &[], &measured(1_040, 1_000, 5.0));
    assert!(
        matches!(raised, Some(RuleEvent::Raise { .. })),
        "{raised:?}"
    );
    // From before the receipt of that one: it may be older.
    assert_eq!(
        step(&rule, &mut state, &[], &measured(999, 1_001, 1.0)),
        None
    );
    let cleared = step(&rule, &mut state, &[], &measured(1_002, 1_002, 1.0));
    assert!(
        matches!(cleared, Some(RuleEvent::Clear { .. })),
        "{cleared:?}"
    );
}

#[test]
fn a_samples_own_time_counts_within_a_day_of_its_receipt() {
    let day_ms = 24 * 60 * 60 * 1000;
    let now_ms = 1_763_640_000_000;
    assert_eq!(effective_time_ms(now_ms - day_ms, now_ms), now_ms - day_ms);
    assert_eq!(effective_time_ms(now_ms - day_ms - 1, now_ms), now_ms);
    assert_eq!(effective_time_ms(now_ms + day_ms + 1, now_ms), now_ms);
    assert_eq!(effective_time_ms(i64::MIN, now_ms), now_ms);
}

#[test]
fn a_flood_of_last_week_is_raised_and_cleared_when_it_was_measured() {
    const WEEK_S: i64 = 7 * 86_400;
    let now_s = 10 * WEEK_S;
    let rule = rule(json!({"for_s": 60}));
    let mut state = RuleState::default();
    // Every ten minutes, received within a second each.
    let mut buffered = |n: i64, value: f64| {
        let sample = Sample {
            value,
            at_ms: (now_s - WEEK_S + n * 600) * 1000,
            received_ms: (now_s + n * 60) * 1000,
            position: n.unsigned_abs(),
            uptime_ms: 0,
        };
        step(&rule, &mut state, &[], &sample).map(word)
    };
    let at = |n: i64| now_s - WEEK_S + n * 600;
    assert_eq!(buffered(0, 5.0), None, "a minute of receipt has not passed");
    assert_eq!(
        buffered(1, 6.0),
        Some(format!("raise at {} peak 6 since {}", at(1), at(0)))
    );
    assert_eq!(buffered(2, 1.0), Some(format!("clear at {} peak 6", at(2))));
}

#[test]
fn a_buffer_of_days_ago_ends_nothing_while_live_values_come() {
    const DAY_S: i64 = 86_400;
    let now_s = 30 * DAY_S;
    let rule = rule(json!({"hold_s": 2}));
    let mut state = RuleState::default();
    let mut heard = |at_s: i64, received_s: i64, value: f64| {
        step(&rule, &mut state, &[], &measured(at_s, received_s, value)).map(word)
    };
    heard(now_s, now_s, 5.0).unwrap();
    // Two days of low water from before the flood, emptied beside live values that are high.
    for n in 0..600 {
        let ended = heard(now_s - 3 * DAY_S + n * 288, now_s + n, 1.0);
        assert_eq!(ended, None, "old value {n}");
        if n % 60 == 59 {
            assert_eq!(heard(now_s + n, now_s + n, 5.0), None, "live value {n}");
        }
    }
    assert_eq!(heard(now_s + 601, now_s + 601, 1.0), None, "holds first");
    assert!(
        heard(now_s + 604, now_s + 604, 1.0)
            .unwrap()
            .starts_with("clear")
    );
}

#[test]
fn a_clock_that_was_set_back_by_days_ends_again_what_it_sees_after_a_day() {
    const HOUR_S: i64 = 3600;
    let now_s = 30 * 24 * HOUR_S;
    let rule = rule(json!({}));
    let mut state = RuleState::default();
    let mut heard = |at_s: i64, received_s: i64, value: f64| {
        step(&rule, &mut state, &[], &measured(at_s, received_s, value)).map(word)
    };
    heard(now_s, now_s, 5.0).unwrap();
    let ended: Vec<i64> = (1..48)
        .filter(|hour| {
            let received_s = now_s + hour * HOUR_S;
            heard(received_s - 72 * HOUR_S, received_s, 1.0).is_some()
        })
        .collect();
    assert_eq!(ended, [25]);
}

#[test]
fn nothing_ends_before_it_began() {
    let rule = rule(json!({}));
    let mut state = RuleState::default();
    let now_s = 1_000_000;
    run(&rule, &mut state, &[(now_s, 5.0)]);
    // A clock that was set back by a week, and nothing else was heard for a day: only the time of receipt is known.
    let behind = Sample {
        value: 1.0,
        at_ms: (now_s - 604_800) * 1000,
        received_ms: (now_s + 90_000) * 1000,
        position: 9,
        uptime_ms: 0,
    };
    let cleared = step(&rule, &mut state, &[], &behind).map(word);
    assert_eq!(cleared, Some(format!("clear at {} peak 5", now_s + 90_000)));
}

#[test]
fn an_incident_stays_attached_from_raise_to_clear() {
    let rule = rule(json!({}));
    let mut state = RuleState::default();
    run(&rule, &mut state, &[(0, 5.0)]);
    assert!(state.is_raised() && state.incident().is_none());
    state.attach_incident([3; 16]);
    let json = serde_json::to_string(&state).unwrap();
    let mut state: RuleState = serde_json::from_str(&json).unwrap();
    let sample = Sample {
        value: 0.0,
        at_ms: 1000,
        received_ms: 1000,
        position: 2,
        uptime_ms: 0,
    };
    let event = step(&rule, &mut state, &[], &sample);
    let Some(RuleEvent::Clear { incident, .. }) = event else {
        panic!("{event:?}")
    };
    assert_eq!(incident, Some([3; 16]));
}

#[test]
fn a_rule_that_is_off_ends_what_it_raised_and_does_nothing_else() {
    let on = rule(json!({}));
    let off = rule(json!({"enabled": false}));
    let mut state = RuleState::default();
    run(&on, &mut state, &[(0, 5.0)]);
    assert_eq!(
        run(&off, &mut state, &[(600, 9.0), (601, 1.0)]),
        ["clear at 601 peak 9"],
        "without a peak in between"
    );
    assert!(run(&off, &mut state, &[(700, 9.0)]).is_empty());
    assert!(!needs_ticks(&off, &state), "there is nothing to wait for");
}

#[test]
fn what_cannot_be_evaluated_says_why() {
    let from = |more: Value| Rule::from_fields(RecordId([1; 16]), &fields(more));
    let unfit = |more: Value| match from(more) {
        Err(RuleFault::Unfit { pointer, .. }) => pointer,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        from(json!({"kind": "dream"})),
        Err(RuleFault::UnknownKind("dream".into()))
    );
    assert_eq!(unfit(json!({"clear_below": 5})), "/clear_below");
    assert_eq!(unfit(json!({"clear_below": null})), "/clear_below");
    assert_eq!(from(json!({"match": null})), Err(RuleFault::Field("match")));
    assert_eq!(unfit(json!({"for_s": -1})), "/for_s");
    assert_eq!(
        from(json!({"incident": {}})),
        Err(RuleFault::Field("incident"))
    );
}

#[test]
fn the_incident_that_it_opens_passes_the_check() {
    let rule = rule(json!({}));
    let fields = rule.incident_fields("gauge-1", "level", 1_763_640_000_000, 4.25, 0);
    assert_eq!(fields["title"], "gauge-1: level at 4.25");
    assert_eq!(fields["raised_at"], "2025-11-20T12:00:00Z");
    assert!(crate::check_node_fields(crate::Kind::Incident, &fields).is_ok());
    let long = rule.incident_fields(&"ü".repeat(64), "l", i64::MAX, f64::MAX, 0);
    assert!(crate::check_node_fields(crate::Kind::Incident, &long).is_ok());
}

proptest! {
    /// Raise and clear alternate, the peak is the worst value in between, and a state that went through its stored
    /// form in the middle gives the same events.
    #[test]
    fn events_alternate_and_survive_a_restart(
        values in proptest::collection::vec((0..120_i64, 0.0..8.0_f64), 1..200),
        for_s in 0..60_i64,
        hold_s in 0..60_i64,
        cut in any::<prop::sample::Index>(),
    ) {
        let rule = rule(json!({"for_s": for_s, "hold_s": hold_s}));
        let mut at_s = 0;
        let samples: Vec<(i64, f64)> =
            values.iter().map(|(gap_s, value)| { at_s += gap_s; (at_s, *value) }).collect();
        let mut whole = RuleState::default();
        let events = run(&rule, &mut whole, &samples);
        let (first, second) = samples.split_at(cut.index(samples.len()));
        let mut state = RuleState::default();
        let mut split = run(&rule, &mut state, first);
        let stored = serde_json::to_string(&state).unwrap();
        state = serde_json::from_str(&stored).unwrap();
        split.extend(run(&rule, &mut state, second));
        prop_assert_eq!(&events, &split);
        let turns: Vec<&str> = events
            .iter()
            .map(|event| event.split(' ').next().unwrap_or_default())
            .filter(|word| *word != "peak")
            .collect();
        for (index, word) in turns.iter().enumerate() {
            prop_assert_eq!(*word, ["raise", "clear"][index % 2]);
        }
    }
}
