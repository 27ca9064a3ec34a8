//! `muster demo`: the whole story with three real nodes on one machine, told while it happens.
//!
//! Invariants: the nodes reach each other through the demo's relays alone; what is told was measured, and a promise that
//! does not hold ends the demo with an error; no child outlives it, however it ends.

mod node;
mod relay;
mod story;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

use super::args::Demo;
use node::DemoNode;
use story::Story;

/// Runs the demo; with `--exit` it ends after the story.
///
/// # Errors
/// A node did not start, or something that the story promises did not happen in time.
pub(super) async fn run(args: Demo) -> anyhow::Result<()> {
    let place = Directory::make(args.dir)?;
    let mut nodes = Vec::new();
    let told = tokio::select! {
        told = tell(&place.path, &mut nodes, args.exit) => told,
        ended = end_asked_for() => ended.map(|()| println!("ending")),
    };
    for node in nodes {
        node.end().await;
    }
    place.finish(told)
}

async fn tell(dir: &Path, nodes: &mut Vec<DemoNode>, exit: bool) -> anyhow::Result<()> {
    let story = Story::begin();
    let password = password();
    story.start(dir, &password, nodes).await?;
    story.flood(dir, nodes).await?;
    story.say("The story is over: three nodes, one picture.");
    if exit {
        return Ok(());
    }
    println!("\nThe nodes stay up; sign in as admin with the password {password}");
    for node in nodes.iter() {
        println!(
            "  {:<8} {:<28} sensors mqtt://{}",
            node.name,
            node.page(),
            node.addresses.mqtt
        );
    }
    println!("Ctrl-C ends them.");
    std::future::pending().await
}

/// Ctrl-C, the service manager, or the terminal that was closed.
async fn end_asked_for() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.context("wait for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
        _ = hang_up.recv() => Ok(()),
    }
}

/// Easy to type from one screen into another; it protects a demo.
fn password() -> String {
    format!("flood-{:08}", rand::random_range(0..100_000_000_u32))
}

/// Where the three data directories and the logs lie.
struct Directory {
    path: PathBuf,
    /// Nobody asked for this directory, so that it goes when all went well.
    temporary: bool,
}

impl Directory {
    fn make(given: Option<PathBuf>) -> anyhow::Result<Directory> {
        let temporary = given.is_none();
        let path = given.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("muster-demo-{:08x}", rand::random::<u32>()))
        });
        if std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some()) {
            bail!(
                "{} is not empty: the demo founds an operation of its own, give it another --dir",
                path.display()
            );
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("create {}", path.display()))?;
        Ok(Directory { path, temporary })
    }

    /// Removes what nobody asked for; after a failure the logs stay and are named.
    fn finish(self, told: anyhow::Result<()>) -> anyhow::Result<()> {
        match told {
            Ok(()) if self.temporary => std::fs::remove_dir_all(&self.path)
                .with_context(|| format!("remove {}", self.path.display())),
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(format!(
                "the demo failed; data and logs are in {}",
                self.path.display()
            ))),
        }
    }
}
