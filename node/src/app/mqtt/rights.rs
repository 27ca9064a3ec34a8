//! What a connection may publish and subscribe to, by the account that it signed in with.
//!
//! Invariant: a device publishes only under its own name and hears only its own commands.

use std::sync::Arc;

use sensor_drivers::TOPIC_PREFIX;
use store::MqttAccount;

use super::topics::{covers, fits};

/// What a connection may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// Nobody in particular, where nobody is let in: everything but commands.
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

    pub fn may_publish(&self, topic: &str) -> bool {
        match self {
            Rights::Anyone => true,
            Rights::Device { prefix, .. } => topic.starts_with(prefix.as_str()),
            Rights::Gateway { publish, .. } => publish.iter().any(|pattern| fits(pattern, topic)),
        }
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

    #[test]
    fn a_device_speaks_for_itself_alone() {
        let pump = account(Some("pump"), &[], &[]);
        assert!(pump.may_publish("muster/v1/pump/level"));
        assert!(!pump.may_publish("muster/v1/pump2/level"));
        assert!(!pump.may_publish("zigbee2mqtt/pump"));
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
        assert!(gateway.may_publish("buoys/7/level"));
        assert!(!gateway.may_publish("muster/v1/pump/level"));
        assert!(gateway.may_subscribe("muster/v1/pump/cmd"));
        assert!(gateway.may_subscribe("muster/v1/+/cmd"));
        assert!(!gateway.may_subscribe("muster/v1/#"));
    }
}
