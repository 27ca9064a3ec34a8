//! What becomes of an alarm that is true again soon after it cleared.
//!
//! Invariant: an alarm never goes on in an incident that nobody looks at any more: where a person has closed or deleted
//! it, a new one is opened.

use std::collections::HashMap;

use domain::{Kind, RecordId};
use serde_json::Value;
use sync_engine::ObjectId;

use super::evaluator::{Effect, Evaluator};
use crate::app::present::RowView;
use crate::app::records::RuleEffect;
use crate::app::{App, AppError};

/// Decides where each alarm goes on, and tells the evaluator, whose state is committed with the effects.
pub(super) async fn settle(
    app: &App,
    evaluator: &mut Evaluator,
    effects: Vec<Effect>,
) -> Vec<RuleEffect> {
    let mut settled = Vec::with_capacity(effects.len());
    // Later effects of the same batch were made for the incident that is no longer used.
    let mut instead: HashMap<[u8; 16], [u8; 16]> = HashMap::new();
    let now =
        |id: [u8; 16], instead: &HashMap<[u8; 16], [u8; 16]>| *instead.get(&id).unwrap_or(&id);
    for effect in effects {
        match effect {
            Effect::Do(RuleEffect::Update {
                incident_id,
                fields,
            }) => settled.push(RuleEffect::Update {
                incident_id: now(incident_id, &instead),
                fields,
            }),
            Effect::Do(open) => settled.push(open),
            Effect::Reopen {
                incident_id,
                changes,
                fresh_id,
                fresh,
            } => {
                let before = now(incident_id, &instead);
                let opened_here = settled.iter().any(
                    |effect| matches!(effect, RuleEffect::Open { incident_id, .. } if *incident_id == before),
                );
                let goes_on = opened_here
                    || is_worked_on(app, before).await.unwrap_or_else(|error| {
                        tracing::error!(%error, "an incident cannot be read: the alarm opens another");
                        false
                    });
                if goes_on {
                    settled.push(RuleEffect::Update {
                        incident_id: before,
                        fields: changes,
                    });
                } else {
                    evaluator.reattach(incident_id, fresh_id);
                    instead.insert(incident_id, fresh_id);
                    settled.push(RuleEffect::Open {
                        incident_id: fresh_id,
                        fields: fresh,
                    });
                }
            }
        }
    }
    settled
}

/// Whether an incident is there and neither closed nor a false alarm.
async fn is_worked_on(app: &App, incident: [u8; 16]) -> Result<bool, AppError> {
    let object = ObjectId(RecordId(incident).0);
    let row = app
        .read(move |reader| reader.get_document(Some(Kind::Incident.spec().code), &object, None))
        .await?;
    Ok(row.is_some_and(|row| {
        let view = serde_json::from_str::<RowView>(&row.view).unwrap_or_default();
        let status = view.fields.get("status").and_then(Value::as_str);
        !row.deleted && !matches!(status, Some("closed" | "false_alarm"))
    }))
}
