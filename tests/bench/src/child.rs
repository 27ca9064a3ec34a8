//! Programs under measurement, as child processes that end with the value that holds them.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// The password of `admin` on every node that is measured.
pub const ADMIN_PASSWORD: &str = "bench-password-not-secret";

/// A running node.
pub struct Node {
    child: Child,
    /// Its key, as `--peer` wants it.
    pub id: String,
    pub http: SocketAddr,
    pub sync: SocketAddr,
    pub mqtt: SocketAddr,
    /// Its data directory; several runs may share one.
    pub data_dir: PathBuf,
}

impl Node {
    /// Starts `muster run` on an empty or used directory and waits until it is ready.
    ///
    /// # Errors
    /// It does not start, or is not ready within a minute.
    pub fn start(data_dir: &Path, more: &[&str]) -> anyhow::Result<Node> {
        Node::start_as(&muster()?, data_dir, more, &[])
    }

    /// The same with another program, or other settings in its environment.
    ///
    /// # Errors
    /// See [`Node::start`].
    pub fn start_as(
        program: &Path,
        data_dir: &Path,
        more: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Node> {
        let mut child = Command::new(program)
            .args(["run", "--json", "--no-mdns", "--data-dir"])
            .arg(data_dir)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--sync-listen",
                "127.0.0.1:0",
                "--mqtt-listen",
                "127.0.0.1:0",
            ])
            .args(more)
            .env("MUSTER_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(std::fs::File::create(
                data_dir.with_extension("log"),
            )?))
            .spawn()
            .context("start muster run")?;
        let stdout = child
            .stdout
            .take()
            .context("standard output of muster run")?;
        let (send, receive) = std::sync::mpsc::channel();
        // A thread, so that a node that says nothing does not hang the bench; it goes on draining the pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let line =
                match receive.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(line) => line,
                    Err(_) => {
                        let _ = child.kill();
                        let _ = child.wait();
                        bail!(
                            "muster run was not ready: see {}",
                            data_dir.with_extension("log").display()
                        );
                    }
                };
            let Ok(event) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            if event["event"] != "ready" {
                continue;
            }
            let address = |name: &str| -> anyhow::Result<SocketAddr> {
                let text = event["addresses"][name]
                    .as_str()
                    .with_context(|| format!("address {name} in {line}"))?;
                Ok(text.parse()?)
            };
            return Ok(Node {
                id: event["node_id"].as_str().unwrap_or_default().to_owned(),
                http: address("http")?,
                sync: address("sync")?,
                mqtt: address("mqtt")?,
                data_dir: data_dir.to_owned(),
                child,
            });
        }
    }

    /// CPU time used so far, all threads.
    pub fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.memory().resident_bytes
    }

    /// Its memory now and at its highest.
    pub fn memory(&self) -> Memory {
        let read = |file: &str| {
            std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
        };
        let (status, rollup) = (read("status"), read("smaps_rollup"));
        Memory {
            resident_bytes: kib_field(&status, "VmRSS:"),
            peak_bytes: kib_field(&status, "VmHWM:"),
            anonymous_bytes: kib_field(&status, "RssAnon:"),
            proportional_bytes: kib_field(&rollup, "Pss:"),
        }
    }

    /// Asks it to end and waits for it.
    pub fn stop(mut self) {
        // std can only kill; the shell's tool asks.
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process takes of the machine's memory, from /proc.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Pages present, the program's code and mapped files among them.
    pub resident_bytes: u64,
    /// The highest that `resident_bytes` was.
    pub peak_bytes: u64,
    /// Of `resident_bytes` what belongs to no file.
    pub anonymous_bytes: u64,
    /// As `resident_bytes`, shared pages by share.
    pub proportional_bytes: u64,
}

/// A field such as `VmRSS:   1234 kB`, in bytes; 0 where it is missing.
fn kib_field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse::<u64>()
                .ok()
        })
        .map_or(0, |kib| kib * 1024)
}

/// Makes an invitation at a running node and joins with it into a new data directory.
///
/// # Errors
/// Either refuses.
pub fn join(inviter: &Path, data_dir: &Path, name: &str) -> anyhow::Result<()> {
    let code = invite(inviter, "field")?;
    command(data_dir, &["--json", "join", &code, "--name", name])?;
    Ok(())
}

/// Makes an invitation at a running node; its code.
///
/// # Errors
/// It refuses.
pub fn invite(inviter: &Path, role: &str) -> anyhow::Result<String> {
    let invited = command(inviter, &["--json", "invite", "--role", role])?;
    let code = serde_json::from_str::<Value>(&invited)?["code"]
        .as_str()
        .map(str::to_owned);
    code.context("no code in the invitation")
}

/// Runs `muster` with these words on a data directory and answers what it printed.
///
/// # Errors
/// It fails.
pub fn command(data_dir: &Path, words: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(muster()?)
        .arg("--data-dir")
        .arg(data_dir)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("start muster")?;
    if !output.status.success() {
        bail!(
            "muster {words:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// As [`command`], without waiting for it.
///
/// # Errors
/// It cannot be started.
pub fn background(data_dir: &Path, words: &[&str]) -> anyhow::Result<Child> {
    Command::new(muster()?)
        .arg("--data-dir")
        .arg(data_dir)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start muster")
}

/// The program: `MUSTER_BIN`, or the one beside this executable.
///
/// # Errors
/// There is none.
pub fn muster() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("MUSTER_BIN") {
        return Ok(path.into());
    }
    let path = std::env::current_exe()?.with_file_name("muster");
    if !path.exists() {
        bail!(
            "{} is missing: cargo build --release -p node",
            path.display()
        );
    }
    Ok(path)
}

/// A Mosquitto for comparison.
pub struct Mosquitto {
    child: Child,
    pub mqtt: SocketAddr,
    /// What it was started with, to be printed beside its figures.
    pub config: String,
}

impl Mosquitto {
    /// `None` where it is not installed.
    ///
    /// # Errors
    /// It is installed and does not start.
    pub fn start(directory: &Path) -> anyhow::Result<Option<Mosquitto>> {
        let Some(program) = [
            "/usr/sbin/mosquitto",
            "/usr/bin/mosquitto",
            "/usr/local/sbin/mosquitto",
        ]
        .into_iter()
        .find(|path| Path::new(path).exists()) else {
            return Ok(None);
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        // Without a log and without persistence: the fastest that it can be. `max_inflight` does not bind a publisher.
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\npersistence false\nlog_type error\n"
        );
        let path = directory.join("mosquitto.conf");
        std::fs::write(&path, &config)?;
        let child = Command::new(program)
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()
            .context("start mosquitto")?;
        let mosquitto = Mosquitto {
            child,
            mqtt: SocketAddr::from(([127, 0, 0, 1], port)),
            config,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(mosquitto.mqtt).is_err() {
            if Instant::now() > deadline {
                bail!("mosquitto does not listen on {}", mosquitto.mqtt);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(mosquitto))
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Duration {
        cpu_of(self.child.id())
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets this process, and those that it starts from now on, have so many files open. A program does it (util-linux),
/// because a call would need unsafe code here.
///
/// # Errors
/// The hard limit is lower, or the program is missing.
pub fn raise_open_files(count: u32) -> anyhow::Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u32>().ok());
    if soft.is_some_and(|soft| soft >= count) {
        return Ok(());
    }
    let pid = std::process::id().to_string();
    let status = Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={count}:")])
        .status()
        .context("start prlimit")?;
    if !status.success() {
        bail!("{count} open files are needed: raise the hard limit (ulimit -Hn)");
    }
    Ok(())
}

/// User and system time of a process, from /proc (clock ticks of 10 ms).
fn cpu_of(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold blanks; the 14th and 15th field counted from the pid are 12th and 13th after it.
    let ticks: u64 = stat
        .rsplit_once(')')
        .map(|(_, rest)| {
            rest.split_whitespace()
                .skip(11)
                .take(2)
                .filter_map(|field| field.parse::<u64>().ok())
                .sum()
        })
        .unwrap_or(0);
    Duration::from_millis(ticks * 10)
}
