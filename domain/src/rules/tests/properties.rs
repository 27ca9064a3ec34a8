//! What holds for every kind, whatever readings, clocks and crashes come.

use super::*;

/// Something happens: a reading, or a second passes.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Reading {
        input: u8,
        gap_ms: i64,
        late_ms: i64,
        value: f64,
    },
    Tick {
        passed_ms: i64,
    },
}

fn turn() -> impl Strategy<Value = Turn> {
    let reading = (
        0..2_u8,
        0..90_000_i64,
        // Mostly in time; some late, some from a clock that is ahead.
        prop_oneof![6 => Just(0_i64), 1 => 0..4_000_000_i64, 1 => -90_000..0_i64],
        prop_oneof![4 => 0.0..8.0_f64, 1 => -1e9..1e9_f64],
    );
    prop_oneof![
        4 => reading.prop_map(|(input, gap_ms, late_ms, value)| Turn::Reading { input, gap_ms, late_ms, value }),
        1 => (0..200_000_i64).prop_map(|passed_ms| Turn::Tick { passed_ms }),
    ]
}

fn rules() -> Vec<Rule> {
    let common = json!({
        "for_s": 20, "hold_s": 30, "reopen_s": 300,
        "silence": [{"daily_from": "00:05", "daily_to": "00:10"}],
    });
    let mut kinds = [
        json!({"kind": "threshold"}),
        json!({"kind": "rate", "window_s": 300}),
        json!({"kind": "no_data", "after_s": 60, "raise_above": null, "clear_below": null}),
        json!({"kind": "deviation", "window_s": 600, "spread_min": 0.1, "either_way": true}),
        json!({"kind": "sta_lta", "sta_s": 20, "lta_s": 200}),
        json!({"kind": "expression", "match": {"device": "*", "channel": "v"}, "expression": {
        "formula": "a + max(b, c) / 2", "inputs": [
            {"name": "a", "channel": "a"},
            {"name": "b", "channel": "b", "function": "rise", "window_s": 300},
            {"name": "c", "channel": "b", "function": "nowcast_aqi_pm25"},
        ]}}),
    ];
    kinds
        .iter_mut()
        .map(|fields| {
            for (name, value) in common.as_object().unwrap() {
                fields[name] = value.clone();
            }
            rule(fields.clone())
        })
        .collect()
}

#[derive(Default)]
struct Play {
    now_ms: i64,
    position: u64,
}

impl Play {
    fn turn(&mut self, rule: &Rule, state: &mut RuleState, turn: Turn) -> Option<RuleEvent> {
        let event = match turn {
            Turn::Reading {
                input,
                gap_ms,
                late_ms,
                value,
            } => {
                self.now_ms += gap_ms;
                self.position += 1;
                let sample = Sample {
                    value,
                    at_ms: self.now_ms - late_ms,
                    received_ms: self.now_ms,
                    position: self.position,
                    uptime_ms: self.now_ms,
                };
                let inputs: &[u8] = if input == 0 { &[0] } else { &[1, 2] };
                step(rule, state, inputs, &sample)
            }
            Turn::Tick { passed_ms } => {
                self.now_ms += passed_ms;
                let now = Tick {
                    at_ms: self.now_ms,
                    uptime_ms: self.now_ms,
                };
                tick(rule, state, &now)
            }
        };
        if let Some(RuleEvent::Raise { .. }) = event {
            state.attach_incident([self.position as u8; 16]);
        }
        event
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A state that goes through its stored form after any turn gives the same events as one that never did.
    #[test]
    fn every_kind_goes_on_from_a_stored_state_as_if_never_interrupted(
        turns in proptest::collection::vec(turn(), 1..150),
        cut in any::<prop::sample::Index>(),
    ) {
        for rule in rules() {
            let (mut play, mut state) = (Play::default(), RuleState::default());
            let whole: Vec<_> = turns.iter().map(|turn| play.turn(&rule, &mut state, *turn)).collect();
            let (mut play, mut state) = (Play::default(), RuleState::default());
            let cut = cut.index(turns.len());
            let mut split = Vec::new();
            for (index, turn) in turns.iter().enumerate() {
                if index == cut {
                    let stored = serde_json::to_string(&state).unwrap();
                    state = serde_json::from_str(&stored).unwrap();
                }
                split.push(play.turn(&rule, &mut state, *turn));
            }
            prop_assert_eq!(&whole, &split, "{:?}", rule.measure);
        }
    }

    /// Raise and clear alternate, clears name the incident that was raised, nothing is raised in silence, severity and
    /// peak of one incident never weaken, and ticks clear nothing.
    #[test]
    fn every_kind_keeps_to_the_order_of_an_incident(turns in proptest::collection::vec(turn(), 1..200)) {
        for rule in rules() {
            let (mut play, mut state) = (Play::default(), RuleState::default());
            let mut raised: Option<[u8; 16]> = None;
            for turn in &turns {
                let event = play.turn(&rule, &mut state, *turn);
                let ticked = matches!(turn, Turn::Tick { .. });
                match event {
                    Some(RuleEvent::Raise { .. }) => {
                        prop_assert!(raised.is_none() && !rule.silence.covers(play.now_ms));
                        raised = state.incident();
                    }
                    Some(RuleEvent::Reopen { incident, .. }) => {
                        prop_assert!(raised.is_none() && !rule.silence.covers(play.now_ms));
                        raised = Some(incident);
                    }
                    Some(RuleEvent::Clear { incident, .. }) => {
                        prop_assert!(raised.is_some() && incident == raised && !ticked);
                        raised = None;
                    }
                    Some(RuleEvent::Peak { incident, .. }) => prop_assert_eq!(incident, raised),
                    None => {}
                }
                prop_assert_eq!(state.is_raised(), raised.is_some());
            }
            prop_assert!(state.size_bytes() < 16_000);
        }
    }

    /// A reading that is older than the newest never ends anything.
    #[test]
    fn a_late_reading_never_clears(
        turns in proptest::collection::vec(turn(), 1..100),
        late in 1_000_000..2_000_000_000_i64,
        value in -10.0..10.0_f64,
    ) {
        for rule in rules().into_iter().filter(|rule| !matches!(rule.measure, Measure::NoData)) {
            let (mut play, mut state) = (Play::default(), RuleState::default());
            for turn in &turns {
                play.turn(&rule, &mut state, *turn);
            }
            // Something is in time, so that what comes now is late.
            play.turn(&rule, &mut state, Turn::Reading { input: 0, gap_ms: 100_000, late_ms: 0, value: 5.0 });
            let before = state.is_raised();
            let event = play.turn(&rule, &mut state, Turn::Reading { input: 0, gap_ms: 1000, late_ms: late, value });
            prop_assert!(!matches!(event, Some(RuleEvent::Clear { .. })), "{:?}", rule.measure);
            prop_assert!(state.is_raised() || !before);
        }
    }
}
