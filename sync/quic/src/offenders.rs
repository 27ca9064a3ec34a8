//! Nodes that broke the protocol: refused for a time that grows with every violation, and let in again after it.
//!
//! What counts is what no honest program of any version sends: bytes that are no frame, runs that do not verify, entries
//! that their author may not write, more than there is room for. The connection ends each time; this table keeps the
//! node from coming back at once and costing the same work again. Nothing here is for ever: a node that was repaired
//! gets in when its time is over, and after an hour without a violation it is as good as any.
//!
//! Invariant: at most [`OFFENDERS_MAX`] nodes are remembered, and strangers never displace members.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sync_engine::{NodeId, ReasonCode};

use crate::config::SyncLimits;

/// Nodes remembered. A stranger can make any number of keys, so that more would remember nothing useful: what bounds
/// strangers is `SyncLimits::strangers_max`.
const OFFENDERS_MAX: usize = 1024;
/// Longest reason kept for people, bytes.
const WHY_BYTES_MAX: usize = 200;

/// Whether a connection that ends for this reason counts against the peer. The others are about operations, versions,
/// membership or this node itself, and are nobody's violation.
pub(crate) fn is_violation(code: ReasonCode) -> bool {
    matches!(
        code,
        ReasonCode::BadFrame | ReasonCode::BadRun | ReasonCode::Author | ReasonCode::Flow
    )
}

/// What stands against a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How much longer it is refused.
    pub(crate) left: Duration,
    /// Violations so far.
    pub(crate) violations: u32,
    /// The last one, for people.
    pub(crate) why: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Rounded up, so that nobody reads that it is over when it is not.
        let seconds = self.left.as_millis().div_ceil(1000);
        let plural = if self.violations == 1 { "" } else { "s" };
        write!(
            f,
            "refused for {seconds} s after {} violation{plural} of the protocol: {}",
            self.violations, self.why
        )
    }
}

/// How a node has behaved lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Violations that are not forgotten.
    pub(crate) violations: u32,
    /// The last one, for people.
    pub(crate) why: String,
}

#[derive(Debug)]
struct Offence {
    violations: u32,
    last: Instant,
    until: Instant,
    why: String,
}

impl Offence {
    fn is_remembered(&self, now: Instant, limits: &SyncLimits) -> bool {
        now.saturating_duration_since(self.last) < limits.refuse_forget
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Offenders {
    nodes: BTreeMap<NodeId, Offence>,
}

impl Offenders {
    /// Notes a violation of `node`; returns for how long it is refused from now on.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        limits: &SyncLimits,
        node: NodeId,
        why: &str,
        is_member: impl Fn(NodeId) -> bool,
    ) -> Duration {
        self.nodes
            .retain(|_, offence| offence.is_remembered(now, limits));
        if !self.nodes.contains_key(&node) && !self.make_room(&is_member, is_member(node)) {
            return Duration::ZERO;
        }
        let offence = self.nodes.entry(node).or_insert_with(|| Offence {
            violations: 0,
            last: now,
            until: now,
            why: String::new(),
        });
        offence.violations = offence.violations.saturating_add(1);
        let pause = refused_for(limits, offence.violations);
        offence.last = now;
        offence.until = now + pause;
        offence.why = cut(why);
        pause
    }

    /// Why `node` is refused at this moment, if it is.
    pub(crate) fn refusal(&self, now: Instant, node: NodeId) -> Option<Refusal> {
        let offence = self.nodes.get(&node)?;
        let left = offence.until.saturating_duration_since(now);
        (!left.is_zero()).then(|| Refusal {
            left,
            violations: offence.violations,
            why: offence.why.clone(),
        })
    }

    /// What stands against `node` and is not forgotten yet, whether or not it is still refused for it.
    pub(crate) fn record(&self, now: Instant, limits: &SyncLimits, node: NodeId) -> Option<Record> {
        let offence = self.nodes.get(&node)?;
        offence.is_remembered(now, limits).then(|| Record {
            violations: offence.violations,
            why: offence.why.clone(),
        })
    }

    /// Lets one go when the table is full: a stranger, or for a member the one whose time ends first.
    fn make_room(&mut self, is_member: &impl Fn(NodeId) -> bool, for_member: bool) -> bool {
        if self.nodes.len() < OFFENDERS_MAX {
            return true;
        }
        let first = |(node, offence): (&NodeId, &Offence)| (is_member(*node), offence.until, *node);
        let Some((member, _, node)) = self.nodes.iter().map(first).min() else {
            return true;
        };
        let goes = for_member || !member;
        if goes {
            self.nodes.remove(&node);
        }
        goes
    }
}

/// Doubles from the first violation on, up to the limit.
fn refused_for(limits: &SyncLimits, violations: u32) -> Duration {
    limits
        .refuse_min
        .saturating_mul(1 << violations.saturating_sub(1).min(16))
        .min(limits.refuse_max)
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(WHY_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn node(number: u32) -> NodeId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        NodeId(id)
    }

    #[test]
    fn a_node_is_refused_longer_with_every_violation_and_let_in_when_its_time_is_over() {
        let (limits, mut offenders) = (SyncLimits::default(), Offenders::default());
        let mut now = Instant::now();
        let mut last = Duration::ZERO;
        for violation in 1..=30 {
            let pause = offenders.note(now, &limits, node(1), "bad frame", |_| true);
            assert!(pause >= last && pause <= limits.refuse_max, "{violation}");
            let refusal = offenders.refusal(now, node(1)).unwrap();
            assert_eq!((refusal.left, refusal.violations), (pause, violation));
            assert_eq!(
                offenders.refusal(now, node(2)),
                None,
                "nobody else is refused"
            );
            now += pause;
            assert_eq!(offenders.refusal(now, node(1)), None);
            last = pause;
        }
        assert_eq!(last, limits.refuse_max);
    }

    #[test]
    fn an_hour_without_a_violation_is_a_clean_slate() {
        let (limits, mut offenders) = (SyncLimits::default(), Offenders::default());
        let now = Instant::now();
        for _ in 0..5 {
            offenders.note(now, &limits, node(1), "bad frame", |_| true);
        }
        let record = |at| offenders.record(at, &limits, node(1));
        assert_eq!(record(now).map(|it| it.violations), Some(5));
        let later = now + limits.refuse_forget;
        assert_eq!(record(later), None);
        let pause = offenders.note(later, &limits, node(1), "bad frame", |_| true);
        assert_eq!(pause, limits.refuse_min);
    }

    #[test]
    fn strangers_in_any_number_displace_each_other_and_no_member() {
        let (limits, mut offenders) = (SyncLimits::default(), Offenders::default());
        let now = Instant::now();
        let members = OFFENDERS_MAX as u32 - 1;
        let is_member = |it: NodeId| it < node(members);
        for number in 0..members {
            offenders.note(now, &limits, node(number), "bad run", is_member);
        }
        for number in members..members + 5_000 {
            offenders.note(now, &limits, node(number), "bad frame", is_member);
            assert!(offenders.nodes.len() <= OFFENDERS_MAX);
        }
        assert!((0..members).all(|number| offenders.refusal(now, node(number)).is_some()));
        // A member finds room even in a table full of members.
        let all = |_| true;
        offenders.note(now, &limits, node(900_000), "bad run", all);
        assert!(offenders.refusal(now, node(900_000)).is_some());
        assert_eq!(offenders.nodes.len(), OFFENDERS_MAX);
    }

    #[test]
    fn a_refusal_reads_as_a_sentence_and_keeps_little_of_what_a_peer_made_us_say() {
        let (limits, mut offenders) = (SyncLimits::default(), Offenders::default());
        let now = Instant::now();
        offenders.note(now, &limits, node(1), &"ü".repeat(4_000), |_| true);
        let refusal = offenders.refusal(now, node(1)).unwrap();
        assert!(refusal.why.len() <= WHY_BYTES_MAX);
        let refusal = Refusal {
            why: "frame of 2000000 bytes".into(),
            ..refusal
        };
        assert_eq!(
            refusal.to_string(),
            "refused for 2 s after 1 violation of the protocol: frame of 2000000 bytes"
        );
    }
}
