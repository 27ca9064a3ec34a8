//! Tells a message from another that has its packet id.

/// Tells one message of a packet id from the next. Stored beside readings: the same in every version of the program.
///
/// Not cryptographic: a sender that forges collisions loses its own readings.
pub(super) fn message_hash(topic: &str, payload: &[u8]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15_u64 ^ topic.len() as u64;
    for part in [topic.as_bytes(), payload] {
        let (words, rest) = part.as_chunks::<8>();
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = fold(hash ^ u64::from_le_bytes(last) ^ ((rest.len() as u64) << 56));
    }
    hash
}

/// The two halves of a full product, added without carry (as wyhash does); the odd constant is 2⁶⁴ divided by the golden
/// ratio.
fn fold(word: u64) -> u64 {
    let product = u128::from(word ^ 0xa076_1d64_78bd_642f) * 0x9e37_79b9_7f4a_7c15;
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_message_is_the_same_for_ever() {
        assert_eq!(
            message_hash("muster/v1/a/b", b"21.5"),
            0x9338_0b59_2d8e_532b
        );
    }

    #[test]
    fn moving_a_byte_between_topic_and_payload_changes_the_hash() {
        assert_ne!(message_hash("ab", b"c"), message_hash("a", b"bc"));
        assert_ne!(message_hash("a", b"\0"), message_hash("a", b""));
        assert_ne!(
            message_hash("a", b"12345678"),
            message_hash("a", b"12345679")
        );
    }
}
