//! The words of the command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

use super::export::Export;
use super::log::Log;
use super::simulate::SimulateArgs;

/// Muster keeps a disaster response coordinated when the network is gone.
#[derive(Debug, Parser)]
#[command(
    name = "muster",
    version,
    about,
    propagate_version = true,
    max_term_width = 100
)]
pub(super) struct Args {
    /// Where the node keeps its data [default: $XDG_DATA_HOME/muster]
    #[arg(
        long,
        global = true,
        env = "MUSTER_DATA_DIR",
        value_name = "DIR",
        hide_env = true
    )]
    pub(super) data_dir: Option<PathBuf>,

    /// File with the database key: 32 bytes, or 64 hex digits. Without it MUSTER_PASSPHRASE is used, else the file
    /// `key` in the data directory
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,

    /// Answer in JSON
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Found an operation with this node as its first member
    Init(Init),
    /// Run the node: page, API, sensors, sync
    Run(Run),
    /// Become a member of an operation with a code from `muster invite`
    Join(Join),
    /// Make a one-time code with which another node can join (the node must be running)
    Invite(Invite),
    /// Show what this node holds and how it stands
    Status,
    /// Show the other nodes and what they have not acknowledged yet
    Peers,
    /// Exchange with other nodes now
    Sync(Sync),
    /// Drop the views and build them anew from the log
    Rebuild,
    /// Add users, change passwords, list them
    User(User),
    /// Accounts of gateways and programs that speak MQTT (devices get theirs by the API)
    Mqtt(Mqtt),
    /// Look at payloads that could not be read; replay or discard them
    Dlq(Dlq),
    /// Look at times when another node had made something else of the same entries
    Faults(Faults),
    /// Look into the log: what was written, by whom, and whether it still verifies
    Log(Log),
    /// Write what this node holds as files for other programs
    Export(Export),
    /// Publish a simulated flood over MQTT
    Simulate(SimulateArgs),
    /// Show the whole story with three nodes on this machine
    Demo(Demo),
}

#[derive(Debug, ClapArgs)]
pub(super) struct Init {
    /// Name of this node, as people will see it
    #[arg(long, value_name = "NAME")]
    pub(super) name: String,
    /// What this node is
    #[arg(long, default_value = "hq", value_parser = ["hq", "field", "gateway"])]
    pub(super) role: String,
    /// Title of the operation
    #[arg(long, value_name = "TITLE", default_value = "Operation")]
    pub(super) operation: String,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Run {
    /// Address of the page and the API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<SocketAddr>,
    /// Address for sync with other nodes, QUIC over UDP [default: 0.0.0.0:4747]
    #[arg(long, value_name = "ADDR")]
    pub(super) sync_listen: Option<SocketAddr>,
    /// Address for sensors, MQTT over TCP [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR")]
    pub(super) mqtt_listen: Option<SocketAddr>,
    /// A node to dial; may be given several times
    #[arg(long = "peer", value_name = "NODE@ADDR")]
    pub(super) peers: Vec<String>,
    /// An address at which other nodes reach this one; may be given several times
    #[arg(long, value_name = "ADDR")]
    pub(super) advertise: Vec<String>,
    /// Do not look for nodes on the local network
    #[arg(long)]
    pub(super) no_mdns: bool,
    /// Exit instead of founding an operation when the data directory is empty
    #[arg(long)]
    pub(super) no_found: bool,
    /// End when standard input ends, so that the node goes with the program that started it, however that ends
    #[arg(long, hide = true)]
    pub(super) end_with_stdin: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Join {
    /// The code that `muster invite` printed
    #[arg(value_name = "CODE")]
    pub(super) code: String,
    /// Name of this node, as people will see it
    #[arg(long, value_name = "NAME")]
    pub(super) name: String,
    /// Give up after so many seconds
    #[arg(long, value_name = "S", default_value_t = 30)]
    pub(super) timeout: u64,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Invite {
    /// What the new node will be
    #[arg(long, default_value = "field", value_parser = ["hq", "field", "gateway"])]
    pub(super) role: String,
    /// Organisation that the new node belongs to
    #[arg(long, value_name = "NAME")]
    pub(super) org: Option<String>,
    /// How long the code is good for: 90s, 30m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub(super) ttl: std::time::Duration,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Sync {
    /// A node id, its beginning, or a name; everyone where nothing is said
    #[arg(value_name = "PEER")]
    pub(super) peer: Option<String>,
    /// Wait until there is nothing left to send
    #[arg(long)]
    pub(super) wait: bool,
    /// Give up after so many seconds
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub(super) timeout: u64,
}

#[derive(Debug, ClapArgs)]
pub(super) struct User {
    #[command(subcommand)]
    pub(super) command: UserCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a user; the password comes from MUSTER_PASSWORD or one line of standard input
    Add {
        /// Sign-in name
        name: String,
        /// What the user may do
        #[arg(long, default_value = "admin")]
        role: String,
    },
    /// Change a password; the new one comes from MUSTER_PASSWORD or one line of standard input
    Passwd {
        /// Sign-in name
        name: String,
    },
    /// List the users
    List,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Mqtt {
    #[command(subcommand)]
    pub(super) command: MqttCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum MqttCommand {
    /// Add, list and remove accounts
    Account(MqttAccount),
}

#[derive(Debug, ClapArgs)]
pub(super) struct MqttAccount {
    #[command(subcommand)]
    pub(super) command: MqttAccountCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum MqttAccountCommand {
    /// Add an account; its password is made and shown once
    Add {
        /// User name
        name: String,
        /// A topic filter that it may publish under, such as muster/v1/+/level; may be given several times
        #[arg(long, value_name = "FILTER")]
        publish: Vec<String>,
        /// A topic filter that it may subscribe to; may be given several times
        #[arg(long, value_name = "FILTER")]
        subscribe: Vec<String>,
    },
    /// Give a gateway's account a new password, shown once, and end its connections
    Passwd {
        /// User name
        name: String,
    },
    /// List all accounts, those of devices too
    List,
    /// Remove an account and end its connections
    Remove {
        /// User name
        name: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct Dlq {
    #[command(subcommand)]
    pub(super) command: DlqCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum DlqCommand {
    /// List dead letters, newest first
    List {
        /// Only those in that state: open, replayed, discarded
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        kind: DlqKind,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: u32,
    },
    /// Show one with its bytes
    Show {
        /// Its id
        id: String,
    },
    /// Decode it once more and store what comes out; or all open ones of a kind
    Replay(DlqWhich),
    /// Mark it as not worth keeping; or all open ones of a kind
    Discard(DlqWhich),
}

/// One dead letter, or all open ones of a kind.
#[derive(Debug, ClapArgs)]
pub(super) struct DlqWhich {
    /// Its id
    #[arg(
        conflicts_with_all = ["source", "topic", "code", "all"],
        required_unless_present_any = ["source", "topic", "code", "all"],
    )]
    pub(super) id: Option<String>,
    #[command(flatten)]
    pub(super) kind: DlqKind,
    /// All open ones, whatever they are
    #[arg(long)]
    pub(super) all: bool,
}

/// A kind of dead letter.
#[derive(Debug, Default, ClapArgs)]
pub(super) struct DlqKind {
    /// Those that came from there: mqtt, or "broker NAME"
    #[arg(long)]
    pub(super) source: Option<String>,
    /// Those with this in their topic
    #[arg(long)]
    pub(super) topic: Option<String>,
    /// Those that could not be read for this reason, such as unknown-topic
    #[arg(long)]
    pub(super) code: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Faults {
    #[command(subcommand)]
    pub(super) command: FaultsCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum FaultsCommand {
    /// List faults, newest first; with --json all that is known of each
    List {
        /// At most so many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
    },
    /// Say that you have looked at a fault and at all older ones
    Seen {
        /// Its id
        id: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct Demo {
    /// End after the story instead of staying up
    #[arg(long)]
    pub(super) exit: bool,
    /// Keep the three data directories here [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// `90s`, `30m`, `24h`, `7d`, or plain seconds.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let (digits, unit_s) = match text.chars().last() {
        Some('s') => (&text[..text.len() - 1], 1),
        Some('m') => (&text[..text.len() - 1], 60),
        Some('h') => (&text[..text.len() - 1], 3_600),
        Some('d') => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is no length of time: write 90s, 30m, 24h or 7d"))?;
    match count.checked_mul(unit_s) {
        Some(seconds) if (1..=31_536_000).contains(&seconds) => {
            Ok(std::time::Duration::from_secs(seconds))
        }
        _ => Err("between one second and 365 days".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn dead_letters_are_settled_one_by_one_or_all_of_a_kind() {
        let parses =
            |words: &[&str]| Args::try_parse_from(["muster", "dlq"].iter().chain(words)).is_ok();
        for action in ["replay", "discard"] {
            assert!(parses(&[action, "12"]));
            assert!(parses(&[
                action,
                "--topic",
                "lamp",
                "--code",
                "unknown-topic"
            ]));
            assert!(parses(&[action, "--all"]));
            assert!(!parses(&[action]), "not all of them by accident");
            assert!(!parses(&[action, "12", "--all"]));
        }
        assert!(parses(&["list", "--source", "mqtt"]));
        assert!(parses(&["list"]));
    }

    #[test]
    fn lengths_of_time_are_read_with_their_units() {
        assert_eq!(duration("24h").unwrap().as_secs(), 86_400);
        assert_eq!(duration("90").unwrap().as_secs(), 90);
        assert!(duration("0s").is_err());
        assert!(duration("soon").is_err());
        assert!(duration("99999999999999999999d").is_err());
    }
}
