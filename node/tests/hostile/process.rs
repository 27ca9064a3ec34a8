//! The program itself, as a process, and what can be asked of it from outside.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use domain::RecordId;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::member::{Member, WAIT};

const PASSWORD: &str = "hostile-test-not-secret";
/// Resident memory of a node that holds a few records and is attacked: what it has at rest, the rooms of its lanes, the
/// store's caches, and an unoptimised build's generosity. Far below what any one attack here could make of it.
const RSS_KIB_MAX: u64 = 300 * 1024;

/// A node that runs.
pub struct Process {
    child: Child,
    api: Api,
    directory: TempDir,
}

impl Process {
    /// Runs what is in `directory`, or founds an operation there.
    async fn run(directory: TempDir) -> Process {
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

    /// How often something was refused for this reason.
    pub async fn refused(&self, why: &str) -> u64 {
        let name = format!("muster_sync_refused_total{{why=\"{why}\"}}");
        self.figure(&name).await
    }

    fn rss_kib(&self) -> u64 {
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

fn muster(directory: &Path, words: &[&str]) -> Command {
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

/// An HQ that is attacked, and an honest node that it exchanges with all the while.
pub struct Scene {
    pub hq: Process,
    pub truck: Process,
    /// Nobody may change it.
    pub bridge: RecordId,
    /// Attackers so far: each has a key of its own, because who was caught is refused for a while.
    attackers: std::cell::Cell<u8>,
}

impl Scene {
    pub async fn set() -> Scene {
        let hq = Process::run(TempDir::new().unwrap()).await;
        let bridge = hq.incident("Bridge").await;
        let directory = TempDir::new().unwrap();
        let code = hq.invite().await;
        let mut join = muster(directory.path(), &["join", &code, "--name", "truck"]);
        let joined = tokio::task::spawn_blocking(move || join.status().unwrap()).await;
        assert!(joined.unwrap().success());
        let truck = Process::run(directory).await;
        Scene {
            hq,
            truck,
            bridge,
            attackers: std::cell::Cell::new(100),
        }
    }

    /// A member of the operation that is about to misbehave.
    pub async fn attacker(&self) -> Member {
        let number = self.attackers.get() + 1;
        self.attackers.set(number);
        Member::join_with(&self.hq.invite().await, number).await
    }

    /// After an attack: people work on at both nodes and see each other's work, nothing hostile is shown, memory is where
    /// it was.
    pub async fn goes_on(&self, attack: &str) {
        let at_hq = self.hq.incident(&format!("HQ after {attack}")).await;
        let at_truck = self.truck.incident(&format!("truck after {attack}")).await;
        for (there, id) in [(&self.truck, at_hq), (&self.hq, at_truck)] {
            let came = async {
                while there.shown(id).await.is_none() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            if tokio::time::timeout(WAIT, came).await.is_err() {
                panic!(
                    "after {attack} honest work does not arrive: {:#}",
                    there.status().await
                );
            }
        }
        for node in [&self.hq, &self.truck] {
            let bridge = node.shown(self.bridge).await.unwrap();
            assert_eq!(bridge["severity"], "minor", "after {attack}");
            assert_eq!(bridge["title"], "Bridge", "after {attack}");
            let status = node.status().await;
            assert_eq!(status["writes_stopped"], Value::Null, "after {attack}");
            let rss_kib = node.rss_kib();
            assert!(rss_kib < RSS_KIB_MAX, "{rss_kib} KiB after {attack}");
        }
        println!(
            "after {attack}: {} and {} MiB",
            self.hq.rss_kib() / 1024,
            self.truck.rss_kib() / 1024
        );
    }

    /// Both nodes hold exactly this much in quarantine.
    pub async fn until_quarantined(&self, count: u64) {
        for node in [&self.hq, &self.truck] {
            let set_aside = async {
                while node.status().await["quarantined"] != count {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            if tokio::time::timeout(WAIT, set_aside).await.is_err() {
                panic!("not {count} in quarantine: {:#}", node.status().await);
            }
        }
    }

    /// Both show this incident with this severity.
    pub async fn until_severity(&self, id: RecordId, severity: &str) {
        for node in [&self.hq, &self.truck] {
            let came = async {
                while node
                    .shown(id)
                    .await
                    .is_none_or(|it| it["severity"] != severity)
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(WAIT, came)
                .await
                .expect("the severity");
        }
    }

    /// The node says of its peer why it is refused.
    pub async fn until_caught(&self, member: &Member, why: &str) {
        let node = member.node().to_string();
        let shown = async {
            loop {
                let peer = self.hq.peer(&node).await;
                if peer["last_error"]
                    .as_str()
                    .is_some_and(|it| it.contains(why))
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(WAIT, shown).await.is_err() {
            panic!("{why:?} is not shown: {:#}", self.hq.peer(&node).await);
        }
    }
}
