//! What the node has of one series, read back in pieces.

use anyhow::{Context as _, ensure};

use crate::api::Api;

/// Points of one answer: as many as the node gives.
const POINTS: usize = 10_000;

/// One series as the node shows it.
pub struct Stored {
    id: String,
    /// Readings in it.
    pub count: u64,
}

impl Stored {
    /// The one series of a device.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn of(api: &Api, device: &str) -> anyhow::Result<Option<Stored>> {
        let series = api.get(&format!("/v1/series?device={device}")).await?;
        let Some(series) = series["items"].get(0) else {
            return Ok(None);
        };
        Ok(Some(Stored {
            id: series["id"].as_str().context("no id")?.to_owned(),
            count: series["count"].as_u64().context("no count")?,
        }))
    }

    /// Time and value of every reading in a closed range of time, in no order.
    ///
    /// # Errors
    /// The node does not answer, or has a value that is no number of a sender.
    pub async fn points(
        &self,
        api: &Api,
        (from_ms, to_ms): (i64, i64),
    ) -> anyhow::Result<Vec<(i64, u32)>> {
        let mut all = Vec::new();
        let mut low = from_ms;
        // The newest of a range are answered where there are too many: then the older half by itself first.
        let mut high = to_ms;
        while low <= high {
            let path = format!(
                "/v1/series/{}/readings?from={}&to={}&limit={POINTS}",
                self.id,
                jiff::Timestamp::from_millisecond(low)?,
                jiff::Timestamp::from_millisecond(high)?,
            );
            let answer = api.get(&path).await?;
            if answer["truncated"] == true {
                ensure!(high > low, "more than {POINTS} readings in one millisecond");
                high = low + (high - low) / 2;
                continue;
            }
            for point in answer["points"].as_array().context("no points")? {
                let at: jiff::Timestamp = point[0].as_str().context("no time")?.parse()?;
                let value = point[1].as_f64().context("no value")?;
                let number = value as u32;
                ensure!(f64::from(number) == value, "{value} is stored");
                all.push((at.as_millisecond(), number));
            }
            low = high + 1;
            high = to_ms;
        }
        Ok(all)
    }
}

/// A set of numbers, one bit each.
#[derive(Debug, Default)]
pub struct Numbers(Vec<u64>);

impl Numbers {
    /// Whether it is new.
    pub fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = place(number);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    pub fn contains(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    /// The greatest.
    pub fn last(&self) -> Option<u32> {
        let word = self.0.iter().rposition(|bits| *bits != 0)?;
        Some(u32::try_from(word).ok()? * 64 + 63 - self.0[word].leading_zeros())
    }
}

fn place(number: u32) -> (usize, u64) {
    ((number / 64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_knows_what_it_holds() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.last(), None);
        assert!(numbers.insert(63) && numbers.insert(64) && numbers.insert(1_000));
        assert!(!numbers.insert(64));
        assert!(numbers.contains(1_000) && !numbers.contains(999) && !numbers.contains(100_000));
        assert_eq!(numbers.last(), Some(1_000));
    }
}
