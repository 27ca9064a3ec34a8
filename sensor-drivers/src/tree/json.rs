//! JSON (RFC 8259) into a [`Value`].

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::{Budget, Members, Value, check_size};
use crate::DecodeError;

/// Reads a whole payload.
///
/// # Errors
/// Size, depth, number of nodes, broken JSON, a member given twice, a number beyond what a double holds.
pub(crate) fn from_json(payload: &[u8]) -> Result<Value<'_>, DecodeError> {
    check_size(payload)?;
    if payload.trim_ascii().is_empty() {
        return Err(DecodeError::Empty);
    }
    // Checked first so that binary rubbish is called what it is.
    let text = std::str::from_utf8(payload).map_err(|e| DecodeError::NotText {
        at: e.valid_up_to(),
    })?;
    let mut walk = Walk {
        budget: Budget::new(),
        verdict: None,
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Node {
        walk: &mut walk,
        depth: 0,
    }
    .deserialize(&mut deserializer)
    .and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|e| {
        walk.verdict.unwrap_or_else(|| {
            let detail = e.to_string();
            // serde_json has no kind for it. Every sensor that meets 1e400 divides by zero.
            if detail.starts_with("number out of range") {
                DecodeError::NotFinite
            } else {
                DecodeError::Json { detail }
            }
        })
    })
}

struct Walk {
    budget: Budget,
    /// What is wrong, because serde's own error can only carry text.
    verdict: Option<DecodeError>,
}

impl Walk {
    fn refuse<E: serde::de::Error>(&mut self, error: DecodeError) -> E {
        self.verdict = Some(error);
        E::custom("refused")
    }
}

struct Node<'w> {
    walk: &'w mut Walk,
    /// Of the containers around it.
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Value<'de>, D::Error> {
        if let Err(error) = self.walk.budget.take(self.depth) {
            return Err(self.walk.refuse(error));
        }
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, yes: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(yes))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element_seed(Node {
            walk: &mut *self.walk,
            depth: self.depth + 1,
        })? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut members = Members::new();
        while let Some(Key(name)) = map.next_key()? {
            let value = map.next_value_seed(Node {
                walk: &mut *self.walk,
                depth: self.depth + 1,
            })?;
            if members.contains_key(&name) {
                let name = name.chars().take(64).collect();
                return Err(self.walk.refuse(DecodeError::DuplicateMember { name }));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

/// A member's name, borrowed unless it is written with escapes.
struct Key<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(name)))
            }
            fn visit_str<E>(self, name: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(name.to_owned())))
            }
        }
        d.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::DEPTH_MAX;
    use crate::tree::{JSON_BYTES_MAX, NODES_MAX};

    fn error(text: &str) -> DecodeError {
        from_json(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn every_kind_of_value_comes_through() {
        let value = from_json(br#"{"a":[1,-2.5,true,null,"x\n"],"b":{}}"#).unwrap();
        assert_eq!(
            value.get("a"),
            Some(&Value::Array(vec![
                Value::Number(1.0),
                Value::Number(-2.5),
                Value::Bool(true),
                Value::Null,
                Value::Text("x\n".into()),
            ]))
        );
        assert_eq!(value.get("b"), Some(&Value::Object(Members::new())));
    }

    #[test]
    fn what_no_double_holds_is_no_value() {
        assert_eq!(from_json(b"1e300"), Ok(Value::Number(1e300)));
        assert_eq!(error("1e400"), DecodeError::NotFinite);
        assert_eq!(error(r#"{"a":-1e400}"#), DecodeError::NotFinite);
        assert!(matches!(error("NaN"), DecodeError::Json { .. }));
        assert!(matches!(error("[Infinity]"), DecodeError::Json { .. }));
    }

    #[test]
    fn size_depth_and_number_are_bounded() {
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(from_json(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(error(&nested(DEPTH_MAX + 1)), DecodeError::TooDeep);
        assert_eq!(error(&nested(10_000)), DecodeError::TooDeep);
        let wide = |n: usize| format!("[{}0]", "0,".repeat(n - 2));
        assert!(from_json(wide(NODES_MAX).as_bytes()).is_ok());
        assert_eq!(error(&wide(NODES_MAX + 1)), DecodeError::TooManyParts);
        assert_eq!(
            error(&" ".repeat(JSON_BYTES_MAX + 1)),
            DecodeError::MessageTooLarge {
                bytes: JSON_BYTES_MAX + 1
            }
        );
        assert_eq!(error(" \n"), DecodeError::Empty);
        assert_eq!(error(""), DecodeError::Empty);
    }

    #[test]
    fn a_member_given_twice_is_refused_also_when_it_is_spelt_otherwise() {
        assert_eq!(
            error(r#"{"a":1,"\u0061":2}"#),
            DecodeError::DuplicateMember { name: "a".into() }
        );
    }

    #[test]
    fn rubbish_is_called_what_it_is() {
        assert_eq!(
            from_json(b"{\"a\":\xff}"),
            Err(DecodeError::NotText { at: 5 })
        );
        for text in ["{", "[1,]", "{} {}", "{a:1}"] {
            assert!(matches!(error(text), DecodeError::Json { .. }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_is_the_nearest_double(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            let text = format!("{value:e}");
            prop_assert_eq!(from_json(text.as_bytes()), Ok(Value::Number(text.parse().unwrap())));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = from_json(&bytes);
        }
    }
}
