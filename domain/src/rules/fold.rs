//! One alarm that several nodes raised, shown as one (DESIGN §6).
//!
//! Each node that hears a sensor may open an incident. Open incidents of one rule and device whose times overlap, also
//! by way of a third, are one in the view: under the smallest id. No document is changed by it, so that every node comes
//! to the same view from the same documents, and a person's work on any of them stands.

use std::collections::BTreeMap;

use crate::RecordId;

/// An incident that a rule opened, as far as folding needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaisedIncident<'a> {
    /// Its id.
    pub id: RecordId,
    /// The rule, as its source names it.
    pub rule: &'a str,
    /// The device.
    pub device: &'a str,
    /// When it was raised, in milliseconds since 1970.
    pub raised_ms: i64,
    /// When its sensor was well again.
    pub cleared_ms: Option<i64>,
    /// Whether people still work on it: not closed, no false alarm, not deleted.
    pub open: bool,
}

/// Where an incident stands in the view.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fold {
    /// The incident that shows it; `None` where it shows itself.
    pub into: Option<RecordId>,
    /// The others that it shows, by id.
    pub folds: Vec<RecordId>,
}

/// Folds incidents. Those that stand alone are not in the answer. The order of `incidents` does not matter.
pub fn fold(incidents: &[RaisedIncident<'_>]) -> BTreeMap<RecordId, Fold> {
    let mut by_source: BTreeMap<(&str, &str), Vec<&RaisedIncident<'_>>> = BTreeMap::new();
    for incident in incidents.iter().filter(|incident| incident.open) {
        by_source
            .entry((incident.rule, incident.device))
            .or_default()
            .push(incident);
    }
    let mut folds = BTreeMap::new();
    for mut of_source in by_source.into_values() {
        of_source.sort_by_key(|incident| (incident.raised_ms, incident.id));
        let mut group: Vec<RecordId> = Vec::new();
        let mut until_ms = i64::MIN;
        for incident in of_source {
            if incident.raised_ms > until_ms {
                close(&mut folds, std::mem::take(&mut group));
            }
            group.push(incident.id);
            // A clock that was set back can clear before it raised; it is a moment then.
            let cleared_ms = incident.cleared_ms.unwrap_or(i64::MAX);
            until_ms = until_ms.max(cleared_ms).max(incident.raised_ms);
        }
        close(&mut folds, group);
    }
    folds
}

fn close(folds: &mut BTreeMap<RecordId, Fold>, mut group: Vec<RecordId>) {
    group.sort_unstable();
    group.dedup();
    let Some((head, others)) = group.split_first() else {
        return;
    };
    if others.is_empty() {
        return;
    }
    for other in others {
        let fold = Fold {
            into: Some(*head),
            folds: Vec::new(),
        };
        folds.insert(*other, fold);
    }
    let fold = Fold {
        into: None,
        folds: others.to_vec(),
    };
    folds.insert(*head, fold);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn incident(id: u8, raised_ms: i64, cleared_ms: Option<i64>) -> RaisedIncident<'static> {
        RaisedIncident {
            id: RecordId([id; 16]),
            rule: "high water",
            device: "gauge",
            raised_ms,
            cleared_ms,
            open: true,
        }
    }

    fn id(id: u8) -> RecordId {
        RecordId([id; 16])
    }

    #[test]
    fn two_nodes_that_heard_one_flood_show_one_incident_under_the_smaller_id() {
        let folds = fold(&[incident(9, 1000, Some(5000)), incident(4, 1200, None)]);
        assert_eq!(folds[&id(4)].folds, [id(9)]);
        assert_eq!(folds[&id(4)].into, None);
        assert_eq!(folds[&id(9)].into, Some(id(4)));
    }

    #[test]
    fn floods_one_after_the_other_stay_two() {
        assert!(fold(&[incident(1, 1000, Some(2000)), incident(2, 2001, None)]).is_empty());
        let touching = fold(&[incident(1, 1000, Some(2000)), incident(2, 2000, None)]);
        assert_eq!(touching.len(), 2);
    }

    #[test]
    fn a_third_joins_two_that_do_not_meet() {
        let folds = fold(&[
            incident(3, 0, Some(10)),
            incident(2, 20, Some(30)),
            incident(1, 5, Some(25)),
        ]);
        assert_eq!(folds[&id(1)].folds, [id(2), id(3)]);
    }

    #[test]
    fn what_is_closed_or_of_another_device_is_left_alone() {
        let closed = RaisedIncident {
            open: false,
            ..incident(1, 0, None)
        };
        let other = RaisedIncident {
            device: "rain",
            ..incident(2, 0, None)
        };
        assert!(fold(&[closed, other, incident(3, 0, None)]).is_empty());
    }

    proptest! {
        /// The answer depends neither on the order nor on who asks; each incident is shown by exactly one.
        #[test]
        fn every_order_folds_the_same(
            times in proptest::collection::vec((0..100_i64, 0..30_i64, any::<bool>()), 1..20),
            turn in any::<prop::sample::Index>(),
        ) {
            let incidents: Vec<RaisedIncident<'_>> = (0..)
                .zip(&times)
                .map(|(n, (from, long, ends))| incident(n, *from, ends.then_some(from + long)))
                .collect();
            let mut turned = incidents.clone();
            turned.rotate_left(turn.index(incidents.len()));
            turned.reverse();
            let folds = fold(&incidents);
            prop_assert_eq!(&folds, &fold(&turned));
            for (id, one) in &folds {
                match one.into {
                    Some(head) => {
                        prop_assert!(head < *id && one.folds.is_empty());
                        prop_assert!(folds[&head].folds.contains(id));
                    }
                    None => prop_assert!(!one.folds.is_empty()),
                }
            }
        }
    }
}
