//! Which devices there is something to say of, and of which first.

use store::{DeviceHealth, HealthSaid, SaidAt};

use super::payload::DeviceSaid;

/// Points by which a battery must have changed to be said before its turn.
const BATTERY_CHANGE_PCT: f64 = 5.0;
/// Signals rise and fall by a few dB from message to message; this is ten times the power, or a tenth.
const RSSI_CHANGE_DB: f64 = 10.0;

/// Why something is to be said. In this order, and within it what was said longest ago first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// Something else is true than what was said.
    Changed,
    /// What was said still holds, and others must hear that it does.
    InTurn,
}

/// What is known of a device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    pub(super) said: DeviceSaid,
    /// How long it may be silent before its values are to be doubted.
    pub(super) quiet_ms: Option<i64>,
}

/// Whether something is to be said of a device at `now_ms`, of which `before` was said last; `every_ms` is how often
/// others hear of one that is there.
pub(super) fn due(
    known: &Known,
    before: Option<&HealthSaid>,
    now_ms: i64,
    every_ms: i64,
) -> Option<Due> {
    let Some(before) = before else {
        return Some(Due::Changed);
    };
    let (now, said) = (&known.said, &before.health);
    let was_silent = is_silent(said.heard_ms, known.quiet_ms, before.said_ms);
    // One that sleeps between its messages is there and is not, all the time: only that it is lost is news.
    let changed = (now.online == Some(false)) != (said.online == Some(false))
        || now.firmware.as_ref().map(|(text, _)| text)
            != said.firmware.as_ref().map(|said| &said.value)
        || differs(
            now.battery_pct.map(|level| level.value()),
            said.battery_pct,
            BATTERY_CHANGE_PCT,
        )
        || differs(
            now.rssi_dbm.map(|level| level.value()),
            said.rssi_dbm,
            RSSI_CHANGE_DB,
        )
        || is_silent(now.heard_ms, known.quiet_ms, now_ms) != was_silent;
    if changed {
        return Some(Due::Changed);
    }
    // Of one that is connected and says nothing, its connection is what has to be said.
    let is_there = now.heard_ms != said.heard_ms || now.online == Some(true);
    // A clock that was set back says nothing about how long ago it was.
    let its_turn = !(0..every_ms).contains(&now_ms.saturating_sub(before.said_ms));
    (is_there && its_turn).then_some(Due::InTurn)
}

/// Whether a device that was heard then is silent for too long.
pub(super) fn is_silent(heard_ms: Option<i64>, quiet_ms: Option<i64>, at_ms: i64) -> bool {
    heard_ms
        .zip(quiet_ms)
        .is_some_and(|(heard_ms, quiet_ms)| at_ms.saturating_sub(heard_ms) > quiet_ms)
}

fn differs(now: Option<f64>, said: Option<SaidAt<f64>>, by: f64) -> bool {
    match (now, said) {
        (Some(now), Some(said)) => (now - said.value).abs() >= by,
        (now, said) => now.is_some() != said.is_some(),
    }
}

/// As the store takes it in.
pub(super) fn stored(said: DeviceSaid) -> DeviceHealth {
    let level = |level: super::payload::Level| SaidAt {
        value: level.value(),
        at_ms: level.at_ms,
    };
    DeviceHealth {
        device: said.device,
        heard_ms: said.heard_ms,
        battery_pct: said.battery_pct.map(level),
        rssi_dbm: said.rssi_dbm.map(level),
        online: said.online,
        firmware: said.firmware.map(|(value, at_ms)| SaidAt { value, at_ms }),
    }
}

#[cfg(test)]
mod tests {
    use sync_engine::NodeId;

    use super::super::payload::Level;
    use super::*;

    const EVERY_MS: i64 = 900_000;
    const NOW_MS: i64 = 1_772_366_400_000;

    fn known() -> Known {
        Known {
            said: DeviceSaid {
                device: "pump".into(),
                heard_ms: Some(NOW_MS),
                battery_pct: Level::battery_pct(70.0, NOW_MS),
                rssi_dbm: Level::rssi_dbm(-80.0, NOW_MS),
                online: None,
                firmware: None,
            },
            quiet_ms: Some(180_000),
        }
    }

    fn said(known: &Known) -> HealthSaid {
        HealthSaid {
            node: NodeId([1; 32]),
            said_ms: NOW_MS,
            health: stored(known.said.clone()),
        }
    }

    fn due_at(now: &Known, after_ms: i64) -> Option<Due> {
        due(now, Some(&said(&known())), NOW_MS + after_ms, EVERY_MS)
    }

    #[test]
    fn a_device_that_is_heard_each_second_is_spoken_of_in_its_turn_and_one_that_is_not_is_not() {
        assert_eq!(due(&known(), None, NOW_MS, EVERY_MS), Some(Due::Changed));
        let mut now = known();
        assert_eq!(due_at(&now, 60_000), None);
        now.said.heard_ms = Some(NOW_MS + 60_000);
        now.said.battery_pct = Level::battery_pct(66.0, NOW_MS);
        now.said.rssi_dbm = Level::rssi_dbm(-88.0, NOW_MS);
        assert_eq!(due_at(&now, 60_000), None);
        now.said.heard_ms = Some(NOW_MS + EVERY_MS);
        assert_eq!(due_at(&now, EVERY_MS), Some(Due::InTurn));
        assert_eq!(
            due_at(&now, -EVERY_MS),
            Some(Due::InTurn),
            "a clock set back"
        );
        let mut unheard = known();
        unheard.quiet_ms = None;
        assert_eq!(due_at(&unheard, 10 * EVERY_MS), None);
        unheard.said.online = Some(true);
        let mut before = said(&unheard);
        assert_eq!(due(&unheard, Some(&before), NOW_MS, EVERY_MS), None);
        before.said_ms -= EVERY_MS;
        let in_turn = due(&unheard, Some(&before), NOW_MS, EVERY_MS);
        assert_eq!(in_turn, Some(Due::InTurn), "its connection is there");
    }

    #[test]
    fn what_changed_much_is_said_before_its_turn() {
        let changed = |change: &dyn Fn(&mut DeviceSaid)| {
            let mut now = known();
            change(&mut now.said);
            due_at(&now, 1_000)
        };
        let at_once = Some(Due::Changed);
        assert_eq!(changed(&|now| now.online = Some(false)), at_once);
        assert_eq!(changed(&|now| now.online = Some(true)), None);
        assert_eq!(
            changed(&|now| now.firmware = Some(("1.2".into(), NOW_MS))),
            at_once
        );
        assert_eq!(
            changed(&|now| now.battery_pct = Level::battery_pct(65.0, NOW_MS)),
            at_once
        );
        assert_eq!(
            changed(&|now| now.rssi_dbm = Level::rssi_dbm(-90.0, NOW_MS)),
            at_once
        );
        assert_eq!(changed(&|now| now.rssi_dbm = None), at_once);
    }

    #[test]
    fn that_a_device_fell_silent_is_said_once_and_that_it_is_heard_again_too() {
        assert_eq!(due_at(&known(), 180_000), None);
        assert_eq!(due_at(&known(), 180_001), Some(Due::Changed));
        let mut again = said(&known());
        again.said_ms += 180_001;
        let later_ms = NOW_MS + 10 * EVERY_MS;
        assert_eq!(due(&known(), Some(&again), later_ms, EVERY_MS), None);
        let mut now = known();
        now.said.heard_ms = Some(again.said_ms);
        let heard_again = due(&now, Some(&again), again.said_ms, EVERY_MS);
        assert_eq!(heard_again, Some(Due::Changed));
    }
}
