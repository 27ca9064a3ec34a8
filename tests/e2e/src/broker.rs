//! An existing broker, as a node meets it in the field: Mosquitto, which keeps sessions over a restart.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::wait::until;

/// A broker on one port for all its life.
pub struct Broker {
    program: PathBuf,
    dir: PathBuf,
    pub address: SocketAddr,
    process: Option<Child>,
}

impl Broker {
    /// A broker that does not run; `None` where Mosquitto is not installed.
    ///
    /// # Errors
    /// Its directory cannot be written.
    pub fn at(dir: &Path) -> anyhow::Result<Option<Broker>> {
        let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"];
        let found = places.map(|place| Path::new(place).join("mosquitto"));
        let Some(program) = found.into_iter().find(|path| path.is_file()) else {
            return Ok(None);
        };
        std::fs::create_dir_all(dir)?;
        let free = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = free.local_addr()?;
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
             max_queued_messages 0\nautosave_interval 1\n",
            address.port(),
            dir.display()
        );
        std::fs::write(dir.join("mosquitto.conf"), config)?;
        Ok(Some(Broker {
            program,
            dir: dir.to_owned(),
            address,
            process: None,
        }))
    }

    /// Starts it; answers when it listens.
    ///
    /// # Errors
    /// It does not listen in time.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command
            .arg("-c")
            .arg(self.dir.join("mosquitto.conf"))
            // As root it would change to a user that may not write there.
            .env("HOME", &self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        self.process = Some(command.spawn()?);
        let address = self.address;
        until("the broker listens", || async move {
            Ok(tokio::net::TcpStream::connect(address).await.ok().map(drop))
        })
        .await
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// It is not there.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("the broker does not run")?;
        process.kill().await?;
        Ok(())
    }

    /// Publishes one message a line with QoS 1, and returns when all are acknowledged by the broker.
    ///
    /// # Errors
    /// The client says so.
    pub async fn publish(
        &self,
        topic: &str,
        payloads: &[String],
        retain: bool,
    ) -> anyhow::Result<()> {
        let mut command = Command::new("mosquitto_pub");
        command
            .args(["-h", "127.0.0.1", "-p", &self.address.port().to_string()])
            .args(["-q", "1", "-t", topic, "-l"])
            .stdin(Stdio::piped())
            .kill_on_drop(true);
        if retain {
            command.arg("-r");
        }
        let mut client = command.spawn()?;
        let mut lines = client.stdin.take().context("a pipe")?;
        lines.write_all(payloads.join("\n").as_bytes()).await?;
        lines.write_all(b"\n").await?;
        drop(lines);
        anyhow::ensure!(client.wait().await?.success(), "mosquitto_pub failed");
        Ok(())
    }
}
