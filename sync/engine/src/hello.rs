//! The greeting: who speaks, for which operation, which protocol versions, what it wants and has.
//!
//! The prelude never changes, so that any two versions can at least name each other's range and operation when they
//! refuse.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::frontier::Frontier;
use crate::ids::{GroupId, Incarnation, Lane, LogId, NodeId, OperationId, Seq};
use crate::io::Interest;

/// The oldest protocol version that this program speaks.
pub const PROTOCOL_MIN: u16 = 1;
/// The newest.
pub const PROTOCOL_MAX: u16 = 1;

/// Names in a greeting are cut to this many bytes: they are for people.
const NAME_BYTES_MAX: usize = 256;

/// The part of the greeting that every version reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HelloPrelude {
    pub(crate) protocol_min: u16,
    pub(crate) protocol_max: u16,
    pub(crate) node: NodeId,
    pub(crate) operation: OperationId,
}

impl HelloPrelude {
    /// The newest version that both speak.
    pub(crate) fn common_protocol(&self) -> Option<u16> {
        let version = self.protocol_max.min(PROTOCOL_MAX);
        (version >= self.protocol_min.max(PROTOCOL_MIN)).then_some(version)
    }
}

/// The rest of the greeting, in protocol version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) software: String,
    pub(crate) name: String,
    pub(crate) groups: Vec<GroupId>,
    /// Lanes as numbers, so that one this version does not know is no error.
    pub(crate) lanes: Vec<u8>,
    pub(crate) frontier: WireFrontier,
    /// Whether the frontier covers all lanes; to who is no member it covers lane 0 only.
    pub(crate) complete: bool,
}

impl Hello {
    pub(crate) fn new(
        software: &str,
        name: &str,
        interest: &Interest,
        frontier: WireFrontier,
        complete: bool,
    ) -> Self {
        Self {
            software: cut(software),
            name: cut(name),
            groups: interest.groups.clone(),
            lanes: interest.lanes.iter().map(|lane| u8::from(*lane)).collect(),
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

/// A frontier as it travels. Later protocol versions add forms that name only what changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WireFrontier {
    /// Every log, by author, incarnation and group, so that none of these is repeated per lane.
    Full(Vec<WireAuthor>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireAuthor {
    node: NodeId,
    incarnations: Vec<WireIncarnation>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WireIncarnation {
    incarnation: Incarnation,
    groups: Vec<WireGroup>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WireGroup {
    group: GroupId,
    lanes: Vec<WireLane>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WireLane {
    lane: Lane,
    floor: Seq,
    height: Seq,
    chain: [u8; 8],
    /// How many entries below the height wait to be applied; mostly none.
    unapplied: u64,
}

/// One log of a received frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) log: LogId,
    pub(crate) stored: Seq,
    pub(crate) chain: [u8; 8],
    pub(crate) applied: Seq,
}

impl WireFrontier {
    /// The logs of `frontier` that `covers` picks.
    pub(crate) fn full(
        frontier: &Frontier,
        applied: &BTreeMap<LogId, Seq>,
        covers: impl Fn(&LogId) -> bool,
    ) -> Self {
        let mut authors: Vec<WireAuthor> = Vec::new();
        for (log, held) in frontier.iter().filter(|(log, _)| covers(log)) {
            let author = last_or_push(
                &mut authors,
                |author| author.node == log.author,
                || WireAuthor {
                    node: log.author,
                    incarnations: Vec::new(),
                },
            );
            let incarnation = last_or_push(
                &mut author.incarnations,
                |known| known.incarnation == log.incarnation,
                || WireIncarnation {
                    incarnation: log.incarnation,
                    groups: Vec::new(),
                },
            );
            let group = last_or_push(
                &mut incarnation.groups,
                |known| known.group == log.group,
                || WireGroup {
                    group: log.group,
                    lanes: Vec::new(),
                },
            );
            let applied = applied.get(log).copied().unwrap_or_default();
            group.lanes.push(WireLane {
                lane: log.lane,
                floor: held.floor,
                height: held.height,
                chain: held.chain.short(),
                unapplied: held.height.0.saturating_sub(applied.0),
            });
        }
        Self::Full(authors)
    }

    /// The logs, as the peer claims to hold them.
    pub(crate) fn claims(&self) -> impl Iterator<Item = Claim> {
        let Self::Full(authors) = self;
        authors.iter().flat_map(|author| {
            author.incarnations.iter().flat_map(move |incarnation| {
                incarnation.groups.iter().flat_map(move |group| {
                    group.lanes.iter().map(move |lane| Claim {
                        log: LogId {
                            author: author.node,
                            incarnation: incarnation.incarnation,
                            group: group.group,
                            lane: lane.lane,
                        },
                        stored: lane.height,
                        chain: lane.chain,
                        applied: Seq(lane.height.0.saturating_sub(lane.unapplied)),
                    })
                })
            })
        })
    }
}

/// The last item when it is the wanted one, else a new one: logs come in order.
fn last_or_push<T>(
    items: &mut Vec<T>,
    is_it: impl Fn(&T) -> bool,
    make: impl FnOnce() -> T,
) -> &mut T {
    if !items.last().is_some_and(is_it) {
        items.push(make());
    }
    let last = items.len() - 1;
    &mut items[last]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ChainHash;

    #[test]
    fn a_frontier_of_100_authors_travels_in_a_few_kilobytes_and_reads_back() {
        let mut frontier = Frontier::new();
        let mut applied = BTreeMap::new();
        for author in 0..100 {
            for lane in [Lane::Trust, Lane::Life, Lane::Coordination] {
                let log = LogId {
                    author: NodeId([author; 32]),
                    incarnation: Incarnation(u64::MAX - 5),
                    group: GroupId::SHARED,
                    lane,
                };
                frontier.advance(log, Seq(1_000), ChainHash([author; 32]));
                applied.insert(log, Seq(990));
            }
        }
        let wire = WireFrontier::full(&frontier, &applied, |_| true);
        let size = postcard::to_allocvec(&wire).map_or(usize::MAX, |bytes| bytes.len());
        assert!(size < 10_500, "{size} bytes");
        let claims: Vec<_> = wire.claims().collect();
        assert_eq!(claims.len(), 300);
        assert!(
            claims
                .iter()
                .all(|claim| claim.stored == Seq(1_000) && claim.applied == Seq(990))
        );
    }

    #[test]
    fn versions_meet_at_the_newest_that_both_speak() {
        let prelude = |protocol_min, protocol_max| HelloPrelude {
            protocol_min,
            protocol_max,
            node: NodeId([0; 32]),
            operation: OperationId([0; 32]),
        };
        assert_eq!(prelude(1, 9).common_protocol(), Some(PROTOCOL_MAX));
        assert_eq!(prelude(PROTOCOL_MAX + 1, 9).common_protocol(), None);
        assert_eq!(prelude(0, 0).common_protocol(), None);
    }

    #[test]
    fn names_are_cut_at_a_character() {
        assert_eq!(cut(&"ü".repeat(400)).len(), 256);
        assert_eq!(cut("short"), "short");
    }
}
