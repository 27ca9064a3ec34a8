//! The faults of sync as people see them.

use data_encoding::HEXLOWER;
use domain::permissions::{Action, Subject};
use serde_json::{Value, json};
use store::FaultRow;

use crate::app::clock::rfc3339_wall;
use crate::app::{App, AppError, Caller, Page};

/// Faults in one answer; each may take some 100 KiB.
const LIMIT_DEFAULT: u32 = 20;
const LIMIT_MAX: u32 = 100;

impl App {
    /// Times when a peer had made something else of the same logs, newest first.
    ///
    /// # Errors
    /// `Forbidden`, a cursor that is none, a fault of the store.
    pub async fn sync_faults(
        &self,
        caller: &Caller,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Result<Page, AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        let before = cursor
            .map(|cursor| cursor.parse::<i64>())
            .transpose()
            .map_err(|_| {
                AppError::Unreadable(
                    "cursor is none that this node gave: begin again without one".into(),
                )
            })?;
        let limit = limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX) as usize;
        let mut rows = self
            .read(move |reader| reader.sync_faults(before, limit + 1))
            .await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        Ok(Page {
            next: rows.last().filter(|_| more).map(|row| row.no.to_string()),
            items: rows.iter().map(|row| self.fault_value(row)).collect(),
            since: self.event_position().to_string(),
        })
    }

    /// Notes that a person has looked at all faults up to the number `through`; answers how many were new to them.
    ///
    /// # Errors
    /// `Forbidden`, a fault of the store.
    pub async fn see_sync_faults(&self, caller: &Caller, through: i64) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        let seen = self
            .store
            .see_sync_faults(through, self.clock.wall_ms())
            .await
            .map_err(super::record::store_fault)?;
        Ok(json!({ "seen": seen }))
    }

    fn fault_value(&self, row: &FaultRow) -> Value {
        let name = self
            .trust
            .load()
            .grant(row.peer)
            .map(|grant| grant.name.clone());
        // Written by this program alone; what cannot be read is shown as it is.
        let detail: Value =
            serde_json::from_str(&row.detail).unwrap_or_else(|_| Value::String(row.detail.clone()));
        json!({
            "no": row.no,
            "at": rfc3339_wall(row.at_wall_ms),
            "last_at": rfc3339_wall(row.last_wall_ms),
            "times": row.times,
            "peer": row.peer.to_string(),
            "peer_name": name,
            "mark": HEXLOWER.encode(&row.mark.0),
            "group": row.group.to_string(),
            "objects": row.objects,
            "fault": detail["found"]["fault"].as_str().unwrap_or("unknown"),
            "repaired_at": row.repaired_at_wall_ms.map(rfc3339_wall),
            "seen_at": row.seen_at_wall_ms.map(rfc3339_wall),
            "detail": detail,
        })
    }
}
