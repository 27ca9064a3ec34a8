//! One frame: header, body, tag and CRC, inside COBS.
//!
//! Invariant: what [`encode_frame`] writes, [`crate::FrameReader`] reads back unchanged.

use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

use crate::header::{HEADER_BYTES, Header};
use crate::message::{BodyError, Message};

/// Length of the authentication tag (16 bytes: ChaCha20-Poly1305 and AES-GCM alike). Nothing makes or checks one yet.
pub const TAG_BYTES: usize = 16;

const CRC_BYTES: usize = 4;

/// Longest frame before COBS. Two full COBS blocks of 254: with its overhead and both zeros a frame stays within 512
/// bytes, which is what small UART and USB buffers hold.
const RAW_BYTES_MAX: usize = 2 * 254;

/// Longest body.
pub const BODY_BYTES_MAX: usize = RAW_BYTES_MAX - HEADER_BYTES - TAG_BYTES - CRC_BYTES;

/// Longest frame between the zeros.
pub(crate) const COBS_BYTES_MAX: usize = cobs::max_encoding_length(RAW_BYTES_MAX);

/// Longest frame on the wire, both zeros included: the buffer that [`encode_frame`] wants.
pub const FRAME_BYTES_MAX: usize = COBS_BYTES_MAX + 2;

/// CRC-32/ISO-HDLC: the one of Ethernet and zlib, in hardware on most controllers. Without a table, because 1 KiB of
/// flash is dear there and a node checks some kilobytes a second.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// A frame whose CRC was right; it borrows the reader's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub header: Header,
    pub body: &'a [u8],
    pub tag: Option<&'a [u8; TAG_BYTES]>,
}

impl Frame<'_> {
    /// Reads the body of an untagged frame.
    ///
    /// # Errors
    /// [`BodyError::Tagged`]: the body is sealed, or its authenticity has to be checked first.
    pub fn message(&self) -> Result<Message, BodyError> {
        if self.tag.is_some() {
            return Err(BodyError::Tagged);
        }
        Message::decode(self.header.message_type, self.body)
    }
}

/// Why bytes between two zeros are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// Longer than any frame.
    TooLong,
    /// Not COBS.
    Cobs,
    /// Too short for a header and a CRC.
    TooShort { bytes: usize },
    /// Damaged on the way.
    Crc { stated: u32, computed: u32 },
    /// Intact, and of a version that we do not speak.
    Version { found: u8 },
    /// Intact, with flags that this version does not have.
    Flags { found: u8 },
    /// Intact, and its stated length is not its length.
    Length { stated: usize, found: usize },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "more than {COBS_BYTES_MAX} bytes without a zero"),
            Self::Cobs => f.write_str("not valid COBS"),
            Self::TooShort { bytes } => write!(f, "{bytes} bytes are too short for a frame"),
            Self::Crc { stated, computed } => {
                write!(f, "checksum is {stated:08x}, computed {computed:08x}")
            }
            Self::Version { found } => {
                write!(f, "protocol version {found}, we speak {}", crate::VERSION)
            }
            Self::Flags { found } => write!(f, "unknown flags {found:#010b}"),
            Self::Length { stated, found } => {
                write!(f, "header says {stated} bytes of body, frame has {found}")
            }
        }
    }
}

impl core::error::Error for FrameError {}

/// Why a frame cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The body is longer than [`BODY_BYTES_MAX`].
    BodyTooLong,
    /// `out` is shorter than the frame; [`FRAME_BYTES_MAX`] is always enough.
    BufferTooSmall,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BodyTooLong => write!(f, "body is longer than {BODY_BYTES_MAX} bytes"),
            Self::BufferTooSmall => f.write_str("buffer is too small for the frame"),
        }
    }
}

impl core::error::Error for EncodeError {}

/// Writes a frame into `out`, both zeros included, and gives its length.
///
/// # Errors
/// [`EncodeError`]; `out` may have been written to.
pub fn encode_frame(
    header: &Header,
    body: &[u8],
    tag: Option<&[u8; TAG_BYTES]>,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    if body.len() > BODY_BYTES_MAX {
        return Err(EncodeError::BodyTooLong);
    }
    let body_bytes = u16::try_from(body.len()).map_err(|_| EncodeError::BodyTooLong)?;
    let head = header.encode(tag.is_some(), body_bytes);
    let tag: &[u8] = tag.map_or(&[], |t| t);

    let mut digest = CRC.digest();
    digest.update(&head);
    digest.update(body);
    digest.update(tag);
    let checksum = digest.finalize().to_le_bytes();

    let mut raw = heapless::Vec::<u8, RAW_BYTES_MAX>::new();
    for part in [&head[..], body, tag, &checksum[..]] {
        raw.extend_from_slice(part)
            .map_err(|_| EncodeError::BodyTooLong)?;
    }
    let (first, rest) = out.split_first_mut().ok_or(EncodeError::BufferTooSmall)?;
    *first = 0;
    let cobs_bytes = cobs::try_encode(&raw, rest).map_err(|_| EncodeError::BufferTooSmall)?;
    *rest
        .get_mut(cobs_bytes)
        .ok_or(EncodeError::BufferTooSmall)? = 0;
    Ok(cobs_bytes + 2)
}

/// Writes a message as an untagged frame; the header's type is set from it.
///
/// # Errors
/// As [`encode_frame`].
pub fn encode_message(
    header: &Header,
    message: &Message,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    let mut body = [0; BODY_BYTES_MAX];
    let body = message.encode(&mut body)?;
    let header = Header {
        message_type: message.message_type(),
        key: 0,
        ..*header
    };
    encode_frame(&header, body, None, out)
}

/// Reads the bytes between two zeros, in place.
pub(crate) fn decode_in_place(encoded: &mut [u8]) -> Result<Frame<'_>, FrameError> {
    let raw_bytes = cobs::decode_in_place(encoded).map_err(|_| FrameError::Cobs)?;
    let raw = encoded.get(..raw_bytes).ok_or(FrameError::Cobs)?;

    let too_short = FrameError::TooShort { bytes: raw.len() };
    let (content, checksum) = raw.split_last_chunk::<CRC_BYTES>().ok_or(too_short)?;
    let (head, rest) = content
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(too_short)?;
    let (stated, computed) = (u32::from_le_bytes(*checksum), CRC.checksum(content));
    if stated != computed {
        return Err(FrameError::Crc { stated, computed });
    }

    let (header, tagged, stated) = Header::decode(head)?;
    let (body, tag) = if tagged {
        let found = rest.len();
        let (body, tag) = rest
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(FrameError::Length { stated, found })?;
        (body, Some(tag))
    } else {
        (rest, None)
    };
    if body.len() != stated || stated > BODY_BYTES_MAX {
        return Err(FrameError::Length {
            stated,
            found: body.len(),
        });
    }
    Ok(Frame { header, body, tag })
}
