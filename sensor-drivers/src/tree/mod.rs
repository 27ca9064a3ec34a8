//! A payload as a tree of values: JSON and CBOR become the same, within bounds.
//!
//! Invariants: at most [`NODES_MAX`] members and elements and [`DEPTH_MAX`](crate::DEPTH_MAX) levels are ever built,
//! whatever the payload claims; a number is the double nearest to what was written; a member appears once.

mod cbor;
mod flatten;
mod json;
mod pointer;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub(crate) use cbor::from_cbor;
pub(crate) use flatten::{Leaf, each_leaf};
pub(crate) use json::from_json;
pub(crate) use pointer::Pointer;

use crate::{DEPTH_MAX, DecodeError};

/// Largest payload of many values in bytes: a full SenML pack of a gateway has some 10 KiB, ChirpStack's events 2 KiB.
pub const JSON_BYTES_MAX: usize = 64 * 1024;

/// Members and elements in one payload; ChirpStack's largest events have some 200. It bounds what the tree takes: a
/// payload of 64 KiB could hold 32,000 empty arrays.
pub const NODES_MAX: usize = 4096;

/// One value of a payload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// From JSON always finite, from CBOR perhaps not.
    Number(f64),
    Text(Cow<'a, str>),
    /// Only CBOR has them; how many there were.
    Bytes(usize),
    Array(Vec<Value<'a>>),
    Object(Members<'a>),
}

/// The members of an object.
pub(crate) type Members<'a> = BTreeMap<Cow<'a, str>, Value<'a>>;

impl Value<'_> {
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn bool(&self) -> Option<bool> {
        match self {
            Value::Bool(yes) => Some(*yes),
            _ => None,
        }
    }

    /// A member of an object; `null` counts as absent, as most senders mean it.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Value::Object(members) => members.get(name).filter(|value| **value != Value::Null),
            _ => None,
        }
    }

    /// What it is, for errors.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }
}

/// What may still be built.
#[derive(Debug)]
struct Budget {
    nodes: usize,
}

impl Budget {
    fn new() -> Self {
        Self { nodes: NODES_MAX }
    }

    /// Takes one node at a depth.
    fn take(&mut self, depth: usize) -> Result<(), DecodeError> {
        if depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep);
        }
        self.nodes = self.nodes.checked_sub(1).ok_or(DecodeError::TooManyParts)?;
        Ok(())
    }
}

/// The payload's size, checked before anything looks at it.
pub(crate) fn check_size(payload: &[u8]) -> Result<(), DecodeError> {
    match payload.len() {
        0 => Err(DecodeError::Empty),
        bytes if bytes > JSON_BYTES_MAX => Err(DecodeError::MessageTooLarge { bytes }),
        _ => Ok(()),
    }
}
