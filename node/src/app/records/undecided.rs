//! What nobody has approved or refused yet: devices that were heard and have no document, and what they say, which is no
//! fact. A list has them before its first page.

use domain::{FactKind, Kind, ids};
use serde_json::{Map, Value, json};

use crate::app::clock::rfc3339;
use crate::app::health::HealthBook;
use crate::app::{App, AppError, ListQuery, RecordKind};

impl App {
    /// Those of a kind, as far as a list asks for them.
    pub(super) async fn undecided_for(
        &self,
        kind: RecordKind,
        query: &ListQuery,
        limit: usize,
    ) -> Result<Vec<Value>, AppError> {
        match kind {
            RecordKind::Document(Kind::Device) => Ok(self.unknown_devices_for(query, limit)),
            RecordKind::Fact(FactKind::Message) => self.unapproved_messages_for(query).await,
            _ => Ok(Vec::new()),
        }
    }

    /// One of them.
    pub(super) async fn undecided(
        &self,
        kind: RecordKind,
        id: &str,
    ) -> Result<Option<Value>, AppError> {
        match kind {
            RecordKind::Document(Kind::Device) => {
                let mut devices = self.unknown_device_values().into_iter();
                Ok(devices.find(|device| device["id"] == json!(id)))
            }
            RecordKind::Fact(FactKind::Message) => self.get_unapproved_message(id).await,
            _ => Ok(None),
        }
    }

    /// Devices without a document, as far as a list asks for them.
    fn unknown_devices_for(&self, query: &ListQuery, limit: usize) -> Vec<Value> {
        let elsewhere = query.cursor.is_some()
            || query.since.is_some()
            || query.bbox.is_some()
            || query.at_wall_ms.is_some();
        if elsewhere {
            return Vec::new();
        }
        let wanted = query
            .q
            .as_ref()
            .map(|q| q.to_lowercase())
            .unwrap_or_default();
        let mut devices = self.unknown_device_values();
        devices.retain(|device| {
            let name = device["name"].as_str().unwrap_or_default().to_lowercase();
            let mut filters = query.filters.iter();
            name.contains(&wanted) && filters.all(|(field, value)| device[field] == json!(value))
        });
        // A hostile publisher can invent names; a page stays a page.
        devices.truncate(limit);
        devices
    }

    /// Devices that were heard and have no document.
    fn unknown_device_values(&self) -> Vec<Value> {
        self.devices
            .unknown_devices()
            .into_iter()
            .map(|unknown| {
                let id = ids::stable_id(&self.me.operation.0, Kind::Device, &unknown.name);
                let mut device = Map::new();
                device.insert("id".into(), json!(id.to_string()));
                device.insert("version".into(), Value::Null);
                device.insert("name".into(), json!(unknown.name));
                for field in Kind::Device.spec().fields {
                    device
                        .entry(field.name)
                        .or_insert_with(|| field.default_json());
                }
                device.insert("state".into(), json!("unknown"));
                let first_seen = rfc3339(unknown.first_seen_ms);
                device.insert("created_at".into(), json!(first_seen));
                device.insert("updated_at".into(), json!(first_seen));
                device.insert("author".into(), Value::Null);
                device.insert("node".into(), json!(self.me.node.to_string()));
                device.insert("node_name".into(), json!(self.me.name));
                device.insert("conflicts".into(), json!([]));
                device.insert("seen_by".into(), json!([]));
                device.insert(
                    "_links".into(),
                    json!({ "self": format!("/v1/devices/{id}"), "collection": "/v1/devices" }),
                );
                let now_ms = self.clock.wall_ms().cast_signed();
                let own = unknown.overlay;
                own.lay_over(&mut device, now_ms);
                // What others say of a device counts where it is one of the operation's.
                let me = self.me.node;
                let none = HealthBook::default();
                none.lay_over(&mut device, &own, (me, now_ms), |node| self.name_of(node));
                Value::Object(device)
            })
            .collect()
    }
}
