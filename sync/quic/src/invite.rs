//! The invitation as people pass it on: text that can be read aloud, pasted, or shown as a QR code.
//!
//! `MUSTER1-` and then groups of five characters of Crockford's base 32 (no I, L, O, U). Case, spaces and hyphens do not
//! matter, and the letters that look like digits are read as those digits. A checksum finds any typing mistake before the
//! network is touched. All characters are in the alphanumeric set of QR codes, which makes the picture small.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use data_encoding::{Encoding, Specification};
use std::sync::LazyLock;
use sync_engine::{NodeId, OperationId};

/// Text in front of every code; the digit is the version of what follows.
const PREFIX: &str = "MUSTER1";
/// Addresses in one invitation: the code must stay short enough for a QR code on a small screen.
pub const INVITE_ADDRESSES_MAX: usize = 8;
/// Longest text that is looked at: a full code with a space after every character is about half of this.
const CODE_CHARS_MAX: usize = 2048;
const CHECKSUM_BYTES: usize = 4;
const GROUP_CHARS: usize = 5;

static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("0123456789ABCDEFGHJKMNPQRSTVWXYZ");
    spec.encoding()
        .expect("a constant alphabet of 32 different symbols")
});

/// A one-time invitation: where to go, whom to expect there, and the secret that the inviter will recognise.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// Where the inviter can be reached, best first; 1 to [`INVITE_ADDRESSES_MAX`].
    pub addresses: Vec<SocketAddr>,
    /// The node that will answer there.
    pub inviter: NodeId,
    /// The operation that one joins.
    pub operation: OperationId,
    /// The secret, known to the inviter and to who holds this code.
    pub secret: [u8; 16],
}

/// Why a text is no invitation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// It does not begin with `MUSTER1-`.
    #[error("not an invitation code: it must begin with MUSTER1-")]
    Prefix,
    /// A later version of Muster made it.
    #[error("invitation code of another version ({found}): update muster on this machine")]
    Version {
        /// What stands in place of `MUSTER1`.
        found: String,
    },
    /// A character that no code has.
    #[error("invitation code contains {found:?}, which no code has")]
    Character {
        /// The character.
        found: char,
    },
    /// The checksum does not fit.
    #[error("invitation code has a typing mistake or is incomplete (its checksum does not fit)")]
    Checksum,
    /// The checksum fits and the content does not: no version of Muster makes this.
    #[error("invitation code is damaged")]
    Content,
}

impl Invite {
    /// The code, about 170 characters for one address.
    pub fn code(&self) -> String {
        let mut bytes = Vec::with_capacity(128);
        let count = self.addresses.len().min(INVITE_ADDRESSES_MAX);
        bytes.push(count as u8);
        for address in &self.addresses[..count] {
            match address.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(4);
                    bytes.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(6);
                    bytes.extend_from_slice(&ip.octets());
                }
            }
            bytes.extend_from_slice(&address.port().to_be_bytes());
        }
        bytes.extend_from_slice(&self.inviter.0);
        bytes.extend_from_slice(&self.operation.0);
        bytes.extend_from_slice(&self.secret);
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);

        let symbols = BASE32.encode(&bytes);
        let mut code = String::with_capacity(PREFIX.len() + symbols.len() * 6 / 5 + 2);
        code.push_str(PREFIX);
        for (at, symbol) in symbols.chars().enumerate() {
            if at % GROUP_CHARS == 0 {
                code.push('-');
            }
            code.push(symbol);
        }
        code
    }
}

impl fmt::Debug for Invite {
    /// Leaves the secret out, so that it never stands in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invite")
            .field("addresses", &self.addresses)
            .field("inviter", &self.inviter)
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let text = text.trim();
        if text.len() > CODE_CHARS_MAX {
            return Err(InviteError::Checksum);
        }
        let body = strip_prefix(text)?;
        let mut symbols = String::with_capacity(body.len());
        for found in body.chars() {
            match found.to_ascii_uppercase() {
                '-' => {}
                c if c.is_whitespace() => {}
                'O' => symbols.push('0'),
                'I' | 'L' => symbols.push('1'),
                c if c.is_ascii_alphanumeric() && c != 'U' => symbols.push(c),
                _ => return Err(InviteError::Character { found }),
            }
        }
        let bytes = BASE32
            .decode(symbols.as_bytes())
            .map_err(|_| InviteError::Checksum)?;
        let split = bytes
            .len()
            .checked_sub(CHECKSUM_BYTES)
            .ok_or(InviteError::Checksum)?;
        let (bytes, sum) = bytes.split_at(split);
        if checksum(bytes) != sum {
            return Err(InviteError::Checksum);
        }
        parse(bytes).ok_or(InviteError::Content)
    }
}

fn strip_prefix(text: &str) -> Result<&str, InviteError> {
    let head = text.get(..PREFIX.len()).ok_or(InviteError::Prefix)?;
    if head.eq_ignore_ascii_case(PREFIX) {
        return Ok(&text[PREFIX.len()..]);
    }
    let family = &PREFIX[..PREFIX.len() - 1];
    if head
        .get(..family.len())
        .is_some_and(|it| it.eq_ignore_ascii_case(family))
    {
        return Err(InviteError::Version {
            found: head.to_owned(),
        });
    }
    Err(InviteError::Prefix)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let full = blake3::derive_key("muster 2026-11 invitation checksum", bytes);
    [full[0], full[1], full[2], full[3]]
}

/// The content of a code whose checksum fitted; `None` where it is not what [`Invite::code`] writes.
fn parse(bytes: &[u8]) -> Option<Invite> {
    let mut rest = bytes;
    let [count] = take::<1>(&mut rest)?;
    if count == 0 || usize::from(count) > INVITE_ADDRESSES_MAX {
        return None;
    }
    let mut addresses = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let ip: IpAddr = match take::<1>(&mut rest)? {
            [4] => Ipv4Addr::from(take::<4>(&mut rest)?).into(),
            [6] => Ipv6Addr::from(take::<16>(&mut rest)?).into(),
            _ => return None,
        };
        let port = u16::from_be_bytes(take::<2>(&mut rest)?);
        addresses.push(SocketAddr::new(ip, port));
    }
    let invite = Invite {
        addresses,
        inviter: NodeId(take::<32>(&mut rest)?),
        operation: OperationId(take::<32>(&mut rest)?),
        secret: take::<16>(&mut rest)?,
    };
    rest.is_empty().then_some(invite)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn invite() -> Invite {
        Invite {
            addresses: vec![
                "192.168.7.20:4747".parse().unwrap(),
                "[fd00::7]:4747".parse().unwrap(),
            ],
            inviter: NodeId([0xab; 32]),
            operation: OperationId([0x11; 32]),
            secret: [0x5c; 16],
        }
    }

    #[test]
    fn a_code_survives_being_read_aloud_and_typed_again() {
        let code = invite().code();
        assert!(code.starts_with("MUSTER1-"));
        assert_eq!(code.parse::<Invite>().unwrap(), invite());
        let typed = code
            .to_lowercase()
            .replace('-', " ")
            .replace('0', "o")
            .replace('1', "l");
        let typed = typed.replacen("musterl", "muster1", 1);
        assert_eq!(format!("  {typed}\n").parse::<Invite>().unwrap(), invite());
    }

    #[test]
    fn every_single_typing_mistake_is_found() {
        let code = invite().code();
        let start = PREFIX.len();
        for at in start..code.len() {
            let mut bytes = code.clone().into_bytes();
            if bytes[at] == b'-' {
                continue;
            }
            bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
            let mistyped = String::from_utf8(bytes).unwrap();
            assert!(
                mistyped.parse::<Invite>().is_err(),
                "mistake at {at} not found"
            );
            let mut shorter = code.clone();
            shorter.remove(at);
            assert!(shorter.parse::<Invite>().is_err(), "gap at {at} not found");
        }
    }

    #[test]
    fn what_is_no_code_says_so() {
        assert_eq!("".parse::<Invite>(), Err(InviteError::Prefix));
        assert_eq!("hello there".parse::<Invite>(), Err(InviteError::Prefix));
        assert_eq!(
            "MUSTER2-AAAA".parse::<Invite>(),
            Err(InviteError::Version {
                found: "MUSTER2".into()
            })
        );
        assert_eq!(
            "MUSTER1-AB!C".parse::<Invite>(),
            Err(InviteError::Character { found: '!' })
        );
        assert_eq!("MUSTEÄ-AAAA".parse::<Invite>(), Err(InviteError::Prefix));
        assert_eq!("MUSTER1-".parse::<Invite>(), Err(InviteError::Checksum));
        assert_eq!(
            "MUSTER1-ÄÖ".parse::<Invite>(),
            Err(InviteError::Character { found: 'Ä' })
        );
        assert_eq!(
            "MUSTER1-0".repeat(900).parse::<Invite>(),
            Err(InviteError::Checksum)
        );
    }

    #[test]
    fn a_log_line_never_shows_the_secret() {
        assert!(!format!("{:?}", invite()).contains("secret: ["));
    }
}
