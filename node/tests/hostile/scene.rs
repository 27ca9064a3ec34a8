//! An HQ that is attacked, an honest node that exchanges with it all the while, and what must hold after each attack.

use std::cell::Cell;
use std::time::Duration;

use domain::RecordId;
use serde_json::Value;
use tempfile::TempDir;

use super::member::{Member, WAIT};
use super::process::{Process, muster};

/// Resident memory of a node that holds a few records and is attacked: what it has at rest, the rooms of its lanes, the
/// store's caches, and an unoptimised build's generosity. Far below what any one attack here could make of it.
const RSS_KIB_MAX: u64 = 300 * 1024;

/// An HQ that is attacked, and an honest node that it exchanges with all the while.
pub struct Scene {
    pub hq: Process,
    pub truck: Process,
    /// Nobody may change it.
    pub bridge: RecordId,
    /// Attackers so far: each has a key of its own, because who was caught is refused for a while.
    attackers: Cell<u8>,
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
            attackers: Cell::new(100),
        }
    }

    /// A member of the operation that is about to misbehave.
    pub async fn attacker(&self) -> Member {
        let number = self.attackers.get() + 1;
        self.attackers.set(number);
        Member::join_with(&self.hq.invite().await, number).await
    }

    /// After an attack: people work on at both nodes and see each other's work in urgent lanes and in bulk, nothing
    /// hostile is shown, memory is where it was.
    pub async fn goes_on(&self, attack: &str) {
        for (here, there) in [(&self.hq, &self.truck), (&self.truck, &self.hq)] {
            let incident = here.incident(&format!("after {attack}")).await;
            let note = here.note(&format!("after {attack}")).await;
            let came = async {
                while there.shown(incident).await.is_none()
                    || there.shown_note(note).await.is_none()
                {
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

    /// Nobody was caught: the peer is let be, whatever it sends.
    pub async fn is_let_be(&self, member: &Member) {
        let peer = self.hq.peer(&member.node().to_string()).await;
        assert_eq!(peer["violations"], 0, "{peer:#}");
        assert_eq!(peer["state"], "connected", "{peer:#}");
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

    /// The node has ended the connection, and says of its peer what it did; `/v1/peers` as it was then.
    pub async fn until_caught(&self, member: &Member, why: &str) -> Value {
        let node = member.node().to_string();
        let shown = async {
            loop {
                let peer = self.hq.peer(&node).await;
                let told = |it: &str| it.contains(why);
                if peer["last_violation"].as_str().is_some_and(told)
                    && peer["state"] == "disconnected"
                {
                    return peer;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let Ok(peer) = tokio::time::timeout(WAIT, shown).await else {
            panic!("{why:?} is not shown: {:#}", self.hq.peer(&node).await);
        };
        assert!(peer["violations"].as_u64() >= Some(1), "{peer:#}");
        peer
    }
}
