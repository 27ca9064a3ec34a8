//! How many words of devices wait to be written down, so that nobody can fill the disk with them.
//!
//! Invariants:
//! - A text counts from when it is accepted until it is written down, so that a flood is bounded also while the disk or
//!   the writing down stands still.
//! - What is counted may be more than what waits until the store has counted again, never less.
//! - Devices that nobody has approved have half of the places together: they take none of the others'.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Texts of one device that wait: those of an approved one wait for a commit, those of a stranger until somebody looks.
const OF_ONE_DEVICE_MAX: u64 = 200;
/// Texts of all devices that wait: 2 KiB each at most.
const ALL_MAX: u64 = 10_000;
/// Those of strangers among them: names cost nothing, so without it fifty of them would be all there is.
const OF_STRANGERS_MAX: u64 = ALL_MAX / 2;

/// Texts that wait.
#[derive(Debug, Default)]
pub(in crate::app) struct DeviceTexts {
    waiting: Mutex<Waiting>,
    /// Some may be written down now.
    woken: Notify,
}

type Counts = HashMap<Box<str>, u64>;

#[derive(Debug, Default)]
struct Waiting {
    of_device: Counts,
    all: u64,
    of_strangers: u64,
    /// Accepted, and not answered by the store.
    on_their_way: Counts,
    /// What the store may not see while it counts: what was on its way then or was accepted since.
    unseen: Counts,
}

/// Places of texts of one device that were accepted together. Given back when it is dropped, unless the store has the
/// texts by then.
#[derive(Debug)]
pub(in crate::app) struct Reserved {
    texts: Arc<DeviceTexts>,
    device: Box<str>,
    is_approved: bool,
    count: u64,
    is_given: AtomicBool,
}

impl DeviceTexts {
    /// Places for so many more texts of a device; `None` where that would be too many.
    pub(in crate::app) fn reserve(
        self: &Arc<Self>,
        device: &str,
        is_approved: bool,
        count: u64,
    ) -> Option<Reserved> {
        let mut waiting = self.waiting.lock();
        let of_device = waiting.of_device.get(device).copied().unwrap_or(0);
        let has_room = of_device + count <= OF_ONE_DEVICE_MAX
            && waiting.all + count <= ALL_MAX
            && (is_approved || waiting.of_strangers + count <= OF_STRANGERS_MAX);
        if !has_room {
            return None;
        }
        waiting.all += count;
        if !is_approved {
            waiting.of_strangers += count;
        }
        add(&mut waiting.of_device, device, count);
        add(&mut waiting.on_their_way, device, count);
        add(&mut waiting.unseen, device, count);
        Some(Reserved {
            texts: Arc::clone(self),
            device: device.into(),
            is_approved,
            count,
            is_given: AtomicBool::new(false),
        })
    }

    /// The store is about to be asked what it has.
    pub(in crate::app) fn begin_count(&self) {
        let mut waiting = self.waiting.lock();
        waiting.unseen = waiting.on_their_way.clone();
    }

    /// What the store has of each device, asked after [`DeviceTexts::begin_count`].
    pub(in crate::app) fn count(
        &self,
        of_each: Vec<(String, u64)>,
        is_approved: impl Fn(&str) -> bool,
    ) {
        let mut waiting = self.waiting.lock();
        let mut of_device = waiting.unseen.clone();
        for (device, count) in of_each {
            add(&mut of_device, &device, count);
        }
        let of_strangers = of_device.iter().filter(|(device, _)| !is_approved(device));
        waiting.of_strangers = of_strangers.map(|(_, count)| count).sum();
        waiting.all = of_device.values().sum();
        waiting.of_device = of_device;
    }

    /// A text of an approved device is written down, and gone from the store.
    pub(in crate::app) fn written(&self, device: &str) {
        let mut waiting = self.waiting.lock();
        waiting.all = waiting.all.saturating_sub(1);
        take(&mut waiting.of_device, device, 1);
    }

    /// There may be something to write down.
    pub(in crate::app) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Returns after [`DeviceTexts::wake`].
    pub(in crate::app) async fn woken(&self) {
        self.woken.notified().await;
    }
}

impl Reserved {
    /// The store is given the texts now: whatever comes of it, they count until it has counted again.
    pub(in crate::app) fn give(&self) {
        self.is_given.store(true, Ordering::Relaxed);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut waiting = self.texts.waiting.lock();
        take(&mut waiting.on_their_way, &self.device, self.count);
        if *self.is_given.get_mut() {
            return;
        }
        take(&mut waiting.unseen, &self.device, self.count);
        take(&mut waiting.of_device, &self.device, self.count);
        waiting.all = waiting.all.saturating_sub(self.count);
        if !self.is_approved {
            waiting.of_strangers = waiting.of_strangers.saturating_sub(self.count);
        }
    }
}

fn add(counts: &mut Counts, device: &str, more: u64) {
    match counts.get_mut(device) {
        Some(count) => *count += more,
        None => {
            counts.insert(device.into(), more);
        }
    }
}

fn take(counts: &mut Counts, device: &str, fewer: u64) {
    if let Some(count) = counts.get_mut(device) {
        *count = count.saturating_sub(fewer);
        if *count == 0 {
            counts.remove(device);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Takes places one by one until there are no more; the store has the texts then.
    fn fill(texts: &Arc<DeviceTexts>, device: &str, is_approved: bool) -> u64 {
        let places = std::iter::from_fn(|| texts.reserve(device, is_approved, 1));
        places.inspect(Reserved::give).count() as u64
    }

    #[test]
    fn strangers_leave_the_devices_of_the_operation_their_half() {
        let texts = Arc::new(DeviceTexts::default());
        let of_strangers: u64 = (0..100)
            .map(|number| fill(&texts, &format!("invented-{number}"), false))
            .sum();
        assert_eq!(of_strangers, OF_STRANGERS_MAX);
        assert_eq!(fill(&texts, "radio", true), OF_ONE_DEVICE_MAX);
        let others: u64 = (0..100)
            .map(|number| fill(&texts, &format!("radio-{number}"), true))
            .sum();
        assert_eq!(of_strangers + OF_ONE_DEVICE_MAX + others, ALL_MAX);
    }

    #[test]
    fn what_the_store_did_not_see_while_it_counted_is_not_forgotten() {
        let texts = Arc::new(DeviceTexts::default());
        let on_its_way = texts.reserve("radio", true, 2).unwrap();
        on_its_way.give();
        texts.begin_count();
        let since = texts.reserve("radio", true, 3).unwrap();
        since.give();
        drop((on_its_way, since));
        texts.count(vec![("radio".into(), 5)], |_| true);
        assert_eq!(fill(&texts, "radio", true), OF_ONE_DEVICE_MAX - 10);
        // By now it sees all of them.
        texts.begin_count();
        texts.count(vec![("radio".into(), 10)], |_| true);
        assert_eq!(fill(&texts, "radio", true), OF_ONE_DEVICE_MAX - 10);
    }

    #[test]
    fn places_of_a_message_that_was_not_stored_or_was_written_down_are_free_again() {
        let texts = Arc::new(DeviceTexts::default());
        drop(texts.reserve("radio", false, OF_ONE_DEVICE_MAX));
        assert_eq!(fill(&texts, "radio", false), OF_ONE_DEVICE_MAX);
        texts.written("radio");
        assert_eq!(fill(&texts, "radio", true), 1);
    }

    #[test]
    fn who_is_approved_takes_what_they_said_out_of_the_strangers_half() {
        let texts = Arc::new(DeviceTexts::default());
        texts.begin_count();
        let names = (0..25).map(|number| (format!("radio-{number}"), OF_ONE_DEVICE_MAX));
        let names: Vec<(String, u64)> = names.collect();
        texts.count(names.clone(), |_| false);
        assert!(texts.reserve("new", false, 1).is_none());
        texts.begin_count();
        texts.count(names, |device| device == "radio-7");
        assert!(texts.reserve("new", false, 1).is_some());
    }
}
