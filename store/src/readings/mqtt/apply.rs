//! Changes to rows.

use rusqlite::{Connection, params};

use super::{CommandState, MqttChange, MqttMessage, MqttOutgoing};
use crate::readings::types::SessionNo;

/// Writes one change in the open transaction.
pub(crate) fn apply(connection: &Connection, change: &MqttChange) -> Result<(), rusqlite::Error> {
    match change {
        MqttChange::SessionFresh { session } => forget_session(connection, *session),
        MqttChange::SessionKept {
            session,
            owner,
            expiry_s,
        } => run(
            connection,
            "INSERT INTO mqtt_persistent (session, owner, expiry_s, left_ms) VALUES (?1, ?2, ?3, NULL) \
             ON CONFLICT DO UPDATE SET owner = excluded.owner, expiry_s = excluded.expiry_s, left_ms = NULL",
            params![session.0, owner, expiry_s],
        ),
        MqttChange::SessionLeft {
            session,
            expiry_s,
            left_ms,
        } => run(
            connection,
            "UPDATE mqtt_persistent SET expiry_s = ?2, left_ms = ?3 WHERE session = ?1",
            params![session.0, expiry_s, left_ms],
        ),
        MqttChange::Subscribed {
            session,
            filter,
            options,
            identifier,
        } => run(
            connection,
            "INSERT OR REPLACE INTO mqtt_subscription (session, filter, options, identifier) VALUES (?1, ?2, ?3, ?4)",
            params![session.0, filter, options, identifier],
        ),
        MqttChange::Unsubscribed { session, filter } => run(
            connection,
            "DELETE FROM mqtt_subscription WHERE session = ?1 AND filter = ?2",
            params![session.0, filter],
        ),
        MqttChange::Enqueued { session, outgoing } => enqueue(connection, *session, outgoing),
        MqttChange::OutgoingReleased { session, number } => run(
            connection,
            "UPDATE mqtt_outgoing SET released = 1 WHERE session = ?1 AND number = ?2",
            params![session.0, number.cast_signed()],
        ),
        MqttChange::Dequeued { session, number } => run(
            connection,
            "DELETE FROM mqtt_outgoing WHERE session = ?1 AND number = ?2",
            params![session.0, number.cast_signed()],
        ),
        MqttChange::Retained(message) => retain(connection, message),
        MqttChange::RetainedForgotten { topic } => run(
            connection,
            "DELETE FROM mqtt_retained WHERE topic = ?1",
            [topic],
        ),
        MqttChange::Account(account) => run(
            connection,
            "INSERT OR REPLACE INTO mqtt_account (name, device, secret_hash, publish, subscribe, created_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                account.name,
                account.device,
                &account.secret_hash[..],
                account.publish.join("\n"),
                account.subscribe.join("\n"),
                account.created_ms
            ],
        ),
        MqttChange::AccountRemoved { name } => run(
            connection,
            "DELETE FROM mqtt_account WHERE name = ?1",
            [name],
        ),
        MqttChange::Command(command) => run(
            connection,
            "INSERT OR REPLACE INTO device_command \
             (id, device, payload, state, detail, created_by, created_ms, expires_ms, changed_ms, request, body_hash) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                &command.id[..],
                command.device,
                command.payload,
                command.state.code(),
                command.detail,
                command.created_by,
                command.created_ms,
                command.expires_ms,
                command.changed_ms,
                command.request.as_ref().map(|it| &it.scope_hash[..]),
                command.request.as_ref().map(|it| &it.body_hash[..])
            ],
        ),
        MqttChange::CommandForgotten { id } => run(
            connection,
            "DELETE FROM device_command WHERE id = ?1",
            [&id[..]],
        ),
        MqttChange::DeviceState {
            device,
            payload,
            received_ms,
        } => run(
            connection,
            "INSERT OR REPLACE INTO device_state (device, payload, received_ms) VALUES (?1, ?2, ?3)",
            params![device, payload, received_ms],
        ),
    }
}

/// Drops whatever is kept of a session, but not its number.
pub(crate) fn forget_session(
    connection: &Connection,
    session: SessionNo,
) -> Result<(), rusqlite::Error> {
    for sql in [
        "DELETE FROM mqtt_unreleased WHERE session = ?1",
        "DELETE FROM mqtt_persistent WHERE session = ?1",
        "DELETE FROM mqtt_subscription WHERE session = ?1",
        "DELETE FROM mqtt_outgoing WHERE session = ?1",
    ] {
        run(connection, sql, [session.0])?;
    }
    Ok(())
}

fn enqueue(
    connection: &Connection,
    session: SessionNo,
    outgoing: &MqttOutgoing,
) -> Result<(), rusqlite::Error> {
    let message = &outgoing.message;
    run(
        connection,
        "INSERT OR REPLACE INTO mqtt_outgoing (session, number, packet, topic, payload, properties, identifiers, qos, \
         retain, received_ms, expires_ms, released) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            session.0,
            outgoing.number.cast_signed(),
            outgoing.packet_id,
            &*message.topic,
            &*message.payload,
            &*message.properties,
            &*outgoing.identifiers,
            outgoing.qos,
            outgoing.retain,
            message.received_ms,
            message.expires_ms,
            outgoing.released
        ],
    )
}

fn retain(connection: &Connection, message: &MqttMessage) -> Result<(), rusqlite::Error> {
    run(
        connection,
        "INSERT OR REPLACE INTO mqtt_retained (topic, payload, properties, qos, received_ms, expires_ms) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            &*message.topic,
            &*message.payload,
            &*message.properties,
            message.qos,
            message.received_ms,
            message.expires_ms
        ],
    )
}

fn run(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> Result<(), rusqlite::Error> {
    connection.prepare_cached(sql)?.execute(parameters)?;
    Ok(())
}

impl CommandState {
    fn code(self) -> u8 {
        match self {
            CommandState::Queued => 0,
            CommandState::Sent => 1,
            CommandState::Acknowledged => 2,
            CommandState::Failed => 3,
            CommandState::Expired => 4,
        }
    }

    /// A state that this version does not know counts as over: nothing is sent to a device on a guess.
    pub(super) fn from_code(code: u8) -> Self {
        match code {
            0 => CommandState::Queued,
            1 => CommandState::Sent,
            2 => CommandState::Acknowledged,
            3 => CommandState::Failed,
            _ => CommandState::Expired,
        }
    }
}
