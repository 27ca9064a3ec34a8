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
    /// The certificate that its own is signed by, where it speaks TLS.
    pub ca_file: Option<PathBuf>,
    process: Option<Child>,
}

impl Broker {
    /// A broker that does not run; `None` where Mosquitto is not installed.
    ///
    /// # Errors
    /// Its directory cannot be written.
    pub fn at(dir: &Path) -> anyhow::Result<Option<Broker>> {
        Broker::configured(dir, "")
    }

    /// The same, speaking nothing but TLS, with a certificate for `localhost` made here.
    ///
    /// # Errors
    /// Its directory cannot be written.
    pub fn with_tls_at(dir: &Path) -> anyhow::Result<Option<Broker>> {
        std::fs::create_dir_all(dir)?;
        let ca_file = dir.join("ca.pem");
        let (certificate, key) = (dir.join("broker.pem"), dir.join("broker.key"));
        certify(&ca_file, &certificate, &key)?;
        // Read by root before it changes to another user, or by whoever runs this.
        let more = format!(
            "certfile {}\nkeyfile {}\n",
            certificate.display(),
            key.display()
        );
        let broker = Broker::configured(dir, &more)?;
        Ok(broker.map(|broker| Broker {
            ca_file: Some(ca_file),
            ..broker
        }))
    }

    fn configured(dir: &Path, more: &str) -> anyhow::Result<Option<Broker>> {
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
             max_queued_messages 0\nautosave_interval 1\n{more}",
            address.port(),
            dir.display()
        );
        std::fs::write(dir.join("mosquitto.conf"), config)?;
        Ok(Some(Broker {
            program,
            dir: dir.to_owned(),
            address,
            ca_file: None,
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

    /// Lets it stand still, or go on: its connections stay, and nothing is heard of it.
    ///
    /// # Errors
    /// It is not there.
    pub async fn stand_still(&self, still: bool) -> anyhow::Result<()> {
        let process = self.process.as_ref().and_then(Child::id);
        let signal = if still { "STOP" } else { "CONT" };
        crate::node::signal(process.context("the broker does not run")?, signal).await
    }

    /// Publishes what a file holds as one message with QoS 1.
    ///
    /// # Errors
    /// The client says so.
    pub async fn publish_file(&self, topic: &str, file: &Path, retain: bool) -> anyhow::Result<()> {
        let mut command = self.publisher(topic);
        command.arg("-f").arg(file);
        if retain {
            command.arg("-r");
        }
        anyhow::ensure!(command.status().await?.success(), "mosquitto_pub failed");
        Ok(())
    }

    fn publisher(&self, topic: &str) -> Command {
        let mut command = Command::new("mosquitto_pub");
        command
            .args(["-h", "localhost", "-p", &self.address.port().to_string()])
            .args(["-q", "1", "-t", topic])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if let Some(ca_file) = &self.ca_file {
            command.arg("--cafile").arg(ca_file);
        }
        command
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
        let mut command = self.publisher(topic);
        command.arg("-l").stdin(Stdio::piped());
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

/// A certificate for `localhost` with its key, signed by one of its own.
fn certify(ca_file: &Path, certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let mut ca = rcgen::CertificateParams::new(Vec::new())?;
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name
        .push(rcgen::DnType::CommonName, "an operation's own authority");
    let ca_key = rcgen::KeyPair::generate()?;
    std::fs::write(ca_file, ca.self_signed(&ca_key)?.pem())?;
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let broker_key = rcgen::KeyPair::generate()?;
    let broker = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
    std::fs::write(certificate, broker.signed_by(&broker_key, &issuer)?.pem())?;
    std::fs::write(key, broker_key.serialize_pem())?;
    Ok(())
}
