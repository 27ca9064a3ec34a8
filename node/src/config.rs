//! Configuration: `muster.toml` in the data directory, then `MUSTER_…` in the environment, then flags; the later wins.
//! Tables (decoders, brokers, MQTT limits, places for requests, retention, archive, replicate)
//! stand in the file only.
//!
//! Invariant: a key that nobody reads is an error that names it and where it stands, because a misspelt setting on a
//! node in the field is found out about when it is too late.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use sensor_drivers::DecoderConfig;

use crate::api::RequestPlaces;
use crate::app::ingest::{IngestPlaces, IngestPlacesError};
use crate::app::{ArchiveSettings, Kept, Replicate, Storage, StorageError};
use crate::ingest::broker::{self, BrokerSettings, BrokerSettingsError};
use crate::ingest::mqtt::{Anonymous, MqttLimits, MqttLimitsError};

/// Name of the configuration file in the data directory.
pub const FILE_NAME: &str = "muster.toml";

/// The largest configuration file that is read: it holds a dozen lines.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Everything that can be configured, with the defaults of a node at a command post.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Page and API, TCP.
    pub listen: SocketAddr,
    /// Sync with other nodes, QUIC over UDP.
    pub sync_listen: SocketAddr,
    /// Sensors, MQTT over TCP.
    pub mqtt_listen: SocketAddr,
    /// Sensors that can do it, MQTT over TLS; nowhere unless it is said.
    pub mqtt_tls_listen: Option<SocketAddr>,
    /// Certificate chain for that, PEM; else the node makes one for itself.
    pub mqtt_tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub mqtt_tls_key: Option<PathBuf>,
    /// Nodes to dial, `NODE@HOST:PORT` or `HOST:PORT`.
    pub peers: Vec<String>,
    /// Addresses at which other nodes reach this one, `HOST:PORT`; written into invitations.
    pub advertise: Vec<String>,
    /// Find nodes on the local network by multicast DNS.
    pub mdns: bool,
    /// Found an operation when the data directory is empty.
    pub found: bool,
    /// File with the database key (32 bytes, raw or as 64 hex digits).
    pub key_file: Option<PathBuf>,
    /// From where MQTT clients without an account are let in: `never`, `loopback`, `anywhere`; see [`Config::anonymous`].
    pub mqtt_anonymous: Option<Anonymous>,
    /// An older way to say `mqtt_anonymous = "anywhere"`.
    pub mqtt_anonymous_anywhere: bool,
    /// What MQTT clients may take.
    pub mqtt: MqttLimits,
    /// Which formats messages on other topics than Muster's own have.
    pub decoders: Vec<DecoderConfig>,
    /// Brokers to listen to, beside the built-in endpoint.
    pub brokers: Vec<BrokerSettings>,
    /// What the data directory lies on: `disk`, or `sd-card`, which trades a later acknowledgement for wear; in the file
    /// also a table with the numbers of that trade.
    pub storage: Storage,
    /// Places for HTTP requests.
    pub requests: RequestPlaces,
    /// Places for messages of sensors on their way to the disk.
    pub ingest: IngestPlaces,
    /// How long what is kept.
    pub retention: Kept,
    /// Where closed days of readings are exported to.
    pub archive: ArchiveSettings,
    /// Which readings other nodes get.
    pub replicate: Replicate,
    /// What is logged to standard error, as `tracing` filter directives.
    pub log: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            sync_listen: SocketAddr::from(([0, 0, 0, 0], 4747)),
            mqtt_listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            mqtt_tls_listen: None,
            mqtt_tls_cert: None,
            mqtt_tls_key: None,
            peers: Vec::new(),
            advertise: Vec::new(),
            mdns: true,
            found: true,
            key_file: None,
            mqtt_anonymous: None,
            mqtt_anonymous_anywhere: false,
            mqtt: MqttLimits::default(),
            decoders: Vec::new(),
            brokers: Vec::new(),
            storage: Storage::default(),
            requests: RequestPlaces::default(),
            ingest: IngestPlaces::default(),
            retention: Kept::default(),
            archive: ArchiveSettings::default(),
            replicate: Replicate::default(),
            log: "info".into(),
        }
    }
}

/// What the command line said; `None` leaves the value to the file or the default.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--sync-listen`
    pub sync_listen: Option<SocketAddr>,
    /// `--mqtt-listen`
    pub mqtt_listen: Option<SocketAddr>,
    /// `--peer`, each adds one
    pub peers: Vec<String>,
    /// `--advertise`, each adds one
    pub advertise: Vec<String>,
    /// `--no-mdns`
    pub no_mdns: bool,
    /// `--no-found`
    pub no_found: bool,
    /// `--key-file`
    pub key_file: Option<PathBuf>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{path} has {bytes} bytes: a configuration file has at most {FILE_BYTES_MAX}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The file is no TOML, or a key is unknown or has a value of the wrong type.
    #[error("{path}: {detail}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the key's name and place.
        detail: String,
    },
    /// Two settings that contradict each other.
    #[error(
        "mqtt_anonymous_anywhere = true and mqtt_anonymous say different things: leave the former out"
    )]
    Anonymous,
    /// A number of the storage that cannot be had.
    #[error("{path}: {cause}")]
    Storage {
        /// The file.
        path: PathBuf,
        /// Which, and what could be; part of the text, so no source that would tell it twice.
        cause: StorageError,
    },
    /// A limit that cannot be had.
    #[error("{path}: {cause}")]
    Mqtt {
        /// The file.
        path: PathBuf,
        /// Which, and what could be; part of the text, so no source that would tell it twice.
        cause: MqttLimitsError,
    },
    /// A broker that cannot be used.
    #[error("{path}: {cause}")]
    Broker {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; part of the text, so no source that would tell it twice.
        cause: BrokerSettingsError,
    },
    /// Places that do not fit.
    #[error("{path}: {cause}")]
    Ingest {
        /// The file.
        path: PathBuf,
        /// Why; part of the text, so no source that would tell it twice.
        cause: IngestPlacesError,
    },
    /// An environment variable that nobody reads.
    #[error("unknown configuration key {name} in the environment (known: {known})")]
    UnknownVariable {
        /// Its name.
        name: String,
        /// The names that are read.
        known: String,
    },
    /// An environment variable with an unusable value.
    #[error("environment variable {name}: {detail}")]
    Variable {
        /// Its name.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
}

/// Variables that are read elsewhere: secrets never stand in the configuration.
const READ_ELSEWHERE: [&str; 5] = [
    "MUSTER_DATA_DIR",
    "MUSTER_PASSPHRASE",
    "MUSTER_ADMIN_PASSWORD",
    "MUSTER_PASSWORD",
    "MUSTER_NAME",
];

/// Variables of the project's own test runner, which a node started by a test inherits.
const OF_THE_TESTS: [&str; 2] = ["MUSTER_BIN", "MUSTER_SKIP_LOG"];

impl Config {
    /// Reads `muster.toml` in `data_dir` where there is one, then the environment, then `overrides`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file or variable and what is wrong with it.
    pub fn load(
        data_dir: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: Overrides,
    ) -> Result<Config, ConfigError> {
        let mut config = Self::from_file(&data_dir.join(FILE_NAME))?;
        for (name, value) in environment {
            config.apply_variable(&name, &value)?;
        }
        config.apply(overrides);
        if config.mqtt_anonymous_anywhere && config.anonymous() != Anonymous::Anywhere {
            return Err(ConfigError::Anonymous);
        }
        config
            .storage
            .check()
            .map_err(|cause| ConfigError::Storage {
                path: data_dir.join(FILE_NAME),
                cause,
            })?;
        config.mqtt.check().map_err(|cause| ConfigError::Mqtt {
            path: data_dir.join(FILE_NAME),
            cause,
        })?;
        broker::check(&config.brokers).map_err(|cause| ConfigError::Broker {
            path: data_dir.join(FILE_NAME),
            cause,
        })?;
        let places = config.ingest.check(config.brokers.len());
        places.map_err(|cause| ConfigError::Ingest {
            path: data_dir.join(FILE_NAME),
            cause,
        })?;
        Ok(config)
    }

    /// From where MQTT clients without an account are let in; from this machine where nothing is said.
    pub fn anonymous(&self) -> Anonymous {
        match (self.mqtt_anonymous, self.mqtt_anonymous_anywhere) {
            (Some(said), _) => said,
            (None, true) => Anonymous::Anywhere,
            (None, false) => Anonymous::default(),
        }
    }

    fn from_file(path: &Path) -> Result<Config, ConfigError> {
        let read = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Config::default());
            }
            Err(error) => return Err(read(error)),
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
                return Err(ConfigError::TooLarge {
                    path: path.to_owned(),
                    bytes: metadata.len(),
                });
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        toml::from_str(&text).map_err(|error| ConfigError::File {
            path: path.to_owned(),
            detail: error.to_string().trim_end().to_owned(),
        })
    }

    fn apply_variable(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        if !name.starts_with("MUSTER_")
            || READ_ELSEWHERE.contains(&name)
            || OF_THE_TESTS.contains(&name)
            || name.starts_with("MUSTER_TEST_")
        {
            return Ok(());
        }
        let key = name["MUSTER_".len()..].to_ascii_lowercase();
        let mut table = match toml::Table::try_from(&*self) {
            Ok(table) => table,
            Err(error) => {
                return Err(ConfigError::Variable {
                    name: name.into(),
                    detail: error.to_string(),
                });
            }
        };
        let shapes = shapes();
        let Some(shape) = shapes.get(key.as_str()) else {
            let known: Vec<String> = shapes
                .keys()
                .map(|key| format!("MUSTER_{}", key.to_ascii_uppercase()))
                .collect();
            return Err(ConfigError::UnknownVariable {
                name: name.into(),
                known: known.join(", "),
            });
        };
        let value = match shape {
            Shape::Text => toml::Value::String(value.to_owned()),
            Shape::List => toml::Value::Array(
                value
                    .split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .map(|part| toml::Value::String(part.to_owned()))
                    .collect(),
            ),
            Shape::Flag => match value {
                "1" | "true" | "yes" => toml::Value::Boolean(true),
                "0" | "false" | "no" => toml::Value::Boolean(false),
                _ => {
                    return Err(ConfigError::Variable {
                        name: name.into(),
                        detail: format!("{value:?} is neither true nor false"),
                    });
                }
            },
        };
        table.insert(key, value);
        *self = table
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::Variable {
                name: name.into(),
                detail: error.message().to_owned(),
            })?;
        Ok(())
    }

    fn apply(&mut self, overrides: Overrides) {
        self.listen = overrides.listen.unwrap_or(self.listen);
        self.sync_listen = overrides.sync_listen.unwrap_or(self.sync_listen);
        self.mqtt_listen = overrides.mqtt_listen.unwrap_or(self.mqtt_listen);
        self.peers.extend(overrides.peers);
        if !overrides.advertise.is_empty() {
            self.advertise = overrides.advertise;
        }
        self.mdns &= !overrides.no_mdns;
        self.found &= !overrides.no_found;
        self.key_file = overrides.key_file.or(self.key_file.take());
    }
}

enum Shape {
    Text,
    List,
    Flag,
}

/// How the text of a variable becomes a value of its key.
fn shapes() -> BTreeMap<&'static str, Shape> {
    BTreeMap::from([
        ("listen", Shape::Text),
        ("sync_listen", Shape::Text),
        ("mqtt_listen", Shape::Text),
        ("mqtt_tls_listen", Shape::Text),
        ("mqtt_tls_cert", Shape::Text),
        ("mqtt_tls_key", Shape::Text),
        ("peers", Shape::List),
        ("advertise", Shape::List),
        ("mdns", Shape::Flag),
        ("found", Shape::Flag),
        ("key_file", Shape::Text),
        ("mqtt_anonymous", Shape::Text),
        ("mqtt_anonymous_anywhere", Shape::Flag),
        ("storage", Shape::Text),
        ("log", Shape::Text),
    ])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE_NAME), file).unwrap();
        let environment = environment
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Config::load(dir.path(), environment, Overrides::default())
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join(FILE_NAME),
            "listen = \"127.0.0.1:1\"\nmqtt_listen = \"127.0.0.1:2\"\nsync_listen = \"127.0.0.1:3\"\n",
        )
        .unwrap();
        let environment = [
            ("MUSTER_MQTT_LISTEN".to_owned(), "127.0.0.1:20".to_owned()),
            ("MUSTER_SYNC_LISTEN".to_owned(), "127.0.0.1:30".to_owned()),
        ];
        let flags = Overrides {
            sync_listen: Some("127.0.0.1:300".parse().unwrap()),
            no_mdns: true,
            ..Overrides::default()
        };
        let config = Config::load(dir.path(), environment, flags).unwrap();
        assert_eq!(
            (
                config.listen.port(),
                config.mqtt_listen.port(),
                config.sync_listen.port(),
                config.mdns
            ),
            (1, 20, 300, false)
        );
    }

    #[test]
    fn an_unknown_key_in_the_file_is_named() {
        let error = load("lisen = \"127.0.0.1:1\"\n", &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("lisen") && error.contains(FILE_NAME),
            "{error}"
        );
    }

    #[test]
    fn the_older_way_to_let_everybody_in_is_understood_and_a_contradiction_is_not() {
        let anonymous = |file: &str| load(file, &[]).map(|config| config.anonymous());
        assert_eq!(anonymous("").unwrap(), Anonymous::Loopback);
        let older = "mqtt_anonymous_anywhere = true\n";
        assert_eq!(anonymous(older).unwrap(), Anonymous::Anywhere);
        let never = "mqtt_anonymous = \"never\"\n";
        assert_eq!(anonymous(never).unwrap(), Anonymous::Never);
        let error = anonymous(&format!("{older}{never}")).unwrap_err();
        assert!(error.to_string().contains("mqtt_anonymous"), "{error}");
    }

    #[test]
    fn a_variable_takes_the_place_of_the_storage_and_of_its_numbers() {
        let file = "[storage]\nprofile = \"sd-card\"\nwindow_ms = 500\n";
        let config = load(file, &[("MUSTER_LOG", "warn")]).unwrap();
        assert_eq!(config.storage.window_ms, Some(500));
        let config = load(file, &[("MUSTER_STORAGE", "disk")]).unwrap();
        assert_eq!(config.storage, Storage::default());
        let error = load("[storage]\nwindow_ms = 60000\n", &[]).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(FILE_NAME) && error.contains("window_ms"),
            "{error}"
        );
    }

    #[test]
    fn what_mqtt_clients_may_take_stands_in_a_table() {
        let config = load("[mqtt]\nconnections_of_address_max = 400\n", &[]).unwrap();
        assert_eq!(config.mqtt.connections_of_address_max, 400);
        assert_eq!(config.mqtt.connections_max, 1_024);
        let error = load("[mqtt]\nconnections_max = 0\n", &[]).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(FILE_NAME) && error.contains("connections_max"),
            "{error}"
        );
    }

    #[test]
    fn places_that_do_not_fit_the_writer_are_refused_in_words() {
        let config = load("[ingest]\ncommon_max = 1000\n", &[]).unwrap();
        assert_eq!(config.ingest.common_max, 1_000);
        let error = load("[ingest]\ncommon_max = 65000\n", &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("common_max") && error.contains(FILE_NAME),
            "{error}"
        );
    }

    #[test]
    fn how_long_what_is_kept_and_where_days_are_exported_stand_in_tables() {
        let config = load(
            "[retention]\nraw_days = 7\ndead_letters_days = \"forever\"\n[archive]\ndir = \"/srv/archive\"\n",
            &[],
        )
        .unwrap();
        assert_eq!(config.retention.raw_days, crate::app::Days::Some(7));
        assert_eq!(config.archive.dir, Some("/srv/archive".into()));
        let error = load("[retention]\nraw_days = 0\n", &[])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(FILE_NAME) && error.contains("1 to 36500"),
            "{error}"
        );
        let error = load("[archive]\ndirectory = \"x\"\n", &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("directory"), "{error}");
    }

    #[test]
    fn an_unknown_variable_is_named_with_the_known_ones() {
        let error = load("", &[("MUSTER_LISEN", "x")]).unwrap_err().to_string();
        assert!(
            error.contains("MUSTER_LISEN") && error.contains("MUSTER_LISTEN"),
            "{error}"
        );
    }

    #[test]
    fn every_key_of_the_configuration_but_tables_has_a_variable() {
        let table = toml::Table::try_from(Config {
            key_file: Some("k".into()),
            mqtt_anonymous: Some(Anonymous::Never),
            mqtt_tls_listen: Some(SocketAddr::from(([127, 0, 0, 1], 8883))),
            mqtt_tls_cert: Some("c".into()),
            mqtt_tls_key: Some("k".into()),
            ..Config::default()
        })
        .unwrap();
        // Tables stand in the file only.
        let mut keys: Vec<&str> = table
            .iter()
            .filter(|(name, value)| {
                !value.is_table() && !["brokers", "decoders"].contains(&name.as_str())
            })
            .map(|(name, _)| name.as_str())
            .collect();
        keys.sort_unstable();
        let mut variables: Vec<&str> = shapes().into_keys().collect();
        variables.sort_unstable();
        assert_eq!(keys, variables);
    }

    #[test]
    fn lists_and_flags_come_from_the_environment_too() {
        let config = load(
            "",
            &[
                ("MUSTER_PEERS", "a@127.0.0.1:1, 127.0.0.1:2"),
                ("MUSTER_FOUND", "false"),
            ],
        )
        .unwrap();
        assert_eq!(config.peers, ["a@127.0.0.1:1", "127.0.0.1:2"]);
        assert!(!config.found);
        let error = load("", &[("MUSTER_MDNS", "maybe")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("MUSTER_MDNS"), "{error}");
    }
}
