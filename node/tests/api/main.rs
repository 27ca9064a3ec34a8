//! The HTTP contract (DESIGN §8), tried from outside over real sockets.

#![allow(clippy::unwrap_used)]

mod audit;
mod commands;
mod dead_letters;
mod decoders;
mod documents;
mod errors;
mod events;
mod harness;
mod mqtt_accounts;
mod rules;
mod schema;
mod series;
mod sessions;
