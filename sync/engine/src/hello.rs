//! The greeting: who speaks, for which operation, which protocol versions, what it wants and has.
//!
//! The prelude never changes, so that any two versions can at least name each other's range and operation when they
//! refuse.

use serde::{Deserialize, Serialize};

use crate::ids::{GroupId, Lane, NodeId, OperationId, byte_vec};
use crate::io::Interest;
use crate::marks::MarkHash;

/// The oldest protocol version that this program speaks.
pub const PROTOCOL_MIN: u16 = 1;
/// The newest. Version 2 adds marks (frontiers agreed on) and packed runs.
pub const PROTOCOL_MAX: u16 = 2;
/// The first version that agrees on marks.
pub(crate) const PROTOCOL_MARKS: u16 = 2;

/// Names in a greeting are cut to this many bytes: they are for people.
const NAME_BYTES_MAX: usize = 256;

/// Groups in a greeting: as many as a grant may name. Each costs a look at every log that is not of `shared`.
pub(crate) const GROUPS_MAX: usize = 64;

/// The part of the greeting that every version reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HelloPrelude {
    pub(crate) protocol_min: u16,
    pub(crate) protocol_max: u16,
    pub(crate) node: NodeId,
    pub(crate) operation: OperationId,
}

impl HelloPrelude {
    /// The newest version that both speak, when we speak [`PROTOCOL_MIN`] to `ours_max`.
    pub(crate) fn common_protocol(&self, ours_max: u16) -> Option<u16> {
        let version = self.protocol_max.min(ours_max);
        (version >= self.protocol_min.max(PROTOCOL_MIN)).then_some(version)
    }

    /// Whether this program can read what follows the prelude: later versions keep the greeting of those they offer.
    pub(crate) fn is_readable(&self) -> bool {
        self.protocol_min <= PROTOCOL_MAX && self.protocol_max >= PROTOCOL_MIN
    }
}

/// The rest of the greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) software: String,
    pub(crate) name: String,
    pub(crate) groups: Vec<GroupId>,
    /// Lanes as numbers, so that one this version does not know is no error.
    pub(crate) lanes: Vec<u8>,
    /// How the sender counts members, so that frontiers can name them by index.
    pub(crate) members: [u8; 8],
    pub(crate) frontier: FrontierSaid,
    /// Whether the frontier covers all lanes; to who is no member it covers lane 0 only.
    pub(crate) complete: bool,
}

/// What one end says of its frontier; the bytes are those of `frontier_wire`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FrontierSaid {
    /// It follows once the other's greeting has shown whether members can be named by index.
    Later,
    /// All of it.
    Whole {
        /// Members are named by index.
        indexed: bool,
        #[serde(with = "byte_vec")]
        logs: Vec<u8>,
    },
    /// A frontier that both have held, and the logs that moved since.
    Since {
        mark: MarkHash,
        #[serde(with = "byte_vec")]
        moved: Vec<u8>,
    },
}

impl Hello {
    pub(crate) fn new(
        software: &str,
        name: &str,
        interest: &Interest,
        members: [u8; 8],
        frontier: FrontierSaid,
        complete: bool,
    ) -> Self {
        let interest = interest.clone().normal();
        Self {
            software: cut(software),
            name: cut(name),
            groups: interest.groups,
            lanes: interest.lanes.into_iter().map(u8::from).collect(),
            members,
            frontier,
            complete,
        }
    }

    pub(crate) fn interest(&self) -> Interest {
        Interest {
            groups: self.groups.clone(),
            lanes: self
                .lanes
                .iter()
                .filter_map(|lane| Lane::try_from(*lane).ok())
                .collect(),
        }
        .normal()
    }
}

/// Cuts a name for people to [`NAME_BYTES_MAX`], at a character.
pub(crate) fn cut(text: &str) -> String {
    let mut end = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_meet_at_the_newest_that_both_speak() {
        let prelude = |protocol_min, protocol_max| HelloPrelude {
            protocol_min,
            protocol_max,
            node: NodeId([0; 32]),
            operation: OperationId([0; 32]),
        };
        assert_eq!(
            prelude(1, 9).common_protocol(PROTOCOL_MAX),
            Some(PROTOCOL_MAX)
        );
        assert_eq!(prelude(1, 9).common_protocol(1), Some(1));
        assert_eq!(
            prelude(PROTOCOL_MAX + 1, 9).common_protocol(PROTOCOL_MAX),
            None
        );
        assert_eq!(prelude(0, 0).common_protocol(PROTOCOL_MAX), None);
    }

    #[test]
    fn names_are_cut_at_a_character() {
        assert_eq!(cut(&"ü".repeat(400)).len(), 256);
        assert_eq!(cut("short"), "short");
    }
}
