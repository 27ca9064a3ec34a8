//! The leaves of a tree with the path to each: what a format without fixed members becomes channels by.

use super::Value;
use crate::DecodeError;

/// What a leaf holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Leaf<'v> {
    Number(f64),
    Bool(bool),
    Text(&'v str),
    /// Bytes, or a value that is there and empty.
    Other,
}

/// Gives each leaf with its path, `outer.inner.0`; an element's index is its name.
///
/// # Errors
/// The first of `emit`.
pub(crate) fn each_leaf<'v>(
    value: &'v Value<'_>,
    emit: &mut dyn FnMut(&str, Leaf<'v>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    walk(value, &mut String::new(), emit)
}

/// As deep as the tree is, which is bounded.
fn walk<'v>(
    value: &'v Value<'_>,
    path: &mut String,
    emit: &mut dyn FnMut(&str, Leaf<'v>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let leaf = match value {
        Value::Object(members) => {
            for (name, inner) in members {
                below(path, name, |path| walk(inner, path, emit))?;
            }
            return Ok(());
        }
        Value::Array(elements) => {
            for (at, inner) in elements.iter().enumerate() {
                below(path, &at.to_string(), |path| walk(inner, path, emit))?;
            }
            return Ok(());
        }
        Value::Number(number) => Leaf::Number(*number),
        Value::Bool(yes) => Leaf::Bool(*yes),
        Value::Text(text) => Leaf::Text(text),
        Value::Bytes(_) | Value::Null => Leaf::Other,
    };
    emit(path, leaf)
}

fn below<R>(path: &mut String, name: &str, inside: impl FnOnce(&mut String) -> R) -> R {
    let before = path.len();
    if before > 0 {
        path.push('.');
    }
    path.push_str(name);
    let result = inside(path);
    path.truncate(before);
    result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::tree::from_json;

    #[test]
    fn every_leaf_comes_with_its_path() {
        let value = from_json(br#"{"a":{"b":[1,true,{"c":"x"}]},"d":null}"#).unwrap();
        let mut seen = Vec::new();
        each_leaf(&value, &mut |path, leaf| {
            seen.push((path.to_owned(), leaf));
            Ok(())
        })
        .unwrap();
        assert_eq!(
            seen,
            [
                ("a.b.0".to_owned(), Leaf::Number(1.0)),
                ("a.b.1".to_owned(), Leaf::Bool(true)),
                ("a.b.2.c".to_owned(), Leaf::Text("x")),
                ("d".to_owned(), Leaf::Other),
            ]
        );
    }
}
