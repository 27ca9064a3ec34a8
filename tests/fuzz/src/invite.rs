//! The invitation: what somebody types, pastes or scans.

use data_encoding::Specification;
use sync_quic::{INVITE_ADDRESSES_MAX, Invite};

/// The first byte chooses: text as it is typed, or content behind a checksum that fits, which chance never finds.
pub(crate) fn invite(data: &[u8]) -> bool {
    let Some((choice, rest)) = data.split_first() else {
        return false;
    };
    let text = if choice % 2 == 0 {
        String::from_utf8_lossy(rest).into_owned()
    } else {
        code_of(rest)
    };
    let Ok(invite) = text.parse::<Invite>() else {
        return false;
    };
    assert!((1..=INVITE_ADDRESSES_MAX).contains(&invite.addresses.len()));
    assert_eq!(invite.code().parse(), Ok(invite));
    true
}

/// Any content as a code. Written a second time here on purpose: it is how docs/spec/sync.md describes it.
fn code_of(content: &[u8]) -> String {
    let sum = blake3::derive_key("muster 2026-11 invitation checksum", content);
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    let base32 = specification.encoding().expect("32 different symbols");
    format!("MUSTER1-{}", base32.encode(&[content, &sum[..4]].concat()))
}
