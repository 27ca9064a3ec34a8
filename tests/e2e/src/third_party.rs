//! Publishing with clients that other people wrote: npm `mqtt` and Mosquitto's.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::process::Command;

use crate::node::run_to_end;
use crate::skip::has_program;

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

/// Where npm's packages for tests are.
fn browser_tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../browser")
}
