//! As many readings as a node takes, with a ledger for each reading: acknowledged, stored once, evaluated once.
//!
//! Invariant: something counts as acknowledged when its acknowledgement was read, not before; what was sent without an
//! answer is sent again and must count once.

mod evaluated;
mod pulses;
mod sender;
mod stored;
mod wire;

use std::fmt;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use self::evaluated::Evaluated;
use self::pulses::Pulses;
pub use self::sender::Until;
use self::sender::{Manner, Sender};
use crate::api::Api;
use crate::load::Stop;
use crate::node::{Addresses, Node};
use crate::wait::until;

/// Connections that publish as fast as they can; with the pulses' there is one more.
const SENDERS: usize = 10;

/// Their clocks stood so far back when they began: each reading is one millisecond later, so that none is in the future.
const HOURS_BACK: i64 = 20;

/// Ten sensors and their ledgers.
pub struct Flood {
    senders: Vec<Sender>,
    pulses: Pulses,
}

/// What is acknowledged so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub readings: u64,
    pub pulses: u64,
}

/// What was counted in the end, of everything that was ever sent.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    pub stored: u64,
    pub evaluated: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} readings, {} pulses", self.readings, self.pulses)
    }
}

impl Flood {
    /// Approves the sensors and makes the rules that look at every reading.
    ///
    /// # Errors
    /// The node refuses.
    pub async fn new(api: &Api) -> anyhow::Result<Flood> {
        let now_ms = now_ms();
        let base_ms = now_ms - HOURS_BACK * 3_600_000;
        let mut senders = Vec::new();
        for number in 0..SENDERS {
            let manner = match number {
                0 => Manner::Untimed,
                1 => Manner::Once,
                _ => Manner::Timed,
            };
            let device = format!("flood-{number}");
            api.approve(&device).await?;
            senders.push(Sender::new(device, manner, base_ms, now_ms));
        }
        let never = json!({
            "name": "never reached", "match": { "device": "flood-*", "channel": "count" }, "kind": "threshold",
            "raise_below": -1, "clear_above": 0, "for_s": 0, "hold_s": 0,
            "incident": { "title": "{device}", "category": "Other", "severity": "minor" },
        });
        api.post("/v1/rules", never).await?;
        Pulses::rule(api).await?;
        Ok(Flood {
            senders,
            pulses: Pulses::new(base_ms),
        })
    }

    /// What the next round needs.
    ///
    /// # Errors
    /// The node refuses.
    pub async fn prepare(&mut self, api: &Api) -> anyhow::Result<()> {
        self.pulses.prepare(api).await
    }

    /// Publishes until the node goes away, `stop` says so, or everything is settled; gives itself back. What is read
    /// after `stop` was set counts as not acknowledged.
    pub async fn run(mut self, node: Addresses, until: Until, mut stop: Stop) -> Flood {
        let counting = stop.clone();
        let work = async {
            let Flood { senders, pulses } = &mut self;
            let senders = senders
                .iter_mut()
                .map(|sender| sender.publish(node.mqtt, until, &counting));
            // Each ends with the error that the dying node left it with.
            let _ = tokio::join!(
                crate::load::join_all(senders),
                pulses.publish(node.mqtt, until, &counting)
            );
        };
        tokio::select! {
            () = work => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        self
    }

    pub fn tally(&self) -> Tally {
        Tally {
            readings: self.senders.iter().map(Sender::acknowledged).sum(),
            pulses: self.pulses.acknowledged(),
        }
    }

    fn sent(&self) -> u64 {
        self.senders.iter().map(Sender::sent).sum::<u64>() + self.pulses.sent()
    }

    /// Everything that was acknowledged since the last check is there once, and each pulse has raised one incident.
    ///
    /// # Errors
    /// It is not so.
    pub async fn check(&mut self, api: &Api) -> anyhow::Result<()> {
        let now_ms = now_ms();
        for sender in &mut self.senders {
            sender
                .check(api, now_ms)
                .await
                .with_context(|| format!("sensor {}", sender.device))?;
        }
        self.pulses.check(api).await
    }

    /// Once everything is settled: each reading that was ever sent is stored once, and each pulse has one incident.
    ///
    /// # Errors
    /// It is not so.
    pub async fn check_all(&mut self, api: &Api) -> anyhow::Result<()> {
        ensure!(
            self.tally().readings + self.tally().pulses == self.sent(),
            "not everything was settled"
        );
        self.check(api).await?;
        for sender in &self.senders {
            sender
                .count(api)
                .await
                .with_context(|| format!("sensor {}", sender.device))?;
        }
        self.pulses.check_all(api).await
    }
}

/// Stops the node in order and counts what its rules have evaluated: each stored reading once, in the order of arrival.
/// The node runs again afterwards.
///
/// # Errors
/// It is not so.
pub async fn count_evaluated(node: &mut Node) -> anyhow::Result<Counted> {
    let api = node.api().await?;
    let status = until("the rules have seen everything", || async {
        let status: Value = api.get("/v1/status").await?;
        Ok((status["rules_behind"] == 0).then_some(status))
    })
    .await?;
    let stored = status["readings"].as_u64().context("no readings")?;
    node.stop().await?;
    let evaluated = Evaluated::read(&node.dir)?;
    evaluated.are_all_of(stored)?;
    node.start().await?;
    Ok(Counted {
        stored,
        evaluated: evaluated.readings,
    })
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
