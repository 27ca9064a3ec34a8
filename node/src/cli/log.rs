//! `muster log inspect`: the logs of this node as a person reads them.

use std::fmt::Write as _;

use clap::{Args as ClapArgs, Subcommand};
use serde_json::Value;

use super::Place;
use super::local::{ask, show};
use super::print::{age, table, word};
use crate::app::inspect::{LogQuery, LogShow};
use crate::ops::local::LocalRequest;

#[derive(Debug, ClapArgs)]
pub(super) struct Log {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Show the logs that this node holds, or the entries of one. Changes nothing
    ///
    /// Everything that people and rules write on a node goes into that node's own logs, one per lane; other nodes carry
    /// copies. A node that is in doubt about what it knows finds the answer here.
    #[command(after_help = EXAMPLES)]
    Inspect(Inspect),
}

const EXAMPLES: &str = "\
Examples:
  muster log inspect                   all logs, one line each
  muster log inspect North/life        entries of North's life-safety log
  muster log inspect North/life --from 120 --limit 10
  muster log inspect North/life --runs in how many bytes it travels
  muster log inspect --verify          check every stored byte against hashes and signatures
  muster log inspect --frontier        what this node tells others that it has

LIFE is the beginning of the incarnation: a node that was restored from a backup starts a new one, with new logs.

States of an entry:
  applied      part of what people see
  waiting      stored; builds on changes that have not arrived yet
  quarantined  stored and passed on, never shown: it broke a rule, which is named
  held         stored; this node failed to apply it (a fault here, not a verdict)";

#[derive(Debug, ClapArgs)]
struct Inspect {
    /// A log: AUTHOR, AUTHOR/LANE, or the whole name AUTHOR/INCARNATION/GROUP/LANE. An author is a node's name, its id,
    /// or the beginning of the id
    #[arg(value_name = "LOG")]
    log: Option<String>,
    /// Only logs written by this node: a name, an id, or its beginning
    #[arg(long, value_name = "NAME", conflicts_with = "log")]
    author: Option<String>,
    /// Only logs of this lane: trust, flash, life, coordination, summary, raw, blobs
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,
    /// Begin with this entry
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    from: Option<u64>,
    /// Show at most so many [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: Option<u32>,
    /// Show the runs in which the log travels to a node that lacks it
    #[arg(long, conflicts_with_all = ["verify", "frontier"])]
    runs: bool,
    /// Compute hashes and signatures anew from the stored bytes and say where a log breaks; exits 1 when one does
    #[arg(long, conflicts_with_all = ["frontier", "from", "limit"])]
    verify: bool,
    /// Show what this node tells others that it has
    #[arg(long, conflicts_with_all = ["log", "author", "lane", "from", "limit"])]
    frontier: bool,
}

pub(super) async fn log(place: &Place, args: Log) -> anyhow::Result<()> {
    let LogCommand::Inspect(args) = args.command;
    let what = match (args.runs, args.verify, args.frontier) {
        (true, _, _) => LogShow::Runs,
        (_, true, _) => LogShow::Verify,
        (_, _, true) => LogShow::Frontier,
        _ => LogShow::Content,
    };
    let query = LogQuery {
        log: args.log,
        author: args.author,
        lane: args.lane,
        show: what,
        from: args.from,
        limit: args.limit,
    };
    let value = ask(place, LocalRequest::LogInspect(query)).await?;
    show(place, &value, |value| match what {
        LogShow::Verify => verified(value),
        LogShow::Frontier => frontier(value),
        LogShow::Runs => runs(value),
        LogShow::Content if value["entries"].is_array() => entries(value),
        LogShow::Content => logs(value),
    })?;
    let broken = list(value.get("logs"))
        .iter()
        .filter(|log| log["verified"]["ok"] == Value::Bool(false))
        .count();
    if broken > 0 {
        anyhow::bail!(
            "{broken} log(s) are not what their authors wrote: stop the node, keep a copy of its data directory, and \
             check the disk"
        );
    }
    Ok(())
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// A count, or nothing where it is nothing: what is not zero stands out.
fn count(value: &Value) -> String {
    match number(value) {
        0 => "–".into(),
        more => more.to_string(),
    }
}

fn cut(value: &Value, characters: usize) -> String {
    word(value).chars().take(characters).collect()
}

fn size(value: &Value) -> String {
    match number(value) {
        bytes @ 0..10_000 => format!("{bytes} B"),
        bytes @ 10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        bytes => format!("{} MB", bytes / 1_000_000),
    }
}

/// `North/life`, as a person would type it.
fn name(log: &Value) -> String {
    let author = match log["author_name"].as_str() {
        Some(name) => name.to_owned(),
        None => cut(&log["author"], 10),
    };
    format!("{author}/{}", word(&log["lane"]))
}

fn logs(value: &Value) -> String {
    let logs = list(value.get("logs"));
    if logs.is_empty() {
        return "no log yet: nothing was written here, and nothing came from other nodes\n".into();
    }
    let rows: Vec<Vec<String>> = logs
        .iter()
        .map(|log| {
            vec![
                name(log),
                cut(&log["author"], 8),
                cut(&log["incarnation"], 6),
                cut(&log["group"], 8),
                format!("{}–{}", word(&log["floor"]), word(&log["height"])),
                cut(&log["chain"], 8),
                word(&log["applied"]),
                count(&log["waiting"]),
                count(&log["quarantined"]),
                count(&log["held"]),
                size(&log["bytes"]),
                age(&log["newest_at"]),
            ]
        })
        .collect();
    table(
        &[
            "LOG",
            "AUTHOR",
            "LIFE",
            "GROUP",
            "ENTRIES",
            "CHAIN",
            "APPLIED TO",
            "WAITING",
            "QUARANTINED",
            "HELD",
            "SIZE",
            "NEWEST",
        ],
        &rows,
    )
}

fn heading(log: &Value) -> String {
    format!("{}\n", word(&log["log"]))
}

fn entries(value: &Value) -> String {
    let log = &value["log"];
    let mut out = logs(&serde_json::json!({ "logs": [log] }));
    out.push('\n');
    let rows: Vec<Vec<String>> = list(value.get("entries"))
        .iter()
        .map(|entry| {
            let state = match entry["reason"].as_str() {
                None => word(&entry["state"]),
                Some(reason) => format!("{}: {reason}", word(&entry["state"])),
            };
            vec![
                word(&entry["seq"]),
                word(&entry["at"]),
                word(&entry["user"]),
                word(&entry["kind"]),
                word(&entry["object"]),
                format!("{} B", word(&entry["bytes"])),
                match (&entry["signed"], &entry["sealed"]) {
                    (Value::Bool(true), Value::Bool(true)) => "signed, sealed".into(),
                    (Value::Bool(true), _) => "signed".into(),
                    (_, Value::Bool(true)) => "sealed".into(),
                    _ => "–".into(),
                },
                state,
            ]
        })
        .collect();
    out.push_str(&table(
        &[
            "SEQ", "WRITTEN", "USER", "KIND", "OBJECT", "SIZE", "KEPT", "STATE",
        ],
        &rows,
    ));
    go_on(&mut out, log, value, "");
    out
}

fn runs(value: &Value) -> String {
    let log = &value["log"];
    let mut out = heading(log);
    let rows: Vec<Vec<String>> = list(value.get("runs"))
        .iter()
        .map(|run| {
            let entries = number(&run["entries"]).max(1);
            let travels = run["packed_bytes"].as_u64();
            let travels = travels.unwrap_or_else(|| number(&run["wire_bytes"]));
            vec![
                format!("{}–{}", word(&run["first"]), word(&run["last"])),
                word(&run["signatures"]),
                size(&run["entry_bytes"]),
                size(&run["wire_bytes"]),
                match run["packed_bytes"].as_u64() {
                    Some(_) => size(&run["packed_bytes"]),
                    None => "–".into(),
                },
                (travels / entries).to_string(),
            ]
        })
        .collect();
    out.push_str(&table(
        &[
            "ENTRIES",
            "SIGNATURES",
            "SIZE",
            "PLAIN",
            "PACKED",
            "BYTES AN ENTRY",
        ],
        &rows,
    ));
    out.push_str(
        "\npacked: on one connection, to a node that holds what these entries build on in other logs\n",
    );
    go_on(&mut out, log, value, " --runs");
    out
}

/// How to see what did not fit.
fn go_on(out: &mut String, log: &Value, value: &Value, flag: &str) {
    if let Some(next) = value["next"].as_u64() {
        let _ = writeln!(
            out,
            "\nmore: muster log inspect {}{flag} --from {next}",
            word(&log["log"])
        );
    }
}

fn verified(value: &Value) -> String {
    let rows: Vec<Vec<String>> = list(value.get("logs"))
        .iter()
        .map(|log| {
            let checked = &log["verified"];
            vec![
                name(log),
                cut(&log["author"], 8),
                cut(&log["incarnation"], 6),
                word(&checked["entries"]),
                word(&checked["signatures"]),
                if checked["ok"] == Value::Bool(true) {
                    "verifies".into()
                } else {
                    format!(
                        "BREAKS at entry {}: {}",
                        word(&checked["broken"]["seq"]),
                        word(&checked["broken"]["what"])
                    )
                },
            ]
        })
        .collect();
    table(
        &["LOG", "AUTHOR", "LIFE", "ENTRIES", "SIGNATURES", "RESULT"],
        &rows,
    )
}

fn frontier(value: &Value) -> String {
    let rows: Vec<Vec<String>> = list(value.get("logs"))
        .iter()
        .map(|log| {
            vec![
                name(log),
                cut(&log["author"], 8),
                cut(&log["incarnation"], 16),
                cut(&log["group"], 8),
                word(&log["floor"]),
                word(&log["height"]),
                cut(&log["chain"], 16),
                word(&log["applied"]),
            ]
        })
        .collect();
    let mut out = table(
        &[
            "LOG",
            "AUTHOR",
            "LIFE",
            "GROUP",
            "OLDEST",
            "NEWEST",
            "CHAIN",
            "APPLIED TO",
        ],
        &rows,
    );
    let _ = writeln!(out, "\nhash  {}", word(&value["hash"]));
    let _ = writeln!(
        out,
        "whole {} B to a peer that knows the same members, {} B to any other",
        word(&value["whole_bytes"]),
        word(&value["whole_bytes_written_out"])
    );
    let peers = list(value.get("peers"));
    if !peers.is_empty() {
        out.push_str("\nWhat a peer needs to hear that was level with this node before:\n");
        let rows: Vec<Vec<String>> = peers
            .iter()
            .map(|peer| {
                vec![
                    word(&peer["name"]),
                    cut(&peer["node_id"], 10),
                    cut(&peer["mark"], 8),
                    match peer["since_bytes"].as_u64() {
                        Some(bytes) => format!("{bytes} B"),
                        None => "all of it".into(),
                    },
                ]
            })
            .collect();
        out.push_str(&table(&["PEER", "NODE", "MARK", "SINCE THEN"], &rows));
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        assert_eq!(size(&json!(9_999)), "9999 B");
        assert_eq!(size(&json!(12_345)), "12 kB");
        assert_eq!(size(&json!(123_456_789)), "123 MB");
    }

    #[test]
    fn an_entry_shows_why_it_does_not_count_and_how_to_see_more() {
        let log = json!({
            "log": "abcdefghijklmnop/0000000000000001/shared/life", "author": "abcdefghijklmnop",
            "author_name": "North", "incarnation": "0000000000000001", "group": "shared", "lane": "life",
            "floor": 1, "height": 3, "applied": 1, "quarantined": 1, "bytes": 70,
        });
        let text = entries(&json!({
            "log": log,
            "entries": [{ "seq": 2, "kind": "incident", "bytes": 40, "signed": true, "sealed": false,
                "state": "quarantined", "reason": "sequence used twice" }],
            "next": 3,
        }));
        assert!(text.contains("North/life"), "{text}");
        assert!(text.contains("quarantined: sequence used twice"), "{text}");
        assert!(
            text.ends_with(
                "more: muster log inspect abcdefghijklmnop/0000000000000001/shared/life --from 3\n"
            ),
            "{text}"
        );
    }
}
