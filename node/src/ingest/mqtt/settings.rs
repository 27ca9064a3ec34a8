//! What the operator decides about the endpoint: who is let in without an account, and how much each client may take.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Bounds;

/// The store recognises 10,000 client identifiers, and 8,000 sessions that outlive their connection may be among them.
const CONNECTIONS_MAX: usize = 2_000;
/// A thousand times what a field node can store; beyond it a bound says nothing.
const MESSAGES_PER_S_MAX: u64 = 100_000_000;
const BYTES_PER_S_MAX: u64 = 1 << 30;
/// Room for a CONNECT with a password and a will.
const PACKET_BYTES_MIN: usize = 1_024;
/// No decoder reads more.
const PACKET_BYTES_MAX: usize = 64 * 1_024;

/// What the operator decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct MqttSettings {
    pub anonymous: Anonymous,
    pub limits: MqttLimits,
}

/// From where clients without an account are let in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anonymous {
    /// From nowhere.
    Never,
    /// From this machine.
    #[default]
    Loopback,
    /// From everywhere: for a sensor network that is closed in itself.
    Anywhere,
}

impl Anonymous {
    pub(super) fn admits(self, peer: IpAddr) -> bool {
        match self {
            Anonymous::Never => false,
            Anonymous::Loopback => peer.to_canonical().is_loopback(),
            Anonymous::Anywhere => true,
        }
    }
}

/// What clients may take, `[mqtt]` in muster.toml; see [`Bounds`] for what each is and why it is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttLimits {
    pub connections_max: usize,
    /// A site behind one address (NAT) may need more than a stranger should have.
    pub connections_of_address_max: usize,
    pub connections_of_device_max: usize,
    pub connections_of_gateway_max: usize,
    pub messages_per_s_max: u64,
    pub bytes_per_s_max: u64,
    pub packet_bytes_max: usize,
}

impl Default for MqttLimits {
    fn default() -> Self {
        let bounds = Bounds::default();
        MqttLimits {
            connections_max: bounds.connections_max,
            connections_of_address_max: bounds.connections_of_address_max,
            connections_of_device_max: bounds.connections_of_device_max,
            connections_of_gateway_max: bounds.connections_of_gateway_max,
            messages_per_s_max: bounds.messages_per_s_max,
            bytes_per_s_max: bounds.bytes_per_s_max,
            packet_bytes_max: bounds.packet_bytes_max,
        }
    }
}

/// A limit that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("[mqtt] {key} = {value}: {least} to {most} is expected")]
pub struct MqttLimitsError {
    key: &'static str,
    value: u64,
    least: u64,
    most: u64,
}

impl MqttLimits {
    /// Checks them, so that a number that does not fit is found by who wrote it.
    ///
    /// # Errors
    /// [`MqttLimitsError`], which names the first.
    pub fn check(&self) -> Result<(), MqttLimitsError> {
        let all = self.connections_max;
        let connections = |key, value: usize, most: usize| (key, value as u64, 1, most as u64);
        let limits = [
            connections("connections_max", all, CONNECTIONS_MAX),
            connections(
                "connections_of_address_max",
                self.connections_of_address_max,
                all,
            ),
            connections(
                "connections_of_device_max",
                self.connections_of_device_max,
                all,
            ),
            connections(
                "connections_of_gateway_max",
                self.connections_of_gateway_max,
                all,
            ),
            (
                "messages_per_s_max",
                self.messages_per_s_max,
                1,
                MESSAGES_PER_S_MAX,
            ),
            (
                "bytes_per_s_max",
                self.bytes_per_s_max,
                self.packet_bytes_max as u64,
                BYTES_PER_S_MAX,
            ),
            (
                "packet_bytes_max",
                self.packet_bytes_max as u64,
                PACKET_BYTES_MIN as u64,
                PACKET_BYTES_MAX as u64,
            ),
        ];
        for (key, value, least, most) in limits {
            if !(least..=most).contains(&value) {
                return Err(MqttLimitsError {
                    key,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }

    pub(super) fn bounds(self) -> Bounds {
        Bounds {
            connections_max: self.connections_max,
            connections_of_address_max: self.connections_of_address_max,
            connections_of_device_max: self.connections_of_device_max,
            connections_of_gateway_max: self.connections_of_gateway_max,
            messages_per_s_max: self.messages_per_s_max,
            bytes_per_s_max: self.bytes_per_s_max,
            packet_bytes_max: self.packet_bytes_max,
            ..Bounds::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_limits_fit_and_one_that_does_not_is_named_with_what_fits() {
        assert!(MqttLimits::default().check().is_ok());
        let nat = MqttLimits {
            connections_max: 2_000,
            connections_of_address_max: 2_000,
            ..MqttLimits::default()
        };
        assert!(nat.check().is_ok());
        assert_eq!(nat.bounds().connections_of_address_max, 2_000);
        for (limits, words) in [
            (
                MqttLimits {
                    connections_max: 2_001,
                    ..nat
                },
                "connections_max = 2001: 1 to 2000",
            ),
            (
                MqttLimits {
                    connections_max: 300,
                    connections_of_address_max: 301,
                    ..nat
                },
                "connections_of_address_max = 301: 1 to 300",
            ),
            (
                MqttLimits {
                    packet_bytes_max: 65_537,
                    ..nat
                },
                "packet_bytes_max = 65537: 1024 to 65536",
            ),
            (
                MqttLimits {
                    messages_per_s_max: 0,
                    ..nat
                },
                "messages_per_s_max = 0: 1 to",
            ),
        ] {
            let error = limits.check().map_err(|error| error.to_string());
            assert!(
                error.as_ref().is_err_and(|text| text.contains(words)),
                "{error:?}"
            );
        }
    }
}
