//! Which decoder reads which topic: entries of muster.toml first, then those that were added through the API.
//!
//! Invariants: the table in use is replaced as a whole, and sessions notice; what the API added is on the disk before it is
//! in use, and takes the place only of the entries that its writer saw.

mod in_use;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use domain::FieldError;
use domain::permissions::{Action, Subject};
use sensor_drivers::script::SCRIPT_BYTES_MAX;
use sensor_drivers::{
    ConfigErrors, Decoded, DecoderConfig, ENTRIES_MAX, MUSTER_DECODER, Message, Route,
};
use serde_json::{Map, Value, json};
use store::Batch;
use sync_engine::Lane;
use tokio::sync::Mutex;

pub(in crate::app) use self::in_use::Active;
use self::in_use::{NOTHING_ADDED, version_of};
use super::audit;
use super::{App, AppError, Caller, to_its_end};

/// Name of the setting with the entries that the API added.
const SETTING: &str = "decoders";

/// The decoders of a node. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::app) struct Decoders {
    active: Arc<ArcSwap<Active>>,
    /// Held from the look at the version until what replaces it is in use: of two writers who saw the same one, the
    /// second is told.
    replacing: Arc<Mutex<()>>,
}

/// Why the decoders of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DecodersError {
    /// A script that an entry names.
    #[error("decoder of {topic}: read {file}: {cause}")]
    Script {
        /// The entry's topic.
        topic: String,
        /// The file.
        file: String,
        /// Why; part of the text, so no source that would tell it twice.
        cause: std::io::Error,
    },
    /// Entries that do not fit.
    #[error("{0}")]
    Entries(ConfigErrors),
    /// The store.
    #[error(transparent)]
    App(#[from] AppError),
}

impl Decoders {
    pub(in crate::app) fn now(&self) -> Arc<Active> {
        self.active.load_full()
    }

    fn replace(&self, active: Active) {
        self.active.store(Arc::new(active));
    }
}

impl App {
    /// Takes the decoders of the configuration into use, with those that were added through the API. Script files are
    /// read relative to `directory`.
    ///
    /// # Errors
    /// An entry that does not fit, a script that cannot be read, a fault of the store.
    pub async fn use_decoders(
        &self,
        mut configured: Vec<DecoderConfig>,
        directory: &Path,
    ) -> Result<(), DecodersError> {
        for entry in &mut configured {
            read_script(entry, directory)?;
        }
        let saved = self.read(|reader| reader.setting(SETTING)).await?;
        let saved = saved.as_deref().unwrap_or(NOTHING_ADDED);
        // What was added when another configuration stood must not keep the node from starting.
        let active = Active::of(configured, saved).map_err(DecodersError::Entries)?;
        for (_, topic, problem) in active.unfit() {
            tracing::error!(
                topic,
                problem,
                "a decoder that was added through the API does not fit any more: it is not in use"
            );
        }
        self.decoders.replace(active);
        Ok(())
    }

    /// The decoders in the order in which they are asked.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn list_decoders(&self, caller: &Caller) -> Result<Value, AppError> {
        self.authorise(caller, Action::Read, Subject::Node)?;
        let active = self.decoders.now();
        Ok(json!({
            "items": active.values(),
            "next": Value::Null,
            "since": self.event_position().to_string(),
            "version": active.version,
        }))
    }

    /// Replaces the decoders that were added through the API; `seen` is the version of [`App::list_decoders`] that the
    /// new list was made from. What did not fit in that list may stay as it is.
    ///
    /// # Errors
    /// `VersionMissing`; `Invalid` with every other entry that does not fit; `VersionStale` where the list is another one by
    /// now; `Forbidden`; a fault of the store.
    pub async fn put_decoders(
        self: &Arc<Self>,
        caller: &Caller,
        seen: Option<&str>,
        members: Map<String, Value>,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        let seen = seen.ok_or(AppError::VersionMissing)?.to_owned();
        let items = items_of(members)?;
        let (app, caller) = (Arc::clone(self), caller.clone());
        to_its_end("replace the decoders", async move {
            app.replace_added(&caller, &seen, items).await?;
            app.list_decoders(&caller)
        })
        .await
    }

    /// Stores entries, and takes those that fit into use.
    async fn replace_added(
        &self,
        caller: &Caller,
        seen: &str,
        items: Vec<Value>,
    ) -> Result<(), AppError> {
        let _replacing = self.decoders.replacing.lock().await;
        let now = self.decoders.now();
        let entries = entries_of(items, &now);
        if now.version != seen {
            // Sent again because the answer was lost (RFC 9110 §13.1.1). Of any other list that was made from an older one it
            // does not matter yet what is wrong with it: its writer may have that from there.
            let is_there = match &entries {
                Ok(entries) => now.version == version_of(&saved_as(entries)?),
                Err(_) => false,
            };
            return is_there
                .then_some(())
                .ok_or(AppError::VersionStale("the decoders"));
        }
        let entries = entries?;
        let saved = saved_as(&entries)?;
        let next = Active::of(now.configured.clone(), &saved).map_err(|errors| {
            AppError::Invalid(vec![FieldError::new("/items", &errors.to_string())])
        })?;
        let refused = next
            .unfit()
            .filter(|(place, ..)| now.unfit_like(&entries[*place]).is_none())
            .map(|(place, _, problem)| FieldError::new(&format!("/items/{place}"), problem));
        let refused: Vec<FieldError> = refused.collect();
        if !refused.is_empty() {
            return Err(AppError::Invalid(refused));
        }
        let topics: Vec<&Value> = entries.iter().map(|entry| &entry["topic"]).collect();
        let mut batch = Batch::new(Lane::Coordination, self.clock.wall_ms());
        batch.audit.push(audit::record(
            batch.arrival_wall_ms,
            &caller.name,
            "decoders.put",
            None,
            &json!({ "topics": topics }),
        ));
        batch.settings.push((SETTING.to_owned(), Some(saved)));
        self.store.commit(batch).await?;
        self.decoders.replace(next);
        Ok(())
    }

    /// What the decoders make of a message, without storing anything.
    ///
    /// # Errors
    /// `Invalid` where the message cannot be read, with the reason; `Forbidden`.
    pub async fn try_decoders(
        self: &Arc<Self>,
        caller: &Caller,
        topic: String,
        payload: Vec<u8>,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Read, Subject::Node)?;
        let (app, received_ms) = (Arc::clone(self), self.clock.wall_ms().cast_signed());
        let tried = tokio::task::spawn_blocking(move || {
            let active = app.decoders.now();
            let name = match active.table.route(&topic) {
                Some(Route::Entry(entry)) => entry.name().to_owned(),
                Some(Route::Muster) => MUSTER_DECODER.0.to_owned(),
                None => String::new(),
            };
            let message = Message {
                topic: &topic,
                payload: &payload,
                received_ms,
            };
            (name, active.table.decode(&message))
        });
        let (decoder, decoded) = tried.await.map_err(|error| AppError::Fault {
            context: "try decoders",
            source: Box::new(error),
        })?;
        match decoded {
            Ok(decoded) => Ok(decoded_value(&decoder, &decoded)),
            Err(error) => Err(AppError::Invalid(vec![FieldError::new(
                "/payload_base64",
                &error.to_string(),
            )])),
        }
    }
}

/// What a request wants to be there.
fn items_of(mut members: Map<String, Value>) -> Result<Vec<Value>, AppError> {
    let items = match members.remove("items") {
        Some(Value::Array(items)) if members.is_empty() => items,
        _ => {
            return Err(AppError::Invalid(vec![FieldError::new(
                "/items",
                "a list of decoders is expected, and nothing else",
            )]));
        }
    };
    if items.len() > ENTRIES_MAX {
        let detail = format!("at most {ENTRIES_MAX} decoders");
        return Err(AppError::Invalid(vec![FieldError::new("/items", &detail)]));
    }
    Ok(items)
}

/// The entries as they are to be stored, each by itself: whether they fit together is seen when they are built. What does
/// not fit `now` and is sent back stays as it was.
fn entries_of(items: Vec<Value>, now: &Active) -> Result<Vec<Value>, AppError> {
    let mut entries = Vec::new();
    let mut errors = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        if let Some(unfit) = now.unfit_like(&item) {
            entries.push(unfit.clone());
            continue;
        }
        let mut refuse = |detail: &str| {
            errors.push(FieldError::new(&format!("/items/{index}"), detail));
        };
        match serde_json::from_value::<DecoderConfig>(item) {
            Ok(mut entry) => {
                let script = entry.script_mut();
                if script.is_some_and(|script| script.file.is_some()) {
                    refuse("files belong to the configuration: send the script's source");
                }
                entries.push(json!(entry));
            }
            Err(error) => refuse(&error.to_string()),
        }
    }
    if errors.is_empty() {
        Ok(entries)
    } else {
        Err(AppError::Invalid(errors))
    }
}

/// As the setting has them.
fn saved_as(entries: &[Value]) -> Result<Vec<u8>, AppError> {
    serde_json::to_vec(entries).map_err(|error| AppError::Fault {
        context: "save decoders",
        source: Box::new(error),
    })
}

fn read_script(entry: &mut DecoderConfig, directory: &Path) -> Result<(), DecodersError> {
    let topic = entry.topic.clone();
    let Some(script) = entry.script_mut() else {
        return Ok(());
    };
    let Some(file) = script.file.take() else {
        return Ok(());
    };
    let read = || -> std::io::Result<String> {
        let path = directory.join(&file);
        let bytes = std::fs::metadata(&path)?.len();
        if bytes > SCRIPT_BYTES_MAX as u64 {
            let detail = format!("{bytes} bytes: a script has at most {SCRIPT_BYTES_MAX}");
            return Err(std::io::Error::other(detail));
        }
        std::fs::read_to_string(path)
    };
    let source = read().map_err(|cause| DecodersError::Script {
        topic,
        file: file.clone(),
        cause,
    })?;
    script.source = Some(source);
    Ok(())
}

fn decoded_value(decoder: &str, decoded: &Decoded) -> Value {
    let devices: Vec<Value> = decoded
        .devices
        .iter()
        .map(|report| {
            let samples: Vec<Value> = report
                .samples
                .iter()
                .map(|sample| {
                    json!({
                        "channel": sample.channel,
                        "value": sample.value,
                        "unit": sample.unit.as_ref().map(sensor_drivers::UnitString::as_str),
                        "at": sample.device_time_ms.map(super::clock::rfc3339),
                    })
                })
                .collect();
            json!({
                "device": report.device,
                "readings": samples,
                "battery_pct": report.facts.battery_pct,
                "rssi_dbm": report.facts.rssi_dbm,
                "snr_db": report.facts.snr_db,
                "firmware": report.facts.firmware,
                "label": report.facts.label,
                "online": report.facts.online,
                "texts": report.texts.iter().map(|text| text.text.clone()).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "decoder": decoder,
        "devices": devices,
        "skipped": decoded.skipped,
        "warnings": decoded.warnings,
        "noise": decoded.noise,
    })
}
