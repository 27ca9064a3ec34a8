//! Which brokers a node listens to, as the configuration says it.

use std::path::{Path, PathBuf};

use rumqttc::{MqttOptions, QoS, Transport};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::cutter::CUT_BYTES;
use super::socket::{BrokerTls, reach_by};
/// What we send to a broker is subscriptions and acknowledgements.
const SENT_BYTES_MAX: usize = 128 * 1024;
/// Packets that are taken apart at once, each of up to 1 MiB.
const PACKETS_AT_ONCE_MAX: usize = 16;
/// A broker that is silent for longer is asked whether it is there, seconds.
const KEEP_ALIVE_S: u16 = 30;
/// Subscriptions of one broker: they are sent at once, beside acknowledgements.
pub(super) const FILTERS_MAX: usize = 64;
/// Certificates and passwords are small.
const FILE_BYTES_MAX: u64 = 256 * 1024;
pub use crate::app::brokers::BROKERS_MAX;

/// A broker that is there already, `[[brokers]]` in muster.toml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerSettings {
    /// How people call it; the session with it is remembered under this name.
    pub name: String,
    /// `mqtt://HOST[:PORT]`, or `mqtts://` with TLS.
    pub url: String,
    /// Topic filters.
    #[serde(default = "everything")]
    pub subscribe: Vec<String>,
    /// 0, 1 or 2; the broker keeps messages for us from 1 on.
    #[serde(default = "at_least_once")]
    pub qos: u8,
    /// Who we are to it.
    #[serde(default)]
    pub username: Option<String>,
    /// File with the password: secrets do not stand in the configuration.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Certificates to trust instead of the system's, PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// MQTT client identifier; by default `muster-` and the beginning of the node's id.
    #[serde(default)]
    pub client_id: Option<String>,
}

fn everything() -> Vec<String> {
    vec!["#".to_owned()]
}

fn at_least_once() -> u8 {
    1
}

/// Why a broker's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BrokerSettingsError {
    /// The address.
    #[error("broker {name}: url {url:?}: mqtt://HOST:PORT or mqtts://HOST:PORT is expected")]
    Url {
        /// Which broker.
        name: String,
        /// What stands there.
        url: String,
    },
    /// The quality of service.
    #[error("broker {name}: qos {qos}: 0, 1 or 2 is expected")]
    Qos {
        /// Which broker.
        name: String,
        /// What stands there.
        qos: u8,
    },
    /// A filter that MQTT does not have.
    #[error("broker {name}: {filter:?} is no topic filter")]
    Filter {
        /// Which broker.
        name: String,
        /// What stands there.
        filter: String,
    },
    /// Two of one name, or too many.
    #[error("brokers: {0}")]
    List(String),
    /// The encryption.
    #[error("broker {name}: {detail}")]
    Tls {
        /// Which broker.
        name: String,
        /// Why.
        detail: String,
    },
    /// A file that it names.
    #[error("broker {name}: read {path}: {cause}")]
    File {
        /// Which broker.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why; part of the text, so no source that would tell it twice.
        cause: std::io::Error,
    },
}

/// Checks all of them at start, so that a misspelt one is found by who wrote it.
///
/// # Errors
/// The first that cannot be used.
pub fn check(brokers: &[BrokerSettings]) -> Result<(), BrokerSettingsError> {
    if brokers.len() > BROKERS_MAX {
        let detail = format!("{} are more than {BROKERS_MAX}", brokers.len());
        return Err(BrokerSettingsError::List(detail));
    }
    for (index, broker) in brokers.iter().enumerate() {
        if broker.name.is_empty() || brokers[..index].iter().any(|it| it.name == broker.name) {
            let detail = format!("each needs a name of its own ({:?})", broker.name);
            return Err(BrokerSettingsError::List(detail));
        }
        broker.quality()?;
        broker.address()?;
        if broker.subscribe.len() > FILTERS_MAX {
            let detail = format!(
                "{:?} subscribes to more than {FILTERS_MAX} topics: use wildcards",
                broker.name
            );
            return Err(BrokerSettingsError::List(detail));
        }
        if let Some(filter) = broker.subscribe.iter().find(|it| !is_filter(it)) {
            return Err(BrokerSettingsError::Filter {
                name: broker.name.clone(),
                filter: filter.clone(),
            });
        }
    }
    Ok(())
}

/// MQTT 3.1.1 §4.7.1: `#` stands alone at the end, `+` alone in its level.
fn is_filter(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let last = levels.len() - 1;
    !filter.is_empty()
        && filter.len() <= usize::from(u16::MAX)
        && levels
            .iter()
            .enumerate()
            .all(|(place, level)| match *level {
                "#" => place == last,
                "+" => true,
                level => !level.contains(['#', '+', '\0']),
            })
}

impl BrokerSettings {
    pub(super) fn quality(&self) -> Result<QoS, BrokerSettingsError> {
        match self.qos {
            0 => Ok(QoS::AtMostOnce),
            1 => Ok(QoS::AtLeastOnce),
            2 => Ok(QoS::ExactlyOnce),
            qos => Err(BrokerSettingsError::Qos {
                name: self.name.clone(),
                qos,
            }),
        }
    }

    /// Host, port, and whether with TLS.
    fn address(&self) -> Result<(String, u16, bool), BrokerSettingsError> {
        let refused = || BrokerSettingsError::Url {
            name: self.name.clone(),
            url: self.url.clone(),
        };
        let url = Url::parse(&self.url).map_err(|_| refused())?;
        let (tls, port) = match url.scheme() {
            "mqtt" => (false, 1883),
            "mqtts" => (true, 8883),
            _ => return Err(refused()),
        };
        let plain = url.username().is_empty() && url.password().is_none();
        let bare = matches!(url.path(), "" | "/") && url.query().is_none();
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(refused()),
        };
        if !plain || !bare {
            return Err(refused());
        }
        Ok((host, url.port().unwrap_or(port), tls))
    }

    /// What the client needs; files are read anew for each connection, so that a renewed one counts.
    pub(super) fn options(&self, node: &str) -> Result<MqttOptions, BrokerSettingsError> {
        let (host, port, tls) = self.address()?;
        let client_id = self
            .client_id
            .clone()
            .unwrap_or_else(|| format!("muster-{}", &node[..node.len().min(12)]));
        let tls = tls.then(|| self.tls(&host)).transpose()?;
        let mut options = MqttOptions::new(client_id, (host, port));
        reach_by(&mut options, tls);
        options
            .set_keep_alive(KEEP_ALIVE_S)
            .set_max_packet_size(CUT_BYTES, SENT_BYTES_MAX)
            .set_read_batch_size(PACKETS_AT_ONCE_MAX)
            // The way there says whether TLS is spoken.
            .set_transport(Transport::tcp())
            .set_ack_mode(rumqttc::AckMode::Manual)
            // The broker keeps what comes while we are away.
            .set_clean_session(false);
        if let Some(username) = &self.username {
            let password = match &self.password_file {
                Some(path) => {
                    let bytes = self.read(path)?;
                    let text = String::from_utf8_lossy(&bytes);
                    text.trim_end_matches(['\r', '\n']).to_owned()
                }
                None => String::new(),
            };
            options.set_credentials(username, password);
        }
        Ok(options)
    }

    fn tls(&self, host: &str) -> Result<BrokerTls, BrokerSettingsError> {
        let trusted = self.ca_file.as_deref().map(|path| self.read(path));
        let trusted = trusted.transpose()?;
        BrokerTls::new(host, trusted.as_deref()).map_err(|detail| BrokerSettingsError::Tls {
            name: self.name.clone(),
            detail,
        })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, BrokerSettingsError> {
        let failed = |cause| BrokerSettingsError::File {
            name: self.name.clone(),
            path: path.to_owned(),
            cause,
        };
        let bytes = std::fs::metadata(path).map_err(failed)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(failed(std::io::Error::other(format!(
                "{bytes} bytes are more than a certificate or a password has"
            ))));
        }
        std::fs::read(path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn broker(url: &str) -> BrokerSettings {
        toml::from_str(&format!("name = \"city\"\nurl = {url:?}")).unwrap()
    }

    #[test]
    fn an_address_says_host_port_and_whether_it_is_encrypted() {
        let of = |url: &str| broker(url).address().unwrap();
        assert_eq!(of("mqtt://10.0.0.5"), ("10.0.0.5".into(), 1883, false));
        assert_eq!(
            of("mqtts://broker.example:1"),
            ("broker.example".into(), 1, true)
        );
        assert_eq!(of("mqtt://[::1]:1884/"), ("::1".into(), 1884, false));
    }

    #[test]
    fn what_is_misspelt_is_named_at_start() {
        for url in [
            "10.0.0.5",
            "http://x",
            "mqtt://",
            "mqtt://user:secret@x",
            "mqtt://x/path",
        ] {
            let error = check(&[broker(url)]).unwrap_err().to_string();
            assert!(error.contains("city") && error.contains(url), "{error}");
        }
        let mut filter = broker("mqtt://x");
        filter.subscribe = vec!["a/#/b".into()];
        let error = check(&[filter]).unwrap_err().to_string();
        assert!(error.contains("a/#/b"), "{error}");
        let mut filters = broker("mqtt://x");
        filters.subscribe = vec!["a".into(); FILTERS_MAX + 1];
        assert!(check(&[filters]).unwrap_err().to_string().contains("city"));
        let mut quality = broker("mqtt://x");
        quality.qos = 3;
        assert!(check(&[quality]).is_err());
        let twice = [broker("mqtt://x"), broker("mqtt://y")];
        assert!(check(&twice).unwrap_err().to_string().contains("city"));
    }

    #[test]
    fn filters_follow_the_standard() {
        for filter in ["#", "+", "a/+/b", "a/#", "/", "+/+/#"] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "a#", "a/+b", "#/a", "a/##"] {
            assert!(!is_filter(filter), "{filter}");
        }
    }
}
