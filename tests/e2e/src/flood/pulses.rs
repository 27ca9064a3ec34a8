//! Readings that each must raise one incident: a device of its own for each, one value from it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::sender::Until;
use super::wire::{Answer, Connection};
use crate::api::Api;
use crate::load::Stop;
use crate::wait::until;

/// Devices approved for one round: more would make the round longer, and each is an incident in the end.
const PER_ROUND: u32 = 12;

/// One after the other, each when the one before is acknowledged.
pub struct Pulses {
    base_ms: i64,
    approved: u32,
    /// Sent at least once: those below.
    next: u32,
    /// Acknowledged: those below.
    acknowledged: u32,
    /// Their incidents were found: those below.
    found_below: u32,
}

impl Pulses {
    pub fn new(base_ms: i64) -> Pulses {
        Pulses {
            base_ms,
            approved: 0,
            next: 0,
            acknowledged: 0,
            found_below: 0,
        }
    }

    pub fn acknowledged(&self) -> u64 {
        u64::from(self.acknowledged)
    }

    pub fn sent(&self) -> u64 {
        u64::from(self.next)
    }

    /// Makes the rule.
    ///
    /// # Errors
    /// The node refuses.
    pub async fn rule(api: &Api) -> anyhow::Result<()> {
        let rule = json!({
            "name": "pulse", "match": { "device": "pulse-*", "channel": "beat" }, "kind": "threshold",
            "raise_above": 0.5, "clear_below": 0.1, "for_s": 0, "hold_s": 0,
            "incident": { "title": "{device}", "category": "Other", "severity": "minor" },
        });
        api.post("/v1/rules", rule).await?;
        Ok(())
    }

    /// Approves the devices of the next round.
    ///
    /// # Errors
    /// The node refuses.
    pub async fn prepare(&mut self, api: &Api) -> anyhow::Result<()> {
        while self.approved < self.next + PER_ROUND {
            api.approve(&device(self.approved)).await?;
            self.approved += 1;
        }
        Ok(())
    }

    /// As [`super::sender::Sender::publish`].
    ///
    /// # Errors
    /// The node went away, or broke the protocol.
    pub async fn publish(
        &mut self,
        node: SocketAddr,
        to: Until,
        stop: &Stop,
    ) -> anyhow::Result<()> {
        let mut connection = Connection::open(node, "flood-pulses", true).await?;
        while self.acknowledged < self.next || (to == Until::End && self.next < self.approved) {
            let again = self.acknowledged < self.next;
            self.next = self.acknowledged + 1;
            let number = self.acknowledged;
            let topic = format!("muster/v1/{}/beat", device(number));
            let payload = format!(r#"{{"v":1,"t":{}}}"#, self.base_ms + i64::from(number));
            let packet_id = u16::try_from(number % 65_535)? + 1;
            connection.publish(1, again, packet_id, &topic, payload.as_bytes())?;
            connection.send().await?;
            let answers = connection.answers().await?;
            if *stop.borrow() {
                return Ok(());
            }
            ensure!(answers == [Answer::Stored(packet_id)], "{answers:?}");
            self.acknowledged += 1;
            // Spread over the round, so that one is in the works whenever it ends.
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..40))).await;
        }
        Ok(())
    }

    /// Each that was acknowledged since the last check has one incident; waits for the rules to come so far.
    ///
    /// # Errors
    /// One has none after all, or two.
    pub async fn check(&mut self, api: &Api) -> anyhow::Result<()> {
        for number in self.found_below..self.acknowledged {
            let path = format!("/v1/incidents?device={}", device(number));
            let found = until("the rules have seen every pulse", || async {
                // Asked in this order: what the rules have not raised by then they will not raise.
                let all_seen = api.get("/v1/status").await?["rules_behind"] == 0;
                let found = api.all(&path).await?.len();
                Ok((all_seen || found > 0).then_some(found))
            })
            .await?;
            ensure!(found == 1, "pulse {number} has {found} incidents");
        }
        self.found_below = self.acknowledged;
        Ok(())
    }

    /// Once everything is settled: one incident for each that was sent, and none besides.
    ///
    /// # Errors
    /// See there.
    pub async fn check_all(&self, api: &Api) -> anyhow::Result<()> {
        let mut counts = vec![0_u32; self.next as usize];
        for incident in api.all("/v1/incidents").await? {
            let title = incident["title"].as_str().context("no title")?;
            let number = title.strip_prefix("pulse-").context(title.to_owned())?;
            let number: usize = number.parse()?;
            let count = counts.get_mut(number);
            *count.with_context(|| format!("{title} was never sent"))? += 1;
        }
        let other = counts.iter().position(|count| *count != 1);
        ensure!(
            other.is_none(),
            "pulse {other:?} has {:?} incidents",
            other.map(|number| counts[number])
        );
        Ok(())
    }
}

fn device(number: u32) -> String {
    format!("pulse-{number}")
}
