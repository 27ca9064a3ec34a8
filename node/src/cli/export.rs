//! `muster export`: what this node holds, for other programs.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args as ClapArgs, Subcommand};
use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Value, json};

use super::Place;
use super::local::{ask, show};
use crate::ops::local::LocalRequest;

/// Two years at once: more is a slip of the finger.
const DAYS_MAX: usize = 731;

#[derive(Debug, ClapArgs)]
pub(super) struct Export {
    #[command(subcommand)]
    command: ExportCommand,
}

#[derive(Debug, Subcommand)]
enum ExportCommand {
    /// Write readings as Parquet, one file a day (UTC)
    ///
    /// Files are named readings-2026-11-20.parquet and have their name when they are whole. Columns: device, channel,
    /// unit, at, received, value, flags. A day whose file is there is passed over, so an export that was broken off goes
    /// on where it was. Raw readings are kept for 30 days unless configured otherwise: export them before.
    #[command(after_help = EXAMPLES)]
    Readings(Readings),
}

const EXAMPLES: &str = "\
Examples:
  muster export readings --day 2026-11-20 --out /srv/archive
  muster export readings --from 2026-11-01 --to 2026-11-20 --out .
  muster export readings --day 2026-11-20 --out . --again   once more, with what came late";

#[derive(Debug, ClapArgs)]
struct Readings {
    /// One day
    #[arg(long, value_name = "DATE", required_unless_present = "from", conflicts_with_all = ["from", "to"])]
    day: Option<Date>,
    /// The first of several days
    #[arg(long, value_name = "DATE", requires = "to")]
    from: Option<Date>,
    /// The last of several days
    #[arg(long, value_name = "DATE", requires = "from")]
    to: Option<Date>,
    /// The directory for the files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace files that are there, unless they hold more readings than this node still has
    #[arg(long)]
    again: bool,
}

pub(super) async fn export(place: &Place, args: Export) -> anyhow::Result<()> {
    let ExportCommand::Readings(args) = args.command;
    // The node that writes has a working directory of its own.
    let out = std::path::absolute(&args.out).context("find the directory for the files")?;
    std::fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    let days = days(&args)?;
    let mut items = Vec::with_capacity(days.len());
    for day in days {
        let request = LocalRequest::ExportReadings {
            day: day.to_string(),
            out: out.clone(),
            again: args.again,
        };
        items.push(ask(place, request).await?);
    }
    show(place, &json!({ "items": items }), text)
}

fn days(args: &Readings) -> anyhow::Result<Vec<Date>> {
    let (Some(first), Some(last)) = (args.day.or(args.from), args.day.or(args.to)) else {
        anyhow::bail!("say which days: --day DATE, or --from DATE --to DATE");
    };
    let days: Vec<Date> = first
        .series(1.day())
        .take_while(|day| *day <= last)
        .take(DAYS_MAX + 1)
        .collect();
    anyhow::ensure!(!days.is_empty(), "{first} lies after {last}");
    anyhow::ensure!(
        days.len() <= DAYS_MAX,
        "at most {DAYS_MAX} days are exported at once"
    );
    Ok(days)
}

fn text(value: &Value) -> String {
    let items = value["items"].as_array().map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .map(|item| {
            let path = item["path"].as_str().unwrap_or_default();
            match (item["readings"].as_u64(), item["bytes"].as_u64()) {
                (Some(readings), Some(bytes)) => {
                    format!("{path}: {readings} readings, {bytes} bytes\n")
                }
                _ if item["holds_more"] == true => format!(
                    "{path}: there already, with more readings than this node still has; it was left as it is\n"
                ),
                _ => format!("{path}: there already\n"),
            }
        })
        .collect()
}
