//! The schema as a table, and what the checks let through.

#![allow(clippy::unwrap_used)]

use serde_json::{Map, Value, json};

use super::*;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// Names, codes and merge types are for ever: a change of this table changes what old logs mean.
#[test]
fn the_whole_schema() {
    let mut lines = Vec::new();
    for kind in Kind::all() {
        let spec = kind.spec();
        lines.push(format!(
            "{:#06x} {} / {} lane {} genesis {}",
            spec.code, spec.name, spec.plural, spec.lane, spec.genesis_version
        ));
        for field in spec.fields {
            let value = match field.value {
                ValueSpec::Object(parts) => {
                    let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
                    format!("object {}", names.join(" "))
                }
                ValueSpec::List { parts, max } => {
                    let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
                    format!("list of at most {max}: {}", names.join(" "))
                }
                ValueSpec::Enum(words) => format!("one of {}", words.join(" ")),
                ValueSpec::Id(kind) => format!("id of {}", kind.spec().name),
                ref other => format!("{other:?}").to_lowercase(),
            };
            let mut marks = Vec::new();
            marks.extend(field.required.then_some("required"));
            marks.extend((!field.writable).then_some("node-only"));
            marks.extend(field.secret.then_some("secret"));
            let merge = format!("{:?}", field.merge).to_lowercase();
            let line = format!(
                "       {:<20} {merge:<9} {:<18} default {:<11} {value}",
                field.name,
                marks.join(" "),
                field.default_json().to_string()
            );
            lines.push(line);
        }
    }
    for fact in FactKind::all() {
        let (code, name) = (fact.code(), fact.name());
        lines.push(format!(
            "{code:#06x} {name} / {} lane {} fact",
            fact.plural(),
            fact.lane()
        ));
    }
    insta::assert_snapshot!("schema", lines.join("\n"));
}

#[test]
fn every_kind_is_found_by_its_code_and_names_and_none_twice() {
    for kind in Kind::all() {
        let spec = kind.spec();
        assert_eq!(spec.kind, kind);
        assert_eq!(spec_by_code(spec.code).unwrap().kind, kind);
        assert_eq!(by_plural(spec.plural).unwrap().kind, kind);
        assert_eq!(by_name(spec.name).unwrap().kind, kind);
        for field in spec.fields {
            assert!(!field.name.starts_with('_') && field.name != DELETED_KEY);
            assert_eq!(
                spec.fields.iter().filter(|f| f.name == field.name).count(),
                1
            );
            assert!((1..=spec.genesis_version).contains(&field.since));
            // A default that a reader could not take would be shown for every document.
            let default = field.default_json();
            let fits = field.merge != Merge::Register || fits_when_read(&field.value, &default);
            assert!(default.is_null() || fits, "{}", field.name);
        }
    }
    assert!(spec_by_code(0x0201).is_none() && spec_by_code(0).is_none());
    assert_eq!(FactKind::by_code(0x0201), Some(FactKind::Note));
    assert_eq!(FactKind::by_plural("notes"), Some(FactKind::Note));
}

/// Pointers of the errors that a create gives.
fn refused(kind: Kind, body: Value) -> Vec<String> {
    let errors = check_create(kind, &object(body)).unwrap_err();
    errors.into_iter().map(|error| error.pointer).collect()
}

#[test]
fn each_error_points_at_its_place_in_the_body() {
    let body = json!({
        "severity": "bad", "location": {"lat": 91, "lon": "x", "alt": 3}, "tags": ["ok", 1, " "],
        "description": 7, "source": {}, "a/b~c": 1, "parent": "no id", "raised_at": "today",
    });
    let mut pointers = refused(Kind::Incident, body);
    pointers.sort();
    assert_eq!(
        pointers,
        [
            "/a~1b~0c",
            "/description",
            "/location/alt",
            "/location/lat",
            "/location/lon",
            "/parent",
            "/raised_at",
            "/severity",
            "/source",
            "/tags/1",
            "/tags/2",
            "/title"
        ]
    );
    assert_eq!(refused(Kind::Incident, json!({"title": " "})), ["/title"]);
    assert_eq!(
        refused(Kind::Incident, json!({"title": "a\u{7}b"})),
        ["/title"]
    );
    assert_eq!(
        refused(Kind::Incident, json!({"title": "x".repeat(201)})),
        ["/title"]
    );
    assert_eq!(refused(Kind::Device, json!({"name": "a/b"})), ["/name"]);
    assert_eq!(refused(Kind::User, json!({"name": "a b"})), ["/name"]);
    let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
    assert_eq!(
        refused(Kind::Resource, json!({"name": "x", "capabilities": many})),
        ["/capabilities"]
    );
}

#[test]
fn values_come_into_one_form() {
    let edit = check_create(
        Kind::Incident,
        &object(json!({
            "title": "x", "location": {"lon": -0.0, "lat": 1}, "tags": [" b ", "a", "b"],
            "parent": "01935F2E-8C6A-7C1E-9D3B-2F4A5B6C7D8E", "status": null,
        })),
    )
    .unwrap();
    let what = |key: &str| {
        edit.changes
            .iter()
            .find(|change| change.key == key)
            .unwrap()
            .what
            .clone()
    };
    assert_eq!(
        what("location"),
        What::Register(Scalar::Json(r#"{"lat":1.0,"lon":0.0}"#.into()))
    );
    assert_eq!(
        what("tags"),
        What::Set(["a".to_owned(), "b".to_owned()].into())
    );
    let parent = "01935f2e-8c6a-7c1e-9d3b-2f4a5b6c7d8e".to_owned();
    assert_eq!(what("parent"), What::Register(Scalar::Str(parent)));
    assert_eq!(
        edit.fields().count(),
        4,
        "null on create is the same as nothing"
    );
    let times = object(json!({"raised_at": "2026-11-20T14:00:00+01:00"}));
    let edit = check_node_fields(Kind::Incident, &times).unwrap();
    let at = What::Register(Scalar::Str("2026-11-20T13:00:00Z".into()));
    assert_eq!(edit.changes[0].what, at);
}

#[test]
fn canonical_json_sorts_keys_at_every_depth() {
    let value: Value = serde_json::from_str(r#"{"b":[{"z":1,"a":"é\""}],"a":null}"#).unwrap();
    assert_eq!(
        canonical_json(&value),
        r#"{"a":null,"b":[{"a":"é\"","z":1}]}"#
    );
}

fn rule(more: Value) -> Value {
    let mut body = object(json!({
        "name": "river", "match": {"device": "gauge-*", "channel": "level"},
        "incident": {"title": "River at {value} m"},
    }));
    body.extend(object(more));
    Value::Object(body)
}

#[test]
fn a_rule_needs_one_pair_of_levels_in_order() {
    let pair = rule(json!({"raise_above": 4, "clear_below": 3.5}));
    assert!(check_create(Kind::Rule, &object(pair)).is_ok());
    let pair = rule(json!({"raise_below": 1, "clear_above": 2}));
    assert!(check_create(Kind::Rule, &object(pair)).is_ok());
    for (levels, pointers) in [
        (json!({}), vec!["/raise_above"]),
        (json!({"raise_above": 4}), vec!["/clear_below"]),
        (
            json!({"raise_above": 4, "clear_below": 5}),
            vec!["/clear_below"],
        ),
        (
            json!({"raise_below": 4, "clear_above": 3}),
            vec!["/clear_above"],
        ),
        (
            json!({"raise_above": 4, "clear_below": 3, "clear_above": 5}),
            vec!["/clear_above"],
        ),
        (
            json!({"raise_above": 4, "clear_below": 3, "raise_below": 1}),
            vec!["/raise_below"],
        ),
        (
            json!({"raise_above": "4", "clear_below": 3, "for_s": -1}),
            vec!["/raise_above", "/for_s"],
        ),
    ] {
        assert_eq!(
            refused(Kind::Rule, rule(levels.clone())),
            pointers,
            "{levels}"
        );
    }
    assert_eq!(
        refused(
            Kind::Rule,
            json!({"name": "x", "match": {"device": "*"}, "incident": {"title": "t", "category": "fire"}})
        ),
        ["/match/channel", "/incident/category"]
    );
}

#[test]
fn a_patch_is_judged_together_with_what_its_author_saw() {
    let current = object(rule(json!({"raise_above": 4.0, "clear_below": 3.0})));
    let check = |patch: Value| check_patch(Kind::Rule, &object(patch), &current);
    assert!(check(json!({"raise_above": 5})).is_ok());
    assert_eq!(
        check(json!({"raise_above": 2})).unwrap_err()[0].pointer,
        "/clear_below"
    );
    assert_eq!(
        check(json!({"clear_below": null})).unwrap_err()[0].pointer,
        "/clear_below"
    );
    let turned =
        json!({"raise_above": null, "clear_below": null, "raise_below": 1, "clear_above": 2});
    assert!(check(turned).is_ok());
    assert_eq!(
        check(json!({"name": null})).unwrap_err()[0].pointer,
        "/name"
    );
    assert_eq!(
        check(json!({"colour": 1})).unwrap_err()[0].detail,
        "unknown field"
    );
}

#[test]
fn a_merge_patch_goes_into_objects() {
    let current = object(rule(json!({"raise_above": 4, "clear_below": 3})));
    let patch = object(json!({"match": {"channel": "rain"}}));
    let edit = check_patch(Kind::Rule, &patch, &current).unwrap();
    let whole = r#"{"channel":"rain","device":"gauge-*"}"#.to_owned();
    assert_eq!(edit.changes[0].what, What::Register(Scalar::Json(whole)));
    let patch = object(json!({"match": {"channel": null}}));
    assert_eq!(
        check_patch(Kind::Rule, &patch, &current).unwrap_err()[0].pointer,
        "/match/channel"
    );
}

#[test]
fn a_resolution_takes_any_value_of_the_conflict_and_any_valid_other() {
    let current = object(json!({"title": "x"}));
    let choices = [json!("paused"), json!("active")];
    let resolve = |field: &str, value: Value| {
        check_resolution(Kind::Incident, field, &value, &choices, &current)
    };
    assert!(
        resolve("status", json!("paused")).is_ok(),
        "another version's word"
    );
    assert!(resolve("status", json!("closed")).is_ok());
    assert!(resolve("status", json!("nonsense")).is_err());
    assert!(resolve("tags", json!([])).is_err());
    assert!(resolve("colour", json!(1)).is_err());
}

#[test]
fn a_calibration_has_one_curve_that_gives_one_value_for_each_raw_one() {
    let body = |curve: Value| json!({"device": "gauge", "channel": "level", "curve": curve});
    for fits in [
        json!({"offset": -0.3}),
        json!({"scale": -1, "offset": 2}),
        json!({"points": [{"raw": 0, "value": 1}, {"raw": 1, "value": 0}]}),
    ] {
        assert!(
            check_create(Kind::Calibration, &object(body(fits.clone()))).is_ok(),
            "{fits}"
        );
    }
    for (curve, pointer) in [
        (json!({}), "/curve"),
        (json!({"scale": 0}), "/curve/scale"),
        (
            json!({"scale": 1, "points": [{"raw": 0, "value": 1}, {"raw": 1, "value": 0}]}),
            "/curve",
        ),
        (json!({"points": [{"raw": 0, "value": 1}]}), "/curve/points"),
        (
            json!({"points": [{"raw": 0, "value": 1}, {"raw": 0, "value": 2}]}),
            "/curve/points/1/raw",
        ),
        (
            json!({"points": [{"raw": 0}, {"raw": 1, "value": 2}]}),
            "/curve/points/0/value",
        ),
    ] {
        assert_eq!(refused(Kind::Calibration, body(curve)), [pointer]);
    }
    assert_eq!(
        refused(
            Kind::Calibration,
            json!({"device": "*", "channel": "level", "curve": {"offset": 1}})
        ),
        ["/device"]
    );
}
