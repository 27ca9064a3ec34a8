//! The program itself, as a process, and what can be asked of it from outside.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use domain::RecordId;
use serde_json::{Value, json};
use sync_engine::{GroupId, Lane, LogId};
use tempfile::TempDir;

use super::member::WAIT;

const PASSWORD: &str = "hostile-test-not-secret";

/// A node that runs.
pub struct Process {
    child: Child,
    api: Api,
    directory: TempDir,
}

impl Process {
    /// Runs what is in `directory`, or founds an operation there.
    pub async fn run(directory: TempDir) -> Process {
        let mut child = muster(directory.path(), &["run", "--json", "--no-mdns"])
            .args(["--listen", "127.0.0.1:0", "--sync-listen", "127.0.0.1:0"])
            .args(["--mqtt-listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let address = |name: &str| ready["addresses"][name].as_str().unwrap().parse().unwrap();
        let api = Api::sign_in(address("http")).await;
        Process {
            api,
            child,
            directory,
        }
    }

    /// A code for one more node.
    pub async fn invite(&self) -> String {
        let mut command = muster(
            self.directory.path(),
            &["invite", "--role", "field", "--json"],
        );
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let invite: Value = serde_json::from_slice(&output.stdout).unwrap();
        invite["code"].as_str().unwrap().to_owned()
    }

    pub async fn incident(&self, title: &str) -> RecordId {
        let fields = json!({ "title": title, "description": "first", "severity": "minor" });
        let created = self.api.post("/v1/incidents", fields).await;
        created["id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn note(&self, text: &str) -> RecordId {
        let created = self.api.post("/v1/notes", json!({ "text": text })).await;
        created["id"].as_str().unwrap().parse().unwrap()
    }

    pub async fn shown_note(&self, id: RecordId) -> Option<Value> {
        self.api.get(&format!("/v1/notes/{id}")).await
    }

    /// What `muster peers` prints.
    pub async fn printed_peers(&self) -> String {
        let mut command = muster(self.directory.path(), &["peers"]);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// This node's own log of a lane.
    pub async fn log(&self, lane: Lane) -> LogId {
        let status = self.status().await;
        let word = |name: &str| status[name].as_str().unwrap().to_owned();
        LogId {
            author: word("node_id").parse().unwrap(),
            incarnation: word("incarnation").parse().unwrap(),
            group: GroupId::SHARED,
            lane,
        }
    }

    /// An incident as this node shows it, if it has it.
    pub async fn shown(&self, id: RecordId) -> Option<Value> {
        self.api.get(&format!("/v1/incidents/{id}")).await
    }

    pub async fn status(&self) -> Value {
        self.api.get("/v1/status").await.unwrap()
    }

    pub async fn peer(&self, node: &str) -> Value {
        let peers = self.api.get("/v1/peers").await.unwrap();
        let items = peers["items"].as_array().unwrap().clone();
        items
            .into_iter()
            .find(|peer| peer["node_id"] == node)
            .unwrap()
    }

    /// A figure of `/metrics`, with its labels as they stand there; 0 where it is not (yet).
    pub async fn figure(&self, name: &str) -> u64 {
        let text = self.api.text("/metrics").await;
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Waits until a figure has come to at least that.
    pub async fn until_figure(&self, name: &str, least: u64) {
        let reached = async {
            while self.figure(name).await < least {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(WAIT, reached).await.is_err() {
            let peers = self.api.get("/v1/peers").await;
            panic!(
                "{name} is {} and not {least}: {peers:#?}",
                self.figure(name).await
            );
        }
    }

    /// How often something was refused for this reason.
    pub async fn refused(&self, why: &str) -> u64 {
        let name = format!("muster_sync_refused_total{{why=\"{why}\"}}");
        self.figure(&name).await
    }

    pub fn rss_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|it| it.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn muster(directory: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command
        .args(words)
        .arg("--data-dir")
        .arg(directory)
        .env("MUSTER_ADMIN_PASSWORD", PASSWORD)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    /// On a node that has just joined the user may not have arrived yet.
    async fn sign_in(http: SocketAddr) -> Api {
        let (client, base) = (reqwest::Client::new(), format!("http://{http}"));
        let form = [
            ("grant_type", "password"),
            ("username", "admin"),
            ("password", PASSWORD),
        ];
        let signed_in = async {
            loop {
                let request = client.post(format!("{base}/oauth/token")).form(&form);
                if let Ok(answer) = request.send().await.unwrap().error_for_status() {
                    let answer: Value = answer.json().await.unwrap();
                    return answer["access_token"].as_str().unwrap().to_owned();
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        let token = tokio::time::timeout(WAIT, signed_in).await.unwrap();
        Api {
            client,
            base,
            token,
        }
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.base);
        // A node that is attacked still answers, and at once.
        self.client
            .request(method, url)
            .bearer_auth(&self.token)
            .timeout(Duration::from_secs(5))
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let answer = self
            .request(reqwest::Method::GET, path)
            .send()
            .await
            .unwrap();
        (answer.status() != reqwest::StatusCode::NOT_FOUND).then_some(())?;
        Some(answer.error_for_status().unwrap().json().await.unwrap())
    }

    async fn text(&self, path: &str) -> String {
        let answer = self
            .request(reqwest::Method::GET, path)
            .send()
            .await
            .unwrap();
        answer.error_for_status().unwrap().text().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.request(reqwest::Method::POST, path).json(&body);
        let answer = request.send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }
}
