//! Who made a change: the automerge actor of an author, and back.
//!
//! Invariant: an actor is the 16-byte hash of (node, incarnation), or automerge's concurrency form of it: magic bytes,
//! a level in LEB128, the base actor (automerge `types.rs`, `ActorId::with_concurrency`). A node uses level *n* when it
//! edits an old version for which its levels below *n* have already gone on.

use automerge::ActorId;

/// automerge's `CONCURRENCY_MAGIC_BYTES`.
const CONCURRENCY_MAGIC: [u8; 4] = [0x13, 0xb2, 0x23, 0x09];
/// How many edits one author may have side by side in one document. Each costs an actor for ever, so a program that
/// keeps editing one stale version is stopped here.
pub(crate) const CONCURRENCY_LEVEL_MAX: u32 = 256;

/// The author of a log: a node in one of its incarnations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author {
    /// The node's Ed25519 public key.
    pub node: [u8; 32],
    /// The node's incarnation.
    pub incarnation: u64,
}

impl Author {
    /// The automerge actor, 16 bytes. It hides the node from nobody: members know each other's keys.
    pub fn actor(&self) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("muster 2026 automerge actor v1");
        hasher.update(&self.node);
        hasher.update(&self.incarnation.to_le_bytes());
        let mut actor = [0; 16];
        actor.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        actor
    }
}

/// The author's 16 bytes in an actor of either form; `None` for anything else.
pub(crate) fn base_actor(actor: &ActorId) -> Option<[u8; 16]> {
    split_actor(actor.to_bytes()).map(|(_, base)| base)
}

/// An actor's level, 0 for the plain form, and its author's 16 bytes; `None` for anything else.
pub(crate) fn split_actor(bytes: &[u8]) -> Option<(u32, [u8; 16])> {
    if let Ok(base) = <[u8; 16]>::try_from(bytes) {
        return Some((0, base));
    }
    let rest = bytes.strip_prefix(&CONCURRENCY_MAGIC)?;
    let (level, base) = match rest {
        [low, base @ ..] if base.len() == 16 && low & 0x80 == 0 => (u32::from(*low), base),
        // Two bytes of LEB128, the second of them not zero: each level has one spelling.
        [low, high, base @ ..]
            if base.len() == 16 && low & 0x80 != 0 && (1..0x80).contains(high) =>
        {
            (u32::from(low & 0x7f) | u32::from(*high) << 7, base)
        }
        _ => return None,
    };
    if !(1..=CONCURRENCY_LEVEL_MAX).contains(&level) {
        return None;
    }
    Some((level, base.try_into().ok()?))
}

/// The actor that [`split_actor`] splits: of that level, which is cut to the 14 bits that its spelling has room for.
pub(crate) fn join_actor(level: u32, base: &[u8; 16]) -> Vec<u8> {
    if level == 0 {
        return base.to_vec();
    }
    let mut bytes = CONCURRENCY_MAGIC.to_vec();
    let low = level as u8 & 0x7f;
    match (level >> 7) as u8 & 0x7f {
        0 => bytes.push(low),
        high => bytes.extend([low | 0x80, high]),
    }
    bytes.extend_from_slice(base);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concurrency_form(level: &[u8], base: [u8; 16]) -> ActorId {
        ActorId::from([&CONCURRENCY_MAGIC[..], level, &base].concat())
    }

    #[test]
    fn an_author_is_found_in_both_forms_of_the_actor() {
        let base = Author {
            node: [1; 32],
            incarnation: 7,
        }
        .actor();
        assert_eq!(base_actor(&ActorId::from(base)), Some(base));
        assert_eq!(base_actor(&concurrency_form(&[1], base)), Some(base));
        assert_eq!(
            base_actor(&concurrency_form(&[0x80, 0x02], base)),
            Some(base),
            "level 256"
        );
    }

    #[test]
    fn other_spellings_are_nobody() {
        let base = [9; 16];
        for level in [
            &[0][..],
            &[0x81, 0x02],
            &[0x81, 0x00],
            &[0xff, 0xff, 0x7f],
            &[],
        ] {
            assert_eq!(
                base_actor(&concurrency_form(level, base)),
                None,
                "{level:?}"
            );
        }
        assert_eq!(base_actor(&ActorId::from(vec![1; 15])), None);
        assert_eq!(base_actor(&ActorId::from(vec![1; 21])), None);
    }

    #[test]
    fn incarnations_are_different_actors() {
        let one = Author {
            node: [1; 32],
            incarnation: 1,
        };
        assert_ne!(
            one.actor(),
            Author {
                incarnation: 2,
                ..one
            }
            .actor()
        );
    }
}
