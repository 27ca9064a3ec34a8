//! Giving away readings themselves, in lane 5: of the series that `[replicate]` of muster.toml names, a quarter of an hour
//! in an entry, when its summary is said.
//!
//! Invariant: nothing is given away that is not named, and no more in a day than the budget allows, however often the node
//! is started: the log of lane 5 is kept by whoever asks for it, on cards too. What was given is remembered in the commit
//! that gives it.

use serde::{Deserialize, Serialize};
use store::{Batch, EntryPlace, SeriesId, Store, StoreError};
use sync_engine::Lane;

use super::look::Speaker;
use super::payload::QUARTER_MS;
use super::raw::{self, RawQuarter};
use super::raw_write;
use crate::app::error::AppError;
use crate::app::own_log::entry;
use crate::app::readings::blocking;

const DAY_MS: u64 = 24 * 3_600_000;
/// Entries of one transaction: up to half a megabyte.
const ENTRIES_AT_ONCE: usize = 16;
/// Where it is remembered what was given away today.
const SETTING: &str = "raw-given-away";

/// `[replicate]` of muster.toml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replicate {
    /// Series whose readings are given away, as `device/channel`; `*` stands for any characters. None where nothing is
    /// said.
    pub raw: Vec<String>,
    /// Bytes of them that this node adds to its log in a day (UTC), at most.
    pub raw_bytes_a_day: u64,
    /// Whether this node asks others for what they give away; where nothing is said an HQ does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_raw: Option<bool>,
}

impl Default for Replicate {
    fn default() -> Self {
        Replicate {
            raw: Vec::new(),
            // 300 gauges that send each second.
            raw_bytes_a_day: 64 << 20,
            receive_raw: None,
        }
    }
}

impl Replicate {
    pub(super) fn gives(&self, device: &str, channel: &str) -> bool {
        let fits = |pattern: &String| {
            // A device's name may hold slashes, a channel's may not.
            pattern
                .rsplit_once('/')
                .is_some_and(|(devices, channels)| fits(devices, device) && fits(channels, channel))
        };
        self.raw.iter().any(fits)
    }
}

/// Whether a name is one that a pattern with `*` stands for.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What was given away today, and whether it was told today that there was more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    /// Since 1970.
    day: u64,
    bytes: u64,
    #[serde(skip)]
    told: bool,
}

/// The budget of a day; read from the store before the first use.
#[derive(Debug, Default)]
pub(super) struct Budget(Option<Given>);

impl Budget {
    async fn read(&mut self, store: &Store) -> Result<Given, AppError> {
        if let Some(given) = self.0 {
            return Ok(given);
        }
        let store = store.clone();
        let saved = blocking("read what was given away today", move || {
            store.read(|reader| reader.setting(SETTING))
        })
        .await?;
        // Written by this program alone; what cannot be read costs a day's budget.
        let given: Option<Given> = saved.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(*self.0.insert(given.unwrap_or_default()))
    }
}

impl Given {
    /// Takes so many bytes, if they are left today.
    fn take(&mut self, now_wall_ms: u64, bytes: u64, a_day: u64) -> bool {
        let day = now_wall_ms / DAY_MS;
        if day != self.day {
            *self = Given {
                day,
                ..Given::default()
            };
        }
        let has_room = self.bytes.saturating_add(bytes) <= a_day;
        if has_room {
            self.bytes += bytes;
        }
        has_room
    }

    fn setting(&self) -> (String, Option<Vec<u8>>) {
        // Numbers are always written.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        (SETTING.to_owned(), Some(bytes))
    }
}

impl Speaker {
    /// Gives away the readings of these quarters. What is over the budget, or does not fit an entry, is counted and left
    /// out: of it the others have summaries.
    pub(super) async fn give_raw(
        &self,
        due: Vec<(SeriesId, i64)>,
        budget: &mut Budget,
    ) -> Result<(), AppError> {
        if due.is_empty() || !self.log.may_write(Lane::Raw) {
            return Ok(());
        }
        let mut given = budget.read(&self.log.store).await?;
        for some in due.chunks(ENTRIES_AT_ONCE) {
            let (store, some) = (self.log.store.clone(), some.to_vec());
            let quarters = blocking("read readings to give away", move || {
                some.into_iter()
                    .map(|(series, start_ms)| quarter(&store, series, start_ms))
                    .collect::<Result<Vec<_>, StoreError>>()
            })
            .await?;
            let wall_ms = self.log.clock.wall_ms();
            let mut batch = Batch::new(Lane::Raw, wall_ms);
            for quarter in quarters.into_iter().flatten() {
                let Some(payload) = raw::encode(&quarter) else {
                    metrics::counter!("muster_raw_quarters_left_out_total", "why" => "too-large")
                        .increment(1);
                    continue;
                };
                let size = payload.len() as u64;
                if !given.take(wall_ms, size, self.replicate.raw_bytes_a_day) {
                    metrics::counter!("muster_raw_quarters_left_out_total", "why" => "budget")
                        .increment(1);
                    if !std::mem::replace(&mut given.told, true) {
                        tracing::warn!(
                            raw_bytes_a_day = self.replicate.raw_bytes_a_day,
                            "no more readings are given away today: name fewer series in [replicate], or allow more"
                        );
                    }
                    continue;
                }
                metrics::counter!("muster_raw_bytes_total").increment(size);
                let place = EntryPlace::Local(batch.local.len());
                batch.raw.push(raw_write(self.log.node, place, &quarter));
                let kind = (Lane::Raw, raw::KIND);
                batch
                    .local
                    .push(entry(self.log.node, kind, wall_ms, payload)?);
            }
            if !batch.local.is_empty() {
                batch.settings.push(given.setting());
                self.log.store.commit(batch).await?;
            }
            budget.0 = Some(given);
        }
        Ok(())
    }
}

/// All readings of a quarter; `None` where there are more than an entry can hold.
fn quarter(
    store: &Store,
    series: SeriesId,
    start_ms: i64,
) -> Result<Option<RawQuarter>, StoreError> {
    let readings = store.readings();
    let Some(info) = readings.series_info(series) else {
        return Ok(None);
    };
    let end_ms = start_ms + QUARTER_MS - 1;
    let page = readings.points(series, start_ms, end_ms, raw::READINGS_MAX)?;
    if page.truncated {
        metrics::counter!("muster_raw_quarters_left_out_total", "why" => "too-large").increment(1);
        return Ok(None);
    }
    Ok(Some(RawQuarter {
        device: info.device.to_string(),
        channel: info.channel.to_string(),
        unit: info.unit.to_string(),
        number: start_ms.div_euclid(QUARTER_MS),
        readings: page
            .points
            .iter()
            .map(|point| (point.at_ms, point.value))
            .collect(),
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_devices_and_channels() {
        let gives = |pattern: &str, device: &str, channel: &str| {
            let replicate = Replicate {
                raw: vec![pattern.to_owned()],
                ..Replicate::default()
            };
            replicate.gives(device, channel)
        };
        assert!(gives("river-*/level", "river-12", "level"));
        assert!(!gives("river-*/level", "river-12", "flow"));
        assert!(!gives("river-*/level", "my-river-12", "level"));
        assert!(gives("*/*", "anything", "at all"));
        assert!(gives("*-12/l*v*l", "river-12", "level"));
        assert!(gives("site/a/level", "site/a", "level"));
        assert!(!gives("level", "river-12", "level"), "no device is named");
        assert!(!Replicate::default().gives("river-12", "level"));
        assert!(gives("ab*ba/x", "abba", "x") && !gives("ab*ba/x", "aba", "x"));
    }

    #[test]
    fn a_day_has_its_budget_and_the_next_one_a_new_one() {
        let mut given = Given::default();
        assert!(given.take(5, 60, 100));
        assert!(!given.take(6, 60, 100));
        assert!(given.take(7, 40, 100));
        assert!(!given.take(8, 1, 100));
        assert!(given.take(DAY_MS, 100, 100));
    }

    #[tokio::test]
    async fn what_was_given_away_today_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let key = store::DbKey::new([3; 32]);
            Store::open(dir.path(), &key, &store::OpenOptions::default()).unwrap()
        };
        let store = open();
        let mut given = Budget::default().read(&store).await.unwrap();
        assert_eq!(given, Given::default());
        assert!(given.take(DAY_MS + 5, 60, 100));
        let mut batch = Batch::new(Lane::Raw, DAY_MS + 5);
        batch.settings.push(given.setting());
        store.commit(batch).await.unwrap();
        store.close();
        drop(store);
        let store = open();
        let mut given = Budget::default().read(&store).await.unwrap();
        assert!(!given.take(DAY_MS + 6, 60, 100));
        assert!(given.take(2 * DAY_MS, 60, 100));
        store.close();
    }
}
