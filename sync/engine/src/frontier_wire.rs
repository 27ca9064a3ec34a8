//! A frontier as it travels: members by index, per incarnation its heights and 8 bytes over its chain hashes.
//!
//! ```text
//! frontier   = count group*
//! group      = group-id[16] count author*
//! author     = 0 node-key[32] | (index + 1)      count incarnation*
//! incarnation= number[8, little endian] flags chains[8] height* exceptions?
//! flags      = bit n: lane n follows (bits 0 to 6, in order); bit 7: exceptions follow
//! exceptions = count (lane floor unapplied)*
//! ```
//!
//! Counts, indices, heights are LEB128 as postcard writes them. `index` counts the members of the operation in the order
//! of their keys; a sender uses it only after the receiver has shown that it knows the same members. `chains` lets two
//! nodes that are equally far notice that they hold different branches; which log it is shows in the exchange of
//! Progress that follows.
//!
//! Invariant: reading takes time and memory in proportion to the bytes given, whatever they claim.

use std::collections::BTreeMap;

use crate::frontier::{Frontier, LogFrontier};
use crate::ids::{ChainHash, GroupId, Incarnation, Lane, LogId, NodeId, Seq};

/// The most logs one frontier may name: some 6 MB once read. A thousand authors with five logs each and ten lives behind
/// them stay below it.
pub(crate) const CLAIMED_LOGS_MAX: usize = 65_536;

/// Bit of the flags that says that exceptions follow.
const EXCEPTIONS: u8 = 0x80;

/// Bytes that are no frontier, or one that names members we do not count alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed frontier: {0}")]
pub(crate) struct FrontierError(&'static str);

/// One log of a received frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) stored: Seq,
    pub(crate) applied: Seq,
    /// The first bytes of the chain hash at `stored`, where it was named for this log alone.
    pub(crate) chain: Option<[u8; 8]>,
}

/// What a peer says it has, and 8 bytes over the chain hashes of each of its incarnations.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) logs: BTreeMap<LogId, Claim>,
    pub(crate) chains: Vec<ChainSum>,
}

/// 8 bytes over the chain hashes of logs of one incarnation and group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChainSum {
    pub(crate) logs: Vec<LogId>,
    pub(crate) sum: [u8; 8],
}

impl ChainSum {
    /// Whether it can be compared with ours and differs: both hold these logs up to the same heights.
    pub(crate) fn contradicts(&self, claims: &BTreeMap<LogId, Claim>, ours: &Frontier) -> bool {
        let heads = self.logs.iter().map(|log| ours.head(log));
        let alike = self.logs.iter().zip(heads.clone()).all(|(log, head)| {
            claims
                .get(log)
                .is_some_and(|claim| claim.stored == head.seq)
        });
        alike && sum_of(heads.map(|head| head.chain)) != self.sum
    }
}

fn sum_of(chains: impl Iterator<Item = ChainHash>) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 frontier chains 1");
    for chain in chains {
        hasher.update(&chain.0);
    }
    let mut sum = [0; 8];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    sum
}

/// BLAKE3 over the members in order, 8 bytes: two nodes with the same one count members alike.
pub(crate) fn members_hash<'a>(members: impl Iterator<Item = &'a NodeId>) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_derive_key("muster 2026 members 1");
    for member in members {
        hasher.update(&member.0);
    }
    let mut hash = [0; 8];
    hash.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    hash
}

/// Writes the logs of `frontier` that `covers` picks. `index_of` gives a member's place, `None` for those who have to be
/// written out.
pub(crate) fn encode(
    frontier: &Frontier,
    applied: &BTreeMap<LogId, Seq>,
    covers: impl Fn(&LogId, &LogFrontier) -> bool,
    index_of: impl Fn(&NodeId) -> Option<usize>,
) -> Vec<u8> {
    type Lanes<'a> = Vec<(&'a LogId, &'a LogFrontier)>;
    let mut groups: BTreeMap<GroupId, BTreeMap<NodeId, BTreeMap<Incarnation, Lanes<'_>>>> =
        BTreeMap::new();
    for (log, held) in frontier.iter().filter(|(log, held)| covers(log, held)) {
        let authors = groups.entry(log.group).or_default();
        let incarnations = authors.entry(log.author).or_default();
        let lanes = incarnations.entry(log.incarnation).or_default();
        lanes.push((log, held));
    }
    let mut out = Output(Vec::new());
    out.number(groups.len() as u64);
    for (group, authors) in groups {
        out.bytes(&group.0);
        out.number(authors.len() as u64);
        for (author, incarnations) in authors {
            match index_of(&author) {
                Some(index) => out.number(index as u64 + 1),
                None => {
                    out.number(0);
                    out.bytes(&author.0);
                }
            }
            out.number(incarnations.len() as u64);
            for (incarnation, lanes) in incarnations {
                out.incarnation(incarnation, &lanes, applied);
            }
        }
    }
    out.0
}

struct Output(Vec<u8>);

impl Output {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn incarnation(
        &mut self,
        incarnation: Incarnation,
        lanes: &[(&LogId, &LogFrontier)],
        applied: &BTreeMap<LogId, Seq>,
    ) {
        let exceptions: Vec<(Lane, Seq, u64)> = lanes
            .iter()
            .map(|(log, held)| {
                let applied = applied.get(log).copied().unwrap_or_default();
                (
                    log.lane,
                    held.floor,
                    held.height.0.saturating_sub(applied.0),
                )
            })
            .filter(|(_, floor, unapplied)| *floor > Seq(1) || *unapplied > 0)
            .collect();
        let mut flags = lanes
            .iter()
            .fold(0, |flags, (log, _)| flags | 1 << log.lane.index());
        if !exceptions.is_empty() {
            flags |= EXCEPTIONS;
        }
        self.bytes(&incarnation.0.to_le_bytes());
        self.bytes(&[flags]);
        self.bytes(&sum_of(lanes.iter().map(|(_, held)| held.chain)));
        for (_, held) in lanes {
            self.number(held.height.0);
        }
        if !exceptions.is_empty() {
            self.number(exceptions.len() as u64);
            for (lane, floor, unapplied) in exceptions {
                self.bytes(&[u8::from(lane)]);
                self.number(floor.0);
                self.number(unapplied);
            }
        }
    }
}

/// Reads a frontier. `member` gives the node at an index.
///
/// # Errors
/// [`FrontierError`].
pub(crate) fn decode(
    bytes: &[u8],
    member: impl Fn(usize) -> Option<NodeId>,
) -> Result<Claims, FrontierError> {
    let mut input = Input(bytes);
    let mut claims = Claims::default();
    for _ in 0..input.number()? {
        let group = GroupId(input.array()?);
        for _ in 0..input.number()? {
            let author = match input.number()? {
                0 => NodeId(input.array()?),
                index => usize::try_from(index - 1)
                    .ok()
                    .and_then(&member)
                    .ok_or(FrontierError("no member has that index"))?,
            };
            for _ in 0..input.number()? {
                input.incarnation(group, author, &mut claims)?;
            }
        }
    }
    // What follows is a later version's.
    Ok(claims)
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrontierError> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(FrontierError("cut short"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u64, FrontierError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array::<1>()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FrontierError("number too long"))
    }

    fn incarnation(
        &mut self,
        group: GroupId,
        author: NodeId,
        claims: &mut Claims,
    ) -> Result<(), FrontierError> {
        let incarnation = Incarnation(u64::from_le_bytes(self.array()?));
        let [flags] = self.array::<1>()?;
        let sum = self.array()?;
        let mut logs = Vec::new();
        for lane in Lane::ALL {
            if flags & 1 << lane.index() == 0 {
                continue;
            }
            let log = LogId {
                author,
                incarnation,
                group,
                lane,
            };
            let stored = Seq(self.number()?);
            let claim = Claim {
                stored,
                applied: stored,
                chain: None,
            };
            if claims.logs.insert(log, claim).is_some() {
                return Err(FrontierError("a log is named twice"));
            }
            if claims.logs.len() > CLAIMED_LOGS_MAX {
                return Err(FrontierError("too many logs"));
            }
            logs.push(log);
        }
        if flags & EXCEPTIONS != 0 {
            for _ in 0..self.number()? {
                let [lane] = self.array::<1>()?;
                // Nobody asks below a floor: what was pruned comes with a checkpoint.
                let _floor = self.number()?;
                let unapplied = self.number()?;
                let claim = logs
                    .iter()
                    .find(|log| u8::from(log.lane) == lane)
                    .and_then(|log| claims.logs.get_mut(log))
                    .ok_or(FrontierError("an exception of no lane"))?;
                claim.applied = Seq(claim.stored.0.saturating_sub(unapplied));
            }
        }
        claims.chains.push(ChainSum { logs, sum });
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn frontier_of(authors: u8, incarnations: u64, lanes: &[Lane], height: u64) -> Frontier {
        let mut frontier = Frontier::new();
        for author in 0..authors {
            for incarnation in 0..incarnations {
                for lane in lanes {
                    let log = LogId {
                        author: NodeId([author; 32]),
                        incarnation: Incarnation(u64::MAX - incarnation),
                        group: GroupId::SHARED,
                        lane: *lane,
                    };
                    frontier.advance(log, Seq(height), ChainHash([author; 32]));
                }
            }
        }
        frontier
    }

    fn all_applied(frontier: &Frontier) -> BTreeMap<LogId, Seq> {
        frontier
            .iter()
            .map(|(log, held)| (*log, held.height))
            .collect()
    }

    fn index(node: &NodeId) -> Option<usize> {
        Some(usize::from(node.0[0]))
    }

    #[test]
    fn a_whole_frontier_of_100_authors_with_3_incarnations_fits_8_kib() {
        let lanes = [Lane::Flash, Lane::Life, Lane::Coordination, Lane::Summary];
        let frontier = frontier_of(100, 3, &lanes, 10_000);
        let bytes = encode(&frontier, &all_applied(&frontier), |_, _| true, index);
        assert!(bytes.len() <= 8 * 1024, "{} bytes", bytes.len());
        let claims = decode(&bytes, |at| Some(NodeId([at as u8; 32]))).unwrap();
        assert_eq!(claims.logs.len(), 1_200);
        assert!(
            claims
                .logs
                .values()
                .all(|claim| claim.stored == Seq(10_000))
        );
        assert!(
            !claims
                .chains
                .iter()
                .any(|sum| sum.contradicts(&claims.logs, &frontier))
        );
    }

    #[test]
    fn what_is_not_applied_and_who_is_no_member_is_written_out() {
        let frontier = frontier_of(2, 1, &[Lane::Life, Lane::Summary], 7);
        let mut applied = all_applied(&frontier);
        let log = *applied.keys().next().unwrap();
        applied.insert(log, Seq(4));
        let bytes = encode(&frontier, &applied, |_, _| true, |_| None);
        let claims = decode(&bytes, |_| None).unwrap();
        assert_eq!(claims.logs[&log].applied, Seq(4));
        assert_eq!(
            claims
                .logs
                .values()
                .filter(|claim| claim.applied == Seq(7))
                .count(),
            3
        );
    }

    #[test]
    fn another_branch_of_equal_height_is_noticed() {
        let ours = frontier_of(1, 1, &[Lane::Life], 7);
        let mut theirs = ours.clone();
        let log = *ours.iter().next().unwrap().0;
        theirs.insert(
            log,
            LogFrontier {
                floor: Seq(1),
                height: Seq(7),
                chain: ChainHash([9; 32]),
            },
        );
        let bytes = encode(&theirs, &all_applied(&theirs), |_, _| true, |_| None);
        let claims = decode(&bytes, |_| None).unwrap();
        assert!(claims.chains[0].contradicts(&claims.logs, &ours));
    }

    #[test]
    fn hostile_bytes_are_refused_and_cost_what_they_weigh() {
        let frontier = frontier_of(3, 2, &[Lane::Trust, Lane::Life], 300);
        let bytes = encode(&frontier, &all_applied(&frontier), |_, _| true, |_| None);
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end], |_| None).is_err(), "{end}");
        }
        let endless = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(decode(&endless, |_| None).is_err());
        assert!(decode(&[0xff; 11], |_| None).is_err());
        let mut twice = vec![2];
        for _ in 0..2 {
            twice.extend([0; 16]);
            twice.extend([1, 0]);
            twice.extend([7; 32]);
            twice.extend([1, 1, 0, 0, 0, 0, 0, 0, 0, 4]);
            twice.extend([0; 8]);
            twice.push(5);
        }
        assert_eq!(
            decode(&twice, |_| None),
            Err(FrontierError("a log is named twice"))
        );
    }
}
