//! Device health: this node says in its own log of lane 4 what it knows of the devices that it hears, and shows beside a
//! device what the others say of it.
//!
//! What always holds:
//! - only approved devices are spoken of: a flood of invented names on an open port stays in one place;
//! - a device is spoken of at most once a look, however often it is heard, and all of them together take
//!   [`BYTES_PER_LOOK`] at most;
//! - this node's own log is what tells it what it has said, so nothing is said twice and nothing is left out after a
//!   crash;
//! - what is said stands alone: the last word about a device is all that has to be known of it.
//!
//! Its size: 1,000 devices with battery and signal that are heard all the time take 15 KB in two entries each quarter of
//! an hour, 1.5 MB a day; what devices can make this node say at most is 19 MB a day.

mod due;
pub(in crate::app) mod payload;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use store::{Batch, HealthSaid, HealthWrite};
use sync_engine::{Lane, LogId, NodeId, Seq};
use tokio_util::sync::CancellationToken;

use self::due::{Due, Known, due, stored};
use self::payload::{DeviceSaid, Level};
pub(in crate::app) use self::payload::{KIND, decode};
pub(in crate::app) use self::shown::HealthBook;
use super::devices::{Devices, Overlay};
use super::error::AppError;
use super::own_log::{OwnLog, entry};

/// How often others hear of a device that is there and of which nothing has changed.
const SAID_EVERY_MS: i64 = 15 * 60_000;
/// Bytes of one look. What does not fit is said at the next one: of more than 4,000 devices others hear less often.
const BYTES_PER_LOOK: usize = 64 * 1024;

/// How often there is a look at what is known of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthTiming {
    /// From the start to the first: devices that were connected come again first.
    pub first: Duration,
    /// From one to the next: how long others do not hear that something has changed.
    pub every: Duration,
}

impl Default for HealthTiming {
    fn default() -> Self {
        HealthTiming {
            first: Duration::from_secs(60),
            every: Duration::from_secs(5 * 60),
        }
    }
}

/// Who says it.
struct Speaker {
    log: OwnLog,
    devices: Devices,
}

/// Starts the task that looks, which ends when `stop` is cancelled.
pub(in crate::app) fn start(
    log: OwnLog,
    devices: Devices,
    timing: HealthTiming,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    let speaker = Speaker { log, devices };
    tokio::spawn(async move {
        // A word that is broken off is committed or is not, and the next look finds out.
        let _ = stop
            .run_until_cancelled(look_when_due(speaker, timing))
            .await;
    })
}

async fn look_when_due(speaker: Speaker, timing: HealthTiming) {
    let mut wait = timing.first;
    loop {
        tokio::time::sleep(wait).await;
        match speaker.look(timing).await {
            Ok(said) if said.devices > 0 => {
                tracing::debug!(devices = said.devices, bytes = said.bytes, "device health");
                metrics::counter!("muster_device_health_said_total").increment(said.devices as u64);
                metrics::counter!("muster_device_health_bytes_total").increment(said.bytes as u64);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "what is known of devices could not be written and has to wait");
            }
        }
        wait = timing.every;
    }
}

/// How much one look said.
#[derive(Debug, Default, PartialEq, Eq)]
struct HowMuch {
    devices: usize,
    bytes: usize,
}

impl Speaker {
    /// Says what there is to say.
    async fn look(&self, timing: HealthTiming) -> Result<HowMuch, AppError> {
        if !self.log.may_write(Lane::Summary) {
            return Ok(HowMuch::default());
        }
        let now_wall_ms = self.log.clock.wall_ms();
        let now_ms = i64::try_from(now_wall_ms).unwrap_or(i64::MAX);
        // A turn that comes half a look later is this one: else it would wait for the look after it.
        let every_ms = i64::try_from(timing.every.as_millis()).unwrap_or(i64::MAX);
        let every_ms = (SAID_EVERY_MS - every_ms / 2).max(1);
        let (store, me, devices) = (self.log.store.clone(), self.log.node, self.devices.clone());
        let wanted = super::readings::blocking("read what was said of devices", move || {
            let said = store.read(|reader| reader.health_said_by(&me))?;
            Ok(wanted(known(&devices, now_ms), said, now_ms, every_ms))
        })
        .await?;
        let mut said = HowMuch::default();
        for payload in payload::encode(now_ms, &wanted) {
            let mut batch = Batch::new(Lane::Summary, now_wall_ms);
            // What is said is what can be read back.
            let write = decode(&payload).ok().flatten();
            let write = write.map(|said| health_write(self.log.node, None, said));
            said.devices += write.as_ref().map_or(0, |write| write.devices.len());
            batch.health.extend(write);
            let entry = entry(self.log.node, (Lane::Summary, KIND), now_wall_ms, payload)?;
            said.bytes += entry.bytes.len();
            batch.local.push(entry);
            self.log.store.commit(batch).await?;
        }
        Ok(said)
    }
}

/// What this node knows of approved devices, as far as it can be said.
fn known(devices: &Devices, now_ms: i64) -> Vec<Known> {
    let approved = devices.approved().into_iter();
    approved
        .filter_map(|(name, overlay)| {
            let quiet_ms = overlay.freshness.stale_after_ms();
            let said = said_of(name, overlay).sayable(now_ms)?;
            Some(Known { said, quiet_ms })
        })
        .collect()
}

fn said_of(device: String, overlay: Overlay) -> DeviceSaid {
    DeviceSaid {
        device,
        heard_ms: overlay.last_seen_ms,
        battery_pct: overlay
            .battery_pct
            .and_then(|timed| Level::battery_pct(timed.value, timed.at_ms)),
        rssi_dbm: overlay
            .rssi_dbm
            .and_then(|timed| Level::rssi_dbm(timed.value, timed.at_ms)),
        online: overlay.freshness.online,
        firmware: overlay
            .firmware
            .map(|timed| (timed.value.into_string(), timed.at_ms)),
    }
}

/// What is to be said now: what changed first, then what was said longest ago, as much as one look may say.
fn wanted(known: Vec<Known>, said: Vec<HealthSaid>, now_ms: i64, every_ms: i64) -> Vec<DeviceSaid> {
    let said: HashMap<String, HealthSaid> = said
        .into_iter()
        .map(|said| (said.health.device.clone(), said))
        .collect();
    let mut wanted: Vec<(Due, i64, DeviceSaid)> = known
        .into_iter()
        .filter_map(|known| {
            let before = said.get(&known.said.device);
            let due = due(&known, before, now_ms, every_ms)?;
            let said_ms = before.map_or(i64::MIN, |said| said.said_ms);
            Some((due, said_ms, known.said))
        })
        .collect();
    wanted.sort_by(|(a_due, a_ms, a), (b_due, b_ms, b)| {
        (a_due, a_ms, &a.device).cmp(&(b_due, b_ms, &b.device))
    });
    let mut bytes = 0;
    wanted
        .into_iter()
        .map(|(_, _, said)| said)
        .take_while(|said| {
            bytes += said.bytes_max();
            bytes <= BYTES_PER_LOOK
        })
        .collect()
}

/// What the store is to take in of what a node says.
pub(in crate::app) fn health_write(
    node: NodeId,
    entry: Option<(LogId, Seq)>,
    said: payload::Said,
) -> HealthWrite {
    HealthWrite {
        entry,
        node,
        at_ms: said.at_ms,
        devices: said.devices.into_iter().map(stored).collect(),
    }
}
