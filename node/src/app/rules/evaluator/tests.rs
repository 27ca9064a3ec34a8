//! What evaluation makes of readings, ticks and crashes.

#![allow(clippy::unwrap_used)]
use std::sync::LazyLock;

use serde_json::json;

use super::*;
use crate::app::records::RuleEffect;

const RULE: RecordId = RecordId([7; 16]);

fn rules(fields: Value) -> BTreeMap<RecordId, Arc<Rule>> {
    let rule = Rule::from_fields(RULE, fields.as_object().unwrap()).unwrap();
    BTreeMap::from([(RULE, Arc::new(rule))])
}

fn high_water() -> BTreeMap<RecordId, Arc<Rule>> {
    rules(json!({
        "name": "high water", "enabled": true, "kind": "threshold",
        "match": {"device": "river-*", "channel": "level"},
        "raise_above": 4.0, "clear_below": 3.0, "for_s": 0, "hold_s": 0,
        "incident": {"title": "{device} at {value} m", "category": "Met", "severity": "severe"},
    }))
}

fn evaluator() -> Evaluator {
    let mut evaluator = Evaluator::new([1; 16], "node".into());
    evaluator.set_rules(&high_water());
    evaluator
}

fn reading(position: i64, value: f64) -> StoredReading {
    let at_ms = 1_772_366_400_000 + position * 1000;
    StoredReading {
        position,
        series: SeriesId(1),
        at_ms,
        received_ms: at_ms,
        value,
        flags: flags::APPROVED | flags::DEVICE_TIME,
    }
}

/// Series 1 is a river's level in metres, 2 its battery, 3 to 5 its level in other units; others are unknown.
fn names(series: SeriesId) -> Option<Names> {
    let (channel, unit) = match series.0 {
        1 => ("level", "m"),
        2 => ("battery_pct", "%"),
        3 => ("level", "cm"),
        4 => ("level", ""),
        5 => ("level", "Cel"),
        _ => return None,
    };
    Some(Names {
        device: "river-01".into(),
        channel: channel.into(),
        unit: unit.into(),
    })
}

static CALIBRATIONS: LazyLock<CalibrationBook> = LazyLock::new(CalibrationBook::default);

fn around() -> Surroundings<'static> {
    Surroundings {
        location: &|_| Some(Value::Null),
        approved: &|_| true,
        calibrations: &CALIBRATIONS,
    }
}

fn effects(evaluator: &mut Evaluator, readings: &[StoredReading]) -> Vec<RuleEffect> {
    let mut effects = Vec::new();
    for reading in readings {
        let around = Surroundings {
            location: &|_| Some(json!({"lat": 1.0, "lon": 2.0})),
            ..around()
        };
        evaluator.evaluate(reading, &mut names, &around, &mut effects);
    }
    plain(effects)
}

#[test]
fn a_reading_is_judged_by_what_its_calibration_makes_of_it() {
    let book = CalibrationBook::default();
    let calibrate = |id: u8, valid_from: &str, scale: f64| {
        let fields = json!({
            "device": "river-01", "channel": "level", "valid_from": valid_from,
            "curve": {"scale": scale},
        });
        book.document_committed(RecordId([id; 16]), fields.as_object().unwrap(), false);
    };
    let mut evaluator = evaluator();
    let mut effects = Vec::new();
    let mut judge = |position: i64, value: f64| {
        let around = Surroundings {
            calibrations: &book,
            ..around()
        };
        let reading = reading(position, value);
        evaluator.evaluate(&reading, &mut names, &around, &mut effects);
        std::mem::take(&mut effects).len()
    };
    assert_eq!(judge(1, 2.5), 0);
    // Valid from the second second of the test on.
    calibrate(1, "2026-03-01T12:00:02Z", 2.0);
    assert_eq!(judge(1, 2.5), 0, "before it is valid");
    assert_eq!(judge(2, 2.5), 1, "5 m");
    assert_eq!(judge(3, 1.4), 1, "2.8 m");
    // Corrected: what comes from now on is judged by the correction.
    calibrate(1, "2026-03-01T12:00:02Z", 1.0);
    assert_eq!(judge(4, 2.5), 0);
}

fn plain(effects: Vec<Effect>) -> Vec<RuleEffect> {
    let plain = effects.into_iter().map(|effect| match effect {
        Effect::Do(effect) => effect,
        Effect::Reopen {
            incident_id,
            changes,
            ..
        } => RuleEffect::Update {
            incident_id,
            fields: changes,
        },
    });
    plain.collect()
}

#[test]
fn a_flood_is_one_incident_with_raise_peak_and_clear() {
    let values = [2.0, 4.1, 5.5, 5.0, 3.5, 2.9, 2.0];
    let readings: Vec<StoredReading> = (1..)
        .zip(values)
        .map(|(n, value)| reading(n, value))
        .collect();
    let effects = effects(&mut evaluator(), &readings);
    let [
        RuleEffect::Open {
            incident_id,
            fields,
        },
        RuleEffect::Update {
            incident_id: updated,
            fields: cleared,
        },
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(incident_id, updated);
    assert_eq!(fields["title"], "river-01 at 4.1 m");
    assert_eq!(fields["status"], "reported");
    assert_eq!(fields["severity"], "severe");
    assert_eq!(
        fields["source"],
        json!({"rule": RULE.to_string(), "device": "river-01", "channel": "level"})
    );
    assert_eq!(fields["location"], json!({"lat": 1.0, "lon": 2.0}));
    assert_eq!(cleared["peak"]["value"], 5.5);
    assert_eq!(
        cleared["evidence"],
        json!([{"node": "node", "from": "2026-03-01T12:00:02Z", "to": "2026-03-01T12:00:06Z"}])
    );
    // What the schema does not take would hold up every rule.
    for fields in [fields, cleared] {
        domain::check_node_fields(domain::Kind::Incident, fields).unwrap();
    }
}

#[test]
fn a_rule_with_a_unit_judges_readings_in_it_and_passes_over_what_does_not_convert() {
    let mut metres = high_water();
    Arc::make_mut(metres.get_mut(&RULE).unwrap()).unit = Some("m".into());
    let judged = |rules: &BTreeMap<RecordId, Arc<Rule>>, series: u32, value: f64| {
        let mut evaluator = Evaluator::new([1; 16], "node".into());
        evaluator.set_rules(rules);
        let reading = StoredReading {
            series: SeriesId(series),
            ..reading(1, value)
        };
        let effects = effects(&mut evaluator, &[reading]);
        let title = effects.first().map(|effect| match effect {
            RuleEffect::Open { fields, .. } => fields["title"].as_str().unwrap().to_owned(),
            other => panic!("{other:?}"),
        });
        (title, evaluator.take_other_unit())
    };
    let raised = |value: &str| (Some(format!("river-01 at {value} m")), 0);
    assert_eq!(judged(&metres, 1, 5.0), raised("5"));
    assert_eq!(judged(&metres, 3, 500.0), raised("5"), "500 cm");
    assert_eq!(judged(&metres, 3, 300.0), (None, 0), "300 cm");
    assert_eq!(
        judged(&metres, 4, 5.0),
        raised("5"),
        "nobody said otherwise"
    );
    assert_eq!(judged(&metres, 5, 25.0), (None, 1), "degrees are no metres");
    assert_eq!(
        judged(&high_water(), 3, 300.0),
        raised("300"),
        "a rule without a unit"
    );
}

#[test]
fn an_expression_has_each_input_in_the_unit_that_it_wants() {
    let mut evaluator = Evaluator::new([1; 16], "node".into());
    evaluator.set_rules(&rules(json!({
        "name": "deep", "enabled": true, "kind": "expression",
        "match": {"device": "river-*", "channel": "depth"},
        "expression": {"formula": "level * 2", "inputs": [{"name": "level", "channel": "level", "unit": "m"}]},
        "raise_above": 8.0, "clear_below": 6.0, "incident": {"title": "{value}"},
    })));
    let centimetres = StoredReading {
        series: SeriesId(3),
        ..reading(1, 500.0)
    };
    let [RuleEffect::Open { fields, .. }] = &effects(&mut evaluator, &[centimetres])[..] else {
        panic!("no incident")
    };
    assert_eq!(fields["title"], "10");
}

#[test]
fn readings_that_were_not_approved_have_no_effect() {
    let unapproved = StoredReading {
        flags: flags::DEVICE_TIME,
        ..reading(1, 9.0)
    };
    assert!(effects(&mut evaluator(), &[unapproved]).is_empty());
    let other_channel = StoredReading {
        series: SeriesId(2),
        ..reading(1, 9.0)
    };
    let unknown_series = StoredReading {
        series: SeriesId(9),
        ..reading(2, 9.0)
    };
    assert!(effects(&mut evaluator(), &[other_channel, unknown_series]).is_empty());
}

#[test]
fn evaluation_goes_on_from_a_saved_state_as_if_never_interrupted() {
    let readings: Vec<StoredReading> = (1..=60)
        .map(|n| reading(n, 3.5 + 2.0 * ((n as f64) / 4.0).sin()))
        .collect();
    let whole = effects(&mut evaluator(), &readings);
    assert!(whole.len() > 3, "{whole:?}");
    for cut in 0..readings.len() {
        let (before, after) = readings.split_at(cut);
        let mut first = evaluator();
        let mut seen = effects(&mut first, before);
        let mut second = evaluator();
        second.restore(&first.save()).unwrap();
        seen.extend(effects(&mut second, after));
        assert_eq!(format!("{seen:?}"), format!("{whole:?}"), "cut at {cut}");
    }
}

#[test]
fn a_changed_rule_keeps_what_it_saw_and_one_that_is_gone_forgets_it() {
    let mut evaluator = evaluator();
    let [RuleEffect::Open { incident_id, .. }] = &effects(&mut evaluator, &[reading(1, 5.0)])[..]
    else {
        panic!("no incident")
    };
    let mut changed = high_water();
    let rule = Arc::make_mut(changed.get_mut(&RULE).unwrap());
    rule.limits.clear = 3.9;
    evaluator.set_rules(&changed);
    let cleared = effects(&mut evaluator, &[reading(2, 3.8)]);
    assert!(
        matches!(&cleared[..], [RuleEffect::Update { incident_id: id, .. }] if id == incident_id),
        "{cleared:?}"
    );

    effects(&mut evaluator, &[reading(3, 5.0)]);
    evaluator.set_rules(&BTreeMap::new());
    assert!(evaluator.is_idle());
    assert!(effects(&mut evaluator, &[reading(4, 1.0)]).is_empty());
    evaluator.set_rules(&high_water());
    assert!(effects(&mut evaluator, &[reading(5, 1.0)]).is_empty());
}

#[test]
fn a_rule_that_is_switched_off_ends_what_it_raised_also_after_a_restart() {
    let mut before = evaluator();
    let [RuleEffect::Open { incident_id, .. }] = &effects(&mut before, &[reading(1, 5.0)])[..]
    else {
        panic!("no incident")
    };
    let mut off = high_water();
    Arc::make_mut(off.get_mut(&RULE).unwrap()).is_on = false;
    before.set_rules(&off);
    let mut evaluator = Evaluator::new([1; 16], "node".into());
    evaluator.restore(&before.save()).unwrap();
    evaluator.set_rules(&off);
    assert!(effects(&mut evaluator, &[reading(2, 9.0)]).is_empty());
    let cleared = effects(&mut evaluator, &[reading(3, 1.0)]);
    let [
        RuleEffect::Update {
            incident_id: id,
            fields,
        },
    ] = &cleared[..]
    else {
        panic!("{cleared:?}")
    };
    assert_eq!((id, &fields["peak"]["value"]), (incident_id, &json!(9.0)));
    assert!(effects(&mut evaluator, &[reading(4, 9.0)]).is_empty());
    // What it saw meanwhile is nothing: the next look at the rules finds no work, and on again it begins anew.
    evaluator.set_rules(&off);
    assert!(evaluator.is_idle());
    evaluator.set_rules(&high_water());
    let [
        RuleEffect::Open {
            incident_id: id, ..
        },
    ] = &effects(&mut evaluator, &[reading(5, 6.0)])[..]
    else {
        panic!("no incident")
    };
    assert_ne!(id, incident_id);
}

/// What the last version with format 1 wrote after a rule with `for_s` 60 and `hold_s` 30 had raised on series 1 (an
/// incident of reading 6) and had begun to wait on series 3.
const FORMAT_1: &str = "0102070707070707070707070707070707070301a09ab7949567a09ab79495670080e50801c0a907e0deb594\
    956738a09ab7949567666666666666164000070707070707070707070707070707070101808db1949567808db19495670080e50802c0d1af\
    949567808db19495676666666666661640c0d1af9495670000000000001640c0a907000189a2a1e18d158c419cfac96770eeb06380a8a894\
    9567";

#[test]
fn a_cursor_of_format_1_goes_on_where_it_stood() {
    let bytes: Vec<u8> = (0..FORMAT_1.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&FORMAT_1[at..at + 2], 16).unwrap())
        .collect();
    let mut evaluator = Evaluator::new([1; 16], "node".into());
    evaluator.restore(&bytes).unwrap();
    evaluator.set_rules(&rules(json!({
        "name": "high water", "enabled": true, "kind": "threshold",
        "match": {"device": "river-*", "channel": "level"},
        "raise_above": 4.0, "clear_below": 3.0, "for_s": 60, "hold_s": 30,
        "incident": {"title": "x"},
    })));
    let gauge = |series: u32, at_s: i64, value: f64| StoredReading {
        series: SeriesId(series),
        ..reading(at_s, value)
    };
    let mut seen = Vec::new();
    for reading in [gauge(1, 100, 1.0), gauge(3, 170, 5.0), gauge(1, 171, 1.0)] {
        let mut names = |_| names(SeriesId(1));
        evaluator.evaluate(&reading, &mut names, &around(), &mut seen);
    }
    let [
        RuleEffect::Open { fields: opened, .. },
        RuleEffect::Update {
            incident_id,
            fields,
        },
    ] = &plain(seen)[..]
    else {
        panic!("one waited, one was raised")
    };
    // Format 1 remembered since when it was true, and which incident it is.
    assert_eq!(opened["evidence"][0]["from"], "2026-03-01T12:01:50Z");
    assert_eq!(incident_id[..4], [0x89, 0xa2, 0xa1, 0xe1]);
    assert_eq!(fields["evidence"][0]["from"], "2026-03-01T12:00:00Z");
}

fn every_kind() -> BTreeMap<RecordId, Arc<Rule>> {
    let common = json!({
        "name": "r", "enabled": true, "match": {"device": "river-*", "channel": "level"},
        "raise_above": 4.0, "clear_below": 3.0, "hold_s": 3, "reopen_s": 20, "incident": {"title": "{value}"},
    });
    let kinds = [
        json!({"kind": "threshold"}),
        json!({"kind": "rate", "window_s": 30}),
        json!({"kind": "no_data", "after_s": 20, "raise_above": null, "clear_below": null}),
        json!({"kind": "no_data", "after_s": 30, "raise_above": null, "clear_below": null,
            "match": {"device": "*", "channel": "*"}}),
        json!({"kind": "deviation", "window_s": 60, "spread_min": 0.5}),
        json!({"kind": "sta_lta", "sta_s": 2, "lta_s": 20}),
        json!({"kind": "expression", "match": {"device": "*", "channel": "both"}, "expression": {
            "formula": "level + battery / 25", "inputs": [
                {"name": "level", "channel": "level", "function": "mean", "window_s": 10},
                {"name": "battery", "channel": "battery_pct"}]}}),
    ];
    let rules = (1..).zip(kinds).map(|(n, kind)| {
        let mut fields = common.as_object().unwrap().clone();
        fields.extend(kind.as_object().unwrap().clone());
        let id = RecordId([n; 16]);
        (id, Arc::new(Rule::from_fields(id, &fields).unwrap()))
    });
    rules.collect()
}

/// A reading of one of both series, or a second that passes.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Reading(StoredReading),
    Tick(i64),
}

fn play(evaluator: &mut Evaluator, turns: &[Turn]) -> Vec<RuleEffect> {
    let mut effects = Vec::new();
    for turn in turns {
        match turn {
            Turn::Reading(reading) => {
                evaluator.evaluate(reading, &mut names, &around(), &mut effects);
            }
            Turn::Tick(now_ms) => evaluator.tick(1000, *now_ms, &around(), &mut effects),
        }
    }
    plain(effects)
}

/// Two sensors that fall silent now and then, on a river that rises and falls.
fn day(seed: i64) -> Vec<Turn> {
    (1..300)
        .flat_map(|n| {
            let noise = (n * 7919 + seed * 104_729) % 1009;
            let value = 3.0 + 2.5 * ((n + seed) as f64 / 9.0).sin() + noise as f64 / 1000.0;
            let late_ms = if noise % 13 == 0 { 7000 } else { 0 };
            let silent = (n / 40) % 2 == 1 && (seed + n / 40) % 3 == 0;
            let turn = StoredReading {
                series: SeriesId(1 + u32::from(noise % 5 == 0)),
                at_ms: reading(n, 0.0).at_ms - late_ms,
                ..reading(n, value)
            };
            let tick = Turn::Tick(turn.received_ms + 500);
            let heard = (!silent).then_some(Turn::Reading(turn));
            heard.into_iter().chain([tick])
        })
        .collect()
}

#[test]
fn a_crash_anywhere_changes_nothing_for_any_kind() {
    for seed in 0..8 {
        let turns = day(seed);
        let start = || {
            let mut evaluator = Evaluator::new([1; 16], "node".into());
            evaluator.set_rules(&every_kind());
            evaluator
        };
        let whole = play(&mut start(), &turns);
        let opened = |effects: &[RuleEffect]| {
            let opens = effects
                .iter()
                .filter(|effect| matches!(effect, RuleEffect::Open { .. }));
            opens.count()
        };
        assert!(opened(&whole) > 6, "{}", opened(&whole));
        for cut in (0..turns.len()).step_by(17) {
            let (before, after) = turns.split_at(cut);
            let mut first = start();
            let mut seen = play(&mut first, before);
            // What came after the cursor was committed is done again: it must do the same.
            let saved = first.save();
            let lost = play(&mut first, &after[..after.len().min(40)]);
            let mut second = start();
            second.restore(&saved).unwrap();
            second.set_rules(&every_kind());
            let known = [1, 2].map(SeriesId).map(|id| (id, names(id).unwrap()));
            second.listen(known.into_iter(), 0, 0);
            let again = play(&mut second, after);
            assert_eq!(
                format!("{lost:?}"),
                format!("{:?}", &again[..lost.len()]),
                "seed {seed}, cut at {cut}"
            );
            seen.extend(again);
            assert_eq!(
                format!("{seen:?}"),
                format!("{whole:?}"),
                "seed {seed}, cut at {cut}"
            );
        }
    }
}

fn silent_after_20_s(channel: &str) -> Evaluator {
    let mut evaluator = Evaluator::new([1; 16], "node".into());
    evaluator.set_rules(&rules(json!({
        "name": "silent", "enabled": true, "kind": "no_data", "after_s": 20,
        "match": {"device": "river-*", "channel": channel}, "incident": {"title": "{device} {value}"},
    })));
    evaluator
}

fn ticks(evaluator: &mut Evaluator, number: i64, approved: bool) -> Vec<RuleEffect> {
    let mut effects = Vec::new();
    let around = Surroundings {
        approved: &|_| approved,
        ..around()
    };
    for _ in 0..number {
        evaluator.tick(1000, 1_772_366_500_000, &around, &mut effects);
    }
    plain(effects)
}

#[test]
fn what_was_heard_before_the_rule_is_silent_from_the_rule_on() {
    let mut evaluator = silent_after_20_s("level");
    let known = [1, 2].map(SeriesId).map(|id| (id, names(id).unwrap()));
    evaluator.listen(known.into_iter(), 1_772_366_400_000, 77);
    assert!(ticks(&mut evaluator, 20, true).is_empty());
    let raised = ticks(&mut evaluator, 1, true);
    let [RuleEffect::Open { fields, .. }] = &raised[..] else {
        panic!("{raised:?}")
    };
    assert_eq!(fields["source"]["channel"], "level");
    domain::check_node_fields(domain::Kind::Incident, fields).unwrap();
}

#[test]
fn any_channel_counts_for_a_device_as_a_whole_and_a_disabled_one_is_not_missed() {
    let mut evaluator = silent_after_20_s("*");
    effects(&mut evaluator, &[reading(1, 1.0)]);
    for n in 0..5 {
        assert!(ticks(&mut evaluator, 15, true).is_empty());
        let battery = StoredReading {
            series: SeriesId(2),
            ..reading(n + 2, 90.0)
        };
        effects(&mut evaluator, &[battery]);
    }
    assert!(ticks(&mut evaluator, 1000, false).is_empty());
    assert!(ticks(&mut evaluator, 20, true).is_empty());
    assert_eq!(ticks(&mut evaluator, 1, true).len(), 1);
}

#[test]
fn states_that_do_not_fit_begin_anew_and_what_is_raised_stays() {
    let mut evaluator = evaluator();
    evaluator.set_rules(&every_kind());
    let raised = play(&mut evaluator, &day(1)[..100]);
    assert!(!raised.is_empty());
    let before = evaluator
        .instances
        .iter()
        .filter(|i| i.kept.state.is_raised())
        .count();
    evaluator.save();
    assert!(evaluator.state_bytes > 2000);
    evaluator.state_bytes = STATE_BYTES_MAX + 1;
    let names = Names {
        device: "river-03".into(),
        ..names(SeriesId(1)).unwrap()
    };
    evaluator.watch(SeriesId(3), &names);
    assert!(evaluator.state_bytes < STATE_BYTES_MAX);
    let after = evaluator
        .instances
        .iter()
        .filter(|i| i.kept.state.is_raised())
        .count();
    assert_eq!(before, after);
}

#[test]
fn a_state_of_another_version_is_refused() {
    assert!(evaluator().restore(&[]).is_err());
    assert!(evaluator().restore(&[99, 1, 2]).is_err());
    assert!(evaluator().restore(&[1, 0xff, 0xff]).is_err());
    assert!(evaluator().restore(&[2, 0xff, 0xff]).is_err());
}
