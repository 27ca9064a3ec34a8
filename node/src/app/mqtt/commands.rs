//! Commands to devices: given by a person, stored, published on `muster/v1/<device>/cmd`, answered on `state`.
//!
//! ```text
//! queued ──the device's connection took it──▶ sent ──{"id","ok":true}──▶ acknowledged
//!    └──────────────── its time is over ───────┴──▶ expired   └──{"ok":false}──▶ failed
//! ```
//!
//! Invariants:
//! - A command is stored before the person hears of it, and waits here, not in a session's queue: it is published to
//!   whatever connection of the device comes, and again until one has acknowledged it. It may come twice; its id tells.
//! - A request that is sent again with its key gives no second command: the key is kept with the command, in one commit.
//! - Commands are never dropped silently: each ends acknowledged, failed or expired, and is listed until
//!   [`COMMANDS_MAX`] newer ones came.

mod people;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use store::{
    CommandRequest, CommandState, DeviceCommand, IDEMPOTENCY_KEPT_MS, MqttChange, MqttMessage,
};
use uuid::Uuid;

use super::queue::encode_identifier;
use super::rights::{Aim, Rights, command_topic};
use super::session::Session;
use super::topics::fits;
use super::{Mqtt, Taker};
use crate::app::clock::rfc3339;

/// Commands kept, of all devices: the oldest that is over makes room.
pub const COMMANDS_MAX: usize = 10_000;
/// Commands of one device that are not over.
pub const COMMANDS_OPEN_MAX: usize = 100;
/// What a device says about a command, at most so much of it.
const DETAIL_BYTES_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Commands {
    /// UUIDv7: by the order in which they were made.
    by_id: BTreeMap<[u8; 16], DeviceCommand>,
    /// Those that came with a key, by what the key was sent for.
    by_scope: BTreeMap<[u8; 32], [u8; 16]>,
    /// Not over.
    open: usize,
}

impl Commands {
    pub(super) fn restore(commands: Vec<DeviceCommand>) -> Self {
        let mut restored = Commands::default();
        for command in commands {
            restored.insert(command);
        }
        restored
    }

    fn insert(&mut self, command: DeviceCommand) {
        self.open += usize::from(is_open(&command));
        if let Some(request) = &command.request {
            self.by_scope.insert(request.scope_hash, command.id);
        }
        self.by_id.insert(command.id, command);
    }

    /// The command that came with this key, unless that is longer ago than keys are kept.
    fn given_for(&self, request: &CommandRequest, now_ms: i64) -> Option<&DeviceCommand> {
        let id = self.by_scope.get(&request.scope_hash)?;
        let kept_from_ms = now_ms.saturating_sub_unsigned(IDEMPOTENCY_KEPT_MS);
        self.by_id
            .get(id)
            .filter(|command| command.created_ms >= kept_from_ms)
    }

    fn open_of<'a>(&'a self, device: &'a str) -> impl Iterator<Item = &'a DeviceCommand> {
        self.by_id
            .values()
            .filter(move |command| is_open(command) && command.device == device)
    }

    /// Moves a command on; answers the change to store.
    fn settle(
        &mut self,
        id: &[u8; 16],
        state: CommandState,
        detail: Option<String>,
        now_ms: i64,
    ) -> Option<MqttChange> {
        let command = self.by_id.get_mut(id)?;
        if !is_open(command) || command.state == state {
            return None;
        }
        command.state = state;
        command.detail = detail;
        command.changed_ms = now_ms;
        let command = command.clone();
        self.open -= usize::from(!is_open(&command));
        metrics::counter!("muster_commands_total", "state" => word(state)).increment(1);
        Some(MqttChange::Command(command))
    }

    /// Forgets the oldest that are over, down to room for one more.
    fn make_room(&mut self) -> Vec<MqttChange> {
        let surplus = (self.by_id.len() + 1).saturating_sub(COMMANDS_MAX);
        let over: Vec<[u8; 16]> = self
            .by_id
            .values()
            .filter(|command| !is_open(command))
            .take(surplus)
            .map(|command| command.id)
            .collect();
        for id in &over {
            let forgotten = self.by_id.remove(id);
            let Some(request) = forgotten.and_then(|it| it.request) else {
                continue;
            };
            // A key that was used again after its time is a newer command's.
            if self.by_scope.get(&request.scope_hash) == Some(id) {
                self.by_scope.remove(&request.scope_hash);
            }
        }
        over.into_iter()
            .map(|id| MqttChange::CommandForgotten { id })
            .collect()
    }
}

fn is_open(command: &DeviceCommand) -> bool {
    matches!(command.state, CommandState::Queued | CommandState::Sent)
}

impl Mqtt {
    /// A session may have become one that takes commands.
    pub(super) fn dispatch_to(&self, session: &Arc<Session>) {
        let subscriptions = session.subscriptions();
        if subscriptions.is_empty() {
            return;
        }
        let commands = self.0.commands.lock();
        if commands.open == 0 {
            return;
        }
        let queued: Vec<DeviceCommand> = commands
            .by_id
            .values()
            .filter(|command| command.state == CommandState::Queued)
            .cloned()
            .collect();
        drop(commands);
        for command in queued {
            let topic = command_topic(&command.device);
            let fitting = subscriptions
                .iter()
                .find(|(filter, _)| fits(filter, &topic));
            if let Some((filter, grant)) = fitting {
                let taker = Taker {
                    session: Arc::clone(session),
                    grant: *grant,
                    aim: Aim::of(filter),
                };
                self.hand_over(&command, &taker, encode_identifier(grant.identifier));
            }
        }
    }

    /// Publishes a command to whoever listens now.
    fn dispatch(&self, command: &DeviceCommand) {
        for (taker, identifiers) in self.takers(&command_topic(&command.device)) {
            self.hand_over(command, &taker, identifiers);
        }
    }

    fn hand_over(&self, command: &DeviceCommand, taker: &Taker, identifiers: Box<[u8]>) {
        let session = &taker.session;
        if !session.is_connected() || session.carries(&command.id) {
            return;
        }
        let message = Arc::new(MqttMessage {
            topic: command_topic(&command.device).into(),
            payload: payload(command).into(),
            properties: Box::default(),
            qos: 1,
            received_ms: command.created_ms,
            expires_ms: Some(command.expires_ms),
        });
        if !self.speaks_for(taker, &command.device) {
            // A dashboard, or somebody without the device's account: it sees the command and does not carry it out.
            let _ = session.offer(&message, false, identifiers);
            return;
        }
        if taker.grant.qos == 0 {
            if session.offer(&message, false, identifiers).is_ok() {
                self.command_sent(&command.id);
            }
            return;
        }
        // Without room it stays queued: the session makes room, or its connection ends, and it is tried again.
        if let Ok(promised) = session.promise(&message, 1, false, identifiers, Some(command.id)) {
            session.keep(promised.number);
        }
    }

    /// A connection with these rights has taken it.
    pub(super) fn command_taken(&self, id: &[u8; 16], rights: &Rights) {
        // It was promised to whoever spoke for the device then: an account may have been made since.
        let claims = self.0.devices.claims();
        let reaches_device = self
            .0
            .commands
            .lock()
            .by_id
            .get(id)
            .is_some_and(|command| rights.takes_commands(&command.device, Aim::Device, claims));
        if reaches_device {
            self.command_sent(id);
        }
    }

    fn command_sent(&self, id: &[u8; 16]) {
        let now_ms = self.now_ms();
        let change = self
            .0
            .commands
            .lock()
            .settle(id, CommandState::Sent, None, now_ms);
        self.write_soon(change.into_iter().collect());
    }

    /// A device said something on `state`: the change to store if it was about a command.
    pub(super) fn command_answered(&self, device: &str, payload: &[u8]) -> Option<MqttChange> {
        if payload.len() > super::state::STATE_BYTES_MAX {
            return None;
        }
        let answer: Value = serde_json::from_slice(payload).ok()?;
        let id = Uuid::parse_str(answer.get("id")?.as_str()?).ok()?;
        let state = match answer.get("ok")?.as_bool()? {
            true => CommandState::Acknowledged,
            false => CommandState::Failed,
        };
        let detail = answer.get("detail").and_then(Value::as_str).map(|text| {
            let end = text.floor_char_boundary(DETAIL_BYTES_MAX);
            text[..end].to_owned()
        });
        let mut commands = self.0.commands.lock();
        let is_its = commands
            .by_id
            .get(id.as_bytes())
            .is_some_and(|command| command.device == device);
        if !is_its {
            return None;
        }
        commands.settle(id.as_bytes(), state, detail, self.now_ms())
    }

    /// Ends commands whose time is over, and tries those again that found no room.
    pub(super) fn expire_commands(&self) {
        let now_ms = self.now_ms();
        let mut commands = self.0.commands.lock();
        if commands.open == 0 {
            return;
        }
        let over: Vec<[u8; 16]> = commands
            .by_id
            .values()
            .filter(|command| is_open(command) && command.expires_ms <= now_ms)
            .map(|command| command.id)
            .collect();
        let changes = over
            .iter()
            .filter_map(|id| commands.settle(id, CommandState::Expired, None, now_ms))
            .collect();
        let found_no_room: Vec<DeviceCommand> = if self.is_listened_to() {
            commands
                .by_id
                .values()
                .filter(|command| command.state == CommandState::Queued)
                .filter(|command| self.would_be_taken(command))
                .cloned()
                .collect()
        } else {
            Vec::new()
        };
        drop(commands);
        self.write_soon(changes);
        for command in found_no_room {
            for (taker, identifiers) in self.takers(&command_topic(&command.device)) {
                if self.waits_for(&taker, &command.device) {
                    self.hand_over(&command, &taker, identifiers);
                }
            }
        }
    }

    /// Whether a connection of its device is there that does not have it yet.
    fn would_be_taken(&self, command: &DeviceCommand) -> bool {
        self.takers(&command_topic(&command.device))
            .iter()
            .any(|(taker, _)| {
                self.waits_for(taker, &command.device)
                    && taker.session.is_connected()
                    && !taker.session.carries(&command.id)
            })
    }

    /// Whether what this subscription takes reaches the device.
    fn speaks_for(&self, taker: &Taker, device: &str) -> bool {
        let claims = self.0.devices.claims();
        self.rights_of(&taker.session.owner)
            .is_some_and(|rights| rights.takes_commands(device, taker.aim, claims))
    }

    /// Whether a command waits for this subscription's acknowledgement.
    fn waits_for(&self, taker: &Taker, device: &str) -> bool {
        taker.grant.qos > 0 && self.speaks_for(taker, device)
    }
}

fn payload(command: &DeviceCommand) -> Vec<u8> {
    let id = Uuid::from_bytes(command.id);
    let expires_at = rfc3339(command.expires_ms);
    // The payload is JSON already, and stays as the person wrote it.
    format!(
        r#"{{"id":"{id}","payload":{},"expires_at":"{expires_at}"}}"#,
        command.payload
    )
    .into_bytes()
}

fn word(state: CommandState) -> &'static str {
    match state {
        CommandState::Queued => "queued",
        CommandState::Sent => "sent",
        CommandState::Acknowledged => "acknowledged",
        CommandState::Failed => "failed",
        CommandState::Expired => "expired",
    }
}
