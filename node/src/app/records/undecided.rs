//! What nobody has approved or refused yet: devices that were heard and have no document, and what they say, which is no
//! fact. A list has them before its first page.

use domain::{FactKind, Kind, RecordId, ids};
use serde_json::{Map, Value, json};

use crate::app::clock::rfc3339;
use crate::app::devices::UnknownDevice;
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
            RecordKind::Document(Kind::Device) => self.unknown_devices_for(query, limit).await,
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
            RecordKind::Document(Kind::Device) => self.unknown_device_of(id).await,
            RecordKind::Fact(FactKind::Message) => self.get_unapproved_message(id).await,
            _ => Ok(None),
        }
    }

    /// Devices without a document, as far as a list asks for them.
    async fn unknown_devices_for(
        &self,
        query: &ListQuery,
        limit: usize,
    ) -> Result<Vec<Value>, AppError> {
        let elsewhere = query.cursor.is_some()
            || query.since.is_some()
            || query.bbox.is_some()
            || query.at_wall_ms.is_some();
        if elsewhere || !are_all_as_asked(query) {
            return Ok(Vec::new());
        }
        let wanted = query.q.as_deref().map(str::to_lowercase);
        let fits = move |name: &str| {
            let wanted = wanted.as_ref();
            wanted.is_none_or(|wanted| name.to_lowercase().contains(wanted))
        };
        let unknown = match query.filters.get("name") {
            Some(name) => {
                let named = self.devices.unknown_device(name);
                named.filter(|it| fits(&it.name)).into_iter().collect()
            }
            None => self.first_unknown(limit, fits).await?,
        };
        Ok(unknown
            .into_iter()
            .map(|it| self.unknown_value(it))
            .collect())
    }

    /// The device without a document that has this id.
    async fn unknown_device_of(&self, id: &str) -> Result<Option<Value>, AppError> {
        let Ok(id) = id.parse::<RecordId>() else {
            return Ok(None);
        };
        let operation = self.me.operation.0;
        let has_id = move |name: &str| ids::stable_id(&operation, Kind::Device, name) == id;
        let found = self.first_unknown(1, has_id).await?;
        Ok(found.into_iter().next().map(|it| self.unknown_value(it)))
    }

    /// Those that fit, the first by name. Looks at all of them, so on a thread of its own.
    async fn first_unknown(
        &self,
        limit: usize,
        fits: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Vec<UnknownDevice>, AppError> {
        let devices = self.devices.clone();
        tokio::task::spawn_blocking(move || devices.unknown_devices(limit, fits))
            .await
            .map_err(|error| AppError::Fault {
                context: "look for devices that nobody has approved",
                source: Box::new(error),
            })
    }

    /// As a document that says nothing but its name would be shown, with what was heard.
    fn unknown_value(&self, unknown: UnknownDevice) -> Value {
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
    }
}

/// Whether what a list asks for besides the name, such as the state, is what devices without a document have: they are all
/// alike in it.
fn are_all_as_asked(query: &ListQuery) -> bool {
    let spec = Kind::Device.spec();
    let mut others = query.filters.iter().filter(|(field, _)| *field != "name");
    others.all(|(field, value)| {
        let field = spec.field(field);
        field.is_some_and(|field| field.default_json() == json!(value))
    })
}
