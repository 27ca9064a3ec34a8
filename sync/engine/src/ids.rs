//! The names of things: nodes, operations, logs, places in a log, hashes and signatures.
//!
//! Each is a type of its own, so that none can stand in for another. On the wire (postcard) they are their raw bytes;
//! in JSON and other text formats they are the string that `Display` prints.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A text that is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is no valid encoding of this kind of name.
    #[error("not a {0}")]
    Malformed(&'static str),
}

/// A newtype over raw bytes, shown with the given pair of functions, serialised as bytes or as text.
macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal, $show:ident, $parse:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&$show(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = self.to_string();
                write!(f, "{}({})", stringify!($name), &text[..text.len().min(10)])
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                $parse(text)
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or(IdError::Malformed($what))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
                } else {
                    <[u8; $len]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

fn show_base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn parse_base32(text: &str) -> Option<Vec<u8>> {
    BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .ok()
}

fn show_hex(bytes: &[u8]) -> String {
    HEXLOWER_PERMISSIVE.encode(bytes)
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()
}

/// `shared` is what people call the group of the whole operation; the others are bare hex.
fn show_group(bytes: &[u8]) -> String {
    if bytes.iter().all(|byte| *byte == 0) {
        "shared".to_owned()
    } else {
        show_hex(bytes)
    }
}

fn parse_group(text: &str) -> Option<Vec<u8>> {
    if text == "shared" {
        Some(vec![0; 16])
    } else {
        parse_hex(text)
    }
}

byte_id!(
    /// A node: its Ed25519 public key. Shown as 52 characters of lowercase base32.
    NodeId, 32, "node id", show_base32, parse_base32
);
byte_id!(
    /// An operation: BLAKE3 of its encoded genesis record. Shown as 52 characters of lowercase base32.
    OperationId, 32, "operation id", show_base32, parse_base32
);
byte_id!(
    /// Who may read a set of entries: the whole operation ([`GroupId::SHARED`]) or one organisation.
    GroupId, 16, "group id", show_group, parse_group
);
byte_id!(
    /// A document or a fact: a UUID, which the engine never looks into.
    ObjectId, 16, "object id", show_hex, parse_hex
);
byte_id!(
    /// BLAKE3 of an entry's stored bytes.
    EntryHash, 32, "entry hash", show_hex, parse_hex
);
byte_id!(
    /// The hash that names a log up to and including one entry.
    ChainHash, 32, "chain hash", show_hex, parse_hex
);

impl GroupId {
    /// The group that every member of the operation reads.
    pub const SHARED: Self = Self([0; 16]);
}

impl ChainHash {
    /// The chain hash before entry 1.
    pub const ZERO: Self = Self([0; 32]);

    /// The eight bytes that stand for the chain in a frontier on the wire: enough to see two branches of one log, as
    /// forging a match would take an author 2^64 tries for a fork that the next run shows anyway.
    pub fn short(&self) -> [u8; 8] {
        let mut short = [0; 8];
        short.copy_from_slice(&self.0[..8]);
        short
    }
}

/// One life of a node's logs: a random number, shown as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

impl FromStr for Incarnation {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(IdError::Malformed("incarnation"));
        }
        u64::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| IdError::Malformed("incarnation"))
    }
}

// Eight fixed bytes on the wire: the number is random, so that a varint would take ten.
impl Serialize for Incarnation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.to_le_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?
                .parse()
                .map_err(D::Error::custom)
        } else {
            <[u8; 8]>::deserialize(deserializer).map(|bytes| Self(u64::from_le_bytes(bytes)))
        }
    }
}

/// An urgency class. Lower goes first; each kind of document or fact belongs to exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
#[repr(u8)]
pub enum Lane {
    /// Genesis, grants, revocations: small, evaluated first.
    Trust = 0,
    /// Calls for help and their acknowledgement, public alerts, evacuation orders.
    Flash = 1,
    /// Incidents, tasks, areas.
    Life = 2,
    /// Everything else that people coordinate with.
    Coordination = 3,
    /// Rollups, health, positions, receipts: the latest wins.
    Summary = 4,
    /// Raw reading blocks: only to who asked.
    Raw = 5,
    /// Photos and files: only to who asked.
    Blobs = 6,
}

impl Lane {
    /// All lanes, most urgent first.
    pub const ALL: [Self; 7] = [
        Self::Trust,
        Self::Flash,
        Self::Life,
        Self::Coordination,
        Self::Summary,
        Self::Raw,
        Self::Blobs,
    ];

    /// The place of this lane in [`Lane::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether a peer gets this lane only when its interest names it.
    pub const fn on_request(self) -> bool {
        matches!(self, Self::Raw | Self::Blobs)
    }
}

impl From<Lane> for u8 {
    fn from(lane: Lane) -> Self {
        lane as Self
    }
}

impl TryFrom<u8> for Lane {
    type Error = IdError;

    fn try_from(number: u8) -> Result<Self, IdError> {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .ok_or(IdError::Malformed("lane"))
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Trust => "trust",
            Self::Flash => "flash",
            Self::Life => "life",
            Self::Coordination => "coordination",
            Self::Summary => "summary",
            Self::Raw => "raw",
            Self::Blobs => "blobs",
        })
    }
}

/// One log: the entries of one author, in one of its incarnations, for one group, of one lane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// Who writes this log, and signs it.
    pub author: NodeId,
    /// Which life of the author's logs.
    pub incarnation: Incarnation,
    /// Who may read the entries.
    pub group: GroupId,
    /// How urgent they are.
    pub lane: Lane,
}

impl LogId {
    /// The fixed form that hashes and signatures cover: author, incarnation (little endian), group, lane.
    pub fn to_bytes(&self) -> [u8; 57] {
        let mut bytes = [0; 57];
        bytes[..32].copy_from_slice(&self.author.0);
        bytes[32..40].copy_from_slice(&self.incarnation.0.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.group.0);
        bytes[56] = self.lane.into();
        bytes
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.author, self.incarnation, self.group, self.lane
        )
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let author = self.author.to_string();
        write!(
            f,
            "LogId({}/{}/{}/{})",
            &author[..8],
            self.incarnation,
            self.group,
            self.lane
        )
    }
}

/// A place in a log: 1 is the first entry, 0 is "none yet".
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Seq(pub u64);

impl Seq {
    /// No entry.
    pub const NONE: Self = Self(0);

    /// The place after this one. Saturates: a log never gets there, and a hostile number must not panic.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place before this one; none before the first.
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an entry is. Below [`EntryKind::FIRST_OPAQUE`] the engine reads the payload; above it never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryKind(pub u16);

impl EntryKind {
    /// The operation's genesis record.
    pub const GENESIS: Self = Self(1);
    /// A signed grant.
    pub const GRANT: Self = Self(2);
    /// The first number that is not the engine's own.
    pub const FIRST_OPAQUE: Self = Self(0x0100);
}

/// An author's Ed25519 signature over (log, sequence, chain hash).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeadSignature(pub [u8; 64]);

impl fmt::Debug for HeadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeadSignature({})", show_hex(&self.0[..4]))
    }
}

// serde knows arrays up to 32: two halves are the same 64 bytes on the wire.
impl Serialize for HeadSignature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&show_hex(&self.0));
        }
        let mut halves = [[0_u8; 32]; 2];
        halves[0].copy_from_slice(&self.0[..32]);
        halves[1].copy_from_slice(&self.0[32..]);
        halves.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HeadSignature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return parse_hex(&String::deserialize(deserializer)?)
                .and_then(|bytes| bytes.try_into().ok())
                .map(Self)
                .ok_or_else(|| D::Error::custom("not a head signature"));
        }
        let halves = <[[u8; 32]; 2]>::deserialize(deserializer)?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&halves[0]);
        bytes[32..].copy_from_slice(&halves[1]);
        Ok(Self(bytes))
    }
}

/// serde of a byte vector as one slice instead of byte by byte.
pub(crate) mod byte_vec {
    use serde::{Deserializer, Serializer, de::Visitor};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut items: A,
            ) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = items.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_what_they_print() {
        let node = NodeId([7; 32]);
        assert_eq!(node.to_string().len(), 52);
        assert_eq!(node.to_string().parse(), Ok(node));
        assert_eq!(GroupId::SHARED.to_string(), "shared");
        assert_eq!("shared".parse(), Ok(GroupId::SHARED));
        let group = GroupId([0xab; 16]);
        assert_eq!(group.to_string().parse(), Ok(group));
        let incarnation = Incarnation(0xf00);
        assert_eq!(incarnation.to_string(), "0000000000000f00");
        assert_eq!(incarnation.to_string().parse(), Ok(incarnation));
        assert!("+000000000000f00".parse::<Incarnation>().is_err());
        assert!("aa".parse::<NodeId>().is_err());
    }

    #[test]
    fn a_log_id_is_57_bytes_on_the_wire() {
        let log = LogId {
            author: NodeId([1; 32]),
            incarnation: Incarnation(2),
            group: GroupId::SHARED,
            lane: Lane::Life,
        };
        let bytes = postcard::to_allocvec(&log).unwrap();
        assert_eq!(bytes, log.to_bytes());
        assert_eq!(postcard::from_bytes::<LogId>(&bytes).unwrap(), log);
    }

    #[test]
    fn an_unknown_lane_does_not_decode() {
        assert!(postcard::from_bytes::<Lane>(&[7]).is_err());
        assert_eq!(postcard::from_bytes::<Lane>(&[6]).unwrap(), Lane::Blobs);
    }
}
