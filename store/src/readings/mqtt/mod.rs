//! What the MQTT endpoint has promised, beside the readings: sessions, subscriptions, messages on their way to clients,
//! retained messages, accounts, commands.
//!
//! Always holds: the endpoint's memory decides, this file follows: changes are applied in the order in which they were
//! handed in, in the transaction of the readings they came with, and [`MqttState`] is what they add up to.

mod apply;
mod exactly_once;
mod load;

use std::sync::Arc;

pub(crate) use self::apply::{apply, forget_session};
pub(crate) use self::exactly_once::Unreleased;
pub(crate) use self::load::load;
use super::types::SessionNo;

/// An application message for subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttMessage {
    pub topic: Box<str>,
    pub payload: Box<[u8]>,
    /// Properties of MQTT 5 as on the wire, without message expiry and subscription identifiers.
    pub properties: Box<[u8]>,
    /// As published: 0, 1 or 2.
    pub qos: u8,
    pub received_ms: i64,
    /// Of no use to anybody afterwards.
    pub expires_ms: Option<i64>,
}

/// A message on its way to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttOutgoing {
    /// Order within the session.
    pub number: u64,
    pub packet_id: u16,
    pub message: Arc<MqttMessage>,
    /// As delivered: 1 or 2.
    pub qos: u8,
    pub retain: bool,
    /// Subscription identifiers of MQTT 5 as on the wire.
    pub identifiers: Box<[u8]>,
    /// PUBREC came: the next packet about it is PUBREL.
    pub released: bool,
}

/// Who may publish and subscribe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttAccount {
    pub name: String,
    /// The one device that it is for; `None` for a gateway.
    pub device: Option<String>,
    pub secret_hash: [u8; 32],
    /// Topic filters.
    pub publish: Vec<String>,
    pub subscribe: Vec<String>,
    pub created_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandState {
    /// Stored; no connection of the device has taken it.
    Queued,
    /// The device's connection has taken it.
    Sent,
    /// The device says that it has done it.
    Acknowledged,
    /// The device says that it could not.
    Failed,
    /// Its time was over before the device said anything.
    Expired,
}

/// Something that a device is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceCommand {
    pub id: [u8; 16],
    pub device: String,
    /// JSON.
    pub payload: String,
    pub state: CommandState,
    pub detail: Option<String>,
    pub created_by: String,
    pub created_ms: i64,
    pub expires_ms: i64,
    pub changed_ms: i64,
    /// Where whoever gave it wanted it to be given once, however often they send it.
    pub request: Option<CommandRequest>,
}

/// Tells a request from others. It is kept with the command, because both must be there or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandRequest {
    /// Hash of who sent which key to which path.
    pub scope_hash: [u8; 32],
    pub body_hash: [u8; 32],
}

/// One change of what is promised.
#[derive(Debug, Clone)]
pub enum MqttChange {
    /// Nothing of an earlier session under this number counts any more.
    SessionFresh {
        session: SessionNo,
    },
    /// The session outlives its connection, which is there now.
    SessionKept {
        session: SessionNo,
        owner: String,
        expiry_s: u32,
    },
    /// Its connection is gone.
    SessionLeft {
        session: SessionNo,
        expiry_s: u32,
        left_ms: i64,
    },
    Subscribed {
        session: SessionNo,
        filter: String,
        options: u8,
        identifier: u32,
    },
    Unsubscribed {
        session: SessionNo,
        filter: String,
    },
    Enqueued {
        session: SessionNo,
        outgoing: MqttOutgoing,
    },
    /// PUBREC came for it.
    OutgoingReleased {
        session: SessionNo,
        number: u64,
    },
    /// The client has it, or nobody wants it any more.
    Dequeued {
        session: SessionNo,
        number: u64,
    },
    Retained(Arc<MqttMessage>),
    RetainedForgotten {
        topic: String,
    },
    Account(MqttAccount),
    AccountRemoved {
        name: String,
    },
    Command(DeviceCommand),
    CommandForgotten {
        id: [u8; 16],
    },
    /// What a device says about itself.
    DeviceState {
        device: String,
        payload: Vec<u8>,
        received_ms: i64,
    },
}

impl MqttChange {
    /// The session whose promises it changes, where it is one's.
    pub(crate) fn session(&self) -> Option<SessionNo> {
        match self {
            MqttChange::SessionFresh { session }
            | MqttChange::SessionKept { session, .. }
            | MqttChange::SessionLeft { session, .. }
            | MqttChange::Subscribed { session, .. }
            | MqttChange::Unsubscribed { session, .. }
            | MqttChange::Enqueued { session, .. }
            | MqttChange::OutgoingReleased { session, .. }
            | MqttChange::Dequeued { session, .. } => Some(*session),
            MqttChange::Retained(_)
            | MqttChange::RetainedForgotten { .. }
            | MqttChange::Account(_)
            | MqttChange::AccountRemoved { .. }
            | MqttChange::Command(_)
            | MqttChange::CommandForgotten { .. }
            | MqttChange::DeviceState { .. } => None,
        }
    }

    /// How much of the writer's queue it takes, in readings.
    pub(crate) fn weight(&self) -> usize {
        match self {
            MqttChange::Enqueued { outgoing, .. } => 1 + outgoing.message.payload.len() / 64,
            MqttChange::Retained(message) => 1 + message.payload.len() / 64,
            _ => 1,
        }
    }
}

/// A change, and the message of the batch that asked for it: if that came already, so did the change.
#[derive(Debug, Clone)]
pub struct MqttWrite {
    pub change: MqttChange,
    /// Index into [`super::IngestBatch::messages`].
    pub message: Option<u32>,
}

impl From<MqttChange> for MqttWrite {
    fn from(change: MqttChange) -> Self {
        MqttWrite {
            change,
            message: None,
        }
    }
}

/// A session that outlives its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttSession {
    pub session: SessionNo,
    pub client_id: String,
    pub owner: String,
    pub expiry_s: u32,
    /// `None`: it was connected when this file was last written.
    pub left_ms: Option<i64>,
    /// Filter, options, identifier.
    pub subscriptions: Vec<(String, u8, u32)>,
    /// In order.
    pub outgoing: Vec<MqttOutgoing>,
}

/// Everything at start.
#[derive(Debug, Clone, Default)]
pub struct MqttState {
    pub sessions: Vec<MqttSession>,
    pub retained: Vec<MqttMessage>,
    pub accounts: Vec<MqttAccount>,
    /// By the order in which they were made.
    pub commands: Vec<DeviceCommand>,
    /// Device, payload, when.
    pub device_states: Vec<(String, Vec<u8>, i64)>,
}
