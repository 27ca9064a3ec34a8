//! Bulkheads between the sources of readings: places for messages on their way to the disk.
//!
//! Each source (the MQTT endpoint, each broker) has places of its own that nobody else can take, some of them for lone
//! batches only; beside them there are common ones, for whoever comes first. A source that delivers a backlog of days
//! fills its own and the common places, and the others go on with theirs.
//!
//! ```text
//!            ┌ for lone batches ┐┌────── own ──────┐┌──────────── common ────────────┐
//! mqtt       │ 256              ││ 1,792           ││                                │
//! broker a   │ 256              ││ 1,792           ││ 30,720, whoever comes first    │
//! broker b   │ 256              ││ 1,792           ││                                │
//!            └──────────────────┘└─────────────────┘└────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - All places together fit the writer's queue, so that it refuses nobody.
//! - Whoever waits keeps their turn (first come, first served) until they have a place or give up; of one sender at most
//!   one batch waits, so that nobody is behind more than one batch of each other sender of its source.
//! - Places are counted as the writer's queue counts: a dead letter of 64 KiB takes as many as a thousand readings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::{AHEAD_WEIGHT_MAX, QUEUE_READINGS_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::brokers::BROKERS_MAX;

/// The MQTT endpoint and every broker.
const SOURCES_MAX: usize = 1 + BROKERS_MAX;

/// Of each source's own places, so many are for lone batches: a sensor that was idle does not wait for those that are
/// not, of its source either. Four of the largest.
const LONE_PLACES: usize = 4 * AHEAD_WEIGHT_MAX;

/// Less would not hold the batch of one read of a socket.
const SOURCE_PLACES_MIN: usize = 1_024;

/// Places for messages on their way to the disk, `[ingest]` in muster.toml. The usual ones are 32,768 for a node without
/// brokers: a quarter of a second at 100,000/s, some 5 MB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngestPlaces {
    /// Of each source, that no other source can take.
    pub of_source_max: usize,
    /// Beside them, for whoever comes first.
    pub common_max: usize,
}

impl Default for IngestPlaces {
    fn default() -> Self {
        IngestPlaces {
            of_source_max: 2_048,
            common_max: 30_720,
        }
    }
}

/// Places that cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum IngestPlacesError {
    /// A batch would not fit.
    #[error("[ingest] of_source_max = {0}: at least {SOURCE_PLACES_MIN} are needed for one batch")]
    TooFew(usize),
    /// The writer's queue is smaller.
    #[error(
        "[ingest]: {sources} sources with {of_source_max} places each and {common_max} common ones are {all}, \
         and {QUEUE_READINGS_MAX} messages may be on their way to the disk: make common_max or of_source_max smaller"
    )]
    TooMany {
        /// The endpoint and the brokers.
        sources: usize,
        /// As configured.
        of_source_max: usize,
        /// As configured.
        common_max: usize,
        /// The sum.
        all: usize,
    },
}

impl IngestPlaces {
    /// Checks them for a node with so many brokers, so that a number that does not fit is found by who wrote it.
    ///
    /// # Errors
    /// [`IngestPlacesError`].
    pub fn check(&self, brokers: usize) -> Result<(), IngestPlacesError> {
        if self.of_source_max < SOURCE_PLACES_MIN {
            return Err(IngestPlacesError::TooFew(self.of_source_max));
        }
        let sources = 1 + brokers;
        let all = sources
            .saturating_mul(self.of_source_max)
            .saturating_add(self.common_max);
        if all > QUEUE_READINGS_MAX {
            return Err(IngestPlacesError::TooMany {
                sources,
                of_source_max: self.of_source_max,
                common_max: self.common_max,
                all,
            });
        }
        Ok(())
    }
}

/// The places of a node.
pub(super) struct Places {
    settings: IngestPlaces,
    common: Arc<Semaphore>,
    sources: Mutex<Vec<Arc<Source>>>,
}

impl Places {
    pub(super) fn new(settings: IngestPlaces) -> Self {
        Places {
            settings,
            common: Arc::new(Semaphore::new(settings.common_max)),
            sources: Mutex::default(),
        }
    }

    /// The source of that name, which begins with the first that asks.
    pub(super) fn source(&self, name: &str) -> Arc<Source> {
        let mut sources = self.sources.lock();
        if let Some(known) = sources.iter().find(|source| *source.name == *name) {
            return Arc::clone(known);
        }
        let is_shared = sources.len() >= SOURCES_MAX;
        let source = Arc::new(match sources.last().filter(|_| is_shared) {
            // Brokers are bounded by the configuration; one more than that would share the last one's places.
            Some(last) => Source {
                name: name.into(),
                ..Source::beside(last)
            },
            None => Source::new(name, self.settings, &self.common),
        });
        if !is_shared {
            sources.push(Arc::clone(&source));
        }
        source
    }

    /// Gives the figures of every source to Prometheus.
    pub(super) fn publish(&self) {
        for source in &*self.sources.lock() {
            source.publish();
        }
    }
}

/// Where messages come from: its places, and how it stands with them.
pub(in crate::app) struct Source {
    /// As dead letters name it: `mqtt`, or a broker.
    name: Arc<str>,
    lone: Arc<Semaphore>,
    own: Arc<Semaphore>,
    common: Arc<Semaphore>,
    /// A batch that is larger than all places of a kind takes all of them, or it would wait for ever.
    own_max: u32,
    common_max: u32,
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
    waited: AtomicU64,
    refused: AtomicU64,
}

/// What a batch needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    pub(super) weight: usize,
    /// Small, and nothing else of its sender is on its way.
    pub(super) lone: bool,
}

impl Need {
    fn of(self, max: u32) -> u32 {
        u32::try_from(self.weight).unwrap_or(u32::MAX).clamp(1, max)
    }
}

/// Places that a batch has; given back when it is dropped.
pub(super) struct Held {
    source: Arc<Source>,
    permit: OwnedSemaphorePermit,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.source
            .in_flight
            .fetch_sub(self.permit.num_permits(), Ordering::Relaxed);
    }
}

/// Counts one that waits, for as long as it does.
struct Waits(Arc<Source>);

impl Waits {
    fn new(source: &Arc<Source>) -> Self {
        source.waiting.fetch_add(1, Ordering::Relaxed);
        source.waited.fetch_add(1, Ordering::Relaxed);
        Waits(Arc::clone(source))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Source {
    fn new(name: &str, settings: IngestPlaces, common: &Arc<Semaphore>) -> Self {
        let own = settings.of_source_max.saturating_sub(LONE_PLACES).max(1);
        let max = |places: usize| u32::try_from(places).unwrap_or(u32::MAX).max(1);
        Source {
            name: name.into(),
            lone: Arc::new(Semaphore::new(LONE_PLACES)),
            own: Arc::new(Semaphore::new(own)),
            common: Arc::clone(common),
            own_max: max(own),
            common_max: max(settings.common_max),
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waited: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// One that has no places but another's.
    fn beside(other: &Source) -> Self {
        Source {
            name: Arc::clone(&other.name),
            lone: Arc::clone(&other.lone),
            own: Arc::clone(&other.own),
            common: Arc::clone(&other.common),
            own_max: other.own_max,
            common_max: other.common_max,
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waited: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(in crate::app) fn name(&self) -> &str {
        &self.name
    }

    /// The writer's queue was full all the same.
    pub(super) fn was_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Places, if there are some and nobody waits for them.
    pub(super) fn try_take(self: &Arc<Self>, need: Need) -> Option<Held> {
        let lone = need.lone.then_some((&self.lone, LONE_PLACES as u32));
        let kinds = lone
            .into_iter()
            .chain([(&self.own, self.own_max), (&self.common, self.common_max)]);
        for (places, max) in kinds {
            if let Ok(permit) = Arc::clone(places).try_acquire_many_owned(need.of(max)) {
                return Some(self.held(permit));
            }
        }
        None
    }

    /// Places as soon as there are some. What this answers keeps its turn as long as it is not dropped.
    pub(super) fn take(self: &Arc<Self>, need: Need) -> BoxFuture<'static, Held> {
        let source = Arc::clone(self);
        Box::pin(async move {
            let _waits = Waits::new(&source);
            let lone = async {
                match need.lone {
                    true => acquire(&source.lone, need.of(LONE_PLACES as u32)).await,
                    false => std::future::pending().await,
                }
            };
            let permit = tokio::select! {
                biased;
                permit = lone => permit,
                permit = acquire(&source.own, need.of(source.own_max)) => permit,
                permit = acquire(&source.common, need.of(source.common_max)) => permit,
            };
            source.held(permit)
        })
    }

    fn held(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Held {
        self.in_flight
            .fetch_add(permit.num_permits(), Ordering::Relaxed);
        Held {
            source: Arc::clone(self),
            permit,
        }
    }

    fn publish(&self) {
        let labels = [("source", self.name.to_string())];
        let in_flight = self.in_flight.load(Ordering::Relaxed) as f64;
        metrics::gauge!("muster_ingest_in_flight", &labels).set(in_flight);
        let waiting = self.waiting.load(Ordering::Relaxed) as f64;
        metrics::gauge!("muster_ingest_waiting", &labels).set(waiting);
        metrics::counter!("muster_ingest_waited_total", &labels)
            .absolute(self.waited.load(Ordering::Relaxed));
        metrics::counter!("muster_ingest_refused_total", &labels)
            .absolute(self.refused.load(Ordering::Relaxed));
    }
}

async fn acquire(places: &Arc<Semaphore>, count: u32) -> OwnedSemaphorePermit {
    match Arc::clone(places).acquire_many_owned(count).await {
        Ok(permit) => permit,
        // Closed never: nobody closes it.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn need(weight: usize) -> Need {
        Need {
            weight,
            lone: false,
        }
    }

    const LONE: Need = Need {
        weight: 2,
        lone: true,
    };

    /// Takes batches of that size until there is no room; gives what it has.
    fn fill(source: &Arc<Source>, weight: usize) -> Vec<Held> {
        std::iter::from_fn(|| source.try_take(need(weight))).collect()
    }

    #[test]
    fn a_source_with_a_backlog_leaves_the_others_their_places() {
        let places = Places::new(IngestPlaces::default());
        let (mqtt, city) = (places.source("mqtt"), places.source("broker city"));
        let flood = fill(&city, 256);
        assert!(flood.len() * 256 > 30_000, "{}", flood.len());
        assert!(city.try_take(need(256)).is_none());
        let own = fill(&mqtt, 256);
        assert_eq!(own.len(), 7, "1,792 of its own");
        assert!(mqtt.try_take(LONE).is_some());
        drop(flood);
        assert!(mqtt.try_take(need(1_024)).is_some(), "common ones are free");
    }

    #[test]
    fn a_lone_batch_has_a_place_beside_a_flood_of_its_own_source() {
        let places = Places::new(IngestPlaces::default());
        let mqtt = places.source("mqtt");
        let _flood = fill(&mqtt, 1);
        assert!(mqtt.try_take(need(1)).is_none());
        let lone: Vec<Held> = std::iter::from_fn(|| mqtt.try_take(LONE)).collect();
        assert_eq!(lone.len(), LONE_PLACES / 2);
    }

    #[test]
    fn whoever_waits_longer_is_served_first_and_keeps_their_turn() {
        let places = Places::new(IngestPlaces::default());
        let mqtt = places.source("mqtt");
        let mut flood = fill(&mqtt, 256);
        let mut large = mqtt.take(need(512));
        let mut small = mqtt.take(need(1));
        // Looked at again and again between other things, as a connection does.
        for _ in 0..3 {
            assert!((&mut large).now_or_never().is_none());
            assert!((&mut small).now_or_never().is_none());
        }
        assert_eq!(mqtt.waiting.load(Ordering::Relaxed), 2);
        // The last ones are common: one is too small for who waits longest, and is not given to who came later.
        flood.pop();
        assert!((&mut small).now_or_never().is_none());
        assert!(mqtt.try_take(need(1)).is_none(), "nobody overtakes");
        flood.pop();
        let held = (&mut large).now_or_never().expect("room for it");
        assert_eq!(held.permit.num_permits(), 512);
        drop(held);
        assert!((&mut small).now_or_never().is_some());
        drop((large, small));
        assert_eq!(mqtt.waiting.load(Ordering::Relaxed), 0);
        drop(flood);
        assert_eq!(mqtt.in_flight.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_batch_that_is_larger_than_everything_still_gets_through() {
        let places = Places::new(IngestPlaces::default());
        let mqtt = places.source("mqtt");
        assert!(mqtt.try_take(need(1_000_000)).is_some());
    }

    #[test]
    fn as_many_sources_as_can_be_configured_fit_the_writers_queue() {
        let usual = IngestPlaces::default();
        usual.check(BROKERS_MAX).unwrap();
        let greedy = IngestPlaces {
            common_max: QUEUE_READINGS_MAX,
            ..usual
        };
        let error = greedy.check(0).unwrap_err().to_string();
        assert!(error.contains("common_max"), "{error}");
        let mean = IngestPlaces {
            of_source_max: 1,
            ..usual
        };
        assert!(mean.check(0).is_err());
    }

    #[test]
    fn one_source_more_than_can_be_shares_the_last_ones_places() {
        let places = Places::new(IngestPlaces::default());
        for number in 0..SOURCES_MAX {
            places.source(&number.to_string());
        }
        let flood = fill(&places.source("one more"), 256);
        let last = places.source(&(SOURCES_MAX - 1).to_string());
        assert!(last.try_take(need(256)).is_none());
        drop(flood);
        assert_eq!(places.sources.lock().len(), SOURCES_MAX);
    }
}
