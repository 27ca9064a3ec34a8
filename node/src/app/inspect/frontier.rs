//! What this node tells others that it has.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use store::HeldLog;
use sync_engine::{
    Frontier, FrontierSize, LogFrontier, LogId, MarkHash, Memory, NodeId, Seq, frontier_size_since,
};

use super::super::present::Names as _;
use super::super::{App, AppError};

impl App {
    /// The frontier, log by log, its hash, and how long it is when it travels: whole, and to each peer that was level with
    /// this node once.
    pub(super) async fn inspect_frontier(&self) -> Result<Value, AppError> {
        let (held, memory): (Vec<HeldLog>, Memory) = self
            .read(|reader| Ok((reader.held_logs()?, reader.sync_memory()?)))
            .await?;
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
        let applied: BTreeMap<LogId, Seq> =
            held.iter().map(|held| (held.log, held.applied)).collect();
        let size = FrontierSize::of(&frontier, &applied, &self.trust.load());
        let since = |hash: MarkHash| {
            let mark = memory.marks.iter().find(|mark| mark.hash == hash)?;
            Some(frontier_size_since(mark, &frontier, &applied))
        };
        let peers: Vec<Value> = memory
            .peers
            .iter()
            .map(|(node, hash)| self.mark_value(node, *hash, since(*hash)))
            .collect();
        Ok(json!({
            "hash": data_encoding::HEXLOWER.encode(&frontier.hash()),
            "logs": logs,
            "whole_bytes": size.indexed,
            "whole_bytes_written_out": size.written_out,
            "peers": peers,
        }))
    }

    fn mark_value(&self, node: &NodeId, hash: MarkHash, since_bytes: Option<usize>) -> Value {
        json!({
            "node_id": node.to_string(),
            "name": self.names.node(&node.to_string()),
            "mark": data_encoding::HEXLOWER.encode(&hash.0),
            "since_bytes": since_bytes,
        })
    }
}
