//! Commands that work whether or not the node runs: a running node answers over its socket, otherwise the command opens
//! the data directory itself and asks the same function.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::args::{
    Dlq, DlqCommand, DlqKind, DlqWhich, Faults, FaultsCommand, Invite, Sync, User, UserCommand,
};
use super::{Place, print, setup};
use crate::app::readings::{AllOf, DeadLetterFilter, SettleDeadLetters};
use crate::app::{App, OpenConfig};
use crate::ops::local::{LocalRequest, handle};
use crate::ops::socket::{self, SocketError};

/// Asks the node, or the data directory where no node runs.
pub(super) async fn ask(place: &Place, request: LocalRequest) -> anyhow::Result<Value> {
    match socket::request(&place.data_dir, &request).await {
        Ok(response) => return response.into_result().map_err(anyhow::Error::msg),
        Err(SocketError::NotRunning) => {}
        Err(error) => return Err(error.into()),
    }
    ensure_founded(&place.data_dir)?;
    let key = setup::key_source(place, None);
    let app = App::open(OpenConfig::new(&place.data_dir, key)).await?;
    let response = handle(&app, request).await;
    app.shutdown().await;
    response.into_result().map_err(anyhow::Error::msg)
}

fn ensure_founded(data_dir: &Path) -> anyhow::Result<()> {
    if crate::app::founding::has_data(data_dir) {
        return Ok(());
    }
    anyhow::bail!(
        "no node in {}: found one with `muster init --name NAME`, or join one with `muster join CODE --name NAME`",
        data_dir.display()
    )
}

pub(super) fn show(
    place: &Place,
    value: &Value,
    text: impl FnOnce(&Value) -> String,
) -> anyhow::Result<()> {
    if place.json {
        print::json(value)
    } else {
        print::text(&text(value))
    }
}

pub(super) async fn invite(place: &Place, args: Invite) -> anyhow::Result<()> {
    let request = LocalRequest::Invite {
        role: args.role,
        organisation: args.org,
        ttl_s: args.ttl.as_secs(),
    };
    let value = match socket::request(&place.data_dir, &request).await {
        Ok(response) => response.into_result().map_err(anyhow::Error::msg)?,
        Err(SocketError::NotRunning) => anyhow::bail!(
            "the node does not run, so nobody could join: start it with `muster run`, then invite again"
        ),
        Err(error) => return Err(error.into()),
    };
    show(place, &value, print::invite)
}

pub(super) async fn status(place: &Place) -> anyhow::Result<()> {
    let value = ask(place, LocalRequest::Status).await?;
    show(place, &value, print::status)
}

pub(super) async fn peers(place: &Place) -> anyhow::Result<()> {
    let value = ask(place, LocalRequest::Peers).await?;
    show(place, &value, print::peers)
}

pub(super) async fn sync(place: &Place, args: Sync) -> anyhow::Result<()> {
    let request = LocalRequest::Sync {
        peer: args.peer,
        wait: args.wait,
        timeout_s: args.timeout,
    };
    let value = match socket::request(&place.data_dir, &request).await {
        Ok(response) => response.into_result().map_err(anyhow::Error::msg)?,
        Err(SocketError::NotRunning) => {
            // The command itself becomes the node for a moment.
            ensure_founded(&place.data_dir)?;
            super::run::sync_once(place, request).await?
        }
        Err(error) => return Err(error.into()),
    };
    show(place, &value, print::sync)?;
    if value["complete"] == Value::Bool(false) {
        anyhow::bail!("not everything was exchanged in time: see `muster peers`");
    }
    Ok(())
}

pub(super) async fn rebuild(place: &Place) -> anyhow::Result<()> {
    let value = ask(place, LocalRequest::Rebuild).await?;
    show(place, &value, print::rebuild)
}

pub(super) async fn user(place: &Place, args: User) -> anyhow::Result<()> {
    match args.command {
        UserCommand::Add { name, role } => {
            let password = read_password()?;
            let value = ask(
                place,
                LocalRequest::UserAdd {
                    name,
                    role,
                    password: password.to_string(),
                },
            )
            .await?;
            show(place, &value, |value| {
                format!(
                    "added {} ({})\n",
                    print::word(&value["name"]),
                    print::word(&value["role"])
                )
            })
        }
        UserCommand::Passwd { name } => {
            let password = read_password()?;
            let request = LocalRequest::UserPasswd {
                name,
                password: password.to_string(),
            };
            let value = ask(place, request).await?;
            show(place, &value, |value| {
                format!(
                    "changed the password of {}\n",
                    print::word(&value["changed"])
                )
            })
        }
        UserCommand::List => {
            let value = ask(place, LocalRequest::UserList).await?;
            show(place, &value, print::users)
        }
    }
}

pub(super) async fn dlq(place: &Place, args: Dlq) -> anyhow::Result<()> {
    match args.command {
        DlqCommand::List { state, kind, limit } => {
            let filter = filter_of(state, kind);
            let value = ask(place, LocalRequest::DlqList { filter, limit }).await?;
            show(place, &value, print::dead_letters)
        }
        DlqCommand::Show { id } => {
            let value = ask(place, LocalRequest::DlqShow { id }).await?;
            show(place, &value, print::dead_letter)
        }
        DlqCommand::Replay(which) => settle(place, SettleDeadLetters::Replay, which).await,
        DlqCommand::Discard(which) => settle(place, SettleDeadLetters::Discard, which).await,
    }
}

fn filter_of(state: Option<String>, kind: DlqKind) -> DeadLetterFilter {
    DeadLetterFilter {
        state,
        source: kind.source,
        topic: kind.topic,
        code: kind.code,
    }
}

/// One letter, or all of a kind: as many requests as that takes.
async fn settle(place: &Place, action: SettleDeadLetters, which: DlqWhich) -> anyhow::Result<()> {
    let DlqWhich { id, kind, all } = which;
    if let Some(id) = id {
        let request = match action {
            SettleDeadLetters::Replay => LocalRequest::DlqReplay { id },
            SettleDeadLetters::Discard => LocalRequest::DlqDiscard { id },
        };
        let value = ask(place, request).await?;
        return show(place, &value, print::dead_letter);
    }
    let mut which = AllOf {
        filter: filter_of(None, kind),
        all,
        cursor: None,
    };
    let (mut settled, mut failed) = (0, 0);
    loop {
        let part = which.clone();
        let value = ask(
            place,
            LocalRequest::DlqSettle {
                action,
                which: part,
            },
        )
        .await?;
        settled += value["settled"].as_u64().unwrap_or(0);
        failed += value["failed"].as_u64().unwrap_or(0);
        which.cursor = value["next"].as_str().map(str::to_owned);
        if which.cursor.is_none() {
            break;
        }
    }
    let done = json!({ "settled": settled, "failed": failed });
    show(place, &done, |_| match action {
        SettleDeadLetters::Replay => format!("{settled} were read, {failed} still cannot be\n"),
        SettleDeadLetters::Discard => format!("{settled} were given up\n"),
    })
}

pub(super) async fn faults(place: &Place, args: Faults) -> anyhow::Result<()> {
    match args.command {
        FaultsCommand::List { limit } => {
            let value = ask(place, LocalRequest::FaultsList { limit }).await?;
            show(place, &value, print::faults)
        }
        FaultsCommand::Seen { id } => {
            let value = ask(place, LocalRequest::FaultsSeen { id }).await?;
            show(place, &value, |value| {
                format!("{} were new\n", print::word(&value["seen"]))
            })
        }
    }
}

/// `MUSTER_PASSWORD`, else one line of standard input.
fn read_password() -> anyhow::Result<Zeroizing<String>> {
    if let Ok(password) = std::env::var("MUSTER_PASSWORD") {
        return Ok(Zeroizing::new(password));
    }
    use std::io::{BufRead, IsTerminal, Read};
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprint!("Password: ");
    }
    // The longest line that is read: passwords of more than 1 KiB are refused anyway.
    const LINE_BYTES_MAX: u64 = 4096;
    let mut line = Zeroizing::new(String::new());
    stdin
        .lock()
        .take(LINE_BYTES_MAX)
        .read_line(&mut line)
        .context("read the password")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        anyhow::bail!("no password given: set MUSTER_PASSWORD or write it to standard input");
    }
    Ok(Zeroizing::new(password.to_owned()))
}
