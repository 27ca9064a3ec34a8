//! MQTT clients that other people wrote: npm `mqtt`, Mosquitto's, paho-mqtt and aiomqtt from PyPI.
//!
//! Each tells the same story (`tests/e2e/clients/`): QoS 0, 1 and 2 to a subscriber that is there; QoS 1 and 2 to a
//! session that is away; a retained message to a late subscriber; a will when the power fails.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::process::Command;

use crate::node::run_to_end;
use crate::skip::has_program;

/// Readings that a story leaves: QoS 0, 1, 2, two while the listener is away, one retained, one will.
pub const STORY_READINGS: u64 = 7;

/// A client that can tell the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Teller {
    NpmMqtt,
    Mosquitto,
    Paho,
    Aiomqtt,
}

impl Teller {
    pub const ALL: [Teller; 4] = [
        Teller::NpmMqtt,
        Teller::Mosquitto,
        Teller::Paho,
        Teller::Aiomqtt,
    ];

    /// What has to be installed for it, where it is not.
    pub fn missing(self) -> Option<&'static str> {
        let python = |package: &str| python_clients().join(package).is_file();
        let (is_there, tool) = match self {
            Teller::NpmMqtt => (Client::installed().contains(&Client::NpmMqtt), "npm-mqtt"),
            Teller::Mosquitto => (has_program("mosquitto_sub"), "mosquitto-clients"),
            Teller::Paho => (python("paho-mqtt.ok"), "paho-mqtt"),
            Teller::Aiomqtt => (python("aiomqtt.ok"), "aiomqtt"),
        };
        (!is_there).then_some(tool)
    }

    /// Tells the story about `device` in MQTT 3.1.1 (4) or 5; with TLS where there is a certificate to trust.
    ///
    /// # Errors
    /// What the client says.
    pub async fn tell(
        self,
        node: SocketAddr,
        version: u8,
        device: &str,
        certificate: Option<&Path>,
    ) -> anyhow::Result<()> {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
        let mut command = match self {
            Teller::NpmMqtt => {
                let mut command = Command::new("node");
                command
                    .current_dir(browser_tests())
                    .arg(clients.join("mqttjs_story.mjs"));
                command
            }
            Teller::Mosquitto => Command::new(clients.join("mosquitto_story.sh")),
            Teller::Paho | Teller::Aiomqtt => {
                let story = if self == Teller::Paho {
                    "paho_story.py"
                } else {
                    "aiomqtt_story.py"
                };
                let mut command = Command::new(python_clients().join("bin/python"));
                command.arg(clients.join(story));
                command
            }
        };
        command
            .args([node.ip().to_string(), node.port().to_string()])
            .args([&version.to_string(), device])
            .args(certificate)
            .kill_on_drop(true);
        run_to_end(command)
            .await?
            .success()
            .with_context(|| format!("{self:?}, version {version}"))?;
        Ok(())
    }
}

/// A client that is installed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    NpmMqtt,
    Mosquitto,
}

impl Client {
    /// Those that are there.
    pub fn installed() -> Vec<Client> {
        let mut found = Vec::new();
        if has_program("node") && browser_tests().join("node_modules/mqtt").is_dir() {
            found.push(Client::NpmMqtt);
        }
        if has_program("mosquitto_pub") {
            found.push(Client::Mosquitto);
        }
        found
    }

    /// Publishes one message with QoS 1 and returns after its acknowledgement.
    ///
    /// # Errors
    /// The client says so.
    pub async fn publish(self, node: SocketAddr, topic: &str, payload: &str) -> anyhow::Result<()> {
        let mut command = match self {
            Client::NpmMqtt => {
                let mut command = Command::new("node");
                command
                    .current_dir(browser_tests())
                    .args(["--input-type=module", "--eval", SCRIPT, "--"])
                    .args([&format!("mqtt://{node}"), topic, payload]);
                command
            }
            Client::Mosquitto => {
                let mut command = Command::new("mosquitto_pub");
                command
                    .args(["-h", &node.ip().to_string(), "-p", &node.port().to_string()])
                    .args(["-q", "1", "-t", topic, "-m", payload]);
                command
            }
        };
        command.kill_on_drop(true);
        run_to_end(command)
            .await?
            .success()
            .with_context(|| format!("{self:?}"))?;
        Ok(())
    }
}

const SCRIPT: &str = r#"
import mqtt from "mqtt";
const [url, topic, payload] = process.argv.slice(1);
const client = await mqtt.connectAsync(url, { protocolVersion: 4, reconnectPeriod: 0 });
await client.publishAsync(topic, payload, { qos: 1 });
await client.endAsync();
"#;

/// Where .ci/run and `make mqtt-clients` put Python's packages for tests.
fn python_clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/mqtt-clients")
}

/// Where npm's packages for tests are.
fn browser_tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../browser")
}
