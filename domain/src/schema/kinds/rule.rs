//! Rule: when readings open an incident. Evaluated by [`crate::rules`].
//!
//! Levels and durations are registers of their own, so that a person sees which of them another person changed; a merge
//! that leaves them in contradiction makes the rule unusable, which [`crate::rules::Rule`] reports, instead of evaluating
//! something that nobody wrote. Lists and the expression are one register each: their parts only make sense together.

use super::{CAP_CATEGORIES, FieldSpec, NAME_BYTES_MAX, SEVERITIES};
use crate::rules::{FORMULA_BYTES_MAX, INPUTS_MAX, REOPEN_S, check};
use crate::schema::{Fallback, Kind, KindSpec, Part, ValueSpec};

/// Which readings it looks at; `*` stands for any characters.
const MATCH: &[Part] = &[
    Part {
        name: "device",
        value: ValueSpec::Str { max_bytes: 128 },
        required: true,
    },
    Part {
        name: "channel",
        value: ValueSpec::Str { max_bytes: 128 },
        required: true,
    },
];

/// What the incident that it opens looks like.
const INCIDENT: &[Part] = &[
    Part {
        name: "title",
        value: ValueSpec::Str {
            max_bytes: NAME_BYTES_MAX,
        },
        required: true,
    },
    Part {
        name: "category",
        value: ValueSpec::Enum(CAP_CATEGORIES),
        required: false,
    },
    Part {
        name: "severity",
        value: ValueSpec::Enum(SEVERITIES),
        required: false,
    },
];

/// One input of a virtual sensor.
const INPUT: &[Part] = &[
    part("name", ValueSpec::Str { max_bytes: 32 }, true),
    part("device", ValueSpec::Str { max_bytes: 128 }, false),
    part("channel", ValueSpec::Str { max_bytes: 128 }, true),
    part("unit", UNIT, false),
    part(
        "function",
        ValueSpec::Enum(&[
            "last",
            "rise",
            "min",
            "max",
            "mean",
            "nowcast_aqi_pm25",
            "nowcast_aqi_pm10",
        ]),
        false,
    ),
    part("window_s", WINDOW, false),
];

/// A virtual sensor: a formula over inputs, none of them older than `fresh_s`.
const EXPRESSION: &[Part] = &[
    part(
        "formula",
        ValueSpec::Str {
            max_bytes: FORMULA_BYTES_MAX,
        },
        true,
    ),
    part(
        "inputs",
        ValueSpec::List {
            parts: INPUT,
            max: INPUTS_MAX,
        },
        true,
    ),
    part("fresh_s", WINDOW, false),
];

/// When nothing is raised: a range of time, hours of the day (`22:30`) on some days (`mon tue`), or both together.
const SILENCE: &[Part] = &[
    part("from", ValueSpec::Time, false),
    part("to", ValueSpec::Time, false),
    part("daily_from", ValueSpec::Str { max_bytes: 5 }, false),
    part("daily_to", ValueSpec::Str { max_bytes: 5 }, false),
    part("days", ValueSpec::Str { max_bytes: 32 }, false),
    part("offset", ValueSpec::Str { max_bytes: 6 }, false),
];

/// From which value on an incident is how grave.
const SEVERITY: &[Part] = &[
    part("level", ValueSpec::Float, true),
    part("severity", ValueSpec::Enum(SEVERITIES), true),
];

/// Windows of silence of one rule; more are a calendar, which belongs elsewhere.
const SILENCES_MAX: usize = 16;
/// As many as there are severities.
const SEVERITIES_MAX: usize = 5;
/// A condition that must hold longer than a day is not an alarm any more.
const WAIT_S_MAX: i64 = 86_400;
/// A week: what is normal for a place repeats itself in that time.
const WINDOW: ValueSpec = ValueSpec::Int {
    min: 1,
    max: 604_800,
};
/// As sensors name it, UCUM where it can be (`Cel`, `m3/s`): as long as a reading's unit may be.
const UNIT: ValueSpec = ValueSpec::Str { max_bytes: 32 };
const WAIT: ValueSpec = ValueSpec::Int {
    min: 0,
    max: WAIT_S_MAX,
};

const fn part(name: &'static str, value: ValueSpec, required: bool) -> Part {
    Part {
        name,
        value,
        required,
    }
}

pub(in crate::schema) static SPEC: KindSpec = KindSpec {
    kind: Kind::Rule,
    code: 0x0105,
    name: "rule",
    plural: "rules",
    lane: 3,
    fields: &[
        FieldSpec::register(
            "name",
            ValueSpec::Str {
                max_bytes: NAME_BYTES_MAX,
            },
        )
        .required()
        .default(Fallback::Str("")),
        FieldSpec::register("enabled", ValueSpec::Bool).default(Fallback::Bool(true)),
        FieldSpec::register("match", ValueSpec::Object(MATCH)).required(),
        FieldSpec::register(
            "kind",
            ValueSpec::Enum(&[
                "threshold",
                "rate",
                "no_data",
                "deviation",
                "sta_lta",
                "expression",
            ]),
        )
        .default(Fallback::Str("threshold")),
        FieldSpec::register("raise_above", ValueSpec::Float),
        FieldSpec::register("clear_below", ValueSpec::Float),
        FieldSpec::register("raise_below", ValueSpec::Float),
        FieldSpec::register("clear_above", ValueSpec::Float),
        FieldSpec::register("for_s", WAIT).default(Fallback::Int(0)),
        FieldSpec::register("hold_s", WAIT).default(Fallback::Int(0)),
        FieldSpec::register("incident", ValueSpec::Object(INCIDENT)).required(),
        FieldSpec::register("window_s", WINDOW),
        // Shorter silences are the rhythm of a sensor; the node looks once a second.
        FieldSpec::register(
            "after_s",
            ValueSpec::Int {
                min: 5,
                max: 2_592_000,
            },
        ),
        FieldSpec::register("spread_min", ValueSpec::Float),
        FieldSpec::register("either_way", ValueSpec::Bool).default(Fallback::Bool(false)),
        FieldSpec::register("sta_s", ValueSpec::Float),
        FieldSpec::register("lta_s", ValueSpec::Float),
        FieldSpec::register("expression", ValueSpec::Object(EXPRESSION)),
        // A register of its own beside `match`: a node that does not know it can still be told another device.
        FieldSpec::register("unit", UNIT),
        FieldSpec::register("reopen_s", WAIT).default(Fallback::Int(REOPEN_S)),
        FieldSpec::register(
            "severities",
            ValueSpec::List {
                parts: SEVERITY,
                max: SEVERITIES_MAX,
            },
        ),
        FieldSpec::register(
            "silence",
            ValueSpec::List {
                parts: SILENCE,
                max: SILENCES_MAX,
            },
        ),
    ],
    genesis_version: 1,
    check,
};
