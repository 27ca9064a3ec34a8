//! Words from devices, until they are facts of the operation.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{Doing, StoreError};

/// What a device said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceText {
    /// Names it: the same however often it is heard.
    pub id: [u8; 16],
    pub device: String,
    pub text: String,
    /// To whom; `None` for everybody.
    pub to: Option<String>,
    /// The radio's channel.
    pub channel: Option<u32>,
    /// Unix milliseconds.
    pub received_ms: i64,
    /// By the sender's clock.
    pub sent_ms: Option<i64>,
}

/// A text on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewText {
    pub text: DeviceText,
    /// Index into [`crate::IngestBatch::messages`] of the message that brought it, where redelivery is possible.
    pub message: Option<u32>,
}

/// Stores it, unless it waits already.
pub(crate) fn insert(connection: &Connection, text: &DeviceText) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached(
            "INSERT INTO device_text (id, device, text, recipient, channel, received_ms, sent_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            &text.id[..],
            text.device,
            text.text,
            text.to,
            text.channel,
            text.received_ms,
            text.sent_ms
        ])?;
    Ok(())
}

const COLUMNS: &str = "id, device, text, recipient, channel, received_ms, sent_ms";

fn text(row: &Row<'_>) -> rusqlite::Result<DeviceText> {
    Ok(DeviceText {
        id: crate::sql::blob(row, 0)?,
        device: row.get(1)?,
        text: row.get(2)?,
        to: row.get(3)?,
        channel: row.get(4)?,
        received_ms: row.get(5)?,
        sent_ms: row.get(6)?,
    })
}

/// All that wait, in the order in which they came. (Their number is bounded as they come.)
pub(crate) fn list(connection: &Connection) -> Result<Vec<DeviceText>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM device_text ORDER BY received_ms, id");
    connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_map([], text)?.collect())
        .doing("read texts that wait")
}

/// Those of one device, in the order in which they came.
pub(crate) fn list_of(
    connection: &Connection,
    device: &str,
) -> Result<Vec<DeviceText>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM device_text WHERE device = ?1 ORDER BY received_ms, id");
    connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_map([device], text)?.collect())
        .doing("read texts of a device that wait")
}

/// The ids of all that wait.
pub(crate) fn ids(connection: &Connection) -> Result<Vec<[u8; 16]>, StoreError> {
    connection
        .prepare_cached("SELECT id FROM device_text INDEXED BY device_text_device")
        .and_then(|mut statement| {
            statement
                .query_map([], |row| crate::sql::blob(row, 0))?
                .collect()
        })
        .doing("read which texts wait")
}

pub(crate) fn get(
    connection: &Connection,
    id: &[u8; 16],
) -> Result<Option<DeviceText>, StoreError> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM device_text WHERE id = ?1"))
        .and_then(|mut statement| statement.query_row([&id[..]], text).optional())
        .doing("read a text that waits")
}

/// How many wait, by device.
pub(crate) fn counts(connection: &Connection) -> Result<Vec<(String, u64)>, StoreError> {
    connection
        .prepare_cached("SELECT device, count(*) FROM device_text GROUP BY device")
        .and_then(|mut statement| {
            let count = |row: &Row<'_>| -> rusqlite::Result<(String, i64)> {
                Ok((row.get(0)?, row.get(1)?))
            };
            statement
                .query_map([], count)?
                .collect::<Result<Vec<_>, _>>()
        })
        .map(|all| {
            let counted = all
                .into_iter()
                .map(|(device, count)| (device, count.unsigned_abs()));
            counted.collect()
        })
        .doing("count texts that wait")
}

/// It has become a fact.
pub(crate) fn remove(connection: &Connection, id: &[u8; 16]) -> Result<(), StoreError> {
    connection
        .execute("DELETE FROM device_text WHERE id = ?1", [&id[..]])
        .map(drop)
        .doing("forget a text that was written down")
}
