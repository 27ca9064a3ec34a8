//! The Muster node: use cases ([`app`]), the HTTP API ([`api`]), sensor intake ([`ingest`]), operations ([`ops`]) and the
//! command line ([`cli`]).
//!
//! Invariant: only [`app`] knows the store. Whatever comes in by HTTP, MQTT or the command line goes through an `App`
//! method, which authorises it, commits it and records it in the audit trail, in that order of thought and in one
//! transaction.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod ingest;
pub mod ops;
