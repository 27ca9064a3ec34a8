//! Who may speak for a device over MQTT: publish as it, mark it by a will, take its commands and answer them. This is
//! the one place that decides it; the table of `docs/sensors.md` is printed from it by a test.
//!
//! Invariants:
//! - A device with an account is spoken for by that account, or by a gateway's whose patterns cover its topics; leaving
//!   the account out gives nobody more than having none. One without an account is anybody's who is let in without one.
//! - It is asked for each message, by what counts at that moment: an account that is made while a connection is open
//!   takes its device's name from that connection.

use std::sync::Arc;

use sensor_drivers::TOPIC_PREFIX;
use store::MqttAccount;

use super::topics::{covers, fits};
use crate::app::devices::Claims;

/// What a connection may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// Nobody in particular, where nobody is let in.
    Anyone,
    Device {
        name: String,
        /// `muster/v1/<device>/`
        prefix: String,
    },
    Gateway {
        name: String,
        publish: Arc<[String]>,
        subscribe: Arc<[String]>,
    },
}

/// What a subscription that takes a device's `cmd` is after, by its filter. The more it says, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aim {
    /// `muster/#`: a dashboard. It sees commands and does not carry them out.
    Everything,
    /// `muster/v1/+/cmd`: commands of many devices, as a gateway takes them.
    Commands,
    /// `muster/v1/pump/cmd`
    Device,
}

impl Aim {
    pub(super) fn of(filter: &str) -> Aim {
        if !filter.contains(['+', '#']) {
            Aim::Device
        } else if filter.ends_with("/cmd") {
            Aim::Commands
        } else {
            Aim::Everything
        }
    }
}

impl Rights {
    pub(super) fn of(account: &MqttAccount) -> Rights {
        match &account.device {
            Some(device) => Rights::Device {
                name: account.name.clone(),
                prefix: format!("{TOPIC_PREFIX}{device}/"),
            },
            None => Rights::Gateway {
                name: account.name.clone(),
                publish: account.publish.clone().into(),
                subscribe: account.subscribe.clone().into(),
            },
        }
    }

    /// The account's name; empty for nobody.
    pub fn owner(&self) -> &str {
        match self {
            Rights::Anyone => "",
            Rights::Device { name, .. } | Rights::Gateway { name, .. } => name,
        }
    }

    /// The device that it belongs to.
    pub fn device(&self) -> Option<&str> {
        match self {
            Rights::Device { prefix, .. } => prefix
                .strip_prefix(TOPIC_PREFIX)
                .map(|device| device.trim_end_matches('/')),
            Rights::Anyone | Rights::Gateway { .. } => None,
        }
    }

    /// Whether it may publish there: values of a device, its retained messages, its answers and its will among them.
    pub(super) fn may_publish(&self, topic: &str, claims: &Claims) -> bool {
        match self {
            Rights::Anyone => device_of(topic).is_none_or(|device| !claims.has(device)),
            Rights::Device { prefix, .. } => topic.starts_with(prefix.as_str()),
            Rights::Gateway { publish, .. } => publish.iter().any(|pattern| fits(pattern, topic)),
        }
    }

    /// The device that is gone when a connection with a will for that topic is.
    pub(super) fn marked_by_will<'a>(&'a self, topic: &'a str, claims: &Claims) -> Option<&'a str> {
        self.device().or_else(|| {
            device_of(topic)
                .filter(|device| !device.is_empty())
                .filter(|_| self.may_publish(topic, claims))
        })
    }

    pub(super) fn may_subscribe(&self, filter: &str) -> bool {
        match self {
            Rights::Anyone => true,
            Rights::Device { prefix, .. } => filter.strip_prefix(prefix.as_str()) == Some("cmd"),
            Rights::Gateway { subscribe, .. } => {
                subscribe.iter().any(|pattern| covers(pattern, filter))
            }
        }
    }

    /// Whether a command that a subscription of it takes has reached the device, or somebody who carries it there.
    pub(super) fn takes_commands(&self, device: &str, aim: Aim, claims: &Claims) -> bool {
        match self {
            Rights::Anyone => aim == Aim::Device && !claims.has(device),
            Rights::Device { .. } => self.device() == Some(device),
            Rights::Gateway { subscribe, .. } => {
                let topic = command_topic(device);
                aim >= Aim::Commands && subscribe.iter().any(|pattern| fits(pattern, &topic))
            }
        }
    }
}

/// Where a device hears its commands.
pub(super) fn command_topic(device: &str) -> String {
    format!("{TOPIC_PREFIX}{device}/cmd")
}

/// The device of `muster/v1/<device>/…`.
fn device_of(topic: &str) -> Option<&str> {
    let (device, _) = topic.strip_prefix(TOPIC_PREFIX)?.split_once('/')?;
    Some(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(device: Option<&str>, publish: &[&str], subscribe: &[&str]) -> Rights {
        let own = |patterns: &[&str]| patterns.iter().map(|&p| p.to_owned()).collect();
        Rights::of(&MqttAccount {
            name: "x".into(),
            device: device.map(str::to_owned),
            secret_hash: [0; 32],
            publish: own(publish),
            subscribe: own(subscribe),
            created_ms: 0,
        })
    }

    fn claims(devices: &[&str]) -> Claims {
        let claims = Claims::default();
        claims.set(devices.iter().map(|&device| device.into()));
        claims
    }

    #[test]
    fn the_table_in_the_documentation_is_what_is_decided_here() {
        let documentation = include_str!("../../../../docs/sensors.md");
        let every = ["muster/v1/+/+"];
        let (free, taken) = (claims(&[]), claims(&["pump"]));
        let gateway = account(None, &every, &["muster/v1/+/cmd"]);
        let pump = account(Some("pump"), &[], &[]);
        let rows = [
            ("nobody", "none", &Rights::Anyone, &free),
            ("nobody", "its own", &Rights::Anyone, &taken),
            ("the device's", "its own", &pump, &taken),
            (
                "another device's",
                "any",
                &account(Some("other"), &[], &[]),
                &taken,
            ),
            ("a gateway's that cover it", "any", &gateway, &taken),
            (
                "a gateway's that do not",
                "any",
                &account(None, &["x/#"], &["x/#"]),
                &taken,
            ),
        ];
        for (account, device, rights, claims) in rows {
            let yes = |may: bool| if may { "yes" } else { "no" };
            // A subscription is after commands as far as its account may say so.
            let takes = |filter: &str| {
                rights.may_subscribe(filter)
                    && rights.takes_commands("pump", Aim::of(filter), claims)
            };
            let row = format!(
                "| {account} | {device} | {} | {} | {} | {} | {} |",
                yes(rights.may_publish("muster/v1/pump/level", claims)),
                yes(rights.marked_by_will("muster/v1/pump/state", claims) == Some("pump")),
                yes(takes("muster/v1/pump/cmd")),
                yes(takes("muster/v1/+/cmd")),
                yes(rights.may_publish("muster/v1/pump/state", claims)),
            );
            assert!(documentation.contains(&row), "docs/sensors.md lacks: {row}");
        }
    }

    #[test]
    fn a_device_speaks_for_itself_alone() {
        let (pump, claims) = (account(Some("pump"), &[], &[]), claims(&["pump"]));
        assert!(pump.may_publish("muster/v1/pump/level", &claims));
        assert!(!pump.may_publish("muster/v1/pump2/level", &claims));
        assert!(!pump.may_publish("zigbee2mqtt/pump", &claims));
        assert!(pump.may_subscribe("muster/v1/pump/cmd"));
        for filter in [
            "muster/v1/+/cmd",
            "#",
            "muster/v1/pump/#",
            "muster/v1/pump/level",
        ] {
            assert!(!pump.may_subscribe(filter), "{filter}");
        }
        assert_eq!(pump.device(), Some("pump"));
    }

    #[test]
    fn a_gateway_has_its_patterns_and_nothing_else() {
        let gateway = account(None, &["buoys/#"], &["muster/v1/+/cmd"]);
        let claims = claims(&[]);
        assert!(gateway.may_publish("buoys/7/level", &claims));
        assert!(!gateway.may_publish("muster/v1/pump/level", &claims));
        assert!(gateway.may_subscribe("muster/v1/pump/cmd"));
        assert!(gateway.may_subscribe("muster/v1/+/cmd"));
        assert!(!gateway.may_subscribe("muster/v1/#"));
    }

    #[test]
    fn a_name_with_an_account_is_protected_on_every_topic_under_it_and_on_no_other() {
        let claims = claims(&["pump"]);
        for topic in [
            "muster/v1/pump/level",
            "muster/v1/pump/",
            "muster/v1/pump/a/b",
        ] {
            assert!(!Rights::Anyone.may_publish(topic, &claims), "{topic}");
        }
        for topic in [
            "muster/v1/pump2/level",
            "muster/v1/pump",
            "pump/level",
            "$SYS",
        ] {
            assert!(Rights::Anyone.may_publish(topic, &claims), "{topic}");
        }
    }

    #[test]
    fn who_listens_to_everything_carries_out_nothing() {
        let everything = account(None, &["#"], &["#"]);
        let takes = |filter| everything.takes_commands("pump", Aim::of(filter), &claims(&[]));
        assert!(takes("muster/v1/+/cmd") && takes("muster/v1/pump/cmd"));
        assert!(!takes("#") && !takes("muster/v1/pump/#"));
        assert!(!Rights::Anyone.takes_commands("pump", Aim::of("muster/v1/+/cmd"), &claims(&[])));
    }
}
