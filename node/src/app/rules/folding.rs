//! Alarms that several nodes raised about one thing, as one in what people see.
//!
//! Invariant: what is laid over an incident follows from the incidents that this node has, and no document changes.

use std::collections::{BTreeMap, BTreeSet};

use domain::rules::{Fold, RaisedIncident, fold};
use domain::{Kind, RecordId};
use serde_json::{Map, Value, json};
use store::{CommitNo, DocumentQuery, Reader, StoreError};

use crate::app::present::RowView;

/// Incidents of one rule and device that are looked at; the newest. One sensor has a handful that are open.
const INCIDENTS_MAX: usize = 200;

/// How incidents fold, and what stands in those that others show.
#[derive(Debug, Default)]
pub(in crate::app) struct Folds {
    folds: BTreeMap<RecordId, Fold>,
    fields: BTreeMap<RecordId, Map<String, Value>>,
}

impl Folds {
    /// Of the rows that are to be shown: looks for the others of their rules and devices.
    pub(in crate::app) fn read<'a>(
        reader: &Reader<'_>,
        views: impl Iterator<Item = &'a str>,
        at_commit: Option<CommitNo>,
    ) -> Result<Folds, StoreError> {
        let sources: BTreeSet<(String, String)> = views
            .filter_map(|view| source(&serde_json::from_str::<RowView>(view).ok()?.fields))
            .collect();
        let mut read = Folds::default();
        for (rule, device) in sources {
            let mut query = DocumentQuery::new(Kind::Incident.spec().code, INCIDENTS_MAX);
            query.facets = vec![("rule".into(), rule), ("device".into(), device)];
            query.at_commit = at_commit;
            for row in reader.list_documents(&query)? {
                if let Ok(view) = serde_json::from_str::<RowView>(&row.view) {
                    read.fields.insert(RecordId(row.id.0), view.fields);
                }
            }
        }
        let sources: Vec<(RecordId, (String, String))> = read
            .fields
            .iter()
            .filter_map(|(id, fields)| Some((*id, source(fields)?)))
            .collect();
        let raised: Vec<RaisedIncident<'_>> = sources
            .iter()
            .filter_map(|(id, (rule, device))| raised(*id, rule, device, read.fields.get(id)?))
            .collect();
        read.folds = fold(&raised);
        // Only what is shown by another is needed any more.
        let Folds { folds, fields } = &mut read;
        fields.retain(|id, _| folds.get(id).is_some_and(|fold| fold.into.is_some()));
        Ok(read)
    }

    /// Lays `folded_into` and `folds` over an incident; and over one that shows others their evidence, the earliest
    /// raise, and no end before all of them have ended.
    pub(in crate::app) fn lay_over(&self, id: RecordId, incident: &mut Map<String, Value>) {
        let fold = self.folds.get(&id);
        let into = fold.and_then(|fold| fold.into);
        let folds = fold.map(|fold| fold.folds.as_slice()).unwrap_or_default();
        incident.insert("folded_into".into(), json!(into.map(|id| id.to_string())));
        let ids: Vec<String> = folds.iter().map(RecordId::to_string).collect();
        incident.insert("folds".into(), json!(ids));
        for other in folds.iter().filter_map(|other| self.fields.get(other)) {
            add_evidence(incident, other);
            let field = |fields: &Map<String, Value>, name: &str| time_ms(fields.get(name));
            if field(other, "raised_at") < field(incident, "raised_at") {
                let earlier = other.get("raised_at").cloned().unwrap_or_default();
                incident.insert("raised_at".into(), earlier);
            }
            let ends = (field(incident, "cleared_at"), field(other, "cleared_at"));
            let later = match ends {
                (Some(own), Some(others)) if own >= others => None,
                (None, _) => None,
                (Some(_), _) => Some(other.get("cleared_at").cloned().unwrap_or_default()),
            };
            if let Some(later) = later {
                incident.insert("cleared_at".into(), later);
            }
        }
    }
}

/// Rule and device of an incident that a rule opened.
fn source(fields: &Map<String, Value>) -> Option<(String, String)> {
    let source = fields.get("source")?;
    let part = |name: &str| source.get(name).and_then(Value::as_str).map(str::to_owned);
    Some((part("rule")?, part("device")?))
}

fn raised<'a>(
    id: RecordId,
    rule: &'a str,
    device: &'a str,
    fields: &Map<String, Value>,
) -> Option<RaisedIncident<'a>> {
    let status = fields.get("status").and_then(Value::as_str);
    Some(RaisedIncident {
        id,
        rule,
        device,
        raised_ms: time_ms(fields.get("raised_at"))?,
        cleared_ms: time_ms(fields.get("cleared_at")),
        open: !matches!(status, Some("closed" | "false_alarm")),
    })
}

fn time_ms(value: Option<&Value>) -> Option<i64> {
    let at: jiff::Timestamp = value?.as_str()?.parse().ok()?;
    Some(at.as_millisecond())
}

fn add_evidence(incident: &mut Map<String, Value>, other: &Map<String, Value>) {
    let list = |fields: &Map<String, Value>| match fields.get("evidence") {
        Some(Value::Array(ranges)) => ranges.clone(),
        _ => Vec::new(),
    };
    let mut evidence = list(incident);
    for range in list(other) {
        if !evidence.contains(&range) {
            evidence.push(range);
        }
    }
    incident.insert("evidence".into(), Value::Array(evidence));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn incident(node: &str, raised_at: &str, cleared_at: Option<&str>) -> Map<String, Value> {
        json!({
            "raised_at": raised_at, "cleared_at": cleared_at,
            "evidence": [{"node": node, "from": raised_at, "to": raised_at}],
        })
        .as_object()
        .unwrap()
        .clone()
    }

    #[test]
    fn what_shows_others_shows_all_their_evidence_and_ends_when_all_have_ended() {
        let (head, other) = (RecordId([1; 16]), RecordId([2; 16]));
        let shown = |own: Option<&str>, others: Option<&str>| {
            let folds = Folds {
                folds: BTreeMap::from([
                    (
                        head,
                        Fold {
                            into: None,
                            folds: vec![other],
                        },
                    ),
                    (
                        other,
                        Fold {
                            into: Some(head),
                            folds: vec![],
                        },
                    ),
                ]),
                fields: BTreeMap::from([(other, incident("b", "2026-03-01T11:00:00Z", others))]),
            };
            let mut shown = incident("a", "2026-03-01T12:00:00Z", own);
            folds.lay_over(head, &mut shown);
            shown
        };
        let both = shown(Some("2026-03-01T13:00:00Z"), Some("2026-03-01T13:30:00Z"));
        assert_eq!(both["folds"], json!([other.to_string()]));
        assert_eq!(both["folded_into"], Value::Null);
        assert_eq!(both["raised_at"], "2026-03-01T11:00:00Z");
        assert_eq!(both["cleared_at"], "2026-03-01T13:30:00Z");
        assert_eq!(both["evidence"].as_array().unwrap().len(), 2);
        assert_eq!(
            shown(Some("2026-03-01T13:00:00Z"), None)["cleared_at"],
            Value::Null
        );
        assert_eq!(
            shown(None, Some("2026-03-01T13:00:00Z"))["cleared_at"],
            Value::Null
        );
    }
}
