//! What this node tells others that it has.

use serde_json::{Value, json};
use store::HeldLog;
use sync_engine::{Frontier, LogFrontier, Seq};

use super::super::{App, AppError};

impl App {
    /// The frontier, log by log, its hash, and how long it is when it travels whole.
    pub(super) async fn inspect_frontier(&self) -> Result<Value, AppError> {
        let held: Vec<HeldLog> = self.read(|reader| reader.held_logs()).await?;
        let frontier: Frontier = held
            .iter()
            .filter(|held| held.head.seq > Seq::NONE)
            .map(|held| {
                let log = LogFrontier {
                    floor: held.floor,
                    height: held.head.seq,
                    chain: held.head.chain,
                };
                (held.log, log)
            })
            .collect();
        let logs: Vec<Value> = held
            .iter()
            .filter(|held| frontier.get(&held.log).is_some())
            .map(|held| {
                let mut value = self.log_value(&held.log);
                value.insert("floor".into(), json!(held.floor));
                value.insert("height".into(), json!(held.head.seq));
                value.insert("chain".into(), json!(held.head.chain));
                value.insert("applied".into(), json!(held.applied));
                Value::Object(value)
            })
            .collect();
        Ok(json!({
            "hash": data_encoding::HEXLOWER.encode(&frontier.hash()),
            "logs": logs,
        }))
    }
}
