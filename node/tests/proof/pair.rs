//! HQ and a truck, with real stores, that have met.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use node::app::founding::{self, Founding};
use node::app::{App, Caller, KeySource, OpenConfig, RecordKind, SyncSettings};
use serde_json::{Map, Value};
use store::{OpenOptions, Store};
use tempfile::TempDir;

/// Nothing in these tests takes longer on a loaded machine. Between two comparisons lie 30 seconds at most.
pub const WAIT: Duration = Duration::from_secs(60);

/// A node that runs.
pub struct Node {
    pub app: Arc<App>,
}

impl Node {
    async fn start(dir: PathBuf, listen: &str) -> (Node, SocketAddr) {
        let app = App::open(OpenConfig::new(&dir, KeySource::DataDir))
            .await
            .unwrap();
        let settings = SyncSettings {
            listen: listen.parse().unwrap(),
            peers: Vec::new(),
            advertise: Vec::new(),
            mdns: false,
        };
        let address = app.start_sync(settings).await.unwrap();
        (Node { app }, address)
    }

    pub async fn status(&self) -> Value {
        self.app.status().await.unwrap()
    }

    /// The other node, as this one shows it.
    pub async fn other(&self) -> Value {
        let page = self.app.peers(&Caller::socket()).await.unwrap();
        page.items
            .into_iter()
            .find(|peer| !peer["node_id"].is_null())
            .unwrap()
    }

    /// The faults that this node recorded, newest first.
    pub async fn faults(&self) -> Vec<Value> {
        let page = self.app.sync_faults(&Caller::socket(), None, None).await;
        page.unwrap().items
    }

    pub async fn create(&self, kind: RecordKind, fields: Value) -> Value {
        let created = self
            .app
            .create(&Caller::socket(), kind, object(fields), None)
            .await
            .unwrap();
        created.value
    }

    pub async fn get(&self, kind: RecordKind, id: &str) -> Value {
        self.app
            .get(&Caller::socket(), kind, id, None)
            .await
            .unwrap()
    }
}

/// Both nodes. HQ's address stays the same, so that the truck finds it again.
pub struct Pair {
    pub hq: Node,
    pub truck: Node,
    address: SocketAddr,
    dir: TempDir,
}

/// Both nodes while neither runs.
pub struct Apart {
    address: SocketAddr,
    dir: TempDir,
}

impl Pair {
    /// HQ founds, the truck joins; both run.
    pub async fn meet() -> Pair {
        let dir = tempfile::tempdir().unwrap();
        let (hq, address) = found(dir.path()).await;
        let code = hq
            .app
            .invite(&Caller::socket(), "field", None, WAIT)
            .await
            .unwrap();
        let truck_dir = dir.path().join("truck");
        founding::join(
            &truck_dir,
            &KeySource::DataDir,
            code["code"].as_str().unwrap(),
            "Truck".into(),
            WAIT,
        )
        .await
        .unwrap();
        let (truck, _) = Node::start(truck_dir, "127.0.0.1:0").await;
        Pair {
            hq,
            truck,
            address,
            dir,
        }
    }

    pub fn nodes(&self) -> [&Node; 2] {
        [&self.hq, &self.truck]
    }

    /// Waits until both have compared what both hold now and found it the same; answers the digest that both name.
    pub async fn until_agreed(&self) -> String {
        until("both nodes agree", async || {
            let [hq, truck] = [self.hq.status().await, self.truck.status().await];
            let [truck_at_hq, hq_at_truck] = [&hq["peers"][0], &truck["peers"][0]];
            let digest = truck_at_hq["agreed"]["digest"].as_str()?.to_owned();
            let same = hq["heads_digest"] == truck["heads_digest"]
                && hq_at_truck["agreed"]["digest"] == digest.as_str()
                && hq_at_truck["behind_entries"] == 0
                && truck_at_hq["behind_entries"] == 0;
            same.then_some(digest)
        })
        .await
    }

    /// Stops both.
    pub async fn part(self) -> Apart {
        self.hq.app.shutdown().await;
        self.truck.app.shutdown().await;
        Apart {
            address: self.address,
            dir: self.dir,
        }
    }
}

impl Apart {
    /// Changes what a node has on its disk, behind its back.
    pub fn at(&self, name: &str, change: impl FnOnce(&Store)) {
        let dir = self.dir(name);
        let key = store::key_in_data_dir(&dir, [0; 32]).unwrap();
        let store = Store::open(&dir, &key, &OpenOptions::default()).unwrap();
        // It waits for commits, which a thread of the runtime must not.
        tokio::task::block_in_place(|| {
            change(&store);
            store.close();
        });
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts both again.
    pub async fn meet(self) -> Pair {
        let (hq, address) = Node::start(self.dir("hq"), &self.address.to_string()).await;
        let (truck, _) = Node::start(self.dir("truck"), "127.0.0.1:0").await;
        Pair {
            hq,
            truck,
            address,
            dir: self.dir,
        }
    }
}

/// Founds an operation with a node in `dir`/hq, which runs.
pub async fn found(dir: &Path) -> (Node, SocketAddr) {
    let founding = Founding {
        name: "HQ".into(),
        role: "hq".parse().unwrap(),
        title: "Flood".into(),
    };
    let dir = dir.join("hq");
    founding::found(&dir, &KeySource::DataDir, founding)
        .await
        .unwrap();
    Node::start(dir, "127.0.0.1:0").await
}

pub fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// Asks until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(WAIT, asked).await {
        Ok(answer) => answer,
        Err(_) => panic!("{what}: not in {WAIT:?}"),
    }
}
