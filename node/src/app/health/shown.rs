//! What is shown beside a device: of each thing the newest that this node or another knows, and who heard it.
//!
//! Always holds: where this node knows something that is as new, it is this node's that is shown. What another says grows
//! old as everything else does; only that it says so no more often than each quarter of an hour is allowed for.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use store::{HealthSaid, Reader, StoreError};
use sync_engine::NodeId;

use super::SAID_EVERY_MS;
use super::due::is_silent;
use crate::app::clock::rfc3339;
use crate::app::devices::{Freshness, Overlay, age_s};
use crate::app::present::RowView;

/// Nodes named beside a device: those that heard it last. A sensor is in reach of a few.
const NODES_MAX: usize = 16;
/// From the time at which another node heard a device to the time at which this one must have heard of it: a turn, the
/// look after it, and a link that is there. Nothing of it is stale before.
const ON_ITS_WAY_MS: i64 = SAID_EVERY_MS + 6 * 60_000;

/// What other nodes say of devices, by name.
#[derive(Debug, Default)]
pub(in crate::app) struct HealthBook(HashMap<String, Vec<HealthSaid>>);

impl HealthBook {
    /// Of the devices whose documents' rows these are.
    ///
    /// # Errors
    /// A fault of the store.
    pub(in crate::app) fn read<'a>(
        reader: &Reader<'_>,
        me: &NodeId,
        views: impl Iterator<Item = &'a str>,
    ) -> Result<HealthBook, StoreError> {
        let names = views.filter_map(|view| {
            let row: RowView = serde_json::from_str(view).ok()?;
            Some(row.fields.get("name")?.as_str()?.to_owned())
        });
        let of_each = names.map(|name| {
            let said = reader.health_of(&name, me, NODES_MAX)?;
            Ok((name, said))
        });
        of_each.collect::<Result<_, _>>().map(HealthBook)
    }

    /// Lays the newest of `own` and of what others say over a device, over which `own` lies already.
    pub(in crate::app) fn lay_over(
        &self,
        device: &mut Map<String, Value>,
        own: &Overlay,
        (me, now_ms): (NodeId, i64),
        name_of: impl Fn(NodeId) -> Option<String>,
    ) {
        let name = device.get("name").and_then(Value::as_str);
        let others = name.and_then(|name| self.0.get(name));
        let others = others.map_or(&[][..], Vec::as_slice);
        let mut put = |name: &str, value: Value| device.insert(name.to_owned(), value);

        let heard = newest(
            own.last_seen_ms.map(|at_ms| (None, at_ms)),
            others,
            |said| Some((Some(said), said.health.heard_ms?)),
        );
        if let Some((Some(said), heard_ms)) = heard {
            put("last_seen", json!(rfc3339(heard_ms)));
            put("age_s", json!(age_s(heard_ms, now_ms)));
            put("stale", json!(is_stale(said, &own.freshness, now_ms)));
        }
        put("online", json!(online(own, others, now_ms)));
        let levels = [
            ("battery_pct", "battery_at", own.battery_pct),
            ("rssi_dbm", "rssi_at", own.rssi_dbm),
        ];
        for (field, at, own) in levels {
            let own = own.map(|timed| (timed.value, timed.at_ms));
            let level = newest(own, others, |said| {
                let level = match field {
                    "battery_pct" => said.health.battery_pct,
                    _ => said.health.rssi_dbm,
                };
                level.map(|level| (level.value, level.at_ms))
            });
            put(field, json!(level.map(|(value, _)| value)));
            put(at, json!(level.map(|(_, at_ms)| rfc3339(at_ms))));
        }
        let own_firmware = own.firmware.as_ref();
        let own_firmware = own_firmware.map(|timed| (&*timed.value, timed.at_ms));
        let firmware = newest(own_firmware, others, |said| {
            let firmware = said.health.firmware.as_ref()?;
            Some((firmware.value.as_str(), firmware.at_ms))
        });
        put("firmware", json!(firmware.map(|(text, _)| text)));
        put("heard_by", heard_by(own, others, me, name_of));
    }
}

/// Of what this node knows and what others say the one with the latest time; this node's where another's is as late.
fn newest<'a, T>(
    own: Option<(T, i64)>,
    others: &'a [HealthSaid],
    of: impl Fn(&'a HealthSaid) -> Option<(T, i64)>,
) -> Option<(T, i64)> {
    others.iter().filter_map(of).fold(own, |best, other| {
        let is_newer = best.as_ref().is_none_or(|(_, at_ms)| other.1 > *at_ms);
        if is_newer { Some(other) } else { best }
    })
}

/// Whether what another node heard is to be doubted: it said so itself, or the device is silent for so long that it would
/// have said something else by now. `None` where nobody has said how often the device sends.
fn is_stale(said: &HealthSaid, freshness: &Freshness, now_ms: i64) -> Option<bool> {
    if said.health.online == Some(false) {
        return Some(true);
    }
    let quiet_ms = freshness.stale_after_ms()?;
    let heard_ms = said.health.heard_ms;
    let here_ms = quiet_ms.saturating_add(ON_ITS_WAY_MS);
    Some(
        is_silent(heard_ms, Some(quiet_ms), said.said_ms)
            || is_silent(heard_ms, Some(here_ms), now_ms),
    )
}

/// Whether a device is there. That another node says so counts for as long as it would take to hear otherwise.
fn online(own: &Overlay, others: &[HealthSaid], now_ms: i64) -> Option<bool> {
    let known = own.freshness.online;
    if known == Some(true) {
        return known;
    }
    let own = known.map(|online| (online, own.freshness.gone_ms.unwrap_or(i64::MIN)));
    let word = newest(own, others, |said| {
        let online = said.health.online?;
        let is_old = now_ms.saturating_sub(said.said_ms) > ON_ITS_WAY_MS;
        (!online || !is_old).then_some((online, said.said_ms))
    });
    word.map(|(online, _)| online)
}

/// What a node knows of a device that it heard.
struct Word {
    node: NodeId,
    /// `None` for this node: what it knows it knows now.
    said_ms: Option<i64>,
    heard_ms: i64,
    online: Option<bool>,
    /// Values with their times.
    battery_pct: Option<(f64, i64)>,
    rssi_dbm: Option<(f64, i64)>,
}

impl Word {
    fn own(own: &Overlay, me: NodeId) -> Option<Word> {
        Some(Word {
            node: me,
            said_ms: None,
            heard_ms: own.last_seen_ms?,
            online: own.freshness.online,
            battery_pct: own.battery_pct.map(|timed| (timed.value, timed.at_ms)),
            rssi_dbm: own.rssi_dbm.map(|timed| (timed.value, timed.at_ms)),
        })
    }

    fn of(said: &HealthSaid) -> Option<Word> {
        let health = &said.health;
        Some(Word {
            node: said.node,
            said_ms: Some(said.said_ms),
            heard_ms: health.heard_ms?,
            online: health.online,
            battery_pct: health.battery_pct.map(|level| (level.value, level.at_ms)),
            rssi_dbm: health.rssi_dbm.map(|level| (level.value, level.at_ms)),
        })
    }
}

/// Who heard a device, whoever heard it last first, this node before another that heard it at the same time.
fn heard_by(
    own: &Overlay,
    others: &[HealthSaid],
    me: NodeId,
    name_of: impl Fn(NodeId) -> Option<String>,
) -> Value {
    let others = others.iter().filter_map(Word::of);
    let mut words: Vec<Word> = Word::own(own, me).into_iter().chain(others).collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.heard_ms));
    words
        .into_iter()
        .map(|word| {
            json!({
                "node": word.node.to_string(),
                "name": name_of(word.node),
                "here": word.node == me,
                "said_at": word.said_ms.map(rfc3339),
                "last_seen": rfc3339(word.heard_ms),
                "online": word.online,
                "battery_pct": word.battery_pct.map(|(value, _)| value),
                "battery_at": word.battery_pct.map(|(_, at_ms)| rfc3339(at_ms)),
                "rssi_dbm": word.rssi_dbm.map(|(value, _)| value),
                "rssi_at": word.rssi_dbm.map(|(_, at_ms)| rfc3339(at_ms)),
            })
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use store::{DeviceHealth, SaidAt};

    use super::*;
    use crate::app::devices::Timed;

    const ME: NodeId = NodeId([1; 32]);
    const TRUCK: NodeId = NodeId([2; 32]);
    const BOAT: NodeId = NodeId([3; 32]);
    const NOW_MS: i64 = 1_772_366_400_000;
    const MINUTE_MS: i64 = 60_000;

    /// Minutes before now.
    fn ago(minutes: i64) -> i64 {
        NOW_MS - minutes * MINUTE_MS
    }

    fn said(node: NodeId, minutes: i64) -> HealthSaid {
        HealthSaid {
            node,
            said_ms: ago(minutes),
            health: DeviceHealth {
                device: "pump".into(),
                heard_ms: Some(ago(minutes)),
                ..DeviceHealth::default()
            },
        }
    }

    fn shown(own: &Overlay, others: Vec<HealthSaid>) -> Map<String, Value> {
        let book = HealthBook([("pump".to_owned(), others)].into());
        let mut device = json!({ "name": "pump" }).as_object().unwrap().clone();
        own.lay_over(&mut device, NOW_MS);
        book.lay_over(&mut device, own, (ME, NOW_MS), |node| {
            (node == TRUCK).then(|| "Truck 3".to_owned())
        });
        device
    }

    #[test]
    fn of_each_thing_the_newest_is_shown_and_all_who_heard_the_device() {
        let own = Overlay {
            last_seen_ms: Some(ago(10)),
            battery_pct: Some(Timed {
                value: 50.0,
                at_ms: ago(10),
            }),
            rssi_dbm: Some(Timed {
                value: -70.0,
                at_ms: ago(10),
            }),
            ..Overlay::default()
        };
        let mut truck = said(TRUCK, 3);
        truck.health.rssi_dbm = Some(SaidAt {
            value: -101.5,
            at_ms: ago(3),
        });
        let mut boat = said(BOAT, 20);
        boat.health.battery_pct = Some(SaidAt {
            value: 80.0,
            at_ms: ago(20),
        });
        boat.health.firmware = Some(SaidAt {
            value: "1.2".into(),
            at_ms: ago(500),
        });
        let device = shown(&own, vec![truck.clone(), boat]);
        assert_eq!(device["last_seen"], rfc3339(ago(3)));
        assert_eq!(device["age_s"], 180);
        assert_eq!(
            (&device["battery_pct"], &device["rssi_dbm"]),
            (&json!(50.0), &json!(-101.5))
        );
        assert_eq!(device["battery_at"], rfc3339(ago(10)));
        assert_eq!(device["firmware"], "1.2");
        let by = device["heard_by"].as_array().unwrap();
        let names: Vec<_> = by.iter().map(|by| (&by["name"], &by["here"])).collect();
        let (yes, no) = (json!(true), json!(false));
        let truck_name = json!("Truck 3");
        assert_eq!(
            names,
            [
                (&truck_name, &no),
                (&Value::Null, &yes),
                (&Value::Null, &no)
            ]
        );
        assert_eq!(by[1]["rssi_dbm"], -70.0);
        // What is known here counts where it is as new.
        truck.health.heard_ms = own.last_seen_ms;
        truck.health.rssi_dbm = Some(SaidAt {
            value: -1.0,
            at_ms: ago(10),
        });
        let device = shown(&own, vec![truck]);
        assert_eq!(device["rssi_dbm"], -70.0);
        assert_eq!(device["heard_by"][0]["here"], true);
        assert_eq!(
            shown(&Overlay::default(), Vec::new())["heard_by"],
            json!([])
        );
    }

    #[test]
    fn what_another_node_heard_grows_old() {
        let own = Overlay {
            freshness: Freshness {
                expected_interval_ms: Some(MINUTE_MS),
                ..Freshness::default()
            },
            ..Overlay::default()
        };
        let stale = |said: HealthSaid| shown(&own, vec![said])["stale"].clone();
        // Three intervals, and the time until its word is due here.
        assert_eq!(stale(said(TRUCK, 24)), false);
        assert_eq!(stale(said(TRUCK, 25)), true);
        // The other one has waited for it in vain.
        let mut silent = said(TRUCK, 4);
        silent.said_ms = NOW_MS;
        assert_eq!(stale(silent), true);
        let mut gone = said(TRUCK, 1);
        gone.health.online = Some(false);
        assert_eq!(stale(gone), true);
        let nobody_knows = shown(&Overlay::default(), vec![said(TRUCK, 1)]);
        assert_eq!(nobody_knows["stale"], Value::Null);
    }

    #[test]
    fn that_another_node_sees_a_device_counts_for_as_long_as_it_would_take_to_hear_otherwise() {
        let own = |online| Overlay {
            last_seen_ms: Some(ago(12)),
            freshness: Freshness {
                online,
                gone_ms: (online == Some(false)).then_some(ago(10)),
                ..Freshness::default()
            },
            ..Overlay::default()
        };
        let other = |online, minutes| {
            let mut said = said(TRUCK, minutes);
            said.health.online = Some(online);
            vec![said]
        };
        let online = |own: &Overlay, others| shown(own, others)["online"].clone();
        assert_eq!(online(&own(None), other(true, 21)), true);
        assert_eq!(online(&own(None), other(true, 22)), Value::Null);
        assert_eq!(online(&own(None), other(false, 22)), false);
        assert_eq!(online(&own(Some(false)), other(true, 9)), true);
        assert_eq!(online(&own(Some(false)), other(true, 11)), false);
        assert_eq!(online(&own(Some(true)), other(false, 0)), true);
    }
}
