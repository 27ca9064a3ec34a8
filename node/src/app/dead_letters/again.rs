//! What a dead letter says to the decoders of now.
//!
//! Invariant: who or what reads it again makes no more of it than could have been made when it came: its sender has the
//! rights that it had, or fewer, and a copy of unknown age is one still.

use sensor_drivers::{Decoded, DeviceReport, MUSTER_DECODER, Message, Route};
use store::{DeadLetter, DeviceWrites, NewReading, NewText, OddClock, SeriesNames};

use super::{Retry, Unreadable};
use crate::app::App;
use crate::app::devices::{DeviceEntry, Reserved};
use crate::app::ingest::{
    is_of_unknown_age, new_reading, odd_clock, reserve_texts, series_unit, values_of,
};
use crate::app::messages::{can_be_told_apart, device_text};

/// What a dead letter became.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) readings: Vec<NewReading>,
    pub(super) texts: Vec<NewText>,
    pub(super) odd_clocks: Vec<OddClock>,
    /// Of its texts.
    pub(super) places: Vec<Reserved>,
}

impl Replayed {
    pub(super) fn into_writes(self) -> (Vec<NewReading>, DeviceWrites, Vec<Reserved>) {
        let devices = DeviceWrites {
            texts: self.texts,
            odd_clocks: self.odd_clocks,
            ..DeviceWrites::default()
        };
        (self.readings, devices, self.places)
    }
}

impl App {
    /// With the decoders of now, whose name comes with the outcome.
    pub(super) fn decode_again(
        &self,
        letter: &DeadLetter,
        retry: Retry,
    ) -> (String, Result<Replayed, Unreadable>) {
        let active = self.decoders.now();
        let decoder = match active.table.route(&letter.topic) {
            Some(Route::Entry(entry)) => format!("{} {}", entry.name(), entry.version()),
            Some(Route::Muster) => format!("{} {}", MUSTER_DECODER.0, MUSTER_DECODER.1),
            None => String::new(),
        };
        let decoded = active.table.decode(&Message {
            topic: &letter.topic,
            payload: &letter.payload,
            received_ms: letter.received_ms,
        });
        let replayed = decoded
            .map_err(Unreadable::from)
            .and_then(|decoded| self.take_again(&decoded, letter, retry));
        (decoder, replayed)
    }

    fn take_again(
        &self,
        decoded: &Decoded,
        letter: &DeadLetter,
        retry: Retry,
    ) -> Result<Replayed, Unreadable> {
        let mut replayed = Replayed::default();
        for report in &decoded.devices {
            if letter.anonymous && self.devices.claims().has(&report.device) {
                return Err(Unreadable::NotItsAccount);
            }
            let device = self
                .devices
                .entry(&report.device)
                .ok_or(Unreadable::TooManyDevices)?;
            self.old_texts(report, &device, letter, &mut replayed)?;
            self.old_readings(report, &device, (letter, retry), &mut replayed)?;
        }
        Ok(replayed)
    }

    fn old_texts(
        &self,
        report: &DeviceReport,
        device: &DeviceEntry,
        letter: &DeadLetter,
        replayed: &mut Replayed,
    ) -> Result<(), Unreadable> {
        let before = replayed.texts.len();
        let of_device = report.texts.iter();
        let of_device = of_device.filter(|text| !letter.kept || can_be_told_apart(text));
        replayed.texts.extend(of_device.map(|text| NewText {
            text: device_text(&report.device, text, letter.received_ms),
            message: None,
        }));
        let count = replayed.texts.len() - before;
        let places = reserve_texts(&self.devices, &report.device, device, count)?;
        replayed.places.extend(places);
        Ok(())
    }

    fn old_readings(
        &self,
        report: &DeviceReport,
        device: &DeviceEntry,
        (letter, retry): (&DeadLetter, Retry),
        replayed: &mut Replayed,
    ) -> Result<(), Unreadable> {
        let received_ms = letter.received_ms;
        for (sample, judged) in values_of(report, received_ms) {
            if is_of_unknown_age(&judged, letter.kept) {
                continue;
            }
            let names = SeriesNames {
                device: &report.device,
                channel: &sample.channel,
                unit: series_unit(sample.unit.as_ref()),
            };
            let readings_file = self.store.readings();
            let series = readings_file.intern_series(&names, device.owner(), received_ms)?;
            let odd = odd_clock(&judged, replayed.readings.len());
            replayed.odd_clocks.extend(odd);
            let coming = retry.coming(letter, device, sample.quality);
            let reading = new_reading(series, &judged, received_ms, sample.value, coming);
            replayed.readings.push(reading);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;
    use std::sync::Arc;

    use serde_json::json;
    use store::{DeadLetter, IngestBatch, NewDeadLetter};

    use super::super::{Attempt, Retry};
    use crate::app::{App, KeySource, OpenConfig, founding};

    async fn node(directory: &Path) -> Arc<App> {
        founding::found_for_test(directory).await;
        let config = OpenConfig::new(directory, KeySource::DataDir);
        let app = App::open(config).await.unwrap();
        let decoders = json!([
            { "topic": "pumps/+", "format": "json", "device": "{2}", "time_pointer": "/t",
              "values": [{ "channel": "level", "pointer": "/level" }], "facts": { "text": "/text" } },
        ]);
        app.use_decoders(serde_json::from_value(decoders).unwrap(), directory)
            .await
            .unwrap();
        app
    }

    /// As it would stand there after a first attempt that failed.
    async fn letter(app: &App, dead: NewDeadLetter) -> DeadLetter {
        let batch = IngestBatch {
            dead: vec![NewDeadLetter {
                source: "mqtt".into(),
                received_ms: app.clock.wall_ms().cast_signed(),
                ..dead
            }],
            ..IngestBatch::default()
        };
        let readings = app.store.readings();
        readings.ingest(batch).await.unwrap();
        let newest = store::DeadLetterQuery {
            limit: 1,
            ..Default::default()
        };
        readings.dead_letters(&newest).unwrap().remove(0)
    }

    fn both(app: &App) -> [Retry; 2] {
        let now_ms = app.clock.wall_ms().cast_signed();
        [Retry::ByItself { now_ms }, Retry::ByPerson]
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_came_without_an_account_is_not_read_again_for_a_device_that_has_one() {
        let directory = tempfile::tempdir().unwrap();
        let app = node(directory.path()).await;
        let of = |anonymous| NewDeadLetter {
            topic: "pumps/north".into(),
            payload: br#"{"level":2}"#.to_vec(),
            anonymous,
            ..NewDeadLetter::default()
        };
        app.devices.claims().set(std::iter::once("north".into()));
        for retry in both(&app) {
            let anonymous = letter(&app, of(true)).await;
            let attempt = app.try_dead_letter(&anonymous, retry).await.unwrap();
            assert!(
                matches!(&attempt, Attempt::Failed(why) if why.contains("account")),
                "{attempt:?}"
            );
            let readings = app.store.readings();
            let after = readings.dead_letter(anonymous.id).unwrap().unwrap();
            assert_eq!((&*after.code, after.retry_at_ms), ("not-authorised", None));
            assert_eq!(readings.count(), 0);
        }
        let of_gateway = letter(&app, of(false)).await;
        let attempt = app.try_dead_letter(&of_gateway, Retry::ByPerson).await;
        assert_eq!(attempt.unwrap(), Attempt::Read);
        // Nobody claims the name any more.
        app.devices.claims().set(std::iter::empty());
        let anonymous = letter(&app, of(true)).await;
        let attempt = app.try_dead_letter(&anonymous, Retry::ByPerson).await;
        assert_eq!(attempt.unwrap(), Attempt::Read);
        assert_eq!(app.store.readings().count(), 2);
        app.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_retained_copy_without_a_time_is_of_unknown_age_when_it_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let app = node(directory.path()).await;
        let kept = |payload: &str| NewDeadLetter {
            topic: "pumps/north".into(),
            payload: payload.as_bytes().to_vec(),
            kept: true,
            ..NewDeadLetter::default()
        };
        for (number, retry) in both(&app).into_iter().enumerate() {
            let ageless = format!(r#"{{"level":{number},"text":"help"}}"#);
            let ageless = letter(&app, kept(&ageless)).await;
            let attempt = app.try_dead_letter(&ageless, retry).await.unwrap();
            assert_eq!(attempt, Attempt::Read);
            let timed = format!(r#"{{"level":{number},"t":17722944{number}0}}"#);
            let timed = letter(&app, kept(&timed)).await;
            app.try_dead_letter(&timed, retry).await.unwrap();
            assert_eq!(app.store.readings().count(), number as u64 + 1);
        }
        assert!(app.store.readings().device_texts().unwrap().is_empty());
        app.shutdown().await;
    }
}
