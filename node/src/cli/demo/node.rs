//! One of the demo's nodes: a real `muster` process with a data directory, a relay in front of it, and an API client.
//!
//! Invariant: its process never outlives this value.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::relay::Relay;

/// A command or a start that takes longer is a fault, even on a Raspberry Pi.
const COMMAND_MAX: Duration = Duration::from_secs(60);

/// A node ends within 10 s by itself (`muster run`).
const END_MAX: Duration = Duration::from_secs(12);

/// One API request; the node itself gives up after 30 s.
const REQUEST_MAX: Duration = Duration::from_secs(35);

/// Items per page of a list, small enough that an export needs several.
const PAGE_ITEMS: u32 = 5;

pub(super) struct DemoNode {
    pub(super) name: &'static str,
    pub(super) dir: PathBuf,
    pub(super) relay: Relay,
    pub(super) id: String,
    pub(super) addresses: Addresses,
    process: Child,
    client: reqwest::Client,
    token: String,
}

/// Where a node listens, from its ready line.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Addresses {
    pub(super) http: SocketAddr,
    pub(super) sync: SocketAddr,
    pub(super) mqtt: SocketAddr,
}

/// `muster` with the settings of the demo alone: those of the person who runs it must not reach its nodes.
fn muster(dir: &Path) -> anyhow::Result<Command> {
    // Where there is such a link it leads to this very program, even after a new one was built in its place.
    let link = Path::new("/proc/self/exe");
    let program = if link.exists() {
        link.to_owned()
    } else {
        std::env::current_exe().context("find the muster program")?
    };
    let mut command = Command::new(program);
    command.arg0("muster");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MUSTER_") {
            command.env_remove(name);
        }
    }
    command
        .arg("--data-dir")
        .arg(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(command)
}

/// Runs one command on the data directory `dir`; answers with what it printed.
pub(super) async fn command(
    dir: &Path,
    words: &[&str],
    environment: &[(&str, &str)],
) -> anyhow::Result<String> {
    let mut command = muster(dir)?;
    command.args(words).envs(environment.iter().copied());
    let output = tokio::time::timeout(COMMAND_MAX, command.output())
        .await
        .with_context(|| format!("muster {} did not end in time", words[0]))??;
    if !output.status.success() {
        bail!(
            "muster {}: {}",
            words[0],
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Starts a command that goes on beside the story, and ends with it; what it prints goes to a file.
pub(super) fn background(dir: &Path, words: &[&str], log: &Path) -> anyhow::Result<Background> {
    let out = std::fs::File::create(log).with_context(|| format!("create {}", log.display()))?;
    let mut command = muster(dir)?;
    command
        .args(words)
        .arg("--end-with-stdin")
        .stdin(Stdio::piped())
        .stdout(out.try_clone()?)
        .stderr(out);
    let mut process = command
        .spawn()
        .with_context(|| format!("start muster {}", words[0]))?;
    // Apart, because waiting for a process closes its standard input.
    let lifeline = process.stdin.take();
    Ok(Background {
        process,
        _lifeline: lifeline,
    })
}

/// A command beside the story.
pub(super) struct Background {
    process: Child,
    _lifeline: Option<ChildStdin>,
}

impl Background {
    /// Answers when it has ended by itself.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.process.wait().await
    }
}

impl DemoNode {
    /// Starts the node whose data directory is `dir`, reachable for the others through `relay` alone.
    pub(super) async fn start(
        name: &'static str,
        dir: PathBuf,
        relay: Relay,
        peer: Option<String>,
    ) -> anyhow::Result<DemoNode> {
        let log = dir.with_extension("log");
        let stderr =
            std::fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let advertised = relay.address().to_string();
        let mut run = muster(&dir)?;
        // Standard input ends when this program does, be it by SIGKILL.
        run.args([
            "run",
            "--json",
            "--no-mdns",
            "--no-found",
            "--end-with-stdin",
        ])
        .args(["--listen", "127.0.0.1:0", "--mqtt-listen", "127.0.0.1:0"])
        .args(["--sync-listen", "127.0.0.1:0", "--advertise", &advertised])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr);
        if let Some(peer) = peer {
            run.args(["--peer", &peer]);
        }
        let mut process = run.spawn().with_context(|| format!("start {name}"))?;
        let ready = tokio::time::timeout(COMMAND_MAX, ready_line(&mut process))
            .await
            .ok()
            .flatten()
            .with_context(|| format!("{name} did not become ready: see {}", log.display()))?;
        relay.lead(ready.addresses.sync);
        let client = reqwest::Client::builder()
            .timeout(REQUEST_MAX)
            .no_proxy()
            .build()?;
        Ok(DemoNode {
            name,
            dir,
            relay,
            id: ready.node_id,
            addresses: ready.addresses,
            process,
            client,
            token: String::new(),
        })
    }

    pub(super) fn page(&self) -> String {
        format!("http://{}", self.addresses.http)
    }

    /// Gets a token with the password that the operation was founded with; users replicate, so that it is good on every
    /// node once the user has arrived there.
    pub(super) async fn sign_in(&mut self, password: &str) -> anyhow::Result<()> {
        let form = [
            ("grant_type", "password"),
            ("username", "admin"),
            ("password", password),
        ];
        let answer = self
            .client
            .post(format!("{}/oauth/token", self.page()))
            .form(&form)
            .send()
            .await?;
        let value = success(answer).await?;
        self.token = value["access_token"]
            .as_str()
            .context("the answer holds no token")?
            .to_owned();
        Ok(())
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self
            .client
            .get(format!("{}{path}", self.page()))
            .bearer_auth(&self.token);
        success(request.send().await?)
            .await
            .with_context(|| format!("{}: GET {path}", self.name))
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        let request = self
            .client
            .post(format!("{}{path}", self.page()))
            .bearer_auth(&self.token)
            .json(&body);
        success(request.send().await?)
            .await
            .with_context(|| format!("{}: POST {path}", self.name))
    }

    /// Edits as somebody does who looks at the document on this node's page.
    pub(super) async fn edit(&self, path: &str, fields: Value) -> anyhow::Result<Value> {
        let seen = self.get(path).await?;
        let version = seen["version"]
            .as_str()
            .context("the document has no version")?;
        let request = self
            .client
            .patch(format!("{}{path}", self.page()))
            .bearer_auth(&self.token)
            .header("if-match", format!("\"{version}\""))
            .json(&fields);
        success(request.send().await?)
            .await
            .with_context(|| format!("{}: PATCH {path}", self.name))
    }

    pub(super) async fn status(&self) -> anyhow::Result<Value> {
        self.get("/v1/status").await
    }

    /// Every incident, page by page, by id; without `seen_by`, which says what this node knows of the others' copies and
    /// so differs from node to node by its nature.
    pub(super) async fn export(&self) -> anyhow::Result<Vec<Value>> {
        let mut all: Vec<Map<String, Value>> = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self
                .get(&format!("/v1/incidents?limit={PAGE_ITEMS}{cursor}"))
                .await?;
            for item in page["items"].as_array().context("a list without items")? {
                let mut item = item
                    .as_object()
                    .context("an incident that is no object")?
                    .clone();
                item.remove("seen_by");
                all.push(item);
            }
            let Some(next) = page["next"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        all.sort_by_key(|item| item["id"].to_string());
        Ok(all.into_iter().map(Value::Object).collect())
    }

    /// How many of the other nodes it says it is connected to.
    pub(super) async fn connected(&self) -> anyhow::Result<usize> {
        let peers = self.get("/v1/peers").await?;
        let items = peers["items"].as_array().context("a list without items")?;
        Ok(items
            .iter()
            .filter(|peer| peer["state"] == json!("connected"))
            .count())
    }

    /// Asks the process to end, and sees to it that it does.
    pub(super) async fn end(mut self) {
        if let Some(pid) = self.process.id() {
            // A shell is everywhere; sending a signal from here would need unsafe code.
            let _ = Command::new("sh")
                .args(["-c", &format!("kill -TERM {pid}")])
                .stderr(Stdio::null())
                .status()
                .await;
        }
        if tokio::time::timeout(END_MAX, self.process.wait())
            .await
            .is_err()
        {
            let _ = self.process.kill().await;
        }
    }
}

#[derive(Deserialize)]
struct Ready {
    node_id: String,
    addresses: Addresses,
}

/// `None` when the process ends before it is ready.
async fn ready_line(process: &mut Child) -> Option<Ready> {
    let mut lines = BufReader::new(process.stdout.take()?).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(ready) = serde_json::from_str(&line) {
            return Some(ready);
        }
    }
    None
}

/// The JSON of an answer in the 200s; anything else is an error with what the node said.
async fn success(answer: reqwest::Response) -> anyhow::Result<Value> {
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        bail!("{status}: {text}");
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("unreadable answer {text:?}"))
}
