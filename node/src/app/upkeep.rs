//! Upkeep: forgets now and then, in small steps, what has outlived its use.
//!
//! | what | kept | why so long |
//! | --- | --- | --- |
//! | rows of lists as they were (`?at=`) | [`HISTORY_KEPT_MS`] | the contract's 30 days; the log goes back further |
//! | sessions, tokens | until they end | nobody can use them afterwards |
//! | idempotency keys | 7 days, 100,000 | the contract; a flood of requests must not fill the disk |
//! | audit records | 7 years*, 1,000,000 | claims come years later; a small card must hold them |
//! | quarters of an hour that nodes said | 90 days, then as hours for ever | a season is compared by hours |
//! | dead letters | 90 days*, 100,000, 256 MiB | a sensor is repaired within a season (numbers: as they come) |
//! | readings | 30 days*; their rollups for ever* | a card must hold them, and a season is compared |
//!
//! Those with a star are `[retention]` of muster.toml ([`Kept`]); numbers are the store's, which also keeps them while it
//! writes. Where there is an archive, readings wait for it ([`archive`]).
//!
//! Invariant: the log, what documents say now, rollups and the journal are never touched from here. A failure costs a
//! round, nothing else.

use std::time::Duration;

use store::{Store, StoreError, Ticket};
use tokio_util::sync::CancellationToken;

use super::archive::{self, Archive};
use super::retention::Kept;

/// `?at=` answers for the last 30 days.
const HISTORY_KEPT_MS: u64 = 30 * 24 * 3_600_000;

/// Between two steps, so that the writer belongs to people and sensors most of the time.
const PAUSE: Duration = Duration::from_millis(200);

/// What is configured of it.
#[derive(Debug, Clone, Default)]
pub(in crate::app) struct Keeping {
    pub kept: Kept,
    pub archive: Option<Archive>,
}

/// When rounds are.
#[derive(Debug, Clone, Copy)]
pub(in crate::app) struct Timing {
    /// From the start to the first.
    pub first: Duration,
    /// From the end of one to the next.
    pub every: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            // Whoever starts a node has something else in mind at first.
            first: Duration::from_secs(5 * 60),
            // All bounds are days and more.
            every: Duration::from_secs(3_600),
        }
    }
}

/// Starts the task, which ends when `stop` is cancelled. `wall_ms` is the time now, milliseconds since 1970.
pub(in crate::app) fn start(
    store: Store,
    keeping: Keeping,
    wall_ms: impl Fn() -> u64 + Send + 'static,
    timing: Timing,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let rounds = async move {
            let mut wait = timing.first;
            loop {
                tokio::time::sleep(wait).await;
                round(&store, &keeping, wall_ms()).await;
                wait = timing.every;
            }
        };
        // Breaking off between two steps, or while one waits for the writer, changes nothing about what it does.
        let _ = stop.run_until_cancelled(rounds).await;
    })
}

async fn round(store: &Store, keeping: &Keeping, now_ms: u64) {
    let told = |what: &'static str, result: Result<(), StoreError>| {
        if let Err(error) = result {
            tracing::warn!(%error, "upkeep of {what} has to wait for the next round");
        }
    };
    told("history", history(store, now_ms).await);
    told("sessions", steps(|| store.expire(now_ms)).await);
    let kept = &keeping.kept;
    if let Some(kept_ms) = kept.audit_days.ms() {
        let before_ms = now_ms.saturating_sub(kept_ms);
        let audit = steps(|| store.prune_audit(before_ms)).await;
        told("audit records", audit);
    }
    let summaries = steps(|| store.collapse_summaries(now_ms));
    told("summaries", summaries.await);
    let now_signed_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    let readings = store.readings();
    if let Some(kept_ms) = kept.dead_letters_days.ms() {
        let before_ms = now_ms.saturating_sub(kept_ms);
        let before_ms = i64::try_from(before_ms).unwrap_or(i64::MAX);
        let dead_letters = steps(|| readings.expire_dead_letters(before_ms));
        told("dead letters", dead_letters.await);
    }
    let mut retention = kept.of_readings();
    if let Some(archive) = &keeping.archive {
        retention.raw_ms = archive::round(store, archive, retention.raw_ms, now_signed_ms).await;
    }
    let old_readings = steps(|| readings.expire_readings(now_signed_ms, retention));
    told("readings", old_readings.await);
    if let Some(raw_ms) = retention.raw_ms {
        let before_ms = now_signed_ms.saturating_sub_unsigned(raw_ms);
        let odd_clocks = steps(|| readings.expire_odd_clocks(before_ms));
        told("times that cannot be true", odd_clocks.await);
    }
    let (unapproved_bytes, unapproved_dropped) = readings.unapproved();
    metrics::gauge!("muster_readings_unapproved_bytes").set(unapproved_bytes as f64);
    metrics::counter!("muster_readings_unapproved_dropped_total").absolute(unapproved_dropped);
}

async fn history(store: &Store, now_ms: u64) -> Result<(), StoreError> {
    let reading = store.clone();
    let keep_from = tokio::task::spawn_blocking(move || {
        reading.read(|reader| reader.commit_at(now_ms.saturating_sub(HISTORY_KEPT_MS)))
    })
    .await
    .map_err(|_| StoreError::Closed)??;
    steps(|| store.prune_history(keep_from)).await
}

/// Repeats a step until nothing is left for it.
async fn steps(step: impl Fn() -> Ticket<bool, StoreError>) -> Result<(), StoreError> {
    while step().await? {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use store::{
        AuditWrite, Batch, CommitNo, DbKey, DeadLetterQuery, DocumentWrite, IngestBatch,
        NewDeadLetter, OpenOptions, SessionRecord, SessionWrite,
    };
    use sync_engine::{GroupId, Lane, ObjectId};

    use super::*;

    const DAY_MS: u64 = 24 * 3_600_000;
    const KIND: u16 = 0x0101;
    const DOCUMENT: ObjectId = ObjectId([1; 16]);

    async fn edit(store: &Store, version: &str, at_ms: u64) -> CommitNo {
        let mut batch = Batch::new(Lane::Life, at_ms);
        batch.documents.push(DocumentWrite {
            id: DOCUMENT,
            kind: KIND,
            group: GroupId::SHARED,
            lane: Lane::Life,
            version: version.to_owned(),
            heads: Vec::new(),
            snapshot: None,
            view: "{}".to_owned(),
            deleted: false,
            title: String::new(),
            facets: Vec::new(),
            location: None,
            created_wall_ms: 0,
            updated_wall_ms: at_ms,
        });
        batch.audit.push(AuditWrite {
            at_wall_ms: at_ms,
            actor: "admin".to_owned(),
            action: "edit".to_owned(),
            kind: Some(KIND),
            object: Some(DOCUMENT),
            detail: "{}".to_owned(),
        });
        batch.sessions.push(SessionWrite::Put(SessionRecord {
            token_hash: [version.len().try_into().unwrap(); 32],
            kind: "access".to_owned(),
            user: ObjectId([2; 16]),
            family: [0; 16],
            created_wall_ms: at_ms,
            expires_wall_ms: at_ms + DAY_MS,
            data: String::new(),
        }));
        let dead = NewDeadLetter {
            source: "mqtt".to_owned(),
            topic: version.to_owned(),
            reason: "not a number".to_owned(),
            received_ms: at_ms.try_into().unwrap(),
            ..NewDeadLetter::default()
        };
        let dead = IngestBatch {
            dead: vec![dead],
            ..IngestBatch::default()
        };
        store.readings().ingest(dead).await.unwrap();
        store.commit(batch).await.unwrap().commit
    }

    fn version_at(store: &Store, commit: CommitNo) -> Option<String> {
        store
            .read(|reader| reader.get_document(Some(KIND), &DOCUMENT, Some(commit)))
            .unwrap()
            .map(|row| row.version)
    }

    fn has_session(store: &Store, byte: u8) -> bool {
        store
            .read(|reader| reader.session(&[byte; 32]))
            .unwrap()
            .is_some()
    }

    fn dead_letters(store: &Store) -> Vec<String> {
        let query = DeadLetterQuery {
            limit: 10,
            ..DeadLetterQuery::default()
        };
        let letters = store.readings().dead_letters(&query).unwrap();
        letters.into_iter().map(|letter| letter.topic).collect()
    }

    #[tokio::test]
    async fn what_has_outlived_its_use_is_forgotten_and_the_rest_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(
            directory.path(),
            &DbKey::new([3; 32]),
            &OpenOptions::default(),
        )
        .unwrap();
        let now_ms = 8 * 365 * DAY_MS;
        let first = edit(&store, "1", DAY_MS).await;
        let second = edit(&store, "22", now_ms - 40 * DAY_MS).await;
        let third = edit(&store, "333", now_ms - 20 * DAY_MS).await;
        let fourth = edit(&store, "4444", now_ms).await;
        assert_eq!(version_at(&store, first).as_deref(), Some("1"));

        let stop = CancellationToken::new();
        let timing = Timing {
            first: Duration::ZERO,
            every: Duration::from_millis(1),
        };
        let task = start(
            store.clone(),
            Keeping::default(),
            move || now_ms,
            timing,
            stop.clone(),
        );
        // Dead letters come last in a round.
        let until = Instant::now() + Duration::from_secs(30);
        while dead_letters(&store).len() > 3 {
            assert!(Instant::now() < until, "upkeep does not come round");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        task.await.unwrap();

        let versions: Vec<_> = [first, second, third, fourth]
            .map(|commit| version_at(&store, commit))
            .into_iter()
            .map(Option::unwrap_or_default)
            .collect();
        assert_eq!(versions, ["", "22", "333", "4444"]);
        assert_eq!(
            [1, 2, 3, 4].map(|byte| has_session(&store, byte)),
            [false, false, false, true]
        );
        let audited = store.read(|reader| reader.audit(None, 10)).unwrap();
        assert_eq!(audited.len(), 3, "only the one of eight years ago is gone");
        assert_eq!(dead_letters(&store), ["4444", "333", "22"]);
    }
}
