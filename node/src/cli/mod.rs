//! The command line (DESIGN §8). Exit codes: 0 done, 1 failed, 2 wrong usage.
//!
//! Invariant: standard output carries answers and nothing else, so that scripts can read it; warnings, logs and errors
//! go to standard error.

mod args;
mod demo;
mod export;
mod local;
mod log;
mod mqtt;
mod print;
mod run;
mod setup;
pub mod simulate;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("muster: start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(Box::pin(dispatch(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("muster: {error:#}");
            ExitCode::FAILURE
        }
    };
    // A blocking read that hangs (a pipe on standard input) must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    code
}

async fn dispatch(args: Args) -> anyhow::Result<()> {
    let place = Place {
        data_dir: data_dir(args.data_dir)?,
        key_file: args.key_file,
        json: args.json,
    };
    match args.command {
        Command::Init(init) => setup::init(&place, init).await,
        Command::Join(join) => setup::join(&place, join).await,
        Command::Run(run) => Box::pin(run::run(&place, run)).await,
        Command::Invite(invite) => local::invite(&place, invite).await,
        Command::Status => local::status(&place).await,
        Command::Peers => local::peers(&place).await,
        Command::Sync(sync) => local::sync(&place, sync).await,
        Command::Rebuild => local::rebuild(&place).await,
        Command::User(user) => local::user(&place, user).await,
        Command::Mqtt(args) => mqtt::mqtt(&place, args).await,
        Command::Dlq(dlq) => local::dlq(&place, dlq).await,
        Command::Faults(faults) => local::faults(&place, faults).await,
        Command::Log(log) => log::log(&place, log).await,
        Command::Export(args) => export::export(&place, args).await,
        Command::Simulate(simulate) => simulate::run(&place.data_dir, simulate).await,
        Command::Demo(demo) => Box::pin(demo::run(demo)).await,
    }
}

/// Answers when standard input ends, which is how a program whose child this is goes away, by SIGKILL too. Never where
/// nobody wants to know.
async fn stdin_ended(watched: bool) {
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    if !watched {
        return std::future::pending().await;
    }
    // A thread of its own: the runtime would wait at its end for a read that never ends.
    let reader = std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            drop(ended);
        });
    match reader {
        Ok(_) => drop(end.await),
        Err(error) => {
            tracing::error!(%error, "nobody watches standard input");
            std::future::pending().await
        }
    }
}

/// What every command needs to know.
struct Place {
    data_dir: PathBuf,
    key_file: Option<PathBuf>,
    json: bool,
}

/// `--data-dir`, else `$XDG_DATA_HOME/muster`, else `~/.local/share/muster`.
fn data_dir(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given);
    }
    if let Some(base) = std::env::var_os("XDG_DATA_HOME").filter(|base| !base.is_empty()) {
        return Ok(PathBuf::from(base).join("muster"));
    }
    match std::env::var_os("HOME").filter(|home| !home.is_empty()) {
        Some(home) => Ok(PathBuf::from(home).join(".local/share/muster")),
        None => anyhow::bail!("neither XDG_DATA_HOME nor HOME is set: say where with --data-dir"),
    }
}
