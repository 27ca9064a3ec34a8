//! The automatic archive: closed days of readings become Parquet files, `[archive]` of muster.toml.
//!
//! A day is exported when it has been over for some hours, and once more before retention drops it, with what came late.
//!
//! What always holds:
//! - retention drops no day that is not in the archive, until the disk has waited [`HELD_DAYS_MAX`] for it: an archive that
//!   nobody mends must not fill the disk that acknowledges readings;
//! - a day of which something was dropped is not exported again: its file holds more than what is left here;
//! - a disk that answers nothing (a server that is gone, a stick that is dying) is one that is not there: no thread of the
//!   runtime waits for it, and never more than one thread at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::{ArchivedDay, Batch, Store, StoreError};
use sync_engine::Lane;
use tokio::sync::Semaphore;

const DAY_MS: i64 = 24 * 3_600_000;
/// When a day is exported: the store closes its blocks two hours after midnight.
const SETTLED_MS: i64 = 3 * 3_600_000;
/// How many days more than retention says are kept where the archive cannot take them.
const HELD_DAYS_MAX: i64 = 7;
/// How long a day's file may take: the busiest day takes minutes on a slow disk.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// Days exported in one round, seconds each: the rest comes in the next.
const DAYS_PER_ROUND: usize = 64;
/// Where it is remembered what was exported.
const SETTING: &str = "archive";

/// Where to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchiveSettings {
    /// The directory, which has to be there; nowhere unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
}

/// What has been exported, as days since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// Days up to this one have been exported once.
    closed_to: Option<i64>,
    /// And up to this one finally, or not any more: they may be dropped.
    final_to: Option<i64>,
}

/// Why a day was not exported.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum ArchiveError {
    #[error(
        "the directory of the archive, {0}, is not there: mount the disk, or make the directory"
    )]
    Missing(PathBuf),
    #[error(
        "the disk of the archive, {0}, has not answered for a long time: look whether it is connected; if it is, mount it \
         anew"
    )]
    Hangs(PathBuf),
    #[error("export {file}")]
    Export {
        file: String,
        #[source]
        source: StoreError,
    },
    #[error("remember what was exported")]
    Remember(#[source] StoreError),
}

/// The directory of the archive, on a disk that may be slow, or away, or hang.
#[derive(Debug, Clone)]
pub(in crate::app) struct Archive {
    dir: PathBuf,
    /// Taken by the one thread that waits for the disk, for as long as it does.
    disk: Arc<Semaphore>,
    patience: Duration,
}

impl Archive {
    pub(in crate::app) fn new(dir: PathBuf) -> Self {
        Archive {
            dir,
            disk: Arc::new(Semaphore::new(1)),
            patience: PATIENCE,
        }
    }

    /// Does what waits for the disk on a thread where it can. What hangs is left to itself, and nothing new begins before
    /// it has ended.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, ArchiveError> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let hangs = || ArchiveError::Hangs(self.dir.clone());
        let Ok(permit) = Arc::clone(&self.disk).try_acquire_owned() else {
            return Err(hangs());
        };
        let dir = self.dir.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&dir)
        });
        match tokio::time::timeout(self.patience, work).await {
            Ok(Ok(done)) => done,
            // The runtime stops, or the work panicked.
            Ok(Err(_)) => Err(ArchiveError::Remember(StoreError::Closed)),
            Err(_) => Err(hangs()),
        }
    }
}

/// Exports what is due, and answers how long readings are to be kept this time: `raw_ms`, or longer while days are not in
/// the archive. `raw_ms` is `None` where they are kept for ever.
pub(in crate::app) async fn round(
    store: &Store,
    archive: &Archive,
    raw_ms: Option<u64>,
    now_ms: i64,
) -> Option<u64> {
    let mut progress = match read(store).await {
        Ok(progress) => progress,
        Err(error) => {
            tracing::warn!(%error, "what was archived cannot be read: nothing is dropped this time");
            return None;
        }
    };
    let cutoff = raw_ms.map(|ms| {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        now_ms.saturating_sub(ms).div_euclid(DAY_MS)
    });
    let oldest = match oldest_day(store).await {
        Ok(oldest) => oldest,
        Err(error) => {
            tracing::warn!(%error, "how old readings are cannot be read: nothing is dropped this time");
            return None;
        }
    };
    let Some(oldest) = oldest else {
        // Nothing is in blocks: there is nothing to export, and nothing that could be dropped.
        metrics::gauge!("muster_archive_held_days").set(0.0);
        return None;
    };
    if let Err(error) = export(store, archive, cutoff, oldest, now_ms, &mut progress).await {
        metrics::counter!("muster_archive_failures_total").increment(1);
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "readings could not be archived; they are kept, for at most {HELD_DAYS_MAX} days longer"
        );
    }
    let first_unarchived = progress.final_to.map_or(oldest, |day| day + 1).max(oldest);
    let keep_from = keep_from(cutoff?, first_unarchived);
    // What is dropped is not exported again: it would take the place of the whole day with what comes late.
    if progress.final_to.is_none_or(|day| day < keep_from - 1) {
        progress.final_to = Some(keep_from - 1);
        if let Err(error) = remember(store, &progress, now_ms).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no readings are dropped this time"
            );
            return None;
        }
    }
    // The first day that is kept begins exactly then.
    u64::try_from(now_ms - keep_from * DAY_MS).ok()
}

/// The first day that is kept: `cutoff`, as retention says, or an earlier one that waits for the archive.
fn keep_from(cutoff: i64, first_unarchived: i64) -> i64 {
    let held = (cutoff - first_unarchived).max(0);
    metrics::gauge!("muster_archive_held_days").set(held as f64);
    if held > HELD_DAYS_MAX {
        tracing::warn!(
            days = held - HELD_DAYS_MAX,
            "readings are dropped that are not in the archive: its disk was not there for too long"
        );
    }
    cutoff - held.min(HELD_DAYS_MAX)
}

/// Exports days that are in blocks, from `oldest` on. Days before `cutoff` are about to be dropped.
async fn export(
    store: &Store,
    archive: &Archive,
    cutoff: Option<i64>,
    oldest: i64,
    now_ms: i64,
    progress: &mut Progress,
) -> Result<(), ArchiveError> {
    let last_closed = now_ms.saturating_sub(SETTLED_MS).div_euclid(DAY_MS) - 1;
    let mut left = DAYS_PER_ROUND;
    if let Some(cutoff) = cutoff {
        let first = progress.final_to.map_or(oldest, |day| day + 1).max(oldest);
        for day in first..cutoff {
            if left == 0 {
                return Ok(());
            }
            left -= 1;
            day_file(store, archive, day, true).await?;
            progress.final_to = Some(day);
            remember(store, progress, now_ms).await?;
        }
    }
    let kept_from = cutoff.unwrap_or(oldest).max(oldest);
    let first = progress.closed_to.map_or(kept_from, |day| day + 1);
    for day in first.max(kept_from)..=last_closed {
        if left == 0 {
            return Ok(());
        }
        left -= 1;
        day_file(store, archive, day, false).await?;
        progress.closed_to = Some(day);
        remember(store, progress, now_ms).await?;
    }
    Ok(())
}

/// Writes a day's file, unless it is there and `again` is not set. A day without readings has none.
async fn day_file(
    store: &Store,
    archive: &Archive,
    day: i64,
    again: bool,
) -> Result<(), ArchiveError> {
    let store = store.clone();
    let written = archive.on_disk(move |dir| write_day(&store, dir, day, again));
    let Some(archived) = written.await? else {
        return Ok(());
    };
    let path = archive.dir.join(file_name(day));
    let path = path.display();
    match archived {
        ArchivedDay::Written { readings, bytes } => {
            tracing::info!(%path, readings, bytes, "a day of readings is in the archive");
            metrics::counter!("muster_archive_days_total").increment(1);
        }
        ArchivedDay::HoldsMore { readings, here } => tracing::warn!(
            %path,
            readings,
            here,
            "a day's file holds more than what is here of the day: it was left as it is"
        ),
    }
    Ok(())
}

/// Answers `None` where the file was there already.
fn write_day(
    store: &Store,
    dir: &Path,
    day: i64,
    again: bool,
) -> Result<Option<ArchivedDay>, ArchiveError> {
    if !dir.is_dir() {
        return Err(ArchiveError::Missing(dir.to_owned()));
    }
    let file = file_name(day);
    let path = dir.join(&file);
    let was_there = path.exists();
    if was_there && !again {
        return Ok(None);
    }
    let archived = store
        .readings()
        .archive_day(day, &path)
        .map_err(|source| ArchiveError::Export { file, source })?;
    if !was_there && matches!(archived, ArchivedDay::Written { readings: 0, .. }) {
        // An empty file would only say that there was nothing; whoever looks for it finds none.
        let _ = std::fs::remove_file(&path);
    }
    Ok(Some(archived))
}

/// As `muster export readings` calls it.
fn file_name(day: i64) -> String {
    let date = Timestamp::from_millisecond(day.saturating_mul(DAY_MS))
        .map(|midnight| midnight.strftime("%Y-%m-%d").to_string());
    // A day that no calendar has is one of a broken clock; the number says which.
    format!(
        "readings-{}.parquet",
        date.unwrap_or_else(|_| day.to_string())
    )
}

async fn oldest_day(store: &Store) -> Result<Option<i64>, StoreError> {
    let store = store.clone();
    let oldest = tokio::task::spawn_blocking(move || store.readings().oldest_block_ms()).await;
    let oldest = oldest.unwrap_or(Err(StoreError::Closed))?;
    Ok(oldest.map(|ms| ms.div_euclid(DAY_MS)))
}

async fn read(store: &Store) -> Result<Progress, StoreError> {
    let store = store.clone();
    let saved = tokio::task::spawn_blocking(move || store.read(|reader| reader.setting(SETTING)));
    let saved = saved.await.unwrap_or(Err(StoreError::Closed))?;
    // Written by this program alone; what cannot be read costs an export that was done already.
    Ok(saved
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default())
}

async fn remember(store: &Store, progress: &Progress, now_ms: i64) -> Result<(), ArchiveError> {
    let bytes = serde_json::to_vec(progress).unwrap_or_default();
    let mut batch = Batch::new(Lane::Raw, now_ms.unsigned_abs());
    batch.settings.push((SETTING.to_owned(), Some(bytes)));
    let written = store.commit(batch).await;
    written
        .map(|_| ())
        .map_err(|error| ArchiveError::Remember(error.into()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::{Duration, Instant};

    use store::{
        DbKey, Evaluated, IngestBatch, NewReading, OpenOptions, Retention, RuleCursor, SeriesId,
        SeriesNames, SeriesOwner, flags,
    };

    use super::*;

    /// 2024-10-04, a midnight.
    const TODAY: i64 = 20_000;

    fn gauge(readings: &store::Readings) -> SeriesId {
        let names = SeriesNames {
            device: "gauge",
            channel: "level",
            unit: "m",
        };
        readings
            .intern_series(&names, SeriesOwner::Approved, 0)
            .unwrap()
    }

    /// A store with an hourly reading of each day from `first` to `last`, in blocks.
    async fn store(dir: &Path, days: std::ops::RangeInclusive<i64>) -> Store {
        let store = Store::open(dir, &DbKey::new([3; 32]), &OpenOptions::default()).unwrap();
        let readings = store.readings();
        let series = gauge(readings);
        let last_ms = (*days.end() + 1) * DAY_MS;
        let new = days
            .flat_map(|day| (0..24).map(move |hour| day * DAY_MS + hour * 3_600_000))
            .map(|at_ms| reading(series, at_ms));
        let batch = IngestBatch {
            readings: new.collect(),
            ..IngestBatch::default()
        };
        let stored = readings.ingest(batch).await.unwrap();
        leave_the_tail(&store, stored.last_position, last_ms + DAY_MS).await;
        store
    }

    fn reading(series: SeriesId, at_ms: i64) -> NewReading {
        NewReading {
            series,
            at_ms,
            device_time: true,
            received_ms: at_ms,
            value: 1.5,
            flags: flags::APPROVED,
            message: None,
        }
    }

    /// Says that the rules have seen all of them, and waits until they are in blocks.
    async fn leave_the_tail(store: &Store, position: i64, now_ms: i64) {
        let mut seen = Batch::new(Lane::Coordination, 1);
        seen.rule_cursor = Some(RuleCursor {
            file_id: store.readings().file_id(),
            position,
            evaluated: Evaluated::default(),
            state: Vec::new(),
        });
        store.commit(seen).await.unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        while store.readings().tail_len() > 0 {
            // The keeper hears a moment after the commit that the rules have seen them.
            assert!(Instant::now() < until, "readings stay in the tail");
            drop_old(store, now_ms, None).await;
        }
    }

    async fn drop_old(store: &Store, now_ms: i64, raw_ms: Option<u64>) {
        let retention = Retention {
            raw_ms,
            rollups_ms: None,
        };
        while store
            .readings()
            .expire_readings(now_ms, retention)
            .await
            .unwrap()
        {}
    }

    fn files(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    }

    fn oldest(store: &Store) -> Option<i64> {
        let oldest = store.readings().oldest_block_ms().unwrap();
        oldest.map(|ms| ms.div_euclid(DAY_MS))
    }

    fn at(dir: &Path) -> Archive {
        Archive::new(dir.to_owned())
    }

    const THREE_DAYS_MS: Option<u64> = Some(3 * DAY_MS.unsigned_abs());

    #[tokio::test]
    async fn a_day_is_in_the_archive_before_it_is_dropped() {
        let (data, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = store(data.path(), TODAY - 6..=TODAY - 1).await;
        let now_ms = TODAY * DAY_MS + 4 * 3_600_000;
        let keep_ms = round(&store, &at(archive.path()), THREE_DAYS_MS, now_ms).await;
        drop_old(&store, now_ms, keep_ms).await;
        assert_eq!(oldest(&store), Some(TODAY - 3), "kept as long as was said");
        let expected = [
            "2024-09-28",
            "2024-09-29",
            "2024-09-30",
            "2024-10-01",
            "2024-10-02",
            "2024-10-03",
        ];
        assert_eq!(
            files(archive.path()),
            expected.map(|day| format!("readings-{day}.parquet"))
        );
        // A file that is there is not written again the next time.
        let first = archive.path().join("readings-2024-10-03.parquet");
        std::fs::write(&first, "marked").unwrap();
        round(
            &store,
            &at(archive.path()),
            THREE_DAYS_MS,
            now_ms + 3_600_000,
        )
        .await;
        assert_eq!(std::fs::read(&first).unwrap(), b"marked");
        // But before its day is dropped, with what has come late.
        let later_ms = now_ms + 3 * DAY_MS;
        let keep_ms = round(&store, &at(archive.path()), THREE_DAYS_MS, later_ms).await;
        drop_old(&store, later_ms, keep_ms).await;
        assert_eq!(oldest(&store), None);
        assert_eq!(&std::fs::read(&first).unwrap()[..4], b"PAR1");
        store.close();
    }

    #[tokio::test]
    async fn what_cannot_be_archived_is_kept_a_week_longer_and_no_more() {
        let (data, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = store(data.path(), TODAY - 14..=TODAY - 1).await;
        let gone = archive.path().join("not mounted");
        let now_ms = TODAY * DAY_MS + 4 * 3_600_000;
        let keep_ms = round(&store, &at(&gone), THREE_DAYS_MS, now_ms).await;
        drop_old(&store, now_ms, keep_ms).await;
        assert_eq!(oldest(&store), Some(TODAY - 3 - HELD_DAYS_MAX));
        // It is there again: all that was held goes there, and then.
        std::fs::create_dir(&gone).unwrap();
        let keep_ms = round(&store, &at(&gone), THREE_DAYS_MS, now_ms).await;
        drop_old(&store, now_ms, keep_ms).await;
        assert_eq!(oldest(&store), Some(TODAY - 3));
        assert_eq!(files(&gone).len(), 10);
        store.close();
    }

    /// Adds a reading of that time, and waits until it is in a block.
    async fn comes_late(store: &Store, at_ms: i64, now_ms: i64) {
        let readings = store.readings();
        let series = gauge(readings);
        let batch = IngestBatch {
            readings: vec![reading(series, at_ms)],
            ..IngestBatch::default()
        };
        let stored = readings.ingest(batch).await.unwrap();
        leave_the_tail(store, stored.last_position, now_ms).await;
    }

    #[tokio::test]
    async fn a_whole_file_outlasts_what_comes_late_for_a_day_that_was_dropped_unarchived() {
        let (data, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = store(data.path(), TODAY - 4..=TODAY - 1).await;
        let now_ms = TODAY * DAY_MS + 4 * 3_600_000;
        round(&store, &at(archive.path()), THREE_DAYS_MS, now_ms).await;
        let whole = files(archive.path());
        let bytes = |name: &String| std::fs::read(archive.path().join(name)).unwrap();
        let before: Vec<Vec<u8>> = whole.iter().map(bytes).collect();
        assert_eq!(whole.len(), 4);
        // The disk is away for so long that days go which are in it as they were when they closed.
        let gone = archive.path().join("not mounted");
        let later_ms = now_ms + 13 * DAY_MS;
        let keep_ms = round(&store, &at(&gone), THREE_DAYS_MS, later_ms).await;
        drop_old(&store, later_ms, keep_ms).await;
        assert_eq!(oldest(&store), None, "all were dropped");
        // It is there again, and a sensor sends what it measured on the third of those days.
        comes_late(&store, (TODAY - 2) * DAY_MS + 77, later_ms).await;
        round(&store, &at(archive.path()), THREE_DAYS_MS, later_ms).await;
        assert_eq!(files(archive.path()), whole);
        let after: Vec<Vec<u8>> = whole.iter().map(bytes).collect();
        assert!(before == after, "a file holds less than it did");
        store.close();
    }

    /// A pipe stands for a disk that hangs: whoever opens it waits for somebody who reads.
    #[cfg(unix)]
    #[tokio::test]
    async fn a_disk_that_hangs_is_one_that_is_not_there_and_is_asked_once() {
        let (data, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = store(data.path(), TODAY - 14..=TODAY - 1).await;
        let pipe = dir.path().join("readings-2024-09-20.parquet.partial");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let mut archive = at(dir.path());
        archive.patience = Duration::from_millis(50);
        let now_ms = TODAY * DAY_MS + 4 * 3_600_000;
        for _ in 0..3 {
            let keep_ms = round(&store, &archive, THREE_DAYS_MS, now_ms).await;
            drop_old(&store, now_ms, keep_ms).await;
            assert_eq!(oldest(&store), Some(TODAY - 3 - HELD_DAYS_MAX));
            assert_eq!(archive.disk.available_permits(), 0);
        }
        // What hung ends, and what was held goes there.
        let pipe = std::thread::spawn(move || std::fs::read(pipe));
        archive.patience = PATIENCE;
        let until = Instant::now() + Duration::from_secs(30);
        while archive.disk.available_permits() == 0 {
            assert!(Instant::now() < until, "the disk still hangs");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        pipe.join().unwrap().unwrap();
        let keep_ms = round(&store, &archive, THREE_DAYS_MS, now_ms).await;
        drop_old(&store, now_ms, keep_ms).await;
        assert_eq!(oldest(&store), Some(TODAY - 3));
        store.close();
    }

    #[tokio::test]
    async fn a_node_without_sensors_holds_nothing_and_drops_nothing() {
        let (data, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store =
            Store::open(data.path(), &DbKey::new([3; 32]), &OpenOptions::default()).unwrap();
        let now_ms = TODAY * DAY_MS + 4 * 3_600_000;
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let figures = recorder.handle();
        let _guard = metrics::set_default_local_recorder(&recorder);
        round(&store, &at(archive.path()), THREE_DAYS_MS, now_ms).await;
        let held = "muster_archive_held_days 0";
        assert!(figures.render().contains(held), "{}", figures.render());
        store.close();
    }

    #[tokio::test]
    async fn where_readings_are_kept_for_ever_closed_days_are_exported_all_the_same() {
        let (data, archive) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = store(data.path(), TODAY - 2..=TODAY - 1).await;
        let now_ms = TODAY * DAY_MS + 4 * 3_600_000;
        assert_eq!(round(&store, &at(archive.path()), None, now_ms).await, None);
        assert_eq!(files(archive.path()).len(), 2);
        store.close();
    }
}
