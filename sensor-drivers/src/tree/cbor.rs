//! CBOR (RFC 8949) into a [`Value`].
//!
//! Item by item over `ciborium-ll`, so that no length is believed: what is built is bounded by what was read.

use std::borrow::Cow;

use ciborium_ll::{Decoder, Header};

use super::{Budget, Members, Value, check_size};
use crate::DecodeError;

/// Names for the integer labels that a format uses in place of member names.
type Labels = fn(i64) -> Option<&'static str>;

/// Pieces of strings are read through a buffer of this size.
const PIECE_BYTES: usize = 256;

/// Tag 4: a decimal fraction, `[exponent, mantissa]` (RFC 8949 §3.4.4).
const DECIMAL_FRACTION: u64 = 4;

/// Reads a whole payload. Tags other than decimal fractions are passed over: what they would add (a date, a URI) the
/// formats here say in other ways.
///
/// # Errors
/// Size, depth, number of nodes, broken CBOR, a member given twice. Floats may be NaN or infinite.
pub(crate) fn from_cbor(payload: &[u8], labels: Labels) -> Result<Value<'static>, DecodeError> {
    check_size(payload)?;
    let mut reader = Reader {
        decoder: Decoder::from(payload),
        budget: Budget::new(),
        labels,
    };
    let value = reader.item(0)?;
    let read = reader.decoder.offset();
    if read < payload.len() {
        return Err(broken(format!(
            "{} bytes behind the item",
            payload.len() - read
        )));
    }
    Ok(value)
}

struct Reader<'a> {
    decoder: Decoder<&'a [u8]>,
    budget: Budget,
    labels: Labels,
}

impl Reader<'_> {
    fn item(&mut self, depth: usize) -> Result<Value<'static>, DecodeError> {
        let header = self.pull()?;
        self.item_of(header, depth)
    }

    fn item_of(&mut self, header: Header, depth: usize) -> Result<Value<'static>, DecodeError> {
        self.budget.take(depth)?;
        match header {
            Header::Positive(number) => Ok(Value::Number(number as f64)),
            Header::Negative(number) => Ok(Value::Number(-1.0 - number as f64)),
            Header::Float(number) => Ok(Value::Number(number)),
            Header::Simple(20) => Ok(Value::Bool(false)),
            Header::Simple(21) => Ok(Value::Bool(true)),
            // null, undefined, and values that nobody has assigned.
            Header::Simple(_) => Ok(Value::Null),
            Header::Text(len) => self.text(len).map(|text| Value::Text(Cow::Owned(text))),
            Header::Bytes(len) => self.bytes(len).map(Value::Bytes),
            Header::Array(len) => self.array(len, depth).map(Value::Array),
            Header::Map(len) => self.map(len, depth).map(Value::Object),
            // A tag is a level too, or a chain of them would be recursion without end.
            Header::Tag(tag) => {
                let value = self.item(depth + 1)?;
                if tag == DECIMAL_FRACTION {
                    decimal_fraction(&value)
                } else {
                    Ok(value)
                }
            }
            Header::Break => Err(broken("a break where an item belongs")),
        }
    }

    fn pull(&mut self) -> Result<Header, DecodeError> {
        self.decoder.pull().map_err(|e| match e {
            ciborium_ll::Error::Io(_) => broken("it ends too early"),
            ciborium_ll::Error::Syntax(at) => broken(format!("no item begins at byte {at}")),
        })
    }

    fn text(&mut self, len: Option<usize>) -> Result<String, DecodeError> {
        let mut text = String::new();
        let mut buffer = [0; PIECE_BYTES];
        let mut segments = self.decoder.text(len);
        while let Some(mut segment) = segments.pull().map_err(|_| broken("a broken text"))? {
            while let Some(piece) = segment
                .pull(&mut buffer)
                .map_err(|_| broken("a broken text"))?
            {
                text.push_str(piece);
            }
        }
        Ok(text)
    }

    /// How many bytes there are; no format here looks at them.
    fn bytes(&mut self, len: Option<usize>) -> Result<usize, DecodeError> {
        let mut count = 0;
        let mut buffer = [0; PIECE_BYTES];
        let mut segments = self.decoder.bytes(len);
        while let Some(mut segment) = segments.pull().map_err(|_| broken("broken bytes"))? {
            while let Some(piece) = segment
                .pull(&mut buffer)
                .map_err(|_| broken("broken bytes"))?
            {
                count += piece.len();
            }
        }
        Ok(count)
    }

    fn array(
        &mut self,
        len: Option<usize>,
        depth: usize,
    ) -> Result<Vec<Value<'static>>, DecodeError> {
        let mut elements = Vec::new();
        while let Some(header) = self.next(len, elements.len())? {
            elements.push(self.item_of(header, depth + 1)?);
        }
        Ok(elements)
    }

    fn map(&mut self, len: Option<usize>, depth: usize) -> Result<Members<'static>, DecodeError> {
        let mut members = Members::new();
        while let Some(header) = self.next(len, members.len())? {
            let name = self.label(header)?;
            let value = self.item(depth + 1)?;
            if members.contains_key(&name) {
                let name = name.chars().take(64).collect();
                return Err(DecodeError::DuplicateMember { name });
            }
            members.insert(name, value);
        }
        Ok(members)
    }

    /// The header of the next element, or `None` behind the last.
    fn next(&mut self, len: Option<usize>, so_far: usize) -> Result<Option<Header>, DecodeError> {
        if len == Some(so_far) {
            return Ok(None);
        }
        match self.pull()? {
            Header::Break if len.is_none() => Ok(None),
            header => Ok(Some(header)),
        }
    }

    fn label(&mut self, header: Header) -> Result<Cow<'static, str>, DecodeError> {
        let label = match header {
            Header::Text(len) => return self.text(len).map(Cow::Owned),
            Header::Positive(label) => i64::try_from(label).ok(),
            Header::Negative(label) => i64::try_from(label).ok().map(|label| -1 - label),
            _ => return Err(broken("a label that is neither text nor a number")),
        };
        Ok(match label.and_then(self.labels) {
            Some(name) => Cow::Borrowed(name),
            // Kept apart from every name, so that it collides with none.
            None => Cow::Owned(format!("\u{0}{}", label.unwrap_or(i64::MAX))),
        })
    }
}

/// Mantissa × 10^exponent, rounded once: as the same number written in JSON.
fn decimal_fraction(value: &Value<'_>) -> Result<Value<'static>, DecodeError> {
    let Value::Array(parts) = value else {
        return Err(broken("a decimal fraction that is no array"));
    };
    match parts.as_slice() {
        [Value::Number(exponent), Value::Number(mantissa)] if exponent.fract() == 0.0 => {
            format!("{mantissa}e{exponent}")
                .parse()
                .map(Value::Number)
                .map_err(|_| broken("a decimal fraction of other things than two integers"))
        }
        _ => Err(broken(
            "a decimal fraction of other things than two integers",
        )),
    }
}

fn broken(detail: impl Into<String>) -> DecodeError {
    DecodeError::Cbor {
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use data_encoding::HEXLOWER_PERMISSIVE;
    use proptest::prelude::*;

    use super::*;
    use crate::DEPTH_MAX;
    use crate::tree::NODES_MAX;

    fn read(hex: &str) -> Result<Value<'static>, DecodeError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).unwrap();
        from_cbor(&bytes, |label| (label == -2).then_some("bn"))
    }

    /// RFC 8949, Appendix A.
    #[test]
    fn the_examples_of_the_standard_are_read() {
        for (hex, expected) in [
            ("00", Value::Number(0.0)),
            ("1903e8", Value::Number(1000.0)),
            ("20", Value::Number(-1.0)),
            ("3903e7", Value::Number(-1000.0)),
            ("f93c00", Value::Number(1.0)),
            ("fa47c35000", Value::Number(100_000.0)),
            ("fb3ff199999999999a", Value::Number(1.1)),
            ("f4", Value::Bool(false)),
            ("f6", Value::Null),
            ("f7", Value::Null),
            ("c11a514b67b0", Value::Number(1_363_896_240.0)),
            ("4401020304", Value::Bytes(4)),
            ("62c3bc", Value::Text("ü".into())),
            (
                "7f657374726561646d696e67ff",
                Value::Text("streaming".into()),
            ),
            ("9fff", Value::Array(vec![])),
            ("c4822119 6ab3", Value::Number(273.15)),
        ] {
            assert_eq!(read(&hex.replace(' ', "")), Ok(expected), "{hex}");
        }
        assert!(matches!(read("f97e00"), Ok(Value::Number(n)) if n.is_nan()));
    }

    #[test]
    fn integer_labels_become_names_and_unknown_ones_collide_with_none() {
        let value = read("a321616120 02 6161 03".replace(' ', "").as_str()).unwrap();
        assert_eq!(value.get("bn"), Some(&Value::Text("a".into())));
        assert_eq!(value.get("a"), Some(&Value::Number(3.0)));
        assert_eq!(value.get("\u{0}-1"), Some(&Value::Number(2.0)));
        assert_eq!(
            read("a2 21 01 21 02".replace(' ', "").as_str()),
            Err(DecodeError::DuplicateMember { name: "bn".into() })
        );
    }

    #[test]
    fn lengths_are_not_believed_and_depth_is_bounded() {
        for hex in [
            "9bffffffffffffffff",
            "bb00000000ffffffff",
            "7b7fffffffffffffff61",
            "5a7fffffff00",
            "81",
            "ff",
            "1c",
            "0000",
            "a1f600",
            "61ff",
        ] {
            assert!(matches!(read(hex), Err(DecodeError::Cbor { .. })), "{hex}");
        }
        let arrays = |n: usize| [vec![0x81; n], vec![0x01]].concat();
        assert!(from_cbor(&arrays(DEPTH_MAX), |_| None).is_ok());
        assert_eq!(
            from_cbor(&arrays(60_000), |_| None),
            Err(DecodeError::TooDeep)
        );
        let tags = [vec![0xc1; 60_000], vec![0x01]].concat();
        assert_eq!(from_cbor(&tags, |_| None), Err(DecodeError::TooDeep));
        let wide = [vec![0x9f], vec![0x01; NODES_MAX], vec![0xff]].concat();
        assert_eq!(from_cbor(&wide, |_| None), Err(DecodeError::TooManyParts));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_cbor(&bytes, |_| None);
        }
    }
}
