//! One node: a `muster` process with a data directory and a relay, which others reach it through.
//!
//! Invariant: all ports are picked by the system, at every start; the relay keeps one address for the node's life.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::PASSWORD;
use crate::api::Api;
use crate::relay::Relay;
use crate::wait::{PATIENCE, until};

/// Lines of a node's log in the error of a test.
const LOG_LINES_MAX: usize = 30;

pub struct Node {
    pub name: String,
    pub dir: PathBuf,
    pub relay: Relay,
    /// More words for `muster run`.
    pub words: Vec<String>,
    /// Switches that only a build for tests honours.
    pub environment: Vec<(String, String)>,
    process: Option<Child>,
    ready: Option<Ready>,
}

#[derive(Debug, Clone, Deserialize)]
struct Ready {
    node_id: String,
    addresses: Addresses,
}

/// Where a node listens, from its ready line.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Addresses {
    pub http: SocketAddr,
    pub sync: SocketAddr,
    pub mqtt: SocketAddr,
    /// Where TLS was asked for.
    #[serde(default)]
    pub mqtt_tls: Option<SocketAddr>,
}

/// What a command did.
#[derive(Debug)]
pub struct Output {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// # Errors
    /// It did not exit with 0.
    pub fn success(self) -> anyhow::Result<Output> {
        ensure!(
            self.code == Some(0),
            "exit {:?}: {}{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }

    /// # Errors
    /// It did not exit with 0 and JSON on standard output.
    pub fn json(self) -> anyhow::Result<Value> {
        let output = self.success()?;
        serde_json::from_str(&output.stdout)
            .with_context(|| format!("no JSON: {:?}", output.stdout))
    }
}

/// The program under test: `MUSTER_BIN`, else the one that was built beside this test.
///
/// # Panics
/// There is none.
pub fn program() -> PathBuf {
    let program = match std::env::var_os("MUSTER_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let test = std::env::current_exe().expect("a test has a path");
            // target/debug/deps/whole-… → target/debug/muster
            test.ancestors()
                .nth(2)
                .map(|dir| dir.join("muster"))
                .expect("a test lies in target/")
        }
    };
    assert!(
        program.is_file(),
        "{} is not there: `cargo build -p node` makes it",
        program.display()
    );
    program
}

/// `muster` with nothing of this process's own settings.
pub fn muster(words: &[&str]) -> Command {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MUSTER_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.args(words).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
///
/// # Errors
/// It did not end within [`PATIENCE`].
pub async fn run_to_end(mut command: Command) -> anyhow::Result<Output> {
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .with_context(|| format!("{command:?} did not end"))??;
    Ok(Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Sends a signal by name (`TERM`). A shell does it, because it would need unsafe code here.
///
/// # Errors
/// There is no such process.
pub async fn signal(pid: u32, name: &str) -> anyhow::Result<()> {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{name} {pid}")])
        .status()
        .await?;
    ensure!(status.success(), "signal {name} to process {pid}");
    Ok(())
}

impl Node {
    /// A node that does not run and whose directory may be empty.
    ///
    /// # Errors
    /// No port for the relay.
    pub async fn at(dir: &Path, name: &str) -> anyhow::Result<Node> {
        Ok(Node {
            name: name.to_owned(),
            dir: dir.to_owned(),
            relay: Relay::start().await?,
            words: Vec::new(),
            environment: Vec::new(),
            process: None,
            ready: None,
        })
    }

    /// Founds an operation and runs.
    ///
    /// # Errors
    /// What the program says.
    pub async fn found(dir: &Path, name: &str) -> anyhow::Result<Node> {
        let mut node = Node::at(dir, name).await?;
        let mut init = muster(&[
            "init",
            "--name",
            name,
            "--operation",
            "Exercise",
            "--data-dir",
        ]);
        init.arg(dir).env("MUSTER_ADMIN_PASSWORD", PASSWORD);
        run_to_end(init).await?.success().context("init")?;
        node.start().await?;
        Ok(node)
    }

    /// Joins through `inviter`, and runs.
    ///
    /// # Errors
    /// What the program says.
    pub async fn join(dir: &Path, name: &str, inviter: &Node) -> anyhow::Result<Node> {
        let mut node = Node::at(dir, name).await?;
        let code = inviter.invite().await?;
        node.command(&["join", &code, "--name", name])
            .await?
            .success()
            .context("join")?;
        node.start().await?;
        Ok(node)
    }

    /// A code for one more node.
    ///
    /// # Errors
    /// What the program says.
    pub async fn invite(&self) -> anyhow::Result<String> {
        let invite = self
            .command(&["invite", "--role", "field", "--json"])
            .await?
            .json()?;
        Ok(invite["code"].as_str().context("no code")?.to_owned())
    }

    /// Runs one command on this node's directory.
    ///
    /// # Errors
    /// It did not end.
    pub async fn command(&self, words: &[&str]) -> anyhow::Result<Output> {
        let mut command = muster(words);
        command
            .arg("--data-dir")
            .arg(&self.dir)
            .envs(self.environment.iter().cloned());
        run_to_end(command).await
    }

    /// Starts the process; answers when it is ready.
    ///
    /// # Errors
    /// It ended before, or was not ready in time; the error holds the end of its log.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let advertised = self.relay.address().to_string();
        let mut run = muster(&[
            "run",
            "--json",
            "--no-mdns",
            "--no-found",
            "--end-with-stdin",
        ]);
        run.args(["--listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0"])
            .args(["--sync-listen", "127.0.0.1:0", "--advertise", &advertised])
            .args(&self.words)
            .arg("--data-dir")
            .arg(&self.dir)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut process = run.spawn()?;
        let ready = tokio::time::timeout(PATIENCE, ready_line(&mut process)).await;
        let Ok(Some(ready)) = ready else {
            anyhow::bail!("{} did not become ready:\n{}", self.name, self.log_tail());
        };
        self.relay.lead(ready.addresses.sync);
        self.process = Some(process);
        self.ready = Some(ready);
        Ok(())
    }

    fn log_file(&self) -> PathBuf {
        self.dir.with_extension("log")
    }

    /// The last lines that the node logged.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read(self.log_file()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }

    /// # Panics
    /// It never ran.
    pub fn addresses(&self) -> Addresses {
        self.ready.as_ref().expect("the node ran").addresses
    }

    /// # Panics
    /// It never ran.
    pub fn id(&self) -> &str {
        &self.ready.as_ref().expect("the node ran").node_id
    }

    /// This node as others name it in `--peer`.
    pub fn as_peer(&self) -> String {
        format!("{}@{}", self.id(), self.relay.address())
    }

    /// Whether the process is there.
    pub fn runs(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| matches!(process.try_wait(), Ok(None)))
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }

    /// Signs in. On a node that has just joined, the user may not have arrived: waits for it.
    ///
    /// # Errors
    /// Not within [`PATIENCE`].
    pub async fn api(&self) -> anyhow::Result<Api> {
        let http = self.addresses().http;
        until(&format!("{} lets the admin in", self.name), || async {
            let signed_in = Api::sign_in(http).await;
            if signed_in.is_err() {
                // Attempts are counted: not too many of them.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(signed_in.ok())
        })
        .await
    }

    /// `muster status --json`, over the socket.
    ///
    /// # Errors
    /// What the program says.
    pub async fn status(&self) -> anyhow::Result<Value> {
        self.command(&["status", "--json"]).await?.json()
    }

    /// Ends the process as a service manager does.
    ///
    /// # Errors
    /// It did not end in time, or not with 0.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        signal(process.id().context("it has ended already")?, "TERM").await?;
        let status = tokio::time::timeout(PATIENCE, process.wait())
            .await
            .with_context(|| format!("{} did not stop:\n{}", self.name, self.log_tail()))??;
        ensure!(
            status.success(),
            "{} ended with {status}:\n{}",
            self.name,
            self.log_tail()
        );
        Ok(())
    }

    /// Ends the process as a crash does: nothing of it runs any more when this returns.
    ///
    /// # Errors
    /// The system does not let us.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }
}

async fn ready_line(process: &mut Child) -> Option<Ready> {
    let mut lines = BufReader::new(process.stdout.take()?).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(ready) = serde_json::from_str(&line) {
            return Some(ready);
        }
    }
    None
}

/// Waits until all have the same digest and nothing is pending (DESIGN §8); answers with the digest.
///
/// # Errors
/// Not within [`PATIENCE`]; the error says how they stand.
pub async fn agree(nodes: &[&Node]) -> anyhow::Result<String> {
    let look = || async {
        let mut statuses = Vec::new();
        for node in nodes {
            statuses.push(node.status().await?);
        }
        anyhow::Ok(statuses)
    };
    let agreed = until("the nodes agree", || async {
        let statuses = look().await?;
        let digest = statuses[0]["heads_digest"].clone();
        let same = statuses
            .iter()
            .all(|status| status["heads_digest"] == digest && status["pending"] == json!(0));
        Ok(same.then(|| digest.as_str().unwrap_or_default().to_owned()))
    })
    .await;
    match agreed {
        Ok(digest) => Ok(digest),
        Err(error) => {
            let mut how = String::new();
            for (node, status) in nodes.iter().zip(look().await?) {
                how.push_str(&format!("{}: {status:#}\n{}\n", node.name, node.log_tail()));
            }
            Err(error.context(how))
        }
    }
}
