//! One sensor that publishes 0, 1, 2 … as fast as the node takes them, and knows exactly which were acknowledged.
//!
//! Invariant: acknowledgements come in the order of the messages (MQTT 3.1.1 §4.6), so that a number says which they
//! were; what was not acknowledged is sent again, marked, on the next connection.

use std::net::SocketAddr;

use anyhow::ensure;

use super::stored::{Numbers, Stored};
use super::wire::{Answer, Connection};
use crate::api::Api;
use crate::load::Stop;

/// Messages that a sensor has under way.
const WINDOW: u32 = 50;

/// How a sensor says what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// QoS 1 with times of its own, which tell one reading from another; a new session each time.
    Timed,
    /// QoS 1 without: only the mark and the packet id tell that a message came before. The session lasts.
    Untimed,
    /// QoS 2 without times; the session lasts.
    Once,
}

/// How long to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The node is gone, or the ledger is closed.
    End,
    /// What was begun is acknowledged; nothing new is sent.
    Settled,
}

/// One sensor with its ledger.
pub struct Sender {
    pub device: String,
    manner: Manner,
    base_ms: i64,
    /// Sent at least once: those below.
    next: u32,
    /// Acknowledged: those below.
    acknowledged: u32,
    /// Their packet ids are free again: those below. With QoS 1 the same.
    complete: u32,
    /// Timed: looked for and found: those below.
    found_below: u32,
    /// Untimed: found so far, each once; all that arrived before `looked_to_ms`.
    found: Numbers,
    looked_to_ms: i64,
}

impl Sender {
    pub fn new(device: String, manner: Manner, base_ms: i64, now_ms: i64) -> Sender {
        Sender {
            device,
            manner,
            base_ms,
            next: 0,
            acknowledged: 0,
            complete: 0,
            found_below: 0,
            found: Numbers::default(),
            looked_to_ms: now_ms,
        }
    }

    pub fn acknowledged(&self) -> u64 {
        u64::from(self.acknowledged)
    }

    pub fn sent(&self) -> u64 {
        u64::from(self.next)
    }

    /// Ends with `stop`, with the error that the dying node leaves it with, or when it is settled.
    ///
    /// # Errors
    /// The node went away, or broke the protocol.
    pub async fn publish(
        &mut self,
        node: SocketAddr,
        until: Until,
        stop: &Stop,
    ) -> anyhow::Result<()> {
        let clean = self.manner == Manner::Timed;
        let client_id = format!("flood-{}", self.device);
        let mut connection = Connection::open(node, &client_id, clean).await?;
        for number in self.complete..self.acknowledged {
            connection.release(packet_id(number));
        }
        for number in self.acknowledged..self.next {
            self.put(&mut connection, number, true)?;
        }
        loop {
            if until == Until::End {
                while self.next - self.complete < WINDOW {
                    self.put(&mut connection, self.next, false)?;
                    self.next += 1;
                }
            } else if self.complete == self.next {
                return Ok(());
            }
            connection.send().await?;
            let answers = connection.answers().await?;
            // What is read after that counts as never heard.
            if *stop.borrow() {
                return Ok(());
            }
            for answer in answers {
                self.hear(&mut connection, answer)?;
            }
        }
    }

    fn hear(&mut self, connection: &mut Connection, answer: Answer) -> anyhow::Result<()> {
        match answer {
            Answer::Stored(id) => {
                let expected = packet_id(self.acknowledged);
                ensure!(
                    id == expected && self.acknowledged < self.next,
                    "packet {id} is acknowledged where {expected} is next"
                );
                self.acknowledged += 1;
                if self.manner == Manner::Once {
                    connection.release(id);
                } else {
                    self.complete += 1;
                }
            }
            Answer::Complete(id) => {
                let expected = packet_id(self.complete);
                ensure!(
                    id == expected && self.complete < self.acknowledged,
                    "packet {id} is complete where {expected} is next"
                );
                self.complete += 1;
            }
        }
        Ok(())
    }

    fn put(&self, connection: &mut Connection, number: u32, again: bool) -> anyhow::Result<()> {
        let payload = match self.manner {
            Manner::Timed => format!(
                r#"{{"v":{number},"t":{}}}"#,
                self.base_ms + i64::from(number)
            ),
            Manner::Untimed | Manner::Once => number.to_string(),
        };
        let qos = if self.manner == Manner::Once { 2 } else { 1 };
        let topic = format!("muster/v1/{}/count", self.device);
        connection.publish(qos, again, packet_id(number), &topic, payload.as_bytes())
    }

    /// Looks through what the node has stored since the last check.
    ///
    /// # Errors
    /// Something acknowledged is missing, is there twice, or was never sent.
    pub async fn check(&mut self, api: &Api, now_ms: i64) -> anyhow::Result<()> {
        let Some(stored) = Stored::of(api, &self.device).await? else {
            ensure!(self.acknowledged == 0, "nothing of it is stored");
            return Ok(());
        };
        if self.manner == Manner::Timed {
            let mut found = Numbers::default();
            let range = (self.time(self.found_below), self.time(self.next));
            for (at_ms, number) in stored.points(api, range).await? {
                ensure!(at_ms == self.time(number), "{number} has the time {at_ms}");
                ensure!(found.insert(number), "{number} is stored twice");
            }
            self.expect(&found, self.found_below)?;
            // What is under way is sent again with its old time.
            self.found_below = self.acknowledged;
        } else {
            for (_, number) in stored.points(api, (self.looked_to_ms, now_ms)).await? {
                ensure!(self.found.insert(number), "{number} is stored twice");
            }
            self.looked_to_ms = now_ms + 1;
            self.expect(&self.found, 0)?;
        }
        Ok(())
    }

    fn expect(&self, found: &Numbers, from: u32) -> anyhow::Result<()> {
        let missing: Vec<u32> = (from..self.acknowledged)
            .filter(|number| !found.contains(*number))
            .collect();
        ensure!(
            missing.is_empty(),
            "{} of {} acknowledged readings are lost, from {:?} to {:?}",
            missing.len(),
            self.acknowledged,
            missing.first(),
            missing.last()
        );
        let invented = found.last().filter(|number| *number >= self.next);
        ensure!(
            invented.is_none(),
            "a reading that nobody sent: {invented:?}"
        );
        Ok(())
    }

    /// Once everything is settled: as many are stored as were sent.
    ///
    /// # Errors
    /// More, or fewer.
    pub async fn count(&self, api: &Api) -> anyhow::Result<u64> {
        let stored = Stored::of(api, &self.device).await?;
        let count = stored.map_or(0, |stored| stored.count);
        ensure!(
            count == self.sent(),
            "{count} readings are stored of {} sent",
            self.next
        );
        Ok(count)
    }

    fn time(&self, number: u32) -> i64 {
        self.base_ms + i64::from(number)
    }
}

/// Any [`WINDOW`] neighbours differ; never 0.
fn packet_id(number: u32) -> u16 {
    u16::try_from(number % 65_535).unwrap_or(0) + 1
}
