//! What stands on the one stream of a join: a request, then an answer, each as long as its half of the stream.
//!
//! Invariant: who reads holds no more than a stated multiple of what may come. A list stops at its bound while it is
//! read, not after; a run is unpacked only while all of them together stay within [`ANSWER_BYTES_MAX`], as what was
//! compressed well may unfold to six hundred times what it took on the wire.

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize};
use sync_engine::{Genesis, Role, Run};

use super::{JoinError, JoinRefusal, JoinReply, MemberAddresses};

/// A request is a name and a proof.
pub(crate) const REQUEST_BYTES_MAX: usize = 4 * 1024;
/// The answer carries the trust lane whole: about 500 bytes a member, so some ten thousands of members. On the wire, and
/// once more unpacked.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest name or software version taken from the wire.
const TEXT_BYTES_MAX: usize = 256;
/// Runs, and members, in an answer; more than any operation has.
const LIST_MAX: usize = 16 * 1024;
/// What an entry of a run costs in memory besides its bytes: without it a run of empty ones would be free.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// What a joiner says.
#[derive(Serialize, DeserializeDerive)]
pub(crate) struct RequestWire {
    pub(super) name: String,
    pub(super) role: Option<Role>,
    pub(super) software: String,
    pub(super) proof: [u8; 32],
}

impl RequestWire {
    pub(super) fn encode(&self) -> Result<Vec<u8>, JoinError> {
        postcard::to_allocvec(self).map_err(|_| JoinError::Protocol("request cannot be encoded"))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, JoinError> {
        let wire: Self = postcard::from_bytes(bytes)
            .map_err(|_| JoinError::Protocol("request cannot be read"))?;
        if wire.name.len() > TEXT_BYTES_MAX || wire.software.len() > TEXT_BYTES_MAX {
            return Err(JoinError::Protocol("request is too large"));
        }
        Ok(wire)
    }
}

#[derive(Serialize, DeserializeDerive)]
enum AnswerWire {
    Granted(ReplyWire),
    Refused(JoinRefusal),
}

#[derive(Serialize, DeserializeDerive)]
struct ReplyWire {
    genesis: Genesis,
    #[serde(deserialize_with = "at_most::<_, _, LIST_MAX>")]
    trust_runs: Vec<Vec<u8>>,
    inviter_name: String,
    checkpoint: Option<Vec<u8>>,
    #[serde(deserialize_with = "at_most::<_, _, LIST_MAX>")]
    members: Vec<MemberAddresses>,
}

/// The inviter's answer.
pub(super) fn encode_answer(answer: Result<JoinReply, JoinRefusal>) -> Result<Vec<u8>, JoinError> {
    let wire = match answer {
        Ok(reply) => AnswerWire::Granted(ReplyWire {
            genesis: reply.genesis,
            trust_runs: reply.trust_runs.iter().map(Run::encode).collect(),
            inviter_name: reply.inviter_name,
            checkpoint: reply.checkpoint,
            members: reply.members,
        }),
        Err(refusal) => AnswerWire::Refused(refusal),
    };
    postcard::to_allocvec(&wire).map_err(|_| JoinError::Protocol("answer cannot be encoded"))
}

/// What an inviter answered.
pub(crate) fn decode_answer(bytes: &[u8]) -> Result<JoinReply, JoinError> {
    let answer =
        postcard::from_bytes(bytes).map_err(|_| JoinError::Protocol("answer cannot be read"))?;
    match answer {
        AnswerWire::Granted(reply) => reply.unpack(),
        AnswerWire::Refused(refusal) => Err(refusal.into()),
    }
}

impl ReplyWire {
    fn unpack(self) -> Result<JoinReply, JoinError> {
        const TOO_LARGE: JoinError = JoinError::Protocol("answer is too large");
        if self.inviter_name.len() > TEXT_BYTES_MAX {
            return Err(TOO_LARGE);
        }
        let mut trust_runs = Vec::new();
        let mut unpacked_bytes = 0;
        for bytes in &self.trust_runs {
            let run = Run::decode(bytes).map_err(JoinError::Run)?;
            unpacked_bytes += run.entry_bytes() + run.entries.len() * ENTRY_OVERHEAD_BYTES;
            if unpacked_bytes > ANSWER_BYTES_MAX {
                return Err(TOO_LARGE);
            }
            trust_runs.push(run);
        }
        Ok(JoinReply {
            genesis: self.genesis,
            trust_runs,
            inviter_name: self.inviter_name,
            checkpoint: self.checkpoint,
            members: self.members,
        })
    }
}

/// A list that is refused with its first item too many: an empty item takes one byte on the wire and twenty-four here.
pub(super) fn at_most<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct AtMost<T, const MAX: usize>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {MAX} items")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == MAX {
                    return Err(A::Error::custom("too many items"));
                }
                list.push(item);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(AtMost::<T, MAX>(std::marker::PhantomData))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use sync_engine::{
        ChainHash, GroupId, HeadSignature, Incarnation, Lane, LogId, NodeId, RUN_BYTES_MAX, Seq,
    };

    use super::*;
    use crate::config::ADVERTISE_MAX;

    fn genesis() -> Genesis {
        Genesis {
            title: "Flood".into(),
            root_key: [1; 32],
            successor_hash: [2; 32],
            created_wall_ms: 3,
            nonce: [4; 16],
        }
    }

    fn reply(trust_runs: Vec<Run>) -> JoinReply {
        JoinReply {
            genesis: genesis(),
            trust_runs,
            inviter_name: "hq".into(),
            checkpoint: None,
            members: Vec::new(),
        }
    }

    /// Nobody verifies it here.
    fn run(entries: Vec<Vec<u8>>) -> Run {
        let log = LogId {
            author: NodeId([1; 32]),
            incarnation: Incarnation(1),
            group: GroupId::SHARED,
            lane: Lane::Trust,
        };
        let last = Seq(entries.len() as u64);
        Run {
            log,
            first: Seq(1),
            prev: ChainHash::ZERO,
            entries,
            signatures: vec![(last, HeadSignature([0; 64]))],
        }
    }

    fn is_too_large(bytes: &[u8]) -> bool {
        match decode_answer(bytes) {
            Err(JoinError::Protocol(why)) => why == "answer is too large",
            other => panic!("{:?}", other.map(|reply| reply.trust_runs.len())),
        }
    }

    #[test]
    fn an_answer_comes_out_as_it_went_in() {
        let reply = reply(vec![run(vec![vec![7; 300]; 3])]);
        let bytes = encode_answer(Ok(reply.clone())).unwrap();
        assert_eq!(decode_answer(&bytes).unwrap(), reply);
        let bytes = encode_answer(Err(JoinRefusal::Used)).unwrap();
        let refused = decode_answer(&bytes);
        assert!(matches!(
            refused,
            Err(JoinError::Refused(JoinRefusal::Used))
        ));
    }

    #[test]
    fn runs_that_unfold_to_more_than_an_answer_may_hold_are_not_unpacked_to_the_end() {
        let answer = |run: Run, times: usize| {
            let wire = AnswerWire::Granted(ReplyWire {
                genesis: genesis(),
                trust_runs: vec![run.encode(); times],
                inviter_name: "hq".into(),
                checkpoint: None,
                members: Vec::new(),
            });
            postcard::to_allocvec(&wire).unwrap()
        };
        // As much as a run may hold, beside its own head; on the wire a hundredth of that.
        let largest = run(vec![vec![0; 32_000]; 2]);
        let fits = ANSWER_BYTES_MAX / RUN_BYTES_MAX;
        let bytes = answer(largest.clone(), fits);
        assert!(bytes.len() < ANSWER_BYTES_MAX / 100, "{}", bytes.len());
        assert_eq!(decode_answer(&bytes).unwrap().trust_runs.len(), fits);

        // What an unbounded reader would make a gibibyte of.
        let bytes = answer(largest, LIST_MAX);
        assert!(bytes.len() < ANSWER_BYTES_MAX, "{}", bytes.len());
        assert!(is_too_large(&bytes));
        // Entries of no bytes are not free either.
        assert!(is_too_large(&answer(run(vec![Vec::new(); 4_096]), 100)));
    }

    #[test]
    fn lists_stop_at_their_bounds_while_they_are_read() {
        let wire = |trust_runs: usize, members: usize, addresses: usize| {
            let member = MemberAddresses {
                node: NodeId([9; 32]),
                addresses: vec!["127.0.0.1:1".parse().unwrap(); addresses],
            };
            let wire = AnswerWire::Granted(ReplyWire {
                genesis: genesis(),
                trust_runs: vec![Vec::new(); trust_runs],
                inviter_name: "hq".into(),
                checkpoint: None,
                members: vec![member; members],
            });
            let bytes = postcard::to_allocvec(&wire).unwrap();
            postcard::from_bytes::<AnswerWire>(&bytes).is_ok()
        };
        assert!(wire(LIST_MAX, LIST_MAX, ADVERTISE_MAX));
        assert!(!wire(LIST_MAX + 1, 0, 0));
        assert!(!wire(0, LIST_MAX + 1, 0));
        assert!(!wire(0, 1, ADVERTISE_MAX + 1));
    }

    #[test]
    fn a_request_with_a_name_that_is_a_book_is_refused() {
        let request = |name: String| {
            let wire = RequestWire {
                name,
                role: None,
                software: "0.1.0".into(),
                proof: [0; 32],
            };
            RequestWire::decode(&wire.encode().unwrap()).is_ok()
        };
        assert!(request("n".repeat(TEXT_BYTES_MAX)));
        assert!(!request("n".repeat(TEXT_BYTES_MAX + 1)));
    }
}
