//! Two real nodes over real QUIC that hold the same entries: they agree on it and say so, whatever went wrong with one's
//! views is found and put right, and a node of other rules is left alone.

#![allow(clippy::unwrap_used)]

mod agree;
mod damage;
mod held;
mod other_rules;
mod pair;
mod seen_by;
