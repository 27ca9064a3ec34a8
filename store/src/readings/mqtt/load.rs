//! Rows to what the endpoint starts with.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::{
    CommandRequest, CommandState, DeviceCommand, MqttAccount, MqttMessage, MqttOutgoing,
    MqttSession, MqttState,
};
use crate::error::{Doing, StoreError};
use crate::readings::types::SessionNo;

/// Reads everything; bounded by the bounds that the endpoint keeps as it writes.
pub(crate) fn load(connection: &Connection) -> Result<MqttState, StoreError> {
    let mut sessions = all(
        connection,
        "SELECT p.session, s.client_id, p.owner, p.expiry_s, p.left_ms FROM mqtt_persistent p \
         JOIN mqtt_session s ON s.no = p.session ORDER BY p.session",
        |row| {
            Ok(MqttSession {
                session: SessionNo(row.get(0)?),
                client_id: row.get(1)?,
                owner: row.get(2)?,
                expiry_s: row.get(3)?,
                left_ms: row.get(4)?,
                subscriptions: Vec::new(),
                outgoing: Vec::new(),
            })
        },
    )?;
    let place: HashMap<SessionNo, usize> = sessions
        .iter()
        .enumerate()
        .map(|(place, session)| (session.session, place))
        .collect();
    let subscriptions = all(
        connection,
        "SELECT session, filter, options, identifier FROM mqtt_subscription",
        |row| {
            Ok((
                SessionNo(row.get(0)?),
                (row.get(1)?, row.get(2)?, row.get(3)?),
            ))
        },
    )?;
    for (session, subscription) in subscriptions {
        if let Some(session) = place.get(&session).and_then(|&at| sessions.get_mut(at)) {
            session.subscriptions.push(subscription);
        }
    }
    let outgoing = all(
        connection,
        "SELECT topic, payload, properties, qos, received_ms, expires_ms, session, number, packet, identifiers, retain, \
         released FROM mqtt_outgoing ORDER BY session, number",
        |row| {
            let message = Arc::new(message(row)?);
            let outgoing = MqttOutgoing {
                number: row.get::<_, i64>(7)?.cast_unsigned(),
                packet_id: row.get(8)?,
                qos: message.qos,
                message,
                identifiers: row.get::<_, Vec<u8>>(9)?.into(),
                retain: row.get(10)?,
                released: row.get(11)?,
            };
            Ok((SessionNo(row.get(6)?), outgoing))
        },
    )?;
    for (session, outgoing) in outgoing {
        if let Some(session) = place.get(&session).and_then(|&at| sessions.get_mut(at)) {
            session.outgoing.push(outgoing);
        }
    }
    Ok(MqttState {
        sessions,
        retained: all(
            connection,
            "SELECT topic, payload, properties, qos, received_ms, expires_ms FROM mqtt_retained",
            message,
        )?,
        accounts: all(
            connection,
            "SELECT name, device, secret_hash, publish, subscribe, created_ms FROM mqtt_account",
            account,
        )?,
        commands: all(
            connection,
            "SELECT id, device, payload, state, detail, created_by, created_ms, expires_ms, changed_ms, \
                    request, body_hash \
             FROM device_command ORDER BY created_ms, id",
            command,
        )?,
        device_states: all(
            connection,
            "SELECT device, payload, received_ms FROM device_state",
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )?,
    })
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    connection
        .prepare(sql)
        .and_then(|mut statement| statement.query_map([], read)?.collect())
        .doing("read what the MQTT endpoint has promised")
}

/// Columns 0 to 5.
fn message(row: &Row<'_>) -> rusqlite::Result<MqttMessage> {
    Ok(MqttMessage {
        topic: row.get::<_, String>(0)?.into(),
        payload: row.get::<_, Vec<u8>>(1)?.into(),
        properties: row.get::<_, Vec<u8>>(2)?.into(),
        qos: row.get(3)?,
        received_ms: row.get(4)?,
        expires_ms: row.get(5)?,
    })
}

fn account(row: &Row<'_>) -> rusqlite::Result<MqttAccount> {
    let lines = |text: String| text.lines().map(str::to_owned).collect();
    Ok(MqttAccount {
        name: row.get(0)?,
        device: row.get(1)?,
        secret_hash: crate::sql::blob(row, 2)?,
        publish: lines(row.get(3)?),
        subscribe: lines(row.get(4)?),
        created_ms: row.get(5)?,
    })
}

fn command(row: &Row<'_>) -> rusqlite::Result<DeviceCommand> {
    let request = match row.get_ref(9)? {
        ValueRef::Null => None,
        _ => Some(CommandRequest {
            scope_hash: crate::sql::blob(row, 9)?,
            body_hash: crate::sql::blob(row, 10)?,
        }),
    };
    Ok(DeviceCommand {
        id: crate::sql::blob(row, 0)?,
        device: row.get(1)?,
        payload: row.get(2)?,
        state: CommandState::from_code(row.get(3)?),
        detail: row.get(4)?,
        created_by: row.get(5)?,
        created_ms: row.get(6)?,
        expires_ms: row.get(7)?,
        changed_ms: row.get(8)?,
        request,
    })
}
