//! The faults of sync as people see them.

use data_encoding::HEXLOWER;
use domain::permissions::{Action, Subject};
use serde_json::{Value, json};
use store::{FaultRow, UnseenFaults};

use super::record;
use crate::app::clock::rfc3339_wall;
use crate::app::types::{cursor_of, limit_of};
use crate::app::{App, AppError, Caller, Page};

/// Faults in one answer; each may take some 100 KiB.
const LIMIT_DEFAULT: u32 = 20;

/// See [`LIMIT_DEFAULT`]: 10 MB at worst, asked for by an administrator.
pub const SYNC_FAULTS_LIMIT_MAX: u32 = 100;

impl App {
    /// Times when a peer had made something else of the same entries, newest first.
    ///
    /// # Errors
    /// `Forbidden`, a limit or cursor that does not fit, a fault of the store.
    pub async fn sync_faults(
        &self,
        caller: &Caller,
        cursor: Option<String>,
        limit: Option<u32>,
    ) -> Result<Page, AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        let before = cursor_of::<i64>(cursor.as_deref())?;
        let limit = limit_of(limit, LIMIT_DEFAULT, SYNC_FAULTS_LIMIT_MAX)?;
        let rows = self
            .read(move |reader| reader.sync_faults(before, limit + 1))
            .await?;
        let since = self.event_position().to_string();
        let cursor = |row: &FaultRow| row.no.to_string();
        let show = |row| self.fault_value(&row);
        Ok(Page::cut(rows, limit, since, cursor, show))
    }

    /// Notes that somebody has looked at the fault of this id and at all older ones; answers how many were new to them.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound` for what is no id of a fault, a fault of the store.
    pub async fn see_sync_faults(&self, caller: &Caller, id: &str) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        let no = id.parse::<i64>().map_err(|_| AppError::NotFound {
            what: "fault of sync",
            id: id.to_owned(),
        })?;
        let seen = self
            .store
            .see_sync_faults(no, self.clock.wall_ms())
            .await
            .map_err(record::store_fault)?;
        Ok(json!({ "seen": seen }))
    }

    fn fault_value(&self, row: &FaultRow) -> Value {
        // Written by this program alone; what cannot be read is shown as it is.
        let detail: Value =
            serde_json::from_str(&row.detail).unwrap_or_else(|_| json!({ "text": row.detail }));
        json!({
            "id": row.no.to_string(),
            "at": rfc3339_wall(row.at_wall_ms),
            "last_at": rfc3339_wall(row.last_wall_ms),
            "times": row.times,
            "peer": row.peer.to_string(),
            "peer_name": self.name_of(row.peer),
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

/// What a status says of the faults that nobody has looked at.
pub(in crate::app) fn unseen_value(unseen: UnseenFaults) -> Value {
    json!({ "unseen": unseen.count, "last_at": unseen.last_wall_ms.map(rfc3339_wall) })
}
