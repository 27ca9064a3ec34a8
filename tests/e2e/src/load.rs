//! Load with a ledger: what was sent, what was acknowledged, and whether the node still has it.
//!
//! Invariant: something counts as acknowledged when its acknowledgement was read, not before; what was sent without an
//! answer is sent again, as sensors and people do, and must count once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::Api;
use crate::mqtt::Publisher;
use crate::node::Addresses;

/// Messages that a sensor has under way.
const WINDOW: usize = 50;

/// Points per request when the readings are read back.
const POINTS: u32 = 5_000;

/// Says when to stop.
pub type Stop = watch::Receiver<bool>;

/// Work for one node, with what came of it.
pub struct Load {
    sensors: Vec<Sensor>,
    editors: Vec<Editor>,
    reporter: Reporter,
}

/// What is acknowledged so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub readings: usize,
    pub edits: u64,
    pub reports: usize,
}

impl std::ops::Add for Tally {
    type Output = Tally;

    fn add(self, other: Tally) -> Tally {
        Tally {
            readings: self.readings + other.readings,
            edits: self.edits + other.edits,
            reports: self.reports + other.reports,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} readings, {} edits, {} reports",
            self.readings, self.edits, self.reports
        )
    }
}

impl Load {
    /// Prepares work under names that begin with `prefix`.
    ///
    /// # Errors
    /// The node does not take the documents that will be edited.
    pub async fn new(prefix: &str, api: &Api, sensors: usize) -> anyhow::Result<Load> {
        let mut editors = Vec::new();
        for number in 0..2 {
            let title = format!("{prefix}-edited-{number}");
            let made = api
                .post(
                    "/v1/incidents",
                    json!({ "title": title, "category": "Other" }),
                )
                .await?;
            let id = made["id"].as_str().context("no id")?;
            editors.push(Editor {
                path: format!("/v1/incidents/{id}"),
                attempted: 0,
                acknowledged: 0,
            });
        }
        let base_ms = jiff::Timestamp::now().as_millisecond();
        Ok(Load {
            sensors: (0..sensors)
                .map(|number| Sensor::new(format!("{prefix}-{number}"), base_ms))
                .collect(),
            editors,
            reporter: Reporter {
                prefix: prefix.to_owned(),
                next: 0,
                acknowledged: BTreeMap::new(),
                checked: 0,
            },
        })
    }

    /// Works until the node goes away or `stop` says so; gives itself back with the ledger. What is read after `stop` was
    /// set counts as not acknowledged.
    pub async fn run(mut self, node: Addresses, api: Api, mut stop: Stop) -> Load {
        let counting = stop.clone();
        let work = async {
            let sensors = self
                .sensors
                .iter_mut()
                .map(|sensor| sensor.publish(node.mqtt, &counting));
            let editors = self
                .editors
                .iter_mut()
                .map(|editor| editor.edit(&api, &counting));
            // Each ends with the error that the dying node left it with.
            let _ = tokio::join!(
                join_all(sensors),
                join_all(editors),
                self.reporter.report(&api, &counting)
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
            readings: self
                .sensors
                .iter()
                .map(|sensor| sensor.acknowledged.len())
                .sum(),
            edits: self.editors.iter().map(|editor| editor.acknowledged).sum(),
            reports: self.reporter.acknowledged.len(),
        }
    }

    /// Checks on the node itself what was acknowledged since the last check; with `all` everything, readings and
    /// documents that nobody sent included.
    ///
    /// # Errors
    /// Something acknowledged is missing, is there twice, or was never sent.
    pub async fn check(&mut self, api: &Api, all: bool) -> anyhow::Result<()> {
        for sensor in &mut self.sensors {
            sensor
                .check(api, all)
                .await
                .with_context(|| format!("sensor {}", sensor.device))?;
        }
        self.check_documents(api, all).await
    }

    /// The part of [`Load::check`] that other nodes must have too.
    ///
    /// # Errors
    /// See there.
    pub async fn check_documents(&mut self, api: &Api, all: bool) -> anyhow::Result<()> {
        for editor in &mut self.editors {
            editor
                .check(api)
                .await
                .with_context(|| editor.path.clone())?;
        }
        self.reporter.check(api, all).await
    }
}

/// Waits for all; there are a handful.
pub(crate) async fn join_all<F: Future<Output = anyhow::Result<()>>>(
    work: impl Iterator<Item = F>,
) {
    let mut work: Vec<_> = work.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        work.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if work.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// Publishes 0, 1, 2 …, each with a device time of its own.
struct Sensor {
    device: String,
    base_ms: i64,
    next: u32,
    under_way: VecDeque<u32>,
    acknowledged: BTreeSet<u32>,
    checked_below: u32,
}

impl Sensor {
    fn new(device: String, base_ms: i64) -> Sensor {
        Sensor {
            device,
            base_ms,
            next: 0,
            under_way: VecDeque::new(),
            acknowledged: BTreeSet::new(),
            checked_below: 0,
        }
    }

    /// Ends with `stop`, or with the error that the dying node leaves it with.
    async fn publish(&mut self, node: SocketAddr, stop: &Stop) -> anyhow::Result<()> {
        let mut publisher = Publisher::connect(node, &format!("load-{}", self.device)).await?;
        for number in self.under_way.clone() {
            self.send(&mut publisher, number, true).await?;
        }
        loop {
            while self.under_way.len() < WINDOW {
                let number = self.next;
                self.next += 1;
                self.under_way.push_back(number);
                self.send(&mut publisher, number, false).await?;
            }
            publisher.flush().await?;
            while self.under_way.len() > WINDOW / 2 {
                let id = publisher.puback().await?;
                if *stop.borrow() {
                    return Ok(());
                }
                let place = self
                    .under_way
                    .iter()
                    .position(|number| packet_id(*number) == id)
                    .with_context(|| format!("PUBACK for {id}, which is not under way"))?;
                self.acknowledged.extend(self.under_way.remove(place));
            }
            // A sensor is not a flood: the processor is needed for the other writers too.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn send(
        &self,
        publisher: &mut Publisher,
        number: u32,
        again: bool,
    ) -> anyhow::Result<()> {
        let payload = format!(
            r#"{{"v":{number},"t":{}}}"#,
            self.base_ms + i64::from(number)
        );
        let topic = format!("muster/v1/{}/count", self.device);
        publisher
            .publish(&topic, payload.as_bytes(), packet_id(number), again)
            .await
    }

    async fn check(&mut self, api: &Api, all: bool) -> anyhow::Result<()> {
        if self.next == 0 {
            return Ok(());
        }
        let from = if all { 0 } else { self.checked_below };
        let stored = self.stored(api, from).await?;
        let missing: Vec<u32> = self
            .acknowledged
            .range(from..)
            .filter(|number| !stored.contains(number))
            .copied()
            .collect();
        ensure!(
            missing.is_empty(),
            "{} acknowledged readings are lost, from {:?} to {:?} ({} acknowledged)",
            missing.len(),
            missing.first(),
            missing.last(),
            self.acknowledged.len()
        );
        let invented = stored.iter().find(|number| **number >= self.next);
        ensure!(
            invented.is_none(),
            "a reading that nobody sent: {invented:?}"
        );
        // What is under way is sent again with its old time.
        self.checked_below = self.under_way.front().copied().unwrap_or(self.next);
        Ok(())
    }

    async fn stored(&self, api: &Api, from: u32) -> anyhow::Result<BTreeSet<u32>> {
        let series = api
            .get(&format!("/v1/series?device={}", self.device))
            .await?;
        let Some(series) = series["items"][0]["id"].as_str() else {
            return Ok(BTreeSet::new());
        };
        let mut stored = BTreeSet::new();
        let mut low = from;
        while low < self.next {
            let high = low + POINTS;
            let path = format!(
                "/v1/series/{series}/readings?from={}&to={}&limit={}",
                self.time(low)?,
                self.time(high - 1)?,
                POINTS + 100
            );
            let answer = api.get(&path).await?;
            for point in answer["points"].as_array().context("no points")? {
                let at: jiff::Timestamp = point[0].as_str().context("no time")?.parse()?;
                let number = u32::try_from(at.as_millisecond() - self.base_ms)?;
                ensure!(
                    point[1].as_f64() == Some(f64::from(number)),
                    "{number} is stored as {point}"
                );
                ensure!(stored.insert(number), "{number} is stored twice");
            }
            low = high;
        }
        Ok(stored)
    }

    fn time(&self, number: u32) -> anyhow::Result<jiff::Timestamp> {
        Ok(jiff::Timestamp::from_millisecond(
            self.base_ms + i64::from(number),
        )?)
    }
}

/// Any [`WINDOW`] neighbours differ; never 0.
fn packet_id(number: u32) -> u16 {
    u16::try_from(number % 65_535).unwrap_or(0) + 1
}

/// Sets the description of one document to 1, 2, 3 …
struct Editor {
    path: String,
    attempted: u64,
    acknowledged: u64,
}

impl Editor {
    async fn edit(&mut self, api: &Api, stop: &Stop) -> anyhow::Result<()> {
        let mut seen = api.get(&self.path).await?;
        loop {
            self.attempted += 1;
            let number = self.attempted;
            let version = seen["version"].as_str().context("no version")?.to_owned();
            seen = api
                .patch(
                    &self.path,
                    &version,
                    json!({ "description": number.to_string() }),
                )
                .await?;
            if *stop.borrow() {
                return Ok(());
            }
            self.acknowledged = number;
        }
    }

    async fn check(&mut self, api: &Api) -> anyhow::Result<()> {
        let shown = api.get(&self.path).await?;
        let number: u64 = match shown["description"].as_str().unwrap_or_default() {
            "" => 0,
            text => text
                .parse()
                .with_context(|| format!("description {text:?}"))?,
        };
        ensure!(
            (self.acknowledged..=self.attempted).contains(&number),
            "shows edit {number}, though {} is acknowledged of {} attempted",
            self.acknowledged,
            self.attempted
        );
        Ok(())
    }
}

/// Reports incidents, each under an idempotency key of its own.
struct Reporter {
    prefix: String,
    next: u64,
    /// Number and id.
    acknowledged: BTreeMap<u64, String>,
    checked: u64,
}

impl Reporter {
    async fn report(&mut self, api: &Api, stop: &Stop) -> anyhow::Result<()> {
        loop {
            let title = self.title(self.next);
            let request = api
                .request(Method::POST, "/v1/incidents")
                .header("idempotency-key", &title)
                .json(&json!({ "title": title, "category": "Safety" }));
            let made = api.ask(request).await?.success()?;
            let id = made["id"].as_str().context("no id")?.to_owned();
            if *stop.borrow() {
                return Ok(());
            }
            self.acknowledged.insert(self.next, id);
            self.next += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn title(&self, number: u64) -> String {
        format!("{}-report-{number}", self.prefix)
    }

    async fn check(&mut self, api: &Api, all: bool) -> anyhow::Result<()> {
        for (number, id) in self.acknowledged.range(self.checked..) {
            let found = api
                .find(&format!("/v1/incidents/{id}"))
                .await?
                .with_context(|| format!("acknowledged report {number} is lost"))?;
            ensure!(
                found["title"] == json!(self.title(*number)),
                "report {number} is another one: {found}"
            );
        }
        self.checked = self.next;
        if all {
            self.check_list(&api.all("/v1/incidents").await?)?;
        }
        Ok(())
    }

    /// Each report once, and none that nobody made.
    fn check_list(&self, incidents: &[Value]) -> anyhow::Result<()> {
        let own = format!("{}-report-", self.prefix);
        let mut seen = BTreeSet::new();
        for title in incidents
            .iter()
            .filter_map(|incident| incident["title"].as_str())
        {
            let Some(number) = title.strip_prefix(&own) else {
                continue;
            };
            let number: u64 = number.parse()?;
            ensure!(seen.insert(number), "{title} is there twice");
            if number > self.next {
                bail!("{title} was never reported");
            }
        }
        let missing = self
            .acknowledged
            .keys()
            .find(|number| !seen.contains(number));
        ensure!(missing.is_none(), "report {missing:?} is in no list");
        Ok(())
    }
}
