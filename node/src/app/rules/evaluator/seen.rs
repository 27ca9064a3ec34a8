//! What rules see now, for people: the value, how the rule stands, and since when.
//!
//! Invariant: looking changes nothing, and costs memory for one page whatever a rule looks at.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::RecordId;
use domain::rules::{InputSeen, Measure, Rule, Standing, Tick};
use store::{SeriesId, StoredReading};

use super::super::saved::Key;
use super::{Evaluator, Kept, Last, Names};

/// One rule over one series or device.
#[derive(Debug, Clone)]
pub(in crate::app::rules) struct Seen {
    pub(in crate::app::rules) place: Place,
    pub(in crate::app::rules) rule: Arc<Rule>,
    /// Of the value, where that is known.
    pub(in crate::app::rules) unit: Option<String>,
    /// `None` before there is one, and for a while after a start.
    pub(in crate::app::rules) value: Option<f64>,
    /// The reading that it is from.
    pub(in crate::app::rules) last: Option<Last>,
    pub(in crate::app::rules) standing: Standing,
    pub(in crate::app::rules) inputs: Vec<InputSeen>,
}

/// Where it stands in the list: what is raised first, then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::app::rules) struct Place {
    pub(in crate::app::rules) rank: Rank,
    pub(in crate::app::rules) device: Arc<str>,
    pub(in crate::app::rules) channel: Arc<str>,
    /// Series of one name in two units are two; 0 for a device.
    pub(in crate::app::rules) series: u32,
}

/// How urgent it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::app::rules) enum Rank {
    Raised,
    Pending,
    Clear,
}

impl From<Standing> for Rank {
    fn from(standing: Standing) -> Rank {
        match standing {
            Standing::Raised { .. } => Rank::Raised,
            Standing::Pending { .. } => Rank::Pending,
            Standing::Clear => Rank::Clear,
        }
    }
}

/// Which part of a rule's list is wanted.
#[derive(Debug, Clone)]
pub(in crate::app::rules) struct Wanted {
    pub(in crate::app::rules) rule: RecordId,
    pub(in crate::app::rules) rank: Option<Rank>,
    pub(in crate::app::rules) after: Option<Place>,
    pub(in crate::app::rules) count: usize,
}

impl Evaluator {
    /// What a rule sees, in the order of their places. A rule that is not evaluated sees nothing.
    pub(in crate::app::rules) fn seen(
        &self,
        wanted: &Wanted,
        now_ms: i64,
        names: &mut dyn FnMut(SeriesId) -> Option<Names>,
    ) -> Vec<Seen> {
        let Some(rule) = self.rules.iter().find(|rule| rule.id == wanted.rule) else {
            return Vec::new();
        };
        let live = self.instances.iter();
        let live = live.filter(|instance| instance.rule.id == rule.id);
        let live = live.map(|instance| (&instance.key, Some(&instance.shown), &instance.kept));
        let parked = self.parked.iter();
        let parked = parked.filter(|((id, _), _)| *id == rule.id);
        let parked = parked.map(|((_, key), kept)| (key, None, kept));
        let mut page: BTreeMap<Place, (&Key, &Kept)> = BTreeMap::new();
        for (key, shown, kept) in live.chain(parked) {
            let rank = Rank::from(kept.state.standing());
            if wanted.rank.is_some_and(|only| only != rank) {
                continue;
            }
            let shown = match (shown, key) {
                (Some((device, channel)), _) => Some((Arc::clone(device), Arc::clone(channel))),
                (None, Key::Device(device)) => {
                    Some((Arc::clone(device), rule.channel.as_str().into()))
                }
                (None, Key::Series(series)) => {
                    names(SeriesId(*series)).map(|names| (names.device, names.channel))
                }
            };
            let Some((device, channel)) = shown else {
                continue;
            };
            let place = Place {
                rank,
                device,
                channel,
                series: match key {
                    Key::Series(series) => *series,
                    Key::Device(_) => 0,
                },
            };
            if wanted.after.as_ref().is_some_and(|after| place <= *after) {
                continue;
            }
            let is_past_the_page = |(last, _): (&Place, _)| place > *last;
            if page.len() == wanted.count && page.last_key_value().is_none_or(is_past_the_page) {
                continue;
            }
            page.insert(place, (key, kept));
            if page.len() > wanted.count {
                page.pop_last();
            }
        }
        let now = Tick {
            at_ms: now_ms,
            uptime_ms: self.uptime_ms,
        };
        page.into_iter()
            .map(|(place, (key, kept))| {
                let unit = match key {
                    Key::Series(series) => names(SeriesId(*series)).map(|names| names.unit),
                    Key::Device(_) => None,
                };
                kept.seen(rule, place, unit.as_deref(), &now)
            })
            .collect()
    }
}

impl Evaluator {
    /// The values that this reading made, with the device and channel that they are of; to be asked when it was evaluated.
    pub(in crate::app::rules) fn values_from(
        &self,
        reading: &StoredReading,
    ) -> impl Iterator<Item = (&Arc<str>, &Arc<str>, f64)> {
        let position = reading.position.unsigned_abs();
        let watched = self.series.get(&reading.series);
        let slots = watched.into_iter().flat_map(|watched| &watched.slots);
        slots.filter_map(move |slot| {
            let instance = self.instances.get(slot.instance)?;
            let last = instance.kept.last?;
            let (device, channel) = &instance.shown;
            (last.position == position).then_some((device, channel, last.value))
        })
    }
}

impl Kept {
    fn seen(&self, rule: &Arc<Rule>, place: Place, unit: Option<&str>, now: &Tick) -> Seen {
        let of_time = matches!(rule.measure, Measure::NoData | Measure::Expression(_));
        Seen {
            place,
            unit: unit_of(rule, unit),
            value: if of_time {
                self.state.value_now(rule, now)
            } else {
                self.last.map(|last| last.value)
            },
            last: self.last,
            standing: self.state.standing(),
            inputs: self.state.inputs_seen(rule, now.at_ms),
            rule: Arc::clone(rule),
        }
    }
}

/// The unit of a rule's value: that of its levels, else that of the series where the value is a reading or a difference of
/// two.
fn unit_of(rule: &Rule, of_series: Option<&str>) -> Option<String> {
    match rule.measure {
        Measure::NoData => Some("s".into()),
        Measure::Value | Measure::Rate { .. } => rule
            .unit
            .as_deref()
            .or(of_series)
            .filter(|unit| !unit.is_empty())
            .map(str::to_owned),
        Measure::Deviation { .. } | Measure::StaLta { .. } | Measure::Expression(_) => None,
    }
}
