//! The log, for a person: which logs this node holds, what stands in them, and whether it still verifies.
//!
//! Invariants: nothing here changes anything; what a payload says is never shown (it may be a password's hash), only
//! what it is and how long; the store is read in pages, so that looking at a log of a million entries keeps nobody from
//! writing.

mod frontier;
mod select;
mod verify;

use std::collections::BTreeMap;

use domain::permissions::{Action, Subject};
use domain::{FactKind, schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{EntryState, HeldLog, InspectedEntry, LogSize, StoreError};
use sync_engine::{
    Entry, EntryKind, Knows, LogId, Name, NodeId, PackedStream, Payload, Place, RUN_BYTES_MAX, Run,
    Seq, Trust, TrustRecord,
};
use uuid::Uuid;

use super::clock::rfc3339_wall;
use super::codec::DocumentCodec;
use super::present::Names as _;
use super::{App, AppError, Caller};

/// Entries or runs in one answer: what a person scrolls through.
const LIMIT_DEFAULT: u32 = 50;
/// Logs that a message names.
const NAMES_IN_ERROR_MAX: usize = 8;
/// At most this many: 500 entries are up to 16 MB that the store reads for them.
const LIMIT_MAX: u32 = 500;

/// What is asked of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    /// `AUTHOR`, `AUTHOR/LANE` or a whole name of a log; see [`select`].
    pub log: Option<String>,
    /// Only logs of this author: a name, an id, or the beginning of one.
    pub author: Option<String>,
    /// Only logs of this lane.
    pub lane: Option<String>,
    /// What to show of them.
    pub show: LogShow,
    /// From this entry on; 1 where nothing is said.
    pub from: Option<u64>,
    /// At most so many entries or runs.
    pub limit: Option<u32>,
}

/// What is shown of the logs that were picked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogShow {
    /// A table of them; of a single one its entries.
    #[default]
    Content,
    /// The runs in which a peer without the log would get it.
    Runs,
    /// Whether chain and signatures hold, computed anew from the stored bytes.
    Verify,
    /// What this node tells others that it has.
    Frontier,
}

impl App {
    /// `muster log inspect`.
    ///
    /// # Errors
    /// `Forbidden`; no log or no node has that name; a fault of the store.
    pub async fn inspect_log(&self, caller: &Caller, query: LogQuery) -> Result<Value, AppError> {
        self.authorise(caller, Action::Administer, Subject::Node)?;
        if query.show == LogShow::Frontier {
            return self.inspect_frontier().await;
        }
        let picked = self.picked_logs(&query).await?;
        match query.show {
            LogShow::Verify => {
                let mut logs = Vec::with_capacity(picked.len());
                for held in &picked {
                    let checked = verify::verify(self, held).await?;
                    let mut shown = self.log_value(&held.log);
                    shown.insert("verified".into(), checked.to_value());
                    logs.push(Value::Object(shown));
                }
                Ok(json!({ "logs": logs }))
            }
            LogShow::Runs => self.runs(&query, self.only_one(&picked)?).await,
            LogShow::Content if query.names_one() && picked.len() == 1 => {
                self.entries(&query, &picked[0]).await
            }
            LogShow::Content | LogShow::Frontier => {
                if query.from.is_some() || query.limit.is_some() {
                    self.only_one(&picked)?;
                }
                let mut logs = Vec::with_capacity(picked.len());
                for held in picked {
                    logs.push(self.summary(held).await?);
                }
                Ok(json!({ "logs": logs }))
            }
        }
    }

    async fn picked_logs(&self, query: &LogQuery) -> Result<Vec<HeldLog>, AppError> {
        let wanted = select::Selection::read(query)?;
        let held = self.read(|reader| reader.held_logs()).await?;
        let trust = self.trust.load_full();
        let picked: Vec<HeldLog> = held
            .into_iter()
            .filter(|held| wanted.fits(&held.log, &trust))
            .collect();
        if picked.is_empty() && !wanted.is_everything() {
            return Err(AppError::Conflict(format!(
                "no log here fits \"{wanted}\": `muster log inspect` lists all. An author is a node's name, its id, or \
                 at least the first {} characters of it",
                select::ID_CHARACTERS_MIN
            )));
        }
        Ok(picked)
    }

    fn only_one<'a>(&self, picked: &'a [HeldLog]) -> Result<&'a HeldLog, AppError> {
        match picked {
            [one] => Ok(one),
            [] => Err(AppError::Conflict("this node holds no log yet".into())),
            several => {
                let logs: Vec<LogId> = several.iter().map(|held| held.log).collect();
                let mut names = select::names(&logs, &self.trust.load());
                let more = names.len().saturating_sub(NAMES_IN_ERROR_MAX);
                names.truncate(NAMES_IN_ERROR_MAX);
                if more > 0 {
                    names.push(format!("or one of {more} more"));
                }
                Err(AppError::Conflict(format!(
                    "{} logs fit: name one of them: {}",
                    several.len(),
                    names.join(", ")
                )))
            }
        }
    }

    /// The names of a log, as every answer has them.
    fn log_value(&self, log: &LogId) -> Map<String, Value> {
        let mut value = Map::new();
        let author = log.author.to_string();
        value.insert("log".into(), json!(log.to_string()));
        value.insert("author_name".into(), json!(self.names.node(&author)));
        value.insert("author".into(), json!(author));
        value.insert("ours".into(), json!(log.author == self.me.node));
        value.insert("incarnation".into(), json!(log.incarnation.to_string()));
        value.insert("group".into(), json!(log.group.to_string()));
        value.insert("lane".into(), json!(log.lane.to_string()));
        value
    }

    /// One line of the table.
    async fn summary(&self, held: HeldLog) -> Result<Value, AppError> {
        let (size, newest) = self
            .read(move |reader| -> Result<(LogSize, _), StoreError> {
                let newest = reader.inspect_entries(&held.log, held.head.seq, 1)?;
                Ok((reader.log_size(&held.log)?, newest))
            })
            .await?;
        let mut value = self.log_value(&held.log);
        value.insert("floor".into(), json!(held.floor));
        value.insert("height".into(), json!(held.head.seq));
        value.insert("chain".into(), json!(held.head.chain));
        value.insert("applied".into(), json!(held.applied));
        value.insert("waiting".into(), json!(held.waiting));
        value.insert("quarantined".into(), json!(held.quarantined));
        value.insert("held".into(), json!(held.held));
        value.insert("entries".into(), json!(size.entries));
        value.insert("bytes".into(), json!(size.bytes));
        let newest = newest.first().map(|inspected| &inspected.entry);
        let written = newest
            .and_then(|entry| Entry::decode(&entry.bytes).ok())
            .map(|entry| rfc3339_wall(entry.header.time.wall_ms));
        value.insert("newest_at".into(), json!(written));
        let stored = newest.map(|entry| rfc3339_wall(entry.at_wall_ms));
        value.insert("newest_stored_at".into(), json!(stored));
        Ok(Value::Object(value))
    }

    async fn entries(&self, query: &LogQuery, held: &HeldLog) -> Result<Value, AppError> {
        let (from, limit) = (query.first(), query.limit()?);
        let log = held.log;
        past_the_end(held, from)?;
        // One more than is shown says whether there is a next page.
        let mut entries = self
            .read(move |reader| reader.inspect_entries(&log, from, limit + 1))
            .await?;
        let next = (entries.len() > limit)
            .then(|| entries.pop().map(|entry| entry.entry.seq))
            .flatten();
        let trust = self.trust.load();
        let items: Vec<Value> = entries
            .iter()
            .map(|entry| self.entry_value(entry, &trust))
            .collect();
        let summary = self.summary(*held).await?;
        Ok(json!({ "log": summary, "entries": items, "next": next }))
    }

    fn entry_value(&self, inspected: &InspectedEntry, trust: &Trust) -> Value {
        let stored = &inspected.entry;
        let (state, reason) = state_of(&inspected.state);
        let mut value = json!({
            "seq": stored.seq,
            "bytes": stored.bytes.len(),
            "chain": inspected.chain,
            "signed": inspected.signature.is_some(),
            "commit": stored.commit.0,
            "stored_at": rfc3339_wall(stored.at_wall_ms),
            "state": state,
            "reason": reason,
        });
        match Entry::decode(&stored.bytes) {
            Err(error) => value["kind"] = json!(error.to_string()),
            Ok(entry) => {
                let user = entry.header.user.map(Uuid::from_bytes);
                value["at"] = json!(rfc3339_wall(entry.header.time.wall_ms));
                value["user"] = json!(user.map(|id| self.names.user(id)));
                value["kind"] = json!(kind_in_words(&entry, trust));
                value["code"] = json!(entry.header.kind.0);
                value["object"] = json!(Uuid::from_bytes(entry.header.object.0).to_string());
                value["sealed"] = json!(matches!(entry.payload, Payload::Sealed { .. }));
            }
        }
        value
    }

    /// The runs that a peer would be sent that has nothing from `from` on, and how long they are: plain, and packed for
    /// one that holds all other logs.
    async fn runs(&self, query: &LogQuery, held: &HeldLog) -> Result<Value, AppError> {
        let (mut from, limit) = (query.first(), query.limit()?);
        let log = held.log;
        past_the_end(held, from)?;
        let mut stream = PackedStream::new(log.lane);
        let mut runs = Vec::new();
        while runs.len() < limit {
            let loaded = self
                .read(move |reader| -> Result<_, StoreError> {
                    let Some(run) = reader.load_run(&log, from, RUN_BYTES_MAX)? else {
                        return Ok(None);
                    };
                    let named = reader.parents_of_run(&run, &DocumentCodec)?;
                    Ok(Some((run, named)))
                })
                .await?;
            let Some((run, named)) = loaded else { break };
            runs.push(json!({
                "first": run.first,
                "last": run.last(),
                "entries": run.entries.len(),
                "signatures": run.signatures.len(),
                "entry_bytes": run.entry_bytes(),
                "wire_bytes": run.encode().len(),
                "packed_bytes": packed_bytes(&mut stream, &run, named),
            }));
            from = run.last().next();
        }
        let next = (from <= held.head.seq && !runs.is_empty()).then_some(from);
        Ok(json!({ "log": self.log_value(&log), "runs": runs, "next": next }))
    }
}

impl LogQuery {
    /// Whether it is about certain logs, not all.
    fn names_one(&self) -> bool {
        self.log.is_some() || self.author.is_some() || self.lane.is_some()
    }

    fn first(&self) -> Seq {
        Seq(self.from.unwrap_or(1).max(1))
    }

    fn limit(&self) -> Result<usize, AppError> {
        match self.limit.unwrap_or(LIMIT_DEFAULT) {
            limit @ 1..=LIMIT_MAX => Ok(limit as usize),
            _ => Err(AppError::Unreadable(format!(
                "a limit is between 1 and {LIMIT_MAX}"
            ))),
        }
    }
}

/// How long a run is when it travels packed, on a stream that has carried the runs before; `None` when it does not.
fn packed_bytes(stream: &mut PackedStream, run: &Run, named: Vec<(Name, Place)>) -> Option<usize> {
    let named: BTreeMap<Name, Place> = named.into_iter().collect();
    let knows = Knows {
        places: &|name| named.get(name).copied(),
        covered: &|_| true,
    };
    Some(stream.pack(run, &DocumentCodec, &knows)?.len())
}

fn past_the_end(held: &HeldLog, from: Seq) -> Result<(), AppError> {
    let last = held.head.seq;
    if from <= last.max(Seq(1)) {
        return Ok(());
    }
    Err(AppError::Conflict(format!(
        "the log ends at entry {last}, before {from}"
    )))
}

/// The state's word, and why.
fn state_of(state: &EntryState) -> (&'static str, Option<String>) {
    match state {
        EntryState::Applied { .. } => ("applied", None),
        EntryState::Waiting { missing } => {
            let first = missing.first().map(|hash| {
                let short: String = data_encoding::HEXLOWER
                    .encode(hash)
                    .chars()
                    .take(8)
                    .collect();
                format!(", {short} first")
            });
            let what = match missing.len() {
                1 => "a change that has".to_owned(),
                count => format!("{count} changes that have"),
            };
            let first = first.unwrap_or_default();
            ("waiting", Some(format!("for {what} not arrived{first}")))
        }
        EntryState::Quarantined { reason } => ("quarantined", Some(reason.clone())),
        EntryState::Held { fault } => ("held", Some(fault.clone())),
        EntryState::Unknown => ("unknown", Some("the store says nothing of it".into())),
    }
}

/// What an entry is, for people: `incident`, `grant to North (field)`, `unknown kind 0x0300`.
fn kind_in_words(entry: &Entry, trust: &Trust) -> String {
    let kind = entry.header.kind;
    if kind < EntryKind::FIRST_OPAQUE {
        let record = match &entry.payload {
            Payload::Plain(bytes) => TrustRecord::decode(kind, bytes).ok().flatten(),
            Payload::Sealed { .. } => None,
        };
        return match record {
            Some(TrustRecord::Genesis(genesis)) => format!("genesis of {}", genesis.title),
            Some(TrustRecord::Grant(signed)) => {
                let counts = trust.grant(signed.grant.node) == Some(&signed.grant);
                let word = if counts {
                    "grant"
                } else {
                    "grant without effect"
                };
                let role = super::founding::role_name(signed.grant.role);
                format!("{word} to {} ({role})", signed.grant.name)
            }
            None => format!("unknown trust record {}", kind.0),
        };
    }
    if let Some(spec) = schema::spec_by_code(kind.0) {
        return spec.name.to_owned();
    }
    match FactKind::by_code(kind.0) {
        Some(fact) => fact.name().to_owned(),
        None => format!("unknown kind {:#06x}", kind.0),
    }
}

/// What people call a node, else the beginning of its id.
fn node_name(node: &NodeId, trust: &Trust) -> String {
    trust.grant(*node).map_or_else(
        || node.to_string().chars().take(10).collect(),
        |grant| grant.name.clone(),
    )
}
