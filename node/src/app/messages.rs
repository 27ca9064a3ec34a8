//! Words from devices become messages of the operation.
//!
//! ```text
//! decoded → readings.db, acknowledged → device approved? → a fact in muster.db → gone from readings.db
//! ```
//!
//! Invariants:
//! - A text is in readings.db until its fact is committed, and its fact's id follows from what makes it one: a crash in
//!   between neither loses it nor makes two of it, and however often a radio repeats it, it is one.
//! - What a device said that nobody has approved stays on this node, where it is shown as such. It goes to nobody else until
//!   somebody approves the device: a stranger cannot write into everybody's log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::facts::DeviceMessage;
use domain::{FactKind, RecordId, ids};
use sensor_drivers::TextMessage;
use serde_json::{Map, Value, json};
use store::{DeviceText, FactRow, Reader, StoreError};
use sync_engine::{NodeId, ObjectId, OperationId};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::clock::rfc3339;
use super::documents::{EditRequest, Step};
use super::present::RowView;
use super::readings::{blocking, fault};
use super::{App, AppError, ListQuery};

/// After a failure, and so that none waits for ever whose wake-up was lost.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Whether a text that is heard again is known to be the same: what a broker kept is no news otherwise.
pub(in crate::app) fn can_be_told_apart(message: &TextMessage) -> bool {
    message.packet.is_some() || message.sent_ms.is_some()
}

/// What a device said, as it is stored. It is known by the sender's own number for it, else by the sender's time, else by
/// when it came.
pub(in crate::app) fn device_text(
    device: &str,
    message: &TextMessage,
    received_ms: i64,
) -> DeviceText {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 text of a device v1");
    hasher.update(&(device.len() as u64).to_le_bytes());
    hasher.update(device.as_bytes());
    match (message.packet, message.sent_ms) {
        (Some(packet), _) => hasher.update(b"packet").update(&packet.to_le_bytes()),
        (None, Some(sent_ms)) => hasher.update(b"sent").update(&sent_ms.to_le_bytes()),
        (None, None) => hasher
            .update(b"received")
            .update(&received_ms.to_le_bytes()),
    };
    hasher.update(message.text.as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    DeviceText {
        id,
        device: device.to_owned(),
        text: message.text.clone(),
        to: message.to.clone(),
        channel: message.channel,
        received_ms,
        sent_ms: message.sent_ms,
    }
}

/// Writes texts of approved devices down until `stop`.
pub(in crate::app) fn start(app: Arc<App>, stop: CancellationToken) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let rounds = async {
            loop {
                if let Err(error) = app.write_down_texts().await {
                    tracing::warn!(%error, "messages of devices wait for the next round");
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
                let woken = app.devices.texts().woken();
                let _ = tokio::time::timeout(LOOK_EVERY, woken).await;
            }
        };
        let _ = stop.run_until_cancelled(rounds).await;
    })
}

impl App {
    async fn write_down_texts(&self) -> Result<(), AppError> {
        let mut outcome = Ok(());
        for device in self.count_texts().await? {
            // Those of strangers stay, and are read when somebody asks for them.
            if self.devices.is_approved(&device) {
                // What fails for one device does not hold up the others.
                outcome = outcome.and(self.write_down_texts_of(device).await);
            }
        }
        outcome
    }

    async fn write_down_texts_of(&self, device: String) -> Result<(), AppError> {
        let store = self.store.clone();
        let texts = blocking("read texts of a device that wait", move || {
            store.readings().device_texts_of(&device)
        });
        for text in texts.await? {
            let id = self.message_ids().of(&text.id);
            let known = self
                .read(move |reader| reader.facts_beside(&ObjectId(id.0), ids::SHARED_BYTES))
                .await?;
            // Another node may have heard it, too, and been quicker.
            if known.is_empty() {
                self.write_down(id, &text).await?;
            }
            let written = self.store.readings().device_text_written(text.id).await;
            written.map_err(|error| fault("forget a text that was written down", error))?;
            self.devices.texts().written(&text.device);
        }
        Ok(())
    }

    /// Answers which devices have texts that wait.
    async fn count_texts(&self) -> Result<Vec<String>, AppError> {
        let texts = self.devices.texts();
        texts.begin_count();
        let store = self.store.clone();
        let counts = blocking("count texts that wait", move || {
            store.readings().device_text_counts()
        });
        let counts = counts.await?;
        let devices = counts.iter().map(|(device, _)| device.clone()).collect();
        texts.count(counts, |name| self.devices.is_approved(name));
        Ok(devices)
    }

    async fn waiting_texts(&self) -> Result<Vec<DeviceText>, AppError> {
        let store = self.store.clone();
        blocking("read texts that wait", move || {
            store.readings().device_texts()
        })
        .await
    }

    async fn write_down(&self, id: RecordId, text: &DeviceText) -> Result<(), AppError> {
        let sent_at = text.sent_ms.map(rfc3339);
        let message = DeviceMessage {
            device: &text.device,
            text: &text.text,
            to: text.to.as_deref(),
            channel: text.channel,
            received_at: &rfc3339(text.received_ms),
            sent_at: sent_at.as_deref(),
        };
        let request = EditRequest {
            user: None,
            actor: text.device.clone(),
            action: "message",
            steps: vec![Step::Fact {
                kind: FactKind::Message,
                id,
                bytes: message.to_bytes(),
                about: None,
            }],
            idempotency: None,
            rule_cursor: None,
        };
        self.documents.edit(request).await?;
        metrics::counter!("muster_device_messages_total").increment(1);
        Ok(())
    }

    fn message_ids(&self) -> MessageIds {
        MessageIds {
            operation: self.me.operation,
            node: self.me.node,
        }
    }

    /// What devices said that nobody has approved, newest first, as far as a list asks for it.
    pub(in crate::app) async fn unapproved_messages_for(
        &self,
        query: &ListQuery,
    ) -> Result<Vec<Value>, AppError> {
        let elsewhere = query.cursor.is_some()
            || query.since.is_some()
            || query.at_wall_ms.is_some()
            || !query.filters.is_empty();
        if elsewhere {
            return Ok(Vec::new());
        }
        let words = query.q.as_ref().map(|q| q.to_lowercase());
        let words = words.unwrap_or_default();
        let texts = self.waiting_texts().await?.into_iter().rev();
        let wanted = texts
            .filter(|text| !self.devices.is_approved(&text.device))
            .filter(|text| text.text.to_lowercase().contains(&words));
        let limit = query.limit.unwrap_or(super::LIST_LIMIT_DEFAULT);
        let wanted = wanted.take(limit as usize);
        Ok(wanted.map(|text| self.unapproved_message(&text)).collect())
    }

    /// One of them.
    pub(in crate::app) async fn get_unapproved_message(
        &self,
        id: &str,
    ) -> Result<Option<Value>, AppError> {
        let message_ids = self.message_ids();
        let wanted = id.parse::<RecordId>().ok();
        let Some(wanted) = wanted.filter(|wanted| message_ids.may_be_of(*wanted)) else {
            return Ok(None);
        };
        let store = self.store.clone();
        let found = blocking("look for a text that waits", move || {
            let readings = store.readings();
            let ids = readings.device_text_ids()?;
            match ids.into_iter().find(|id| message_ids.of(id) == wanted) {
                Some(id) => readings.device_text(id),
                None => Ok(None),
            }
        })
        .await?;
        Ok(found.map(|text| self.unapproved_message(&text)))
    }

    fn unapproved_message(&self, text: &DeviceText) -> Value {
        let id = self.message_ids().of(&text.id);
        let received_at = rfc3339(text.received_ms);
        let mut message = json!({
            "id": id.to_string(),
            "text": text.text,
            "device": text.device,
            "received_at": received_at,
            "unapproved": true,
            "created_at": received_at,
            "author": null,
            "node": self.me.node.to_string(),
            "node_name": self.me.name,
            "seen_by": [],
            "_links": { "self": format!("/v1/messages/{id}"), "collection": "/v1/messages" },
        });
        let may_be = [
            ("to", text.to.as_ref().map(|to| json!(to))),
            ("channel", text.channel.map(|channel| json!(channel))),
            ("sent_at", text.sent_ms.map(|at| json!(rfc3339(at)))),
        ];
        for (name, value) in may_be {
            if let Some(value) = value {
                message[name] = value;
            }
        }
        message
    }
}

/// Which ids this node gives to messages of devices.
#[derive(Debug, Clone, Copy)]
struct MessageIds {
    operation: OperationId,
    node: NodeId,
}

impl MessageIds {
    /// Of the message that a text with that id becomes.
    fn of(&self, text: &[u8; 16]) -> RecordId {
        let mut hasher = blake3::Hasher::new_derive_key("muster 2026 message of a device v1");
        hasher.update(&self.operation.0);
        hasher.update(text);
        ids::hashed_fact_id(FactKind::Message.code(), &self.node.0, &hasher)
    }

    /// Whether it can be one of them: it bears this node's mark.
    fn may_be_of(&self, id: RecordId) -> bool {
        ids::fits_author(id, &self.node.0)
    }
}

/// What several nodes wrote down of one text: the one with the smallest id is shown, and says who else heard it.
#[derive(Debug, Default)]
pub(in crate::app) struct Copies {
    /// The other nodes, by the id of the one that is shown.
    others: HashMap<ObjectId, Vec<String>>,
    /// Not shown in lists.
    hidden: Vec<ObjectId>,
}

impl Copies {
    pub(in crate::app) fn read(
        reader: &Reader<'_>,
        messages: impl Iterator<Item = ObjectId>,
    ) -> Result<Copies, StoreError> {
        let mut copies = Copies::default();
        for id in messages {
            // Those of people have ids of their own.
            if Uuid::from_bytes(id.0).get_version_num() != 8 {
                continue;
            }
            let all = reader.facts_beside(&id, ids::SHARED_BYTES)?;
            if all.first().is_some_and(|first| first.id != id) {
                copies.hidden.push(id);
            } else {
                let others = all.iter().skip(1).filter_map(author_of).collect();
                copies.others.insert(id, others);
            }
        }
        Ok(copies)
    }

    pub(in crate::app) fn is_hidden(&self, id: ObjectId) -> bool {
        self.hidden.contains(&id)
    }

    pub(in crate::app) fn lay_over(&self, id: ObjectId, message: &mut Map<String, Value>) {
        if let Some(others) = self.others.get(&id)
            && !others.is_empty()
        {
            message.insert("also_heard_by".into(), json!(others));
        }
    }
}

fn author_of(row: &FactRow) -> Option<String> {
    let view: RowView = serde_json::from_str(&row.view).ok()?;
    Some(view.meta.node)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(packet: Option<u32>, sent_ms: Option<i64>, received_ms: i64) -> [u8; 16] {
        let message = TextMessage {
            text: "Bridge under water".into(),
            to: None,
            sent_ms,
            packet,
            channel: None,
        };
        device_text("radio-1", &message, received_ms).id
    }

    #[test]
    fn a_text_is_one_however_often_it_is_repeated() {
        // Gateways put the time at which they heard it beside it.
        assert_eq!(text(Some(7), Some(1), 10), text(Some(7), Some(2), 20));
        assert_ne!(text(Some(7), Some(1), 10), text(Some(8), Some(1), 10));
        assert_eq!(text(None, Some(1), 10), text(None, Some(1), 20));
        assert_ne!(text(None, Some(1), 10), text(None, Some(2), 10));
        assert_ne!(text(None, None, 10), text(None, None, 20));
        assert_ne!(text(Some(7), None, 10), text(None, Some(7), 10));
    }
}
