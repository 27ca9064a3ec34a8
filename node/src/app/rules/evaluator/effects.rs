//! What evaluation leads to: incidents opened, changed and ended.
//!
//! Invariant: the same reading gives the same incident id, whenever it is evaluated.

use domain::Kind;
use domain::rules::{RuleEvent, peak_field, rfc3339};
use serde_json::{Map, Value, json};

use super::super::saved::Key;
use super::{Instance, Surroundings};
use crate::app::records::RuleEffect;

/// What evaluation leads to.
#[derive(Debug, Clone)]
pub(in crate::app::rules) enum Effect {
    /// As it is.
    Do(RuleEffect),
    /// True again soon after it cleared: goes on in the same incident, if people still work on it, else in a new one.
    Reopen {
        incident_id: [u8; 16],
        changes: Map<String, Value>,
        fresh_id: [u8; 16],
        fresh: Map<String, Value>,
    },
}

impl Instance {
    /// UUIDv8 of one raise, the same whenever this reading is evaluated.
    pub(super) fn incident_id(&self, file_id: &[u8; 16], position: i64) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("muster 2026 incident of a rule v1");
        hasher.update(file_id);
        hasher.update(&self.rule.id.0);
        match &self.key {
            Key::Series(series) => hasher.update(&series.to_le_bytes()),
            Key::Device(device) => hasher.update(device.as_bytes()),
        };
        hasher.update(&position.to_le_bytes());
        domain::ids::hashed_id(Kind::Incident.spec().code, &hasher).0
    }

    pub(super) fn effect(
        &mut self,
        event: RuleEvent,
        new_id: [u8; 16],
        node_id: &str,
        around: &Surroundings<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let rule = &self.rule;
        let open = |at_ms, value, peak: domain::rules::Peak, from_ms, steps| {
            let (device, channel) = (&self.shown.0, &self.shown.1);
            let mut fields = rule.incident_fields(device, channel, at_ms, value, steps);
            fields.insert("status".into(), json!("reported"));
            fields.insert("peak".into(), peak_field(peak.at_ms, peak.value));
            fields.insert("evidence".into(), evidence(node_id, from_ms, at_ms));
            if let Some(location) = (around.location)(device) {
                fields.insert("location".into(), location);
            }
            fields
        };
        let severity = |fields: &mut Map<String, Value>, steps: Option<u8>| {
            if let Some(steps) = steps {
                fields.insert("severity".into(), json!(rule.severity(steps)));
            }
        };
        let update = |incident_id, fields| {
            Effect::Do(RuleEffect::Update {
                incident_id,
                fields,
            })
        };
        match event {
            RuleEvent::Raise {
                at_ms,
                value,
                peak,
                evidence_from_ms,
                severity_steps,
                ..
            } => {
                let fields = open(at_ms, value, peak, evidence_from_ms, severity_steps);
                self.kept.state.attach_incident(new_id);
                effects.push(Effect::Do(RuleEffect::Open {
                    incident_id: new_id,
                    fields,
                }));
            }
            RuleEvent::Reopen {
                incident,
                at_ms,
                value,
                peak,
                evidence_from_ms,
                severity_steps,
                ..
            } => {
                let mut changes = Map::from_iter([
                    ("cleared_at".to_owned(), Value::Null),
                    ("peak".to_owned(), peak_field(peak.at_ms, peak.value)),
                ]);
                changes.insert(
                    "evidence".into(),
                    evidence(node_id, evidence_from_ms, at_ms),
                );
                severity(&mut changes, severity_steps);
                let steps = self.kept.state.severity_steps();
                effects.push(Effect::Reopen {
                    incident_id: incident,
                    changes,
                    fresh_id: new_id,
                    fresh: open(at_ms, value, peak, evidence_from_ms, steps),
                });
            }
            RuleEvent::Peak {
                incident: Some(incident),
                peak,
                severity_steps,
            } => {
                let mut fields =
                    Map::from_iter([("peak".to_owned(), peak_field(peak.at_ms, peak.value))]);
                severity(&mut fields, severity_steps);
                effects.push(update(incident, fields));
            }
            RuleEvent::Clear {
                incident: Some(incident),
                at_ms,
                peak,
                evidence_from_ms,
            } => {
                let fields = Map::from_iter([
                    ("cleared_at".to_owned(), json!(rfc3339(at_ms))),
                    ("peak".to_owned(), peak_field(peak.at_ms, peak.value)),
                    (
                        "evidence".to_owned(),
                        evidence(node_id, evidence_from_ms, at_ms),
                    ),
                ]);
                effects.push(update(incident, fields));
            }
            // Without an incident there is nothing to record it in; a raise always attaches one.
            RuleEvent::Peak { incident: None, .. } | RuleEvent::Clear { incident: None, .. } => {}
        }
    }
}

/// The time range of this node's readings.
fn evidence(node_id: &str, from_ms: i64, to_ms: i64) -> Value {
    json!([{ "node": node_id, "from": rfc3339(from_ms), "to": rfc3339(to_ms) }])
}
