//! The sync engine over QUIC: endpoint, streams, discovery, enrolment.
//!
//! `sync-engine` decides everything that is about logs; this crate moves its frames and knows nothing of their content.
//! The tasks, each of which owns what it works on:
//!
//! ```text
//!   app ──local_commit──▶ ┌────────┐ ──Store──▶ lane worker ×7 ──▶ Host::store
//!                         │ driver │ ──Load───▶ one task each ──▶ Host::load
//!   dialler per target ─┐ │ engine │ ──Send───▶ writer per (connection, stream) ──▶ quinn
//!   acceptor ───────────┼▶│        │ ◀──frames─ reader per (connection, stream) ◀── quinn
//!   connection each ────┘ └────────┘
//! ```
//!
//! What always holds:
//!
//! - the driver never waits for anything but its inputs, so that whoever feeds it may wait for it;
//! - per pair of nodes the engine sees one connection at a time;
//! - every queue is bounded, by count or by bytes, and what exceeds a bound costs a peer its connection, never memory;
//! - nothing depends on a peer's address staying the same while connected.
//!
//! **Memory.** A node with 1,000 peers holds about 100 MiB for them at rest, and at most 1.3 GiB when all of them stall in
//! every way at one time: receive windows 363 MiB ([`receive_bytes_max`]), what waits for the store 128 MiB
//! ([`SyncLimits::lane_bytes_max`], twice), what was sent and is not read 474 MiB (of it outside of QUIC
//! [`SyncLimits::held_bytes_max`]), the connections themselves 98 MiB, newcomers 204 MiB. The arithmetic, the picture with
//! all windows and times, and the tests that measure it: docs/quic-shell.md.

mod accept;
mod closed;
mod config;
mod connection;
mod dial;
mod discovery;
mod driver;
mod endpoint;
mod error;
mod events;
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod identity;
mod invite;
mod join;
mod ledger;
mod links;
mod local;
mod node;
mod offenders;
mod outgoing;
mod rooms;
mod shared;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod windows;
mod wire;

pub use config::{ADVERTISE_MAX, PeerAddr, SyncConfig, SyncLimits};
pub use error::SyncError;
pub use host::{Host, Loaded};
pub use invite::{INVITE_ADDRESSES_MAX, Invite, InviteError};
pub use join::{JoinError, JoinRefusal, JoinReply, JoinRequest, MemberAddresses, join};
pub use node::SyncNode;
pub use status::{PeerStatus, SyncReport, SyncReportPeer, SyncUsage};
pub use windows::receive_bytes_max;
