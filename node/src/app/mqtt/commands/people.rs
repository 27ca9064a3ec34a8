//! Commands as people give and list them.

use std::sync::Arc;

use domain::permissions::{Action, Subject};
use domain::{FieldError, Kind};
use serde_json::{Value, json};
use store::{CommandRequest, CommandState, DeviceCommand, MqttChange};
use uuid::Uuid;

use super::{COMMANDS_MAX, COMMANDS_OPEN_MAX, Commands, word};
use crate::app::clock::rfc3339;
use crate::app::types::{cursor_of, limit_of};
use crate::app::{
    App, AppError, Caller, IdempotencyKey, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, Page, to_its_end,
};

/// One command's payload. A device has a few KiB of memory.
const PAYLOAD_BYTES_MAX: usize = 8 * 1024;
/// Where nothing is said: an hour. A pump that is switched on by an order of yesterday is dangerous.
const EXPIRES_S_DEFAULT: u64 = 3_600;
const EXPIRES_S_MAX: u64 = 30 * 24 * 3_600;

const DEVICES: Subject = Subject::Document(Kind::Device);

impl App {
    /// Stores a command for a device and publishes it: the command as [`App::list_commands`] shows it. Sent again with
    /// the same key within 7 days, it is given once and the answer is the first one.
    ///
    /// # Errors
    /// `Invalid` with pointers, `NotFound`, `Forbidden`, `Conflict` where too many wait, `IdempotencyReused`, a fault
    /// of the store.
    pub async fn send_command(
        self: &Arc<Self>,
        caller: &Caller,
        id: &str,
        payload: Value,
        expires_s: Option<u64>,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Value, AppError> {
        self.authorise(caller, Action::Edit, DEVICES)?;
        let text = payload.to_string();
        let expires_s = expires_s.unwrap_or(EXPIRES_S_DEFAULT);
        check(&text, expires_s)?;
        let device = self.device_name(caller, id).await?;
        let now_ms = self.mqtt.now_ms();
        let command = DeviceCommand {
            id: *Uuid::now_v7().as_bytes(),
            device,
            payload: text,
            state: CommandState::Queued,
            detail: None,
            created_by: caller.name.clone(),
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(i64::try_from(expires_s * 1_000).unwrap_or(i64::MAX)),
            changed_ms: now_ms,
            request: idempotency.map(|key| request(&key, caller)),
        };
        let (app, caller) = (Arc::clone(self), caller.clone());
        to_its_end(
            "give a command",
            async move { app.give(&caller, command).await },
        )
        .await
    }

    /// Makes a command one of those that wait, unless its request gave one before.
    async fn give(&self, caller: &Caller, command: DeviceCommand) -> Result<Value, AppError> {
        let _giving = self.mqtt.0.giving.lock().await;
        let mut changes = {
            let mut commands = self.mqtt.0.commands.lock();
            if let Some(answer) = answered_before(&commands, &command)? {
                return Ok(answer);
            }
            check_room(&commands, &command.device)?;
            commands.make_room()
        };
        self.note_audit(
            caller,
            "device.command",
            json!({ "device": command.device, "command": Uuid::from_bytes(command.id).to_string() }),
        )
        .await?;
        changes.push(MqttChange::Command(command.clone()));
        self.mqtt.write(changes).await?;
        self.mqtt.0.commands.lock().insert(command.clone());
        metrics::counter!("muster_commands_total", "state" => "queued").increment(1);
        self.mqtt.dispatch(&command);
        Ok(value(&command))
    }

    /// Commands of a device, newest first, with what it last said about itself: `{"items","next","since","reported"}`.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, a cursor that does not fit.
    pub async fn list_commands(
        &self,
        caller: &Caller,
        id: &str,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Result<(Page, Value), AppError> {
        self.authorise(caller, Action::Read, DEVICES)?;
        let device = self.device_name(caller, id).await?;
        let before = cursor_of::<Uuid>(cursor.as_deref())?.map_or([0xff; 16], Uuid::into_bytes);
        let limit = limit_of(limit, LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX)?;
        let since = self.store.readings().newest_position().to_string();
        let commands = self.mqtt.0.commands.lock();
        let found = commands
            .by_id
            .range(..before)
            .rev()
            .map(|(_, command)| command)
            .filter(|command| command.device == device)
            .take(limit + 1)
            .collect::<Vec<_>>();
        let cursor = |command: &&DeviceCommand| Uuid::from_bytes(command.id).to_string();
        let page = Page::cut(found, limit, since, cursor, value);
        drop(commands);
        let reported = self.mqtt.0.states.lock().get(&device);
        let reported = reported.map_or(Value::Null, |(payload, at_ms)| {
            let said: Value = serde_json::from_slice(&payload)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&payload).into_owned()));
            json!({ "at": rfc3339(at_ms), "state": said })
        });
        Ok((page, reported))
    }
}

fn request(key: &IdempotencyKey, caller: &Caller) -> CommandRequest {
    let scope = format!("{}\n{}", key.scope(caller.user_id), key.key);
    CommandRequest {
        scope_hash: *blake3::hash(scope.as_bytes()).as_bytes(),
        body_hash: key.body_hash,
    }
}

/// What was answered when this request came first, whatever has become of its command since.
fn answered_before(
    commands: &Commands,
    command: &DeviceCommand,
) -> Result<Option<Value>, AppError> {
    let Some(request) = &command.request else {
        return Ok(None);
    };
    let Some(given) = commands.given_for(request, command.created_ms) else {
        return Ok(None);
    };
    if given.request.as_ref() != Some(request) {
        return Err(AppError::IdempotencyReused);
    }
    Ok(Some(value(&DeviceCommand {
        state: CommandState::Queued,
        detail: None,
        changed_ms: given.created_ms,
        ..given.clone()
    })))
}

fn check_room(commands: &Commands, device: &str) -> Result<(), AppError> {
    if commands.open_of(device).count() >= COMMANDS_OPEN_MAX {
        return Err(AppError::Conflict(format!(
            "{COMMANDS_OPEN_MAX} commands wait for this device already: let them arrive or expire"
        )));
    }
    if commands.open >= COMMANDS_MAX {
        return Err(AppError::Conflict(format!(
            "{COMMANDS_MAX} commands to all devices wait at this node already: let them arrive or expire"
        )));
    }
    Ok(())
}

fn check(payload: &str, expires_s: u64) -> Result<(), AppError> {
    let mut errors = Vec::new();
    if payload.len() > PAYLOAD_BYTES_MAX {
        errors.push(FieldError {
            pointer: "/payload".into(),
            detail: format!(
                "{} bytes of JSON, at most {PAYLOAD_BYTES_MAX} fit a device",
                payload.len()
            ),
        });
    }
    if !(1..=EXPIRES_S_MAX).contains(&expires_s) {
        errors.push(FieldError {
            pointer: "/expires_s".into(),
            detail: format!("1 to {EXPIRES_S_MAX} seconds"),
        });
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(AppError::Invalid(errors))
    }
}

fn value(command: &DeviceCommand) -> Value {
    json!({
        "id": Uuid::from_bytes(command.id).to_string(),
        "device": command.device,
        "payload": serde_json::from_str::<Value>(&command.payload).unwrap_or_default(),
        "state": word(command.state),
        "detail": command.detail,
        "created_by": command.created_by,
        "created_at": rfc3339(command.created_ms),
        "expires_at": rfc3339(command.expires_ms),
        "changed_at": rfc3339(command.changed_ms),
    })
}
